#include "lshsample/bounded.h"

#include <stdlib.h>
#include <string.h>

#include "lshsample/parallel.h"
#include "lshsample/rng.h"
#include "sorted.h"

typedef struct {
    const lsh_bounded *tables;
    const int32_t *ids;
    const uint32_t *codes;
    int64_t n;
    uint64_t seed;
} offer_job;

/* Uniform in 0 .. n - 1, for n below 2^31. */
static int64_t draw_below(uint64_t seed, uint32_t purpose, int64_t table, uint32_t code, int64_t index, int64_t n) {
    uint32_t words[4];
    lsh_philox(seed, purpose, (uint32_t)table, code, (uint32_t)index, words);
    return (int64_t)((unsigned __int128)((uint64_t)words[0] << 32 | words[1]) * (uint64_t)n >> 64);
}

static lsh_status offer_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const offer_job *job = context;
    const lsh_bounded *p = job->tables;
    int64_t buckets = (int64_t)1 << p->code_bits, room = p->bucket_size;
    (void)worker;
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < job->n; i++) {
            uint32_t code = job->codes[i * p->n_tables + t];
            if (code >= buckets) return LSH_OUT_OF_RANGE;
            int64_t bucket = t * buckets + code, count = ++p->sizes[bucket];
            int64_t place = count <= room ? count - 1
                                          : draw_below(job->seed, LSH_DRAW_BUCKET, t, code, count, count);
            if (place < room) p->ids[bucket * room + place] = job->ids[i];
        }
    return LSH_OK;
}

static int valid(const lsh_bounded *p) {
    return p->bucket_size > 0 && p->n_items >= 0 && p->n_ids >= 0 && p->n_ids < INT32_MAX && p->n_tables > 0 &&
           p->code_bits >= 1 && p->code_bits <= 30 && p->ids && p->sizes;
}

lsh_status lsh_bounded_offer(const lsh_bounded *tables, const int32_t *ids, const uint32_t *codes, int64_t n,
                             uint64_t seed, int32_t threads) {
    if (!valid(tables) || n < 0) return LSH_INVALID;
    offer_job job = {tables, ids, codes, n, seed};
    return lsh_parallel_for(tables->n_tables, 1, threads, offer_tables, &job);
}

typedef struct {
    const lsh_bounded *a, *b, *out;
    uint64_t seed;
} merge_job;

static int64_t kept(int64_t size, int64_t room) { return size < room ? size : room; }

/* Takes one of the `left` ids that a scratch copy still has, at random. */
static int32_t take(int32_t *from, int64_t *left, int64_t at) {
    int32_t id = from[at];
    from[at] = from[--*left];
    return id;
}

/* Draws without replacement from n + m: each time one of a's with probability (what is left of n) / (of n + m), and
 * then any of the ids that a kept, which are a uniform subset of its n. */
static void merge_bucket(const merge_job *job, int64_t t, int64_t c, int32_t *scratch) {
    int64_t room = job->out->bucket_size, bucket = (t << job->out->code_bits) + c;
    int64_t n = job->a->sizes[bucket], m = job->b->sizes[bucket];
    int64_t left_a = kept(n, room), left_b = kept(m, room), wanted = kept(n + m, room);
    int32_t *from_a = scratch, *from_b = scratch + room, *out = job->out->ids + bucket * room;
    memcpy(from_a, job->a->ids + bucket * room, (size_t)left_a * sizeof *from_a);
    memcpy(from_b, job->b->ids + bucket * room, (size_t)left_b * sizeof *from_b);
    job->out->sizes[bucket] = (int32_t)(n + m);
    for (int64_t i = 0; i < wanted; i++) {
        int64_t at = draw_below(job->seed, LSH_DRAW_MERGE, t, (uint32_t)c, 2 * i, n + m);
        int from_first = at < n;
        int64_t *left = from_first ? &left_a : &left_b;
        int64_t which = draw_below(job->seed, LSH_DRAW_MERGE, t, (uint32_t)c, 2 * i + 1, *left);
        out[i] = take(from_first ? from_a : from_b, left, which);
        if (from_first) n--;
        else m--;
    }
}

static lsh_status merge_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const merge_job *job = context;
    (void)worker;
    int32_t *scratch = malloc((size_t)(2 * job->out->bucket_size) * sizeof *scratch);
    if (scratch == NULL) return LSH_NO_MEMORY;
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < (int64_t)1 << job->out->code_bits; c++) merge_bucket(job, t, c, scratch);
    free(scratch);
    return LSH_OK;
}

lsh_status lsh_bounded_merge(const lsh_bounded *a, const lsh_bounded *b, const lsh_bounded *out, uint64_t seed,
                             int32_t threads) {
    if (!valid(a) || !valid(b) || !valid(out) || a->bucket_size != b->bucket_size ||
        a->bucket_size != out->bucket_size || a->code_bits != b->code_bits || a->code_bits != out->code_bits ||
        a->n_tables != b->n_tables || a->n_tables != out->n_tables)
        return LSH_INVALID;
    merge_job job = {a, b, out, seed};
    return lsh_parallel_for(out->n_tables, 1, threads, merge_tables, &job);
}

/* ---- check and lookup ---- */

static int table_sound(const lsh_bounded *p, int64_t t) {
    int64_t buckets = (int64_t)1 << p->code_bits, room = p->bucket_size, total = 0;
    const int32_t *sizes = p->sizes + t * buckets, *ids = p->ids + t * buckets * room;
    for (int64_t c = 0; c < buckets; c++) {
        if (sizes[c] < 0 || !ids_in_range(ids + c * room, kept(sizes[c], room), p->n_ids)) return 0;
        total += sizes[c];
    }
    return total == p->n_items;
}

static lsh_status check_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const lsh_bounded *p = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++)
        if (!table_sound(p, t)) return LSH_OUT_OF_RANGE;
    return LSH_OK;
}

lsh_status lsh_bounded_check(const lsh_bounded *tables, int32_t threads) {
    if (!valid(tables)) return LSH_INVALID;
    return lsh_parallel_for(tables->n_tables, 1, threads, check_tables, (void *)(uintptr_t)tables);
}

int64_t lsh_bounded_bucket(const lsh_bounded *tables, int32_t table, uint32_t code, int64_t *begin) {
    int64_t buckets = (int64_t)1 << tables->code_bits, bucket = table * buckets + code;
    *begin = 0;
    if (code >= buckets) return 0;
    *begin = bucket * tables->bucket_size;
    return kept(tables->sizes[bucket], tables->bucket_size);
}

int64_t lsh_bounded_bucket_checked(const lsh_bounded *tables, int32_t table, uint32_t code, int64_t *begin) {
    int64_t length = lsh_bounded_bucket(tables, table, code, begin);
    return length >= 0 && ids_in_range(tables->ids + *begin, length, tables->n_ids) ? length : -1;
}
