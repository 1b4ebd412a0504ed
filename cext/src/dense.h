/* Rows of views: of float32, and of the dtypes that weights may have. */
#ifndef LSHSAMPLE_DENSE_H
#define LSHSAMPLE_DENSE_H

#include <stdint.h>
#include "lshsample/views.h"

/* Row i of a view whose dtype has been checked to be float32. */
static inline float *lsh_float_row(lsh_dense x, int64_t i) { return (float *)x.data + i * x.stride; }

/* Element `column` of row i, of a dtype of `bytes` bytes. */
static inline char *lsh_element(lsh_dense x, int64_t bytes, int64_t i, int64_t column) {
    return (char *)x.data + (i * x.stride + column) * bytes;
}

#endif
