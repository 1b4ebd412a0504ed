/* Random projections of rows: the states of SimHash's kernels, which E2LSH's and cross-polytope's refer to. */
#ifndef LSHSAMPLE_FAMILIES_PROJECTIONS_H
#define LSHSAMPLE_FAMILIES_PROJECTIONS_H

#include <stdint.h>

/* The shape that all projections share: margin k of table l has place k * n_tables + l. */
typedef struct {
    int64_t dim;
    int32_t n_hashes, n_tables;
} lsh_simhash_shape;

typedef struct {
    lsh_simhash_shape shape;
    int64_t size;                /* D, a power of two of at least 64 */
    int64_t outputs;             /* M, a power of two from 8 to D */
    int64_t groups;              /* sets of n_hashes blocks; each serves M tables */
    const float *first_signs;    /* (D) */
    const float *second_signs;   /* (D) */
    const float *diagonals;      /* (groups * n_hashes, D) */
    const int32_t *permutations; /* (groups * n_hashes, M): the margin of each of a group's tables */
    const int32_t *tables;       /* the inverse: the table of each margin */
} lsh_hadamard_state;

typedef struct {
    lsh_simhash_shape shape;
    const float *matrix; /* (dim, n_hashes * n_tables) */
} lsh_matrix_state;

typedef struct {
    lsh_simhash_shape shape;
    const int64_t *indptr;   /* (dim + 1) */
    const uint32_t *entries; /* margin << 1 | negative, by column */
} lsh_lists_state;

/* Scratch per thread that a kernel needs on every instruction set, in bytes; n_probes does not matter. */
int64_t lsh_hadamard_scratch(const lsh_hadamard_state *state);
int64_t lsh_margins_scratch(const lsh_simhash_shape *shape);

#endif
