#include "lshsample/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lshsample/parallel.h"

enum {
    ROWS = 32,        /* rows of a chunk */
    PLACES = 1 << 16, /* that an entry can name, in a node of any width */
    FETCHED = 32,     /* features whose weights are fetched together */
};

static float weight_of(uint32_t entry) {
    uint32_t bits = entry << 16;
    float weight;
    memcpy(&weight, &bits, sizeof weight);
    return weight;
}

/* ---- arrays from outside ---- */

static int node_is_sound(const lsh_linear *m, int32_t node) {
    int64_t begin = m->feature_begin[node], end = m->feature_begin[node + 1];
    int64_t n_entries = m->entry_begin[node + 1] - m->entry_begin[node];
    int64_t width = m->forest.child_begin[node + 1] - m->forest.child_begin[node];
    const uint32_t *entries = m->entries + m->entry_begin[node];
    int bad = 0;
    if (begin == end) return n_entries == 0;
    if (m->offsets[begin] != 0 || m->features[begin] < 0 || m->features[end - 1] >= m->n_features) return 0;
    for (int64_t i = begin + 1; i < end; i++) bad |= m->features[i] <= m->features[i - 1];
    for (int64_t i = begin + 1; i < end; i++) bad |= m->offsets[i] < m->offsets[i - 1];
    bad |= m->offsets[end - 1] > n_entries;
    for (int64_t i = 0; i < n_entries; i++)
        bad |= (int64_t)(entries[i] >> 16) >= width || (entries[i] & 0x7f80u) == 0x7f80u;
    return !bad;
}

lsh_status lsh_linear_check(const lsh_linear *model, int64_t n_children, int64_t n_pairs, int64_t n_entries,
                            int32_t contents) {
    const lsh_linear *m = model;
    int32_t nodes = m->forest.n_nodes;
    lsh_status status = lsh_forest_check(&m->forest, n_children);
    if (status != LSH_OK) return status;
    if (m->feature_begin[0] || m->entry_begin[0]) return LSH_INVALID;
    if (m->feature_begin[nodes] != n_pairs || m->entry_begin[nodes] != n_entries) return LSH_INVALID;
    for (int32_t node = 0; node < nodes; node++) {
        int64_t pairs = m->feature_begin[node + 1] - m->feature_begin[node];
        int64_t entries = m->entry_begin[node + 1] - m->entry_begin[node];
        if (pairs < 0 || entries < 0 || entries > UINT32_MAX) return LSH_INVALID;
    }
    for (int64_t i = 0; i < n_children; i++)
        if (!isfinite(m->bias[i])) return LSH_INVALID;
    for (int32_t node = 0; node < nodes && contents; node++)
        if (!node_is_sound(m, node)) return LSH_INVALID;
    return LSH_OK;
}

/* ---- search ---- */

typedef struct {
    double score;
    int32_t id; /* of a node or a label */
} candidate;

typedef struct {
    float *margins;  /* (PLACES) */
    double *share;   /* (n_labels): sum over trees of e^score; 0 outside of a row */
    int32_t *labels; /* those of the row that have a share */
    int64_t n_labels;
    candidate *beam, *next; /* of nodes */
    int64_t n_next, next_room;
} workspace;

typedef struct {
    const lsh_linear *model;
    const lsh_csr *x;
    int32_t beam, k;
    int64_t widest;
    int32_t *ids;
    float *scores;
    workspace *spaces;
} search;

static void space_free(workspace *s) {
    free(s->margins);
    free(s->share);
    free(s->labels);
    free(s->beam);
    free(s->next);
}

static int space_open(workspace *s, const search *job) {
    size_t labels = (size_t)job->model->forest.n_labels + 1;
    if (s->margins) return 1;
    s->next_room = job->model->forest.n_nodes;
    if (job->widest * job->beam < s->next_room) s->next_room = job->widest * job->beam;
    space_free(s); /* of what a failed call left */
    s->margins = NULL;
    float *margins = malloc(PLACES * sizeof *margins);
    s->share = calloc(labels, sizeof *s->share);
    s->labels = malloc(labels * sizeof *s->labels);
    s->beam = malloc((size_t)job->beam * sizeof *s->beam);
    s->next = malloc((size_t)(s->next_room + 1) * sizeof *s->next);
    if (!s->share || !s->labels || !s->beam || !s->next) {
        free(margins);
        margins = NULL;
    }
    return (s->margins = margins) != NULL;
}

/* The first place in ascending features[begin .. end) that is not below `feature`. */
static int64_t find(const int32_t *features, int64_t begin, int64_t end, int32_t feature) {
    const int32_t *at = features + begin;
    int64_t n = end - begin;
    while (n > 1) { /* without a branch that could be mispredicted */
        int64_t half = n / 2;
        at += at[half - 1] < feature ? half : 0;
        n -= half;
    }
    return at - features + (n == 1 && *at < feature);
}

