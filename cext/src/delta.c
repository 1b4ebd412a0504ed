#include "lshsample/delta.h"

#include <stdlib.h>
#include <string.h>

#include "lshsample/parallel.h"
#include "radix.h"
#include "sorted.h"

static int32_t id_of(int32_t entry) { return entry < 0 ? ~entry : entry; }

/* ---- collecting the moves of a batch ---- */

typedef struct {
    const int32_t *ids;
    const uint32_t *from, *to;
    int64_t n;
    int32_t n_tables, code_bits;
    const int64_t *begin;
    int64_t *counts;
    uint32_t *codes_out;
    int32_t *ids_out;
} move_job;

static lsh_status count_moves(void *context, int64_t begin, int64_t end, int32_t worker) {
    const move_job *job = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        int64_t moved = 0;
        if (!job->from || !job->to) moved = job->n;
        else
            for (int64_t i = 0; i < job->n; i++)
                moved += 2 * (job->from[i * job->n_tables + t] != job->to[i * job->n_tables + t]);
        job->counts[t] = moved;
    }
    return LSH_OK;
}

lsh_status lsh_delta_count(const uint32_t *from, const uint32_t *to, int64_t n, int32_t n_tables, int32_t threads,
                             int64_t *counts) {
    if (n < 0 || n_tables < 1 || (!from && !to)) return LSH_INVALID;
    move_job job = {.from = from, .to = to, .n = n, .n_tables = n_tables, .counts = counts};
    return lsh_parallel_for(n_tables, 1, threads, count_moves, &job);
}

static uint64_t entry_key(uint32_t code, int32_t entry) { return (uint64_t)code << 32 | (uint32_t)entry; }

/* The entries of table t as keys (code << 32 | entry). A stable sort by code leaves ids ascending inside a code, since each
 * id is listed once per code, ids ascending. */
static int64_t list_moves(const move_job *job, int64_t t, uint64_t *keys) {
    int64_t n = 0;
    for (int64_t i = 0; i < job->n; i++) {
        int64_t at = i * job->n_tables + t;
        if (job->from && job->to && job->from[at] == job->to[at]) continue;
        if (job->from) keys[n++] = entry_key(job->from[at], ~job->ids[i]);
        if (job->to) keys[n++] = entry_key(job->to[at], job->ids[i]);
    }
    return n;
}

static lsh_status fill_moves(void *context, int64_t begin, int64_t end, int32_t worker) {
    const move_job *job = context;
    (void)worker;
    int64_t room = 2 * job->n + 1;
    uint64_t *keys = malloc((size_t)(2 * room) * sizeof *keys);
    if (keys == NULL) return LSH_NO_MEMORY;
    for (int64_t t = begin; t < end; t++) {
        uint32_t *codes = job->codes_out + job->begin[t];
        int32_t *ids = job->ids_out + job->begin[t];
        int64_t n = list_moves(job, t, keys);
        const uint64_t *sorted = radix_sort(keys, keys + room, n, job->code_bits);
        for (int64_t i = 0; i < n; i++) {
            codes[i] = (uint32_t)(sorted[i] >> 32);
            ids[i] = (int32_t)sorted[i];
        }
    }
    free(keys);
    return LSH_OK;
}

lsh_status lsh_delta_fill(const int32_t *ids, const uint32_t *from, const uint32_t *to, int64_t n, int32_t n_tables,
                            int32_t code_bits, const int64_t *begin, int32_t threads, uint32_t *codes_out,
                            int32_t *ids_out) {
    if (n < 0 || n_tables < 1 || (!from && !to)) return LSH_INVALID;
    move_job job = {ids, from, to, n, n_tables, code_bits, begin, NULL, codes_out, ids_out};
    return lsh_parallel_for(n_tables, 1, threads, fill_moves, &job);
}

/* ---- merging two deltas ---- */

typedef struct {
    const lsh_delta *a, *b;
    const int64_t *begin;
    int64_t *end;
    uint32_t *codes;
    int32_t *ids;
} merge_job;

/* The order of two entries by (code, id). */
static int compare(uint32_t code_a, int32_t id_a, uint32_t code_b, int32_t id_b) {
    if (code_a != code_b) return code_a < code_b ? -1 : 1;
    return (id_a > id_b) - (id_a < id_b);
}

