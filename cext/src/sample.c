#include "lshsample/sample.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "active.h"
#include "dense.h"
#include "heap.h"
#include "kernels.h"
#include "lshsample/hashing.h"
#include "lshsample/parallel.h"
#include "lookup.h"
#include "radix.h"

enum { ROWS_PER_CHUNK = 4, RANKED = 512 /* ids that are scored together */ };

struct lsh_workspace {
    int64_t n_items;
    int32_t n_workers;
    lsh_active *workers;
};

typedef struct {
    int64_t n, room;
    int32_t *ids, *counts;
    float *logs;
} chunk;

/* Drawn rows, before the total number of ids is known; a chunk belongs to one thread. */
typedef struct {
    int64_t rows, n_chunks;
    _Atomic int64_t total;           /* ids of all rows that were run */
    int64_t *sizes;                  /* per row, like those below; -1 for a row that was not run */
    double *rest;
    int32_t *zero_probability_stage;
    float *kept;
    chunk *chunks;
} row_results;

lsh_status lsh_workspace_new(int64_t n_items, int32_t threads, lsh_workspace **out) {
    *out = NULL;
    if (n_items < 1 || n_items >= INT32_MAX || threads < 1) return LSH_INVALID;
    lsh_workspace *w = calloc(1, sizeof *w);
    if (w == NULL) return LSH_NO_MEMORY;
    w->n_items = n_items;
    w->workers = calloc((size_t)threads, sizeof *w->workers);
    w->n_workers = w->workers ? threads : 0;
    int done = w->workers != NULL;
    for (int32_t i = 0; i < w->n_workers; i++) {
        w->workers[i].n_items = n_items;
        w->workers[i].slot = calloc((size_t)n_items, sizeof *w->workers[i].slot);
        done &= w->workers[i].slot != NULL;
        active_clear(&w->workers[i]);
    }
    if (!done) {
        lsh_workspace_free(w);
        return LSH_NO_MEMORY;
    }
    *out = w;
    return LSH_OK;
}

void lsh_workspace_free(lsh_workspace *workspace) {
    if (workspace == NULL) return;
    for (int32_t i = 0; i < workspace->n_workers; i++) {
        lsh_active *a = &workspace->workers[i];
        free(a->slot);
        free(a->ids);
        free(a->counts);
        free(a->chance);
        free(a->state);
        free(a->keys);
        free(a->places);
        free(a->buckets);
        free(a->listed);
        free(a->levels);
    }
    free(workspace->workers);
    free(workspace);
}

#define LSH_STAGE_CASE(op, name) \
    case LSH_STAGE_##op: return stage_##name(a, row, stage);

static lsh_status run_stage(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    switch (stage->op) {
    LSH_STAGES(LSH_STAGE_CASE)
    default: return LSH_INVALID;
    }
}

/* ---- output of a row ---- */

static lsh_status chunk_reserve(chunk *c, int64_t more) {
    if (c->n + more <= c->room) return LSH_OK;
    int64_t room = c->n + more > 2 * c->room ? c->n + more : 2 * c->room;
    int32_t *ids = realloc(c->ids, (size_t)room * sizeof *ids);
    if (ids) c->ids = ids;
    int32_t *counts = realloc(c->counts, (size_t)room * sizeof *counts);
    if (counts) c->counts = counts;
    float *logs = realloc(c->logs, (size_t)room * sizeof *logs);
    if (logs) c->logs = logs;
    if (!ids || !counts || !logs) return LSH_NO_MEMORY;
    c->room = room;
    return LSH_OK;
}

static lsh_status emit_ids(lsh_active *a, row_results *results, int64_t row) {
    chunk *c = &results->chunks[row / ROWS_PER_CHUNK];
    if (active_reserve(a, 0) != LSH_OK) return LSH_NO_MEMORY;
    int64_t n = 0;
    const uint8_t *state = a->state;
    uint64_t *listed = a->keys;
    for (int64_t i = 0, size = a->size; i < size; i++) {
        listed[n] = (uint64_t)(uint32_t)a->ids[i] << 32 | (uint64_t)i;
        n += held(state[i]);
    }
    if (chunk_reserve(c, n) != LSH_OK) return LSH_NO_MEMORY;
    const uint64_t *keys = radix_sort(a->keys, a->keys + a->room, n, bits_below(a->n_items));
    float chance = 1, log_chance = 0; /* reused: most ids of a row have one of a few probabilities */
    for (int64_t i = 0; i < n; i++) {
        uint32_t place = (uint32_t)keys[i];
        c->ids[c->n + i] = (int32_t)(keys[i] >> 32);
        c->counts[c->n + i] = (int32_t)a->counts[place];
        if (a->chance[place] != chance) log_chance = logf(chance = a->chance[place]);
        c->logs[c->n + i] = log_chance;
    }
    c->n += n;
    return LSH_OK;
}

