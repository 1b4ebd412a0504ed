/* The state of E2LSH's kernels. */
#ifndef LSHSAMPLE_FAMILIES_E2LSH_H
#define LSHSAMPLE_FAMILIES_E2LSH_H

#include <stdint.h>
#include "projections.h"

/* E2LSH: the projection is the one that is not NULL. */
typedef struct {
    int32_t n_hashes, n_tables, bits, reserved;
    double step;           /* from margins of unscaled rows to bucket widths */
    const double *offsets; /* (n_hashes, n_tables): below 1 */
    const lsh_hadamard_state *hadamard;
    const lsh_matrix_state *matrix;
    const lsh_lists_state *lists;
} lsh_e2lsh_state;

/* Scratch per thread in bytes. */
int64_t lsh_e2lsh_scratch(const lsh_e2lsh_state *state);

#endif
