#include "lshsample/linear_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "lshsample/parallel.h"
#include "lshsample/rng.h"

enum {
    MAX_THREADS = 256,
    STEPS = 4096,        /* rows between two looks at interrupts */
    ITEM_SIZE = 1 << 21, /* nonzeros times blocks of an item, at most where it has several blocks */
    RENUMBER = 8         /* blocks whose training outweighs by far that of renumbering their node's features */
};

/* The weights of a trained block: for each feature that has some, its lanes as bits and their values. */
typedef struct {
    int64_t n_features, n_values;
    int32_t *features;
    uint16_t *lanes;
    float *values;
    float bias[LSH_LANES];
} block;

typedef struct {
    int32_t node, first, last; /* blocks first .. last - 1 of the node */
    int64_t size;
} item;

/* The rows of a node with features renumbered from 0, in the order in which they first occur, and the state of one block.
 * Buffers are used again: new ones cost more page faults than the training of a small node. */
typedef struct {
    int32_t node;
    int64_t n_rows, n_features;
    int32_t *map;      /* (all features): -1 */
    int32_t *original; /* the features by their new numbers */
    int64_t *begin;
    int32_t *features, *order;
    float *values, *squares, *alpha, *weights;
    uint16_t *positive;
    size_t room[9];
} workspace;

struct lsh_linear_training {
    lsh_csr x, y;
    lsh_forest forest;
    const float *positive_weight;
    lsh_linear_options options;
    int64_t *row_begin;       /* (n_nodes + 1): the rows of a node */
    int32_t *rows;
    int64_t *positive_begin;  /* (rows of all nodes + 1) */
    uint16_t *positives;      /* places of children */
    int64_t *block_begin;     /* (n_nodes + 1) */
    block *blocks;
    item *items;
    int64_t n_items;
    workspace *spaces[MAX_THREADS];
};

static int64_t width_of(const lsh_forest *f, int32_t node) { return f->child_begin[node + 1] - f->child_begin[node]; }

/* ---- which rows and which positive children a node has ---- */

typedef struct {
    int32_t *leaf, *place;          /* of each label in the tree; leaf -1 where it has none */
    int32_t *parent, *parent_place; /* of each node; -1 in a root */
    int32_t *last_row;              /* the row that a node was given last */
    int64_t *n_rows, *n_positives;  /* while counting; then where the next ones go */
} routing;

static void routing_free(routing *r) {
    free(r->leaf);
    free(r->place);
    free(r->parent);
    free(r->parent_place);
    free(r->last_row);
    free(r->n_rows);
    free(r->n_positives);
}

static int routing_open(routing *r, const lsh_forest *f) {
    size_t labels = (size_t)f->n_labels + 1, nodes = (size_t)f->n_nodes + 1;
    r->leaf = malloc(labels * sizeof *r->leaf);
    r->place = malloc(labels * sizeof *r->place);
    r->parent = malloc(nodes * sizeof *r->parent);
    r->parent_place = malloc(nodes * sizeof *r->parent_place);
    r->last_row = malloc(nodes * sizeof *r->last_row);
    r->n_rows = calloc(nodes, sizeof *r->n_rows);
    r->n_positives = calloc(nodes, sizeof *r->n_positives);
    if (!r->leaf || !r->place || !r->parent || !r->parent_place || !r->last_row || !r->n_rows || !r->n_positives)
        return 0;
    for (int32_t node = 0; node < f->n_nodes; node++) r->parent[node] = -1;
    for (int32_t node = 0; node < f->n_nodes; node++)
        for (int64_t c = f->child_begin[node]; c < f->child_begin[node + 1]; c++)
            if (f->children[c] >= 0) {
                r->parent[f->children[c]] = node;
                r->parent_place[f->children[c]] = (int32_t)(c - f->child_begin[node]);
            }
    return 1;
}

static void routing_to_tree(routing *r, const lsh_forest *f, int32_t tree) {
    int32_t end = tree + 1 < f->n_trees ? f->roots[tree + 1] : f->n_nodes;
    for (int32_t label = 0; label < f->n_labels; label++) r->leaf[label] = -1;
    for (int32_t node = f->roots[tree]; node < end; node++)
        for (int64_t c = f->child_begin[node]; c < f->child_begin[node + 1]; c++)
            if (f->children[c] < 0) {
                r->leaf[~f->children[c]] = node;
                r->place[~f->children[c]] = (int32_t)(c - f->child_begin[node]);
            }
}

