/* The state of MinHash's kernels. */
#ifndef LSHSAMPLE_FAMILIES_MINHASH_H
#define LSHSAMPLE_FAMILIES_MINHASH_H

#include <stdint.h>
#include "sets.h"

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

/* Scratch per thread in bytes. */
int64_t lsh_minhash_scratch(const lsh_minhash_state *state);

#endif
