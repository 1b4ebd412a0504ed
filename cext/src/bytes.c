#include "lshsample/bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dense.h"
#include "heap.h"
#include "kernels.h"
#include "lshsample/parallel.h"

enum {
    PANEL = LSH_BYTE_PANEL,
    BLOCK_SAMPLES = 512, /* rows of h in 8 bits that stay in L2 */
    PART_SAMPLES = 128,  /* rows of a block that one task takes through one range */
    MAX_RANGES = 32,     /* ranges of labels that the work is cut into */
    RANGE_LABELS = 2048, /* labels that a range has at least, on average */
    MAKE_PANELS = 8,     /* panels made at once */
    WAITING = 2 * PANEL, /* candidates of a row that wait: the best of many are scored first */
    SCORED = 8           /* candidates scored at once: at most the narrowest panel of any instruction set */
};

/* What float32 may lose of a sum of d products, and of its bound, as a part of the sum of magnitudes: at most
 * (d + 1) 2^-24 (Higham 2002, section 3.1) each way, doubled, which leaves room for the terms themselves. */
static double float_loss(int64_t d) { return (double)(2 * d + 64) * 0x1p-24; }

/* Rounds n values to integers; the scale, and the norms of the values and of what rounding leaves. */
static float round_values(const float *values, int64_t n, int32_t *integers, double *norm, double *left) {
    float largest = 0;
    int finite = 1;
    for (int64_t p = 0; p < n; p++) {
        float magnitude = fabsf(values[p]);
        finite &= isfinite(magnitude) != 0;
        largest = magnitude > largest ? magnitude : largest;
    }
    float scale = largest / 127, inverse = scale > 0 ? 1 / scale : 0;
    finite &= isfinite(inverse) != 0;
    double squares = 0, rest = 0;
    for (int64_t p = 0; p < n; p++) {
        integers[p] = finite ? (int32_t)lrintf(fminf(fmaxf(values[p] * inverse, -127), 127)) : 0;
        double remainder = (double)values[p] - (double)scale * integers[p];
        squares += (double)values[p] * values[p];
        rest += remainder * remainder;
    }
    /* Values that are not finite, or too small to be divided by, have no useful bound: it is infinite. */
    *norm = finite ? sqrt(squares) : INFINITY;
    *left = finite ? sqrt(rest) : INFINITY;
    return finite ? scale : 0;
}

typedef struct {
    const lsh_row_kernels *weights; /* NULL with scales */
    lsh_dense w;
    const float *scales, *bias;
    int64_t bias_stride;
    lsh_byte_rows rows;
} making;

static inline int32_t label_at(const lsh_byte_rows *rows, int64_t place) {
    return rows->ids ? rows->ids[place] : (int32_t)place;
}

/* The integers and the scale of a row that has been rounded, as round_values gives them of its weights. */
static float take_values(const int8_t *given, float scale, int64_t n, int32_t *integers, double *norm, double *left) {
    double squares = 0, rest = 0;
    for (int64_t p = 0; p < n; p++) {
        integers[p] = given[p];
        double value = scale * (float)given[p], remainder = value - (double)scale * given[p];
        squares += value * value;
        rest += remainder * remainder;
    }
    int finite = isfinite(squares) != 0;
    *norm = finite ? sqrt(squares) : INFINITY;
    *left = finite ? sqrt(rest) : INFINITY;
    return scale;
}

/* The part of a row along the direction u, 1 / inverse long, and the norm of the rest, a little more than it is. */
static void take_parts(const float *row, const float *u, double inverse, int64_t n, double *along, double *across) {
    enum { LANES = 8 };
    double products[LANES] = {0}, squares[LANES] = {0};
    for (int64_t p = 0; p < n; p += LANES)
        for (int64_t t = 0; t < LANES && p + t < n; t++) {
            products[t] += (double)row[p + t] * u[p + t];
            squares[t] += (double)row[p + t] * row[p + t];
        }
    for (int t = 1; t < LANES; t++) products[0] += products[t], squares[0] += squares[t];
    *along = products[0] * inverse;
    double rest = squares[0] - *along * *along;
    *across = sqrt(rest > 0 ? rest : 0) + 1e-6 * sqrt(squares[0]); /* what was lost in the difference */
}

