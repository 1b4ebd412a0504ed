/* The kernels for every processor, with the same bits on each: SSE2 on x86-64, NEON without fused multiply-adds on ARM. */
#include "table_body.h"
