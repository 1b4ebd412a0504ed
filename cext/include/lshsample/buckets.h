/* The buckets of queries one by one, for estimators that take one table at a time. */
#ifndef LSHSAMPLE_BUCKETS_H
#define LSHSAMPLE_BUCKETS_H

#include <stdint.h>
#include "lshsample/reader.h"
#include "lshsample/status.h"

/* held[q * n_tables + t] = ids in the bucket codes[q * n_tables + t] of table t, deltas included; sizes = how many it was
 * offered (more than held only in bounded tables). LSH_OUT_OF_RANGE for damaged untrusted tables. */
lsh_status lsh_buckets_count(const lsh_reader *reader, const uint32_t *codes, int64_t n_queries, int32_t threads,
                             int64_t *held, int64_t *sizes);

/* Writes the ids of bucket i from ids[indptr[i]] on; indptr is the cumulated `held` of lsh_buckets_count. */
lsh_status lsh_buckets_fill(const lsh_reader *reader, const uint32_t *codes, int64_t n_queries, const int64_t *indptr,
                            int32_t threads, int32_t *ids);

#endif
