/* Bounded tables: at most R ids of each bucket, each subset of R equally likely; see lsh_packed.
 *
 * The i-th id of a bucket takes place i while i <= R, and else a random place with probability R / i (Vitter 1985,
 * Algorithm R). Draws are keyed by (seed, table, code, i): every bucket and table has a stream of its own. */
#ifndef LSHSAMPLE_BOUNDED_H
#define LSHSAMPLE_BOUNDED_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/tables.h"

/* Offers n ids with their codes (n, n_tables) to the buckets, in this order, and counts them in tables->directory.
 * tables->directory_bits is code_bits. Parallel over tables, the same for any number of threads. LSH_OUT_OF_RANGE for a
 * code not below 2^code_bits; the arrays are then undefined. The caller holds the arrays alone. */
lsh_status lsh_bounded_offer(const lsh_packed *tables, const int32_t *ids, const uint32_t *codes, int64_t n,
                             uint64_t seed, int32_t threads);

/* Merges two bounded sets of disjoint ids into `out` (of the same shape; its arrays may not be those of a or b): from
 * buckets of n and m ids the R are drawn as from one of n + m. */
lsh_status lsh_bounded_merge(const lsh_packed *a, const lsh_packed *b, const lsh_packed *out, uint64_t seed,
                             int32_t threads);

#endif