/* Visits each pair of a row and a node of its labels' paths; counts them, or writes them where `rows` are given. */
static void route(routing *r, const lsh_linear_training *t, int fill) {
    const lsh_forest *f = &t->forest;
    for (int32_t node = 0; node < f->n_nodes; node++) r->last_row[node] = -1;
    for (int32_t tree = 0; tree < f->n_trees; tree++) {
        int32_t root = f->roots[tree];
        routing_to_tree(r, f, tree);
        for (int64_t row = 0; row < t->y.rows; row++) {
            for (int64_t e = t->y.indptr[row]; e <= t->y.indptr[row + 1]; e++) {
                /* After its labels each row visits the root: it has all rows, also those without labels. */
                int with_label = e < t->y.indptr[row + 1];
                int32_t node = with_label ? r->leaf[t->y.indices[e]] : root;
                int32_t place = with_label && node >= 0 ? r->place[t->y.indices[e]] : -1;
                for (; node >= 0; place = r->parent_place[node], node = r->parent[node]) {
                    if (r->last_row[node] != row) {
                        r->last_row[node] = (int32_t)row;
                        if (fill) {
                            t->rows[r->n_rows[node]] = (int32_t)row;
                            t->positive_begin[r->n_rows[node]] = r->n_positives[node];
                        }
                        r->n_rows[node]++;
                    }
                    if (place < 0) break;
                    if (fill) t->positives[r->n_positives[node]] = (uint16_t)place;
                    r->n_positives[node]++;
                }
            }
        }
    }
}

/* Sizes become places: element i the sum of those before it. Returns the sum of all. */
static int64_t sums_before(int64_t *sizes, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i <= n; i++) {
        int64_t size = i < n ? sizes[i] : 0;
        sizes[i] = sum;
        sum += size;
    }
    return sum;
}

static lsh_status assign_rows(lsh_linear_training *t) {
    routing r = {0};
    size_t nodes = (size_t)t->forest.n_nodes + 1;
    lsh_status status = LSH_NO_MEMORY;
    if (routing_open(&r, &t->forest)) {
        route(&r, t, 0);
        int64_t n_rows = sums_before(r.n_rows, t->forest.n_nodes);
        int64_t n_positives = sums_before(r.n_positives, t->forest.n_nodes);
        t->row_begin = malloc(nodes * sizeof *t->row_begin);
        t->rows = malloc((size_t)(n_rows + 1) * sizeof *t->rows);
        t->positive_begin = malloc((size_t)(n_rows + 1) * sizeof *t->positive_begin);
        t->positives = malloc((size_t)(n_positives + 1) * sizeof *t->positives);
        if (t->row_begin && t->rows && t->positive_begin && t->positives) {
            memcpy(t->row_begin, r.n_rows, nodes * sizeof *t->row_begin);
            t->positive_begin[n_rows] = n_positives;
            route(&r, t, 1);
            status = LSH_OK;
        }
    }
    routing_free(&r);
    return status;
}

/* ---- items ---- */

static int larger_first(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->size != y->size) return x->size > y->size ? -1 : 1;
    if (x->node != y->node) return x->node < y->node ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static lsh_status cut_items(lsh_linear_training *t) {
    const lsh_forest *f = &t->forest;
    size_t nodes = (size_t)f->n_nodes + 1;
    t->block_begin = calloc(nodes, sizeof *t->block_begin);
    if (!t->block_begin) return LSH_NO_MEMORY;
    for (int32_t node = 0; node < f->n_nodes; node++)
        t->block_begin[node] = (width_of(f, node) + LSH_LANES - 1) / LSH_LANES;
    int64_t n_blocks = sums_before(t->block_begin, f->n_nodes);
    t->blocks = calloc((size_t)n_blocks + 1, sizeof *t->blocks);
    t->items = malloc(((size_t)n_blocks + 1) * sizeof *t->items);
    if (!t->blocks || !t->items) return LSH_NO_MEMORY;
    for (int32_t node = 0; node < f->n_nodes; node++) {
        int64_t blocks = t->block_begin[node + 1] - t->block_begin[node], size = 0;
        for (int64_t i = t->row_begin[node]; i < t->row_begin[node + 1]; i++)
            size += t->x.indptr[t->rows[i] + 1] - t->x.indptr[t->rows[i]] + 1;
        int64_t step = size > 0 ? ITEM_SIZE / size : RENUMBER;
        step = step < 1 ? 1 : step > RENUMBER ? RENUMBER : step;
        for (int64_t first = 0; first < blocks; first += step) {
            int64_t last = first + step < blocks ? first + step : blocks;
            t->items[t->n_items++] = (item){node, (int32_t)first, (int32_t)last, size * (last - first)};
        }
    }
    qsort(t->items, (size_t)t->n_items, sizeof *t->items, larger_first);
    return LSH_OK;
}

