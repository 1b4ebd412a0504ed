#include "lshsample/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "active.h"
#include "lshsample/parallel.h"
#include "radix.h"

enum { ROWS_PER_CHUNK = 4 };

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

struct lsh_drawn {
    int64_t rows, n_chunks, grain;
    int64_t *sizes;   /* per row */
    int32_t *lawless; /* per row */
    float *kept;      /* per row */
    chunk *chunks;
};

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

static lsh_status run_stage(lsh_active *a, const lsh_row *row, const lsh_stage *stage) {
    switch (stage->op) {
    case LSH_STAGE_RETRIEVE: return stage_retrieve(a, row, stage);
    case LSH_STAGE_AT_LEAST: return stage_at_least(a, row, stage);
    case LSH_STAGE_TOP: return stage_top(a, row, stage);
    case LSH_STAGE_CAP: return stage_cap(a, row, stage);
    case LSH_STAGE_INCLUDE: return stage_include(a, row, stage);
    case LSH_STAGE_FILL: return stage_fill(a, row, stage);
    case LSH_STAGE_UNIFORM: return stage_uniform(a, row, stage);
    case LSH_STAGE_FREQUENCY: return stage_frequency(a, row, stage);
    case LSH_STAGE_GIVEN: return stage_given(a, row, stage);
    case LSH_STAGE_FULL: return stage_full(a, row, stage);
    case LSH_STAGE_JOIN: return stage_join(a, row, stage);
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

static lsh_status emit_row(lsh_active *a, lsh_drawn *drawn, int64_t row) {
    chunk *c = &drawn->chunks[row / drawn->grain];
    if (active_reserve(a, 0) != LSH_OK) return LSH_NO_MEMORY;
    int64_t n = 0;
    const uint8_t *state = a->state;
    uint64_t *listed = a->keys;
    for (int64_t i = 0, size = a->size; i < size; i++) {
        listed[n] = (uint64_t)(uint32_t)a->ids[i] << 32 | (uint64_t)i;
        n += state[i] == IN || state[i] == FORCED;
    }
    if (chunk_reserve(c, n) != LSH_OK) return LSH_NO_MEMORY;
    const uint64_t *keys = radix_sort(a->keys, a->keys + a->room, n, bits_below(a->n_items));
    float chance = 1, log_chance = 0; /* most ids of a row share a few chances: the last logarithm serves again */
    for (int64_t i = 0; i < n; i++) {
        uint32_t place = (uint32_t)keys[i];
        c->ids[c->n + i] = (int32_t)(keys[i] >> 32);
        c->counts[c->n + i] = (int32_t)a->counts[place];
        if (a->chance[place] != chance) log_chance = logf(chance = a->chance[place]);
        c->logs[c->n + i] = log_chance;
    }
    c->n += n;
    drawn->sizes[row] = n;
    drawn->lawless[row] = active_lawful(a) ? -1 : a->culprit;
    drawn->kept[row] = (float)a->kept;
    return LSH_OK;
}

/* ---- run and collect ---- */

typedef struct {
    const lsh_plan *plan;
    lsh_workspace *workspace;
    lsh_drawn *drawn;
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
        if (status == LSH_OK) status = emit_row(a, job->drawn, r);
        active_clear(a);
    }
    return status;
}

void lsh_sample_free(lsh_drawn *drawn) {
    if (drawn == NULL) return;
    for (int64_t i = 0; drawn->chunks && i < drawn->n_chunks; i++) {
        free(drawn->chunks[i].ids);
        free(drawn->chunks[i].counts);
        free(drawn->chunks[i].logs);
    }
    free(drawn->chunks);
    free(drawn->sizes);
    free(drawn->lawless);
    free(drawn->kept);
    free(drawn);
}

static lsh_drawn *drawn_new(int64_t rows) {
    lsh_drawn *d = calloc(1, sizeof *d);
    if (d == NULL) return NULL;
    d->rows = rows;
    d->grain = ROWS_PER_CHUNK;
    d->n_chunks = (rows + d->grain - 1) / d->grain;
    size_t some = (size_t)(rows ? rows : 1);
    d->sizes = calloc(some, sizeof *d->sizes);
    d->lawless = calloc(some, sizeof *d->lawless);
    d->kept = calloc(some, sizeof *d->kept);
    d->chunks = calloc(some, sizeof *d->chunks);
    if (d->sizes && d->lawless && d->kept && d->chunks) return d;
    lsh_sample_free(d);
    return NULL;
}

lsh_status lsh_sample_run(const lsh_plan *plan, lsh_workspace *workspace, int32_t threads, lsh_drawn **out,
                          int64_t *total) {
    *out = NULL;
    *total = 0;
    if (plan->n_items != workspace->n_items || threads < 1 || threads > workspace->n_workers || plan->n_queries < 0)
        return LSH_INVALID;
    for (int64_t s = 0; s < plan->n_stages; s++)
        if (plan->stages[s].ordinal < 0 || plan->stages[s].ordinal > 15) return LSH_INVALID;
    int64_t rows = plan->pooled ? 1 : plan->n_queries;
    run_job job = {plan, workspace, drawn_new(rows), threads};
    if (job.drawn == NULL) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(rows, ROWS_PER_CHUNK, threads, run_rows, &job);
    if (status != LSH_OK) {
        lsh_sample_free(job.drawn);
        return status;
    }
    for (int64_t r = 0; r < rows; r++) *total += job.drawn->sizes[r];
    *out = job.drawn;
    return LSH_OK;
}

typedef struct {
    const lsh_drawn *drawn;
    const int64_t *indptr;
    int32_t *ids, *counts;
    float *logs;
} collect_job;

static lsh_status collect_chunks(void *context, int64_t begin, int64_t end, int32_t worker) {
    const collect_job *job = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        const chunk *c = &job->drawn->chunks[i];
        int64_t at = job->indptr[i * job->drawn->grain];
        if (c->n == 0) continue;
        memcpy(job->ids + at, c->ids, (size_t)c->n * sizeof *c->ids);
        memcpy(job->counts + at, c->counts, (size_t)c->n * sizeof *c->counts);
        memcpy(job->logs + at, c->logs, (size_t)c->n * sizeof *c->logs);
    }
    return LSH_OK;
}

lsh_status lsh_sample_collect(const lsh_drawn *drawn, int32_t threads, int64_t *indptr, int32_t *ids, int32_t *counts,
                              float *log_inclusion, int32_t *lawless, float *kept) {
    indptr[0] = 0;
    for (int64_t r = 0; r < drawn->rows; r++) {
        indptr[r + 1] = indptr[r] + drawn->sizes[r];
        lawless[r] = drawn->lawless[r];
        kept[r] = drawn->kept[r];
    }
    collect_job job = {drawn, indptr, ids, counts, log_inclusion};
    return lsh_parallel_for(drawn->n_chunks, 8, threads, collect_chunks, &job);
}
