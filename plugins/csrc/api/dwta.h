/* The state of DWTA's and WTA's kernels. */
#ifndef LSHSAMPLE_FAMILIES_DWTA_H
#define LSHSAMPLE_FAMILIES_DWTA_H

#include <stdint.h>

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

/* Scratch per thread in bytes, for WTA too. */
int64_t lsh_dwta_scratch(const lsh_dwta_state *state);

#endif
