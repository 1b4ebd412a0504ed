/* Bounded tables: at most R ids of each bucket, each subset of R equally likely.
 *
 * Each of the 2^code_bits buckets of a table has R places, and a size: how many ids it has been offered, of which it
 * holds min(size, R) in its first places. The i-th id of a bucket takes place i while i <= R, and else a random place
 * with probability R / i (Vitter 1985, Algorithm R). Draws are keyed by (seed, table, code, i): every bucket and table has
 * a separate stream. Memory does not depend on the number of ids. */
#ifndef LSHSAMPLE_BOUNDED_H
#define LSHSAMPLE_BOUNDED_H

#include <stdint.h>
#include "lshsample/status.h"

typedef struct {
    int64_t n_items;     /* ids that were offered to each table */
    int64_t n_ids;       /* ids are below it */
    int32_t n_tables;
    int32_t code_bits;   /* 1 to 30 */
    int32_t untrusted;   /* 1: unchecked arrays, so that lookups must check what they read */
    int32_t reserved;    /* 0 */
    int64_t bucket_size; /* R, at least 1 */
    int32_t *ids;        /* (n_tables, 2^code_bits, bucket_size) */
    int32_t *sizes;      /* (n_tables, 2^code_bits) */
} lsh_bounded;

/* Offers n ids with their codes (n, n_tables) to the buckets, in this order, and counts them in tables->sizes. Parallel
 * over tables, the same for any number of threads. LSH_OUT_OF_RANGE for a code not below 2^code_bits; the arrays are then
 * undefined. No other thread may use the arrays meanwhile. */
lsh_status lsh_bounded_offer(const lsh_bounded *tables, const int32_t *ids, const uint32_t *codes, int64_t n,
                             uint64_t seed, int32_t threads);

/* Merges two bounded sets of disjoint ids into `out` (of the same shape; its arrays may not be those of a or b): from
 * buckets of n and m ids the R are drawn as from one of n + m. */
lsh_status lsh_bounded_merge(const lsh_bounded *a, const lsh_bounded *b, const lsh_bounded *out, uint64_t seed,
                             int32_t threads);

/* Checks arrays that come from outside: sizes of each table sum to n_items, ids lie in 0..n_ids-1. LSH_OUT_OF_RANGE where
 * they do not. */
lsh_status lsh_bounded_check(const lsh_bounded *tables, int32_t threads);

/* The ids that the bucket of a code holds: ids[*begin] .. ids[*begin + length - 1] of the whole ids array; returns the
 * length. A code out of range has an empty bucket. Thread-safe. */
int64_t lsh_bounded_bucket(const lsh_bounded *tables, int32_t table, uint32_t code, int64_t *begin);

/* The same for untrusted arrays: -1 for a negative size or an id out of range. */
int64_t lsh_bounded_bucket_checked(const lsh_bounded *tables, int32_t table, uint32_t code, int64_t *begin);

#endif
