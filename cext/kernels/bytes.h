/* Products of 8-bit rows: which labels of a panel may have a score above a threshold. */
#ifndef LSHSAMPLE_KERNEL_BYTES_H
#define LSHSAMPLE_KERNEL_BYTES_H

#include <stdint.h>

/* A row of input as u - 128 times scale; what rounding left has norm `error`. */
typedef struct {
    float scale, norm, error, threshold;
} lsh_byte_query;

enum { LSH_BYTE_SLACK = 31 }; /* rows */

/* above[i]: bit j is set where scale_j * scale * (offset_j + u_i . q_j) + bias_j + error_j * norm + norm_j * error
 * is above row i's threshold; these bounds are written to bounds(m, 32), in rows with such a bit. u(m, 4 * quads),
 * with LSH_BYTE_SLACK more rows that may be read; one panel as in lsh_byte_rows. */
typedef void lsh_byte_panel(const uint8_t *u, int64_t m, const int8_t *values, int64_t quads, const int32_t *offsets,
                            const float *terms, const lsh_byte_query *queries, uint32_t *above, float *bounds);

/* The kernel for the instruction set in use. Thread-safe. */
lsh_byte_panel *lsh_byte_panel_current(void);

#endif
