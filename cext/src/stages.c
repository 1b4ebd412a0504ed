/* The stages that join ids from the tables or the caller, and those that filter. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "active.h"
#include "lookup.h"
#include "lshsample/parallel.h"
#include "lshsample/rng.h"

enum {
    LOOK_AHEAD = 16, /* buckets by which ids are prefetched */
    SLOTS_AHEAD = 2, /* buckets by which the slots of their first ids are */
    LOOKUP_QUERIES = 8,
    BUCKETS_PER_POLL = 32
};

/* ---- retrieve ---- */

typedef struct {
    const lsh_row *row;
    const lsh_stage *stage;
    bucket *buckets; /* of the base, then of each delta: by table, then query, then probe */
} lookup_job;

/* Finds the buckets of queries [begin, end) of the row, and prefetches the directory lines of the next one. */
static lsh_status find_buckets(void *context, int64_t begin, int64_t end, int32_t worker) {
    const lookup_job *job = context;
    const lsh_reader reader = *job->stage->reader; /* a copy, which stores below cannot alias */
    (void)worker;
    int32_t n_tables = reader_n_tables(&reader);
    int64_t probes = job->stage->n_probes, per_query = n_tables * probes, n_queries = job->row->last - job->row->first;
    for (int64_t query = begin - 1; query < end; query++) {
        const uint32_t *codes = job->stage->codes + (job->row->first + query) * per_query;
        for (int32_t t = 0; t < n_tables && query + 1 < end; t++)
            for (int64_t k = 0; k < probes; k++)
                __builtin_prefetch(reader_line(&reader, t, codes[per_query + t * probes + k]));
        int64_t least = 0;
        for (int32_t t = 0; t < n_tables && query >= begin; t++) {
            bucket *found = job->buckets + (t * n_queries + query) * probes;
            for (int64_t k = 0; k < probes; k++) {
                found[k].length = reader_bucket(&reader, t, codes[t * probes + k], &found[k].begin);
                least = found[k].length < least ? found[k].length : least;
            }
        }
        if (least < 0) return LSH_OUT_OF_RANGE;
    }
    return LSH_OK;
}

/* Finds the changes of the same buckets in the deltas. */
static lsh_status find_changes(void *context, int64_t begin, int64_t end, int32_t worker) {
    const lookup_job *job = context;
    const lsh_stage *stage = job->stage;
    (void)worker;
    int64_t probes = stage->n_probes, n_queries = job->row->last - job->row->first;
    int64_t per_query = reader_n_tables(stage->reader) * probes;
    for (int64_t d = 0; d < stage->reader->n_deltas; d++) {
        bucket *buckets = job->buckets + (d + 1) * n_queries * per_query;
        const lsh_delta *delta = &stage->reader->deltas[d];
        for (int64_t query = begin; query < end; query++) {
            const uint32_t *codes = stage->codes + (job->row->first + query) * per_query;
            for (int64_t i = 0; i < per_query; i++) __builtin_prefetch(delta_line(delta, (int32_t)(i / probes), codes[i]));
            for (int64_t i = 0; i < per_query; i++) {
                bucket *found = buckets + (i / probes * n_queries + query) * probes + i % probes;
                found->length = lsh_delta_bucket(delta, (int32_t)(i / probes), codes[i], &found->begin);
            }
        }
    }
    return LSH_OK;
}

static void prefetch_bucket(const int32_t *ids, const bucket *b) {
    /* Two lines hold a bucket of usual size; the processor's own prefetcher follows longer ones. */
    __builtin_prefetch(ids + b->begin);
    __builtin_prefetch(ids + b->begin + 16);
}

/* The slots of the first ids of a bucket; those of the others follow from within it. */
static void prefetch_slots(const lsh_active *a, const int32_t *ids, const bucket *b) {
    int64_t n = b->length < IDS_AHEAD ? b->length : IDS_AHEAD;
    for (int64_t i = 0; i < n; i++) __builtin_prefetch(a->slot + ids[b->begin + i], 1);
}

