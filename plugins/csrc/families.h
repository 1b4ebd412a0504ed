/* The kernels of the built-in families, as the plugin's Python modules ask for them.
 *
 * A state describes drawn hash functions; its arrays belong to the caller. A selector gives the function for an
 * instruction set (0 baseline, 1 AVX2, 2 AVX-512), or NULL for one that is not compiled in. */
#ifndef LSHSAMPLE_FAMILIES_H
#define LSHSAMPLE_FAMILIES_H

#include <stdint.h>
#include "lshsample/family.h"

/* What SimHash's three projections share: margin k of table l has place k * n_tables + l. */
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

/* Densified winner-take-all: hash k of table t has number t * n_hashes + k. */
typedef struct {
    int64_t dim;
    int32_t n_hashes, n_tables;
    int32_t window, reserved; /* m, a power of two */
    const int32_t *windows;   /* (n_tables * n_hashes, m): columns, in the window's order */
    const uint32_t *seeds;    /* (n_tables * n_hashes): of the ranks that empty windows go by */
    const int64_t *indptr;    /* (dim + 1), or NULL: for many columns, the windows that each one is in */
    const uint32_t *entries;  /* hash * m + position, by column */
} lsh_dwta_state;

/* Scratch per thread that a kernel needs on every instruction set, in bytes; n_probes does not matter. */
int64_t lsh_hadamard_scratch(const lsh_hadamard_state *state);
int64_t lsh_margins_scratch(const lsh_simhash_shape *shape);
int64_t lsh_dwta_scratch(const lsh_dwta_state *state);

/* Addresses of lsh_hash_fn (probing = 0) or lsh_probe_fn (probing = 1). */
intptr_t lsh_hadamard_function(int32_t isa, int32_t probing);
intptr_t lsh_matrix_function(int32_t isa, int32_t probing);
intptr_t lsh_lists_function(int32_t isa, int32_t probing);
/* Address of an lsh_hash_fn: over windows (by_column = 0), or over the lists of windows by column (1). */
intptr_t lsh_dwta_function(int32_t isa, int32_t by_column);

#endif
