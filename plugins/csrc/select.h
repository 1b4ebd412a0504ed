/* Which kernel is asked for, and the table of each instruction set. */
#ifndef LSHSAMPLE_FAMILIES_SELECT_H
#define LSHSAMPLE_FAMILIES_SELECT_H

#include <stdint.h>

enum {
    LSH_HADAMARD_HASH,
    LSH_HADAMARD_PROBE,
    LSH_MATRIX_HASH,
    LSH_MATRIX_PROBE,
    LSH_LISTS_HASH,
    LSH_LISTS_PROBE,
    LSH_DWTA_WINDOWS,
    LSH_DWTA_LISTS,
    LSH_WTA_WINDOWS,
    LSH_WTA_LISTS,
    LSH_MINHASH_FUNCTIONS,
    LSH_MINHASH_BINS,
    LSH_ICWS_HASH,
    LSH_E2LSH_HADAMARD,
    LSH_E2LSH_HADAMARD_PROBE,
    LSH_E2LSH_MATRIX,
    LSH_E2LSH_MATRIX_PROBE,
    LSH_E2LSH_LISTS,
    LSH_E2LSH_LISTS_PROBE,
    LSH_VERTEX_HADAMARD,
    LSH_VERTEX_HADAMARD_PROBE,
    LSH_VERTEX_MATRIX,
    LSH_VERTEX_MATRIX_PROBE,
    LSH_VERTEX_LISTS,
    LSH_VERTEX_LISTS_PROBE
};

intptr_t lsh_family_functions_baseline(int32_t which);
#if defined(__x86_64__)
intptr_t lsh_family_functions_avx2(int32_t which);
intptr_t lsh_family_functions_avx512(int32_t which);
#endif

#endif
