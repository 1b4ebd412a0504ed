/* The stages that join ids that are drawn or given by the caller. */
#include <math.h>
#include <stdlib.h>

#include "active.h"
#include "lshsample/rng.h"

enum {
    FREQUENCY_BLOCK = 256,
    SLOTS_AHEAD = 16 /* draws by which the slot of an id, anywhere in an array of all items, is prefetched */
};

/* A 64-bit word as an index below n: its bias is below n / 2^64. */
static int64_t below(uint64_t word, int64_t n) { return (int64_t)((unsigned __int128)word * (uint64_t)n >> 64); }

static void enter(lsh_active *a, int64_t place) {
    if (!held(a->state[place] & ~DRAWN)) a->state[place] = (uint8_t)(IN | (a->state[place] & DRAWN));
}

/* ---- given ids ---- */

static lsh_status force(lsh_active *a, const int32_t *ids, int64_t n, int only_present) {
    if (active_reserve(a, n) != LSH_OK) return LSH_NO_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= a->n_items) return LSH_OUT_OF_RANGE;
        if (only_present && !(a->slot[ids[i]] && held(a->state[a->slot[ids[i]] - 1]))) continue;
        int64_t place = active_place(a, ids[i]);
        a->state[place] = FORCED;
        a->chance[place] = 1;
    }
    return LSH_OK;
}

lsh_status stage_include(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->indptr == NULL) return LSH_INVALID;
    int64_t begin = stage->indptr[row->first], end = stage->indptr[row->last];
    a->random_size |= a->random_members && end > begin;
    return force(a, stage->indices + begin, end - begin, 0);
}

lsh_status stage_given(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->indptr == NULL) return LSH_INVALID;
    active_clear(a);
    int64_t begin = stage->indptr[row->row], end = stage->indptr[row->row + 1];
    if (active_reserve(a, end - begin) != LSH_OK) return LSH_NO_MEMORY;
    for (int64_t i = begin; i < end; i++) {
        if (stage->indices[i] < 0 || stage->indices[i] >= a->n_items) return LSH_OUT_OF_RANGE;
        int64_t place = active_place(a, stage->indices[i]);
        a->counts[place] = (uint32_t)stage->counts[i];
        a->state[place] = IN;
        a->chance[place] = 1;
    }
    a->zero_probability_stage = stage->place;
    if (stage->forced_indptr == NULL) return LSH_OK;
    int64_t first = stage->forced_indptr[row->first], last = stage->forced_indptr[row->last];
    return force(a, stage->forced_indices + first, last - first, 1);
}

lsh_status stage_full(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    (void)row;
    (void)stage;
    if (active_reserve(a, a->n_items) != LSH_OK) return LSH_NO_MEMORY;
    for (int64_t id = 0; id < a->n_items; id++) {
        int64_t place = active_place(a, (int32_t)id);
        a->chance[place] = 1;
        enter(a, place);
    }
    a->product = a->random_members = a->random_size = 0;
    return LSH_OK;
}

/* ---- draws ---- */

/* Every id is added with probability u, independently of the set: 1 - (1 - chance)(1 - u). */
static void mix(lsh_active *a, double u) {
    float *chance = a->chance;
    for (int64_t i = 0, size = a->size; i < size; i++) chance[i] = (float)(chance[i] + (1 - (double)chance[i]) * u);
    a->rest += (1 - a->rest) * u;
}

/* n distinct uniform draws from all items, by Floyd's algorithm (Bentley & Floyd 1987): exactly n steps. */
lsh_status stage_uniform(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    int64_t n = stage->amount, drawn = 0;
    if (n < 1 || n > a->n_items) return LSH_INVALID;
    active_leave_product(a);
    a->random_size |= a->size > 0;
    a->random_members = 1;
    mix(a, (double)n / (double)a->n_items);
    if (active_reserve(a, n) != LSH_OK) return LSH_NO_MEMORY;
    row_randoms(row, stage, LSH_DRAW_UNIFORM, 0, NULL, n, a->keys);
    for (int64_t last = a->n_items - n; last < a->n_items; last++) {
        int64_t id = below(a->keys[drawn], last + 1);
        if (drawn + SLOTS_AHEAD < n)
            __builtin_prefetch(a->slot + below(a->keys[drawn + SLOTS_AHEAD], last + SLOTS_AHEAD + 1), 1);
        if (a->slot[id] && (a->state[a->slot[id] - 1] & DRAWN)) id = last;
        int64_t place = active_place(a, (int32_t)id);
        enter(a, place);
        a->state[place] |= DRAWN;
        a->places[drawn++] = (int32_t)place;
    }
    for (int64_t i = 0; i < drawn; i++) a->state[a->places[i]] &= (uint8_t)~DRAWN;
    return LSH_OK;
}

/* Adds draws to those by which ids not seen may be drawn. */
static lsh_status add_draws(lsh_active *a, const lsh_stage *stage) {
    int i = 0;
    while (i < a->n_distributions && a->distributions[i].frequency != stage->frequency) i++;
    if (i == MAX_DISTRIBUTIONS) return LSH_INVALID;
    if (i == a->n_distributions) {
        a->distributions[i] = (drawn_by){.frequency = stage->frequency};
        a->n_distributions++;
    }
    a->distributions[i].draws += stage->amount;
    a->positive |= stage->positive;
    return LSH_OK;
}

