/* Losses over active sets, turned into gradients in place.
 *
 * Logits o_j of a row's active set become z_j = o_j - log_inclusion_j, so that the sum of exp(z) over a sample estimates
 * the sum over all labels without bias (importance weights; Bengio & Senecal 2008). Targets t_j are sparse.
 * Thread-safe; the rows are independent, so the same bits for any number of threads. Gradients are not divided by the
 * number of rows. NaN logits give NaN losses. */
#ifndef LSHSAMPLE_LOSS_H
#define LSHSAMPLE_LOSS_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* Sparse targets: row i has t = values[k] at the places positions[k], k in [indptr[i], indptr[i + 1]), places counted
 * from the row's first logit, unique and in range. */
typedef struct {
    const int64_t *indptr;
    const int32_t *positions;
    const float *values;
} lsh_targets;

/* Softmax cross-entropy: loss = -sum_j t_j log p_j, p_j = exp(z_j) / sum exp(z); gradient T p - t with T = sum_j t_j
 * (1, or 0 for a row without labels). All rows share log_inclusion (cols, or NULL). */
lsh_status lsh_softmax(lsh_dense logits, lsh_targets targets, const float *log_inclusion, float *loss, int32_t threads);
/* The same over rows of different lengths: row i is logits[indptr[i] .. indptr[i + 1]), log_inclusion beside it. */
lsh_status lsh_softmax_ragged(float *logits, const int64_t *indptr, int64_t m, lsh_targets targets,
                              const float *log_inclusion, float *loss, int32_t threads);
/* One-vs-all logistic loss: sum_j w_j (log(1 + e^o_j) - t_j o_j), w_j = exp(-log_inclusion_j) or 1; gradient
 * w_j (sigmoid(o_j) - t_j). */
lsh_status lsh_sigmoid(lsh_dense logits, lsh_targets targets, const float *log_inclusion, float *loss, int32_t threads);
lsh_status lsh_sigmoid_ragged(float *logits, const int64_t *indptr, int64_t m, lsh_targets targets,
                              const float *log_inclusion, float *loss, int32_t threads);

#endif
