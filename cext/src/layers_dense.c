#include "lshsample/layers.h"

#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "dense.h"
#include "kernels.h"
#include "layers_tiles.h"
#include "lshsample/convert.h"
#include "lshsample/parallel.h"
#include "lshsample/rng.h"

enum {
    PANEL_FLOATS = LSH_PANEL_DEPTH * LSH_PANEL_COLUMNS,
    TN_ROWS = 96,       /* rows of a^T that one task packs, full tiles of 6 and of 8: 96 KiB with a panel's depth */
    NT_ROWS = 512,      /* rows of a between two looks at whether to stop */
    NN_ROWS = 256,      /* rows of a in one task */
    NN_PARTS = 16,      /* parts that the work of a product over n is cut into */
    NN_DEPTH = 512,     /* terms that a part has at least */
    SUM_COLUMNS = 512,  /* columns that one task sums: 2 KiB stay in L1 */
    MASK_UNITS = 1 << 14
};

typedef struct {
    const lsh_kernels *kernels;
    const lsh_row_kernels *weights; /* for rows of b */
    lsh_dense a, b, out;
    const int32_t *rows;
    const float *bias;
    int64_t bias_stride;
    int64_t row_blocks, depth; /* of lsh_matmul_nn: blocks of rows of a, terms a part sums */
    float *work;               /* parts of lsh_matmul_nn, packed panels of lsh_matmul_tn */
} product;

static void clear(lsh_dense out) {
    for (int64_t i = 0; i < out.rows; i++) memset(lsh_float_row(out, i), 0, (size_t)out.cols * sizeof(float));
}

/* The kernels for the product's dtypes; 0 where there are none: b may have any with kernels, a and out are float32. */
static int choose_kernels(product *p) {
    p->kernels = lsh_kernels_current();
    p->weights = lsh_row_kernels_for(p->kernels, p->b.dtype);
    return p->weights && p->a.dtype == LSH_FLOAT32 && p->out.dtype == LSH_FLOAT32;
}

int32_t lsh_has_tiles(void) { return lsh_tile_kernels_current() != NULL; }

/* The kernels for operands that may be rounded to bfloat16, of weights that are; NULL for products in float32. */
static const lsh_tile_kernels *tiles_for(int32_t operands, int32_t weights, int32_t wanted) {
    return operands == LSH_BFLOAT16 && weights == wanted ? lsh_tile_kernels_current() : NULL;
}

/* One panel of columns j .. j + n of the output of lsh_matmul_nt. */
static lsh_status nt_panel(const product *p, int64_t j, int64_t n) {
    const lsh_kernels *k = p->kernels;
    _Alignas(64) float panel[PANEL_FLOATS], first[LSH_PANEL_COLUMNS] = {0};
    const int32_t *rows = p->rows ? p->rows + j : NULL;
    const lsh_row_kernels *w = p->weights;
    for (int64_t t = 0; p->bias && t < n; t++) first[t] = p->bias[(rows ? rows[t] : j + t) * p->bias_stride];
    for (int64_t begin = 0; begin == 0 || begin < p->a.cols; begin += LSH_PANEL_DEPTH) {
        int64_t depth = least(LSH_PANEL_DEPTH, p->a.cols - begin);
        const void *b = lsh_element(p->b, w->bytes, rows ? 0 : j, begin);
        w->pack_transposed(b, p->b.stride, rows, n, depth, panel);
        /* The first panel touches every page of a new output: that alone may take seconds. */
        for (int64_t i = 0; i < p->a.rows; i += NT_ROWS) {
            if (lsh_interrupted()) return LSH_INTERRUPTED;
            k->product_rows(lsh_float_row(p->a, i) + begin, p->a.stride, least(NT_ROWS, p->a.rows - i), panel, depth,
                            begin ? NULL : first, lsh_float_row(p->out, i) + j, p->out.stride, n);
        }
    }
    return LSH_OK;
}

