/* The best k labels: exact search, streaming over all rows, and selection within ragged rows.
 *
 * Order: score descending, ties by ascending id. A score that is NaN or -inf is never chosen; empty places have
 * id -1 and score -inf. w is float32 or bfloat16, h float32; LSH_INVALID for another dtype. Thread-safe; same bits for
 * any number of threads. */
#ifndef LSHSAMPLE_TOPK_H
#define LSHSAMPLE_TOPK_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* ids(m, k) and scores(m, k): the best k rows of w for each row of h by h . w[id] + bias[id]. Costs about as much as
 * the product, and never holds more of it than a block: 32 * 512 * k places of workspace. */
lsh_status lsh_top_k(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, int32_t k, int32_t *ids,
                     float *scores, int32_t threads);
/* The same, to the bit, over the columns of w (d, n) instead of the rows of its transpose. */
lsh_status lsh_top_k_columns(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, int32_t k, int32_t *ids,
                             float *scores, int32_t threads);
/* The best k of values[indptr[i] .. indptr[i + 1]) for each row i, with their ids (unique in a row). */
lsh_status lsh_top_k_ragged(const float *values, const int64_t *indptr, const int32_t *candidates, int64_t m, int32_t k,
                            int32_t *ids, float *scores, int32_t threads);
/* The best k candidates of each row i of h, those at indptr[i] .. indptr[i + 1), by h[i] . w[id] + bias[id].
 * LSH_OUT_OF_RANGE, before anything is written: offsets that decrease or do not begin at 0, or an id out of range. */
lsh_status lsh_csr_top_k(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, const int64_t *indptr,
                         const int32_t *candidates, int32_t k, int32_t *ids, float *scores, int32_t threads);

#endif
