/* Losses over active sets, turned into gradients in place, in one part or in several.
 *
 * Logits o_j of a row's active set become z_j = o_j - log_inclusion_j, so that the sum of exp(z) over a sample estimates
 * the sum over all labels without bias (importance weights; Bengio & Senecal 2008). Targets t_j are sparse.
 * Thread-safe; the rows are independent, so the same bits for any number of threads. Gradients are not divided by the
 * number of rows. NaN logits give NaN losses.
 *
 * A row's labels may be divided into parts, each with its own logits and targets, in one process or in several:
 * lsh_loss_summarise takes the sums of each part, lsh_loss_combine adds them in the order of the parts, and
 * lsh_loss_finish turns each part into its gradient. One part gives the bits of lsh_loss_apply, which does all three on
 * a row while it is in cache. */
#ifndef LSHSAMPLE_LOSS_H
#define LSHSAMPLE_LOSS_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* Softmax cross-entropy: loss = -sum_j t_j log p_j, p_j = exp(z_j) / sum exp(z); gradient T p - t with T = sum_j t_j
 * (1, or 0 for a row without labels).
 * Sigmoid, the one-vs-all logistic loss: sum_j w_j (c_j log(1 + e^o_j) - t_j o_j), w_j = exp(-log_inclusion_j) or 1,
 * c_j = max(t_j, 1): a target above 1 is a label that counts t times; gradient w_j (c_j sigmoid(o_j) - t_j). */
typedef enum { LSH_LOSS_SOFTMAX = 0, LSH_LOSS_SIGMOID = 1 } lsh_loss;

/* Sparse targets: row i has t = values[k] at the places positions[k], k in [indptr[i], indptr[i + 1]), places counted
 * from the row's first logit, unique and in range. */
typedef struct {
    const int64_t *indptr;
    const int32_t *positions;
    const float *values;
} lsh_targets;

/* Label smoothing: a share of a row's targets is spread evenly over `labels` labels. With the sum M of the row's
 * targets, t_j becomes (1 - share) t_j + share M / labels at each of them. A logit stands for w_j = exp(-log_inclusion_j)
 * labels (1 without log_inclusion), so its part of the even share is w_j times that, an unbiased estimate of the sum over
 * all labels. */
typedef struct {
    double share;   /* in [0, 1); 0: none */
    int64_t labels; /* of which the active ones are a sample; 0: the active ones are all labels */
} lsh_smoothing;

/* Logits of some rows, which become their gradient, and the targets among them. */
typedef struct {
    float *values;
    const int64_t *indptr;      /* row i is values[indptr[i] .. indptr[i + 1]); NULL: rows of one length */
    int64_t rows, cols, stride; /* of rows of one length: row i is values[i * stride .. i * stride + cols) */
    const float *log_inclusion; /* one for each value if indptr is given, else for each column; NULL: all 0 */
    lsh_targets targets;
    lsh_smoothing smoothing;
} lsh_logits;

/* What one part of a row contributes; what a loss does not use is 0. */
typedef struct {
    double top;       /* the largest z; -infinity where the part is empty */
    double sum;       /* softmax: of exp(z - top); sigmoid: of w c log(1 + e^o) */
    double mass;      /* of the targets */
    double agreement; /* softmax: of t (z - top); sigmoid: of w t o */
    double weight;    /* of w; 0 without smoothing */
    double spread;    /* of w o; 0 without smoothing */
    double labels;    /* lsh_smoothing's */
} lsh_loss_sums;

/* The loss of each row; the logits become the gradient. LSH_INVALID for an unknown loss. */
lsh_status lsh_loss_apply(lsh_loss loss, lsh_logits logits, float *losses, int32_t threads);
/* An output layer whose rows have active sets of their own, as lsh_csr_sampled_matmul takes it: logit t of row i, indptr[i]
 * <= t < indptr[i + 1] of the lsh_logits, is h[i] . w[ids[t]] + bias[ids[t]]. */
typedef struct {
    lsh_dense h, w;
    const float *bias; /* NULL: none */
    int64_t bias_stride;
    const int32_t *ids;
    lsh_dense dh; /* becomes the gradient of the losses at h, as lsh_csr_matmul computes it; data NULL: not computed */
} lsh_sampled_layer;

/* Logits, losses, gradients and the gradient at h, row by row: the weights of a row's active set are read once from memory,
 * and a second time from the cache. The same bits as lsh_csr_sampled_matmul, lsh_loss_apply and lsh_csr_matmul one after
 * the other. logits.values need not be set. LSH_INVALID as there, or for logits of rows of one length. */
lsh_status lsh_loss_sampled(lsh_loss loss, lsh_logits logits, const lsh_sampled_layer *layer, float *losses,
                            int32_t threads);
/* The sums of each row of a part, and the first half of its gradient. */
lsh_status lsh_loss_summarise(lsh_loss loss, lsh_logits logits, lsh_loss_sums *sums, int32_t threads);
/* The sums of whole rows and their losses from those of n_parts parts, parts[p * rows + i] for row i, added in the
 * order of p; share as in lsh_smoothing. */
lsh_status lsh_loss_combine(lsh_loss loss, double share, const lsh_loss_sums *parts, int64_t n_parts, int64_t rows,
                            lsh_loss_sums *total, float *losses);
/* The rest of a part's gradient, from the part's own sums and those of whole rows. */
lsh_status lsh_loss_finish(lsh_loss loss, lsh_logits logits, const lsh_loss_sums *part, const lsh_loss_sums *total,
                           int32_t threads);

#endif