lsh_status lsh_linear_begin(lsh_csr x, lsh_csr y, const lsh_forest *forest, const float *positive,
                            lsh_linear_options options, lsh_linear_training **training) {
    *training = NULL;
    if (x.rows != y.rows || x.rows > INT32_MAX || y.cols > forest->n_labels || !(options.c > 0) ||
        options.max_epochs < 1 || !(options.tolerance >= 0) || !(options.prune >= 0))
        return LSH_INVALID;
    lsh_linear_training *t = calloc(1, sizeof *t);
    if (!t) return LSH_NO_MEMORY;
    t->x = x;
    t->y = y;
    t->forest = *forest;
    t->positive_weight = positive;
    t->options = options;
    lsh_status status = assign_rows(t);
    if (status == LSH_OK) status = cut_items(t);
    if (status == LSH_OK) *training = t;
    else lsh_linear_end(t);
    return status;
}

int64_t lsh_linear_items(const lsh_linear_training *training, int64_t *sizes) {
    for (int64_t i = 0; sizes && i < training->n_items; i++) sizes[i] = training->items[i].size;
    return training->n_items;
}

static void space_free(workspace *s) {
    void *all[] = {s->map, s->original, s->begin, s->features, s->order, s->values, s->squares, s->alpha, s->weights,
                   s->positive};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(s);
}

void lsh_linear_end(lsh_linear_training *training) {
    lsh_linear_training *t = training;
    if (!t) return;
    int64_t n_blocks = t->blocks ? t->block_begin[t->forest.n_nodes] : 0;
    for (int64_t i = 0; i < n_blocks; i++) {
        free(t->blocks[i].features);
        free(t->blocks[i].lanes);
        free(t->blocks[i].values);
    }
    for (int i = 0; i < MAX_THREADS; i++)
        if (t->spaces[i]) space_free(t->spaces[i]);
    free(t->row_begin);
    free(t->rows);
    free(t->positive_begin);
    free(t->positives);
    free(t->block_begin);
    free(t->blocks);
    free(t->items);
    free(t);
}

/* ---- training ---- */

static workspace *space_of(lsh_linear_training *t, int32_t worker) {
    if (t->spaces[worker]) return t->spaces[worker];
    workspace *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->node = -1;
    s->map = malloc((size_t)(t->x.cols + 1) * sizeof *s->map);
    s->original = malloc((size_t)(t->x.cols + 1) * sizeof *s->original);
    if (!s->map || !s->original) {
        space_free(s);
        return NULL;
    }
    memset(s->map, -1, (size_t)t->x.cols * sizeof *s->map);
    return t->spaces[worker] = s;
}

/* A buffer of at least `bytes`, whose content is lost if it grows; at a cache line, as blocks of weights fill one each. */
static int reserve(void *buffer, size_t *room, size_t bytes) {
    void *old, *grown;
    memcpy(&old, buffer, sizeof old);
    if (bytes <= *room && old) return 1;
    free(old);
    *room = 0;
    bytes = (bytes + bytes / 4 + 127) / 64 * 64;
    grown = aligned_alloc(64, bytes);
    memcpy(buffer, &grown, sizeof grown);
    if (grown) *room = bytes;
    return grown != NULL;
}

