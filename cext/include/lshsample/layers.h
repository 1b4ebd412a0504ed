/* Products of layers: dense, gathered (active rows of a store), sparse input, and what goes with them.
 *
 * Every function is thread-safe as long as no two calls write the same memory, changes nothing when it fails, and gives
 * the same bits for any number of threads. Sums of a product are taken in float32 in a fixed order. Weights (b of
 * lsh_matmul_nt and lsh_matmul_nn, w) are float32 or bfloat16, every other view is float32 unless its function says more. `rows` selects rows of a
 * matrix by id, each in [0, matrix.rows), which the caller has checked; NULL means rows 0, 1, 2, ... Outputs must not
 * overlap inputs. Views are borrowed for the call. Returns LSH_INVALID for sizes that do not match or an unsupported
 * dtype, LSH_NO_MEMORY if a workspace cannot be allocated. */
#ifndef LSHSAMPLE_LAYERS_H
#define LSHSAMPLE_LAYERS_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* 1 if this processor multiplies bfloat16 in tile registers (AMX-BF16), the instruction set in use is the one with them,
 * and the system lets the process use them; else 0. Thread-safe. */
int32_t lsh_has_tiles(void);

/* Dense products. `operands` is LSH_FLOAT32, or LSH_BFLOAT16, which permits a product over bfloat16 weights, or over the
 * activations and gradients of a layer that has them (lsh_matmul_tn), to round its operands to bfloat16 before they are
 * multiplied: processors with tile registers (lsh_has_tiles) do so, others compute as with LSH_FLOAT32. Sums are float32
 * in either case, but in another order. */

/* out(m, n) = a(m, k) @ b[rows](n, k)^T + bias[rows]: the affine map over n active rows. bias may be NULL; it has a
 * stride. 2 m n k operations; reads the n rows once. */
lsh_status lsh_matmul_nt(lsh_dense a, lsh_dense b, const int32_t *rows, const float *bias, int64_t bias_stride,
                         lsh_dense out, int32_t operands, int32_t threads);
/* out(m, k) = a(m, n) @ b[rows](n, k): the gradient at the input. The sum over n is cut into at most 16 parts that
 * depend on the sizes alone, and the parts are added in order. */
lsh_status lsh_matmul_nn(lsh_dense a, lsh_dense b, const int32_t *rows, lsh_dense out, int32_t operands,
                         int32_t threads);
/* out(n, k) = a(m, n)^T @ b(m, k): the gradient of the n active rows. out is float32, or bfloat16, rounded to nearest. */
lsh_status lsh_matmul_tn(lsh_dense a, lsh_dense b, lsh_dense out, int32_t operands, int32_t threads);

/* out(n) = the sum of a's rows, in order: the gradient of a bias. */
lsh_status lsh_column_sums(lsh_dense a, float *out, int32_t threads);

/* out(m, d) = x(m, k) @ w(k, d) + bias: an affine map of a sparse input. Reads one row of w for each entry of x. */
lsh_status lsh_csr_matmul(lsh_csr x, lsh_dense w, const float *bias, int64_t bias_stride, lsh_dense out,
                          int32_t threads);
/* x^T by its entries alone: the distinct columns of x ascending in columns[0 .. *n_columns), the entries of column c
 * at [starts[c], starts[c + 1]) of samples and values, samples ascending. columns, samples and values have room for
 * nnz entries, starts for nnz + 1. Radix sort: O(nnz), whatever the width of x. */
lsh_status lsh_csr_transpose(lsh_csr x, int32_t *columns, int64_t *starts, int32_t *samples, float *values,
                             int64_t *n_columns);
/* out[c] = sum of values[t] * d[samples[t]] for t in [starts[c], starts[c + 1]): the row-sparse x^T @ d. out is float32, or
 * bfloat16, rounded to nearest. */
lsh_status lsh_csr_weighted_sums(const int64_t *starts, const int32_t *samples, const float *values, lsh_dense d,
                                 lsh_dense out, int32_t threads);
/* values[t] = h[i] . w[ids[t]] + bias[ids[t]] for t in [indptr[i], indptr[i + 1]): per-sample active sets. */
lsh_status lsh_csr_sampled_matmul(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride,
                                  const int64_t *indptr, const int32_t *ids, float *values, int32_t threads);
/* values[t] = q[i] . x[ids[t]] for t in [indptr[i], indptr[i + 1]), each sum taken in double by ascending column and then
 * rounded. Both are canonical: columns ascend in a row. Steps: the entries of both rows. */
lsh_status lsh_csr_pair_products(lsh_csr q, lsh_csr x, const int64_t *indptr, const int32_t *ids, float *values,
                                 int32_t threads);

/* out(rows, cols): 0 with probability `rate`, else 1 / (1 - rate). Unit u = row * cols + col takes word u % 4 of the
 * Philox draw (seed, LSH_DRAW_DROPOUT, layer, step, u / 4); rate in [0, 1), rows * cols < 2^34. */
lsh_status lsh_dropout_mask(uint64_t seed, uint64_t step, uint32_t layer, float rate, lsh_dense out, int32_t threads);

#endif