static int64_t merge_table(const merge_job *job, int64_t t, int64_t out) {
    const lsh_delta *a = job->a, *b = job->b;
    int64_t i = a->begin[t], j = b->begin[t];
    while (i < a->end[t] || j < b->end[t]) {
        int order = i == a->end[t] ? 1 : j == b->end[t] ? -1
                                   : compare(a->codes[i], id_of(a->ids[i]), b->codes[j], id_of(b->ids[j]));
        if (order == 0 && a->ids[i] != b->ids[j]) { /* one inserts what the other removes */
            i++;
            j++;
            continue;
        }
        job->codes[out] = order <= 0 ? a->codes[i] : b->codes[j];
        job->ids[out++] = order <= 0 ? a->ids[i++] : b->ids[j++];
    }
    return out;
}

static lsh_status merge_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const merge_job *job = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++) job->end[t] = merge_table(job, t, job->begin[t]);
    return LSH_OK;
}

lsh_status lsh_delta_merge(const lsh_delta *a, const lsh_delta *b, const int64_t *begin, int32_t threads,
                             int64_t *end, uint32_t *codes_out, int32_t *ids_out) {
    if (a->n_tables != b->n_tables || a->code_bits != b->code_bits) return LSH_INVALID;
    merge_job job = {a, b, begin, end, codes_out, ids_out};
    return lsh_parallel_for(a->n_tables, 1, threads, merge_tables, &job);
}

/* ---- directory and lookup ---- */

static lsh_status index_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const lsh_delta *o = context;
    (void)worker;
    int64_t width = ((int64_t)1 << o->directory_bits) + 1;
    int32_t shift = o->code_bits - o->directory_bits;
    for (int64_t t = begin; t < end; t++) {
        int32_t *directory = o->directory + t * width;
        int64_t next = 0, n = o->end[t] - o->begin[t];
        for (int64_t i = 0; i < n; i++) {
            int64_t top = (int64_t)((uint64_t)o->codes[o->begin[t] + i] >> shift);
            if (top >= width - 1) return LSH_OUT_OF_RANGE;
            for (; next <= top; next++) directory[next] = (int32_t)i;
        }
        for (; next < width; next++) directory[next] = (int32_t)n;
    }
    return LSH_OK;
}

lsh_status lsh_delta_index(const lsh_delta *delta, int32_t threads) {
    if (delta->directory_bits < 0 || delta->directory_bits > 30 || delta->directory_bits > delta->code_bits)
        return LSH_INVALID;
    return lsh_parallel_for(delta->n_tables, 1, threads, index_tables, (void *)(uintptr_t)delta);
}

int64_t lsh_delta_bucket(const lsh_delta *delta, int32_t table, uint32_t code, int64_t *begin) {
    int64_t buckets = (int64_t)1 << delta->directory_bits, base = delta->begin[table];
    int64_t top = (int64_t)((uint64_t)code >> (delta->code_bits - delta->directory_bits));
    *begin = base;
    if (top >= buckets) return 0;
    const int32_t *directory = delta->directory + table * (buckets + 1) + top;
    if (directory[0] == directory[1]) return 0;
    int64_t last = base + directory[1], end = last;
    *begin = lower_bound(delta->codes, base + directory[0], last, code);
    if (code != UINT32_MAX) end = lower_bound(delta->codes, *begin, last, code + 1);
    return end - *begin;
}

/* ---- base and delta become one ---- */

typedef struct {
    const lsh_packed *base, *out;
    const lsh_delta *delta;
} apply_job;

typedef struct {
    const lsh_packed *out;
    int32_t *ids, *directory;
    uint32_t *codes;
    int64_t n, next;
} sink;

static void emit(sink *s, uint32_t code, int32_t id) {
    int64_t top = (int64_t)((uint64_t)code >> (s->out->code_bits - s->out->directory_bits));
    for (; s->next <= top; s->next++) s->directory[s->next] = (int32_t)s->n;
    if (s->n < s->out->n_items) {
        s->ids[s->n] = id;
        if (s->codes) s->codes[s->n] = code;
    }
    s->n++;
}