static void node_margins(const lsh_linear *m, const lsh_csr *x, int64_t row, int32_t node, float *margins) {
    int64_t first = m->forest.child_begin[node], width = m->forest.child_begin[node + 1] - first;
    int64_t at = m->feature_begin[node], end = m->feature_begin[node + 1];
    int64_t n_entries = m->entry_begin[node + 1] - m->entry_begin[node];
    const uint32_t *entries = m->entries + m->entry_begin[node];
    memcpy(margins, m->bias + first, (size_t)width * sizeof *margins);
    /* Where the weights of a feature lie is random: those of some features are fetched before they are added. */
    int64_t e = x->indptr[row], e_end = x->indptr[row + 1];
    while (e < e_end && at < end) {
        struct {
            int64_t at, begin, stop;
            float value;
        } found[FETCHED];
        int32_t n = 0;
        for (; e < e_end && at < end && n < FETCHED; e++) {
            at = find(m->features, at, end, x->indices[e]);
            if (at == end || m->features[at] != x->indices[e]) continue;
            found[n].at = at;
            found[n++].value = x->values[e];
            __builtin_prefetch(m->offsets + at);
        }
        for (int32_t i = 0; i < n; i++) {
            int64_t next = found[i].at + 1;
            found[i].begin = m->offsets[next - 1];
            found[i].stop = next < end && m->offsets[next] < n_entries ? (int64_t)m->offsets[next] : n_entries;
            if (found[i].begin < found[i].stop) __builtin_prefetch(entries + found[i].begin);
        }
        for (int32_t i = 0; i < n; i++)
            for (int64_t t = found[i].begin; t < found[i].stop; t++)
                margins[entries[t] >> 16] += found[i].value * weight_of(entries[t]);
    }
}

static int precedes(candidate a, candidate b) { return a.score > b.score || (a.score == b.score && a.id < b.id); }

/* Puts a candidate into a list of at most `room`, best first. */
static int64_t insert(candidate *list, int64_t n, int64_t room, candidate one) {
    if (n == room && !precedes(one, list[n - 1])) return n;
    int64_t at = n < room ? n : n - 1;
    for (; at > 0 && precedes(one, list[at - 1]); at--) list[at] = list[at - 1];
    list[at] = one;
    return n < room ? n + 1 : n;
}

/* The children of a node: labels get their shares, nodes become candidates of the next depth. */
static void expand(const search *job, workspace *s, int64_t row, candidate parent) {
    const lsh_linear *m = job->model;
    int64_t first = m->forest.child_begin[parent.id], width = m->forest.child_begin[parent.id + 1] - first;
    node_margins(m, job->x, row, parent.id, s->margins);
    for (int64_t c = 0; c < width; c++) {
        float short_of = s->margins[c] < 1 ? 1 - s->margins[c] : 0;
        double score = parent.score - (double)short_of * short_of;
        int32_t child = m->forest.children[first + c];
        if (child >= 0) {
            s->next[s->n_next++] = (candidate){score, child};
            continue;
        }
        /* A share is never 0 once it is there, so that it also tells which labels are in the list. */
        if (s->share[~child] == 0) s->labels[s->n_labels++] = ~child;
        s->share[~child] += (double)expf((float)score) + 1e-300;
    }
}

static void search_tree(const search *job, workspace *s, int64_t row, int32_t root) {
    int64_t n = 1;
    s->beam[0] = (candidate){0, root};
    while (n > 0) {
        s->n_next = 0;
        for (int64_t i = 0; i < n; i++) expand(job, s, row, s->beam[i]);
        n = 0;
        for (int64_t i = 0; i < s->n_next; i++) n = insert(s->beam, n, job->beam, s->next[i]);
    }
}

static void finish_row(const search *job, workspace *s, int64_t row, candidate *best) {
    int32_t *ids = job->ids + row * job->k;
    float *scores = job->scores + row * job->k;
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_labels; i++) {
        candidate one = {s->share[s->labels[i]], s->labels[i]};
        n = insert(best, n, job->k, one);
    }
    for (int64_t i = 0; i < job->k; i++) {
        ids[i] = i < n ? best[i].id : -1;
        scores[i] = i < n ? (float)log(s->share[best[i].id] / job->model->forest.n_trees) : -INFINITY;
    }
    for (int64_t i = 0; i < s->n_labels; i++) s->share[s->labels[i]] = 0;
    s->n_labels = 0;
}

static lsh_status search_rows(void *context, int64_t begin, int64_t end, int32_t worker) {
    const search *job = context;
    workspace *s = job->spaces + worker;
    if (!space_open(s, job)) return LSH_NO_MEMORY;
    candidate *best = malloc((size_t)job->k * sizeof *best);
    if (!best) return LSH_NO_MEMORY;
    for (int64_t row = begin; row < end; row++) {
        for (int32_t tree = 0; tree < job->model->forest.n_trees; tree++)
            search_tree(job, s, row, job->model->forest.roots[tree]);
        finish_row(job, s, row, best);
    }
    free(best);
    return LSH_OK;
}

lsh_status lsh_linear_top_k(const lsh_linear *model, lsh_csr x, int32_t beam, int32_t k, int32_t threads, int32_t *ids,
                            float *scores) {
    const lsh_forest *f = &model->forest;
    if (beam < 1 || k < 1 || threads < 1 || x.cols > model->n_features) return LSH_INVALID;
    search job = {.model = model, .x = &x, .beam = beam < f->n_nodes ? beam : f->n_nodes, .k = k, .ids = ids,
                  .scores = scores};
    for (int32_t node = 0; node < f->n_nodes; node++) {
        int64_t width = f->child_begin[node + 1] - f->child_begin[node];
        job.widest = width > job.widest ? width : job.widest;
    }
    job.spaces = calloc((size_t)threads, sizeof *job.spaces);
    if (!job.spaces) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(x.rows, ROWS, threads, search_rows, &job);
    for (int32_t i = 0; i < threads; i++) space_free(job.spaces + i);
    free(job.spaces);
    return status;
}
