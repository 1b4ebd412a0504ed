#include "lshsample/label_tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lshsample/parallel.h"
#include "lshsample/rng.h"

lsh_status lsh_forest_check(const lsh_forest *forest, int64_t n_children) {
    const lsh_forest *f = forest;
    if (f->n_trees < 1 || f->n_nodes < f->n_trees || f->n_labels < 0 || f->child_begin[0] != 0) return LSH_INVALID;
    for (int32_t node = 0; node < f->n_nodes; node++) {
        int64_t width = f->child_begin[node + 1] - f->child_begin[node];
        if (width < 0 || width > LSH_MAX_CHILDREN || f->child_begin[node + 1] > n_children) return LSH_INVALID;
    }
    if (f->child_begin[f->n_nodes] != n_children) return LSH_INVALID;
    /* Each node but the roots is the child of one that comes before it, and of no other. */
    uint8_t *has_parent = calloc((size_t)f->n_nodes, 1);
    int32_t *seen_in = malloc((size_t)(f->n_labels + 1) * sizeof *seen_in); /* the last tree that has the label */
    lsh_status status = has_parent && seen_in ? LSH_OK : LSH_NO_MEMORY;
    for (int32_t label = 0; status == LSH_OK && label < f->n_labels; label++) seen_in[label] = -1;
    for (int32_t tree = 0; status == LSH_OK && tree < f->n_trees; tree++) {
        int32_t root = f->roots[tree], end = tree + 1 < f->n_trees ? f->roots[tree + 1] : f->n_nodes;
        if ((tree == 0 && root != 0) || root < 0 || end <= root || end > f->n_nodes) status = LSH_INVALID;
        for (int32_t node = root; status == LSH_OK && node < end; node++) {
            if (has_parent[node] != (node != root)) status = LSH_INVALID;
            for (int64_t c = f->child_begin[node]; status == LSH_OK && c < f->child_begin[node + 1]; c++) {
                int32_t child = f->children[c];
                if (child >= 0) {
                    if (child <= node || child >= end || has_parent[child]) status = LSH_INVALID;
                    else has_parent[child] = 1;
                } else if (~child >= f->n_labels || seen_in[~child] == tree) {
                    status = LSH_INVALID;
                } else {
                    seen_in[~child] = tree;
                }
            }
        }
    }
    free(has_parent);
    free(seen_in);
    return status;
}

typedef struct {
    float score;
    int32_t place;
} scored;

/* Higher scores first, ties by place. */
static int precedes(scored a, scored b) { return a.score > b.score || (a.score == b.score && a.place < b.place); }

static void exchange(scored *a, scored *b) {
    scored t = *a;
    *a = *b;
    *b = t;
}

/* The k first come to the front, in any order (Hoare, CACM 1961; the median of three as pivot). */
static void select_first(scored *a, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2, i = low, j = high;
        if (precedes(a[middle], a[low])) exchange(a + middle, a + low);
        if (precedes(a[high], a[low])) exchange(a + high, a + low);
        if (precedes(a[high], a[middle])) exchange(a + high, a + middle);
        scored pivot = a[middle];
        while (i <= j) {
            while (precedes(a[i], pivot)) i++;
            while (precedes(pivot, a[j])) j--;
            if (i <= j) exchange(a + i++, a + j--);
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else return;
    }
}

typedef struct {
    const lsh_csr *x;
    int32_t n_trees, depth, parts, iterations;
    uint64_t seed;
    int32_t *order;
} order_job;

/* The rows of a part, with the columns that they have renumbered from 0. */
typedef struct {
    int64_t n, columns;
    int64_t *begin;
    int32_t *column, *ids;
    float *value, *means; /* means: of either half, (2, columns); their difference replaces the first */
    scored *scores;
    uint8_t *first; /* whether a row is in the first half */
} part;

static void part_free(part *p) {
    free(p->begin);
    free(p->column);
    free(p->value);
    free(p->means);
    free(p->scores);
    free(p->first);
    free(p->ids);
}

/* `map` has -1 for each column of x, before and after. */
static int part_open(part *p, const lsh_csr *x, const int32_t *ids, int64_t n, int32_t *map) {
    int64_t nonzeros = 0, columns = 0, at = 0;
    for (int64_t i = 0; i < n; i++) nonzeros += x->indptr[ids[i] + 1] - x->indptr[ids[i]];
    *p = (part){.n = n};
    p->begin = malloc((size_t)(n + 1) * sizeof *p->begin);
    p->column = malloc((size_t)(nonzeros + 1) * sizeof *p->column);
    p->value = malloc((size_t)(nonzeros + 1) * sizeof *p->value);
    p->scores = malloc((size_t)n * sizeof *p->scores);
    p->first = calloc((size_t)n, 1);
    p->ids = malloc((size_t)n * sizeof *p->ids);
    if (!p->begin || !p->column || !p->value || !p->scores || !p->first || !p->ids) return 0;
    memcpy(p->ids, ids, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++) {
        p->begin[i] = at;
        for (int64_t e = x->indptr[ids[i]]; e < x->indptr[ids[i] + 1]; e++, at++) {
            int32_t *local = map + x->indices[e];
            if (*local < 0) *local = (int32_t)columns++;
            p->column[at] = *local;
            p->value[at] = x->values[e];
        }
    }
    p->begin[n] = at;
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = x->indptr[ids[i]]; e < x->indptr[ids[i] + 1]; e++) map[x->indices[e]] = -1;
    p->columns = columns;
    p->means = malloc((size_t)(2 * columns + 1) * sizeof *p->means);
    return p->means != NULL;
}

