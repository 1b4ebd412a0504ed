/* Bits at random positions of rows. */
#ifndef BIT_SAMPLING_H
#define BIT_SAMPLING_H

#include <stdint.h>

typedef struct {
    int64_t n_hashes, n_tables;
    float threshold;          /* a value above it is a 1; not negative */
    const int32_t *positions; /* (n_hashes * n_tables): the column of hash k of table t, at k * n_tables + t */
    const int32_t *starts;    /* (dim + 1): hashes[starts[i]] .. hashes[starts[i + 1] - 1] use column i */
    const int32_t *hashes;    /* places in positions, by column */
} bit_sampling_state;

/* Address of the lsh_hash_fn. Wider vectors would not make it faster, so there is one for every instruction set. */
intptr_t bit_sampling_function(void);
/* LSH_FAMILY_ABI of the header that it was compiled with. */
int32_t bit_sampling_abi(void);

#endif
