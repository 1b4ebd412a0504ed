/* The state of the wrappers for maximum inner product search. */
#ifndef LSHSAMPLE_FAMILIES_MIPS_H
#define LSHSAMPLE_FAMILIES_MIPS_H

#include <stdint.h>

/* A wrapper for inner products: rows are scaled, augmented by `n_added` columns, and hashed by the wrapped family's
 * kernel. */
typedef struct {
    int64_t dim;              /* columns of the input rows */
    int32_t n_tables;
    int32_t n_added;          /* columns appended */
    int32_t query;            /* 1: rows get norm 1 and constants; 0: rows get norms of at most `limit` */
    int32_t root;             /* added to data rows of scaled norm^2 t: 1: sqrt(1 - t); 0: offset + sign * t^(2^i) */
    int32_t n_bounds, reserved;
    const double *bounds;     /* (n_bounds) ascending: a row is scaled by limit / the first that is not below its norm */
    double limit, offset, sign, query_value; /* query_value: of every added column of a query */
    intptr_t hash, probe;     /* the wrapped family's functions; probe may be 0 */
    const void *state;        /* and their state */
} lsh_mips_state;

/* Address of the lsh_hash_fn (probing = 0) or lsh_probe_fn (probing = 1) over an lsh_mips_state; scratch is the wrapped
 * kernel's. Either returns 1 when the norm of a data row exceeds the last bound or memory is short, else what the wrapped
 * kernel returns. Thread-safe where the wrapped kernel is. */
intptr_t lsh_mips_function(int32_t probing);

#endif
