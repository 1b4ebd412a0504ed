#include "lshsample/buckets.h"

#include "lshsample/parallel.h"

enum { QUERIES = 4 };

typedef struct {
    const lsh_packed *tables;
    const lsh_overlay *overlays;
    int64_t n_overlays;
    const uint32_t *codes;
    int64_t *held, *sizes;
    const int64_t *indptr;
    int32_t *ids;
} bucket_job;

static int64_t base_bucket(const bucket_job *job, int32_t table, uint32_t code, int64_t *begin) {
    return job->tables->untrusted ? lsh_packed_bucket_checked(job->tables, table, code, begin)
                                  : lsh_packed_bucket(job->tables, table, code, begin);
}

/* Joins minus leaves of an id in a bucket of the first n overlays. */
static int64_t balance(const bucket_job *job, int64_t n, int32_t table, uint32_t code, int32_t id) {
    int64_t total = 0, begin;
    for (int64_t o = 0; o < n; o++) {
        int64_t length = lsh_overlay_bucket(&job->overlays[o], table, code, &begin);
        for (int64_t i = 0; i < length; i++) {
            int32_t entry = job->overlays[o].ids[begin + i];
            total += (entry == id) - (entry == ~id);
        }
    }
    return total;
}

static int in_base(const bucket_job *job, int32_t table, uint32_t code, int32_t id) {
    int64_t begin, length = base_bucket(job, table, code, &begin);
    for (int64_t i = 0; i < length; i++)
        if (job->tables->ids[begin + i] == id) return 1;
    return 0;
}

static int64_t write_bucket(const bucket_job *job, int32_t table, uint32_t code, int32_t *out) {
    int64_t begin, n = 0, length = base_bucket(job, table, code, &begin), all = job->n_overlays;
    for (int64_t i = 0; i < length; i++) {
        int32_t id = job->tables->ids[begin + i];
        if (all == 0 || 1 + balance(job, all, table, code, id) > 0) out[n++] = id;
    }
    for (int64_t o = 0; o < all; o++) {
        int64_t count = lsh_overlay_bucket(&job->overlays[o], table, code, &begin);
        for (int64_t i = 0; i < count; i++) {
            int32_t id = job->overlays[o].ids[begin + i];
            /* Only the first of several joins writes an id that is there after all of them. */
            if (id < 0 || balance(job, o, table, code, id) > 0 || in_base(job, table, code, id)) continue;
            int32_t later = 0;
            for (int64_t k = 0; k < n && !later; k++) later = out[k] == id;
            if (!later && balance(job, all, table, code, id) > 0) out[n++] = id;
        }
    }
    return n;
}

static lsh_status count_rows(void *context, int64_t begin, int64_t end, int32_t worker) {
    const bucket_job *job = context;
    int32_t n_tables = job->tables->n_tables;
    (void)worker;
    for (int64_t i = begin * n_tables; i < end * n_tables; i++) {
        int32_t table = (int32_t)(i % n_tables);
        uint32_t code = job->codes[i];
        int64_t at, length = base_bucket(job, table, code, &at);
        if (length < 0) return LSH_OUT_OF_RANGE;
        for (int64_t o = 0; o < job->n_overlays; o++) {
            int64_t count = lsh_overlay_bucket(&job->overlays[o], table, code, &at);
            for (int64_t k = 0; k < count; k++) length += job->overlays[o].ids[at + k] < 0 ? -1 : 1;
        }
        int in_range = (uint64_t)code >> job->tables->code_bits == 0;
        job->held[i] = length;
        job->sizes[i] = job->tables->bucket_size && in_range
                            ? job->tables->directory[((int64_t)table << job->tables->code_bits) + code]
                            : length;
    }
    return LSH_OK;
}

static lsh_status fill_rows(void *context, int64_t begin, int64_t end, int32_t worker) {
    const bucket_job *job = context;
    int32_t n_tables = job->tables->n_tables;
    (void)worker;
    for (int64_t i = begin * n_tables; i < end * n_tables; i++) {
        int64_t n = write_bucket(job, (int32_t)(i % n_tables), job->codes[i], job->ids + job->indptr[i]);
        if (n != job->indptr[i + 1] - job->indptr[i]) return LSH_OUT_OF_RANGE;
    }
    return LSH_OK;
}

lsh_status lsh_buckets_count(const lsh_packed *tables, const lsh_overlay *overlays, int64_t n_overlays,
                             const uint32_t *codes, int64_t n_queries, int32_t threads, int64_t *held, int64_t *sizes) {
    bucket_job job = {tables, overlays, n_overlays, codes, held, sizes, 0, 0};
    return lsh_parallel_for(n_queries, QUERIES, threads, count_rows, &job);
}

lsh_status lsh_buckets_fill(const lsh_packed *tables, const lsh_overlay *overlays, int64_t n_overlays,
                            const uint32_t *codes, int64_t n_queries, const int64_t *indptr, int32_t threads,
                            int32_t *ids) {
    bucket_job job = {tables, overlays, n_overlays, codes, 0, 0, indptr, ids};
    return lsh_parallel_for(n_queries, QUERIES, threads, fill_rows, &job);
}
