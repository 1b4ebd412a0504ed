#include "lshsample/layers.h"

#include <stdlib.h>
#include <string.h>

#include "dense.h"
#include "kernels.h"
#include "lshsample/parallel.h"

enum {
    SPARSE_ROWS = 4,    /* samples in one task: about 300 gathered rows at 75 entries each */
    SUMMED_ROWS = 64,   /* distinct columns in one task */
    DOTS = 4096,        /* gathered rows in one task, so many that another thread is worth waking for them */
    DIGIT_BITS = 11     /* of the radix sort: 2048 counters stay in L1 */
};

typedef struct {
    const lsh_row_kernels *weights; /* for rows of w */
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

lsh_status lsh_csr_weighted_sums(const int64_t *starts, const int32_t *samples, const float *values, lsh_dense d,
                                 lsh_dense out, int32_t threads) {
    if (out.cols != d.cols || d.dtype != LSH_FLOAT32 || out.dtype != LSH_FLOAT32) return LSH_INVALID;
    sparse_product p = {.weights = lsh_row_kernels_for(lsh_kernels_current(), d.dtype), .indptr = starts,
                        .indices = samples, .values = (float *)values, .w = d, .out = out};
    return lsh_parallel_for(out.rows, SUMMED_ROWS, threads, matmul_chunk, &p);
}

/* The row that holds entry `at`: the last one that begins at or before it and is not empty. */
static int64_t row_of(const int64_t *indptr, int64_t rows, int64_t at) {
    int64_t low = 0, high = rows - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (indptr[middle + 1] > at) high = middle;
        else low = middle + 1;
    }
    return low;
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
    int32_t column, sample;
    float value;
} entry;

static void list_entries(lsh_csr x, entry *out) {
    int64_t base = x.indptr[0];
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t t = x.indptr[i]; t < x.indptr[i + 1]; t++)
            out[t - base] = (entry){x.indices[t], (int32_t)i, x.values[t]};
}

/* One stable pass of a radix sort by the digit at `shift`. */
static void sort_digit(const entry *from, entry *to, int64_t n, int shift) {
    int64_t place[1 << DIGIT_BITS] = {0}, total = 0;
    const int32_t mask = (1 << DIGIT_BITS) - 1;
    for (int64_t t = 0; t < n; t++) place[from[t].column >> shift & mask]++;
    for (int64_t digit = 0; digit <= mask; digit++) {
        int64_t count = place[digit];
        place[digit] = total;
        total += count;
    }
    for (int64_t t = 0; t < n; t++) to[place[from[t].column >> shift & mask]++] = from[t];
}

lsh_status lsh_csr_transpose(lsh_csr x, int32_t *columns, int64_t *starts, int32_t *samples, float *values,
                             int64_t *n_columns) {
    int64_t n = x.rows > 0 ? x.indptr[x.rows] - x.indptr[0] : 0, distinct = 0;
    if (x.rows > INT32_MAX || n < 0) return LSH_INVALID;
    entry *buffer = malloc((size_t)(2 * n + 1) * sizeof *buffer), *now = buffer, *next = buffer + n;
    if (!buffer) return LSH_NO_MEMORY;
    if (n > 0) list_entries(x, now);
    for (int shift = 0; shift < 31 && (x.cols - 1) >> shift > 0; shift += DIGIT_BITS) {
        sort_digit(now, next, n, shift);
        entry *swap = now;
        now = next;
        next = swap;
    }
    for (int64_t t = 0; t < n; t++) {
        if (t == 0 || now[t].column != now[t - 1].column) {
            columns[distinct] = now[t].column;
            starts[distinct++] = t;
        }
        samples[t] = now[t].sample;
        values[t] = now[t].value;
    }
    starts[distinct] = n;
    *n_columns = distinct;
    free(buffer);
    return LSH_OK;
}
