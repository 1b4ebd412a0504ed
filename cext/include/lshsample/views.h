/* Views: borrowed arrays. A view owns nothing; the caller keeps the memory alive during the call. */
#ifndef LSHSAMPLE_VIEWS_H
#define LSHSAMPLE_VIEWS_H

#include <stdint.h>

/* Rows of float32: row i starts at data + i * stride (in floats), its columns are contiguous.
 * No alignment is assumed. */
typedef struct {
    float *data;
    int64_t rows, cols, stride;
} lsh_dense;

/* Compressed sparse rows: row i has entries indptr[i] .. indptr[i+1]-1, column indices ascending and unique.
 * `values` may be NULL where only the pattern is meant. */
typedef struct {
    const int64_t *indptr;
    const int32_t *indices;
    float *values;
    int64_t rows, cols;
} lsh_csr;

#endif
