#if defined(__x86_64__)
#define LSH_TARGET_AVX2
#include "kernel.h"
#endif
