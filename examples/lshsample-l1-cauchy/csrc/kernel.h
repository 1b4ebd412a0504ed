/* The kernel, included once per instruction set: the including file names the set. It must equal the reference bit for
 * bit, so a projection is summed in the columns' order with a rounding after each step, and vectors hold projections
 * side by side. */
#include <math.h>

#include "functions.h"
#include "lshsample/simd.h"

LSH_KERNELS_BEGIN

typedef double LSH_NAME(doubles) __attribute__((vector_size(8 * LSH_WIDTH)));

typedef struct {
    int64_t n;
    const float *values;
    const int32_t *columns; /* NULL: 0 .. n-1 */
} LSH_NAME(one_row);

/* Projections (n_hashes * n_tables) of a row. Four vectors of them at a time stay in registers while its entries go by. */
static void LSH_NAME(project)(const lshsample_l1_cauchy_state *s, const LSH_NAME(one_row) *row, double *out) {
    enum { TILE = 4 * LSH_WIDTH };
    int64_t width = s->n_hashes * s->n_tables, w = 0;
    for (; w + TILE <= width; w += TILE) {
        LSH_NAME(doubles) sum[4] = {{0}, {0}, {0}, {0}};
        for (int64_t i = 0; i < row->n; i++) {
            const float *line = s->directions + (row->columns ? row->columns[i] : i) * width + w;
            double value = row->values[i];
            for (int u = 0; u < 4; u++)
                sum[u] += value * __builtin_convertvector(lsh_load(line + u * LSH_WIDTH), LSH_NAME(doubles));
        }
        memcpy(out + w, sum, sizeof sum);
    }
    memset(out + w, 0, (size_t)(width - w) * sizeof *out);
    for (int64_t i = 0; i < row->n && w < width; i++) {
        const float *line = s->directions + (row->columns ? row->columns[i] : i) * width;
        double value = row->values[i];
        for (int64_t rest = w; rest < width; rest++) out[rest] += value * (double)line[rest];
    }
}

static int32_t LSH_NAME(hash_rows)(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                                   const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch) {
    const lshsample_l1_cauchy_state *s = state;
    const double modulus = (double)(1 << s->bits);
    double *projections = scratch;
    for (int64_t r = 0; r < n_rows; r++, codes += s->n_tables) {
        LSH_NAME(one_row) row = {dim, values + r * stride, NULL};
        if (indptr) row = (LSH_NAME(one_row)){indptr[r + 1] - indptr[r], values + indptr[r], indices + indptr[r]};
        LSH_NAME(project)(s, &row, projections);
        memset(codes, 0, (size_t)s->n_tables * sizeof *codes);
        for (int64_t k = 0; k < s->n_hashes; k++) {
            const double *line = projections + k * s->n_tables, *offsets = s->offsets + k * s->n_tables;
            for (int64_t t = 0; t < s->n_tables; t++) {
                double cell = floor(line[t] / s->width + offsets[t]);
                int32_t kept = (int32_t)(cell - floor(cell / modulus) * modulus);
                codes[t] |= (uint32_t)kept << (k * s->bits);
            }
        }
    }
    return 0;
}

LSH_KERNELS_END

lsh_hash_fn LSH_NAME(lshsample_l1_cauchy_kernel)(void) { return LSH_NAME(hash_rows); }