static lsh_status nt_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const product *p = context;
    int64_t width = p->kernels->panel_columns;
    lsh_status status = LSH_OK;
    for (int64_t j = begin; j < end && status == LSH_OK; j += width) status = nt_panel(p, j, least(width, end - j));
    return status;
}

lsh_status lsh_matmul_nt(lsh_dense a, lsh_dense b, const int32_t *rows, const float *bias, int64_t bias_stride,
                         lsh_dense out, int32_t operands, int32_t threads) {
    if (a.cols != b.cols || out.rows != a.rows || (!rows && out.cols != b.rows)) return LSH_INVALID;
    product p = {.a = a, .b = b, .out = out, .rows = rows, .bias = bias, .bias_stride = bias_stride};
    if (!choose_kernels(&p)) return LSH_INVALID;
    if (a.rows == 0) return LSH_OK;
    const lsh_tile_kernels *tiles = a.cols ? tiles_for(operands, b.dtype, LSH_BFLOAT16) : NULL;
    if (tiles) return lsh_tiles_nt(tiles, a, b, rows, bias, bias_stride, out, threads);
    /* With few rows a panel is little work: take more of them at once. */
    int64_t grain = a.rows < 16 ? 16 * LSH_PANEL_COLUMNS : LSH_PANEL_COLUMNS;
    return lsh_parallel_for(out.cols, grain, threads, nt_chunk, &p);
}

/* Rows i .. i + m of a times terms begin .. end of the sum, to c. */
static lsh_status nn_block(const product *p, int64_t i, int64_t m, int64_t begin, int64_t end, float *c, int64_t c_stride) {
    const lsh_kernels *k = p->kernels;
    const lsh_row_kernels *w = p->weights;
    _Alignas(64) float panel[PANEL_FLOATS];
    static const float zeros[LSH_PANEL_COLUMNS];
    for (int64_t q = begin; q < end; q += LSH_PANEL_DEPTH) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        int64_t depth = least(LSH_PANEL_DEPTH, end - q);
        const int32_t *rows = p->rows ? p->rows + q : NULL;
        for (int64_t j = 0; j < p->b.cols; j += k->panel_columns) {
            int64_t n = least(k->panel_columns, p->b.cols - j);
            w->pack_rows(lsh_element(p->b, w->bytes, rows ? 0 : q, j), p->b.stride, rows, depth, n, panel);
            k->product_rows(lsh_float_row(p->a, i) + q, p->a.stride, m, panel, depth, q == begin ? zeros : NULL,
                            c + j, c_stride, n);
        }
    }
    return LSH_OK;
}

static lsh_status nn_chunk(void *context, int64_t task, int64_t task_end, int32_t worker) {
    (void)worker;
    const product *p = context;
    lsh_status status = LSH_OK;
    for (; task < task_end && status == LSH_OK; task++) {
        int64_t part = task / p->row_blocks, i = task % p->row_blocks * NN_ROWS;
        int64_t begin = part * p->depth, end = least(begin + p->depth, p->a.cols), m = least(NN_ROWS, p->a.rows - i);
        if (p->work) {
            float *c = p->work + (part * p->a.rows + i) * p->out.cols;
            status = nn_block(p, i, m, begin, end, c, p->out.cols);
        } else {
            status = nn_block(p, i, m, begin, end, lsh_float_row(p->out, i), p->out.stride);
        }
    }
    return status;
}

/* out = part 0 + part 1 + ..., in this order. */
static lsh_status nn_add_parts(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const product *p = context;
    int64_t parts = (p->a.cols + p->depth - 1) / p->depth, k = p->out.cols;
    for (int64_t i = begin; i < end; i++) {
        float *out = lsh_float_row(p->out, i);
        memcpy(out, p->work + i * k, (size_t)k * sizeof *out);
        for (int64_t part = 1; part < parts; part++) p->kernels->add(out, p->work + (part * p->a.rows + i) * k, k);
    }
    return LSH_OK;
}

