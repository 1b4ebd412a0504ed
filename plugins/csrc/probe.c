#include "probe.h"

#include <stdlib.h>

/* What waits its turn: a set of flipped bits, or a pair of choices. */
typedef struct lsh_waiting {
    double score;
    uint64_t order; /* among equal scores. A set's members as ranks, bit 0 that of the smallest margin; or a pair's
                       places, that of the later hash's choice in the upper half */
    float before;   /* a set's score without its last member */
    int32_t last;   /* and the highest of them */
} waiting;

static int comes_first(const waiting *a, const waiting *b) {
    return a->score < b->score || (a->score == b->score && a->order < b->order);
}

static void push(waiting *heap, int64_t size, waiting item) {
    int64_t place = size;
    for (; place > 0 && comes_first(&item, &heap[(place - 1) / 2]); place = (place - 1) / 2)
        heap[place] = heap[(place - 1) / 2];
    heap[place] = item;
}

/* Puts `item` in the place of the first one. */
static void replace_first(waiting *heap, int64_t size, waiting item) {
    int64_t place = 0;
    for (;;) {
        int64_t child = 2 * place + 1;
        if (child >= size) break;
        if (child + 1 < size && comes_first(&heap[child + 1], &heap[child])) child++;
        if (!comes_first(&heap[child], &item)) break;
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = item;
}

/* Bits by ascending squared margin, ties by number; insertion sort, as there are at most 32. */
static uint32_t rank_bits(const float *margins, int32_t n, float *squares, uint32_t *bits) {
    uint32_t code = 0;
    for (int32_t k = 0; k < n; k++) {
        float square = margins[k] * margins[k];
        int32_t place = k;
        for (; place > 0 && square < squares[place - 1]; place--) {
            squares[place] = squares[place - 1];
            bits[place] = bits[place - 1];
        }
        squares[place] = square;
        bits[place] = 1u << k;
        code |= (uint32_t)(margins[k] >= 0) << k;
    }
    return code;
}

/* Takes the first one away. */
static void remove_first(waiting *heap, int64_t size) {
    if (size > 1) replace_first(heap, size - 1, heap[size - 1]);
}

static uint32_t flipped(uint32_t code, uint64_t members, const uint32_t *bits) {
    for (; members; members &= members - 1) code ^= bits[__builtin_ctzll(members)];
    return code;
}

int32_t lsh_probe_flips(const float *margins, int32_t n_hashes, int32_t n_probes, uint32_t *codes) {
    enum { ON_STACK = 128 };
    waiting small[ON_STACK], *heap = small;
    float squares[32];
    uint32_t bits[32], code = rank_bits(margins, n_hashes, squares, bits);
    codes[0] = code;
    if (n_probes == 1) return 0;
    if (n_probes > ON_STACK) heap = malloc((size_t)n_probes * sizeof *heap);
    if (heap == NULL) return 1;
    int64_t size = 1;
    heap[0] = (waiting){squares[0], 1, 0, 0};
    for (int32_t p = 1; p < n_probes; p++) {
        waiting best = heap[0];
        codes[p] = flipped(code, best.order, bits);
        int32_t next = best.last + 1;
        if (next < n_hashes) {
            /* Every set follows from one other: by moving its last member up, or by adding the one after. */
            uint64_t up = (uint64_t)1 << next;
            float score = (float)best.score;
            replace_first(heap, size, (waiting){best.before + squares[next], (best.order ^ up >> 1) | up, best.before, next});
            push(heap, size++, (waiting){score + squares[next], best.order | up, score, next});
        } else {
            remove_first(heap, size--);
        }
    }
    if (heap != small) free(heap);
    return 0;
}

/* The codes of a hash and those before it, as far as they are made, and the pairs that wait to be the next one. */
typedef struct lsh_level {
    lsh_next_choice next;
    void *hash;
    int32_t shift, n_codes;
    int64_t n_waiting;
    waiting *heap; /* the pair of the last code is still first */
    lsh_choice *choices, *codes;
} level;

int32_t lsh_probing_begin(lsh_probing *p, int32_t n_probes, int32_t n_hashes, int64_t n_margins, int64_t n_keys) {
    size_t places = (size_t)n_probes, hashes = (size_t)n_hashes;
    *p = (lsh_probing){.n_probes = n_probes};
    p->levels = malloc(hashes * sizeof *p->levels);
    p->room = malloc(hashes * places * (sizeof(waiting) + 2 * sizeof(lsh_choice)));
    p->keys = malloc((size_t)n_keys * sizeof *p->keys + (size_t)n_margins * sizeof *p->margins);
    if (p->levels == NULL || p->room == NULL || p->keys == NULL) {
        lsh_probing_end(p);
        return 1;
    }
    p->margins = (float *)(p->keys + n_keys);
    waiting *heaps = p->room;
    lsh_choice *lists = (lsh_choice *)(heaps + hashes * places);
    for (size_t k = 0; k < hashes; k++)
        p->levels[k] = (level){.heap = heaps + k * places, .choices = lists + 2 * k * places,
                               .codes = lists + (2 * k + 1) * places};
    return 0;
}

void lsh_probing_end(lsh_probing *p) {
    free(p->levels);
    free(p->room);
    free(p->keys);
}

void lsh_probing_join(lsh_probing *p, lsh_next_choice next, void *hash, int32_t shift) {
    level *l = &p->levels[p->n_joined++];
    l->next = next;
    l->hash = hash;
    l->shift = shift;
    l->n_codes = 0;
}

static int32_t has_code(level *l, int32_t n_before, int32_t rank);

static waiting pair(const level *l, uint32_t i, uint32_t j) {
    return (waiting){.score = l[-1].codes[i].cost + l->choices[j].cost, .order = (uint64_t)j << 32 | i};
}

/* Puts the pairs that follow the last code's in its place: each choice of the hash goes through the codes before, and
 * the choice after it is not better, so it comes when this one has begun. */
static void follow(level *l, int32_t n_before) {
    uint32_t i = (uint32_t)l->heap[0].order, j = (uint32_t)(l->heap[0].order >> 32);
    if (has_code(l - 1, n_before - 1, (int32_t)i + 1)) replace_first(l->heap, l->n_waiting, pair(l, i + 1, j));
    else remove_first(l->heap, l->n_waiting--);
    if (i == 0 && l->next(l->hash, (int32_t)j + 1, l->choices + j + 1)) push(l->heap, l->n_waiting++, pair(l, 0, j + 1));
}

/* Makes one more code; returns 0 when there is none. */
static int32_t make_code(level *l, int32_t n_before) {
    lsh_choice *code = l->codes + l->n_codes;
    if (n_before == 0) {
        if (!l->next(l->hash, l->n_codes, code)) return 0;
        code->code <<= l->shift;
    } else {
        if (l->n_codes == 0) {
            has_code(l - 1, n_before - 1, 0);
            l->next(l->hash, 0, l->choices);
            l->heap[0] = pair(l, 0, 0);
            l->n_waiting = 1;
        } else if (l->n_waiting > 0) {
            follow(l, n_before);
        }
        if (l->n_waiting == 0) return 0;
        uint64_t best = l->heap[0].order;
        *code = (lsh_choice){l->heap[0].score, l[-1].codes[(uint32_t)best].code | l->choices[best >> 32].code << l->shift};
    }
    return ++l->n_codes;
}

/* Whether this hash and the n_before it have a code of this rank, which is made if it is the next. */
static int32_t has_code(level *l, int32_t n_before, int32_t rank) { return rank < l->n_codes || make_code(l, n_before); }

void lsh_probing_take(lsh_probing *p, uint32_t *codes) {
    int32_t last = p->n_joined - 1;
    for (int32_t i = 0; i < p->n_probes; i++)
        if (has_code(p->levels + last, last, i)) codes[i] = p->levels[last].codes[i].code;
    p->n_joined = 0;
}
