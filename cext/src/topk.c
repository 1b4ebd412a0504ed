#include "lshsample/topk.h"

#include <stdlib.h>

#include "dense.h"
#include "heap.h"
#include "kernels.h"
#include "lshsample/layers.h"
#include "lshsample/parallel.h"

enum {
    BLOCK_SAMPLES = 512, /* rows of h whose scores of one panel stay in L2 */
    MAX_RANGES = 32,     /* ranges of labels that the work is cut into */
    RANGE_LABELS = 2048  /* labels that a range has at least */
};

typedef struct {
    const lsh_kernels *kernels;
    const lsh_row_kernels *weights; /* for rows of w */
    lsh_dense h, w;
    const float *bias;
    int64_t bias_stride, labels, range, ranges;
    int32_t k, by_columns; /* whether labels are columns of w */
    float *scores; /* (ranges, samples of the block, k) */
    int32_t *ids;
    float *out_scores;
    int32_t *out_ids;
} search;

static heap range_heap(const search *s, int64_t range, int64_t sample) {
    int64_t at = (range * s->h.rows + sample) * s->k;
    return (heap){s->scores + at, s->ids + at, s->k};
}

/* Scores of labels j .. j + n for every sample of the block, n at most a panel. */
static void score_panel(const search *s, int64_t j, int64_t n, float *tile, int64_t width) {
    _Alignas(64) float panel[LSH_PANEL_DEPTH * LSH_PANEL_COLUMNS], first[LSH_PANEL_COLUMNS] = {0};
    for (int64_t t = 0; s->bias && t < n; t++) first[t] = s->bias[(j + t) * s->bias_stride];
    for (int64_t begin = 0; begin == 0 || begin < s->h.cols; begin += LSH_PANEL_DEPTH) {
        int64_t depth = s->h.cols - begin < LSH_PANEL_DEPTH ? s->h.cols - begin : LSH_PANEL_DEPTH;
        int64_t row = s->by_columns ? begin : j, column = s->by_columns ? j : begin;
        const void *w = lsh_element(s->w, s->weights->bytes, row, column);
        if (s->by_columns) s->weights->pack_rows(w, s->w.stride, NULL, depth, n, panel);
        else s->weights->pack_transposed(w, s->w.stride, NULL, n, depth, panel);
        s->kernels->product_rows(lsh_float_row(s->h, 0) + begin, s->h.stride, s->h.rows, panel, depth,
                                 begin ? NULL : first, tile, width, n);
    }
}

static lsh_status range_chunk(void *context, int64_t range, int64_t range_end, int32_t worker) {
    (void)worker;
    const search *s = context;
    _Alignas(64) float tile[BLOCK_SAMPLES * LSH_PANEL_COLUMNS];
    int64_t width = s->kernels->panel_columns;
    for (; range < range_end; range++) {
        int64_t end = (range + 1) * s->range < s->labels ? (range + 1) * s->range : s->labels;
        for (int64_t i = 0; i < s->h.rows; i++) heap_clear(range_heap(s, range, i));
        for (int64_t j = range * s->range; j < end; j += width) {
            int64_t n = end - j < width ? end - j : width;
            if (lsh_interrupted()) return LSH_INTERRUPTED;
            score_panel(s, j, n, tile, width);
            for (int64_t i = 0; i < s->h.rows; i++) {
                heap best = range_heap(s, range, i);
                const float *row = tile + i * width;
                /* Ids ascend, so an equal score never wins against one that is in. */
                for (int64_t t = -1; (t = s->kernels->next_above(row, t + 1, n, best.scores[0])) < n;)
                    heap_sink(best, s->k, row[t], (int32_t)(j + t));
            }
        }
    }
    return LSH_OK;
}

static lsh_status merge_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const search *s = context;
    for (int64_t i = begin; i < end; i++) {
        heap best = {s->out_scores + i * s->k, s->out_ids + i * s->k, s->k};
        heap_clear(best);
        for (int64_t range = 0; range < s->ranges; range++) {
            heap part = range_heap(s, range, i);
            for (int32_t t = 0; t < s->k; t++) heap_offer(best, part.scores[t], part.ids[t]);
        }
        heap_finish(best);
    }
    return LSH_OK;
}

