#include "radix.h"

#include <string.h>

/* The counters of a digit stay in the first cache level; a few keys are sorted by insertion, with no counters. */
enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, MAX_DIGITS = 3, SORT_PLAINLY = 64 };

/* How a word is cut into digits of (nearly) the same width, lowest first, and where the keys of each value begin. */
typedef struct {
    int32_t n, width;
    int64_t begin[MAX_DIGITS][DIGITS];
} digits;

static void cut_digits(digits *d, int32_t bits) {
    d->n = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
    d->width = d->n ? (bits + d->n - 1) / d->n : 0;
    for (int32_t i = 0; i < d->n; i++) memset(d->begin[i], 0, sizeof d->begin[i][0] << d->width);
}

static inline uint32_t digit_of(const digits *d, int32_t i, uint32_t word) {
    return word >> (i * d->width) & (((uint32_t)1 << d->width) - 1);
}

/* Counts the digits of words, or of the upper words of keys; returns the bits that are set in any of them. */
static inline uint32_t count_some(digits *d, const uint32_t *words, const uint64_t *keys, int64_t n,
                                  const int32_t n_digits) {
    uint32_t seen = 0;
    for (int64_t k = 0; k < n; k++) {
        uint32_t word = words ? words[k] : (uint32_t)(keys[k] >> 32);
        seen |= word;
        for (int32_t i = 0; i < n_digits; i++) d->begin[i][digit_of(d, i, word)]++;
    }
    return seen;
}

/* The same, with a separate loop for each number of digits. */
static inline uint32_t count_digits(digits *d, const uint32_t *words, const uint64_t *keys, int64_t n) {
    switch (d->n) {
    case 0: return count_some(d, words, keys, n, 0);
    case 1: return count_some(d, words, keys, n, 1);
    case 2: return count_some(d, words, keys, n, 2);
    default: return count_some(d, words, keys, n, MAX_DIGITS);
    }
}

/* Counts become places. */
static void place_digits(digits *d) {
    for (int32_t i = 0; i < d->n; i++) {
        int64_t next = 0;
        for (int32_t value = 0; value < 1 << d->width; value++) {
            int64_t count = d->begin[i][value];
            d->begin[i][value] = next;
            next += count;
        }
    }
}

/* Moves the keys by digits `first`, first + 1, ...; returns where they end up. */
static uint64_t *move_digits(digits *d, int32_t first, uint64_t *from, uint64_t *to, int64_t n) {
    for (int32_t i = first; i < d->n; i++) {
        int64_t *begin = d->begin[i];
        int32_t shift = 32 + i * d->width;
        uint32_t mask = ((uint32_t)1 << d->width) - 1;
        for (int64_t k = 0; k < n; k++) to[begin[(uint32_t)(from[k] >> shift) & mask]++] = from[k];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

/* By insertion. Only upper words are compared, which keeps the order of equal ones. */
static void sort_plainly(uint64_t *keys, int64_t n) {
    for (int64_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        int64_t j = i;
        for (; j > 0 && keys[j - 1] >> 32 > key >> 32; j--) keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

uint64_t *radix_sort(uint64_t *keys, uint64_t *spare, int64_t n, int32_t bits) {
    if (n <= SORT_PLAINLY) {
        sort_plainly(keys, n);
        return keys;
    }
    digits d;
    cut_digits(&d, bits);
    count_digits(&d, NULL, keys, n);
    place_digits(&d);
    return move_digits(&d, 0, keys, spare, n);
}

uint64_t *radix_order(const uint32_t *words, int64_t n, int32_t bits, uint64_t *keys, uint64_t *spare) {
    digits d;
    cut_digits(&d, bits);
    uint32_t seen = count_digits(&d, words, NULL, n);
    if (bits < 32 && seen >> bits) return NULL;
    place_digits(&d);
    /* The first pass makes the keys at their places. */
    for (int64_t k = 0; k < n; k++) {
        int64_t at = d.n ? d.begin[0][digit_of(&d, 0, words[k])]++ : k;
        keys[at] = (uint64_t)words[k] << 32 | (uint64_t)k;
    }
    return move_digits(&d, 1, keys, spare, n);
}