/* Whether to stop before bucket b: some buckets may hold nearly all items. */
static int stop_before(int64_t b) { return b % BUCKETS_PER_POLL == BUCKETS_PER_POLL - 1 && lsh_interrupted(); }

/* Joins n buckets into an empty set: slots are counters first and places afterwards, which halves the random accesses.
 * New and known ids take the same path, without a branch to mispredict. */
static lsh_status join_first(lsh_active *a, const int32_t *ids, const bucket *buckets, int64_t n) {
    uint32_t *slot = a->slot;
    int64_t size = 0;
    lsh_status status = LSH_OK;
    for (int64_t b = 0; b < n && status == LSH_OK; b++) {
        if (stop_before(b)) status = LSH_INTERRUPTED;
        if (b + LOOK_AHEAD < n) prefetch_bucket(ids, &buckets[b + LOOK_AHEAD]);
        if (b + SLOTS_AHEAD < n) prefetch_slots(a, ids, &buckets[b + SLOTS_AHEAD]);
        const int32_t *run = ids + buckets[b].begin;
        for (int64_t i = 0, length = buckets[b].length; i < length; i++) {
            if (i + IDS_AHEAD < length) __builtin_prefetch(slot + run[i + IDS_AHEAD], 1);
            uint32_t count = slot[run[i]];
            a->ids[size] = run[i];
            size += count == 0;
            slot[run[i]] = count + 1;
        }
    }
    for (int64_t i = 0; i < size; i++) {
        if (i + IDS_AHEAD < size) __builtin_prefetch(slot + a->ids[i + IDS_AHEAD], 1);
        a->counts[i] = slot[a->ids[i]];
        slot[a->ids[i]] = (uint32_t)i + 1;
    }
    a->size = size;
    return status;
}

