/* The kernels by name, a table for each instruction set. */
#ifndef LSHSAMPLE_FAMILIES_KERNEL_TABLE_H
#define LSHSAMPLE_FAMILIES_KERNEL_TABLE_H

/* Any kernel: an lsh_hash_fn or an lsh_probe_fn, as the caller knows. */
typedef void (*lsh_any_kernel)(void);

typedef struct {
    const char *name;
    lsh_any_kernel function;
} lsh_named_kernel;

/* Each ends with a name that is NULL; see kernels.h for what is in them. */
const lsh_named_kernel *lsh_family_kernels_baseline(void);
#if defined(__x86_64__)
const lsh_named_kernel *lsh_family_kernels_avx2(void);
const lsh_named_kernel *lsh_family_kernels_avx512(void);
#endif

#endif
