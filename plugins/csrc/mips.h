/* Maximum inner products through another family: rows scaled, given further columns, and handed to its kernel. */
#ifndef LSHSAMPLE_FAMILIES_MIPS_H
#define LSHSAMPLE_FAMILIES_MIPS_H

#include <stdint.h>

/* An lsh_hash_fn and an lsh_probe_fn over an lsh_mips_state; scratch is the wrapped kernel's. Each returns 1 when a
 * data row exceeds the last bound or memory is short, else what the wrapped kernel returns. Thread-safe where that
 * one is. */
int32_t lsh_mips_hash(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                      const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch);
int32_t lsh_mips_probe(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                       const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                       void *scratch);

#endif