/* Joins n buckets into a set that has ids already. */
static lsh_status join_more(lsh_active *a, const int32_t *ids, const bucket *buckets, int64_t n) {
    uint32_t *slot = a->slot, *counts = a->counts;
    int64_t size = a->size;
    lsh_status status = LSH_OK;
    for (int64_t b = 0; b < n && status == LSH_OK; b++) {
        if (stop_before(b)) status = LSH_INTERRUPTED;
        if (b + LOOK_AHEAD < n) prefetch_bucket(ids, &buckets[b + LOOK_AHEAD]);
        if (b + SLOTS_AHEAD < n) prefetch_slots(a, ids, &buckets[b + SLOTS_AHEAD]);
        const int32_t *run = ids + buckets[b].begin;
        for (int64_t i = 0, length = buckets[b].length; i < length; i++) {
            if (i + IDS_AHEAD < length) __builtin_prefetch(slot + run[i + IDS_AHEAD], 1);
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
    return status;
}

static int64_t total_length(const bucket *buckets, int64_t n) {
    int64_t total = 0;
    for (int64_t b = 0; b < n; b++) total += buckets[b].length;
    return total;
}

/* Joins what a delta inserted into n buckets. */
static void join_insertions(lsh_active *a, const int32_t *ids, const bucket *buckets, int64_t n) {
    for (int64_t b = 0; b < n; b++) {
        if (b + LOOK_AHEAD < n) __builtin_prefetch(ids + buckets[b + LOOK_AHEAD].begin);
        const int32_t *run = ids + buckets[b].begin;
        for (int64_t i = 0; i < buckets[b].length; i++) {
            if (run[i] < 0) continue;
            int64_t place = a->slot[run[i]] ? (int64_t)a->slot[run[i]] - 1 : a->size++;
            a->counts[place] = a->slot[run[i]] ? a->counts[place] + 1 : 1;
            a->slot[run[i]] = (uint32_t)place + 1;
            a->ids[place] = run[i];
        }
    }
}

/* Subtracts what a delta removed from n buckets, after all insertions. */
static void take_removals(lsh_active *a, const int32_t *ids, const bucket *buckets, int64_t n) {
    for (int64_t b = 0; b < n; b++)
        for (int64_t i = 0; i < buckets[b].length; i++) {
            int32_t entry = ids[buckets[b].begin + i];
            if (entry < 0) a->counts[a->slot[~entry] - 1]--;
        }
}

/* Discards ids, from place `met` on, that were removed from all of their buckets. */
static void forget_removed(lsh_active *a, int64_t met) {
    int64_t kept = met;
    for (int64_t i = met, size = a->size; i < size; i++) {
        int32_t id = a->ids[i];
        a->slot[id] = a->counts[i] ? (uint32_t)kept + 1 : 0;
        a->ids[kept] = id;
        a->counts[kept] = a->counts[i];
        kept += a->counts[i] != 0;
    }
    a->size = kept;
}

/* Applies the deltas to the ids of n buckets of the base, which begin at place `first`. */
static void join_deltas(lsh_active *a, const lsh_reader *reader, int64_t met, int64_t first, int64_t n, int64_t all) {
    if (reader->n_deltas == 0) return;
    for (int64_t d = 0; d < reader->n_deltas; d++)
        join_insertions(a, reader->deltas[d].ids, a->buckets + (d + 1) * all + first, n);
    for (int64_t d = 0; d < reader->n_deltas; d++)
        take_removals(a, reader->deltas[d].ids, a->buckets + (d + 1) * all + first, n);
    forget_removed(a, met);
}

/* Reserves memory for the ids of n buckets, from place `first` on, and of their deltas. */
static lsh_status reserve_buckets(lsh_active *a, const lsh_reader *reader, int64_t first, int64_t n, int64_t all) {
    int64_t total = 0;
    for (int64_t d = 0; d <= reader->n_deltas; d++) total += total_length(a->buckets + d * all + first, n);
    return active_reserve(a, total);
}

/* Sets the state of the ids that this stage retrieved: the new ones, and known ones whose count differs from that in
 * `before`. */
static void settle_retrieved(lsh_active *a, int64_t met, const uint32_t *before) {
    for (int64_t i = 0; i < met; i++) {
        if (a->counts[i] == before[i]) continue;
        a->chance[i] = 1;
        if (a->state[i] != FORCED) a->state[i] = IN;
    }
    float *chance = a->chance; /* a copy of the pointer, since a store to a byte array may alias it */
    for (int64_t i = met, size = a->size; i < size; i++) chance[i] = 1;
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

void lsh_sample_table_order(uint64_t seed, uint64_t step, int64_t row, int32_t ordinal, int32_t n_tables,
                            uint32_t *order) {
    lsh_plan plan = {.seed = seed, .step = step};
    lsh_row where = {&plan, row, row, row + 1, 1};
    lsh_stage stage = {.op = LSH_STAGE_RETRIEVE, .ordinal = ordinal};
    shuffle_tables(&where, &stage, order, n_tables);
}

/* Joins tables in random order until the size of the set reaches the budget. */
static lsh_status join_budget(lsh_active *a, const lsh_row *row, const lsh_stage *stage, int64_t met,
                              const uint32_t *before, uint32_t *order) {
    const lsh_reader *reader = stage->reader;
    int32_t n_tables = reader_n_tables(reader);
    int64_t per_table = (row->last - row->first) * stage->n_probes, all = per_table * n_tables;
    shuffle_tables(row, stage, order, n_tables);
    for (int32_t t = 0; t < n_tables; t++) {
        int64_t first = order[t] * per_table;
        if (reserve_buckets(a, reader, first, per_table, all) != LSH_OK) return LSH_NO_MEMORY;
        if (join_more(a, reader_ids(reader), a->buckets + first, per_table) != LSH_OK) return LSH_INTERRUPTED;
        join_deltas(a, reader, met, first, per_table, all);
        settle_retrieved(a, met, before);
        if (kept_count(a) >= stage->amount) break;
    }
    return LSH_OK;
}

static lsh_status join_tables(lsh_active *a, const lsh_row *row, const lsh_stage *stage, int64_t n_buckets) {
    const lsh_reader *reader = stage->reader;
    int64_t met = a->size;
    if (met == 0 && stage->amount == 0) {
        if (reserve_buckets(a, reader, 0, n_buckets, n_buckets) != LSH_OK) return LSH_NO_MEMORY;
        if (join_first(a, reader_ids(reader), a->buckets, n_buckets) != LSH_OK) return LSH_INTERRUPTED;
        join_deltas(a, reader, 0, 0, n_buckets, n_buckets);
        settle_retrieved(a, 0, NULL);
        return LSH_OK;
    }
    uint32_t *before = malloc((size_t)(met + reader_n_tables(reader)) * sizeof *before);
    if (before == NULL) return LSH_NO_MEMORY;
    if (met) memcpy(before, a->counts, (size_t)met * sizeof *before);
    lsh_status status = LSH_OK;
    if (stage->amount > 0) status = join_budget(a, row, stage, met, before, before + met);
    else if ((status = reserve_buckets(a, reader, 0, n_buckets, n_buckets)) == LSH_OK &&
             (status = join_more(a, reader_ids(reader), a->buckets, n_buckets)) == LSH_OK) {
        join_deltas(a, reader, met, 0, n_buckets, n_buckets);
        settle_retrieved(a, met, before);
    }
    free(before);
    return status;
}

/* The effect of every retrieval on the inclusion probabilities of the row. */
static void begin_retrieval(lsh_active *a, const lsh_stage *stage) {
    active_leave_product(a);
    a->random_size |= a->random_members;
    a->zero_probability_stage = stage->place;
}

lsh_status stage_retrieve(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    const lsh_reader *reader = stage->reader;
    if (!reader_valid(reader) || reader_n_ids(reader) > row->plan->n_items || stage->n_probes < 1) return LSH_INVALID;
    int64_t n_queries = row->last - row->first, n_buckets = n_queries * reader_n_tables(reader) * stage->n_probes;
    begin_retrieval(a, stage);
    if (active_reserve_buckets(a, n_buckets * (1 + reader->n_deltas)) != LSH_OK) return LSH_NO_MEMORY;
    lookup_job job = {row, stage, a->buckets};
    lsh_status status = lsh_parallel_for(n_queries, LOOKUP_QUERIES, row->threads, find_buckets, &job);
    if (status == LSH_OK && reader->n_deltas > 0)
        status = lsh_parallel_for(n_queries, LOOKUP_QUERIES, row->threads, find_changes, &job);
    return status == LSH_OK ? join_tables(a, row, stage, n_buckets) : status;
}

/* Joins candidates with their counts: LSH_OUT_OF_RANGE for an id out of range, or a count below 1. */
static lsh_status join_counted(lsh_active *a, const int32_t *ids, const int32_t *counts, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= a->n_items || counts[i] < 1) return LSH_OUT_OF_RANGE;
        a->counts[active_place(a, ids[i])] += (uint32_t)counts[i];
    }
    return LSH_OK;
}

lsh_status stage_join(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->indptr == NULL) return LSH_INVALID;
    int64_t begin = stage->indptr[row->first], n = stage->indptr[row->last] - begin, met = a->size;
    begin_retrieval(a, stage);
    uint32_t *before = met ? malloc((size_t)met * sizeof *before) : NULL;
    if ((met && before == NULL) || active_reserve(a, n) != LSH_OK) {
        free(before);
        return LSH_NO_MEMORY;
    }
    if (met) memcpy(before, a->counts, (size_t)met * sizeof *before);
    lsh_status status = join_counted(a, stage->indices + begin, stage->counts + begin, n);
    if (status == LSH_OK) settle_retrieved(a, met, before);
    free(before);
    return status;
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
    if (a->rest > 0 || a->n_distributions > 0) a->zero_probability_stage = stage->place;
    a->rest = 0;
    a->n_distributions = a->positive = 0;
    return LSH_OK;
}

