/* The plugin ABI of hash families: everything that a compiled family needs, in one self-contained header.
 *
 * A family passes an lsh_family_kernel to the core. The core calls `hash` from several threads at once, without Python's
 * lock, each thread with separate scratch memory. So `hash` must be a pure function of its arguments: `state` is
 * read-only, and nothing else is read or written. Returned codes are range-checked. */
#ifndef LSHSAMPLE_FAMILY_H
#define LSHSAMPLE_FAMILY_H

#include <stdint.h>

enum { LSH_FAMILY_ABI = 1 };

/* Hashes n_rows rows of `dim` columns into codes[r * n_tables + t], each below 2^code_bits. Returns 0, or anything
 * else to report failure.
 *
 * Dense rows: indptr and indices are NULL, and row r is values[r * stride] .. values[r * stride + dim - 1].
 * Sparse rows: row r has columns indices[k] (ascending, unique) and values[k] for k in [indptr[r], indptr[r + 1]);
 *   indptr[0] need not be 0, for a block of a larger matrix; stride is 0.
 * Values are finite (the core has checked). `scratch` has scratch_bytes bytes, 64-byte aligned, contents undefined. */
typedef int32_t (*lsh_hash_fn)(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                               const int64_t *indptr, const int32_t *indices, uint32_t *codes, void *scratch);

/* Like lsh_hash_fn, with n_probes codes for each row and table, the best first, the row's own code at index 0:
 * codes[(r * n_tables + t) * n_probes + p]. */
typedef int32_t (*lsh_probe_fn)(const void *state, int64_t n_rows, int64_t dim, const float *values, int64_t stride,
                                const int64_t *indptr, const int32_t *indices, int32_t n_probes, uint32_t *codes,
                                void *scratch);

typedef struct {
    int32_t abi_version;   /* LSH_FAMILY_ABI of the header that the plugin was compiled with */
    int32_t n_tables;      /* codes per row, L */
    int32_t code_bits;     /* bits of a code, 1 to 32 */
    int32_t reserved;      /* 0 */
    int64_t dim;           /* columns of a row */
    int64_t scratch_bytes; /* per thread */
    const void *state;     /* passed to the functions; owned by the plugin, which keeps it as long as the kernel */
    lsh_hash_fn hash;
    lsh_probe_fn probe;    /* NULL where the family cannot probe */
} lsh_family_kernel;

#endif
