/* E2LSH's buckets; see lshsample_families/e2lsh.py for what is computed. */
#ifndef LSHSAMPLE_FAMILIES_E2LSH_BODY_H
#define LSHSAMPLE_FAMILIES_E2LSH_BODY_H

#include "api/e2lsh.h"
#include "projecting_body.h"

/* The floor of v modulo the mask. Beyond +-2^30 float32 margins are not accurate to one bucket. */
LSH_INLINE uint32_t LSH_NAME(bucket)(double v, uint32_t mask) {
    v = v < -1073741824.0 ? -1073741824.0 : v;
    v = v > 1073741824.0 ? 1073741824.0 : v;
    int32_t whole = (int32_t)v;
    whole -= (double)whole > v;
    return (uint32_t)whole & mask;
}

/* Takes margin p of one table, for LSH_WIDTH rows, each with its step. */
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

/* The step of rows that were multiplied by `scale`, and the keys of one table's hashes: none. */
LSH_INLINE double LSH_NAME(e2lsh_step)(const lsh_e2lsh_state *s, float scale) { return s->step / (double)scale; }
LSH_INLINE int64_t LSH_NAME(e2lsh_keys)(const lsh_e2lsh_state *s) {
    (void)s;
    return 0;
}

LSH_PROBE_GROUPS(e2lsh, LSH_NAME(probe_buckets))

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
    }

LSH_BUCKET_ROWS(matrix, LSH_MATRIX_MARGINS)
LSH_BUCKET_ROWS(lists, LSH_LISTS_MARGINS)
LSH_PROBE_ROWS(e2lsh, matrix, s->n_hashes, LSH_MATRIX_MARGINS, LSH_NAME(probe_buckets))
LSH_PROBE_ROWS(e2lsh, lists, s->n_hashes, LSH_LISTS_MARGINS, LSH_NAME(probe_buckets))

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_e2lsh_scratch(const lsh_e2lsh_state *state) {
    if (!state->hadamard) return 4 * (int64_t)state->n_hashes * state->n_tables;
    return (state->hadamard->size + state->hadamard->outputs + state->n_tables) * LSH_WIDEST * 4;
}
#endif

#endif
