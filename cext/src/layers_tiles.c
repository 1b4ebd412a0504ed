#include "layers_tiles.h"

#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "dense.h"
#include "kernels.h"
#include "lshsample/parallel.h"

enum {
    DEPTH = 512,      /* terms of a panel on the stack: 32 KiB */
    PACKED_ROWS = 64, /* rows that one task packs */
    NT_COLUMNS = 128, /* columns of the output in one task */
    NT_ROWS = 512,    /* rows of a between two looks at whether to stop */
    NN_ROWS = 256,    /* rows of a in one task: with SUM_DEPTH terms 128 KiB, which stay in L2 */
    SUM_DEPTH = 256,
    NN_PARTS = 16,    /* parts that the work of a product over n is cut into */
    TN_ROWS = 64      /* columns of a, rows of the output, in one task */
};

typedef struct {
    const lsh_tile_kernels *kernels;
    lsh_dense a, b, out;
    const int32_t *rows;
    const float *bias;
    int64_t bias_stride;
    lsh_half *packed;          /* nt: a; tn: b; nn: a block of a for each worker */
    lsh_half *left;            /* of tn: columns of a, for each worker */
    const lsh_row_kernels *narrow; /* of tn: for rows of the output */
    int64_t row_blocks, depth; /* of nn: blocks of rows of a, terms a part sums */
    float *parts;              /* of nn */
} tile_product;

static const float zeros[LSH_TILE_COLUMNS];

static const lsh_half *half_row(lsh_dense b, int64_t i, int64_t column) {
    return (const lsh_half *)lsh_element(b, sizeof(lsh_half), i, column);
}

static lsh_status pack_a(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const tile_product *p = context;
    int64_t block = LSH_TILE_HEIGHT * lsh_whole_terms(p->a.cols);
    p->kernels->pack_left(lsh_float_row(p->a, begin), p->a.stride, end - begin, p->a.cols,
                          p->packed + begin / LSH_TILE_HEIGHT * block, block);
    return LSH_OK;
}

/* Columns j .. j + n of the output; the rows of `ahead` more are prefetched. */
static lsh_status nt_panel(const tile_product *p, int64_t j, int64_t n, int64_t ahead) {
    _Alignas(64) lsh_half panel[DEPTH * LSH_TILE_COLUMNS];
    float first[LSH_TILE_COLUMNS] = {0};
    const int32_t *rows = p->rows ? p->rows + j : NULL;
    int64_t block = LSH_TILE_HEIGHT * lsh_whole_terms(p->a.cols);
    for (int64_t t = 0; p->bias && t < n; t++) first[t] = p->bias[(rows ? rows[t] : j + t) * p->bias_stride];
    for (int64_t begin = 0; begin < p->a.cols; begin += DEPTH) {
        int64_t depth = least(DEPTH, p->a.cols - begin);
        p->kernels->pack_transposed(half_row(p->b, rows ? 0 : j, begin), p->b.stride, rows, n, ahead, depth, panel);
        for (int64_t i = 0; i < p->a.rows; i += NT_ROWS) {
            if (lsh_interrupted()) return LSH_INTERRUPTED;
            p->kernels->product(p->packed + i / LSH_TILE_HEIGHT * block + begin * LSH_TILE_HEIGHT, block,
                                least(NT_ROWS, p->a.rows - i), panel, depth, begin ? NULL : first,
                                lsh_float_row(p->out, i) + j, p->out.stride, n);
        }
    }
    return LSH_OK;
}

static lsh_status nt_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const tile_product *p = context;
    lsh_status status = LSH_OK;
    for (int64_t j = begin; j < end && status == LSH_OK; j += LSH_TILE_COLUMNS) {
        int64_t n = least(LSH_TILE_COLUMNS, end - j);
        status = nt_panel(p, j, n, least(LSH_TILE_COLUMNS, end - j - n));
    }
    return status;
}

