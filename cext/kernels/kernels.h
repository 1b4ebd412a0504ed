/* The tables of kernels: one per instruction set, filled from the same sources, chosen at run time; and in each one per
 * dtype of weights.
 *
 * A kernel is serial, works on one block, allocates nothing and cannot fail; the drivers in cext/src cut the work,
 * distribute it over threads and check sizes. Strides are in elements.
 *
 * Kernels are listed once, here, as KERNEL(result, name, arguments): the members of a table and its entries are both
 * made of the list. A kernel `f` of the first list is the function f of some *_body.h; one of the second is LSH_ROW(f)
 * in row_body.h, which is compiled for each dtype. */
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

enum { LSH_GROUP = 16 };  /* floats in a group of a run (conv_body.h): the same place of 16 images, or 16 places */

/* The maps of tiles of Winograd's algorithm, to each of which the number of a tile's outputs (2 or 4) is added: inputs to
 * points, points to outputs, and the transposed maps. */
enum { LSH_POINTS = 0, LSH_OUTPUTS = 8, LSH_POINTS_BACK = 16, LSH_OUTPUTS_BACK = 24 };

enum { LSH_LANES = 16 }; /* problems that hinge_rows solves at once: one cache line of weights for each feature */

/* A block of LSH_LANES problems over the same rows: min |w|^2 / 2 + sum of C_i max(0, 1 - y_i w . x_i)^2, where the last
 * feature of each row is 1. Arrays by lane have LSH_LANES floats. */
typedef struct {
    const int64_t *begin;    /* (rows + 1) */
    const int32_t *features; /* of the rows, below n_features */
    const float *values;
    const float *squares;     /* (rows): |x|^2, the last feature included */
    const uint16_t *positive; /* (rows): the lanes in which y = 1; else it is -1 */
    int32_t *order;           /* rows in the order of the pass; those from `active` on are left out */
    int64_t active, n_features;
    float *weights;                                            /* (n_features + 1, lanes) */
    float *alpha;                                              /* (rows, lanes): dual variables */
    float diagonal, positive_diagonal[16];                     /* 1 / (2 C_i) */
    float live[16];                                            /* 1, or 0 for lanes without a problem */
    float bound[16];      /* rows whose gradient is above it in all lanes, where alpha is 0, leave the active ones */
    float largest[16], upper[16]; /* grow to the largest |projected gradient|, and projected gradient, of the pass */
    float negligible;             /* a row with no larger projected gradient in any lane changes nothing */
} lsh_hinge;

/* Kernels over float32 alone. Packed panels hold panel[p * panel_columns + j], panel_columns being two vectors; columns
 * behind the last one are filled with zeros. */
#define LSH_KERNELS(KERNEL) \
    /* n columns of a become tiles of a few columns each, as product_packed takes them: depth * n floats. */ \
    KERNEL(void, pack_columns, (const float *a, int64_t stride, int64_t depth, int64_t n, float *tiles)) \
    /* c[m, n] = first[n] + a[m, depth] @ panel, or c += where first is NULL; n <= panel_columns, first has \
     * panel_columns floats. */ \
    KERNEL(void, product_rows, (const float *a, int64_t a_stride, int64_t m, const float *panel, int64_t depth, \
                                const float *first, float *c, int64_t c_stride, int64_t n)) \
    /* The same with a in the tiles of pack_columns. */ \
    KERNEL(void, product_packed, (const float *tiles, int64_t m, const float *panel, int64_t depth, \
                                  const float *first, float *c, int64_t c_stride, int64_t n)) \
    /* out[n] += a[n]. */ \
    KERNEL(void, add, (float *out, const float *a, int64_t n)) \
    /* The first place from `from` on whose score is above the threshold, or n. */ \
    KERNEL(int64_t, next_above, (const float *scores, int64_t from, int64_t n, float threshold)) \
    LSH_LOSS_KERNELS(KERNEL) \
    LSH_HINGE_KERNELS(KERNEL) \
    LSH_DRAW_KERNELS(KERNEL) \
    LSH_CODED_KERNELS(KERNEL) \
    LSH_CONVOLUTION_KERNELS(KERNEL)

