/* The state of cross-polytope's kernels. */
#ifndef LSHSAMPLE_FAMILIES_CROSS_POLYTOPE_H
#define LSHSAMPLE_FAMILIES_CROSS_POLYTOPE_H

#include <stdint.h>
#include "projections.h"

/* Cross-polytope: margin k * dimension + i of the projection is coordinate i of hash k. */
typedef struct {
    int32_t n_hashes, n_tables, dimension, bits;
    const lsh_hadamard_state *hadamard;
    const lsh_matrix_state *matrix;
    const lsh_lists_state *lists;
} lsh_vertex_state;

/* Scratch per thread in bytes. */
int64_t lsh_vertex_scratch(const lsh_vertex_state *state);

#endif
