/* The radix sort of the core: stable, by 32-bit words, each with 32 bits that travel along. */
#ifndef LSHSAMPLE_RADIX_H
#define LSHSAMPLE_RADIX_H

#include <stdint.h>

/* Sorts n keys by their upper words, which are below 2^bits (0 to 32); equal ones keep their order. `spare` has room for
 * n keys as well. Returns where the result lies, which is one of the two. Thread-safe. Cost: one pass that counts, and
 * one that moves for each digit of at most 11 bits. */
uint64_t *radix_sort(uint64_t *keys, uint64_t *spare, int64_t n, int32_t bits);

/* The same for words alone: sorts the keys (words[i] << 32 | i), which it makes in `keys` or `spare`, so that the lower
 * words of the result are the order of the words. n is at most 2^32. NULL if a word is not below 2^bits. */
uint64_t *radix_order(const uint32_t *words, int64_t n, int32_t bits, uint64_t *keys, uint64_t *spare);

/* The bits of the numbers below n: 0 for n <= 1. */
static inline int32_t bits_below(int64_t n) {
    int32_t bits = 0;
    while (bits < 62 && ((int64_t)1 << bits) < n) bits++;
    return bits;
}

#endif