static int open_node(const lsh_linear_training *t, workspace *s, int32_t node) {
    if (s->node == node) return 1;
    s->node = -1;
    const int32_t *rows = t->rows + t->row_begin[node];
    int64_t n = t->row_begin[node + 1] - t->row_begin[node], nonzeros = 0, at = 0, count = 0;
    for (int64_t i = 0; i < n; i++) nonzeros += t->x.indptr[rows[i] + 1] - t->x.indptr[rows[i]];
    size_t n_rows = (size_t)n, n_values = (size_t)nonzeros;
    if (!reserve(&s->begin, s->room, (n_rows + 1) * sizeof *s->begin) ||
        !reserve(&s->order, s->room + 1, n_rows * sizeof *s->order) ||
        !reserve(&s->squares, s->room + 2, n_rows * sizeof *s->squares) ||
        !reserve(&s->positive, s->room + 3, n_rows * sizeof *s->positive) ||
        !reserve(&s->alpha, s->room + 4, n_rows * LSH_LANES * sizeof *s->alpha) ||
        !reserve(&s->features, s->room + 5, n_values * sizeof *s->features) ||
        !reserve(&s->values, s->room + 6, n_values * sizeof *s->values))
        return 0;
    for (int64_t i = 0; i < n; i++) {
        double square = 1; /* of the last feature, which all rows have */
        s->begin[i] = at;
        for (int64_t e = t->x.indptr[rows[i]]; e < t->x.indptr[rows[i] + 1]; e++, at++) {
            int32_t *local = s->map + t->x.indices[e];
            if (*local < 0) {
                s->original[count] = t->x.indices[e];
                *local = (int32_t)count++;
            }
            s->features[at] = *local;
            s->values[at] = t->x.values[e];
            square += (double)t->x.values[e] * t->x.values[e];
        }
        s->squares[i] = (float)square;
    }
    s->begin[n] = at;
    for (int64_t i = 0; i < count; i++) s->map[s->original[i]] = -1;
    s->n_rows = n;
    s->n_features = count;
    if (!reserve(&s->weights, s->room + 7, (size_t)(count + 1) * LSH_LANES * sizeof *s->weights)) return 0;
    s->node = node;
    return 1;
}

/* The next number of a stream: xorshift64* (Vigna, ACM TOMS 2016). */
static uint32_t next_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (uint32_t)((x * 0x2545f4914f6cdd1dull) >> 32);
}

static void shuffle(int32_t *order, int64_t n, uint64_t *state) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)(((uint64_t)next_random(state) * (uint64_t)(i + 1)) >> 32);
        int32_t other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
}

static void prepare_block(const lsh_linear_training *t, workspace *s, int32_t number, lsh_hinge *b) {
    int32_t node = s->node;
    int64_t first = (int64_t)number * LSH_LANES, width = width_of(&t->forest, node) - first;
    const float *weight = t->positive_weight + t->forest.child_begin[node] + first;
    float diagonal = 0.5f / t->options.c;
    *b = (lsh_hinge){.begin = s->begin, .features = s->features, .values = s->values, .squares = s->squares,
                     .positive = s->positive, .order = s->order, .active = s->n_rows, .n_features = s->n_features,
                     .weights = s->weights, .alpha = s->alpha, .diagonal = diagonal,
                     .negligible = 0.01f * t->options.tolerance};
    for (int lane = 0; lane < LSH_LANES; lane++) {
        b->live[lane] = lane < width;
        b->positive_diagonal[lane] = lane < width ? diagonal / weight[lane] : diagonal;
    }
    memset(s->weights, 0, (size_t)(s->n_features + 1) * LSH_LANES * sizeof *s->weights);
    memset(s->alpha, 0, (size_t)s->n_rows * LSH_LANES * sizeof *s->alpha);
    int64_t base = t->row_begin[node];
    for (int64_t i = 0; i < s->n_rows; i++) {
        uint32_t lanes = 0;
        /* The positives of the next node begin where this one's end. */
        for (int64_t p = t->positive_begin[base + i]; p < t->positive_begin[base + i + 1]; p++) {
            uint32_t lane = (uint32_t)(t->positives[p] - first);
            if (lane < LSH_LANES) lanes |= 1u << lane;
        }
        s->positive[i] = (uint16_t)lanes;
        s->order[i] = (int32_t)i;
    }
}

static void unbound(lsh_hinge *b) {
    for (int lane = 0; lane < LSH_LANES; lane++) b->bound[lane] = b->live[lane] > 0 ? INFINITY : -INFINITY;
}