static int64_t count_state(const lsh_active *a, uint8_t wanted) {
    const uint8_t *state = a->state;
    int64_t total = 0, size = a->size;
    for (int64_t i = 0; i < size; i++) total += state[i] == wanted;
    return total;
}

/* Lists the places of unforced ids in the set. */
static int64_t list_unforced(lsh_active *a) {
    const uint8_t *state = a->state;
    int32_t *places = a->places;
    int64_t n = 0, size = a->size;
    for (int64_t i = 0; i < size; i++) {
        places[n] = (int32_t)i;
        n += state[i] == IN;
    }
    return n;
}

/* Number of ids besides forced ones within a bound. */
static int64_t room_of(const lsh_active *a, int64_t amount) {
    int64_t forced = count_state(a, FORCED);
    return amount > forced ? amount - forced : 0;
}

/* The n-th smallest (from 1) of keys, which it reorders: Hoare's selection. Equal keys do not occur. */
static uint64_t select_key(uint64_t *keys, int64_t count, int64_t n) {
    int64_t low = 0, high = count - 1, wanted = n - 1;
    while (low < high) {
        uint64_t pivot = keys[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (keys[i] < pivot) i++;
            while (keys[j] > pivot) j--;
            if (i > j) break;
            uint64_t swap = keys[i];
            keys[i++] = keys[j];
            keys[j--] = swap;
        }
        if (wanted <= j) high = j;
        else if (wanted >= i) low = i;
        else break;
    }
    return keys[wanted];
}