#define LSH_LOSS_KERNELS(KERNEL) \
    /* z -= log_inclusion (unless NULL); the largest z. */ \
    KERNEL(float, corrected_max, (float *z, const float *log_inclusion, int64_t n)) \
    /* z = exp(z - shift); the sum. */ \
    KERNEL(double, exp_sum, (float *z, int64_t n, float shift)) \
    /* z *= factor. */ \
    KERNEL(void, scale, (float *z, int64_t n, float factor)) \
    /* z = w sigmoid(z), w = exp(-log_inclusion) or 1; the sum of w log(1 + e^z). */ \
    KERNEL(double, sigmoid, (float *z, const float *log_inclusion, int64_t n)) \
    /* The sum of w z, w = exp(-log_inclusion) or 1; that of w is put into *weight. */ \
    KERNEL(double, weighted_total, (const float *z, const float *log_inclusion, int64_t n, double *weight)) \
    /* z -= amount * w, with the same w. */ \
    KERNEL(void, subtract_weights, (float *z, const float *log_inclusion, int64_t n, float amount))

#define LSH_HINGE_KERNELS(KERNEL) \
    /* One step of dual coordinate descent for each of the rows order[from .. to), in that order. */ \
    KERNEL(void, hinge_rows, (lsh_hinge *block, int64_t from, int64_t to))

#define LSH_DRAW_KERNELS(KERNEL) \
    /* out[i] = words 0 and 1 (word 0 above) of lsh_philox at index indices[i], or first + i where indices is NULL. */ \
    KERNEL(void, draw_words, (uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t first, \
                              const int32_t *indices, int64_t n, uint64_t *out)) \
    /* All words of the n draws from index first on, 16 bits at a time: out[8 i + 2 w] is the lower half of word w of \
     * draw first + i, out[8 i + 2 w + 1] the upper one. */ \
    KERNEL(void, draw_halves, (uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t first, \
                               int64_t n, uint16_t *out))

#define LSH_CONVOLUTION_KERNELS(KERNEL) \
    /* out[i] += sum over t of values[t] * in[offsets[t] + i], i below LSH_GROUP * groups, in the order of t; from *first on \
     * where it is not NULL. */ \
    KERNEL(void, add_runs, (const int32_t *offsets, const float *values, int64_t n, const float *in, const float *first, \
                            float *out, int64_t groups)) \
    /* A group of sums[t] grows by the partial sums of the products of run and in + offsets[t]. */ \
    KERNEL(void, dot_runs, (const float *run, const int32_t *offsets, int64_t n, const float *in, float *sums, \
                            int64_t groups)) \
    /* out[c * out_stride + r] = in[r * in_stride + c], r < rows, c < columns. */ \
    KERNEL(void, transpose, (const float *in, int64_t in_stride, int64_t rows, int64_t columns, float *out, \
                             int64_t out_stride)) \
    /* A tile of groups, at strides of its rows and columns, by one of the maps of Winograd's algorithm. */ \
    KERNEL(void, winograd_map, (int32_t map, const float *in, int64_t in_row, int64_t in_column, float *out, \
                                int64_t out_row, int64_t out_column))

/* Rows in codes of 8 or 4 bits (lshsample/coded.h). */
#define LSH_CODED_KERNELS(KERNEL) \
    /* The least and the greatest value; NaN where there is a NaN. */ \
    KERNEL(void, coded_range, (const float *values, int64_t n, float *least, float *greatest)) \
    /* out[j] = offset + scale * code j. */ \
    KERNEL(void, decode_8, (const uint8_t *codes, int64_t n, float scale, float offset, float *out)) \
    KERNEL(void, decode_4, (const uint8_t *codes, int64_t n, float scale, float offset, float *out)) \
    /* code j = floor((values[j] - offset) * inverse + u), u from 16 random bits, followed by as many bytes as a vector has, \
     * or 1/2 where bits is NULL. */ \
    KERNEL(void, encode_8, (uint8_t *codes, int64_t n, const float *values, float inverse, float offset, \
                            const uint16_t *bits)) \
    KERNEL(void, encode_4, (uint8_t *codes, int64_t n, const float *values, float inverse, float offset, \
                            const uint16_t *bits)) \
    /* Small floating-point numbers: the top of a row's values; out[j] = number j; number j = values[j], by 16 \
     * random bits each, followed by as many bytes as a vector has. */ \
    KERNEL(int32_t, small_top, (const float *values, int64_t n)) \
    KERNEL(void, small_decode, (const uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, float *out)) \
    KERNEL(void, small_encode, (uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, \
                                const float *values, const uint16_t *random)) \
    /* The same with a sign, in 4 bits, which lie as those of encode_4. */ \
    KERNEL(int32_t, small_top_4, (const float *values, int64_t n)) \
    KERNEL(void, small_decode_4, (const uint8_t *codes, int64_t n, int32_t top, float *out)) \
    KERNEL(void, small_encode_4, (uint8_t *codes, int64_t n, int32_t top, const float *values, const uint16_t *random)) \
    /* Each 16 bits turned to the left. */ \
    KERNEL(void, turn_bits, (uint16_t *bits, int64_t n, int places))

