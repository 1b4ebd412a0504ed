/* What the files of this folder share. */
#ifndef LSHSAMPLE_L1_CAUCHY_FUNCTIONS_H
#define LSHSAMPLE_L1_CAUCHY_FUNCTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "lshsample/family.h"

#include "family.h"

lsh_hash_fn lshsample_l1_cauchy_kernel_baseline(void);
lsh_hash_fn lshsample_l1_cauchy_kernel_avx2(void);
lsh_hash_fn lshsample_l1_cauchy_kernel_avx512(void);

#endif