lsh_status lsh_matmul_nn(lsh_dense a, lsh_dense b, const int32_t *rows, lsh_dense out, int32_t operands,
                         int32_t threads) {
    if ((!rows && a.cols != b.rows) || out.rows != a.rows || out.cols != b.cols) return LSH_INVALID;
    product p = {.a = a, .b = b, .out = out, .rows = rows};
    if (!choose_kernels(&p)) return LSH_INVALID;
    if (a.cols == 0) clear(out);
    if (a.rows == 0 || a.cols == 0 || b.cols == 0) return LSH_OK;
    const lsh_tile_kernels *tiles = tiles_for(operands, b.dtype, LSH_BFLOAT16);
    if (tiles) return lsh_tiles_nn(tiles, a, b, rows, out, threads);
    p.row_blocks = (a.rows + NN_ROWS - 1) / NN_ROWS;
    int64_t parts = least((a.cols + NN_DEPTH - 1) / NN_DEPTH, (NN_PARTS + p.row_blocks - 1) / p.row_blocks);
    p.depth = (a.cols + parts - 1) / parts;
    parts = (a.cols + p.depth - 1) / p.depth;
    if (parts > 1 && !(p.work = new_array(parts * a.rows, b.cols, sizeof(float)))) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(parts * p.row_blocks, 1, threads, nn_chunk, &p);
    if (status == LSH_OK && parts > 1) status = lsh_parallel_for(a.rows, 16, threads, nn_add_parts, &p);
    free(p.work);
    return status;
}

/* Packs b for lsh_matmul_tn: for each block of terms, panel after panel. */
static lsh_status tn_pack(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const product *p = context;
    int64_t width = p->kernels->panel_columns, panels = (p->b.cols + width - 1) / width;
    for (int64_t block = begin; block < end; block++) {
        int64_t q = block * LSH_PANEL_DEPTH, depth = least(LSH_PANEL_DEPTH, p->b.rows - q);
        float *panel = p->work + q * panels * width;
        for (int64_t j = 0; j < p->b.cols; j += width, panel += depth * width)
            p->weights->pack_rows(lsh_float_row(p->b, q) + j, p->b.stride, NULL, depth, least(width, p->b.cols - j),
                                  panel);
    }
    return LSH_OK;
}

/* Rows begin .. end of the output, at most TN_ROWS. */
static lsh_status tn_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const product *p = context;
    const lsh_kernels *k = p->kernels;
    _Alignas(64) float tiles[LSH_PANEL_DEPTH * TN_ROWS];
    static const float zeros[LSH_PANEL_COLUMNS];
    int64_t width = k->panel_columns, panels = (p->b.cols + width - 1) / width, m = end - begin;
    for (int64_t q = 0; q < p->b.rows; q += LSH_PANEL_DEPTH) {
        int64_t depth = least(LSH_PANEL_DEPTH, p->b.rows - q);
        const float *panel = p->work + q * panels * width;
        k->pack_columns(lsh_float_row(p->a, q) + begin, p->a.stride, depth, m, tiles);
        for (int64_t j = 0; j < p->b.cols; j += width, panel += depth * width)
            k->product_packed(tiles, m, panel, depth, q ? NULL : zeros, lsh_float_row(p->out, begin) + j,
                              p->out.stride, least(width, p->b.cols - j));
    }
    return LSH_OK;
}

/* The product in float32, and then rounded to the dtype of the output. */
static lsh_status tn_rounded(lsh_dense a, lsh_dense b, lsh_dense out, int32_t threads) {
    lsh_dense sums = {.rows = out.rows, .cols = out.cols, .stride = out.cols, .dtype = LSH_FLOAT32};
    if (!(sums.data = new_array(sums.rows, sums.cols, sizeof(float)))) return LSH_NO_MEMORY;
    lsh_status status = lsh_matmul_tn(a, b, sums, LSH_FLOAT32, threads);
    if (status == LSH_OK) status = lsh_convert(sums, out, NULL, threads);
    free(sums.data);
    return status;
}