/* 1 / |u|; 0 of a direction that is 0. */
static double inverse_length(const float *u, int64_t n) {
    double squares = 0;
    for (int64_t p = 0; p < n; p++) squares += (double)u[p] * u[p];
    return squares > 0 ? 1 / sqrt(squares) : 0;
}

static lsh_status make_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const making *s = context;
    int64_t d = s->w.cols, quads = (d + 3) / 4;
    float *row = malloc((size_t)(d + 1) * sizeof *row);
    int32_t *integers = malloc((size_t)(d + 1) * sizeof *integers);
    lsh_status status = row && integers ? LSH_OK : LSH_NO_MEMORY;
    for (int64_t panel = begin; panel < end && status == LSH_OK; panel++) {
        int8_t *values = s->rows.values + panel * quads * 4 * PANEL;
        float *terms = s->rows.terms + panel * 4 * PANEL;
        memset(values, 0, (size_t)(quads * 4 * PANEL));
        for (int64_t j = 0, place = panel * PANEL; j < PANEL; j++, place++) {
            double norm = 0, left = 0, bias = -INFINITY;
            float scale = 0;
            int32_t sum = 0;
            if (place < s->w.rows) {
                int64_t label = label_at(&s->rows, place);
                if (s->scales) {
                    const int8_t *given = (const int8_t *)lsh_element(s->w, 1, label, 0);
                    scale = take_values(given, s->scales[label], d, integers, &norm, &left);
                } else {
                    s->weights->load(lsh_element(s->w, s->weights->bytes, label, 0), d, row);
                    scale = round_values(row, d, integers, &norm, &left);
                }
                for (int64_t p = 0; p < d; p++) {
                    values[(p / 4 * PANEL + j) * 4 + p % 4] = (int8_t)integers[p];
                    sum += integers[p];
                }
                bias = s->bias ? s->bias[label * s->bias_stride] : 0;
                bias += fabs(bias) * float_loss(d);
                left += norm * float_loss(d) + 1e-30;
                norm += 1e-30;
            }
            s->rows.offsets[place] = -128 * sum;
            terms[j] = scale;
            terms[PANEL + j] = (float)bias;
            terms[2 * PANEL + j] = (float)left;
            terms[3 * PANEL + j] = (float)norm;
        }
    }
    free(row);
    free(integers);
    return status;
}

lsh_status lsh_byte_rows_make(lsh_dense w, const float *scales, const float *bias, int64_t bias_stride,
                              lsh_byte_rows rows, int32_t threads) {
    const lsh_row_kernels *weights = lsh_row_kernels_for(lsh_kernels_current(), w.dtype);
    int known = scales ? w.dtype == LSH_INT8 : weights != NULL;
    if (!known || w.cols > LSH_BYTE_DEPTH) return LSH_INVALID;
    making s = {weights, w, scales, bias, bias_stride, rows};
    return lsh_parallel_for((w.rows + PANEL - 1) / PANEL, MAKE_PANELS, threads, make_chunk, &s);
}

typedef struct {
    const lsh_row_kernels *weights;
    lsh_dense w;
    const float *bias, *direction;
    int64_t bias_stride;
    float *limits;
} limiting;

static lsh_status limits_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const limiting *s = context;
    int64_t d = s->w.cols;
    float *row = malloc((size_t)(d + 1) * sizeof *row);
    if (!row) return LSH_NO_MEMORY;
    double inverse = inverse_length(s->direction, d), loss = float_loss(d);
    for (int64_t i = begin; i < end; i++) {
        double along, across, bias = s->bias ? s->bias[i * s->bias_stride] : 0;
        s->weights->load(lsh_element(s->w, s->weights->bytes, i, 0), d, row);
        take_parts(row, s->direction, inverse, d, &along, &across);
        float *limits = s->limits + i * LSH_BYTE_LIMITS;
        limits[0] = (float)along;
        limits[1] = (float)-along;
        limits[2] = (float)across;
        limits[3] = (float)((fabs(along) + across) * loss + 1e-30);
        limits[4] = (float)(bias + fabs(bias) * loss);
    }
    free(row);
    return LSH_OK;
}

