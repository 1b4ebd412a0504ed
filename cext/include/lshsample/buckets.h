/* The buckets of queries one by one, for estimators that take one table at a time. */
#ifndef LSHSAMPLE_BUCKETS_H
#define LSHSAMPLE_BUCKETS_H

#include <stdint.h>
#include "lshsample/overlay.h"
#include "lshsample/status.h"
#include "lshsample/tables.h"

/* held[q * n_tables + t] = ids in the bucket codes[q * n_tables + t] of table t, base and overlays together; sizes = how
 * many it has had (more than held only in bounded tables). LSH_OUT_OF_RANGE for a damaged untrusted base. */
lsh_status lsh_buckets_count(const lsh_packed *tables, const lsh_overlay *overlays, int64_t n_overlays,
                             const uint32_t *codes, int64_t n_queries, int32_t threads, int64_t *held, int64_t *sizes);

/* Writes the ids of bucket i from ids[indptr[i]] on; indptr is the cumulated `held` of lsh_buckets_count. */
lsh_status lsh_buckets_fill(const lsh_packed *tables, const lsh_overlay *overlays, int64_t n_overlays,
                            const uint32_t *codes, int64_t n_queries, const int64_t *indptr, int32_t threads,
                            int32_t *ids);

#endif