static lsh_status apply_table(const apply_job *job, int64_t t) {
    const lsh_packed *p = job->base, *out = job->out;
    const lsh_delta *o = job->delta;
    int64_t width = ((int64_t)1 << p->directory_bits) + 1, width_out = ((int64_t)1 << out->directory_bits) + 1;
    const int32_t *ids = p->ids + t * p->n_items, *directory = p->directory + t * width;
    sink s = {out, out->ids + t * out->n_items, out->directory + t * width_out,
              out->codes ? out->codes + t * out->n_items : NULL, 0, 0};
    int64_t j = o->begin[t], end = o->end[t];
    for (int64_t c = 0; c + 1 < width; c++) {
        for (int64_t i = directory[c]; i < directory[c + 1]; i++) {
            uint32_t code = p->codes ? p->codes[t * p->n_items + i] : (uint32_t)c;
            int order = 1;
            while (j < end && (order = compare(o->codes[j], id_of(o->ids[j]), code, ids[i])) < 0) {
                if (o->ids[j] < 0) return LSH_INVALID; /* removed from a bucket that it is not in */
                emit(&s, o->codes[j], o->ids[j]);
                j++;
            }
            if (j < end && order == 0) {
                if (o->ids[j++] >= 0) return LSH_INVALID; /* inserted into a bucket that it is in */
                continue;
            }
            emit(&s, code, ids[i]);
        }
    }
    for (; j < end; j++) {
        if (o->ids[j] < 0) return LSH_INVALID;
        emit(&s, o->codes[j], o->ids[j]);
    }
    for (; s.next < width_out; s.next++) s.directory[s.next] = (int32_t)s.n;
    return s.n == out->n_items ? LSH_OK : LSH_INVALID;
}

/* One bucket of ids alone: base ids [i, end) and the entries [j, last) of the same code, both ascending by id. Returns
 * how many ids were written, at most `room`; -1 if entries and base do not fit. */
static int64_t apply_bucket(const int32_t *ids, int64_t i, int64_t end, const int32_t *entries, int64_t j, int64_t last,
                            int32_t *out, int64_t room) {
    int64_t n = 0, size = end - i;
    for (int64_t k = j; k < last; k++) size += entries[k] < 0 ? -1 : 1;
    if (size < 0 || size > room) return -1;
    for (; j < last; j++) {
        int32_t id = id_of(entries[j]);
        while (i < end && ids[i] < id) out[n++] = ids[i++];
        int there = i < end && ids[i] == id;
        if (there != (entries[j] < 0)) return -1;
        if (there) i++;
        else out[n++] = id;
    }
    if (end > i) memcpy(out + n, ids + i, (size_t)(end - i) * sizeof *out);
    return size;
}

/* The usual case: directories with an entry for every bucket, before and after, so that no code is compared. */
static lsh_status apply_named(const apply_job *job, int64_t t) {
    const lsh_packed *p = job->base, *out = job->out;
    const lsh_delta *o = job->delta;
    int64_t buckets = (int64_t)1 << p->code_bits, n = 0;
    const int32_t *ids = p->ids + t * p->n_items, *from = p->directory + t * (buckets + 1);
    int32_t *to = out->ids + t * out->n_items, *directory = out->directory + t * (buckets + 1);
    int64_t j = o->begin[t], end = o->end[t];
    for (int64_t c = 0; c < buckets; c++) {
        int64_t last = j;
        while (last < end && o->codes[last] == (uint32_t)c) last++;
        directory[c] = (int32_t)n;
        int64_t written = apply_bucket(ids, from[c], from[c + 1], o->ids, j, last, to + n, out->n_items - n);
        if (written < 0) return LSH_INVALID;
        n += written;
        j = last;
    }
    directory[buckets] = (int32_t)n;
    return n == out->n_items && j == end ? LSH_OK : LSH_INVALID;
}

static lsh_status apply_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const apply_job *job = context;
    lsh_status status = LSH_OK;
    (void)worker;
    int named = !job->base->codes && !job->out->codes && job->base->directory_bits == job->out->directory_bits &&
                job->base->directory_bits == job->base->code_bits;
    for (int64_t t = begin; t < end && status == LSH_OK; t++)
        status = named ? apply_named(job, t) : apply_table(job, t);
    return status;
}

lsh_status lsh_packed_apply(const lsh_packed *base, const lsh_delta *delta, const lsh_packed *out, int32_t threads) {
    if (base->n_tables != out->n_tables || base->n_tables != delta->n_tables || base->code_bits != out->code_bits ||
        base->code_bits != delta->code_bits)
        return LSH_INVALID;
    apply_job job = {base, out, delta};
    return lsh_parallel_for(base->n_tables, 1, threads, apply_tables, &job);
}
