/* The kernels for AVX2 with FMA. */
#if defined(__x86_64__)
#define LSH_TARGET_AVX2
#include "table_body.h"
#else
typedef int lsh_no_avx2; /* ISO C requires a declaration in each file */
#endif
