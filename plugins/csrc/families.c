#include "families.h"

#include "select.h"

/* Rows side by side on the widest instruction set; scratch is sized for it, so that one figure serves all. */
enum { WIDEST = 16 };

int64_t lsh_hadamard_scratch(const lsh_hadamard_state *state) {
    int64_t codes = state->groups * state->outputs, margins = state->outputs * state->shape.n_hashes;
    int64_t hashing = state->outputs + codes;
    return (state->size + (hashing > margins ? hashing : margins)) * WIDEST * 4 + 4 * state->shape.n_hashes;
}

int64_t lsh_margins_scratch(const lsh_simhash_shape *shape) {
    return 4 * (int64_t)shape->n_hashes * (shape->n_tables + 1);
}

int64_t lsh_dwta_scratch(const lsh_dwta_state *state) {
    int64_t windows = (2 * state->dim + state->n_tables) * WIDEST;
    int64_t lists = 2 * (int64_t)state->n_hashes * state->n_tables + state->dim;
    return 4 * (state->indptr ? lists : windows);
}

int64_t lsh_minhash_scratch(const lsh_minhash_state *state) {
    int64_t hashes = (int64_t)state->n_hashes * state->n_tables;
    return 8 * state->rule.size + 4 * (2 * LSH_SET_CHUNK + 2 * (hashes + 64) + 2 * ((int64_t)state->n_tables + 1));
}

int64_t lsh_icws_scratch(const lsh_icws_state *state) {
    return 12 * ((int64_t)state->n_hashes * state->n_tables + WIDEST);
}

int64_t lsh_e2lsh_scratch(const lsh_e2lsh_state *state) {
    if (!state->hadamard) return 4 * (int64_t)state->n_hashes * state->n_tables;
    return (state->hadamard->size + state->hadamard->outputs + state->n_tables) * WIDEST * 4;
}

int64_t lsh_vertex_scratch(const lsh_vertex_state *state) {
    if (!state->hadamard) return 4 * ((int64_t)state->n_hashes * state->dimension + 1) * state->n_tables;
    return (state->hadamard->size + state->hadamard->outputs + 2 * (int64_t)state->n_tables) * WIDEST * 4;
}

static intptr_t function(int32_t isa, int32_t which) {
    switch (isa) {
    case 0: return lsh_family_functions_baseline(which);
#if defined(__x86_64__)
    case 1: return lsh_family_functions_avx2(which);
    case 2: return lsh_family_functions_avx512(which);
#endif
    default: return 0;
    }
}

intptr_t lsh_hadamard_function(int32_t isa, int32_t probing) {
    return function(isa, probing ? LSH_HADAMARD_PROBE : LSH_HADAMARD_HASH);
}

intptr_t lsh_matrix_function(int32_t isa, int32_t probing) {
    return function(isa, probing ? LSH_MATRIX_PROBE : LSH_MATRIX_HASH);
}

intptr_t lsh_lists_function(int32_t isa, int32_t probing) {
    return function(isa, probing ? LSH_LISTS_PROBE : LSH_LISTS_HASH);
}

intptr_t lsh_dwta_function(int32_t isa, int32_t by_column) {
    return function(isa, by_column ? LSH_DWTA_LISTS : LSH_DWTA_WINDOWS);
}

intptr_t lsh_wta_function(int32_t isa, int32_t by_column) {
    return function(isa, by_column ? LSH_WTA_LISTS : LSH_WTA_WINDOWS);
}

intptr_t lsh_minhash_function(int32_t isa, int32_t bins) {
    return function(isa, bins ? LSH_MINHASH_BINS : LSH_MINHASH_FUNCTIONS);
}

intptr_t lsh_icws_function(int32_t isa) { return function(isa, LSH_ICWS_HASH); }

intptr_t lsh_e2lsh_function(int32_t isa, int32_t probing, const lsh_e2lsh_state *state) {
    if (state->hadamard) return function(isa, probing ? LSH_E2LSH_HADAMARD_PROBE : LSH_E2LSH_HADAMARD);
    if (state->matrix) return function(isa, probing ? LSH_E2LSH_MATRIX_PROBE : LSH_E2LSH_MATRIX);
    return function(isa, probing ? LSH_E2LSH_LISTS_PROBE : LSH_E2LSH_LISTS);
}

intptr_t lsh_vertex_function(int32_t isa, int32_t probing, const lsh_vertex_state *state) {
    if (state->hadamard) return function(isa, probing ? LSH_VERTEX_HADAMARD_PROBE : LSH_VERTEX_HADAMARD);
    if (state->matrix) return function(isa, probing ? LSH_VERTEX_MATRIX_PROBE : LSH_VERTEX_MATRIX);
    return function(isa, probing ? LSH_VERTEX_LISTS_PROBE : LSH_VERTEX_LISTS);
}