static lsh_status solve(const lsh_linear_training *t, const lsh_kernels *kernels, lsh_hinge *b, int64_t n,
                        uint64_t *state) {
    unbound(b);
    for (int32_t epoch = 0; epoch < t->options.max_epochs; epoch++) {
        float largest = 0;
        shuffle(b->order, b->active, state);
        for (int lane = 0; lane < LSH_LANES; lane++) b->largest[lane] = b->upper[lane] = 0;
        /* Rows that leave move others from the end to their places, so a pass is over when it meets the end. */
        for (int64_t from = 0; from < b->active; from += STEPS) {
            kernels->hinge_rows(b, from, from + STEPS);
            if (lsh_interrupted()) return LSH_INTERRUPTED;
        }
        for (int lane = 0; lane < LSH_LANES; lane++) largest = fmaxf(largest, b->largest[lane]);
        if (largest <= t->options.tolerance) {
            if (b->active == n) break;
            b->active = n; /* rows that left may have to come back */
            unbound(b);
            continue;
        }
        for (int lane = 0; lane < LSH_LANES; lane++)
            if (b->live[lane] > 0) b->bound[lane] = b->upper[lane] > 0 ? b->upper[lane] : INFINITY;
    }
    return LSH_OK;
}

static uint32_t lanes_of(const float *weights, float least) {
    uint32_t lanes = 0;
    for (int lane = 0; lane < LSH_LANES; lane++)
        lanes |= (uint32_t)(fabsf(weights[lane]) >= least && weights[lane] != 0) << lane;
    return lanes;
}

static lsh_status keep_weights(const workspace *s, float least, block *out) {
    int64_t n_features = 0, n_values = 0;
    for (int64_t f = 0; f < s->n_features; f++) {
        uint32_t lanes = lanes_of(s->weights + f * LSH_LANES, least);
        n_features += lanes != 0;
        n_values += __builtin_popcount(lanes);
    }
    out->features = malloc((size_t)(n_features + 1) * sizeof *out->features);
    out->lanes = malloc((size_t)(n_features + 1) * sizeof *out->lanes);
    out->values = malloc((size_t)(n_values + 1) * sizeof *out->values);
    if (!out->features || !out->lanes || !out->values) return LSH_NO_MEMORY;
    for (int64_t f = 0; f < s->n_features; f++) {
        const float *weights = s->weights + f * LSH_LANES;
        uint32_t lanes = lanes_of(weights, least);
        if (!lanes) continue;
        out->features[out->n_features] = s->original[f];
        out->lanes[out->n_features++] = (uint16_t)lanes;
        for (int lane = 0; lane < LSH_LANES; lane++)
            if (lanes >> lane & 1) out->values[out->n_values++] = weights[lane];
    }
    memcpy(out->bias, s->weights + s->n_features * LSH_LANES, sizeof out->bias);
    return LSH_OK;
}

typedef struct {
    lsh_linear_training *training;
    const lsh_kernels *kernels;
    int64_t first;
} train_job;

static lsh_status train_items(void *context, int64_t begin, int64_t end, int32_t worker) {
    const train_job *job = context;
    lsh_linear_training *t = job->training;
    workspace *s = space_of(t, worker);
    if (!s) return LSH_NO_MEMORY;
    for (int64_t i = job->first + begin; i < job->first + end; i++) {
        const item *one = t->items + i;
        if (!open_node(t, s, one->node)) return LSH_NO_MEMORY;
        for (int32_t number = one->first; number < one->last; number++) {
            lsh_hinge b;
            uint32_t words[4];
            lsh_philox(t->options.seed, LSH_DRAW_LINEAR, (uint32_t)one->node, 0, (uint32_t)number, words);
            uint64_t state = ((uint64_t)words[0] << 32 | words[1]) | 1;
            prepare_block(t, s, number, &b);
            lsh_status status = solve(t, job->kernels, &b, s->n_rows, &state);
            if (status == LSH_OK)
                status = keep_weights(s, t->options.prune, t->blocks + t->block_begin[one->node] + number);
            if (status != LSH_OK) return status;
        }
    }
    return LSH_OK;
}

lsh_status lsh_linear_train(lsh_linear_training *training, int64_t begin, int64_t end, int32_t threads) {
    if (begin < 0 || end < begin || end > training->n_items || threads < 1) return LSH_INVALID;
    train_job job = {training, lsh_kernels_current(), begin};
    return lsh_parallel_for(end - begin, 1, threads < MAX_THREADS ? threads : MAX_THREADS, train_items, &job);
}

/* ---- packing ---- */

