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

int32_t lsh_probing_begin(lsh_probing *p, int32_t n_probes, int64_t n_margins, int64_t n_keys) {
    size_t room = (size_t)n_probes;
    *p = (lsh_probing){.n_probes = n_probes, .n_best = 1};
    p->choices = malloc(3 * room * sizeof *p->choices);
    p->heap = malloc(room * sizeof *p->heap);
    p->keys = malloc((size_t)n_keys * sizeof *p->keys + (size_t)n_margins * sizeof *p->margins);
    if (p->choices == NULL || p->heap == NULL || p->keys == NULL) {
        lsh_probing_end(p);
        return 1;
    }
    p->best = p->choices + room;
    p->next = p->best + room;
    p->margins = (float *)(p->keys + n_keys);
    p->best[0] = (lsh_choice){0, 0};
    return 0;
}

void lsh_probing_end(lsh_probing *p) {
    free(p->choices);
    free(p->heap);
    free(p->keys);
}

/* The choices alone, as there is one code to join them to. */
static int32_t join_to_one(lsh_probing *p, lsh_next_choice next, void *hash, int32_t shift) {
    int32_t n = 0;
    for (; n < p->n_probes && next(hash, n, p->choices + n); n++)
        p->next[n] = (lsh_choice){p->best[0].cost + p->choices[n].cost, p->best[0].code | p->choices[n].code << shift};
    return n;
}

static int32_t join_to_many(lsh_probing *p, lsh_next_choice next, void *hash, int32_t shift) {
    int64_t size = 1;
    int32_t n = 0, more = next(hash, 0, p->choices);
    p->heap[0] = (waiting){.score = p->best[0].cost + p->choices[0].cost};
    while (n < p->n_probes && size > 0) {
        waiting first = p->heap[0];
        uint32_t i = (uint32_t)first.order, j = (uint32_t)(first.order >> 32);
        p->next[n++] = (lsh_choice){first.score, p->best[i].code | p->choices[j].code << shift};
        /* Each choice of this hash goes through the codes so far; the next choice is not better than this one. */
        if ((int32_t)i + 1 < p->n_best)
            replace_first(p->heap, size, (waiting){.score = p->best[i + 1].cost + p->choices[j].cost, .order = first.order + 1});
        else remove_first(p->heap, size--);
        if (i > 0 || n == p->n_probes || !more) continue;
        j++;
        more = next(hash, (int32_t)j, p->choices + j);
        if (more) push(p->heap, size++, (waiting){.score = p->best[0].cost + p->choices[j].cost, .order = (uint64_t)j << 32});
    }
    return n;
}

void lsh_probing_join(lsh_probing *p, lsh_next_choice next, void *hash, int32_t shift) {
    int32_t n = (p->n_best == 1 ? join_to_one : join_to_many)(p, next, hash, shift);
    lsh_choice *made = p->next;
    p->next = p->best;
    p->best = made;
    p->n_best = n;
}

void lsh_probing_finish(lsh_probing *p, uint32_t *codes) {
    for (int32_t i = 0; i < p->n_probes; i++) codes[i] = p->best[i].code;
    p->n_best = 1;
    p->best[0] = (lsh_choice){0, 0};
}
