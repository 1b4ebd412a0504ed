/* Views: borrowed arrays. A view owns nothing; the caller keeps the memory alive during the call. Memory is the
 * processor's: the core supports no other device. */
#ifndef LSHSAMPLE_VIEWS_H
#define LSHSAMPLE_VIEWS_H

#include <stdint.h>

/* Types of elements. Kernels exist for float32 and bfloat16; the other names are reserved, for files that hold them.
 * Each function says which of its views may be anything but float32; an unsupported type gives LSH_INVALID. */
typedef enum {
    LSH_FLOAT32 = 0,
    LSH_BFLOAT16 = 1, /* the upper 16 bits of a float32 */
    LSH_FLOAT16 = 2,
    LSH_FLOAT8_E4M3 = 3,
    LSH_FLOAT8_E5M2 = 4,
    LSH_INT8 = 5,
    LSH_UINT8 = 6,
    LSH_SMALL8 = 7 /* of optimizer state alone (lshsample/optim.h) */
} lsh_dtype;

/* Rows of one dtype: row i starts at element i * stride of data, its columns are contiguous. No alignment is assumed. */
typedef struct {
    void *data;
    int64_t rows, cols, stride; /* stride in elements */
    int32_t dtype;              /* lsh_dtype */
} lsh_dense;

/* Compressed sparse rows: row i has entries indptr[i] .. indptr[i+1]-1, column indices ascending and unique.
 * `values` may be NULL where only the pattern is used. */
typedef struct {
    const int64_t *indptr;
    const int32_t *indices;
    float *values;
    int64_t rows, cols;
} lsh_csr;

#endif
