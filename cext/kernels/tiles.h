/* Products of bfloat16 in the tile registers of x86 (AMX-BF16): pairs of terms are multiplied and added in float32.
 *
 * Where there are none, products of bfloat16 are those of float32 over widened elements: the AVX-512 instruction for
 * pairs (vdpbf16ps) reached 0.6 of the rate of float32's multiply-adds on the processor that it was measured on.
 *
 * Operands are packed, their values rounded to bfloat16, to nearest, subnormal ones to 0. Terms behind the last one, and
 * rows and columns behind the last ones, are zeros.
 *   - the left one by blocks of 16 rows, in each of them by 32 terms: [16 rows][32 terms]
 *   - the right one by panels of 32 columns, in each of them by 32 terms: [16 pairs of terms][32 columns][2] */
#ifndef LSHSAMPLE_TILES_H
#define LSHSAMPLE_TILES_H

#include <stdint.h>

enum {
    LSH_TILE_TERMS = 32,   /* terms of one instruction */
    LSH_TILE_HEIGHT = 16,  /* rows of a block of the left operand */
    LSH_TILE_COLUMNS = 32, /* columns of a panel of the right operand */
    LSH_TILE_HALVES = LSH_TILE_TERMS * LSH_TILE_HEIGHT,  /* elements of 32 terms of a block */
    LSH_PANEL_HALVES = LSH_TILE_TERMS * LSH_TILE_COLUMNS /* elements of 32 terms of a panel */
};

typedef uint16_t lsh_half;

typedef struct {
    /* m rows of `depth` terms; blocks of rows are block_halves elements apart. */
    void (*pack_left)(const float *a, int64_t stride, int64_t m, int64_t depth, lsh_half *blocks, int64_t block_halves);
    /* The same with row i in column i of a, and m columns. */
    void (*pack_left_columns)(const float *a, int64_t stride, int64_t m, int64_t depth, lsh_half *blocks,
                              int64_t block_halves);
    /* n <= 32 rows of bfloat16 (rows[j], or j where rows is NULL) become the columns of a panel. `ahead` more of `rows`
     * are prefetched. */
    void (*pack_transposed)(const lsh_half *b, int64_t stride, const int32_t *rows, int64_t n, int64_t ahead,
                            int64_t depth, lsh_half *panel);
    /* depth rows stay rows: panel(p, j) = b[row p][j], j < n <= 32. */
    void (*pack_rows)(const lsh_half *b, int64_t stride, const int32_t *rows, int64_t depth, int64_t n, lsh_half *panel);
    void (*pack_floats)(const float *b, int64_t stride, int64_t depth, int64_t n, lsh_half *panel);
    /* c[m, n] = first[n] + the product over `depth` terms, or c += where first is NULL; n <= 32, first has 32 floats. */
    void (*product)(const lsh_half *blocks, int64_t block_halves, int64_t m, const lsh_half *panel, int64_t depth,
                    const float *first, float *c, int64_t c_stride, int64_t n);
} lsh_tile_kernels;

/* NULL where the processor or the instruction set in use has no tile registers, or the system keeps them back. */
const lsh_tile_kernels *lsh_tile_kernels_current(void);

/* 1 where tile registers multiply bytes (AMX-INT8), under the same conditions. */
int lsh_byte_tiles_current(void);

/* Makes all eight tile registers 16 rows of 64 bytes; _tile_release ends their use. */
void lsh_shape_tiles(void);

/* Terms, rounded up to those of whole instructions. */
static inline int64_t lsh_whole_terms(int64_t depth) {
    return (depth + LSH_TILE_TERMS - 1) / LSH_TILE_TERMS * LSH_TILE_TERMS;
}

#endif
