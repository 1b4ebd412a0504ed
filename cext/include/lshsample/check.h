/* Checks of arrays that come from outside, before anything else reads them. */
#ifndef LSHSAMPLE_CHECK_H
#define LSHSAMPLE_CHECK_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* The first place of each kind of error in sparse rows, -1 where there is none. */
typedef struct {
    int64_t row;   /* the first whose offsets descend or lie outside of 0 to n_entries; if there is one, the others are -1 */
    int64_t index; /* the first entry whose column is not from 0 to cols - 1 */
    int64_t order; /* the first entry whose column is not above that of the entry before it in its row */
    int64_t value; /* the first entry that is NaN or infinite */
    int64_t zero;  /* the first entry that is stored although it is 0 */
} lsh_csr_faults;

/* Reads sparse rows once, whatever they hold. `n_entries` is the length of indices and of values, which may be NULL:
 * then no value is checked. Faults are the same for any number of threads. Returns LSH_INVALID for negative sizes or
 * threads below 1, else LSH_OK, with faults or without. Thread-safe. */
lsh_status lsh_csr_check(lsh_csr x, int64_t n_entries, int32_t threads, lsh_csr_faults *faults);

/* Whether every value of a float32 view is a number: neither NaN nor infinite. Reads x once. Thread-safe. */
int32_t lsh_finite(lsh_dense x);

/* Column indices in 4 bytes: those that do not fit, and negative ones, become -1, which lsh_csr_check finds. The arrays
 * (n) must not overlap. Returns LSH_INVALID for a negative n or threads below 1. Thread-safe. */
lsh_status lsh_indices_narrow(const int64_t *wide, int64_t n, int32_t threads, int32_t *narrow);

#endif
