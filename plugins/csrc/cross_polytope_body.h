/* Cross-polytope's nearest vertices; see lshsample_families/cross_polytope.py for what is computed. */
#ifndef LSHSAMPLE_FAMILIES_CROSS_POLYTOPE_BODY_H
#define LSHSAMPLE_FAMILIES_CROSS_POLYTOPE_BODY_H

#include "api/cross_polytope.h"
#include "projecting_body.h"

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

/* No margin has a step; one table's hashes have a key for each coordinate. */
LSH_INLINE double LSH_NAME(vertex_step)(const lsh_vertex_state *s, float scale) {
    (void)s;
    return (double)scale;
}
LSH_INLINE int64_t LSH_NAME(vertex_keys)(const lsh_vertex_state *s) { return (int64_t)s->n_hashes * s->dimension; }

LSH_PROBE_GROUPS(vertex, LSH_NAME(probe_vertices))

/* One row after the other, through a matrix or lists of signs. */
#define LSH_VERTEX_ROWS(name, MARGINS)                                                                               \
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

LSH_VERTEX_ROWS(matrix, LSH_MATRIX_MARGINS)
LSH_VERTEX_ROWS(lists, LSH_LISTS_MARGINS)
LSH_PROBE_ROWS(vertex, matrix, s->n_hashes * s->dimension, LSH_MATRIX_MARGINS, LSH_NAME(probe_vertices))
LSH_PROBE_ROWS(vertex, lists, s->n_hashes * s->dimension, LSH_LISTS_MARGINS, LSH_NAME(probe_vertices))

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_vertex_scratch(const lsh_vertex_state *state) {
    if (!state->hadamard) return 4 * ((int64_t)state->n_hashes * state->dimension + 1) * state->n_tables;
    return (state->hadamard->size + state->hadamard->outputs + 2 * (int64_t)state->n_tables) * LSH_WIDEST * 4;
}
#endif

#endif
