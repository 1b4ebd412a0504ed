#include "lshsample/isa.h"

#include <stdatomic.h>

static _Atomic int current = -1;

int32_t lsh_isa_available(lsh_isa isa) {
    if (isa == LSH_ISA_BASELINE) return 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (isa == LSH_ISA_AVX2) return avx2;
    if (isa == LSH_ISA_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#if defined(__aarch64__)
    if (isa == LSH_ISA_NEON) return 1;
#endif
    return 0;
}

lsh_isa lsh_isa_current(void) {
    int isa = atomic_load(&current);
    if (isa < 0) {
        isa = LSH_ISA_NEON;
        while (!lsh_isa_available((lsh_isa)isa)) isa--;
        atomic_store(&current, isa);
    }
    return (lsh_isa)isa;
}

lsh_status lsh_isa_use(lsh_isa isa) {
    if (!lsh_isa_available(isa)) return LSH_INVALID;
    atomic_store(&current, (int)isa);
    return LSH_OK;
}