typedef struct {
    const lsh_linear_training *t;
    float least;
    int64_t *pairs, *entries; /* sizes */
    const int64_t *feature_begin, *entry_begin;
    int32_t *features;
    uint32_t *offsets, *out;
    float *bias;
} pack_job;

static uint32_t bfloat16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16; /* to nearest, ties to even; weights are finite */
}

/* A node's features are collected in a set of bits, which yields them in ascending order. */
static lsh_status pack_nodes(void *context, int64_t begin, int64_t end, int32_t worker) {
    const pack_job *job = context;
    const lsh_linear_training *t = job->t;
    int64_t words = t->x.cols / 64 + 1;
    lsh_status status = LSH_OK;
    (void)worker;
    uint64_t *set = calloc((size_t)words, sizeof *set);
    uint32_t *next = malloc((size_t)(t->x.cols + 1) * sizeof *next); /* sizes of features, then places */
    if (!set || !next) status = LSH_NO_MEMORY;
    for (int64_t node = begin; node < end && status == LSH_OK; node++) {
        int64_t n_pairs = 0, n_entries = 0, at = job->features ? job->feature_begin[node] : 0;
        for (int64_t i = t->block_begin[node]; i < t->block_begin[node + 1]; i++) {
            const block *b = t->blocks + i;
            const float *value = b->values;
            for (int64_t f = 0; f < b->n_features; f++) {
                uint32_t kept = 0, feature = (uint32_t)b->features[f];
                for (uint32_t lanes = b->lanes[f]; lanes; lanes &= lanes - 1) kept += fabsf(*value++) >= job->least;
                if (!kept) continue;
                if (!(set[feature / 64] >> feature % 64 & 1)) {
                    set[feature / 64] |= (uint64_t)1 << feature % 64;
                    next[feature] = 0;
                    n_pairs++;
                }
                next[feature] += kept;
                n_entries += kept;
            }
        }
        if (!job->features) {
            job->pairs[node] = n_pairs;
            job->entries[node] = n_entries;
        }
        uint32_t before = 0;
        for (int64_t w = 0; w < words; w++) {
            for (uint64_t bits = set[w]; job->features && bits; bits &= bits - 1, at++) {
                int64_t feature = w * 64 + __builtin_ctzll(bits);
                job->features[at] = (int32_t)feature;
                job->offsets[at] = before;
                before += next[feature];
                next[feature] = job->offsets[at];
            }
            set[w] = 0;
        }
        if (!job->features) continue;
        for (int64_t i = t->block_begin[node], first = 0; i < t->block_begin[node + 1]; i++, first += LSH_LANES) {
            const block *b = t->blocks + i;
            const float *value = b->values;
            uint32_t *out = job->out + job->entry_begin[node];
            for (int64_t f = 0; f < b->n_features; f++)
                for (uint32_t lanes = b->lanes[f]; lanes; lanes &= lanes - 1, value++)
                    if (fabsf(*value) >= job->least)
                        out[next[b->features[f]]++] =
                            (uint32_t)(first + __builtin_ctz(lanes)) << 16 | bfloat16_of(*value);
            int64_t width = width_of(&t->forest, (int32_t)node) - first;
            memcpy(job->bias + t->forest.child_begin[node] + first, b->bias,
                   (size_t)(width < LSH_LANES ? width : LSH_LANES) * sizeof *b->bias);
        }
    }
    free(set);
    free(next);
    return status;
}

static lsh_status pack(const pack_job *job, int32_t threads) {
    int64_t nodes = job->t->forest.n_nodes;
    return lsh_parallel_for(nodes, nodes / 256 + 1, threads, pack_nodes, (void *)job);
}

lsh_status lsh_linear_sizes(const lsh_linear_training *training, float least, int32_t threads, int64_t *pairs,
                            int64_t *entries) {
    pack_job job = {.t = training, .least = least, .pairs = pairs, .entries = entries};
    return pack(&job, threads);
}

lsh_status lsh_linear_pack(const lsh_linear_training *training, float least, const int64_t *feature_begin,
                           const int64_t *entry_begin, int32_t threads, int32_t *features, uint32_t *offsets,
                           uint32_t *entries, float *bias) {
    pack_job job = {.t = training, .least = least, .feature_begin = feature_begin, .entry_begin = entry_begin,
                    .features = features, .offsets = offsets, .out = entries, .bias = bias};
    return pack(&job, threads);
}
