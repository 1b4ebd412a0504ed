/* Rows of weights in 8 or 4 bits with their optimizer state, and a cache of the most used rows in float32.
 *
 * A row is a record of `slots` slots: the weights, with 2 slots also the sum of squares of gradients (Adagrad), with 3 their
 * running mean and that of their squares (Adam). In order: the floats scale and offset, 4 bytes for each slot of state, the codes
 * of each slot, filled up to a multiple of 4 bytes. Weight j is offset + scale * code j. Of codes of 4 bits, byte j has
 * column j in its lower half and column j + (cols + 1) / 2 in its upper one.
 *
 * State is in small floating-point numbers of 8 bits: 3 of mantissa, and 4 of exponent and a sign, or, for squares, 5 of exponent.
 * Code 0 is 0, and code c without the sign, up to M = 127 or, for squares, 255, is the float32 whose bits, shifted down by 20,
 * are top + c - M. `top`, an int32_t, are the 4 bytes of the slot: M is the row's greatest magnitude, or the next number above
 * it. Means of gradients may be in 4 bits (`state_bits`), 3 of exponent and a sign: M is 7, the shift 23, and the codes lie as
 * those of weights in 4 bits. Where weights or state are in 4 bits, squares have no codes: the 4 bytes are a float, their mean
 * over the row, which each of them becomes when the row is read.
 *
 * The cache is set-associative: row r may be in one of the `ways` places of set r % sets. A row that is in it has its slots
 * there in float32, one after another; the codes of its record are out of date until it leaves. Every function reads
 * a row where it is. Rows move at updates alone: a row that is updated and is not in the cache takes an empty place of its
 * set; else that of the row with the fewest updates if it has had more (`uses`), or, without `uses`, of the row whose last
 * update is the oldest (`used`), but not of one that was updated in the same step. What is written in codes is rounded
 * stochastically (Yang et al., arXiv:2010.11305, describe such a cache; Gupta et al., ICML 2015, the rounding): code j
 * of a row of weights takes 16 bits of the draw (seed, LSH_DRAW_ROUNDING, row, step, j / 8), slot s the same turned by 5 s
 * places, a row that leaves the cache those of LSH_DRAW_EVICTION. The expected value is the exact one but for 2^-17 of a
 * unit; but squares below the least number of a row become that number, for one that is 0 would be divided by.
 *
 * rows: n ids, unique and in range, or NULL for rows first, first + 1, ... Views are borrowed for the call; float32 only. Same
 * bits for any number of threads. Thread-safe as long as no other call updates the same rows. LSH_INVALID: sizes or
 * types that do not match; LSH_NO_MEMORY: no workspace (a few rows for each thread). */
#ifndef LSHSAMPLE_CODED_H
#define LSHSAMPLE_CODED_H

#include <stdint.h>
#include "lshsample/convert.h"
#include "lshsample/status.h"
#include "lshsample/views.h"

typedef struct {
    uint8_t *records;
    int64_t rows, cols, record_bytes;
    int32_t bits, state_bits, slots;
    int64_t sets;    /* 0 without a cache */
    int32_t ways;
    int32_t *tags;   /* (sets * ways): the row in each place, or -1 */
    float *cached;   /* (sets * ways, cols), or 2 * cols with a moment */
    uint16_t *uses;  /* (rows): updates, all halved when one is too large; or NULL */
    int64_t *used;   /* (sets * ways): the step of the last update; or NULL */
} lsh_coded;

/* With 1 slot w -= rate g; with 2 s += g^2, w -= rate g / (sqrt(s) + eps); with 3 m = beta1 m + rest1 g, v = beta2 v + rest2 g^2,
 * w -= rate m / (scale sqrt(v) + eps). */
typedef struct {
    float rate, beta1, rest1, beta2, rest2, scale, eps;
} lsh_coded_step;

/* Bytes of a record. */
int64_t lsh_coded_bytes(int64_t cols, int32_t bits, int32_t state_bits, int32_t slots);

/* out(n, cols) = the values of a slot. */
lsh_status lsh_coded_read(const lsh_coded *coded, const int32_t *rows, int64_t first, int32_t slot, lsh_dense out,
                          int32_t threads);
/* The weights of rows first, first + 1, ... = values(n, cols): in codes, rounded to nearest, or in the cache. */
lsh_status lsh_coded_write(const lsh_coded *coded, int64_t first, lsh_dense values, int32_t threads);
/* One step of an optimizer on some rows, of which gradient has one row each; moves rows to and from the cache before. */
lsh_status lsh_coded_update(const lsh_coded *coded, const int32_t *rows, lsh_dense gradient, const lsh_coded_step *step,
                            const lsh_rounding *rounding, int32_t threads);
/* As lsh_csr_matmul and lsh_csr_sampled_matmul, over these weights. */
lsh_status lsh_coded_csr_matmul(lsh_csr x, const lsh_coded *coded, const float *bias, int64_t bias_stride, lsh_dense out,
                                int32_t threads);
lsh_status lsh_coded_csr_sampled_matmul(lsh_dense h, const lsh_coded *coded, const float *bias, int64_t bias_stride,
                                        const int64_t *indptr, const int32_t *ids, float *values, int32_t threads);

#endif
