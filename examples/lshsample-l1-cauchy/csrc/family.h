/* Cells of projections to Cauchy directions. */
#ifndef LSHSAMPLE_L1_CAUCHY_H
#define LSHSAMPLE_L1_CAUCHY_H

#include <stdint.h>

typedef struct {
    int64_t n_hashes, n_tables, bits;
    double width;
    const float *directions; /* (dim, n_hashes * n_tables) */
    const double *offsets;   /* (n_hashes * n_tables) */
} lshsample_l1_cauchy_state;

/* Address of the lsh_hash_fn for an instruction set by its name: "avx2", "avx512", or that of the baseline for any
 * other, such as "neon": codes are the same on all of them. */
intptr_t lshsample_l1_cauchy_function(const char *isa);
/* LSH_FAMILY_ABI of the header that it was compiled with. */
int32_t lshsample_l1_cauchy_abi(void);

#endif
