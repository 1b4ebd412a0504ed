#if defined(__x86_64__)
#define LSH_TARGET_AVX2
#include "kernels.h"
#endif