lsh_status stage_frequency(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    if (stage->amount < 1 || !stage->frequency || !stage->accept || !stage->alias) return LSH_INVALID;
    active_leave_product(a);
    a->random_members = a->random_size = 1;
    double n = (double)stage->amount;
    uint64_t words[FREQUENCY_BLOCK];
    for (int64_t i = 0; i < a->size; i++) {
        double hit = -expm1(n * log1p(-stage->frequency[a->ids[i]]));
        a->chance[i] = (float)(a->chance[i] + (1 - (double)a->chance[i]) * hit);
    }
    if (add_draws(a, stage) != LSH_OK) return LSH_INVALID;
    a->zero_probability_stage = stage->place;
    if (active_reserve(a, stage->amount) != LSH_OK) return LSH_NO_MEMORY;
    for (int64_t i = 0; i < stage->amount; i++) {
        if (i % FREQUENCY_BLOCK == 0) {
            int64_t n_words = stage->amount - i < FREQUENCY_BLOCK ? stage->amount - i : FREQUENCY_BLOCK;
            row_randoms(row, stage, LSH_DRAW_FREQUENCY, (uint32_t)i, NULL, n_words, words);
        }
        unsigned __int128 point = (unsigned __int128)words[i % FREQUENCY_BLOCK] * (uint64_t)a->n_items;
        int64_t column = (int64_t)(point >> 64);
        /* The low bits of the product are the fraction, of 64 - log2(n_items) random bits. */
        double fraction = (double)(uint64_t)point * 0x1p-64;
        int32_t id = fraction < stage->accept[column] ? (int32_t)column : stage->alias[column];
        enter(a, active_place(a, id));
    }
    return LSH_OK;
}

/* For more than half of all items: lists those outside and draws `wanted` of them by Floyd's algorithm. */
static void fill_densely(lsh_active *a, const lsh_row *row, const lsh_stage *stage, int64_t wanted) {
    int64_t outside = 0, drawn = 0;
    for (int64_t id = 0; id < a->n_items; id++)
        if (!a->slot[id] || !held(a->state[a->slot[id] - 1])) a->listed[outside++] = (int32_t)id;
    for (int64_t last = outside - wanted; last < outside; last++) {
        int64_t at = below(row_random(row, stage, LSH_DRAW_FILL, (uint32_t)drawn++), last + 1);
        int64_t place = active_place(a, a->listed[at]);
        if (held(a->state[place])) place = active_place(a, a->listed[last]);
        enter(a, place);
    }
}

lsh_status stage_fill(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    int64_t k = stage->amount, in = 0, n = a->n_items;
    if (k < 1 || k > n) return LSH_INVALID;
    active_leave_product(a);
    if (a->random_size) active_condition(a);
    for (int64_t i = 0; i < a->size; i++) in += held(a->state[i]);
    if (in >= k) {
        a->zero_probability_stage = stage->place;
        return LSH_OK;
    }
    mix(a, (double)(k - in) / (double)(n - in));
    a->random_members = 1;
    int64_t dense = k > n / 2;
    if (active_reserve(a, dense ? n : k - in) != LSH_OK) return LSH_NO_MEMORY;
    if (dense) {
        fill_densely(a, row, stage, k - in);
        return LSH_OK;
    }
    for (uint32_t attempt = 0; in < k; attempt++) {
        int64_t place, id = below(row_random(row, stage, LSH_DRAW_FILL, attempt), n);
        if (a->slot[id] && held(a->state[a->slot[id] - 1])) continue;
        place = active_place(a, (int32_t)id);
        enter(a, place);
        in++;
    }
    return LSH_OK;
}

lsh_status lsh_alias_build(const double *frequency, int64_t n, double *accept, int32_t *alias) {
    if (n < 1 || n > INT32_MAX) return LSH_INVALID;
    int32_t *stack = malloc((size_t)n * sizeof *stack);
    if (stack == NULL) return LSH_NO_MEMORY;
    int64_t small = 0, large = n; /* two stacks that share one array: poor columns below, rich ones above */
    for (int64_t i = 0; i < n; i++) {
        accept[i] = frequency[i] * (double)n;
        alias[i] = (int32_t)i;
        if (accept[i] < 1) stack[small++] = (int32_t)i;
        else stack[--large] = (int32_t)i;
    }
    while (small > 0 && large < n) {
        int32_t poor = stack[--small], rich = stack[large];
        alias[poor] = rich;
        accept[rich] -= 1 - accept[poor];
        if (accept[rich] < 1) {
            large++;
            stack[small++] = rich;
        }
    }
    /* The remaining columns are 1, except for rounding. */
    while (small > 0) accept[stack[--small]] = 1;
    while (large < n) accept[stack[large++]] = 1;
    free(stack);
    return LSH_OK;
}
