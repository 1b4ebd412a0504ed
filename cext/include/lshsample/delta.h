/* A delta over an immutable base: per table the insertions into buckets and the removals from them since it was built.
 *
 * Entries are sorted by (code, id): an id that was inserted, or ~id for one that was removed. Base and deltas add up: an
 * id is in a bucket if its insertions outnumber its removals, base entries counting as insertions. So deltas may be merged
 * in any order, and an id that moves in one table costs two entries there and nothing in the others. A delta is immutable
 * once it is indexed; readers share it freely. */
#ifndef LSHSAMPLE_DELTA_H
#define LSHSAMPLE_DELTA_H

#include <stdint.h>
#include "lshsample/packed.h"
#include "lshsample/status.h"

typedef struct {
    int32_t n_tables;
    int32_t code_bits;
    int32_t directory_bits;   /* 0 to code_bits, at most 30 */
    int32_t reserved;         /* 0 */
    const int64_t *begin;     /* (n_tables): table t has the entries begin[t] .. end[t] - 1 */
    const int64_t *end;
    const uint32_t *codes;
    const int32_t *ids;
    int32_t *directory;       /* (n_tables, 2^directory_bits + 1), places counted from begin[t] */
} lsh_delta;

/* counts[t] = entries that moving n ids from the codes `from` to the codes `to`, both (n, n_tables), takes in table t;
 * NULL for ids that were not there before, or are not there after. Thread-safe. */
lsh_status lsh_delta_count(const uint32_t *from, const uint32_t *to, int64_t n, int32_t n_tables, int32_t threads,
                           int64_t *counts);

/* Writes those entries sorted, table t's from begin[t] on. `ids` ascend and are unique, codes are below 2^code_bits.
 * LSH_NO_MEMORY. */
lsh_status lsh_delta_fill(const int32_t *ids, const uint32_t *from, const uint32_t *to, int64_t n, int32_t n_tables,
                          int32_t code_bits, const int64_t *begin, int32_t threads, uint32_t *codes_out,
                          int32_t *ids_out);

/* Merges two deltas of the same tables: table t's entries are written from begin[t] on, where there is room for both,
 * and end[t] is where they end; an insertion and a removal of the same id and bucket cancel. */
lsh_status lsh_delta_merge(const lsh_delta *a, const lsh_delta *b, const int64_t *begin, int32_t threads, int64_t *end,
                           uint32_t *codes_out, int32_t *ids_out);

/* Fills delta->directory. */
lsh_status lsh_delta_index(const lsh_delta *delta, int32_t threads);

/* Writes base and delta as one packed set into the arrays of `out`, whose n_items is the number of ids that remain.
 * Linear in both. LSH_INVALID if the delta does not fit the base. */
lsh_status lsh_packed_apply(const lsh_packed *base, const lsh_delta *delta, const lsh_packed *out, int32_t threads);

/* The entries of a code: places *begin .. *begin + length - 1; returns the length. */
int64_t lsh_delta_bucket(const lsh_delta *delta, int32_t table, uint32_t code, int64_t *begin);

#endif
