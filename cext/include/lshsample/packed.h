/* Packed hash tables: per table the ids sorted by code, with a directory over the top bits of the codes.
 *
 * A table of n ids is a permutation of 0..n-1 sorted by (code, id), so a bucket is a run of it and ids ascend in a
 * bucket. directory[c] is where the run of the codes with top bits c begins. With directory_bits == code_bits the
 * directory has an entry for each bucket and no codes are kept; else the sorted codes are, and are compared in full, so
 * that the directory never adds a collision. Buckets keep every id.
 *
 * This struct is an immutable base: readers may share it freely. What changes between builds is a delta (delta.h), never
 * written into the base. After removals ids have holes: n_items entries in each table, ids below n_ids. */
#ifndef LSHSAMPLE_PACKED_H
#define LSHSAMPLE_PACKED_H

#include <stdint.h>
#include "lshsample/status.h"

typedef struct {
    int64_t n_items;        /* entries of each table */
    int64_t n_ids;          /* ids are below it */
    int32_t n_tables;
    int32_t code_bits;      /* 1 to 32 */
    int32_t directory_bits; /* 0 to code_bits */
    int32_t untrusted;      /* 1: unchecked arrays, so that lookups must check what they read */
    int32_t *ids;           /* (n_tables, n_items) */
    uint32_t *codes;        /* (n_tables, n_items), ascending in a table; NULL if directory_bits == code_bits */
    int32_t *directory;     /* (n_tables, 2^directory_bits + 1), offsets from 0 to n_items */
} lsh_packed;

/* The bits of the directory for n_items codes: all code_bits where that is at most one entry for each item or so,
 * else about log2(n_items). Thread-safe; never fails. */
int32_t lsh_packed_directory_bits(int64_t n_items, int32_t code_bits);

/* Bytes of scratch that lsh_packed_build allocates for this number of threads. */
int64_t lsh_packed_build_scratch(int64_t n_items, int32_t n_tables, int32_t code_bits, int32_t threads);

/* Transposes a block of codes (rows, n_tables) into columns (n_tables, n_items) at rows first .. first + rows - 1.
 * LSH_OUT_OF_RANGE if a code is not below 2^code_bits. Blocks with disjoint rows may be written at the same time. */
lsh_status lsh_codes_transpose(const uint32_t *block, int64_t rows, int32_t n_tables, int32_t code_bits, int64_t first,
                               int64_t n_items, uint32_t *columns, int32_t threads);

/* Sorts codes into tables in place. The caller allocated and owns their arrays, and has written the codes, as columns
 * (n_tables, n_items), into tables->codes where codes are kept, else into tables->ids. The ids are 0 to n_items - 1.
 * Parallel over tables. LSH_OUT_OF_RANGE for a code not below 2^code_bits, LSH_NO_MEMORY; the arrays are then undefined. */
lsh_status lsh_packed_build(const lsh_packed *tables, int32_t threads);

/* The same in slices, between which the caller may do anything else: steps begin .. end - 1 of 2 n_items n_tables, in
 * order, each once. A table takes 2 n_items steps, one table after the other, so that its counters stay in the cache; where
 * codes are kept it is sorted whole at its last step. The codes are in blocks (n_items / rows rounded up, n_tables, rows).
 * The arrays are tables after the last step of all. Parallel over the tables of a slice. Errors as for lsh_packed_build. */
lsh_status lsh_packed_sort_slice(const lsh_packed *tables, const uint32_t *blocks, int64_t rows, int64_t begin,
                                 int64_t end, int32_t threads);

/* Checks arrays that come from outside: directories ascend from 0 to n_items, ids lie in 0..n_ids-1, codes ascend
 * and agree with the directory. LSH_OUT_OF_RANGE where they do not. After it, every lookup stays inside the arrays. */
lsh_status lsh_packed_check(const lsh_packed *tables, int32_t threads);

/* The bucket of a code: ids[*begin] .. ids[*begin + length - 1] of the whole ids array; returns the length.
 * A code out of range has an empty bucket. Thread-safe. */
int64_t lsh_packed_bucket(const lsh_packed *tables, int32_t table, uint32_t code, int64_t *begin);

/* The same for untrusted arrays: -1 where the bucket is outside of them or has an id out of range. */
int64_t lsh_packed_bucket_checked(const lsh_packed *tables, int32_t table, uint32_t code, int64_t *begin);

/* codes[id * n_tables + t] = the code of each id in each table; rows of ids that are not in the tables are not written. */
lsh_status lsh_packed_forward(const lsh_packed *tables, uint32_t *codes, int32_t threads);

#endif
