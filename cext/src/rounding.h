/* Storing float32 values in a row of a narrower dtype, to nearest or stochastically. */
#ifndef LSHSAMPLE_ROUNDING_H
#define LSHSAMPLE_ROUNDING_H

#include "kernels.h"
#include "lshsample/convert.h"

enum { LSH_ROUND_BLOCK = 256 /* columns whose random bits are drawn together; a multiple of 8 and of every vector */ };

typedef struct {
    const lsh_kernels *kernels;
    const lsh_row_kernels *rows;
    const lsh_rounding *rounding; /* NULL: to nearest */
} lsh_rounder;

/* Fills a rounder for a dtype with kernels; 0 for any other. */
int lsh_rounder_for(int32_t dtype, const lsh_rounding *rounding, lsh_rounder *out);

/* The 16 random bits of each of n <= LSH_ROUND_BLOCK columns from `column` on, a multiple of 8; bits has a whole block. */
void lsh_rounding_bits(const lsh_rounder *rounder, int64_t row, int64_t column, int64_t n, uint16_t *bits);

/* to[n] = values[n], which are columns `column` .. of row `row`; column is a multiple of 8. `to` points at that column. */
void lsh_round_row(const lsh_rounder *rounder, int64_t row, int64_t column, int64_t n, const float *values, void *to);

#endif
