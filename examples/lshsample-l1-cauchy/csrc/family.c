#include "functions.h"

#include <string.h>

/* The sources that this was compiled from, by which the tests recognise an old build. */
const char lshsample_l1_cauchy_sources[] = SOURCE_DIGEST;

intptr_t lshsample_l1_cauchy_function(const char *isa) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx2") == 0) return (intptr_t)lshsample_l1_cauchy_kernel_avx2();
    if (strcmp(isa, "avx512") == 0) return (intptr_t)lshsample_l1_cauchy_kernel_avx512();
#else
    (void)isa;
#endif
    return (intptr_t)lshsample_l1_cauchy_kernel_baseline();
}

int32_t lshsample_l1_cauchy_abi(void) { return LSH_FAMILY_ABI; }