lsh_status lsh_byte_row_limits(lsh_dense w, const float *bias, int64_t bias_stride, const float *direction,
                               float *limits, int32_t threads) {
    const lsh_row_kernels *weights = lsh_row_kernels_for(lsh_kernels_current(), w.dtype);
    if (!weights) return LSH_INVALID;
    limiting s = {weights, w, bias, direction, bias_stride, limits};
    return lsh_parallel_for(w.rows, MAKE_PANELS * PANEL, threads, limits_chunk, &s);
}

typedef struct {
    const lsh_kernels *kernels;
    const lsh_row_kernels *weights; /* NULL where the weights are those of the copy */
    lsh_byte_panel *panel;
    lsh_dense h, w; /* h: one block */
    const float *bias;
    int64_t bias_stride, quads, panels, all_ranges, ranges, begin_range, block;
    lsh_byte_rows rows;
    int32_t k;
    uint8_t *bytes;          /* (block, 4 * quads) */
    lsh_byte_query *queries; /* (block); the threshold is the k-th best score of earlier ranges */
    float *parts;            /* (LSH_BYTE_LIMITS - 1, block): what a panel's limits are multiplied by */
    float *scores;           /* (ranges, block, k) */
    int32_t *ids;
    int64_t *scored; /* (tasks) */
    float *out_scores;
    int32_t *out_ids;
} search;

/* Candidates of a range that wait, for each row of a part of the block, which begins at row `begin`. */
typedef struct {
    lsh_byte_query queries[PART_SAMPLES], chosen_queries[PART_SAMPLES];
    float thresholds[PART_SAMPLES]; /* those of the queries */
    uint8_t chosen[PART_SAMPLES];   /* the rows that a panel is read for */
    int64_t n_chosen;
    uint8_t *bytes, held[PART_SAMPLES]; /* theirs, where they are not all, and whose are there */
    uint32_t above[PART_SAMPLES];
    float panel_bounds[PART_SAMPLES * PANEL];
    float bounds[PART_SAMPLES][WAITING];
    int32_t places[PART_SAMPLES][WAITING];
    uint8_t n[PART_SAMPLES];
    int64_t begin, rows, scored;
} range_state;

/* Where the best labels come first, ranges grow, so that those by which all others are judged are soon done. */
static int64_t range_begin(const search *s, int64_t range) {
    int64_t share = s->panels * range / s->all_ranges;
    return s->rows.limits ? share * range / s->all_ranges : share;
}

static heap range_heap(const search *s, int64_t range, int64_t sample) {
    int64_t at = (range * s->block + sample) * s->k;
    return (heap){s->scores + at, s->ids + at, s->k};
}

static lsh_status round_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const search *s = context;
    int64_t d = s->h.cols;
    int32_t *integers = malloc((size_t)(d + 1) * sizeof *integers);
    if (!integers) return LSH_NO_MEMORY;
    double inverse = s->rows.limits ? inverse_length(s->rows.direction, d) : 0;
    for (int64_t i = begin; i < end; i++) {
        double norm, left;
        float scale = round_values(lsh_float_row(s->h, i), d, integers, &norm, &left);
        uint8_t *u = s->bytes + i * 4 * s->quads;
        memset(u, 128, (size_t)(4 * s->quads));
        for (int64_t p = 0; p < d; p++) u[p] = (uint8_t)(integers[p] + 128);
        double loss = 1 + float_loss(d);
        /* A label's |scale q| is at most its norm and its remainder. Nothing is 0: infinite bounds stay infinite. */
        s->queries[i] = (lsh_byte_query){.scale = scale, .norm = (float)((norm + left) * loss + 1e-30),
                                         .error = (float)(left * loss + norm * 0x1p-22 + 1e-30),
                                         .threshold = -INFINITY};
        if (!s->rows.limits) continue;
        double along, across;
        take_parts(lsh_float_row(s->h, i), s->rows.direction, inverse, d, &along, &across);
        double parts[LSH_BYTE_LIMITS - 1] = {along > 0 ? along : 0, along < 0 ? -along : 0, across, norm};
        if (!isfinite(norm)) parts[3] = NAN; /* nothing is skipped */
        for (int t = 0; t < LSH_BYTE_LIMITS - 1; t++) s->parts[t * s->block + i] = (float)parts[t];
    }
    free(integers);
    return LSH_OK;
}

