/* Convolutions in two dimensions whose filters are sparse: directly, and in the domain of Winograd's transforms.
 *
 * Arrays are contiguous float32: images (n, channels, height, width), filters of `filters` x channels x kernel height x
 * kernel width as CSR rows, whose column is (channel * kernel height + y) * kernel width + x. Every function is
 * thread-safe as long as no two calls write the same memory, and gives the same bits for any number of threads. Returns
 * LSH_INVALID for sizes that do not match, LSH_NO_MEMORY if a workspace cannot be allocated. */
#ifndef LSHSAMPLE_CONVOLUTION_H
#define LSHSAMPLE_CONVOLUTION_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* The map from images to outputs; the output has (height + 2 padding - dilation (kernel - 1) - 1) / stride + 1 rows. */
typedef struct {
    int64_t images, channels, height, width;
    int64_t filters, kernel_height, kernel_width;
    int64_t stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
} lsh_convolution;

/* out(images, filters, out height, out width) = images * filters + bias (may be NULL). A nonzero of a filter is an axpy
 * over the output plane: 2 nnz out height out width operations an image. (Park et al., ICLR 2017) */
lsh_status lsh_convolve(lsh_convolution shape, const float *images, lsh_csr filters, const float *bias, float *out,
                        int32_t threads);
/* out(images, channels, height, width) = the gradient at the images. `transposed` has a row for each channel, and the
 * column (filter * kernel height + kernel height - 1 - y) * kernel width + kernel width - 1 - x. */
lsh_status lsh_convolve_images(lsh_convolution shape, const float *gradient, lsh_csr transposed, float *out,
                               int32_t threads);
/* values[t] = the gradient of entry t of the filters, whose own values are not read. */
lsh_status lsh_convolve_filters(lsh_convolution shape, const float *images, const float *gradient, lsh_csr filters,
                                float *values, int32_t threads);

/* The same for kernels of 3 x 3 with stride and dilation 1, in tiles of `tile` x `tile` outputs (2 or 4), f = (tile + 2)^2
 * points: y = A' [U * (B' d B)] A (Lavin & Gray, CVPR 2016), with U itself sparse (Liu et al., ICLR 2018). Row p * filters
 * + k of `points` holds the values of filter k at point p by channel; row p * channels + c of `transposed` those of
 * channel c by filter. */
lsh_status lsh_winograd(lsh_convolution shape, int32_t tile, const float *images, lsh_csr points, const float *bias,
                        float *out, int32_t threads);
lsh_status lsh_winograd_images(lsh_convolution shape, int32_t tile, const float *gradient, lsh_csr transposed, float *out,
                               int32_t threads);
lsh_status lsh_winograd_points(lsh_convolution shape, int32_t tile, const float *images, const float *gradient,
                               lsh_csr points, float *values, int32_t threads);

#endif
