/* The kernels for AVX-512 (F, BW, DQ, VL). */
#if defined(__x86_64__)
#define LSH_TARGET_AVX512
#include "table_body.h"
#else
typedef int lsh_no_avx512; /* ISO C requires a declaration in each file */
#endif
