#include "api/mips.h"

#include <math.h>
#include <stdlib.h>

#include "lshsample/family.h"

enum { LANES = 8, AT_ONCE = 64 };

/* One block of augmented rows; `indptr` is unused for dense ones. */
typedef struct {
    float *values;
    int32_t *indices;
    int64_t indptr[AT_ONCE + 1];
} augmented_rows;

/* Partial sums over columns of equal number modulo 8, so that dense and sparse rows give the same bits. */
static double row_norm(const float *values, const int32_t *columns, int64_t n) {
    double lanes[LANES] = {0};
    if (columns)
        for (int64_t i = 0; i < n; i++) lanes[columns[i] & (LANES - 1)] += (double)values[i] * (double)values[i];
    else {
        int64_t i = 0;
        for (; i + LANES <= n; i += LANES)
            for (int u = 0; u < LANES; u++) lanes[u] += (double)values[i + u] * (double)values[i + u];
        for (int u = 0; i + u < n; u++) lanes[u] += (double)values[i + u] * (double)values[i + u];
    }
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int u = 0; u < half; u++) lanes[u] += lanes[u + half];
    return sqrt(lanes[0]);
}

/* The first bound that is not below the norm; n_bounds if there is none. */
static int32_t bound_of(const lsh_mips_state *s, double norm) {
    int32_t low = 0, high = s->n_bounds;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (s->bounds[middle] < norm) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void added_columns(const lsh_mips_state *s, double square, float *added) {
    if (s->root) {
        added[0] = (float)sqrt(square < 1 ? 1 - square : 0);
        return;
    }
    for (int32_t i = 0; i < s->n_added; i++) {
        added[i] = (float)(s->offset + s->sign * square);
        square *= square;
    }
}

/* One row of n entries into `out`, scaled, with the added columns behind; returns 1 if its norm exceeds every bound. */
static int augment(const lsh_mips_state *s, const float *values, const int32_t *columns, int64_t n, float *out) {
    double norm = row_norm(values, columns, n), scale = norm > 0 ? 1 / norm : 0;
    if (s->query) {
        for (int32_t i = 0; i < s->n_added; i++) out[n + i] = (float)s->query_value;
    } else {
        int32_t bound = bound_of(s, norm);
        if (bound == s->n_bounds) return 1;
        scale = s->limit / s->bounds[bound];
        double scaled = norm * scale;
        added_columns(s, scaled * scaled, out + n);
    }
    for (int64_t i = 0; i < n; i++) out[i] = (float)(values[i] * scale);
    return 0;
}

static int augment_sparse(const lsh_mips_state *s, int64_t n_rows, const float *values, const int64_t *indptr,
                           const int32_t *indices, augmented_rows *out) {
    out->indptr[0] = 0;
    for (int64_t r = 0; r < n_rows; r++) {
        int64_t n = indptr[r + 1] - indptr[r], place = out->indptr[r];
        const int32_t *columns = indices + indptr[r];
        if (augment(s, values + indptr[r], columns, n, out->values + place)) return 1;
        for (int64_t i = 0; i < n; i++) out->indices[place + i] = columns[i];
        for (int32_t i = 0; i < s->n_added; i++) out->indices[place + n + i] = (int32_t)s->dim + i;
        out->indptr[r + 1] = place + n + s->n_added;
    }
    return 0;
}

static int32_t call_inner(const lsh_mips_state *s, int64_t n_rows, const augmented_rows *rows, int sparse,
                          int32_t n_probes, uint32_t *codes, void *scratch) {
    int64_t width = s->dim + s->n_added;
    const int64_t *indptr = sparse ? rows->indptr : NULL;
    const int32_t *indices = sparse ? rows->indices : NULL;
    if (n_probes)
        return ((lsh_probe_fn)s->probe)(s->state, n_rows, width, rows->values, sparse ? 0 : width, indptr, indices,
                                        n_probes, codes, scratch);
    return ((lsh_hash_fn)s->hash)(s->state, n_rows, width, rows->values, sparse ? 0 : width, indptr, indices, codes,
                                  scratch);
}

/* At most AT_ONCE rows. */
static int32_t hash_some(const lsh_mips_state *s, int64_t n_rows, const float *values, int64_t stride,
                         const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                         void *scratch) {
    int64_t width = s->dim + s->n_added;
    int64_t cells = indptr ? indptr[n_rows] - indptr[0] + n_rows * s->n_added : n_rows * width;
    augmented_rows rows = {.values = malloc((size_t)cells * sizeof *rows.values)};
    if (indptr) rows.indices = malloc((size_t)cells * sizeof *rows.indices);
    int32_t failed = rows.values == NULL || (indptr && rows.indices == NULL);
    if (!failed && indptr) failed = augment_sparse(s, n_rows, values, indptr, indices, &rows);
    for (int64_t r = 0; !indptr && !failed && r < n_rows; r++)
        failed = augment(s, values + r * stride, NULL, s->dim, rows.values + r * width);
    if (!failed) failed = call_inner(s, n_rows, &rows, indptr != NULL, n_probes, codes, scratch);
    free(rows.values);
    free(rows.indices);
    return failed;
}

static int32_t hash_all(const lsh_mips_state *s, int64_t n_rows, const float *values, int64_t stride,
                        const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                        void *scratch) {
    int64_t per_row = (int64_t)s->n_tables * (n_probes ? n_probes : 1);
    int32_t failed = 0;
    for (int64_t begin = 0; begin < n_rows && !failed; begin += AT_ONCE) {
        int64_t n = n_rows - begin < AT_ONCE ? n_rows - begin : AT_ONCE;
        failed = hash_some(s, n, values + begin * stride, stride, indptr ? indptr + begin : NULL, indices, n_probes,
                           codes + begin * per_row, scratch);
    }
    return failed;
}

static int32_t mips_hash(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                      const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch) {
    (void)dim;
    return hash_all(state, n_rows, values, stride, indptr, indices, 0, codes, scratch);
}

static int32_t mips_probe(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                       const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                       void *scratch) {
    (void)dim;
    return hash_all(state, n_rows, values, stride, indptr, indices, n_probes, codes, scratch);
}

intptr_t lsh_mips_function(int32_t probing) { return probing ? (intptr_t)mips_probe : (intptr_t)mips_hash; }
