/* Families that make something else than signs of random projections: E2LSH's buckets and cross-polytope's nearest
 * vertices; see lshsample_families/e2lsh.py and cross_polytope.py. Margins come from SimHash's three projections: a
 * projection's "hash" here is one margin, and margin p of table t has place p * n_tables + t.
 * Included once per instruction set, after margins.h. */

/* The whole number below v, wrapped to the bits of the mask. Beyond +-2^30 float32 margins tell no buckets apart. */
LSH_INLINE uint32_t LSH_NAME(bucket)(double v, uint32_t mask) {
    v = v < -1073741824.0 ? -1073741824.0 : v;
    v = v > 1073741824.0 ? 1073741824.0 : v;
    int32_t whole = (int32_t)v;
    whole -= (double)whole > v;
    return (uint32_t)whole & mask;
}

/* Takes margin p of one table, for LSH_WIDTH rows with steps of their own. */
LSH_INLINE void LSH_NAME(take_bucket)(const lsh_e2lsh_state *s, int32_t p, int64_t t, const float *margins,
                                      const double *steps, uint32_t *codes) {
    uint32_t mask = (1u << (s->bits - 1) << 1) - 1;
    double offset = s->offsets[(int64_t)p * s->n_tables + t];
    for (int r = 0; r < LSH_WIDTH; r++)
        codes[t * LSH_WIDTH + r] |= LSH_NAME(bucket)((double)margins[r] * steps[r] + offset, mask) << (p * s->bits);
}

/* The same for all tables of one row. */
static void LSH_NAME(take_buckets)(const lsh_e2lsh_state *s, const float *margins, double step, uint32_t *codes) {
    uint32_t mask = (1u << (s->bits - 1) << 1) - 1;
    memset(codes, 0, (size_t)s->n_tables * sizeof *codes);
    for (int32_t p = 0; p < s->n_hashes; p++) {
        const float *line = margins + (int64_t)p * s->n_tables;
        const double *offsets = s->offsets + (int64_t)p * s->n_tables;
        for (int32_t t = 0; t < s->n_tables; t++)
            codes[t] |= LSH_NAME(bucket)((double)line[t] * step + offsets[t], mask) << (p * s->bits);
    }
}

/* Takes margin p = k D + i: the vertex i, or its opposite, is nearest where the margin is the largest so far. */
LSH_INLINE void LSH_NAME(take_vertex)(const lsh_vertex_state *s, int32_t p, const float *margins, int64_t n,
                                      float *best, uint32_t *codes) {
    uint32_t i = (uint32_t)p % (uint32_t)s->dimension, shift = (uint32_t)p / (uint32_t)s->dimension * s->bits;
    uint32_t others = ~(((1u << (s->bits - 1) << 1) - 1) << shift);
    for (int64_t r = 0; r < n; r++) {
        float size = fabsf(margins[r]);
        int better = i == 0 || size > best[r];
        uint32_t code = (codes[r] & others) | (2 * i + (margins[r] < 0)) << shift;
        codes[r] = better ? code : codes[r];
        best[r] = better ? size : best[r];
    }
}

/* One group of rows: every margin of every table, each handed on as one vector. */
#define LSH_EACH_MARGIN(h, y, v, TAKE)                                                                               \
    for (int64_t block = 0; block < (h)->groups * (h)->shape.n_hashes; block++) {                                    \
        int64_t first = block / (h)->shape.n_hashes * (h)->outputs;                                                  \
        const int32_t *order = (h)->permutations + block * (h)->outputs;                                             \
        LSH_NAME(scaled_pass)(y, (h)->diagonals + block * (h)->size, (h)->size, (h)->outputs, v);                    \
        LSH_NAME(later_passes)(v, (h)->outputs);                                                                     \
        for (int64_t t = first; t < first + (h)->outputs && t < (h)->shape.n_tables; t++)                            \
            TAKE((int32_t)(block % (h)->shape.n_hashes), t, (v) + order[t - first] * LSH_WIDTH);                     \
    }