/* The n-th smallest of keys, uniform in their upper halves: nearly always among those below a guess that exceeds its
 * expected value by six standard deviations, otherwise among all. The result is the same either way. */
static uint64_t smallest_keys(const uint64_t *keys, int64_t count, int64_t n, uint64_t *scratch) {
    double share = ((double)n + 6 * sqrt((double)n) + 16) / (double)count;
    uint64_t guess = share < 1 ? (uint64_t)(share * 0x1p64) : UINT64_MAX;
    for (;;) {
        int64_t below = 0;
        for (int64_t i = 0; i < count; i++) {
            scratch[below] = keys[i];
            below += keys[i] <= guess;
        }
        if (below >= n) return select_key(scratch, below, n);
        guess = UINT64_MAX;
    }
}

/* Of the `count` listed places keeps `room` with the smallest priorities; the others' state becomes `dropped`. */
static void keep_smallest(lsh_active *a, const lsh_row *row, const lsh_stage *stage, uint32_t purpose, int64_t count,
                          int64_t room, uint8_t dropped) {
    const int32_t *places = a->places;
    int32_t *listed = a->listed;
    uint64_t *keys = a->keys;
    uint8_t *state = a->state;
    for (int64_t i = 0; i < count; i++) listed[i] = a->ids[places[i]];
    row_randoms(row, stage, purpose, 0, listed, count, keys);
    for (int64_t i = 0; i < count; i++) keys[i] = (keys[i] & ~(uint64_t)UINT32_MAX) | (uint32_t)listed[i];
    uint64_t threshold = room > 0 ? smallest_keys(keys, count, room, keys + a->room) : 0;
    for (int64_t i = 0; i < count; i++)
        state[places[i]] = room > 0 && keys[i] <= threshold ? state[places[i]] : dropped;
}

