/* SimHash through a matrix of normal numbers, or lists of signs: margins of one row after the other, columns in
 * ascending order, so that a dense row and the same row as CSR give the same sums (adding 0 changes nothing). */
#ifndef LSHSAMPLE_FAMILIES_MARGINS_BODY_H
#define LSHSAMPLE_FAMILIES_MARGINS_BODY_H

#include "api/projections.h"
#include "hadamard_body.h"

typedef struct {
    int64_t n, width;       /* entries of the row; margins, K * L */
    const float *values;    /* (n) */
    const int32_t *columns; /* (n), or NULL: 0 .. n-1 */
} LSH_NAME(one_row);

LSH_INLINE float LSH_NAME(row_scale)(const LSH_NAME(one_row) *row) {
    uint32_t largest = 0;
    for (int64_t i = 0; i < row->n; i++) {
        uint32_t bits;
        memcpy(&bits, row->values + i, sizeof bits);
        bits &= 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    int32_t e = 254 - (int32_t)(largest >> 23);
    uint32_t bits = (uint32_t)(e < 1 ? 1 : e) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return scale;
}

/* Four vectors of margins at a time stay in registers while the row's entries go by. */
static void LSH_NAME(matrix_margins)(const float *matrix, const LSH_NAME(one_row) *row, float scale, float *out) {
    enum { TILE = 4 * LSH_WIDTH };
    int64_t p = 0, width = row->width;
    for (; p + TILE <= width; p += TILE) {
        lsh_vf sum[4] = {{0}, {0}, {0}, {0}};
        for (int64_t i = 0; i < row->n; i++) {
            const float *line = matrix + (row->columns ? row->columns[i] : i) * width + p;
            lsh_vf value = lsh_splat(row->values[i] * scale);
            for (int u = 0; u < 4; u++) sum[u] = sum[u] + value * lsh_load(line + u * LSH_WIDTH);
        }
        for (int u = 0; u < 4; u++) lsh_store(out + p + u * LSH_WIDTH, sum[u]);
    }
    if (p == width) return;
    memset(out + p, 0, (size_t)(width - p) * sizeof *out);
    for (int64_t i = 0; i < row->n; i++) {
        const float *line = matrix + (row->columns ? row->columns[i] : i) * width;
        float value = row->values[i] * scale;
        for (int64_t q = p; q < width; q++) out[q] += value * line[q];
    }
}

static void LSH_NAME(lists_margins)(const lsh_lists_state *s, const LSH_NAME(one_row) *row, float scale, float *out) {
    memset(out, 0, (size_t)row->width * sizeof *out);
    for (int64_t i = 0; i < row->n; i++) {
        float both[2] = {row->values[i] * scale, -(row->values[i] * scale)};
        int64_t column = row->columns ? row->columns[i] : i;
        if (both[0] == 0) continue;
        for (int64_t e = s->indptr[column]; e < s->indptr[column + 1]; e++)
            out[s->entries[e] >> 1] += both[s->entries[e] & 1];
    }
}

LSH_INLINE void LSH_NAME(codes_of_margins)(const lsh_simhash_shape *shape, const float *margins, uint32_t *codes) {
    for (int32_t t = 0; t < shape->n_tables; t++) codes[t] = 0;
    for (int32_t k = 0; k < shape->n_hashes; k++) {
        const float *line = margins + (int64_t)k * shape->n_tables;
        for (int32_t t = 0; t < shape->n_tables; t++) codes[t] |= (uint32_t)(line[t] >= 0) << k;
    }
}

/* Codes of every table for one row, from its margins. `table` has room for K numbers. */
LSH_INLINE int32_t LSH_NAME(probe_row)(const lsh_simhash_shape *shape, const float *margins, float *table,
                                       LSH_NAME(probe_table) probe, const void *context, int32_t n_probes,
                                       uint32_t *codes) {
    int32_t status = 0;
    for (int32_t t = 0; t < shape->n_tables && !status; t++) {
        for (int32_t k = 0; k < shape->n_hashes; k++) table[k] = margins[(int64_t)k * shape->n_tables + t];
        status = probe(context, table, 0, t, n_probes, codes + (int64_t)t * n_probes);
    }
    return status;
}

/* hash and probe over a way to compute a row's margins; n_probes = 0 gives plain codes. */
#define LSH_MARGIN_KERNEL(name, state_type, MARGINS)                                                                 \
    static int32_t LSH_NAME(name##_probe)(const void *state, int64_t n_rows, int64_t dim, const float *values,       \
                                         int64_t stride, const int64_t *indptr, const int32_t *indices,              \
                                         int32_t n_probes, uint32_t *codes, void *scratch) {                         \
        const state_type *s = state;                                                                                 \
        const lsh_simhash_shape *shape = &s->shape;                                                                  \
        float *out = scratch;                                                                                        \
        int64_t width = (int64_t)shape->n_hashes * shape->n_tables, probes = n_probes ? n_probes : 1;                \
        for (int64_t r = 0; r < n_rows; r++) {                                                                       \
            LSH_NAME(one_row) row = {dim, width, values + r * stride, NULL};                                         \
            if (indptr) {                                                                                            \
                row.n = indptr[r + 1] - indptr[r];                                                                   \
                row.values = values + indptr[r];                                                                     \
                row.columns = indices + indptr[r];                                                                   \
            }                                                                                                        \
            MARGINS(s, &row, LSH_NAME(row_scale)(&row), out);                                                        \
            uint32_t *place = codes + r * shape->n_tables * probes;                                                  \
            if (!n_probes) LSH_NAME(codes_of_margins)(shape, out, place);                                            \
            else if (LSH_NAME(probe_row)(shape, out, out + width, LSH_NAME(probe_signs), shape, n_probes, place))    \
                return 1;                                                                                            \
        }                                                                                                            \
        return 0;                                                                                                    \
    }                                                                                                                \
    static int32_t LSH_NAME(name##_hash)(const void *state, int64_t n_rows, int64_t dim, const float *values,        \
                                         int64_t stride, const int64_t *indptr, const int32_t *indices,              \
                                         uint32_t *codes, void *scratch) {                                           \
        return LSH_NAME(name##_probe)(state, n_rows, dim, values, stride, indptr, indices, 0, codes, scratch);        \
    }

#define LSH_MATRIX_MARGINS(s, row, scale, out) LSH_NAME(matrix_margins)((s)->matrix, row, scale, out)
#define LSH_LISTS_MARGINS(s, row, scale, out) LSH_NAME(lists_margins)(s, row, scale, out)
LSH_MARGIN_KERNEL(matrix, lsh_matrix_state, LSH_MATRIX_MARGINS)
LSH_MARGIN_KERNEL(lists, lsh_lists_state, LSH_LISTS_MARGINS)

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_margins_scratch(const lsh_simhash_shape *shape) {
    return 4 * (int64_t)shape->n_hashes * (shape->n_tables + 1);
}
#endif

#endif