/* LSH_FULL after a row with which there are more ids than `max_ids`; the row is complete. */
static lsh_status emit_row(lsh_active *a, row_results *results, int64_t row, const lsh_plan *plan) {
    int64_t n = 0;
    for (int64_t i = 0; i < a->size; i++) n += held(a->state[i]);
    if (!plan->count_only && emit_ids(a, results, row) != LSH_OK) return LSH_NO_MEMORY;
    results->sizes[row] = n;
    results->rest[row] = a->n_distributions || n < a->size ? NAN : a->rest;
    results->zero_probability_stage[row] = active_every_item_possible(a) ? -1 : a->zero_probability_stage;
    results->kept[row] = (float)a->kept;
    int64_t total = atomic_fetch_add(&results->total, n) + n;
    return plan->max_ids > 0 && total > plan->max_ids ? LSH_FULL : LSH_OK;
}

/* ---- search ---- */

static void rank_some(const lsh_search *search, const lsh_row_kernels *rows, int64_t row, const int32_t *ids, int64_t n,
                      heap best) {
    float scores[RANKED];
    rows->dots(lsh_float_row(search->queries, row), search->queries.cols, search->vectors.data, search->vectors.stride,
               ids, n, scores);
    for (int64_t i = 0; i < n; i++) heap_offer(best, scores[i], ids[i]);
}

static lsh_status rank_row(const lsh_active *a, const lsh_search *search, int64_t row) {
    const lsh_row_kernels *rows = lsh_kernels_current()->float32;
    heap best = {search->scores + row * search->k, search->ids + row * search->k, search->k};
    int32_t ids[RANKED];
    int64_t n = 0;
    heap_clear(best);
    for (int64_t i = 0; i < a->size; i++) {
        ids[n] = a->ids[i];
        n += held(a->state[i]) && a->ids[i] < search->vectors.rows;
        if (n < RANKED) continue;
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        rank_some(search, rows, row, ids, n, best);
        n = 0;
    }
    rank_some(search, rows, row, ids, n, best);
    heap_finish(best);
    return LSH_OK;
}

/* ---- run ---- */

typedef struct {
    const lsh_plan *plan;
    lsh_workspace *workspace;
    row_results *results;     /* of a run ... */
    const lsh_search *search; /* ... or NULL, and those of a search */
    int32_t threads;
} run_job;

static lsh_status run_rows(void *context, int64_t begin, int64_t end, int32_t worker) {
    run_job *job = context;
    lsh_active *a = &job->workspace->workers[worker];
    lsh_status status = LSH_OK;
    for (int64_t r = begin; r < end && status == LSH_OK; r++) {
        lsh_row row = {job->plan, r, r, r + 1, 1};
        if (job->plan->pooled) row = (lsh_row){job->plan, 0, 0, job->plan->n_queries, job->threads};
        for (int64_t s = 0; s < job->plan->n_stages && status == LSH_OK; s++)
            status = run_stage(a, &row, &job->plan->stages[s]);
        if (status == LSH_OK)
            status = job->search ? rank_row(a, job->search, r) : emit_row(a, job->results, r, job->plan);
        active_clear(a);
        if (status == LSH_OK && lsh_interrupted()) status = LSH_INTERRUPTED;
    }
    return status;
}

/* The number of rows before the first one that was not run. */
static int64_t rows_run(const row_results *results) {
    int64_t rows = 0;
    while (rows < results->rows && results->sizes[rows] >= 0) rows++;
    return rows;
}

static void results_free(row_results *results) {
    for (int64_t i = 0; results->chunks && i < results->n_chunks; i++) {
        free(results->chunks[i].ids);
        free(results->chunks[i].counts);
        free(results->chunks[i].logs);
    }
    free(results->chunks);
    free(results->sizes);
}