/* Terms begin .. begin + depth of the weights in n <= SCORED places of the copy, as columns of a panel. */
static void unpack_columns(const search *s, const int32_t *places, int64_t n, int64_t begin, int64_t depth,
                           float *panel) {
    int64_t width = s->kernels->panel_columns;
    const int8_t *values[SCORED];
    float scales[SCORED] = {0};
    for (int64_t t = 0; t < SCORED; t++) {
        int64_t place = places[t < n ? t : 0], at = place / PANEL, j = place % PANEL;
        values[t] = s->rows.values + ((at * s->quads + begin / 4) * PANEL + j) * 4;
        if (t < n) scales[t] = s->rows.terms[at * 4 * PANEL + j];
    }
    for (int64_t p = 0; p < depth; p += 4) {
        int32_t quads[SCORED];
        for (int t = 0; t < SCORED; t++) memcpy(quads + t, values[t] + p * PANEL, sizeof *quads);
        for (int byte = 0; byte < 4 && p + byte < depth; byte++) {
            float *to = panel + (p + byte) * width;
            for (int t = 0; t < SCORED; t++)
                to[t] = scales[t] * (float)((int32_t)((uint32_t)quads[t] << (24 - 8 * byte)) >> 24);
        }
    }
}

/* Scores the labels in n <= SCORED places for row i, as lsh_top_k does: the same sums in the same order. */
static void score(const search *s, int64_t i, const int32_t *places, int64_t n, heap best) {
    _Alignas(64) float panel[LSH_PANEL_DEPTH * LSH_PANEL_COLUMNS], first[LSH_PANEL_COLUMNS] = {0};
    float found[LSH_PANEL_COLUMNS];
    int32_t ids[SCORED];
    int64_t width = s->kernels->panel_columns;
    for (int64_t t = 0; t < n; t++) ids[t] = label_at(&s->rows, places[t]);
    for (int64_t t = 0; s->bias && t < n; t++) first[t] = s->bias[ids[t] * s->bias_stride];
    if (!s->w.data) memset(panel, 0, sizeof panel); /* of which unpack_columns fills the first columns */
    for (int64_t begin = 0; begin == 0 || begin < s->h.cols; begin += LSH_PANEL_DEPTH) {
        int64_t depth = s->h.cols - begin < LSH_PANEL_DEPTH ? s->h.cols - begin : LSH_PANEL_DEPTH;
        if (s->w.data) {
            const void *w = lsh_element(s->w, s->weights->bytes, 0, begin);
            s->weights->pack_transposed(w, s->w.stride, ids, n, depth, panel);
        } else {
            unpack_columns(s, places, n, begin, depth, panel);
        }
        s->kernels->product_rows(lsh_float_row(s->h, i) + begin, s->h.stride, 1, panel, depth, begin ? NULL : first,
                                 found, width, n);
    }
    for (int64_t t = 0; t < n; t++) heap_offer(best, found[t], ids[t]);
}

/* What bounds must be above: an equal score wins by a smaller id, which may follow where labels are not in order. */
static inline float threshold_of(const search *s, float score) {
    return s->rows.ids ? nextafterf(score, -INFINITY) : score;
}

/* Scores waiting candidates of a row, the highest bounds first, until at most `most` wait. */
static void score_waiting(const search *s, range_state *state, int64_t range, int64_t i, int64_t most) {
    float *bounds = state->bounds[i], *threshold = &state->queries[i].threshold;
    int32_t *places = state->places[i];
    int64_t n = state->n[i];
    heap best = range_heap(s, range, state->begin + i);
    while (n > most) {
        int64_t chosen = n < SCORED ? n : SCORED;
        for (int64_t t = 0; t < chosen; t++) {
            int64_t top = t;
            for (int64_t u = t + 1; u < n; u++) top = bounds[u] > bounds[top] ? u : top;
            int32_t place = places[top];
            float bound = bounds[top];
            places[top] = places[t];
            bounds[top] = bounds[t];
            places[t] = place;
            bounds[t] = bound;
        }
        score(s, state->begin + i, places, chosen, best);
        state->scored += chosen;
        float found = threshold_of(s, best.scores[0]);
        if (found > *threshold) *threshold = state->thresholds[i] = found;
        /* An equal score wins by a smaller id, and ids are no longer in order here. */
        int64_t left = 0;
        for (int64_t t = chosen; t < n; t++) {
            if (!(bounds[t] >= *threshold)) continue;
            places[left] = places[t];
            bounds[left++] = bounds[t];
        }
        n = left;
    }
    state->n[i] = (uint8_t)n;
}

