/* Hashing whole matrices through a family's kernel, in parallel blocks, with every code checked.
 *
 * The kernel comes from a plugin, so it is not trusted: version, sizes and pointers are checked before the first call,
 * codes after each block. */
#ifndef LSHSAMPLE_HASHING_H
#define LSHSAMPLE_HASHING_H

#include <stdint.h>
#include "lshsample/family.h"
#include "lshsample/status.h"
#include "lshsample/views.h"

/* Rows in one call of a kernel: a constant, so that the blocks do not depend on the number of threads. */
enum { LSH_HASH_BLOCK = 64 };

/* Checks the fields of a kernel: LSH_BAD_ABI for another version, LSH_INVALID for a NULL function or a size out
 * of range. `probing` also requires a probe function. Thread-safe. */
lsh_status lsh_kernel_check(const lsh_family_kernel *kernel, int32_t probing);

/* Codes of dense rows of float32.
 * n_probes = 0: `hash`, into codes[row * n_tables + table]. n_probes >= 1: `probe`, into
 * codes[(row * n_tables + table) * n_probes + p].
 * `codes` is the caller's, of the whole size. Fails with LSH_INVALID (x.cols is not the kernel's dim, bad sizes),
 * LSH_NOT_FINITE (a value; checked here, block by block while it is in cache), LSH_NO_MEMORY, LSH_PLUGIN_FAILED,
 * LSH_OUT_OF_RANGE (a code of 2^code_bits or more); `codes` is then undefined. */
lsh_status lsh_hash_dense(const lsh_family_kernel *kernel, lsh_dense x, int32_t n_probes, int32_t threads,
                          uint32_t *codes);

/* The same for sparse rows. */
lsh_status lsh_hash_csr(const lsh_family_kernel *kernel, lsh_csr x, int32_t n_probes, int32_t threads,
                        uint32_t *codes);

#endif
