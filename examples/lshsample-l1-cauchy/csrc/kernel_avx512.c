#if defined(__x86_64__)
#define LSH_TARGET_AVX512
#include "kernel.h"
#endif
