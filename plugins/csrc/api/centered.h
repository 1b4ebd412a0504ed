/* The state of the wrapper that subtracts a mean. */
#ifndef LSHSAMPLE_FAMILIES_CENTERED_H
#define LSHSAMPLE_FAMILIES_CENTERED_H

#include <stdint.h>

/* Rows minus a mean, with one more column or none, are hashed by the wrapped family's kernel. */
typedef struct {
    int64_t dim;            /* columns of the input rows */
    int64_t buffer_offset;  /* bytes of scratch that the wrapped kernel has, a multiple of 64; the buffer follows */
    int32_t n_tables;
    int32_t rows_at_once;   /* rows that the buffer holds */
    int32_t n_added;        /* columns appended: 0 or 1 */
    int32_t reserved;
    const float *mean;      /* (dim) what is subtracted */
    const double *direction; /* (dim) the added column is this times the centred row; NULL: it is `added` */
    float added;
    intptr_t hash, probe;   /* the wrapped family's functions; probe may be 0 */
    const void *state;      /* and their state */
} lsh_centered_state;

/* Address of the lsh_hash_fn (probing = 0) or lsh_probe_fn (probing = 1) over an lsh_centered_state. Scratch:
 * buffer_offset bytes for the wrapped kernel, then rows_at_once * (dim + n_added) floats. Either returns what the wrapped
 * kernel returns. Thread-safe where the wrapped kernel is. */
intptr_t lsh_centered_function(int32_t probing);

#endif
