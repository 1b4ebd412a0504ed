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

/* Where margin p = k D + i goes in a code: the vertex i, or its opposite, is nearest if it is the largest so far. */
typedef struct {
    int32_t first, vertex, shift, others; /* whether i is 0; 2 i; where hash k begins; the bits of other hashes */
} LSH_NAME(vertex_place);

LSH_INLINE LSH_NAME(vertex_place) LSH_NAME(place_of)(const lsh_vertex_state *s, int32_t p) {
    int32_t i = p % s->dimension, shift = p / s->dimension * s->bits;
    return (LSH_NAME(vertex_place)){i == 0, 2 * i, shift, (int32_t)~(((1u << (s->bits - 1) << 1) - 1) << shift)};
}

/* Takes a margin of one table, for LSH_WIDTH rows. */
LSH_INLINE void LSH_NAME(take_vertex)(const lsh_vertex_state *s, int32_t p, const float *margins, float *best,
                                      uint32_t *codes) {
    LSH_NAME(vertex_place) place = LSH_NAME(place_of)(s, p);
    lsh_vf margin = lsh_load(margins);
    lsh_vi size = LSH_NAME(load_ints)(margins) & 0x7fffffff, largest = LSH_NAME(load_ints)(best);
    lsh_vi better = (size > largest) | -place.first;
    lsh_vi code = (place.vertex - (margin < (lsh_vf){0})) << place.shift;
    lsh_vi rest = LSH_NAME(load_ints)(codes) & (place.others | ~better);
    LSH_NAME(store_ints)(codes, rest | (code & better));
    LSH_NAME(store_ints)(best, (size & better) | (largest & ~better));
}

/* Takes a margin of every table, of one row. */
static void LSH_NAME(take_vertices)(const lsh_vertex_state *s, int32_t p, const float *margins, float *best,
                                    uint32_t *codes) {
    LSH_NAME(vertex_place) place = LSH_NAME(place_of)(s, p);
    for (int32_t t = 0; t < s->n_tables; t++) {
        float size = fabsf(margins[t]);
        int better = place.first || size > best[t];
        uint32_t code = (uint32_t)(place.vertex + (margins[t] < 0)) << place.shift;
        codes[t] = better ? (codes[t] & (uint32_t)place.others) | code : codes[t];
        best[t] = better ? size : best[t];
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
    LSH_NAME(take_vertex)(s, p, margins, best + (t) * LSH_WIDTH, by + (t) * LSH_WIDTH)
        LSH_EACH_MARGIN(h, y, v, LSH_TAKE)
#undef LSH_TAKE
        LSH_NAME(store_codes)(by, s->n_tables, rows.n, codes + begin * s->n_tables);
    }
    return 0;
}

/* A state, room to probe its codes in, and E2LSH's step for each row at hand. */
typedef struct {
    const void *state;
    lsh_probing *probing;
    const double *steps;
} LSH_NAME(probe_context);

/* One hash of E2LSH: where a row falls, in widths of a bucket. */
typedef struct {
    double bucket, within;
    int64_t period;
} LSH_NAME(line_place);

/* The row's interval, the nearer neighbour, the farther one, and so outwards; they cost the square of the way. */
static int32_t LSH_NAME(next_bucket)(void *hash, int32_t rank, lsh_choice *choice) {
    const LSH_NAME(line_place) *place = hash;
    if (rank >= place->period) return 0;
    int64_t step = (rank + 1) / 2 * ((rank % 2 == 1) == (place->within >= 0.5) ? 1 : -1);
    double way = step > 0 ? (double)step - place->within : step < 0 ? place->within - (double)step - 1 : 0;
    *choice = (lsh_choice){way * way, (uint32_t)(((int64_t)place->bucket + step) & (place->period - 1))};
    return 1;
}

static int32_t LSH_NAME(probe_buckets)(const void *context, const float *table, int64_t r, int64_t t, int32_t n_probes,
                                       uint32_t *codes) {
    const LSH_NAME(probe_context) *c = context;
    const lsh_e2lsh_state *s = c->state;
    (void)n_probes;
    LSH_NAME(line_place) places[32];
    for (int32_t k = 0; k < s->n_hashes; k++) {
        double position = (double)table[k] * c->steps[r] + s->offsets[(int64_t)k * s->n_tables + t];
        position = position < -1073741824.0 ? -1073741824.0 : position > 1073741824.0 ? 1073741824.0 : position;
        places[k] = (LSH_NAME(line_place)){floor(position), position - floor(position), (int64_t)1 << s->bits};
        lsh_probing_join(c->probing, LSH_NAME(next_bucket), &places[k], k * s->bits);
    }
    lsh_probing_take(c->probing, codes);
    return 0;
}

/* One hash of cross-polytope. A vertex 2 i + negative has a key: its coordinate, as the bits of a float with their
 * sign, and then its number, the smaller one first. Of i's two vertices the nearer one waits, then the other. */
