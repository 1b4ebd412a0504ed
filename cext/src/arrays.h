/* Sizes, and memory for workspaces. */
#ifndef LSHSAMPLE_ARRAYS_H
#define LSHSAMPLE_ARRAYS_H

#include <stdint.h>
#include <stdlib.h>

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t parts_of(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* 64-byte aligned memory for rows * cols elements, or NULL; also NULL where the size overflows. */
static inline void *new_array(int64_t rows, int64_t cols, int64_t bytes) {
    int64_t size;
    if (__builtin_mul_overflow(rows, cols, &size) || size > (INT64_MAX - 64) / bytes) return NULL;
    return aligned_alloc(64, (size_t)((size * bytes + 63) / 64 * 64 + 64));
}

#endif
