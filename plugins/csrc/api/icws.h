/* The state of the kernel of consistent weighted sampling. */
#ifndef LSHSAMPLE_FAMILIES_ICWS_H
#define LSHSAMPLE_FAMILIES_ICWS_H

#include <stdint.h>

/* Consistent weighted sampling: element 2 c + negative for column c; hash k of table t has place k * n_tables + t. */
typedef struct {
    int32_t n_hashes, n_tables, bits;
    uint32_t seed;
    const uint32_t *seeds; /* (n), padded to n, a multiple of 16 */
    const float *draws;    /* (2 dim, 3, n): rate, log_cut and shift of each element; or NULL: drawn when needed */
} lsh_icws_state;

/* Scratch per thread in bytes. */
int64_t lsh_icws_scratch(const lsh_icws_state *state);

#endif
