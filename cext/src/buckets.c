#include "lshsample/buckets.h"

#include "lookup.h"
#include "lshsample/parallel.h"

enum { QUERIES = 4 };

typedef struct {
    lsh_reader reader;
    const uint32_t *codes;
    int64_t *held, *sizes;
    const int64_t *indptr;
    int32_t *ids;
} bucket_job;

/* Insertions minus removals of an id in a bucket of the first n deltas. */
static int64_t balance(const bucket_job *job, int64_t n, int32_t table, uint32_t code, int32_t id) {
    int64_t total = 0, begin;
    for (int64_t o = 0; o < n; o++) {
        const lsh_delta *delta = &job->reader.deltas[o];
        int64_t length = lsh_delta_bucket(delta, table, code, &begin);
        for (int64_t i = 0; i < length; i++) {
            int32_t entry = delta->ids[begin + i];
            total += (entry == id) - (entry == ~id);
        }
    }
    return total;
}

static int in_base(const bucket_job *job, int32_t table, uint32_t code, int32_t id) {
    int64_t begin, length = reader_bucket(&job->reader, table, code, &begin);
    for (int64_t i = 0; i < length; i++)
        if (reader_ids(&job->reader)[begin + i] == id) return 1;
    return 0;
}

static int64_t write_bucket(const bucket_job *job, int32_t table, uint32_t code, int32_t *out) {
    int64_t begin, n = 0, length = reader_bucket(&job->reader, table, code, &begin), all = job->reader.n_deltas;
    for (int64_t i = 0; i < length; i++) {
        int32_t id = reader_ids(&job->reader)[begin + i];
        if (all == 0 || 1 + balance(job, all, table, code, id) > 0) out[n++] = id;
    }
    for (int64_t o = 0; o < all; o++) {
        int64_t count = lsh_delta_bucket(&job->reader.deltas[o], table, code, &begin);
        for (int64_t i = 0; i < count; i++) {
            int32_t id = job->reader.deltas[o].ids[begin + i];
            /* Only the first of several insertions writes an id that is there after all of them. */
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
    int32_t n_tables = reader_n_tables(&job->reader);
    (void)worker;
    for (int64_t i = begin * n_tables; i < end * n_tables; i++) {
        int32_t table = (int32_t)(i % n_tables);
        uint32_t code = job->codes[i];
        int64_t at, length = reader_bucket(&job->reader, table, code, &at);
        if (length < 0) return LSH_OUT_OF_RANGE;
        for (int64_t o = 0; o < job->reader.n_deltas; o++) {
            int64_t count = lsh_delta_bucket(&job->reader.deltas[o], table, code, &at);
            for (int64_t k = 0; k < count; k++) length += job->reader.deltas[o].ids[at + k] < 0 ? -1 : 1;
        }
        job->held[i] = length;
        job->sizes[i] = length;
        const lsh_bounded *b = job->reader.bounded;
        if (b && (uint64_t)code >> b->code_bits == 0) job->sizes[i] = b->sizes[((int64_t)table << b->code_bits) + code];
    }
    return LSH_OK;
}

static lsh_status fill_rows(void *context, int64_t begin, int64_t end, int32_t worker) {
    const bucket_job *job = context;
    int32_t n_tables = reader_n_tables(&job->reader);
    (void)worker;
    for (int64_t i = begin * n_tables; i < end * n_tables; i++) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        int64_t n = write_bucket(job, (int32_t)(i % n_tables), job->codes[i], job->ids + job->indptr[i]);
        if (n != job->indptr[i + 1] - job->indptr[i]) return LSH_OUT_OF_RANGE;
    }
    return LSH_OK;
}

lsh_status lsh_buckets_count(const lsh_reader *reader, const uint32_t *codes, int64_t n_queries, int32_t threads,
                             int64_t *held, int64_t *sizes) {
    if (!reader_valid(reader)) return LSH_INVALID;
    bucket_job job = {.reader = *reader, .codes = codes, .held = held, .sizes = sizes};
    return lsh_parallel_for(n_queries, QUERIES, threads, count_rows, &job);
}

lsh_status lsh_buckets_fill(const lsh_reader *reader, const uint32_t *codes, int64_t n_queries, const int64_t *indptr,
                            int32_t threads, int32_t *ids) {
    if (!reader_valid(reader)) return LSH_INVALID;
    bucket_job job = {.reader = *reader, .codes = codes, .indptr = indptr, .ids = ids};
    return lsh_parallel_for(n_queries, QUERIES, threads, fill_rows, &job);
}
