/* Searching sorted codes and offsets, and checking ids. */
#ifndef LSHSAMPLE_SORTED_H
#define LSHSAMPLE_SORTED_H

#include <stdint.h>

/* The first place in codes[begin .. end-1], which ascend, with no smaller code than this one; `end` if there is none.
 * The last few are compared one by one, without a branch to mispredict at each halving. */
static inline int64_t lower_bound(const uint32_t *codes, int64_t begin, int64_t end, uint32_t code) {
    while (end - begin > 16) {
        int64_t middle = begin + (end - begin) / 2;
        if (codes[middle] < code) begin = middle + 1;
        else end = middle;
    }
    while (begin < end && codes[begin] < code) begin++;
    return begin;
}

/* The row that holds entry `at`: the last one that begins at or before it and is not empty. */
static inline int64_t row_of(const int64_t *indptr, int64_t rows, int64_t at) {
    int64_t low = 0, high = rows - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (indptr[middle + 1] > at) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* Whether n ids are all in 0 .. n_ids - 1. */
static inline int ids_in_range(const int32_t *ids, int64_t n, int64_t n_ids) {
    int bad = 0;
    for (int64_t i = 0; i < n; i++) bad |= (uint32_t)ids[i] >= (uint32_t)n_ids;
    return !bad;
}

#endif
