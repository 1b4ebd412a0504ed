#include "kernels.h"
#include "lshsample/isa.h"

const lsh_kernels *lsh_kernels_current(void) {
#if defined(__x86_64__)
    lsh_isa isa = lsh_isa_current();
    if (isa == LSH_ISA_AVX512) return &lsh_kernels_avx512;
    if (isa == LSH_ISA_AVX2) return &lsh_kernels_avx2;
#endif
    return &lsh_kernels_baseline;
}