static lsh_status top_k(search s, lsh_dense h, int32_t *ids, float *scores, int32_t threads) {
    if (s.k < 1 || s.labels < 1 || s.labels > INT32_MAX) return LSH_INVALID;
    s.kernels = lsh_kernels_current();
    s.weights = lsh_row_kernels_for(s.kernels, s.w.dtype);
    if (!s.weights || h.dtype != LSH_FLOAT32) return LSH_INVALID;
    s.range = (s.labels + MAX_RANGES - 1) / MAX_RANGES;
    if (s.range < RANGE_LABELS) s.range = RANGE_LABELS;
    s.range = (s.range + LSH_PANEL_COLUMNS - 1) / LSH_PANEL_COLUMNS * LSH_PANEL_COLUMNS;
    s.ranges = (s.labels + s.range - 1) / s.range;
    int64_t block = h.rows < BLOCK_SAMPLES ? h.rows : BLOCK_SAMPLES;
    size_t places = (size_t)(s.ranges * block) * (size_t)s.k;
    s.scores = malloc((places + 1) * sizeof *s.scores);
    s.ids = malloc((places + 1) * sizeof *s.ids);
    lsh_status status = s.scores && s.ids ? LSH_OK : LSH_NO_MEMORY;
    for (int64_t i = 0; i < h.rows && status == LSH_OK; i += block) {
        s.h = h;
        s.h.data = lsh_float_row(h, i);
        s.h.rows = h.rows - i < block ? h.rows - i : block;
        s.out_ids = ids + i * s.k;
        s.out_scores = scores + i * s.k;
        status = lsh_parallel_for(s.ranges, 1, threads, range_chunk, &s);
        if (status == LSH_OK) status = lsh_parallel_for(s.h.rows, 16, threads, merge_chunk, &s);
    }
    free(s.scores);
    free(s.ids);
    return status;
}

lsh_status lsh_top_k(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, int32_t k, int32_t *ids,
                     float *scores, int32_t threads) {
    if (h.cols != w.cols) return LSH_INVALID;
    search s = {.w = w, .labels = w.rows, .bias = bias, .bias_stride = bias_stride, .k = k};
    return top_k(s, h, ids, scores, threads);
}

lsh_status lsh_top_k_columns(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, int32_t k, int32_t *ids,
                             float *scores, int32_t threads) {
    if (h.cols != w.rows) return LSH_INVALID;
    search s = {.w = w, .labels = w.cols, .bias = bias, .bias_stride = bias_stride, .k = k, .by_columns = 1};
    return top_k(s, h, ids, scores, threads);
}

typedef struct {
    const float *values;
    const int64_t *indptr;
    const int32_t *candidates;
    int32_t k, *ids;
    float *scores;
} selection;

static lsh_status ragged_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const selection *s = context;
    for (int64_t i = begin; i < end; i++) {
        heap best = {s->scores + i * s->k, s->ids + i * s->k, s->k};
        heap_clear(best);
        for (int64_t t = s->indptr[i]; t < s->indptr[i + 1]; t++) heap_offer(best, s->values[t], s->candidates[t]);
        heap_finish(best);
    }
    return LSH_OK;
}

lsh_status lsh_top_k_ragged(const float *values, const int64_t *indptr, const int32_t *candidates, int64_t m, int32_t k,
                            int32_t *ids, float *scores, int32_t threads) {
    if (k < 1) return LSH_INVALID;
    selection s = {values, indptr, candidates, k, ids, scores};
    return lsh_parallel_for(m, 16, threads, ragged_chunk, &s);
}

/* Whether offsets ascend from 0 and every id is one of n_rows. */
static int names_rows(const int64_t *indptr, int64_t m, const int32_t *ids, int64_t n_rows) {
    int bad = indptr[0] != 0;
    for (int64_t i = 0; i < m; i++) bad |= indptr[i + 1] < indptr[i];
    if (bad) return 0;
    for (int64_t t = 0; t < indptr[m]; t++) bad |= (uint32_t)ids[t] >= (uint64_t)n_rows;
    return !bad;
}

lsh_status lsh_csr_top_k(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, const int64_t *indptr,
                         const int32_t *candidates, int32_t k, int32_t *ids, float *scores, int32_t threads) {
    if (h.cols != w.cols || k < 1) return LSH_INVALID;
    if (!names_rows(indptr, h.rows, candidates, w.rows)) return LSH_OUT_OF_RANGE;
    float *values = malloc((size_t)(indptr[h.rows] + 1) * sizeof *values);
    if (values == NULL) return LSH_NO_MEMORY;
    lsh_status status = lsh_csr_sampled_matmul(h, w, bias, bias_stride, indptr, candidates, values, threads);
    if (status == LSH_OK)
        status = lsh_top_k_ragged(values, indptr, candidates, h.rows, k, ids, scores, threads);
    free(values);
    return status;
}
