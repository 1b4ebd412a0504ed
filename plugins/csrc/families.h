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

/* Which columns of a row make its set. */
typedef struct {
    int32_t kind;    /* LSH_SET_... */
    uint32_t seed;   /* of the words that stand for columns */
    int64_t size;    /* LSH_SET_TOP: the most entries; otherwise 0 */
    float threshold; /* LSH_SET_ABOVE: at least 0 */
} lsh_set_rule;

enum { LSH_SET_NONZERO, LSH_SET_ABOVE, LSH_SET_TOP };

/* Columns of a set that are handled at once. */
enum { LSH_SET_CHUNK = 256 };

/* Random bins that an empty bin tries before it looks at all of them. */
enum { LSH_BIN_TRIES = 8 };

/* MinHash: hash k of table t has place k * n_tables + t. */
typedef struct {
    lsh_set_rule rule;
    int32_t n_hashes, n_tables, bits, reserved;
    const uint32_t *multipliers; /* a function each, padded to a multiple of 64; or a permutation's seed each (K) */
    const uint32_t *offsets;     /* the same; or the seed of each permutation's stand-ins (K) */
    const uint32_t *tries;       /* (n_hashes, LSH_BIN_TRIES, n_tables): bins that an empty one looks at; or NULL */
} lsh_minhash_state;

/* Consistent weighted sampling: element 2 c + negative for column c; hash k of table t has place k * n_tables + t. */
typedef struct {
    int32_t n_hashes, n_tables, bits;
    uint32_t seed;
    const uint32_t *seeds; /* (n), padded to n, a multiple of 16 */
    const float *draws;    /* (2 dim, 3, n): rate, log_cut and shift of each element; or NULL: drawn when needed */
} lsh_icws_state;

/* E2LSH: the projection is the one that is not NULL. */
typedef struct {
    int32_t n_hashes, n_tables, bits, reserved;
    double step;           /* from margins of unscaled rows to bucket widths */
    const double *offsets; /* (n_hashes, n_tables): below 1 */
    const lsh_hadamard_state *hadamard;
    const lsh_matrix_state *matrix;
    const lsh_lists_state *lists;
} lsh_e2lsh_state;

/* Cross-polytope: margin k * dimension + i of the projection is coordinate i of hash k. */
typedef struct {
    int32_t n_hashes, n_tables, dimension, bits;
    const lsh_hadamard_state *hadamard;
    const lsh_matrix_state *matrix;
    const lsh_lists_state *lists;
} lsh_vertex_state;

/* A wrapper for inner products: rows are scaled, get `tail` further columns, and go to the wrapped family's kernel. */
typedef struct {
    int64_t dim;              /* columns of the rows that come in */
    int32_t n_tables;
    int32_t tail;             /* columns appended */
    int32_t query;            /* 1: rows get norm 1 and constants; 0: rows get norms of at most `limit` */
    int32_t root;             /* the tail of data: 1: sqrt(1 - t); 0: offset + sign * t^(2^i), t the squared norm */
    int32_t n_bounds, reserved;
    const double *bounds;     /* (n_bounds) ascending: a row is scaled by limit / the first that is not below its norm */
    double limit, offset, sign, query_tail;
    intptr_t hash, probe;     /* the wrapped family's functions; probe may be 0 */
    const void *state;        /* and their state */
} lsh_mips_state;

/* Scratch per thread that a kernel needs on every instruction set, in bytes; n_probes does not matter. */
int64_t lsh_hadamard_scratch(const lsh_hadamard_state *state);
int64_t lsh_margins_scratch(const lsh_simhash_shape *shape);
int64_t lsh_dwta_scratch(const lsh_dwta_state *state);

int64_t lsh_minhash_scratch(const lsh_minhash_state *state);
int64_t lsh_icws_scratch(const lsh_icws_state *state);
int64_t lsh_e2lsh_scratch(const lsh_e2lsh_state *state);
int64_t lsh_vertex_scratch(const lsh_vertex_state *state);

/* Addresses of lsh_hash_fn (probing = 0) or lsh_probe_fn (probing = 1). */
intptr_t lsh_hadamard_function(int32_t isa, int32_t probing);
intptr_t lsh_matrix_function(int32_t isa, int32_t probing);
intptr_t lsh_lists_function(int32_t isa, int32_t probing);
/* Address of an lsh_hash_fn: over windows (by_column = 0), or over the lists of windows by column (1). */
intptr_t lsh_dwta_function(int32_t isa, int32_t by_column);
intptr_t lsh_wta_function(int32_t isa, int32_t by_column);
/* Over a function for each hash (bins = 0), or a permutation for each of a code's hashes (1). */
intptr_t lsh_minhash_function(int32_t isa, int32_t bins);
intptr_t lsh_icws_function(int32_t isa);
/* Address of an lsh_hash_fn or lsh_probe_fn, through the projection that the state has. */
intptr_t lsh_e2lsh_function(int32_t isa, int32_t probing, const lsh_e2lsh_state *state);
intptr_t lsh_vertex_function(int32_t isa, int32_t probing, const lsh_vertex_state *state);
/* Address of an lsh_hash_fn or lsh_probe_fn over an lsh_mips_state; scratch is the wrapped kernel's. */
intptr_t lsh_mips_function(int32_t probing);

#endif