lsh_status stage_cap(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->amount < 1) return LSH_INVALID;
    int64_t count = list_unforced(a), room = room_of(a, stage->amount), size = a->size;
    if (a->random_size && !a->product) {
        a->product = 1;
        a->capped = 1;
    }
    if (count <= room) return LSH_OK;
    double fraction = (double)room / (double)count;
    keep_smallest(a, row, stage, LSH_DRAW_CAP, count, room, a->product ? CAPPED : OUT);
    const uint8_t *state = a->state;
    float *chance = a->chance;
    for (int64_t i = 0; i < size; i++) chance[i] = state[i] == FORCED ? chance[i] : (float)(chance[i] * fraction);
    a->kept *= fraction;
    a->capped *= fraction;
    a->random_members = 1;
    if (!a->product) a->rest *= fraction;
    if (room == 0) {
        a->rest = 0;
        a->n_distributions = a->positive = 0;
        a->zero_probability_stage = stage->place;
    }
    return LSH_OK;
}

static int64_t count_levels(const uint32_t *levels, int64_t n, uint32_t least) {
    int64_t total = 0;
    for (int64_t begin = 0; begin < n; begin += 1 << 30) {
        int64_t end = n - begin < 1 << 30 ? n : begin + (1 << 30);
        uint32_t part = 0; /* as wide as the levels, so that the loop is vectorized */
        for (int64_t i = begin; i < end; i++) part += levels[i] >= least;
        total += part;
    }
    return total;
}

/* levels[i] = 1 + the count of unforced ids in the set, 0 for the others. Returns the largest level that at least
 * `room` ids reach, by bisection with a pass over the levels each, faster than a histogram of nearly equal counts. */
static uint32_t top_level(lsh_active *a, int64_t room) {
    uint32_t most = 0, *levels = a->levels;
    const uint32_t *counts = a->counts;
    const uint8_t *state = a->state;
    for (int64_t i = 0, size = a->size; i < size; i++) {
        levels[i] = state[i] == IN ? counts[i] + 1 : 0;
        most = levels[i] > most ? levels[i] : most;
    }
    uint32_t low = 1, high = most; /* at least `room` ids reach low, fewer reach high + 1 */
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (count_levels(a->levels, a->size, middle) >= room) low = middle;
        else high = middle - 1;
    }
    return low;
}

/* Keeps ids above the level, lists those tied at it, which share the remaining places, and drops the others. Returns
 * the number of ties. */
static int64_t part_at_level(lsh_active *a, uint32_t level, int64_t room, int64_t *left) {
    const uint32_t *levels = a->levels;
    int32_t *places = a->places;
    uint8_t *state = a->state;
    float *chance = a->chance;
    int64_t tied = 0, size = a->size;
    for (int64_t i = 0; i < size; i++) {
        places[tied] = (int32_t)i;
        tied += levels[i] == level;
    }
    *left = room - count_levels(levels, size, level + 1);
    float fraction = (float)((double)*left / (double)tied);
    for (int64_t i = 0; i < size; i++) {
        float share = levels[i] > level ? 1.0f : levels[i] == level ? fraction : 0.0f;
        chance[i] *= state[i] == FORCED ? 1.0f : share;
        state[i] = state[i] == FORCED || levels[i] >= level ? state[i] : OUT;
    }
    return tied;
}

lsh_status stage_top(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->amount < 1) return LSH_INVALID;
    if (a->random_members || a->random_size) active_condition(a);
    int64_t count = count_state(a, IN), room = room_of(a, stage->amount), left = 0;
    a->zero_probability_stage = stage->place;
    a->rest = 0;
    a->n_distributions = a->positive = 0;
    if (count <= room) return LSH_OK;
    if (room == 0) {
        for (int64_t i = 0; i < a->size; i++) {
            if (a->state[i] == FORCED) continue;
            a->state[i] = OUT;
            a->chance[i] = 0;
        }
        return LSH_OK;
    }
    int64_t tied = part_at_level(a, top_level(a, room), room, &left);
    if (tied > left) {
        keep_smallest(a, row, stage, LSH_DRAW_TOP, tied, left, OUT);
        a->random_members = 1;
    }
    return LSH_OK;
}
