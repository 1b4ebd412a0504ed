/* Row-sparse optimizers over a parameter with its optimizer state, interleaved by row or in arrays of their own.
 *
 * A step reads and writes the given rows only (lazy updates; LazyAdam), and costs accordingly. rows: n ids, unique and in
 * range, or NULL for all rows. The slots are all float32, or all bfloat16, which is read as float32 and rounded as `rounding`
 * says when written; or the slots of state are LSH_SMALL8, whose values are rounded stochastically, and need a `rounding`.
 * gradient: (n, cols) float32, or of the dtype of the weights; or its
 * rows are sums (lsh_row_sums) that are computed where they are used. Arithmetic is float32. Stochastic rounding
 * draws 16 random bits for each column of a row: those of lsh_convert for the weights, and the same turned by 5 and by 10
 * places for the next slots.
 * Thread-safe for disjoint rows; same bits for any number of threads. LSH_INVALID: another dtype, a wrong number of
 * slots, a gradient of another shape; LSH_NO_MEMORY: no workspace (a few rows for each thread) for state in small numbers. */
#ifndef LSHSAMPLE_OPTIM_H
#define LSHSAMPLE_OPTIM_H

#include <stdint.h>
#include "lshsample/convert.h"
#include "lshsample/status.h"
#include "lshsample/views.h"

typedef struct {
    int64_t offset;    /* bytes from the store's data to the `cols` values of row 0; may be negative */
    int64_t row_bytes; /* from a row's values to those of the next */
    int32_t dtype;     /* lsh_dtype; LSH_SMALL8: a row is its int32_t `top`, then its codes of 8 bits (lshsample/coded.h) */
} lsh_slot;

/* A parameter with its optimizer state: row r of a slot begins at data + offset + r * row_bytes; the weights are slot 0,
 * the state the others. Slots that are interleaved by row, with one row_bytes for all, make a row contiguous, so that an
 * update accesses one range of memory; slots may also be arrays of their own. Borrowed for the call; slots do not
 * overlap; no alignment is assumed. */
typedef struct {
    void *data;
    int64_t rows, cols;
    int32_t n_slots; /* 1 to 8 */
    lsh_slot slots[8];
} lsh_store;

/* Row i of a gradient as the sum of values[t] * gradient row samples[t], t from starts[i] to starts[i + 1] - 1, in that
 * order, rounded to nearest to the dtype of the weights: the same bits as lsh_csr_weighted_sums. The gradient is float32 then.
 * The rows are written nowhere, and stay in the cache. */
typedef struct {
    int64_t n;
    const int64_t *starts; /* n + 1 */
    const int32_t *samples;
    const float *values;
} lsh_row_sums;

/* w -= lr g. Slots: 1 or more, of which the first is used. */
lsh_status lsh_sgd_rows(const lsh_store *store, const int32_t *rows, lsh_dense gradient, const lsh_row_sums *sums, float lr,
                        const lsh_rounding *rounding, int32_t threads);
/* s += g^2; w -= lr g / (sqrt(s) + eps) (Duchi, Hazan & Singer 2011). Slots: w, s. */
lsh_status lsh_adagrad_rows(const lsh_store *store, const int32_t *rows, lsh_dense gradient, const lsh_row_sums *sums, float lr,
                            float eps, const lsh_rounding *rounding, int32_t threads);
/* m += (1 - beta1) (g - m); v += (1 - beta2) (g^2 - v); w -= lr m' / (sqrt(v') + eps) with m' = m / (1 - beta1^step),
 * v' = v / (1 - beta2^step) (Kingma & Ba 2015), step >= 1 counted over all steps. Slots: w, m, v. */
lsh_status lsh_adam_rows(const lsh_store *store, const int32_t *rows, lsh_dense gradient, const lsh_row_sums *sums, double lr,
                         double beta1, double beta2, double eps, int64_t step, const lsh_rounding *rounding,
                         int32_t threads);

#endif
