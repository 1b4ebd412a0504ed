#include "kernel_table.h"

#include <stddef.h>
#include <string.h>

#include "api/function.h"

static const lsh_named_kernel *kernels_for(const char *isa) {
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0) return lsh_family_kernels_avx512();
    if (strcmp(isa, "avx2") == 0) return lsh_family_kernels_avx2();
#else
    (void)isa; /* the baseline is made of NEON vectors on ARM */
#endif
    return lsh_family_kernels_baseline();
}

intptr_t lsh_family_function(const char *isa, const char *name) {
    for (const lsh_named_kernel *kernel = kernels_for(isa); kernel->name; kernel++)
        if (strcmp(kernel->name, name) == 0) return (intptr_t)kernel->function;
    return 0;
}
