/* The stages that join ids which the tables or the caller name, and those that filter. */
#include <string.h>

#include "active.h"
#include "lshsample/parallel.h"
#include "lshsample/rng.h"

enum { LOOK_AHEAD = 16, LOOKUP_QUERIES = 8, MAX_TABLES = 65535 };

static int held(uint8_t state) { return state == IN || state == FORCED; }

/* ---- retrieve ---- */

typedef struct {
    const lsh_row *row;
    const lsh_stage *stage;
    bucket *buckets; /* by table, then query, then probe */
} lookup_job;

static void prefetch_directory(const lsh_packed *p, int32_t table, uint32_t code) {
    int64_t width = ((int64_t)1 << p->directory_bits) + 1;
    uint64_t top = (uint64_t)code >> (p->code_bits - p->directory_bits);
    __builtin_prefetch(p->directory + table * width + (top < (uint64_t)width ? top : 0));
}

/* Finds the buckets of queries [begin, end) of the row, with the directory lines of the next ones under way. */
static lsh_status find_buckets(void *context, int64_t begin, int64_t end, int32_t worker) {
    const lookup_job *job = context;
    const lsh_packed *p = job->stage->tables;
    (void)worker;
    int64_t probes = job->stage->n_probes, per_query = p->n_tables * probes, n_queries = job->row->last - job->row->first;
    const uint32_t *codes = job->stage->codes + (job->row->first + begin) * per_query;
    int64_t total = (end - begin) * per_query;
    for (int64_t i = 0; i < total + LOOK_AHEAD; i++) {
        if (i < total) prefetch_directory(p, (int32_t)(i % per_query / probes), codes[i]);
        int64_t j = i - LOOK_AHEAD;
        if (j < 0) continue;
        int64_t query = begin + j / per_query, table = j % per_query / probes, probe = j % probes;
        bucket *found = job->buckets + (table * n_queries + query) * probes + probe;
        found->length = lsh_packed_bucket(p, (int32_t)table, codes[j], &found->begin);
        if (found->length) __builtin_prefetch(p->ids + found->begin);
    }
    return LSH_OK;
}

/* Joins n buckets into the set, counting collisions. New and met ids take the same path: no branch to mispredict. */
static void join_buckets(lsh_active *a, const int32_t *ids, const bucket *buckets, int64_t n) {
    uint32_t *slot = a->slot, *counts = a->counts;
    int64_t size = a->size;
    for (int64_t b = 0; b < n; b++) {
        if (b + LOOK_AHEAD < n) __builtin_prefetch(ids + buckets[b + LOOK_AHEAD].begin);
        const int32_t *run = ids + buckets[b].begin;
        for (int64_t i = 0; i < buckets[b].length; i++) {
            int32_t id = run[i];
            uint32_t known = slot[id];
            int64_t place = known ? (int64_t)known - 1 : size;
            slot[id] = (uint32_t)place + 1;
            a->ids[place] = id;
            counts[place] = (known ? counts[place] : 0) + 1;
            size += !known;
        }
    }
    a->size = size;
}

/* Ids met before this stage that it retrieved too: marked by a changed count, which `before` remembers. */
static void settle_retrieved(lsh_active *a, int64_t met, const uint32_t *before) {
    for (int64_t i = 0; i < met; i++) {
        if (a->counts[i] == before[i]) continue;
        a->chance[i] = 1;
        if (a->state[i] != FORCED) a->state[i] = IN;
    }
    for (int64_t i = met; i < a->size; i++) a->chance[i] = 1;
    memset(a->state + met, IN, (size_t)(a->size - met));
}

static int64_t kept_count(const lsh_active *a) {
    int64_t n = 0;
    for (int64_t i = 0; i < a->size; i++) n += held(a->state[i]);
    return n;
}

/* The tables in the random order of this row (Fisher-Yates over Philox words). */
static void shuffle_tables(const lsh_row *row, const lsh_stage *stage, uint32_t *order, int32_t n) {
    for (int32_t t = 0; t < n; t++) order[t] = (uint32_t)t;
    for (int32_t t = n - 1; t > 0; t--) {
        uint64_t word = row_random(row, stage, LSH_DRAW_TABLES, (uint32_t)t);
        uint32_t other = (uint32_t)((unsigned __int128)word * (uint32_t)(t + 1) >> 64), swap = order[t];
        order[t] = order[other];
        order[other] = swap;
    }
}

static int64_t total_length(const bucket *buckets, int64_t n) {
    int64_t total = 0;
    for (int64_t b = 0; b < n; b++) total += buckets[b].length;
    return total;
}

/* Table after table in random order, until the set holds the budget. */
static lsh_status join_budget(lsh_active *a, const lsh_row *row, const lsh_stage *stage, int64_t met,
                              const uint32_t *before) {
    const lsh_packed *p = stage->tables;
    int64_t per_table = (row->last - row->first) * stage->n_probes;
    uint32_t order[MAX_TABLES];
    shuffle_tables(row, stage, order, p->n_tables);
    for (int32_t t = 0; t < p->n_tables; t++) {
        const bucket *buckets = a->buckets + order[t] * per_table;
        if (active_reserve(a, total_length(buckets, per_table)) != LSH_OK) return LSH_NO_MEMORY;
        join_buckets(a, p->ids, buckets, per_table);
        settle_retrieved(a, met, before);
        if (kept_count(a) >= stage->amount) break;
    }
    return LSH_OK;
}