static lsh_status results_new(int64_t rows, row_results *out) {
    size_t n = (size_t)(rows ? rows : 1);
    out->rows = rows;
    out->n_chunks = (rows + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK;
    out->chunks = calloc((size_t)(out->n_chunks ? out->n_chunks : 1), sizeof *out->chunks);
    out->sizes = calloc(n, sizeof *out->sizes + sizeof *out->rest + sizeof *out->zero_probability_stage +
                               sizeof *out->kept);
    if (out->chunks == NULL || out->sizes == NULL) {
        results_free(out);
        return LSH_NO_MEMORY;
    }
    for (int64_t r = 0; r < rows; r++) out->sizes[r] = -1;
    out->rest = (double *)(out->sizes + n);
    out->zero_probability_stage = (int32_t *)(out->rest + n);
    out->kept = (float *)(out->zero_probability_stage + n);
    return LSH_OK;
}

/* ---- the result ---- */

static lsh_drawn *drawn_new(int64_t rows, int64_t total) {
    size_t per_row = sizeof(int64_t) + sizeof(double) + sizeof(int32_t) + sizeof(float);
    size_t per_id = 2 * sizeof(int32_t) + sizeof(float);
    lsh_drawn *d = malloc(sizeof *d + sizeof(int64_t) + (size_t)rows * per_row + (size_t)total * per_id);
    if (d == NULL) return NULL;
    d->rows = rows;
    d->total = total;
    d->indptr = (int64_t *)(d + 1);
    d->rest = (double *)(d->indptr + rows + 1);
    d->ids = (int32_t *)(d->rest + rows);
    d->counts = d->ids + total;
    d->log_inclusion = (float *)(d->counts + total);
    d->zero_probability_stage = (int32_t *)(d->log_inclusion + total);
    d->kept = (float *)(d->zero_probability_stage + rows);
    return d;
}

void lsh_sample_free(lsh_drawn *drawn) { free(drawn); }

typedef struct {
    const row_results *results;
    const lsh_drawn *drawn;
} collect_job;

static lsh_status collect_chunks(void *context, int64_t begin, int64_t end, int32_t worker) {
    const collect_job *job = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        const chunk *c = &job->results->chunks[i];
        int64_t at = job->drawn->indptr[i * ROWS_PER_CHUNK];
        if (c->n == 0) continue;
        memcpy(job->drawn->ids + at, c->ids, (size_t)c->n * sizeof *c->ids);
        memcpy(job->drawn->counts + at, c->counts, (size_t)c->n * sizeof *c->counts);
        memcpy(job->drawn->log_inclusion + at, c->logs, (size_t)c->n * sizeof *c->logs);
    }
    return LSH_OK;
}

static lsh_status collect(const row_results *results, int32_t threads, lsh_drawn **out) {
    int64_t total = 0, rows = rows_run(results), n_chunks = (rows + ROWS_PER_CHUNK - 1) / ROWS_PER_CHUNK;
    for (int64_t i = 0; i < n_chunks; i++) total += results->chunks[i].n;
    lsh_drawn *d = drawn_new(rows, total);
    if (d == NULL) return LSH_NO_MEMORY;
    d->indptr[0] = 0;
    for (int64_t r = 0; r < rows; r++) d->indptr[r + 1] = d->indptr[r] + results->sizes[r];
    if (rows > 0) {
        memcpy(d->rest, results->rest, (size_t)rows * sizeof *d->rest);
        memcpy(d->zero_probability_stage, results->zero_probability_stage,
               (size_t)rows * sizeof *d->zero_probability_stage);
        memcpy(d->kept, results->kept, (size_t)rows * sizeof *d->kept);
    }
    collect_job job = {results, d};
    lsh_status status = lsh_parallel_for(n_chunks, 8, threads, collect_chunks, &job);
    if (status == LSH_OK) *out = d;
    else lsh_sample_free(d);
    return status;
}

/* ---- hashing, before the rows ---- */