/* Kernels over rows of one dtype: weights, which are read, converted and stored, while all sums are float32;
 * and their optimizer state. */
#define LSH_ROW_KERNELS(KERNEL) \
    /* out[n] = row[n]. */ \
    KERNEL(void, load, (const void *row, int64_t n, float *out)) \
    /* row[n] = values[n], to nearest, ties to even. */ \
    KERNEL(void, store, (void *row, int64_t n, const float *values)) \
    /* row[n] = values[n], rounded stochastically by 16 random bits each (lshsample/convert.h). */ \
    KERNEL(void, store_stochastic, (void *row, int64_t n, const float *values, const uint16_t *bits)) \
    /* n rows of b (rows[j], or j where rows is NULL) become columns: panel(p, j) = b[row j][p], p < depth. */ \
    KERNEL(void, pack_transposed, (const void *b, int64_t stride, const int32_t *rows, int64_t n, int64_t depth, \
                                   float *panel)) \
    /* depth rows of b stay rows: panel(p, j) = b[row p][j], j < n. */ \
    KERNEL(void, pack_rows, (const void *b, int64_t stride, const int32_t *rows, int64_t depth, int64_t n, \
                             float *panel)) \
    /* out[d] = first[d] (0 where NULL) + sum_t values[t] * w[rows[t]], in the order of t. */ \
    KERNEL(void, weighted_sum, (const int32_t *rows, const float *values, int64_t n, const void *w, int64_t stride, \
                                const float *first, float *out, int64_t d)) \
    /* values[t] = h . w[rows[t]]. */ \
    KERNEL(void, dots, (const float *h, int64_t d, const void *w, int64_t stride, const int32_t *rows, int64_t n, \
                        float *values)) \
    /* Optimizer steps over n columns of a row: weights, state, gradient (optim_body.h). bits: NULL, which rounds to nearest, \
     * or 16 random bits for each column, followed by as many bytes as a vector has. */ \
    KERNEL(void, sgd, (void *w, const float *gradient, int64_t n, float lr, const uint16_t *bits)) \
    KERNEL(void, adagrad, (void *w, void *s, const float *gradient, int64_t n, float lr, float eps, \
                           const uint16_t *bits)) \
    KERNEL(void, adam, (void *w, void *m, void *v, const float *gradient, int64_t n, const lsh_adam_step *step, \
                        const uint16_t *bits))

/* The dtypes that have kernels, as DTYPE(name in lsh_dtype, name of the C file that reads and writes its elements). */
#define LSH_ROW_DTYPES(DTYPE) \
    DTYPE(LSH_FLOAT32, float32) \
    DTYPE(LSH_BFLOAT16, bfloat16)

#define LSH_KERNEL_MEMBER(result, name, arguments) result(*name) arguments;
#define LSH_DTYPE_MEMBER(code, name) const lsh_row_kernels *name;

typedef struct {
    int64_t bytes; /* of an element */
    LSH_ROW_KERNELS(LSH_KERNEL_MEMBER)
} lsh_row_kernels;

typedef struct {
    int64_t panel_columns; /* columns of a packed panel: two vectors */
    LSH_ROW_DTYPES(LSH_DTYPE_MEMBER)
    LSH_KERNELS(LSH_KERNEL_MEMBER)
} lsh_kernels;

/* The table of the instruction set in use. Thread-safe. */
const lsh_kernels *lsh_kernels_current(void);
/* The kernels of a table for rows of a dtype (lsh_dtype); NULL for a dtype that has none. */
const lsh_row_kernels *lsh_row_kernels_for(const lsh_kernels *kernels, int32_t dtype);

extern const lsh_kernels lsh_kernels_baseline;
#if defined(__x86_64__)
extern const lsh_kernels lsh_kernels_avx2, lsh_kernels_avx512;
#elif defined(__aarch64__)
extern const lsh_kernels lsh_kernels_neon;
#endif

#endif