lsh_status stage_retrieve(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    const lsh_packed *p = stage->tables;
    int64_t n_queries = row->last - row->first, met = a->size;
    int64_t n_buckets = n_queries * p->n_tables * stage->n_probes;
    if (p->n_items != row->plan->n_items || stage->n_probes < 1 || p->n_tables > MAX_TABLES) return LSH_INVALID;
    active_leave_product(a);
    a->random_size |= a->random_members;
    if (active_reserve_buckets(a, n_buckets) != LSH_OK) return LSH_NO_MEMORY;
    lookup_job job = {row, stage, a->buckets};
    lsh_status status = lsh_parallel_for(n_queries, LOOKUP_QUERIES, row->threads, find_buckets, &job);
    if (status != LSH_OK) return status;
    if (active_tally(a, met) != LSH_OK) return LSH_NO_MEMORY;
    if (met) memcpy(a->tally, a->counts, (size_t)met * sizeof *a->tally);
    a->culprit = stage->place;
    if (stage->amount > 0) return join_budget(a, row, stage, met, a->tally);
    if (active_reserve(a, total_length(a->buckets, n_buckets)) != LSH_OK) return LSH_NO_MEMORY;
    join_buckets(a, p->ids, a->buckets, n_buckets);
    settle_retrieved(a, met, a->tally);
    return LSH_OK;
}

/* ---- filters ---- */

lsh_status stage_at_least(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    (void)row;
    if (stage->amount < 1) return LSH_INVALID;
    a->random_size |= a->random_members;
    for (int64_t i = 0; i < a->size; i++) {
        if (a->state[i] == FORCED || a->counts[i] >= (uint64_t)stage->amount) continue;
        a->state[i] = OUT;
        a->chance[i] = 0;
    }
    if (a->rest > 0 || a->draws > 0) a->culprit = stage->place;
    a->rest = 0;
    a->draws = 0;
    return LSH_OK;
}

/* Lists the places of unforced ids in the set; *forced counts the others. */
static int64_t list_unforced(lsh_active *a, int64_t *forced) {
    int64_t n = 0, in = 0;
    for (int64_t i = 0; i < a->size; i++) {
        a->places[n] = (int32_t)i;
        n += a->state[i] == IN;
        in += a->state[i] == FORCED;
    }
    *forced = in;
    return n;
}

/* Of the `count` listed places keeps `room` with the smallest priorities; the others' state becomes `dropped`. */
static void keep_smallest(lsh_active *a, const lsh_row *row, const lsh_stage *stage, uint32_t purpose, int64_t count,
                          int64_t room, uint8_t dropped) {
    uint64_t threshold = room > 0 ? row_threshold(row, stage, purpose, a, count, room) : 0;
    for (int64_t i = 0; i < count; i++)
        if (room <= 0 || a->keys[i] > threshold) a->state[a->places[i]] = dropped;
}

lsh_status stage_cap(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    int64_t forced, count = list_unforced(a, &forced);
    int64_t room = stage->amount > forced ? stage->amount - forced : 0;
    if (stage->amount < 1) return LSH_INVALID;
    if (a->random_size && !a->product) {
        a->product = 1;
        a->capped = 1;
    }
    if (count <= room) return LSH_OK;
    double fraction = (double)room / (double)count;
    keep_smallest(a, row, stage, LSH_DRAW_CAP, count, room, a->product ? CAPPED : OUT);
    for (int64_t i = 0; i < a->size; i++)
        if (a->state[i] != FORCED) a->chance[i] = (float)(a->chance[i] * fraction);
    a->kept *= fraction;
    a->capped *= fraction;
    a->random_members = 1;
    if (!a->product) a->rest *= fraction;
    if (room == 0) {
        a->rest = 0;
        a->draws = 0;
        a->culprit = stage->place;
    }
    return LSH_OK;
}

/* The smallest count that is kept whole or in part, with how many of it and above it there are. */
static lsh_status count_threshold(lsh_active *a, int64_t count, int64_t room, uint32_t *level, int64_t *above) {
    uint32_t most = 0;
    for (int64_t i = 0; i < count; i++)
        if (a->counts[a->places[i]] > most) most = a->counts[a->places[i]];
    if (active_tally(a, (int64_t)most + 1) != LSH_OK) return LSH_NO_MEMORY;
    for (int64_t i = 0; i < count; i++) a->tally[a->counts[a->places[i]]]++;
    int64_t so_far = 0;
    while (so_far + a->tally[most] < room) so_far += a->tally[most--];
    *level = most;
    *above = so_far;
    return LSH_OK;
}

lsh_status stage_top(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->amount < 1) return LSH_INVALID;
    if (a->random_members || a->random_size) active_condition(a);
    int64_t forced, count = list_unforced(a, &forced), above = 0, tied = 0;
    int64_t room = stage->amount > forced ? stage->amount - forced : 0;
    uint32_t level = UINT32_MAX;
    a->culprit = stage->place;
    if (count <= room) return LSH_OK;
    if (room > 0 && count_threshold(a, count, room, &level, &above) != LSH_OK) return LSH_NO_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        int64_t place = a->places[i];
        if (room > 0 && a->counts[place] == level) a->places[tied++] = (int32_t)place;
        else if (room == 0 || a->counts[place] < level) a->state[place] = OUT;
    }
    float fraction = tied ? (float)((double)(room - above) / (double)tied) : 0.0f;
    if (tied > room - above) {
        keep_smallest(a, row, stage, LSH_DRAW_TOP, tied, room - above, CAPPED);
        a->random_members = 1;
    }
    for (int64_t i = 0; i < tied; i++) a->chance[a->places[i]] *= fraction;
    for (int64_t i = 0; i < a->size; i++) {
        if (a->state[i] == OUT) a->chance[i] = 0;
        if (a->state[i] == CAPPED) a->state[i] = OUT;
    }
    a->rest = 0;
    return LSH_OK;
}
