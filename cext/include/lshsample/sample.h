/* Fused sampling: a plan of stages run over a batch of queries in one call, giving an active set per query or one for
 * the whole batch, with the probability of each id given the tables.
 *
 * Inclusion probabilities. Given the tables and a row's codes, only the random stages (cap, ties of top, fill, uniform,
 * frequency) draw. The run stores the probability of being in the set for each id seen so far (kept or dropped), and
 * one for all other ids. If a later draw needs the joint probabilities of earlier ones, it continues with probabilities
 * conditional on them, which are exact too; two-phase sampling (Sarndal, Swensson & Wretman 1992, ch. 9) gives the
 * product form for a cap over a set of random size. For a row in which some item had probability 0, the stage that
 * caused it is reported.
 *
 * A RETRIEVE stage with its family's kernel and the query rows hashes them itself, so that one call does everything and
 * codes stay inside the core.
 *
 * Every result is a function of (plan, codes, seed, step) alone: draws are keyed by (seed, purpose, row, step, id or
 * attempt), never by the order in which threads or hash slots meet them. */
#ifndef LSHSAMPLE_SAMPLE_H
#define LSHSAMPLE_SAMPLE_H

#include <stdint.h>
#include "lshsample/family.h"
#include "lshsample/reader.h"
#include "lshsample/status.h"
#include "lshsample/views.h"

enum {
    LSH_STAGE_RETRIEVE = 1,  /* join the ids in the probed buckets; amount = budget of ids, 0 for none */
    LSH_STAGE_AT_LEAST = 2,  /* keep ids that collided at least `amount` times */
    LSH_STAGE_TOP = 3,       /* keep the `amount` ids that collided most */
    LSH_STAGE_CAP = 4,       /* keep at most `amount` ids, drawn uniformly */
    LSH_STAGE_INCLUDE = 5,   /* join each row's given ids; no later stage drops them */
    LSH_STAGE_FILL = 6,      /* join uniform draws from outside until there are `amount` ids */
    LSH_STAGE_UNIFORM = 7,   /* join `amount` distinct uniform draws from all items */
    LSH_STAGE_FREQUENCY = 8, /* join `amount` draws, with replacement, by one distribution */
    LSH_STAGE_GIVEN = 9,     /* replace the set by given ids with given counts, as certain */
    LSH_STAGE_FULL = 10,     /* join every item */
    LSH_STAGE_JOIN = 11      /* join candidates that were retrieved elsewhere, with their counts, as RETRIEVE does */
};

typedef struct {
    int32_t op;              /* LSH_STAGE_... */
    int32_t place;           /* the stage's index in the user's pipeline, reported as zero_probability_stage */
    int32_t ordinal;         /* number of earlier stages with the same op, 0 to 15, so that their draws differ */
    int32_t n_probes;        /* RETRIEVE: codes per query and table */
    int32_t positive;        /* FREQUENCY: 1 if no probability is 0 */
    int32_t reserved;        /* 0 */
    int64_t amount;
    const lsh_reader *reader;   /* RETRIEVE: the tables */
    const lsh_family_kernel *kernel; /* RETRIEVE: the query side of the tables' family, which hashes the rows below */
    const lsh_dense *dense;     /* RETRIEVE with a kernel: the queries (n_queries, dim), dense ... */
    const lsh_csr *sparse;      /* ... or sparse; values are checked to be finite */
    const uint32_t *codes;      /* RETRIEVE without a kernel: (n_queries, n_tables, n_probes) */
    const int64_t *indptr;      /* INCLUDE, JOIN, GIVEN: a pattern over the queries (GIVEN: over the output rows) */
    const int32_t *indices;     /* each in 0..n_items-1 */
    const int32_t *counts;      /* JOIN, GIVEN: aligned with indices, at least 1 */
    const double *frequency;    /* FREQUENCY: (n_items,), probabilities of a draw */
    const double *accept;       /* FREQUENCY: the alias table of lsh_alias_build */
    const int32_t *alias;
    const int64_t *forced_indptr;  /* GIVEN: ids that no later stage drops, over the queries; may be NULL */
    const int32_t *forced_indices;
} lsh_stage;

