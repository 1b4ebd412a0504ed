/* The exact best k labels, found through an 8-bit copy of the rows of weights.
 *
 * A row w is kept as integers q from -127 to 127 and a scale: w = scale * q + r. A row h of input is rounded likewise.
 * From the norms of what rounding leaves, by the inequality of Cauchy and Schwarz, follows an upper bound of each
 * score; only labels whose bound is above the k-th best score so far are scored in float32. The results are thus those
 * of lsh_top_k, to the bit. Integer products have the same bits on every instruction set.
 *
 * Most labels need not even be bounded one by one, if rows of input are alike, as those of a trained layer are: then the
 * copy is in an order in which labels with high scores for them come first, and a panel is skipped where a bound for all
 * of its labels is below the k-th best score. With a direction u of norm 1, w = a u + r and h = b u + s, a score is at
 * most a b + |r| |s| + bias; of a, -a, |r|, |w| and the bias each panel keeps the largest. The order and the direction
 * decide the time only, never the result.
 *
 * Weights that are integers times a scale a row need nothing but the copy: scores are computed from scale * q, each
 * product rounded to float32. */
#ifndef LSHSAMPLE_BYTES_H
#define LSHSAMPLE_BYTES_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

enum {
    LSH_BYTE_PANEL = 32,       /* labels in one panel of the copy */
    LSH_BYTE_DEPTH = 1 << 16   /* the most columns: a sum of products fits in 32 bits */
};

/* The copy, owned by the caller: quads = ceil(columns / 4), panels = ceil(rows / 32). */
typedef struct {
    int8_t *values;   /* (panels, quads, 32, 4): the integers, 0 behind the last row and column */
    int32_t *offsets; /* (panels, 32): -128 times the sum of a row's integers */
    float *terms;     /* (panels, 4, 32): scale, bias, norm of the remainder (and of float32's rounding), norm */
    /* All three NULL in the order of the labels, in which every panel is read. */
    int32_t *ids;     /* (panels, 32): the label in each place; any behind the last one */
    float *direction; /* (d): u */
    float *limits;    /* (panels, LSH_BYTE_LIMITS): the largest a, -a, |r|, |w| times float32's rounding, bias */
} lsh_byte_rows;

enum { LSH_BYTE_LIMITS = 5 };

/* Fills the copy, whose ids, direction and limits are given, of w (n, d), float32 or bfloat16, and bias(n), or NULL. With
 * scales(n), or NULL, w is int8, from -127 to 127, and the weights are scale * w. LSH_INVALID: d above LSH_BYTE_DEPTH,
 * or another dtype. */
lsh_status lsh_byte_rows_make(lsh_dense w, const float *scales, const float *bias, int64_t bias_stride,
                              lsh_byte_rows rows, int32_t threads);

/* The limits (n, LSH_BYTE_LIMITS) of each row of w (n, d) with a direction u (d). LSH_INVALID: as above. */
lsh_status lsh_byte_row_limits(lsh_dense w, const float *bias, int64_t bias_stride, const float *direction,
                               float *limits, int32_t threads);

/* As lsh_top_k, with a copy of the same w and bias; w.data is NULL where the weights are those of the copy. *scored: how
 * many scores were computed in float32. */
lsh_status lsh_byte_top_k(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, lsh_byte_rows rows,
                          int32_t k, int32_t *ids, float *scores, int64_t *scored, int32_t threads);

#endif
