#include "lshsample/inverted.h"

#include <stdlib.h>

#include "heap.h"
#include "lshsample/parallel.h"

enum { QUERIES = 8 }; /* queries in one task */

typedef struct {
    const lsh_postings *parts;
    int64_t n_parts;
    lsh_csr queries;
    const int32_t *excluded;
    int32_t k, *ids;
    float *scores;
    float *sums; /* (threads, LSH_POSTINGS_ROWS), zero between parts */
} search;

/* The postings of a column; none outside of the array, whatever the file says that it is mapped from. */
static inline int64_t column_begin(const lsh_postings *part, int32_t column) {
    return part->starts[column] > 0 ? part->starts[column] : 0;
}

static inline int64_t column_end(const lsh_postings *part, int32_t column) {
    int64_t end = part->starts[column + 1];
    return end < part->n_postings ? end : part->n_postings;
}

static void add_products(const lsh_postings *part, lsh_csr queries, int64_t query, float *restrict sums) {
    for (int64_t t = queries.indptr[query]; t < queries.indptr[query + 1]; t++) {
        int32_t column = queries.indices[t];
        float value = queries.values[t];
        int64_t end = column_end(part, column);
        for (int64_t p = column_begin(part, column); p < end; p++) sums[part->rows[p]] += value * part->values[p];
    }
}

/* Offers every sum once, since it is zero afterwards, and sums of zero are not offered. */
static void take_sums(const lsh_postings *part, lsh_csr queries, int64_t query, int32_t first, heap best,
                      float *restrict sums) {
    float least = best.scores[0] > 0 ? best.scores[0] : 0;
    for (int64_t t = queries.indptr[query]; t < queries.indptr[query + 1]; t++) {
        int32_t column = queries.indices[t];
        int64_t end = column_end(part, column);
        for (int64_t p = column_begin(part, column); p < end; p++) {
            float sum = sums[part->rows[p]];
            sums[part->rows[p]] = 0;
            if (!(sum >= least) || sum == 0) continue;
            heap_offer(best, sum, first + part->rows[p]);
            least = best.scores[0] > 0 ? best.scores[0] : 0;
        }
    }
}

static lsh_status search_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const search *s = context;
    float *sums = s->sums + (int64_t)worker * LSH_POSTINGS_ROWS;
    for (int64_t i = begin; i < end; i++) {
        heap best = {s->scores + i * s->k, s->ids + i * s->k, s->k};
        int64_t first = 0, out = s->excluded ? s->excluded[i] : -1;
        heap_clear(best);
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        for (int64_t part = 0; part < s->n_parts; part++) {
            int64_t n = s->parts[part].n_rows;
            add_products(&s->parts[part], s->queries, i, sums);
            if (out >= first && out < first + n) sums[out - first] = 0;
            take_sums(&s->parts[part], s->queries, i, (int32_t)first, best, sums);
            first += n;
        }
        heap_finish(best);
    }
    return LSH_OK;
}

lsh_status lsh_inverted_top_k(const lsh_postings *parts, int64_t n_parts, lsh_csr queries, const int32_t *excluded,
                              int32_t k, int32_t *ids, float *scores, int32_t threads) {
    int64_t n_rows = 0;
    for (int64_t part = 0; part < n_parts; part++) {
        if (parts[part].n_rows < 1 || parts[part].n_rows > LSH_POSTINGS_ROWS) return LSH_INVALID;
        n_rows += parts[part].n_rows;
    }
    if (k < 1 || threads < 1 || n_rows > INT32_MAX) return LSH_INVALID;
    search s = {parts, n_parts, queries, excluded, k, ids, scores, NULL};
    s.sums = calloc((size_t)threads * LSH_POSTINGS_ROWS, sizeof *s.sums);
    if (!s.sums) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(queries.rows, QUERIES, threads, search_chunk, &s);
    free(s.sums);
    return status;
}
