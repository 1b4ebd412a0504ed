#include "kernels.h"

#include <stddef.h>

#include "lshsample/isa.h"
#include "lshsample/views.h"

const lsh_kernels *lsh_kernels_current(void) {
#if defined(__x86_64__)
    lsh_isa isa = lsh_isa_current();
    if (isa == LSH_ISA_AVX512) return &lsh_kernels_avx512;
    if (isa == LSH_ISA_AVX2) return &lsh_kernels_avx2;
#elif defined(__aarch64__)
    if (lsh_isa_current() == LSH_ISA_NEON) return &lsh_kernels_neon;
#endif
    return &lsh_kernels_baseline;
}

const lsh_row_kernels *lsh_row_kernels_for(const lsh_kernels *kernels, int32_t dtype) {
#define LSH_DTYPE_CASE(code, name) \
    case code: return kernels->name;
    switch (dtype) {
        LSH_ROW_DTYPES(LSH_DTYPE_CASE)
        default: return NULL;
    }
}
