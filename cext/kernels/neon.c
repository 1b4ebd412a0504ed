/* The kernels for NEON with fused multiply-adds. */
#if defined(__aarch64__)
#define LSH_TARGET_NEON
#include "table_body.h"
#else
typedef int lsh_no_neon; /* ISO C requires a declaration in each file */
#endif
