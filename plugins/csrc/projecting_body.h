/* What E2LSH and cross-polytope share: their hashes are made from the margins of SimHash's three projections. A projection's
 * "hash" is one margin here, and margin p of table t has place p * n_tables + t. */
#ifndef LSHSAMPLE_FAMILIES_PROJECTING_BODY_H
#define LSHSAMPLE_FAMILIES_PROJECTING_BODY_H

#include "lanes_body.h"
#include "hadamard_body.h"
#include "margins_body.h"

/* One group of rows: every margin of every table, each passed to TAKE as one vector. */
#define LSH_EACH_MARGIN(h, y, v, TAKE)                                                                               \
    for (int64_t block = 0; block < (h)->groups * (h)->shape.n_hashes; block++) {                                    \
        int64_t first = block / (h)->shape.n_hashes * (h)->outputs;                                                  \
        const int32_t *order = (h)->permutations + block * (h)->outputs;                                             \
        LSH_NAME(scaled_pass)(y, (h)->diagonals + block * (h)->size, (h)->size, (h)->outputs, v);                    \
        LSH_NAME(later_passes)(v, (h)->outputs);                                                                     \
        for (int64_t t = first; t < first + (h)->outputs && t < (h)->shape.n_tables; t++)                            \
            TAKE((int32_t)(block % (h)->shape.n_hashes), t, (v) + order[t - first] * LSH_WIDTH);                     \
    }

/* A state, room to probe its codes in, and E2LSH's step for each row at hand. */
typedef struct {
    const void *state;
    lsh_probing *probing;
    const double *steps;
} LSH_NAME(probe_context);

/* Probing through fast transforms, for a family with PROBE and the functions family_step and family_keys. All
 * margins of a group are kept: too much for the scratch that hashing takes too. */
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

LSH_INLINE LSH_NAME(one_row) LSH_NAME(row_at)(int64_t r, int64_t width, int64_t dim, const float *values,
                                              int64_t stride, const int64_t *indptr, const int32_t *indices) {
    if (!indptr) return (LSH_NAME(one_row)){dim, width, values + r * stride, NULL};
    return (LSH_NAME(one_row)){indptr[r + 1] - indptr[r], width, values + indptr[r], indices + indptr[r]};
}

/* The same, one row after the other, through a matrix or lists of signs. */
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

#endif
