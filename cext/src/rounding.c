#include "rounding.h"

#include <stddef.h>

#include "lshsample/rng.h"

int lsh_rounder_for(int32_t dtype, const lsh_rounding *rounding, lsh_rounder *out) {
    const lsh_kernels *kernels = lsh_kernels_current();
    *out = (lsh_rounder){kernels, lsh_row_kernels_for(kernels, dtype), rounding};
    return out->rows != NULL;
}

void lsh_rounding_bits(const lsh_rounder *rounder, int64_t row, int64_t column, int64_t n, uint16_t *bits) {
    const lsh_rounding *r = rounder->rounding;
    rounder->kernels->draw_halves(r->seed, LSH_DRAW_ROUNDING, (uint32_t)row, r->step, (uint32_t)(column / 8), (n + 7) / 8,
                                  bits);
}

void lsh_round_row(const lsh_rounder *rounder, int64_t row, int64_t column, int64_t n, const float *values, void *to) {
    if (rounder->rounding == NULL) {
        rounder->rows->store(to, n, values);
        return;
    }
    uint16_t bits[LSH_ROUND_BLOCK];
    for (int64_t begin = 0; begin < n; begin += LSH_ROUND_BLOCK) {
        int64_t some = n - begin < LSH_ROUND_BLOCK ? n - begin : LSH_ROUND_BLOCK;
        lsh_rounding_bits(rounder, row, column + begin, some, bits);
        rounder->rows->store_stochastic((char *)to + begin * rounder->rows->bytes, some, values + begin, bits);
    }
}
