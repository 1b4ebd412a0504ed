/* Kernels over rows of one dtype, and their table; compiled for each dtype in each instruction set.
 *
 * The including file defines LSH_DTYPE. The dtype's own header (float32.h, bfloat16.h) says how its elements are read
 * and written: element_D, read_one_D, read_four_D, read_D and read_some_D (a vector), write_D, write_some_D,
 * write_stochastic_D. */
#define LSH_ROW(f) LSH_PASTE(f, LSH_DTYPE)
#define LSH_ELEMENT LSH_ROW(element)

static void LSH_ROW(load)(const void *row, int64_t n, float *out) {
    const LSH_ELEMENT *from = row;
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(out + i, LSH_ROW(read)(from + i));
    if (i < n) lsh_store_some(out + i, LSH_ROW(read_some)(from + i, n - i), n - i);
}

static void LSH_ROW(store)(void *row, int64_t n, const float *values) {
    LSH_ELEMENT *to = row;
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) LSH_ROW(write)(to + i, lsh_load(values + i));
    if (i < n) LSH_ROW(write_some)(to + i, lsh_load_some(values + i, n - i), n - i);
}

static void LSH_ROW(store_stochastic)(void *row, int64_t n, const float *values, const uint16_t *bits) {
    LSH_ELEMENT *to = row, last[LSH_WIDTH];
    uint16_t last_bits[LSH_WIDTH] = {0};
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) LSH_ROW(write_stochastic)(to + i, lsh_load(values + i), load_bits(bits + i));
    if (i == n) return;
    memcpy(last_bits, bits + i, (size_t)(n - i) * sizeof *bits);
    LSH_ROW(write_stochastic)(last, lsh_load_some(values + i, n - i), load_bits(last_bits));
    memcpy(to + i, last, (size_t)(n - i) * sizeof *to);
}

/* Four rows become four columns of the panel, four terms at a time. */
LSH_INLINE void LSH_ROW(transpose_four)(const LSH_ELEMENT *const row[4], int64_t depth, float *panel) {
    int64_t p = 0;
    for (; p + 4 <= depth; p += 4) {
        lsh_row4 square[4] = {(lsh_row4)LSH_ROW(read_four)(row[0] + p), (lsh_row4)LSH_ROW(read_four)(row[1] + p),
                              (lsh_row4)LSH_ROW(read_four)(row[2] + p), (lsh_row4)LSH_ROW(read_four)(row[3] + p)};
        transpose_square(square);
        for (int i = 0; i < 4; i++) memcpy(panel + (p + i) * LSH_PANEL, &square[i], sizeof square[i]);
    }
    for (; p < depth; p++)
        for (int j = 0; j < 4; j++) panel[p * LSH_PANEL + j] = LSH_ROW(read_one)(row[j] + p);
}

static void LSH_ROW(pack_transposed)(const void *b, int64_t stride, const int32_t *rows, int64_t n, int64_t depth,
                                     float *panel) {
    const LSH_ELEMENT *from = b;
    if (n < LSH_PANEL) memset(panel, 0, (size_t)(depth * LSH_PANEL) * sizeof *panel);
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const LSH_ELEMENT *row[4];
        for (int i = 0; i < 4; i++) row[i] = from + (rows ? rows[j + i] : j + i) * stride;
        LSH_ROW(transpose_four)(row, depth, panel + j);
    }
    for (; j < n; j++) {
        const LSH_ELEMENT *row = from + (rows ? rows[j] : j) * stride;
        for (int64_t p = 0; p < depth; p++) panel[p * LSH_PANEL + j] = LSH_ROW(read_one)(row + p);
    }
}

static void LSH_ROW(pack_rows)(const void *b, int64_t stride, const int32_t *rows, int64_t depth, int64_t n,
                               float *panel) {
    for (int64_t p = 0; p < depth; p++, panel += LSH_PANEL) {
        const LSH_ELEMENT *row = (const LSH_ELEMENT *)b + (rows ? rows[p] : p) * stride;
        if (n == LSH_PANEL) {
            lsh_store(panel, LSH_ROW(read)(row));
            lsh_store(panel + LSH_WIDTH, LSH_ROW(read)(row + LSH_WIDTH));
        } else {
            memset(panel, 0, LSH_PANEL * sizeof *panel);
            LSH_ROW(load)(row, n, panel);
        }
    }
}