/* Chooses the rows for which a label of a panel may reach the threshold, and brings their bytes together. */
static void choose_rows(const search *s, range_state *state, int64_t panel) {
    const float *limits = s->rows.limits + panel * LSH_BYTE_LIMITS, *restrict thresholds = state->thresholds;
    const float *restrict up = s->parts + state->begin, *restrict down = up + s->block;
    const float *restrict across = down + s->block, *restrict norm = across + s->block;
    float a = limits[0], b = limits[1], c = limits[2], d = limits[3], bias = limits[4];
    int32_t reached[PART_SAMPLES]; /* not bytes, which might alias the rest and keep the loop from vectors */
    for (int64_t i = 0, rows = state->rows; i < rows; i++)
        reached[i] = !(up[i] * a + down[i] * b + across[i] * c + norm[i] * d + bias < thresholds[i]);
    int64_t n = 0, row = 4 * s->quads;
    for (int64_t i = 0; i < state->rows; i++)
        if (reached[i]) state->chosen[n++] = (uint8_t)i;
    state->n_chosen = n;
    if (n == state->rows) return;
    for (int64_t i = 0; i < n; i++) {
        uint8_t at = state->chosen[i];
        state->chosen_queries[i] = state->queries[at];
        if (state->held[i] == at) continue;
        memcpy(state->bytes + i * row, s->bytes + (state->begin + at) * row, (size_t)row);
        state->held[i] = at;
    }
}

static lsh_status search_range(const search *s, range_state *state, int64_t range) {
    memset(state->n, 0, sizeof state->n);
    memset(state->held, UINT8_MAX, sizeof state->held);
    for (int64_t i = 0; i < state->rows; i++) {
        heap_clear(range_heap(s, range, state->begin + i));
        state->queries[i] = s->queries[state->begin + i];
        state->thresholds[i] = state->queries[i].threshold;
        state->chosen[i] = (uint8_t)i;
    }
    const uint8_t *bytes = s->bytes + state->begin * 4 * s->quads;
    state->n_chosen = state->rows;
    for (int64_t panel = range_begin(s, range), end = range_begin(s, range + 1); panel < end; panel++) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        if (s->rows.limits) choose_rows(s, state, panel);
        int all = state->n_chosen == state->rows;
        if (!state->n_chosen) continue;
        s->panel(all ? bytes : state->bytes, state->n_chosen, s->rows.values + panel * s->quads * 4 * PANEL, s->quads,
                 s->rows.offsets + panel * PANEL, s->rows.terms + panel * 4 * PANEL,
                 all ? state->queries : state->chosen_queries, state->above, state->panel_bounds);
        for (int64_t c = 0; c < state->n_chosen; c++) {
            uint32_t above = state->above[c];
            if (!above) continue;
            int64_t i = state->chosen[c];
            if (state->n[i] + __builtin_popcount(above) > WAITING) score_waiting(s, state, range, i, PANEL);
            for (; above; above &= above - 1) {
                int32_t place = __builtin_ctz(above), at = state->n[i]++;
                state->bounds[i][at] = state->panel_bounds[c * PANEL + place];
                state->places[i][at] = (int32_t)(panel * PANEL + place);
            }
        }
    }
    for (int64_t i = 0; i < state->rows; i++) score_waiting(s, state, range, i, 0);
    return LSH_OK;
}

/* Tasks: each part of the block with each range from begin_range on. */
static lsh_status range_chunk(void *context, int64_t task, int64_t task_end, int32_t worker) {
    (void)worker;
    const search *s = context;
    int64_t parts = (s->h.rows + PART_SAMPLES - 1) / PART_SAMPLES;
    range_state *state = malloc(sizeof *state);
    uint8_t *bytes = s->rows.limits ? calloc(PART_SAMPLES + LSH_BYTE_SLACK, 4 * (size_t)s->quads + 1) : NULL;
    lsh_status status = state && (bytes || !s->rows.limits) ? LSH_OK : LSH_NO_MEMORY;
    if (state) state->bytes = bytes;
    for (; task < task_end && status == LSH_OK; task++) {
        state->begin = task % parts * PART_SAMPLES;
        state->rows = s->h.rows - state->begin < PART_SAMPLES ? s->h.rows - state->begin : PART_SAMPLES;
        state->scored = 0;
        status = search_range(s, state, s->begin_range + task / parts);
        s->scored[task] += state->scored;
    }
    free(bytes);
    free(state);
    return status;
}