/* The codes of a RETRIEVE stage's queries, in new memory, which the caller frees. */
static lsh_status hash_queries(lsh_stage *stage, const lsh_plan *plan, int32_t threads) {
    const lsh_family_kernel *kernel = stage->kernel;
    int64_t rows = stage->dense ? stage->dense->rows : stage->sparse ? stage->sparse->rows : -1;
    if (!reader_valid(stage->reader) || kernel->n_tables != reader_n_tables(stage->reader)) return LSH_INVALID;
    if (rows != plan->n_queries || stage->n_probes < 1) return LSH_INVALID;
    size_t n = (size_t)rows * (size_t)kernel->n_tables * (size_t)stage->n_probes;
    uint32_t *codes = malloc((n ? n : 1) * sizeof *codes);
    if (codes == NULL) return LSH_NO_MEMORY;
    stage->codes = codes;
    int32_t n_probes = stage->n_probes > 1 ? stage->n_probes : 0;
    if (stage->dense) return lsh_hash_dense(kernel, *stage->dense, n_probes, threads, codes);
    return lsh_hash_csr(kernel, *stage->sparse, n_probes, threads, codes);
}

static int hashes(const lsh_stage *stage) { return stage->op == LSH_STAGE_RETRIEVE && stage->kernel != NULL; }

/* Copies of the plan's stages, with the codes of those that hash. *failed is the one whose hashing failed. */
static lsh_status resolve_stages(const lsh_plan *plan, int32_t threads, lsh_stage *stages, int32_t *failed) {
    for (int64_t s = 0; s < plan->n_stages; s++) {
        stages[s] = plan->stages[s];
        if (hashes(&stages[s])) stages[s].codes = NULL;
    }
    for (int64_t s = 0; s < plan->n_stages; s++) {
        if (!hashes(&stages[s])) continue;
        lsh_status status = hash_queries(&stages[s], plan, threads);
        if (status == LSH_OK) continue;
        if (status != LSH_NO_MEMORY) *failed = (int32_t)s;
        return status;
    }
    return LSH_OK;
}

static void free_codes(lsh_stage *stages, int64_t n) {
    for (int64_t s = 0; stages && s < n; s++)
        if (hashes(&stages[s])) free((void *)stages[s].codes);
    free(stages);
}

static lsh_status check_plan(const lsh_plan *plan, const lsh_workspace *workspace, int32_t threads) {
    if (plan->n_items != workspace->n_items || threads < 1 || threads > workspace->n_workers || plan->n_queries < 0)
        return LSH_INVALID;
    for (int64_t s = 0; s < plan->n_stages; s++)
        if (plan->stages[s].ordinal < 0 || plan->stages[s].ordinal > 15) return LSH_INVALID;
    return LSH_OK;
}

/* Hashes, then runs the rows. */
static lsh_status run_plan(run_job job, int64_t rows, int32_t *failed) {
    int64_t n = job.plan->n_stages;
    lsh_stage *stages = calloc((size_t)(n ? n : 1), sizeof *stages);
    lsh_status status = stages ? resolve_stages(job.plan, job.threads, stages, failed) : LSH_NO_MEMORY;
    if (status == LSH_OK) {
        lsh_plan resolved = *job.plan;
        resolved.stages = stages;
        job.plan = &resolved;
        status = lsh_parallel_for(rows, ROWS_PER_CHUNK, job.threads, run_rows, &job);
    }
    free_codes(stages, n);
    return status;
}

lsh_status lsh_sample_run(const lsh_plan *plan, lsh_workspace *workspace, int32_t threads, lsh_drawn **out,
                          int32_t *failed) {
    *out = NULL;
    *failed = -1;
    lsh_status status = check_plan(plan, workspace, threads);
    if (status != LSH_OK) return status;
    row_results results = {0};
    int64_t rows = plan->pooled ? 1 : plan->n_queries;
    if ((status = results_new(rows, &results)) != LSH_OK) return status;
    status = run_plan((run_job){plan, workspace, &results, NULL, threads}, rows, failed);
    if (status == LSH_OK || status == LSH_FULL) status = collect(&results, threads, out);
    results_free(&results);
    return status;
}

lsh_status lsh_sample_search(const lsh_plan *plan, lsh_workspace *workspace, const lsh_search *search, int32_t threads,
                             int32_t *failed) {
    *failed = -1;
    lsh_status status = check_plan(plan, workspace, threads);
    if (status != LSH_OK) return status;
    int fits = search->queries.dtype == LSH_FLOAT32 && search->vectors.dtype == LSH_FLOAT32 &&
               search->queries.rows == plan->n_queries && search->queries.cols == search->vectors.cols;
    if (!fits || search->k < 1 || plan->pooled || plan->count_only || plan->max_ids) return LSH_INVALID;
    return run_plan((run_job){plan, workspace, NULL, search, threads}, plan->n_queries, failed);
}
