#include "api/centered.h"

#include <stddef.h>

#include "lshsample/family.h"

enum { LANES = 8 };

/* Partial sums over columns of equal number modulo 8: the reference adds in the same order. */
static float dot(const double *direction, const float *row, int64_t n) {
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int u = 0; u < LANES; u++) lanes[u] += direction[i + u] * (double)row[i + u];
    for (int u = 0; i + u < n; u++) lanes[u] += direction[i + u] * (double)row[i + u];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int u = 0; u < half; u++) lanes[u] += lanes[u + half];
    return (float)lanes[0];
}

/* One row, of n entries if it is sparse (columns not NULL), into `out`: dense, centred, the added column behind. */
static void center(const lsh_centered_state *s, const float *values, const int32_t *columns, int64_t n, float *out) {
    if (columns) {
        for (int64_t i = 0; i < s->dim; i++) out[i] = 0.0f - s->mean[i];
        for (int64_t t = 0; t < n; t++) out[columns[t]] = values[t] - s->mean[columns[t]];
    } else {
        for (int64_t i = 0; i < s->dim; i++) out[i] = values[i] - s->mean[i];
    }
    if (s->n_added) out[s->dim] = s->direction ? dot(s->direction, out, s->dim) : s->added;
}

static int32_t hash_all(const lsh_centered_state *s, int64_t n_rows, const float *values, int64_t stride,
                        const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                        void *scratch) {
    int64_t width = s->dim + s->n_added, per_row = (int64_t)s->n_tables * (n_probes ? n_probes : 1);
    float *buffer = (float *)((char *)scratch + s->buffer_offset);
    int32_t failed = 0;
    for (int64_t begin = 0; begin < n_rows && !failed; begin += s->rows_at_once) {
        int64_t n = n_rows - begin < s->rows_at_once ? n_rows - begin : s->rows_at_once;
        for (int64_t r = 0; r < n; r++) {
            int64_t at = indptr ? indptr[begin + r] : (begin + r) * stride;
            int64_t entries = indptr ? indptr[begin + r + 1] - at : 0;
            center(s, values + at, indptr ? indices + at : NULL, entries, buffer + r * width);
        }
        uint32_t *out = codes + begin * per_row;
        failed = n_probes ? ((lsh_probe_fn)s->probe)(s->state, n, width, buffer, width, NULL, NULL, n_probes, out, scratch)
                          : ((lsh_hash_fn)s->hash)(s->state, n, width, buffer, width, NULL, NULL, out, scratch);
    }
    return failed;
}

static int32_t centered_hash(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                             const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch) {
    (void)dim;
    return hash_all(state, n_rows, values, stride, indptr, indices, 0, codes, scratch);
}

static int32_t centered_probe(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                              const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                              void *scratch) {
    (void)dim;
    return hash_all(state, n_rows, values, stride, indptr, indices, n_probes, codes, scratch);
}

intptr_t lsh_centered_function(int32_t probing) {
    return probing ? (intptr_t)centered_probe : (intptr_t)centered_hash;
}
