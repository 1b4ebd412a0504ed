/* All kernels for one instruction set and their table; the including file chooses the set (lshsample/simd.h). */
#include "kernels.h"
#include "lshsample/simd.h"
#include "square.h"

LSH_KERNELS_BEGIN

#include "vector.h"
#include "product_body.h"
#include "loss_body.h"
#include "hinge_body.h"
#include "draw_body.h"
#include "conv_body.h"

#include "gather.h"
#include "float32.h"
#define LSH_DTYPE float32
#include "row_body.h"
#undef LSH_DTYPE
#include "bfloat16.h"
#define LSH_DTYPE bfloat16
#include "row_body.h"
#undef LSH_DTYPE
#include "coded_body.h"

LSH_KERNELS_END

#define LSH_KERNEL_ENTRY(result, name, arguments) .name = name,
#define LSH_DTYPE_ENTRY(code, name) .name = &LSH_PASTE(rows, name),

const lsh_kernels LSH_NAME(lsh_kernels) = {
    .panel_columns = LSH_PANEL,
    LSH_ROW_DTYPES(LSH_DTYPE_ENTRY)
    LSH_KERNELS(LSH_KERNEL_ENTRY)
};
