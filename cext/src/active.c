#include "active.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "lshsample/rng.h"

static int grow(void **array, int64_t room, size_t item) {
    void *grown = realloc(*array, (size_t)room * item);
    if (grown == NULL) return 0;
    *array = grown;
    return 1;
}

lsh_status active_reserve(lsh_active *a, int64_t more) {
    int64_t wanted = a->size + more < a->n_items ? a->size + more : a->n_items;
    wanted += 1; /* a branchless writer may touch one place past the end */
    if (wanted <= a->room) return LSH_OK;
    if (wanted < a->room + a->room / 2) wanted = a->room + a->room / 2;
    int done = grow((void **)&a->ids, wanted, sizeof *a->ids) && grow((void **)&a->counts, wanted, sizeof *a->counts) &&
               grow((void **)&a->chance, wanted, sizeof *a->chance) &&
               grow((void **)&a->state, wanted, sizeof *a->state) && grow((void **)&a->keys, 2 * wanted, sizeof *a->keys) &&
               grow((void **)&a->places, wanted, sizeof *a->places) &&
               grow((void **)&a->listed, wanted, sizeof *a->listed) &&
               grow((void **)&a->levels, wanted, sizeof *a->levels);
    if (!done) return LSH_NO_MEMORY;
    a->room = wanted;
    return LSH_OK;
}

lsh_status active_reserve_buckets(lsh_active *a, int64_t n) {
    if (n <= a->bucket_room) return LSH_OK;
    if (!grow((void **)&a->buckets, n, sizeof *a->buckets)) return LSH_NO_MEMORY;
    a->bucket_room = n;
    return LSH_OK;
}

void active_clear(lsh_active *a) {
    for (int64_t i = 0; i < a->size; i++) {
        if (i + IDS_AHEAD < a->size) __builtin_prefetch(a->slot + a->ids[i + IDS_AHEAD], 1);
        a->slot[a->ids[i]] = 0;
    }
    a->size = 0;
    a->rest = 0;
    a->n_distributions = a->positive = 0;
    a->capped = a->kept = 1;
    a->product = a->random_members = a->random_size = 0;
    a->zero_probability_stage = 0;
}

double active_rest(const lsh_active *a, int32_t id) {
    double rest = a->rest;
    for (int i = 0; i < a->n_distributions; i++) {
        const drawn_by *d = a->distributions + i;
        rest -= (1 - rest) * expm1((double)d->draws * log1p(-d->frequency[id]));
    }
    return rest;
}

int64_t active_place(lsh_active *a, int32_t id) {
    if (a->slot[id]) return (int64_t)a->slot[id] - 1;
    int64_t place = a->size++;
    a->slot[id] = (uint32_t)place + 1;
    a->ids[place] = id;
    a->counts[place] = 0;
    a->chance[place] = (float)active_rest(a, id);
    a->state[place] = OUT;
    return place;
}

void active_condition(lsh_active *a) {
    for (int64_t i = 0; i < a->size; i++) {
        int in = held(a->state[i]);
        a->chance[i] = in ? 1.0f : 0.0f;
        if (!in) a->state[i] = OUT;
    }
    a->rest = 0;
    a->n_distributions = a->positive = 0;
    a->product = a->random_members = a->random_size = 0;
}

void active_leave_product(lsh_active *a) {
    if (!a->product) return;
    for (int64_t i = 0; i < a->size; i++) {
        if (a->state[i] == FORCED) continue;
        a->chance[i] = a->state[i] == OUT ? 0.0f : (float)a->capped;
        if (a->state[i] == CAPPED) a->state[i] = OUT;
    }
    a->rest = 0;
    a->n_distributions = a->positive = 0;
    a->product = 0;
}

int active_every_item_possible(const lsh_active *a) {
    if (a->rest > 0 || a->positive) return 1;
    if (a->size < a->n_items) return 0;
    for (int64_t i = 0; i < a->size; i++)
        if (!(a->chance[i] > 0)) return 0;
    return 1;
}

static uint32_t stream_of(const lsh_row *row) { return (uint32_t)(row->plan->first_row + row->row); }

uint64_t row_random(const lsh_row *row, const lsh_stage *stage, uint32_t purpose, uint32_t index) {
    uint32_t words[4];
    lsh_philox(row->plan->seed, purpose + 16u * (uint32_t)stage->ordinal, stream_of(row), row->plan->step, index, words);
    return (uint64_t)words[0] << 32 | words[1];
}

void row_randoms(const lsh_row *row, const lsh_stage *stage, uint32_t purpose, uint32_t first, const int32_t *indices,
                 int64_t n, uint64_t *out) {
    lsh_kernels_current()->draw_words(row->plan->seed, purpose + 16u * (uint32_t)stage->ordinal, stream_of(row),
                                      row->plan->step, first, indices, n, out);
}