LSH_INLINE void LSH_ROW(sum_block)(const int sums, const int32_t *rows, const float *values, int64_t n,
                                   const LSH_ELEMENT *w, int64_t stride, const float *first, float *out) {
    lsh_vf sum[LSH_SUMS];
#pragma GCC unroll 16
    for (int v = 0; v < sums; v++) sum[v] = first ? lsh_load(first + v * LSH_WIDTH) : (lsh_vf){0};
    for (int64_t t = 0; t < n; t++) {
        if (t + LSH_AHEAD < n)
            prefetch_row(w + rows[t + LSH_AHEAD] * stride, sums * LSH_WIDTH * (int64_t)sizeof *w);
        const LSH_ELEMENT *row = w + rows[t] * stride;
        lsh_vf x = lsh_splat(values[t]);
#pragma GCC unroll 16
        for (int v = 0; v < sums; v++) sum[v] = lsh_fma(x, LSH_ROW(read)(row + v * LSH_WIDTH), sum[v]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < sums; v++) lsh_store(out + v * LSH_WIDTH, sum[v]);
}

static void LSH_ROW(weighted_sum)(const int32_t *rows, const float *values, int64_t n, const void *w, int64_t stride,
                                  const float *first, float *out, int64_t d) {
    const LSH_ELEMENT *from = w;
    int64_t j = 0;
    for (; j + LSH_SUMS * LSH_WIDTH <= d; j += LSH_SUMS * LSH_WIDTH)
        LSH_ROW(sum_block)(LSH_SUMS, rows, values, n, from + j, stride, first ? first + j : first, out + j);
    for (; j + LSH_WIDTH <= d; j += LSH_WIDTH)
        LSH_ROW(sum_block)(1, rows, values, n, from + j, stride, first ? first + j : first, out + j);
    if (j == d) return;
    lsh_vf sum = first ? lsh_load_some(first + j, d - j) : (lsh_vf){0};
    for (int64_t t = 0; t < n; t++)
        sum = lsh_fma(lsh_splat(values[t]), LSH_ROW(read_some)(from + rows[t] * stride + j, d - j), sum);
    lsh_store_some(out + j, sum, d - j);
}

static void LSH_ROW(dots)(const float *h, int64_t d, const void *w, int64_t stride, const int32_t *rows, int64_t n,
                          float *values) {
    const LSH_ELEMENT *from = w;
    for (int64_t t = 0; t < n; t++) {
        if (t + LSH_AHEAD < n) prefetch_row(from + rows[t + LSH_AHEAD] * stride, d * (int64_t)sizeof *from);
        const LSH_ELEMENT *row = from + rows[t] * stride;
        lsh_vf sum[4] = {{0}};
        int64_t j = 0;
        for (; j + 4 * LSH_WIDTH <= d; j += 4 * LSH_WIDTH)
            for (int v = 0; v < 4; v++)
                sum[v] = lsh_fma(lsh_load(h + j + v * LSH_WIDTH), LSH_ROW(read)(row + j + v * LSH_WIDTH), sum[v]);
        for (; j + LSH_WIDTH <= d; j += LSH_WIDTH) sum[0] = lsh_fma(lsh_load(h + j), LSH_ROW(read)(row + j), sum[0]);
        if (j < d) sum[1] = lsh_fma(lsh_load_some(h + j, d - j), LSH_ROW(read_some)(row + j, d - j), sum[1]);
        values[t] = lsh_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

#include "optim_body.h"

#define LSH_ROW_ENTRY(result, name, arguments) .name = LSH_ROW(name),
static const lsh_row_kernels LSH_ROW(rows) = {.bytes = sizeof(LSH_ELEMENT), LSH_ROW_KERNELS(LSH_ROW_ENTRY)};

#undef LSH_ROW_ENTRY
#undef LSH_ELEMENT
#undef LSH_ROW
