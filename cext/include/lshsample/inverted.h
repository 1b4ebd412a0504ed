/* An inverted index over sparse rows: for each column the rows that have an entry in it, and exact search with it. */
#ifndef LSHSAMPLE_INVERTED_H
#define LSHSAMPLE_INVERTED_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

enum { LSH_POSTINGS_ROWS = 65536 }; /* rows of one part: their sums, as floats, stay in L2 */

/* The postings of a part of the rows: those of column c at [starts[c], starts[c + 1]), rows ascending. */
typedef struct {
    const int64_t *starts; /* (cols + 1), from 0 */
    const uint16_t *rows;  /* row in this part, below n_rows */
    const float *values;
    int64_t n_postings;
    int64_t n_rows; /* 1 to LSH_POSTINGS_ROWS */
} lsh_postings;

/* The k rows of largest inner product above 0 with each query, by product descending, ties by smaller row; rows are
 * numbered through the parts. ids and scores: (queries.rows, k); where fewer rows have such a product, id -1 and score
 * -INFINITY. A product is a float32 sum by ascending column. `excluded`, or NULL: a row for each query that is left out,
 * -1 for none. Steps: twice the postings of the query's columns. Arrays that are not as said,
 * such as those of a damaged file, give wrong rows, and nothing is read outside of them. Thread-safe; same bits for
 * any number of threads. Returns LSH_INVALID for k below 1 or more than INT32_MAX rows, LSH_NO_MEMORY, LSH_INTERRUPTED. */
lsh_status lsh_inverted_top_k(const lsh_postings *parts, int64_t n_parts, lsh_csr queries, const int32_t *excluded,
                              int32_t k, int32_t *ids, float *scores, int32_t threads);

#endif
