/* Parts of convolutions: planes of images in memory, runs of outputs, entries of filters. */
#ifndef LSHSAMPLE_PLANES_H
#define LSHSAMPLE_PLANES_H

#include <stdint.h>

#include "arrays.h"
#include "kernels.h"
#include "lshsample/convolution.h"

enum {
    GROUP = LSH_GROUP,
    RUN = 14,        /* groups of a run */
    FILTERS = 128,   /* filters of one piece of work at a point: their runs stay in L2 */
    SLAB = 40 << 10  /* bytes of inputs that a pass over the filters reads: they stay in L1 */
};

/* Where the places of some images are in memory: (channels, phases of y, phases of x, rows, columns, lanes). The phases are
 * those of a stride, so that the places of one output row lie side by side. With GROUP lanes a group is one place of as many
 * images, those that are missing being 0, so that each output row is a run without a float for nothing. With one lane a
 * group is GROUP neighbouring places of an image, padding included, as rows alone would be short. */
typedef struct {
    int64_t channels, height, width; /* of the source */
    int64_t spread_y, spread_x;      /* places from one source pixel to the next: the gradient of a stride */
    int64_t top, left;               /* place of source pixel (0, 0); may be negative, which cuts pixels off */
    int64_t phases_y, phases_x, rows, columns, lanes;
    int64_t plane;                   /* floats of a channel */
} lsh_planes;

lsh_planes lsh_planes_of(int64_t channels, int64_t height, int64_t width, int64_t padded_height, int64_t padded_width,
                         int64_t phases_y, int64_t phases_x, int64_t lanes);
/* Channel c of images first .. first + images of a source (n, channels, height, width), to p->plane floats. */
void lsh_pack_plane(const lsh_kernels *kernels, const lsh_planes *p, const float *source, int64_t first, int64_t images,
                    int64_t c, float *to);

/* A part of an output's places: floats from its start and from that of the input's channel. */
typedef struct {
    int64_t from, groups, in;
} lsh_run;

/* The entries of sparse rows by slabs of channels: entries [bounds[s rows + k], bounds[(s + 1) rows + k]) of row k; offsets
 * are those of their inputs. */
typedef struct {
    const float *values;
    int32_t *offsets;
    int64_t *bounds;
    int64_t rows, slabs;
} lsh_entries;

/* Column c * kernel + i of `rows` reads at c * plane + at[i]; a slab has so many channels as fit, with `bytes` for each.
 * LSH_INVALID where an offset exceeds an int32. */
lsh_status lsh_index_entries(lsh_entries *e, lsh_csr rows, int64_t kernel, const int64_t *at, int64_t plane, int64_t channels,
                             int64_t bytes);
void lsh_free_entries(lsh_entries *e);
/* out + i * stride = first[i] (0 where NULL) and the run of row k + i, for i < n. */
lsh_status lsh_sum_runs(const lsh_kernels *kernels, const lsh_entries *e, int64_t k, int64_t n, const float *in, lsh_run run,
                        const float *first, float *out, int64_t stride);
/* values[t] = the sum of group t. */
void lsh_add_groups(const float *sums, int64_t n, float *values);

#endif
