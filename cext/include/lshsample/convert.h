/* Conversion between element types, and how float32 values are rounded to a narrower one. */
#ifndef LSHSAMPLE_CONVERT_H
#define LSHSAMPLE_CONVERT_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* Stochastic rounding (Gupta et al., ICML 2015): a value between two neighbours of the narrower type becomes the upper
 * one with a probability equal to its distance from the lower one, so the expected result is the value itself. Column j
 * of row r takes 16 bits of the Philox draw (seed, LSH_DRAW_ROUNDING, r, step, j / 8): half j % 8, the lower half of
 * each word first. Values that the type holds, infinities and NaN keep their value. Where a function takes a
 * const lsh_rounding *, NULL means rounding to nearest, ties to even. */
typedef struct {
    uint64_t seed, step;
} lsh_rounding;

/* to = from, of the same shape, between float32 and any type that has kernels. `rounding` matters only where `to` is
 * narrower than float32. The views must not overlap. Same bits for any number of threads and on every instruction set.
 * Reads and writes once. LSH_INVALID: shapes that differ, or a pair of types of which none is float32. Thread-safe. */
lsh_status lsh_convert(lsh_dense from, lsh_dense to, const lsh_rounding *rounding, int32_t threads);

#endif
