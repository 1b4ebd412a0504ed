#include "probe.h"

#include <stdlib.h>

/* A set of flipped bits: members are ranks, bit 0 that of the smallest margin; `last` is the highest of them. */
typedef struct {
    float before, score; /* sums of squared margins, without and with the last member */
    uint32_t members;
    int32_t last;
} flip_set;

static int comes_first(const flip_set *a, const flip_set *b) {
    return a->score < b->score || (a->score == b->score && a->members < b->members);
}

static void push(flip_set *heap, int64_t size, flip_set item) {
    int64_t place = size;
    for (; place > 0 && comes_first(&item, &heap[(place - 1) / 2]); place = (place - 1) / 2)
        heap[place] = heap[(place - 1) / 2];
    heap[place] = item;
}

/* Puts `item` in the place of the first set. */
static void replace_first(flip_set *heap, int64_t size, flip_set item) {
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

static uint32_t flipped(uint32_t code, uint32_t members, const uint32_t *bits) {
    for (; members; members &= members - 1) code ^= bits[__builtin_ctz(members)];
    return code;
}

int32_t lsh_probe_flips(const float *margins, int32_t n_hashes, int32_t n_probes, uint32_t *codes) {
    enum { ON_STACK = 128 };
    flip_set small[ON_STACK], *heap = small;
    float squares[32];
    uint32_t bits[32], code = rank_bits(margins, n_hashes, squares, bits);
    codes[0] = code;
    if (n_probes == 1) return 0;
    if (n_probes > ON_STACK) heap = malloc((size_t)n_probes * sizeof *heap);
    if (heap == NULL) return 1;
    int64_t size = 1;
    heap[0] = (flip_set){0, squares[0], 1, 0};
    for (int32_t p = 1; p < n_probes; p++) {
        flip_set best = heap[0];
        codes[p] = flipped(code, best.members, bits);
        int32_t next = best.last + 1;
        if (next < n_hashes) {
            /* Every set follows from one other: by moving its last member up, or by adding the one after. */
            uint32_t up = 1u << next;
            replace_first(heap, size, (flip_set){best.before, best.before + squares[next], (best.members ^ up >> 1) | up, next});
            push(heap, size++, (flip_set){best.score, best.score + squares[next], best.members | up, next});
        } else {
            flip_set moved = heap[--size];
            if (size > 0) replace_first(heap, size, moved);
        }
    }
    if (heap != small) free(heap);
    return 0;
}
