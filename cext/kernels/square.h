/* Squares of four rows of four values of 32 bits, whatever they are. */
#ifndef LSHSAMPLE_SQUARE_H
#define LSHSAMPLE_SQUARE_H

#include <stdint.h>

typedef uint32_t lsh_row4 __attribute__((vector_size(16)));

/* Rows become columns. */
static inline __attribute__((always_inline)) void transpose_square(lsh_row4 v[4]) {
    lsh_row4 ab_low = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), ab_high = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    lsh_row4 cd_low = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5), cd_high = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

#endif
