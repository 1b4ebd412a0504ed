#include "lshsample/convert.h"

#include "dense.h"
#include "lshsample/parallel.h"
#include "rounding.h"

enum { CONVERTED = 1 << 14 /* elements in one task, about */ };

typedef struct {
    lsh_rounder rounder; /* of the narrower type */
    lsh_dense from, to;
    int narrowing;
} conversion;

static lsh_status convert_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const conversion *c = context;
    const lsh_row_kernels *rows = c->rounder.rows;
    for (int64_t i = begin; i < end; i++) {
        if (c->narrowing)
            lsh_round_row(&c->rounder, i, 0, c->to.cols, lsh_float_row(c->from, i),
                          lsh_element(c->to, rows->bytes, i, 0));
        else
            rows->load(lsh_element(c->from, rows->bytes, i, 0), c->from.cols, lsh_float_row(c->to, i));
    }
    return LSH_OK;
}

lsh_status lsh_convert(lsh_dense from, lsh_dense to, const lsh_rounding *rounding, int32_t threads) {
    if (from.rows != to.rows || from.cols != to.cols) return LSH_INVALID;
    conversion c = {.from = from, .to = to, .narrowing = from.dtype == LSH_FLOAT32};
    if (!c.narrowing && to.dtype != LSH_FLOAT32) return LSH_INVALID;
    if (!lsh_rounder_for(c.narrowing ? to.dtype : from.dtype, rounding, &c.rounder)) return LSH_INVALID;
    int64_t grain = from.cols < CONVERTED ? CONVERTED / (from.cols + 1) + 1 : 1;
    return lsh_parallel_for(from.rows, grain, threads, convert_chunk, &c);
}
