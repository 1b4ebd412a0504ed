#include "lshsample/layers.h"

#include <stdlib.h>
#include <string.h>

#include "dense.h"
#include "kernels.h"
#include "lshsample/parallel.h"
#include "radix.h"
#include "sorted.h"

enum {
    SPARSE_ROWS = 4,    /* samples in one task: about 300 gathered rows at 75 entries each */
    SUMMED_ROWS = 64,   /* distinct columns in one task */
    ROUNDED = 256,      /* columns that are summed before they are rounded: 1 KiB on the stack */
    DOTS = 4096,        /* gathered rows in one task: enough work to wake another thread for */
    PAIRS = 1024        /* pairs of sparse rows in one task */
};

typedef struct {
    const lsh_row_kernels *weights; /* for rows of w */
    const lsh_row_kernels *narrow;  /* of sums that are rounded: for rows of the output */
    const int64_t *indptr;
    const int32_t *indices;
    float *values;
    lsh_dense w, h, out;
    const float *first, *bias;
    int64_t bias_stride;
} sparse_product;

static lsh_status matmul_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const sparse_product *p = context;
    for (int64_t i = begin; i < end; i++) {
        int64_t from = p->indptr[i], n = p->indptr[i + 1] - from;
        p->weights->weighted_sum(p->indices + from, p->values + from, n, p->w.data, p->w.stride, p->first,
                                 lsh_float_row(p->out, i), p->out.cols);
    }
    return LSH_OK;
}

lsh_status lsh_csr_matmul(lsh_csr x, lsh_dense w, const float *bias, int64_t bias_stride, lsh_dense out,
                          int32_t threads) {
    const lsh_row_kernels *weights = lsh_row_kernels_for(lsh_kernels_current(), w.dtype);
    if (!weights || out.dtype != LSH_FLOAT32) return LSH_INVALID;
    if (x.cols != w.rows || out.rows != x.rows || out.cols != w.cols) return LSH_INVALID;
    float *first = NULL;
    if (bias && bias_stride != 1 && w.cols > 0) {
        if (!(first = malloc((size_t)w.cols * sizeof *first))) return LSH_NO_MEMORY;
        for (int64_t j = 0; j < w.cols; j++) first[j] = bias[j * bias_stride];
    }
    sparse_product p = {.weights = weights, .indptr = x.indptr, .indices = x.indices, .values = x.values, .w = w,
                        .out = out, .first = first ? first : bias};
    lsh_status status = lsh_parallel_for(x.rows, SPARSE_ROWS, threads, matmul_chunk, &p);
    free(first);
    return status;
}

/* As matmul_chunk, with rows of the output that are rounded to its dtype. */
static lsh_status rounded_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const sparse_product *p = context;
    float sums[ROUNDED];
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < p->out.cols; j += ROUNDED) {
            int64_t from = p->indptr[i], d = p->out.cols - j < ROUNDED ? p->out.cols - j : ROUNDED;
            p->weights->weighted_sum(p->indices + from, p->values + from, p->indptr[i + 1] - from,
                                     lsh_float_row(p->w, 0) + j, p->w.stride, NULL, sums, d);
            p->narrow->store(lsh_element(p->out, p->narrow->bytes, i, j), d, sums);
        }
    return LSH_OK;
}

lsh_status lsh_csr_weighted_sums(const int64_t *starts, const int32_t *samples, const float *values, lsh_dense d,
                                 lsh_dense out, int32_t threads) {
    const lsh_kernels *kernels = lsh_kernels_current();
    sparse_product p = {.weights = kernels->float32, .narrow = lsh_row_kernels_for(kernels, out.dtype), .indptr = starts,
                        .indices = samples, .values = (float *)values, .w = d, .out = out};
    if (out.cols != d.cols || d.dtype != LSH_FLOAT32 || !p.narrow) return LSH_INVALID;
    lsh_chunk_fn chunk = out.dtype == LSH_FLOAT32 ? matmul_chunk : rounded_chunk;
    return lsh_parallel_for(out.rows, SUMMED_ROWS, threads, chunk, &p);
}

/* Entries, not rows, are the work, so that one long row has several threads too. */
static lsh_status dots_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const sparse_product *p = context;
    for (int64_t i = row_of(p->indptr, p->h.rows, begin); begin < end; i++) {
        int64_t to = p->indptr[i + 1] < end ? p->indptr[i + 1] : end;
        p->weights->dots(lsh_float_row(p->h, i), p->h.cols, p->w.data, p->w.stride, p->indices + begin, to - begin,
                         p->values + begin);
        for (int64_t t = begin; p->bias && t < to; t++) p->values[t] += p->bias[p->indices[t] * p->bias_stride];
        begin = to;
    }
    return LSH_OK;
}