lsh_status lsh_tiles_nt(const lsh_tile_kernels *kernels, lsh_dense a, lsh_dense b, const int32_t *rows, const float *bias,
                        int64_t bias_stride, lsh_dense out, int32_t threads) {
    tile_product p = {.kernels = kernels, .a = a, .b = b, .out = out, .rows = rows, .bias = bias,
                      .bias_stride = bias_stride};
    int64_t blocks = parts_of(a.rows, LSH_TILE_HEIGHT);
    if (!(p.packed = new_array(blocks * LSH_TILE_HEIGHT, lsh_whole_terms(a.cols), sizeof *p.packed))) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(a.rows, PACKED_ROWS, threads, pack_a, &p);
    if (status == LSH_OK) status = lsh_parallel_for(out.cols, NT_COLUMNS, threads, nt_chunk, &p);
    free(p.packed);
    return status;
}

/* Rows i .. i + m of a times terms begin .. end of the sum, to c. */
static lsh_status nn_block(const tile_product *p, int64_t i, int64_t m, int64_t begin, int64_t end, lsh_half *left,
                           float *c, int64_t c_stride) {
    _Alignas(64) lsh_half panel[SUM_DEPTH * LSH_TILE_COLUMNS];
    for (int64_t q = begin; q < end; q += SUM_DEPTH) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        int64_t depth = least(SUM_DEPTH, end - q), block = LSH_TILE_HEIGHT * lsh_whole_terms(depth);
        const int32_t *rows = p->rows ? p->rows + q : NULL;
        p->kernels->pack_left(lsh_float_row(p->a, i) + q, p->a.stride, m, depth, left, block);
        for (int64_t j = 0; j < p->b.cols; j += LSH_TILE_COLUMNS) {
            int64_t n = least(LSH_TILE_COLUMNS, p->b.cols - j);
            p->kernels->pack_rows(half_row(p->b, rows ? 0 : q, j), p->b.stride, rows, depth, n, panel);
            p->kernels->product(left, block, m, panel, depth, q == begin ? zeros : NULL, c + j, c_stride, n);
        }
    }
    return LSH_OK;
}

static lsh_status nn_chunk(void *context, int64_t task, int64_t task_end, int32_t worker) {
    const tile_product *p = context;
    lsh_half *left = p->packed + worker * NN_ROWS * SUM_DEPTH;
    lsh_status status = LSH_OK;
    for (; task < task_end && status == LSH_OK; task++) {
        int64_t part = task / p->row_blocks, i = task % p->row_blocks * NN_ROWS;
        int64_t begin = part * p->depth, end = least(begin + p->depth, p->a.cols), m = least(NN_ROWS, p->a.rows - i);
        if (p->parts)
            status = nn_block(p, i, m, begin, end, left, p->parts + (part * p->a.rows + i) * p->out.cols, p->out.cols);
        else
            status = nn_block(p, i, m, begin, end, left, lsh_float_row(p->out, i), p->out.stride);
    }
    return status;
}

/* out = part 0 + part 1 + ..., in this order. */
static lsh_status nn_add_parts(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const tile_product *p = context;
    int64_t parts = parts_of(p->a.cols, p->depth), k = p->out.cols;
    for (int64_t i = begin; i < end; i++) {
        float *out = lsh_float_row(p->out, i);
        memcpy(out, p->parts + i * k, (size_t)k * sizeof *out);
        for (int64_t part = 1; part < parts; part++) {
            const float *more = p->parts + (part * p->a.rows + i) * k;
            for (int64_t j = 0; j < k; j++) out[j] += more[j];
        }
    }
    return LSH_OK;
}

lsh_status lsh_tiles_nn(const lsh_tile_kernels *kernels, lsh_dense a, lsh_dense b, const int32_t *rows, lsh_dense out,
                        int32_t threads) {
    tile_product p = {.kernels = kernels, .a = a, .b = b, .out = out, .rows = rows};
    p.row_blocks = parts_of(a.rows, NN_ROWS);
    int64_t parts = least(parts_of(a.cols, 2 * SUM_DEPTH), parts_of(NN_PARTS, p.row_blocks));
    p.depth = parts_of(parts_of(a.cols, parts), SUM_DEPTH) * SUM_DEPTH;
    parts = parts_of(a.cols, p.depth);
    lsh_status status = LSH_NO_MEMORY;
    int64_t workers = least(threads, parts * p.row_blocks);
    p.packed = new_array(workers, NN_ROWS * SUM_DEPTH, sizeof *p.packed);
    if (p.packed && (parts == 1 || (p.parts = new_array(parts * a.rows, b.cols, sizeof *p.parts))))
        status = lsh_parallel_for(parts * p.row_blocks, 1, (int32_t)workers, nn_chunk, &p);
    if (status == LSH_OK && parts > 1) status = lsh_parallel_for(a.rows, 16, threads, nn_add_parts, &p);
    free(p.packed);
    free(p.parts);
    return status;
}