typedef struct {
    int64_t *keys;
    int32_t dimension;
    float largest;
} LSH_NAME(polytope);

LSH_INLINE int64_t LSH_NAME(vertex_key)(int32_t coordinate, int32_t vertex) {
    return (int64_t)coordinate * 4294967296 + (INT32_MAX - vertex);
}

static int32_t LSH_NAME(next_vertex)(void *hash, int32_t rank, lsh_choice *choice) {
    const LSH_NAME(polytope) *p = hash;
    if (rank >= 2 * p->dimension) return 0;
    int64_t first = INT64_MIN;
    for (int32_t i = 0; i < p->dimension; i++) first = p->keys[i] > first ? p->keys[i] : first;
    int32_t coordinate = (int32_t)(first >> 32), vertex = INT32_MAX - (int32_t)first;
    int32_t nearer = coordinate > 0 || (coordinate == 0 && vertex % 2 == 0), bits = abs(coordinate);
    p->keys[vertex / 2] = nearer ? LSH_NAME(vertex_key)(-coordinate, vertex ^ 1) : INT64_MIN;
    float size;
    memcpy(&size, &bits, sizeof size);
    double gap = (double)p->largest - (nearer ? (double)size : -(double)size);
    *choice = (lsh_choice){gap * gap, (uint32_t)vertex};
    return 1;
}

static int32_t LSH_NAME(probe_vertices)(const void *context, const float *table, int64_t r, int64_t t, int32_t n_probes,
                                        uint32_t *codes) {
    const LSH_NAME(probe_context) *c = context;
    const lsh_vertex_state *s = c->state;
    (void)r, (void)t, (void)n_probes;
    LSH_NAME(polytope) polytopes[32];
    for (int32_t k = 0; k < s->n_hashes; k++, table += s->dimension) {
        LSH_NAME(polytope) *polytope = &polytopes[k];
        *polytope = (LSH_NAME(polytope)){c->probing->keys + (int64_t)k * s->dimension, s->dimension, 0};
        for (int32_t i = 0; i < s->dimension; i++) {
            float size = fabsf(table[i]);
            int32_t bits;
            memcpy(&bits, &size, sizeof bits);
            polytope->keys[i] = LSH_NAME(vertex_key)(bits, 2 * i + (table[i] < 0));
            polytope->largest = size > polytope->largest ? size : polytope->largest;
        }
        lsh_probing_join(c->probing, LSH_NAME(next_vertex), polytope, k * s->bits);
    }
    lsh_probing_take(c->probing, codes);
    return 0;
}

/* The step of rows that were multiplied by `scale`; cross-polytope needs none. */
LSH_INLINE double LSH_NAME(e2lsh_step)(const lsh_e2lsh_state *s, float scale) { return s->step / (double)scale; }
LSH_INLINE double LSH_NAME(vertex_step)(const lsh_vertex_state *s, float scale) {
    (void)s;
    return (double)scale;
}

/* The keys of one table's hashes. */
LSH_INLINE int64_t LSH_NAME(e2lsh_keys)(const lsh_e2lsh_state *s) {
    (void)s;
    return 0;
}
LSH_INLINE int64_t LSH_NAME(vertex_keys)(const lsh_vertex_state *s) {
    return (int64_t)s->n_hashes * s->dimension;
}

