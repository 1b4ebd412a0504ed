/* Where Python finds the compiled kernels. */
#ifndef LSHSAMPLE_FAMILIES_FUNCTION_H
#define LSHSAMPLE_FAMILIES_FUNCTION_H

#include <stdint.h>

/* The address of a kernel by its name in kernels.h, an lsh_hash_fn or an lsh_probe_fn, compiled for an instruction set by
 * its name ("avx2", "avx512"), or for the baseline where the set has none of its own. 0 for an unknown kernel. */
intptr_t lsh_family_function(const char *isa, const char *name);

#endif
