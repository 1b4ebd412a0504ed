/* Rows as sets of columns, read in chunks; see lshsample_families/_sets.py for the columns of a set. */
#ifndef LSHSAMPLE_FAMILIES_SETS_BODY_H
#define LSHSAMPLE_FAMILIES_SETS_BODY_H

#include "api/sets.h"
#include "mix_body.h"

/* A row being read: entries `at` to `n` are still to come. For the largest entries they were chosen at the start. */
typedef struct {
    const lsh_set_rule *rule;
    const float *values;
    const int32_t *columns; /* NULL: 0 .. n-1 */
    int64_t at, n;
    uint64_t *largest; /* scratch for `rule->size` entries: value << 32 | ~column */
} LSH_NAME(set_reader);

/* Puts key into the place of the root of a heap whose root is its least, n keys long. */
static void LSH_NAME(sift)(uint64_t *heap, int64_t n, uint64_t key) {
    int64_t at = 0;
    for (int64_t child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= key) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = key;
}

/* Chooses the `size` largest positive entries, of equal ones those of smaller columns. */
static void LSH_NAME(choose_largest)(LSH_NAME(set_reader) *row) {
    int64_t kept = 0, size = row->rule->size;
    /* A heap of zeros is a heap: chosen keys are never zero, and push them out. */
    memset(row->largest, 0, (size_t)size * sizeof *row->largest);
    for (int64_t i = 0; i < row->n; i++) {
        uint32_t bits;
        if (!(row->values[i] > 0)) continue;
        memcpy(&bits, row->values + i, sizeof bits);
        uint64_t key = (uint64_t)bits << 32 | ~(uint32_t)(row->columns ? row->columns[i] : i);
        if (key > row->largest[0]) LSH_NAME(sift)(row->largest, size, key);
    }
    for (int64_t i = 0; i < size; i++)
        if (row->largest[i]) row->largest[kept++] = row->largest[i];
    row->n = kept;
}

static LSH_NAME(set_reader) LSH_NAME(read_set)(const lsh_set_rule *rule, int64_t r, int64_t dim, const float *values,
                                               int64_t stride, const int64_t *indptr, const int32_t *indices,
                                               uint64_t *largest) {
    LSH_NAME(set_reader) row = {rule, values + r * stride, NULL, 0, dim, largest};
    if (indptr) {
        row.values = values + indptr[r];
        row.columns = indices + indptr[r];
        row.n = indptr[r + 1] - indptr[r];
    }
    if (rule->kind == LSH_SET_TOP) LSH_NAME(choose_largest)(&row);
    return row;
}

/* How many of n columns are kept, those put to the front of `words`. */
LSH_INLINE int64_t LSH_NAME(keep_columns)(const LSH_NAME(set_reader) *row, int64_t n, uint32_t *words) {
    const float *values = row->values + row->at;
    const int32_t *columns = row->columns ? row->columns + row->at : NULL;
    int64_t kept = 0;
    if (row->rule->kind == LSH_SET_NONZERO && columns) {
        int32_t zeros = 0;
        for (int64_t i = 0; i < n; i++) zeros += values[i] == 0;
        if (zeros == 0) {
            memcpy(words, columns, (size_t)n * sizeof *words);
            return n;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        words[kept] = (uint32_t)(columns ? columns[i] : row->at + i);
        kept += row->rule->kind == LSH_SET_NONZERO ? values[i] != 0 : values[i] > row->rule->threshold;
    }
    return kept;
}

/* The next columns of the set, mixed with the seed into words that show no order: returns how many, 0 at the end. */
static int64_t LSH_NAME(next_words)(LSH_NAME(set_reader) *row, uint32_t *words) {
    int64_t kept = 0;
    while (kept == 0 && row->at < row->n) {
        int64_t n = row->n - row->at < LSH_SET_CHUNK ? row->n - row->at : LSH_SET_CHUNK;
        if (row->rule->kind == LSH_SET_TOP)
            for (; kept < n; kept++) words[kept] = ~(uint32_t)row->largest[row->at + kept];
        else kept = LSH_NAME(keep_columns)(row, n, words);
        row->at += n;
    }
    uint32_t seed = row->rule->seed;
    for (int64_t i = 0; i < kept; i++) words[i] = LSH_NAME(mix)(words[i] * 0x9e3779b1u ^ seed);
    return kept;
}

#endif
