/* The kernels for every processor: SSE2 on x86-64, NEON on ARM. */
#include "table_body.h"