lsh_status lsh_csr_sampled_matmul(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride,
                                  const int64_t *indptr, const int32_t *ids, float *values, int32_t threads) {
    const lsh_row_kernels *weights = lsh_row_kernels_for(lsh_kernels_current(), w.dtype);
    if (!weights || h.dtype != LSH_FLOAT32 || h.cols != w.cols) return LSH_INVALID;
    sparse_product p = {.weights = weights, .indptr = indptr, .indices = ids, .values = values, .w = w, .h = h,
                        .bias = bias, .bias_stride = bias_stride};
    return lsh_parallel_for(h.rows ? indptr[h.rows] : 0, DOTS, threads, dots_chunk, &p);
}

typedef struct {
    lsh_csr q, x;
    const int64_t *indptr;
    const int32_t *ids;
    float *values;
} pair_products;

/* The inner product of two rows of ascending columns. */
static float merged_dot(lsh_csr q, int64_t i, lsh_csr x, int64_t j) {
    int64_t a = q.indptr[i], a_end = q.indptr[i + 1], b = x.indptr[j], b_end = x.indptr[j + 1];
    double sum = 0;
    while (a < a_end && b < b_end) {
        int32_t left = q.indices[a], right = x.indices[b];
        if (left == right) sum += (double)q.values[a] * (double)x.values[b];
        a += left <= right;
        b += right <= left;
    }
    return (float)sum;
}

static lsh_status pairs_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const pair_products *p = context;
    for (int64_t i = row_of(p->indptr, p->q.rows, begin); begin < end; i++) {
        int64_t to = p->indptr[i + 1] < end ? p->indptr[i + 1] : end;
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        for (; begin < to; begin++) p->values[begin] = merged_dot(p->q, i, p->x, p->ids[begin]);
    }
    return LSH_OK;
}

lsh_status lsh_csr_pair_products(lsh_csr q, lsh_csr x, const int64_t *indptr, const int32_t *ids, float *values,
                                 int32_t threads) {
    if (q.cols != x.cols) return LSH_INVALID;
    pair_products p = {q, x, indptr, ids, values};
    return lsh_parallel_for(q.rows ? indptr[q.rows] : 0, PAIRS, threads, pairs_chunk, &p);
}

/* The row of each entry. */
static void list_rows(lsh_csr x, int32_t *out) {
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t t = x.indptr[i]; t < x.indptr[i + 1]; t++) out[t - x.indptr[0]] = (int32_t)i;
}

/* Writes entries that are sorted by column, as keys (column << 32 | entry); returns the number of distinct columns. */
static int64_t write_columns(lsh_csr x, const uint64_t *sorted, const int32_t *rows, int64_t n, int32_t *columns,
                             int64_t *starts, int32_t *samples, float *out) {
    const float *values = x.values + x.indptr[0];
    int64_t distinct = 0;
    for (int64_t t = 0; t < n; t++) {
        int32_t column = (int32_t)(sorted[t] >> 32);
        if (t == 0 || column != columns[distinct - 1]) {
            columns[distinct] = column;
            starts[distinct++] = t;
        }
        samples[t] = rows[(uint32_t)sorted[t]];
        out[t] = values[(uint32_t)sorted[t]];
    }
    starts[distinct] = n;
    return distinct;
}

lsh_status lsh_csr_transpose(lsh_csr x, int32_t *columns, int64_t *starts, int32_t *samples, float *values,
                             int64_t *n_columns) {
    int64_t n = x.rows > 0 ? x.indptr[x.rows] - x.indptr[0] : 0;
    if (x.rows > INT32_MAX || n < 0 || n > UINT32_MAX) return LSH_INVALID;
    starts[0] = *n_columns = 0;
    if (n == 0) return LSH_OK;
    uint64_t *keys = malloc((size_t)(2 * n) * sizeof *keys);
    int32_t *rows = malloc((size_t)n * sizeof *rows);
    lsh_status status = keys && rows ? LSH_OK : LSH_NO_MEMORY;
    if (status == LSH_OK) {
        const uint32_t *entries = (const uint32_t *)x.indices + x.indptr[0];
        const uint64_t *sorted = radix_order(entries, n, bits_below(x.cols), keys, keys + n);
        list_rows(x, rows);
        if (sorted) *n_columns = write_columns(x, sorted, rows, n, columns, starts, samples, values);
        else status = LSH_OUT_OF_RANGE;
    }
    free(keys);
    free(rows);
    return status;
}
