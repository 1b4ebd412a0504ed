/* The table of kernels: one per instruction set, filled from the same sources, chosen at run time.
 *
 * A kernel is serial, works on one block, allocates nothing and cannot fail; the drivers in cext/src cut the work,
 * hand it to threads and check sizes. Strides are in floats. */
#ifndef LSHSAMPLE_KERNELS_H
#define LSHSAMPLE_KERNELS_H

#include <stdint.h>

enum {
    LSH_PANEL_DEPTH = 256,  /* terms of a sum that one packed panel holds: 32 KiB of L1 at 32 columns */
    LSH_PANEL_COLUMNS = 32, /* the widest panel of any instruction set */
    LSH_TILE_ROWS = 16      /* the tallest tile of any instruction set */
};

/* What Adam needs for one step, with the bias corrections folded in. */
typedef struct {
    float beta1, rest1; /* rest = 1 - beta, taken in float64: 1 - 0.999f would be off by 5e-5 */
    float beta2, rest2;
    float eps;
    float rate;  /* lr / (1 - beta1^step) */
    float scale; /* 1 / sqrt(1 - beta2^step) */
} lsh_adam_step;

typedef struct {
    int64_t panel_columns; /* columns of a packed panel: two vectors */

    /* Packed panels hold panel[p * panel_columns + j], columns behind the last one filled with zeros. */
    /* n rows of b (rows[j], or j where rows is NULL) become columns: panel(p, j) = b[row j][p], p < depth. */
    void (*pack_transposed)(const float *b, int64_t stride, const int32_t *rows, int64_t n, int64_t depth,
                            float *panel);
    /* depth rows of b stay rows: panel(p, j) = b[row p][j], j < n. */
    void (*pack_rows)(const float *b, int64_t stride, const int32_t *rows, int64_t depth, int64_t n, float *panel);
    /* n columns of a become tiles of a few columns each, as product_packed takes them: depth * n floats. */
    void (*pack_columns)(const float *a, int64_t stride, int64_t depth, int64_t n, float *tiles);

    /* c[m, n] = first[n] + a[m, depth] @ panel, or c += where first is NULL; n <= panel_columns, first has
     * panel_columns floats. */
    void (*product_rows)(const float *a, int64_t a_stride, int64_t m, const float *panel, int64_t depth,
                         const float *first, float *c, int64_t c_stride, int64_t n);
    /* The same with a in the tiles of pack_columns. */
    void (*product_packed)(const float *tiles, int64_t m, const float *panel, int64_t depth, const float *first,
                           float *c, int64_t c_stride, int64_t n);

    /* out[d] = first[d] (0 where NULL) + sum_t values[t] * w[rows[t]], in the order of t. */
    void (*weighted_sum)(const int32_t *rows, const float *values, int64_t n, const float *w, int64_t stride,
                         const float *first, float *out, int64_t d);
    /* values[t] = h . w[rows[t]]. */
    void (*dots)(const float *h, int64_t d, const float *w, int64_t stride, const int32_t *rows, int64_t n,
                 float *values);
    /* out[n] += a[n]. */
    void (*add)(float *out, const float *a, int64_t n);
    /* The first place from `from` on whose score is above the threshold, or n. */
    int64_t (*next_above)(const float *scores, int64_t from, int64_t n, float threshold);

    /* z -= log_inclusion (unless NULL); the largest z. */
    float (*corrected_max)(float *z, const float *log_inclusion, int64_t n);
    /* z = exp(z - shift); the sum. */
    double (*exp_sum)(float *z, int64_t n, float shift);
    /* z *= factor. */
    void (*scale)(float *z, int64_t n, float factor);
    /* z = w sigmoid(z), w = exp(-log_inclusion) or 1; the sum of w log(1 + e^z). */
    double (*sigmoid)(float *z, const float *log_inclusion, int64_t n);

    /* One row of a store (slots * d floats) and its gradient. */
    void (*sgd)(float *row, const float *gradient, int64_t d, float lr);
    void (*adagrad)(float *row, const float *gradient, int64_t d, float lr, float eps);
    void (*adam)(float *row, const float *gradient, int64_t d, const lsh_adam_step *step);

    /* out[i] = words 0 and 1 (word 0 above) of lsh_philox at index indices[i], or first + i where indices is NULL. */
    void (*draw_words)(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t first,
                       const int32_t *indices, int64_t n, uint64_t *out);
} lsh_kernels;

/* The table of the instruction set in use. Thread-safe. */
const lsh_kernels *lsh_kernels_current(void);

extern const lsh_kernels lsh_kernels_baseline;
#if defined(__x86_64__)
extern const lsh_kernels lsh_kernels_avx2, lsh_kernels_avx512;
#endif

#endif
