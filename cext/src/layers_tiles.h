/* Dense products in tile registers: those of lshsample/layers.h with operands rounded to bfloat16. */
#ifndef LSHSAMPLE_LAYERS_TILES_H
#define LSHSAMPLE_LAYERS_TILES_H

#include "lshsample/status.h"
#include "lshsample/views.h"
#include "tiles.h"

/* As the public functions, over views that fit: b of nt and nn is bfloat16, that of tn float32. No size is 0. */
lsh_status lsh_tiles_nt(const lsh_tile_kernels *kernels, lsh_dense a, lsh_dense b, const int32_t *rows, const float *bias,
                        int64_t bias_stride, lsh_dense out, int32_t threads);
lsh_status lsh_tiles_nn(const lsh_tile_kernels *kernels, lsh_dense a, lsh_dense b, const int32_t *rows, lsh_dense out,
                        int32_t threads);
lsh_status lsh_tiles_tn(const lsh_tile_kernels *kernels, lsh_dense a, lsh_dense b, lsh_dense out, int32_t threads);

#endif