/* Packs b for lsh_tiles_tn, panel after panel. */
static lsh_status tn_pack(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const tile_product *p = context;
    int64_t panel = lsh_whole_terms(p->b.rows) * LSH_TILE_COLUMNS;
    for (int64_t j = begin; j < end; j++)
        p->kernels->pack_floats(lsh_float_row(p->b, 0) + j * LSH_TILE_COLUMNS, p->b.stride, p->b.rows,
                                least(LSH_TILE_COLUMNS, p->b.cols - j * LSH_TILE_COLUMNS), p->packed + j * panel);
    return LSH_OK;
}

/* Rows begin .. end of the output, at most TN_ROWS, of columns j .. j + n: the sums over all terms. */
static void tn_panel(const tile_product *p, const lsh_half *left, int64_t m, int64_t j, int64_t n, float *c,
                     int64_t c_stride) {
    int64_t terms = lsh_whole_terms(p->b.rows);
    const lsh_half *panel = p->packed + j * terms;
    for (int64_t q = 0; q < p->b.rows; q += DEPTH)
        p->kernels->product(left + q * LSH_TILE_HEIGHT, LSH_TILE_HEIGHT * terms, m, panel + q * LSH_TILE_COLUMNS,
                            least(DEPTH, p->b.rows - q), q ? NULL : zeros, c, c_stride, n);
}

static lsh_status tn_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const tile_product *p = context;
    int64_t terms = lsh_whole_terms(p->b.rows), m = end - begin;
    lsh_half *left = p->left + worker * TN_ROWS * terms;
    p->kernels->pack_left_columns(lsh_float_row(p->a, 0) + begin, p->a.stride, m, p->b.rows, left,
                                  LSH_TILE_HEIGHT * terms);
    for (int64_t j = 0; j < p->b.cols; j += LSH_TILE_COLUMNS) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        int64_t n = least(LSH_TILE_COLUMNS, p->b.cols - j);
        if (p->out.dtype == LSH_FLOAT32) {
            tn_panel(p, left, m, j, n, lsh_float_row(p->out, begin) + j, p->out.stride);
            continue;
        }
        float sums[TN_ROWS * LSH_TILE_COLUMNS];
        tn_panel(p, left, m, j, n, sums, LSH_TILE_COLUMNS);
        for (int64_t i = 0; i < m; i++)
            p->narrow->store(lsh_element(p->out, p->narrow->bytes, begin + i, j), n, sums + i * LSH_TILE_COLUMNS);
    }
    return LSH_OK;
}

lsh_status lsh_tiles_tn(const lsh_tile_kernels *kernels, lsh_dense a, lsh_dense b, lsh_dense out, int32_t threads) {
    tile_product p = {.kernels = kernels, .a = a, .b = b, .out = out,
                      .narrow = lsh_row_kernels_for(lsh_kernels_current(), out.dtype)};
    int64_t panels = parts_of(b.cols, LSH_TILE_COLUMNS), terms = lsh_whole_terms(a.rows);
    int64_t workers = least(threads, parts_of(a.cols, TN_ROWS));
    lsh_status status = LSH_NO_MEMORY;
    p.packed = new_array(terms, panels * LSH_TILE_COLUMNS, sizeof *p.packed);
    if (p.packed && (p.left = new_array(workers * TN_ROWS, terms, sizeof *p.left)))
        status = lsh_parallel_for(panels, 1, threads, tn_pack, &p);
    if (status == LSH_OK) status = lsh_parallel_for(a.cols, TN_ROWS, (int32_t)workers, tn_chunk, &p);
    free(p.packed);
    free(p.left);
    return status;
}
