/* All kernels for one instruction set and their table; the including file chooses the set (lshsample/simd.h). */
#include "kernels.h"
#include "lshsample/simd.h"

LSH_KERNELS_BEGIN

#include "vector.h"
#include "product_body.h"
#include "sparse_body.h"
#include "loss_body.h"
#include "optim_body.h"
#include "draw_body.h"

LSH_KERNELS_END

const lsh_kernels LSH_NAME(lsh_kernels) = {
    .panel_columns = LSH_PANEL,
    .pack_transposed = pack_transposed,
    .pack_rows = pack_rows,
    .pack_columns = pack_columns,
    .product_rows = product_rows,
    .product_packed = product_packed,
    .weighted_sum = weighted_sum,
    .dots = dots,
    .add = add,
    .next_above = next_above,
    .corrected_max = corrected_max,
    .exp_sum = exp_sum,
    .scale = scale,
    .sigmoid = sigmoid,
    .sgd = sgd,
    .adagrad = adagrad,
    .adam = adam,
    .draw_words = draw_words,
};
