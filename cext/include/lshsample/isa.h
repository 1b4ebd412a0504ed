/* Instruction sets: which are compiled, which the processor has, which one is in use.
 *
 * A kernel is written once, against lshsample/simd.h, and compiled once per set. The set in use is chosen when it
 * is first needed, as the best that the processor has; lsh_isa_use forces another one. */
#ifndef LSHSAMPLE_ISA_H
#define LSHSAMPLE_ISA_H

#include <stdint.h>
#include "lshsample/status.h"

typedef enum { LSH_ISA_BASELINE = 0, LSH_ISA_AVX2 = 1, LSH_ISA_AVX512 = 2, LSH_ISA_NEON = 3 } lsh_isa;

/* The set in use. Thread-safe. */
lsh_isa lsh_isa_current(void);
/* 1 if the set is compiled in and the processor (and its operating system) has it, else 0. */
int32_t lsh_isa_available(lsh_isa isa);
/* Uses another set from now on, in the whole process; LSH_INVALID if it is not available. */
lsh_status lsh_isa_use(lsh_isa isa);

#endif
