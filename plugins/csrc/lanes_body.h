/* Groups of LSH_WIDTH rows side by side: column i of the group is one vector, lane r belongs to row r.
 *
 * Each lane does what scalar code would do for its row, in the same order, so results do not depend on the width.
 * A body is compiled once per instruction set, between LSH_KERNELS_BEGIN and LSH_KERNELS_END (kernels.h). */
#ifndef LSHSAMPLE_FAMILIES_LANES_BODY_H
#define LSHSAMPLE_FAMILIES_LANES_BODY_H


#define LSH_INLINE static inline __attribute__((always_inline))

/* Rows side by side on the widest instruction set; scratch is sized for it, so that one figure serves every set. */
enum { LSH_WIDEST = 16 };

/* The rows of one group: n of them (1 to LSH_WIDTH), dense or sparse, as lsh_hash_fn takes them. */
typedef struct {
    int64_t n, dim, stride;
    const float *values;
    const int64_t *indptr;
    const int32_t *indices;
} LSH_NAME(row_group);

LSH_INLINE lsh_vi LSH_NAME(load_ints)(const void *p) {
    lsh_vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

LSH_INLINE void LSH_NAME(store_ints)(void *p, lsh_vi v) { memcpy(p, &v, sizeof v); }

#if LSH_WIDTH == 16
#define LSH_ZIP_LOW(a, b) \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define LSH_ZIP_HIGH(a, b) \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif LSH_WIDTH == 8
#define LSH_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define LSH_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LSH_ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define LSH_ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif

/* Transposes a square of LSH_WIDTH vectors in place: log2 of the width perfect shuffles. */
LSH_INLINE void LSH_NAME(transpose)(lsh_vi v[LSH_WIDTH]) {
    lsh_vi w[LSH_WIDTH];
    for (int half = LSH_WIDTH / 2; half > 0; half /= 2) {
        for (int i = 0; i < LSH_WIDTH / 2; i++) {
            w[2 * i] = LSH_ZIP_LOW(v[i], v[i + LSH_WIDTH / 2]);
            w[2 * i + 1] = LSH_ZIP_HIGH(v[i], v[i + LSH_WIDTH / 2]);
        }
        for (int i = 0; i < LSH_WIDTH; i++) v[i] = w[i];
    }
}

/* Dense rows into columns[i * LSH_WIDTH + r]; lanes from n on repeat the last row. */
static void LSH_NAME(load_dense)(const LSH_NAME(row_group) *rows, float *columns) {
    const float *start[LSH_WIDTH];
    for (int r = 0; r < LSH_WIDTH; r++)
        start[r] = rows->values + (r < rows->n ? r : rows->n - 1) * rows->stride;
    int64_t i = 0;
    for (; i + LSH_WIDTH <= rows->dim; i += LSH_WIDTH) {
        lsh_vi square[LSH_WIDTH];
        for (int r = 0; r < LSH_WIDTH; r++) square[r] = LSH_NAME(load_ints)(start[r] + i);
        LSH_NAME(transpose)(square);
        for (int c = 0; c < LSH_WIDTH; c++) LSH_NAME(store_ints)(columns + (i + c) * LSH_WIDTH, square[c]);
    }
    for (; i < rows->dim; i++)
        for (int r = 0; r < LSH_WIDTH; r++) columns[i * LSH_WIDTH + r] = start[r][i];
}

/* The same for sparse rows; lanes from n on are zero. */
static void LSH_NAME(load_sparse)(const LSH_NAME(row_group) *rows, float *columns) {
    memset(columns, 0, (size_t)rows->dim * LSH_WIDTH * sizeof *columns);
    for (int64_t r = 0; r < rows->n; r++)
        for (int64_t k = rows->indptr[r]; k < rows->indptr[r + 1]; k++)
            columns[(int64_t)rows->indices[k] * LSH_WIDTH + r] = rows->values[k];
}

LSH_INLINE void LSH_NAME(load_columns)(const LSH_NAME(row_group) *rows, float *columns) {
    if (rows->indptr) LSH_NAME(load_sparse)(rows, columns);
    else LSH_NAME(load_dense)(rows, columns);
}

/* The group of rows that starts at `begin` of a block of n_rows. */
LSH_INLINE LSH_NAME(row_group) LSH_NAME(group_at)(int64_t begin, int64_t n_rows, int64_t dim, const float *values,
                                                  int64_t stride, const int64_t *indptr, const int32_t *indices) {
    LSH_NAME(row_group) rows = {.dim = dim, .stride = stride, .values = values + begin * stride,
                                .indptr = indptr ? indptr + begin : NULL, .indices = indices};
    rows.n = n_rows - begin < LSH_WIDTH ? n_rows - begin : LSH_WIDTH;
    return rows;
}

/* Codes by[t * LSH_WIDTH + r] to codes[r * n_tables + t] for the n rows of a group. */
static void LSH_NAME(store_codes)(const uint32_t *by, int64_t n_tables, int64_t n, uint32_t *codes) {
    int64_t t = 0;
    for (; t + LSH_WIDTH <= n_tables; t += LSH_WIDTH) {
        lsh_vi square[LSH_WIDTH];
        for (int c = 0; c < LSH_WIDTH; c++) square[c] = LSH_NAME(load_ints)(by + (t + c) * LSH_WIDTH);
        LSH_NAME(transpose)(square);
        for (int r = 0; r < LSH_WIDTH; r++)
            if (r < n) LSH_NAME(store_ints)(codes + r * n_tables + t, square[r]);
    }
    for (; t < n_tables; t++)
        for (int64_t r = 0; r < n; r++) codes[r * n_tables + t] = by[t * LSH_WIDTH + r];
}

#endif