static int32_t LSH_NAME(e2lsh_hadamard)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                        int64_t stride, const int64_t *indptr, const int32_t *indices,
                                        uint32_t *codes, void *scratch) {
    const lsh_e2lsh_state *s = state;
    const lsh_hadamard_state *h = s->hadamard;
    float *y = scratch, *v = y + h->size * LSH_WIDTH;
    uint32_t *by = (uint32_t *)(v + h->outputs * LSH_WIDTH);
    double steps[LSH_WIDTH];
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        lsh_vf scales = LSH_NAME(spread)(h, &rows, y);
        for (int r = 0; r < LSH_WIDTH; r++) steps[r] = s->step / (double)scales[r];
        memset(by, 0, (size_t)s->n_tables * LSH_WIDTH * sizeof *by);
#define LSH_TAKE(p, t, margins) LSH_NAME(take_bucket)(s, p, t, margins, steps, by)
        LSH_EACH_MARGIN(h, y, v, LSH_TAKE)
#undef LSH_TAKE
        LSH_NAME(store_codes)(by, s->n_tables, rows.n, codes + begin * s->n_tables);
    }
    return 0;
}

static int32_t LSH_NAME(vertex_hadamard)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                         int64_t stride, const int64_t *indptr, const int32_t *indices,
                                         uint32_t *codes, void *scratch) {
    const lsh_vertex_state *s = state;
    const lsh_hadamard_state *h = s->hadamard;
    float *y = scratch, *v = y + h->size * LSH_WIDTH, *best = v + h->outputs * LSH_WIDTH;
    uint32_t *by = (uint32_t *)(best + (int64_t)s->n_tables * LSH_WIDTH);
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(spread)(h, &rows, y);
        memset(by, 0, (size_t)s->n_tables * LSH_WIDTH * sizeof *by);
#define LSH_TAKE(p, t, margins) \
    LSH_NAME(take_vertex)(s, p, margins, LSH_WIDTH, best + (t) * LSH_WIDTH, by + (t) * LSH_WIDTH)
        LSH_EACH_MARGIN(h, y, v, LSH_TAKE)
#undef LSH_TAKE
        LSH_NAME(store_codes)(by, s->n_tables, rows.n, codes + begin * s->n_tables);
    }
    return 0;
}

/* One row after the other, through a matrix or lists of signs. */
#define LSH_BUCKET_ROWS(name, MARGINS)                                                                               \
    static int32_t LSH_NAME(e2lsh_##name)(const void *state, int64_t n_rows, int64_t dim, const float *values,       \
                                          int64_t stride, const int64_t *indptr, const int32_t *indices,             \
                                          uint32_t *codes, void *scratch) {                                          \
        const lsh_e2lsh_state *s = state;                                                                            \
        for (int64_t r = 0; r < n_rows; r++) {                                                                       \
            LSH_NAME(one_row) row = {dim, (int64_t)s->n_hashes * s->n_tables, values + r * stride, NULL};            \
            if (indptr)                                                                                              \
                row = (LSH_NAME(one_row)){indptr[r + 1] - indptr[r], row.width, values + indptr[r],                  \
                                          indices + indptr[r]};                                                      \
            float scale = LSH_NAME(row_scale)(&row);                                                                 \
            MARGINS(s->name, &row, scale, (float *)scratch);                                                         \
            LSH_NAME(take_buckets)(s, scratch, s->step / (double)scale, codes + r * s->n_tables);                    \
        }                                                                                                            \
        return 0;                                                                                                    \
    }                                                                                                                \
    static int32_t LSH_NAME(vertex_##name)(const void *state, int64_t n_rows, int64_t dim, const float *values,      \
                                           int64_t stride, const int64_t *indptr, const int32_t *indices,            \
                                           uint32_t *codes, void *scratch) {                                         \
        const lsh_vertex_state *s = state;                                                                           \
        int64_t n_margins = (int64_t)s->n_hashes * s->dimension, width = n_margins * s->n_tables;                    \
        float *margins = scratch, *best = margins + width;                                                           \
        for (int64_t r = 0; r < n_rows; r++, codes += s->n_tables) {                                                 \
            LSH_NAME(one_row) row = {dim, width, values + r * stride, NULL};                                         \
            if (indptr)                                                                                              \
                row = (LSH_NAME(one_row)){indptr[r + 1] - indptr[r], width, values + indptr[r], indices + indptr[r]};\
            MARGINS(s->name, &row, LSH_NAME(row_scale)(&row), margins);                                              \
            memset(codes, 0, (size_t)s->n_tables * sizeof *codes);                                                   \
            for (int32_t p = 0; p < n_margins; p++)                                                                  \
                LSH_NAME(take_vertex)(s, p, margins + (int64_t)p * s->n_tables, s->n_tables, best, codes);           \
        }                                                                                                            \
        return 0;                                                                                                    \
    }

LSH_BUCKET_ROWS(matrix, LSH_MATRIX_MARGINS)
LSH_BUCKET_ROWS(lists, LSH_LISTS_MARGINS)
