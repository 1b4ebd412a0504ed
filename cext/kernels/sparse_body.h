/* Gathered rows: weighted sums of rows and dot products with rows. Rows lie anywhere in a large store, so each is asked
 * of memory LSH_AHEAD rows before its turn: 65,536 rows of 512 bytes out of 600 MB take 1.1 ms with 16, 1.8 with 4. */
#define LSH_AHEAD 16
/* Vectors of columns that are summed in one pass over the rows; all of them stay in registers. */
#define LSH_SUMS 8

LSH_INLINE void sum_block(const int sums, const int32_t *rows, const float *values, int64_t n, const float *w,
                          int64_t stride, const float *first, float *out) {
    lsh_vf sum[LSH_SUMS];
#pragma GCC unroll 16
    for (int v = 0; v < sums; v++) sum[v] = first ? lsh_load(first + v * LSH_WIDTH) : (lsh_vf){0};
    for (int64_t t = 0; t < n; t++) {
        if (t + LSH_AHEAD < n) prefetch_row(w + rows[t + LSH_AHEAD] * stride, sums * LSH_WIDTH);
        const float *row = w + rows[t] * stride;
        lsh_vf x = lsh_splat(values[t]);
#pragma GCC unroll 16
        for (int v = 0; v < sums; v++) sum[v] = lsh_fma(x, lsh_load(row + v * LSH_WIDTH), sum[v]);
    }
#pragma GCC unroll 16
    for (int v = 0; v < sums; v++) lsh_store(out + v * LSH_WIDTH, sum[v]);
}

static void weighted_sum(const int32_t *rows, const float *values, int64_t n, const float *w, int64_t stride,
                         const float *first, float *out, int64_t d) {
    int64_t j = 0;
    for (; j + LSH_SUMS * LSH_WIDTH <= d; j += LSH_SUMS * LSH_WIDTH)
        sum_block(LSH_SUMS, rows, values, n, w + j, stride, first ? first + j : first, out + j);
    for (; j + LSH_WIDTH <= d; j += LSH_WIDTH)
        sum_block(1, rows, values, n, w + j, stride, first ? first + j : first, out + j);
    if (j == d) return;
    lsh_vf sum = first ? lsh_load_some(first + j, d - j) : (lsh_vf){0};
    for (int64_t t = 0; t < n; t++)
        sum = lsh_fma(lsh_splat(values[t]), lsh_load_some(w + rows[t] * stride + j, d - j), sum);
    lsh_store_some(out + j, sum, d - j);
}

static void dots(const float *h, int64_t d, const float *w, int64_t stride, const int32_t *rows, int64_t n,
                 float *values) {
    for (int64_t t = 0; t < n; t++) {
        if (t + LSH_AHEAD < n) prefetch_row(w + rows[t + LSH_AHEAD] * stride, d);
        const float *row = w + rows[t] * stride;
        lsh_vf sum[4] = {{0}};
        int64_t j = 0;
        for (; j + 4 * LSH_WIDTH <= d; j += 4 * LSH_WIDTH)
            for (int v = 0; v < 4; v++)
                sum[v] = lsh_fma(lsh_load(h + j + v * LSH_WIDTH), lsh_load(row + j + v * LSH_WIDTH), sum[v]);
        for (; j + LSH_WIDTH <= d; j += LSH_WIDTH) sum[0] = lsh_fma(lsh_load(h + j), lsh_load(row + j), sum[0]);
        if (j < d) sum[1] = lsh_fma(lsh_load_some(h + j, d - j), lsh_load_some(row + j, d - j), sum[1]);
        values[t] = lsh_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

static void add(float *out, const float *a, int64_t n) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(out + i, lsh_load(out + i) + lsh_load(a + i));
    for (; i < n; i++) out[i] += a[i];
}
