/* The best k of scored ids, whatever their order: by score descending, ties by smaller id. */
#ifndef LSHSAMPLE_HEAP_H
#define LSHSAMPLE_HEAP_H

#include <math.h>
#include <stdint.h>

/* k places as a heap with the worst at the root: lower score, then larger id. Empty places are (-inf, INT32_MAX). */
typedef struct {
    float *scores;
    int32_t *ids;
    int32_t k;
} heap;

static inline int worse(float score, int32_t id, float than_score, int32_t than_id) {
    return score < than_score || (score == than_score && id > than_id);
}

static inline void heap_clear(heap h) {
    for (int32_t i = 0; i < h.k; i++) {
        h.scores[i] = -INFINITY;
        h.ids[i] = INT32_MAX;
    }
}

/* Puts an entry at the root of the first n places and lets it sink. */
static inline void heap_sink(heap h, int32_t n, float score, int32_t id) {
    int32_t at = 0;
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && worse(h.scores[child + 1], h.ids[child + 1], h.scores[child], h.ids[child])) child++;
        if (!worse(h.scores[child], h.ids[child], score, id)) break;
        h.scores[at] = h.scores[child];
        h.ids[at] = h.ids[child];
        at = child;
    }
    h.scores[at] = score;
    h.ids[at] = id;
}

static inline void heap_offer(heap h, float score, int32_t id) {
    if (score > -INFINITY && worse(h.scores[0], h.ids[0], score, id)) heap_sink(h, h.k, score, id);
}

/* Best first; empty places get id -1. */
static inline void heap_finish(heap h) {
    for (int32_t n = h.k - 1; n > 0; n--) {
        float score = h.scores[n];
        int32_t id = h.ids[n];
        h.scores[n] = h.scores[0];
        h.ids[n] = h.ids[0];
        heap_sink(h, n, score, id);
    }
    for (int32_t i = 0; i < h.k; i++)
        if (h.ids[i] == INT32_MAX) h.ids[i] = -1;
}

#endif