/* Probing through fast transforms. All margins of a group are kept: too much for the scratch that hashing takes too. */
#define LSH_PROBE_GROUPS(family, PROBE)                                                                              \
    static int32_t LSH_NAME(family##_hadamard_probe)(const void *state, int64_t n_rows, int64_t dim,                 \
                                                     const float *values, int64_t stride, const int64_t *indptr,     \
                                                     const int32_t *indices, int32_t n_probes, uint32_t *codes,      \
                                                     void *scratch) {                                                \
        const lsh_##family##_state *s = state;                                                                       \
        const lsh_hadamard_state *h = s->hadamard;                                                                   \
        lsh_probing probing;                                                                                         \
        double steps[LSH_WIDTH];                                                                                     \
        LSH_NAME(probe_context) context = {s, &probing, steps};                                                      \
        float *y = scratch;                                                                                          \
        int32_t status = lsh_probing_begin(&probing, n_probes, s->n_hashes,                                          \
                                           h->shape.n_hashes * (h->outputs * LSH_WIDTH + 1),                         \
                                           LSH_NAME(family##_keys)(s));                                              \
        if (status) return status;                                                                                   \
        for (int64_t begin = 0; begin < n_rows && !status; begin += LSH_WIDTH) {                                     \
            LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);      \
            lsh_vf scales = LSH_NAME(spread)(h, &rows, y);                                                           \
            for (int r = 0; r < LSH_WIDTH; r++) steps[r] = LSH_NAME(family##_step)(s, scales[r]);                    \
            status = LSH_NAME(probe_group)(h, y, rows.n, probing.margins, PROBE, &context, n_probes,                 \
                                           codes + begin * s->n_tables * n_probes);                                  \
        }                                                                                                            \
        lsh_probing_end(&probing);                                                                                   \
        return status;                                                                                               \
    }

LSH_PROBE_GROUPS(e2lsh, LSH_NAME(probe_buckets))
LSH_PROBE_GROUPS(vertex, LSH_NAME(probe_vertices))

LSH_INLINE LSH_NAME(one_row) LSH_NAME(row_at)(int64_t r, int64_t width, int64_t dim, const float *values,
                                              int64_t stride, const int64_t *indptr, const int32_t *indices) {
    if (!indptr) return (LSH_NAME(one_row)){dim, width, values + r * stride, NULL};
    return (LSH_NAME(one_row)){indptr[r + 1] - indptr[r], width, values + indptr[r], indices + indptr[r]};
}

/* One row after the other, through a matrix or lists of signs. */
#define LSH_BUCKET_ROWS(name, MARGINS)                                                                               \
    static int32_t LSH_NAME(e2lsh_##name)(const void *state, int64_t n_rows, int64_t dim, const float *values,       \
                                          int64_t stride, const int64_t *indptr, const int32_t *indices,             \
                                          uint32_t *codes, void *scratch) {                                          \
        const lsh_e2lsh_state *s = state;                                                                            \
        int64_t width = (int64_t)s->n_hashes * s->n_tables;                                                          \
        for (int64_t r = 0; r < n_rows; r++) {                                                                       \
            LSH_NAME(one_row) row = LSH_NAME(row_at)(r, width, dim, values, stride, indptr, indices);                \
            float scale = LSH_NAME(row_scale)(&row);                                                                 \
            MARGINS(s->name, &row, scale, (float *)scratch);                                                         \
            LSH_NAME(take_buckets)(s, scratch, LSH_NAME(e2lsh_step)(s, scale), codes + r * s->n_tables);             \
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
            LSH_NAME(one_row) row = LSH_NAME(row_at)(r, width, dim, values, stride, indptr, indices);                \
            MARGINS(s->name, &row, LSH_NAME(row_scale)(&row), margins);                                              \
            memset(codes, 0, (size_t)s->n_tables * sizeof *codes);                                                   \
            for (int32_t p = 0; p < n_margins; p++)                                                                  \
                LSH_NAME(take_vertices)(s, p, margins + (int64_t)p * s->n_tables, best, codes);                      \
        }                                                                                                            \
        return 0;                                                                                                    \
    }

LSH_BUCKET_ROWS(matrix, LSH_MATRIX_MARGINS)
LSH_BUCKET_ROWS(lists, LSH_LISTS_MARGINS)

#define LSH_PROBE_ROWS(family, name, n_margins, MARGINS, PROBE)                                                      \
    static int32_t LSH_NAME(family##_##name##_probe)(const void *state, int64_t n_rows, int64_t dim,                 \
                                                     const float *values, int64_t stride, const int64_t *indptr,     \
                                                     const int32_t *indices, int32_t n_probes, uint32_t *codes,      \
                                                     void *scratch) {                                                \
        const lsh_##family##_state *s = state;                                                                       \
        lsh_simhash_shape shape = {dim, n_margins, s->n_tables};                                                     \
        int64_t width = (int64_t)shape.n_hashes * shape.n_tables;                                                    \
        lsh_probing probing;                                                                                         \
        double step;                                                                                                 \
        LSH_NAME(probe_context) context = {s, &probing, &step};                                                      \
        int32_t status = lsh_probing_begin(&probing, n_probes, s->n_hashes, shape.n_hashes,                          \
                                           LSH_NAME(family##_keys)(s));                                              \
        if (status) return status;                                                                                   \
        for (int64_t r = 0; r < n_rows && !status; r++) {                                                            \
            LSH_NAME(one_row) row = LSH_NAME(row_at)(r, width, dim, values, stride, indptr, indices);                \
            float scale = LSH_NAME(row_scale)(&row);                                                                 \
            MARGINS(s->name, &row, scale, (float *)scratch);                                                         \
            step = LSH_NAME(family##_step)(s, scale);                                                                \
            status = LSH_NAME(probe_row)(&shape, scratch, probing.margins, PROBE, &context, n_probes,                \
                                         codes + r * s->n_tables * n_probes);                                        \
        }                                                                                                            \
        lsh_probing_end(&probing);                                                                                   \
        return status;                                                                                               \
    }

LSH_PROBE_ROWS(e2lsh, matrix, s->n_hashes, LSH_MATRIX_MARGINS, LSH_NAME(probe_buckets))
LSH_PROBE_ROWS(e2lsh, lists, s->n_hashes, LSH_LISTS_MARGINS, LSH_NAME(probe_buckets))
LSH_PROBE_ROWS(vertex, matrix, s->n_hashes * s->dimension, LSH_MATRIX_MARGINS, LSH_NAME(probe_vertices))
LSH_PROBE_ROWS(vertex, lists, s->n_hashes * s->dimension, LSH_LISTS_MARGINS, LSH_NAME(probe_vertices))
