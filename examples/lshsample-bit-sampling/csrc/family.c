#include "family.h"

#include <string.h>

#include "lshsample/family.h"

/* The sources that this was compiled from, by which the tests recognise an old build. */
const char lshsample_bit_sampling_sources[] = SOURCE_DIGEST;

static void hash_dense(const bit_sampling_state *s, const float *row, uint32_t *codes) {
    const int32_t *at = s->positions;
    for (int64_t k = 0; k < s->n_hashes; k++, at += s->n_tables)
        for (int64_t t = 0; t < s->n_tables; t++) codes[t] |= (uint32_t)(row[at[t]] > s->threshold) << k;
}

/* A column sets the bits of the hashes that use it; columns that are not stored are zeros. */
static void hash_sparse(const bit_sampling_state *s, int64_t n, const float *values, const int32_t *columns,
                        uint32_t *codes) {
    for (int64_t i = 0; i < n; i++) {
        if (!(values[i] > s->threshold)) continue;
        for (int32_t e = s->starts[columns[i]]; e < s->starts[columns[i] + 1]; e++)
            codes[s->hashes[e] % s->n_tables] |= UINT32_C(1) << (s->hashes[e] / s->n_tables);
    }
}

static int32_t hash_rows(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                         const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch) {
    const bit_sampling_state *s = state;
    (void)dim;
    (void)scratch;
    memset(codes, 0, (size_t)(n_rows * s->n_tables) * sizeof *codes);
    for (int64_t r = 0; r < n_rows; r++, codes += s->n_tables) {
        if (indptr) hash_sparse(s, indptr[r + 1] - indptr[r], values + indptr[r], indices + indptr[r], codes);
        else hash_dense(s, values + r * stride, codes);
    }
    return 0;
}

intptr_t bit_sampling_function(void) {
    lsh_hash_fn function = hash_rows; /* the compiler checks the signature here */
    return (intptr_t)function;
}

int32_t bit_sampling_abi(void) { return LSH_FAMILY_ABI; }