static void add_row(const part *p, int64_t row, float *sum) {
    for (int64_t e = p->begin[row]; e < p->begin[row + 1]; e++) sum[p->column[e]] += p->value[e];
}

static float inverse_length(const float *v, int64_t n) {
    double square = 0;
    for (int64_t i = 0; i < n; i++) square += (double)v[i] * v[i];
    return square > 0 ? (float)(1 / sqrt(square)) : 0;
}

/* The difference of both means, each of length 1. */
static void subtract_means(const part *p) {
    float *a = p->means, *b = p->means + p->columns;
    float a_scale = inverse_length(a, p->columns), b_scale = inverse_length(b, p->columns);
    for (int64_t c = 0; c < p->columns; c++) a[c] = a[c] * a_scale - b[c] * b_scale;
}

/* The half of the rows with the largest inner products with the difference of the means; returns how many rows changed
 * sides. */
static int64_t assign_halves(const part *p) {
    int64_t moved = 0;
    for (int64_t i = 0; i < p->n; i++) {
        float score = 0;
        for (int64_t e = p->begin[i]; e < p->begin[i + 1]; e++) score += p->value[e] * p->means[p->column[e]];
        p->scores[i] = (scored){score, (int32_t)i};
    }
    select_first(p->scores, p->n, p->n / 2);
    for (int64_t i = 0; i < p->n; i++) {
        uint8_t *first = p->first + p->scores[i].place;
        moved += *first != (i < p->n / 2);
        *first = i < p->n / 2;
    }
    return moved;
}

static void sum_halves(const part *p) {
    memset(p->means, 0, (size_t)(2 * p->columns) * sizeof *p->means);
    for (int64_t i = 0; i < p->n; i++) add_row(p, i, p->means + (p->first[i] ? 0 : p->columns));
}

static lsh_status halve(const order_job *job, int64_t tree, int64_t index, int32_t *ids, int64_t n, int32_t *map) {
    part p;
    uint32_t words[4];
    if (n < 2) return LSH_OK;
    lsh_status status = part_open(&p, job->x, ids, n, map) ? LSH_OK : LSH_NO_MEMORY;
    if (status == LSH_OK) {
        lsh_philox(job->seed, LSH_DRAW_LABELS, (uint32_t)tree, (uint64_t)job->depth, (uint32_t)index, words);
        int64_t a = (int64_t)(((uint64_t)words[0] * (uint64_t)n) >> 32);
        int64_t b = (int64_t)(((uint64_t)words[1] * (uint64_t)(n - 1)) >> 32);
        if (b >= a) b++;
        memset(p.means, 0, (size_t)(2 * p.columns) * sizeof *p.means);
        add_row(&p, a, p.means);
        add_row(&p, b, p.means + p.columns);
        for (int32_t i = 0; status == LSH_OK && i < job->iterations; i++) {
            subtract_means(&p);
            int64_t moved = assign_halves(&p);
            if (i > 0 && moved * 200 < n) break; /* the last few rows are not worth the passes */
            sum_halves(&p);
            if (lsh_interrupted()) status = LSH_INTERRUPTED;
        }
        int64_t left = 0, right = n / 2;
        for (int64_t i = 0; i < n; i++) ids[p.first[i] ? left++ : right++] = p.ids[i];
    }
    part_free(&p);
    return status;
}

/* Where part `index` of 2^depth begins, each made of the one before it by n / 2. */
static void bounds_of(int64_t n, int32_t depth, int64_t index, int64_t *begin, int64_t *size) {
    *begin = 0;
    for (int32_t bit = depth - 1; bit >= 0; bit--) {
        int64_t left = n / 2;
        if (index >> bit & 1) {
            *begin += left;
            n -= left;
        } else {
            n = left;
        }
    }
    *size = n;
}

static lsh_status halve_parts(void *context, int64_t begin, int64_t end, int32_t worker) {
    const order_job *job = context;
    lsh_status status = LSH_OK;
    (void)worker;
    int32_t *map = malloc((size_t)(job->x->cols + 1) * sizeof *map);
    if (!map) return LSH_NO_MEMORY;
    memset(map, -1, (size_t)job->x->cols * sizeof *map);
    for (int64_t i = begin; i < end && status == LSH_OK; i++) {
        int64_t tree = i / job->parts, index = i % job->parts, first, size;
        bounds_of(job->x->rows, job->depth, index, &first, &size);
        status = halve(job, tree, index, job->order + tree * job->x->rows + first, size, map);
    }
    free(map);
    return status;
}

lsh_status lsh_label_order(lsh_csr vectors, int32_t n_trees, int32_t depth, int32_t iterations, uint64_t seed,
                           int32_t threads, int32_t *order) {
    if (n_trees < 1 || depth < 0 || depth > 30 || iterations < 1 || vectors.rows > INT32_MAX) return LSH_INVALID;
    for (int64_t i = 0; i < n_trees * vectors.rows; i++) order[i] = (int32_t)(i % vectors.rows);
    for (int32_t d = 0; d < depth; d++) {
        order_job job = {&vectors, n_trees, d, 1 << d, iterations, seed, order};
        int64_t parts = (int64_t)n_trees << d, grain = parts / 256 + 1;
        lsh_status status = lsh_parallel_for(parts, grain, threads, halve_parts, &job);
        if (status != LSH_OK) return status;
    }
    return LSH_OK;
}