typedef struct {
    const lsh_stage *stages;
    int64_t n_stages;
    int64_t n_queries;
    int64_t n_items;
    uint64_t seed, step;
    int32_t pooled;          /* 1: one row for the whole batch */
    int32_t count_only;      /* 1: only the sizes of the rows are wanted (indptr), no ids */
    int64_t first_row;       /* the number of the first row in draws, for a part of a larger batch */
    int64_t max_ids;         /* stop when the rows have more ids than this, unless it is 0 */
} lsh_plan;

/* Memory of a sampler between calls: one 32-bit slot per item and thread, zero between calls. Used by one call at a
 * time; different workspaces may be used by several threads. */
typedef struct lsh_workspace lsh_workspace;

/* What a run drew: one block of memory that the caller frees by lsh_sample_free. The arrays follow the struct in this
 * order, without gaps. */
typedef struct {
    int64_t rows, total;      /* rows of the result, and ids in all of them */
    int64_t *indptr;          /* (rows + 1) */
    double *rest;             /* (rows): the probability of each id that is not in the set; NaN if it differs
                                 between them: after draws by frequency, or if ids were dropped */
    int32_t *ids;             /* (total), ascending in a row */
    int32_t *counts;          /* (total) */
    float *log_inclusion;     /* (total) */
    int32_t *zero_probability_stage; /* (rows): -1, or the index of the stage after which items had probability 0 */
    float *kept;              /* (rows): the product of the fractions that caps kept */
} lsh_drawn;

/* A workspace for up to `threads` threads; LSH_NO_MEMORY. Pages that are never touched cost nothing. */
lsh_status lsh_workspace_new(int64_t n_items, int32_t threads, lsh_workspace **out);
void lsh_workspace_free(lsh_workspace *workspace);

/* Runs a plan: one row if pooled, else n_queries, or with max_ids the first of them, at least one. How many depends on
 * threads; ids and probabilities of a row do not. *failed is the index of the stage whose
 * queries could not be hashed, or -1; the status is then that of lsh_hash_dense or lsh_hash_csr. Otherwise fails with
 * LSH_INVALID, LSH_OUT_OF_RANGE or LSH_NO_MEMORY. After a failure *out is NULL and the workspace is as before. Cost:
 * proportional to the number of ids seen, independent of n_items (except FULL). */
lsh_status lsh_sample_run(const lsh_plan *plan, lsh_workspace *workspace, int32_t threads, lsh_drawn **out,
                          int32_t *failed);
void lsh_sample_free(lsh_drawn *drawn);

/* What a search ranks its rows by, and where it puts the best of each. */
typedef struct {
    lsh_dense queries;   /* (n_queries, d) float32, checked to be finite */
    lsh_dense vectors;   /* (m, d) float32; ids from m on are not ranked */
    int32_t k;
    int32_t *ids;        /* (n_queries, k): best first, ties by the smaller id; -1 where there are fewer */
    float *scores;       /* (n_queries, k): inner products; -inf for an id of -1 */
} lsh_search;

/* Runs a plan that is not pooled, and ranks the ids of each row by the inner product of its query and their vectors: the
 * sets are those of lsh_sample_run, and are not kept. Errors and *failed as there; memory: that of the largest row for
 * each thread. */
lsh_status lsh_sample_search(const lsh_plan *plan, lsh_workspace *workspace, const lsh_search *search, int32_t threads,
                             int32_t *failed);

/* The order (n_tables) in which a RETRIEVE stage with a budget, the `ordinal`-th of its pipeline, visits tables in a row:
 * a uniform permutation, a function of (seed, step, row, ordinal) alone. Thread-safe. */
void lsh_sample_table_order(uint64_t seed, uint64_t step, int64_t row, int32_t ordinal, int32_t n_tables,
                            uint32_t *order);

/* Walker's alias table (Vose 1991) of n frequencies that sum to 1: draw i uniformly, keep it with probability
 * accept[i], else take alias[i]. O(n). LSH_NO_MEMORY. */
lsh_status lsh_alias_build(const double *frequency, int64_t n, double *accept, int32_t *alias);

#endif