/* The k best of the ranges so far; the worst of them is the floor of those that follow. */
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
        s->queries[i].threshold = threshold_of(s, best.scores[0]);
        heap_finish(best);
    }
    return LSH_OK;
}

/* Ranges from .. to, then the best of all ranges before `to`. */
static lsh_status search_ranges(search *s, int64_t from, int64_t to, int32_t threads) {
    s->begin_range = from;
    s->ranges = to;
    int64_t parts = (s->h.rows + PART_SAMPLES - 1) / PART_SAMPLES;
    lsh_status status = lsh_parallel_for((to - from) * parts, 1, threads, range_chunk, s);
    return status == LSH_OK ? lsh_parallel_for(s->h.rows, 16, threads, merge_chunk, s) : status;
}

lsh_status lsh_byte_top_k(lsh_dense h, lsh_dense w, const float *bias, int64_t bias_stride, lsh_byte_rows rows,
                          int32_t k, int32_t *ids, float *scores, int64_t *scored, int32_t threads) {
    if (h.cols != w.cols || k < 1 || w.rows < 1 || w.rows > INT32_MAX || w.cols > LSH_BYTE_DEPTH) return LSH_INVALID;
    search s = {.w = w, .bias = bias, .bias_stride = bias_stride, .rows = rows, .k = k, .quads = (w.cols + 3) / 4};
    s.kernels = lsh_kernels_current();
    s.weights = w.data ? lsh_row_kernels_for(s.kernels, w.dtype) : NULL;
    if ((w.data && !s.weights) || h.dtype != LSH_FLOAT32) return LSH_INVALID;
    s.panel = lsh_byte_panel_current();
    s.panels = (w.rows + PANEL - 1) / PANEL;
    int64_t ranges = (w.rows + RANGE_LABELS - 1) / RANGE_LABELS;
    s.all_ranges = ranges = ranges < MAX_RANGES ? ranges : MAX_RANGES;
    s.block = h.rows < BLOCK_SAMPLES ? h.rows : BLOCK_SAMPLES;
    size_t places = (size_t)(ranges * s.block) * (size_t)k + 1, block = (size_t)s.block + 1;
    int64_t counts[MAX_RANGES * (BLOCK_SAMPLES / PART_SAMPLES)] = {0};
    s.scored = counts;
    s.scores = malloc(places * sizeof *s.scores);
    s.ids = malloc(places * sizeof *s.ids);
    s.bytes = calloc(block + LSH_BYTE_SLACK, 4 * (size_t)s.quads + 1);
    s.queries = malloc(block * sizeof *s.queries);
    s.parts = malloc(block * (LSH_BYTE_LIMITS - 1) * sizeof *s.parts);
    lsh_status status = s.scores && s.ids && s.bytes && s.queries && s.parts ? LSH_OK : LSH_NO_MEMORY;
    for (int64_t i = 0; i < h.rows && status == LSH_OK; i += s.block) {
        s.h = h;
        s.h.data = lsh_float_row(h, i);
        s.h.rows = h.rows - i < s.block ? h.rows - i : s.block;
        s.out_ids = ids + i * k;
        s.out_scores = scores + i * k;
        status = lsh_parallel_for(s.h.rows, 16, threads, round_chunk, &s);
        /* As many ranges again as have been searched: each time the thresholds rise, and few labels pass them. */
        for (int64_t from = 0, to = 1; from < ranges && status == LSH_OK;) {
            status = search_ranges(&s, from, to, threads);
            from = to;
            to = 2 * to < ranges ? 2 * to : ranges;
        }
    }
    *scored = 0;
    for (size_t task = 0; task < sizeof counts / sizeof *counts; task++) *scored += counts[task];
    free(s.scores);
    free(s.ids);
    free(s.bytes);
    free(s.queries);
    free(s.parts);
    return status;
}