lsh_status lsh_matmul_tn(lsh_dense a, lsh_dense b, lsh_dense out, int32_t operands, int32_t threads) {
    if (a.rows != b.rows || out.rows != a.cols || out.cols != b.cols) return LSH_INVALID;
    product p = {.a = a, .b = b, .out = out};
    if (!lsh_row_kernels_for(lsh_kernels_current(), out.dtype)) return LSH_INVALID;
    p.out.dtype = LSH_FLOAT32;
    if (!choose_kernels(&p) || b.dtype != LSH_FLOAT32) return LSH_INVALID;
    const lsh_tile_kernels *tiles = a.rows && a.cols && b.cols ? tiles_for(operands, b.dtype, LSH_FLOAT32) : NULL;
    if (tiles) return lsh_tiles_tn(tiles, a, b, out, threads);
    if (out.dtype != LSH_FLOAT32) return tn_rounded(a, b, out, threads);
    if (a.rows == 0) clear(out);
    if (a.rows == 0 || a.cols == 0 || b.cols == 0) return LSH_OK;
    int64_t width = p.kernels->panel_columns;
    if (!(p.work = new_array(a.rows, (b.cols + width - 1) / width * width, sizeof(float)))) return LSH_NO_MEMORY;
    int64_t blocks = (a.rows + LSH_PANEL_DEPTH - 1) / LSH_PANEL_DEPTH;
    lsh_status status = lsh_parallel_for(blocks, 1, threads, tn_pack, &p);
    if (status == LSH_OK) status = lsh_parallel_for(a.cols, TN_ROWS, threads, tn_chunk, &p);
    free(p.work);
    return status;
}

static lsh_status sum_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const product *p = context;
    float *out = lsh_float_row(p->out, 0) + begin;
    memset(out, 0, (size_t)(end - begin) * sizeof *out);
    for (int64_t i = 0; i < p->a.rows; i++) p->kernels->add(out, lsh_float_row(p->a, i) + begin, end - begin);
    return LSH_OK;
}

lsh_status lsh_column_sums(lsh_dense a, float *out, int32_t threads) {
    if (a.dtype != LSH_FLOAT32) return LSH_INVALID;
    product p = {.kernels = lsh_kernels_current(), .a = a, .out = {.data = out}};
    return lsh_parallel_for(a.cols, SUM_COLUMNS, threads, sum_chunk, &p);
}

typedef struct {
    uint64_t seed, step;
    uint32_t layer, cut;
    float kept;
    lsh_dense out;
} mask;

/* Units begin .. end, begin a multiple of 4. */
static lsh_status mask_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const mask *m = context;
    uint32_t draw[4];
    for (int64_t unit = begin; unit < end; unit++) {
        if (unit % 4 == 0) lsh_philox(m->seed, LSH_DRAW_DROPOUT, m->layer, m->step, (uint32_t)(unit / 4), draw);
        float *out = lsh_float_row(m->out, unit / m->out.cols) + unit % m->out.cols;
        *out = draw[unit % 4] >= m->cut ? m->kept : 0.0f;
    }
    return LSH_OK;
}

lsh_status lsh_dropout_mask(uint64_t seed, uint64_t step, uint32_t layer, float rate, lsh_dense out, int32_t threads) {
    int64_t units;
    if (out.dtype != LSH_FLOAT32 || !(rate >= 0 && rate < 1) || __builtin_mul_overflow(out.rows, out.cols, &units) || units >= (int64_t)1 << 34)
        return LSH_INVALID;
    mask m = {.seed = seed, .step = step, .layer = layer, .cut = (uint32_t)((double)rate * 4294967296.0),
              .kept = 1.0f / (1.0f - rate), .out = out};
    return lsh_parallel_for(units, MASK_UNITS, threads, mask_chunk, &m);
}
