#include "lshsample/convolution.h"

#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "lshsample/parallel.h"
#include "planes.h"

/* Blocks come one after another, the work inside of a block is shared by threads. Blocks of many images have LSH_GROUP
 * lanes, and what is left over one. */
enum {
    LEAST_IMAGES = 10,     /* images from which a block of many is faster than each by itself */
    GROUP_FLOATS = 1 << 18, /* 1 MiB */
    BACK_FILTERS = 16      /* filters whose weight gradients are one piece of work */
};

/* The places of an output: `plane` floats for each filter, in rows of `columns` places, cut into runs. */
typedef struct {
    int64_t height, width, columns, plane, runs;
} outputs;

static outputs outputs_of(int64_t height, int64_t width, const lsh_planes *in) {
    outputs o = {.height = height, .width = width, .columns = in->lanes == 1 ? in->columns : width};
    if (in->lanes == 1) {
        int64_t groups = parts_of(height * in->columns, GROUP);
        o.plane = groups * GROUP;
        o.runs = parts_of(groups, RUN);
    } else {
        o.plane = height * width * GROUP;
        o.runs = height * parts_of(width, RUN);
    }
    return o;
}

static lsh_run run_of(const outputs *o, const lsh_planes *in, int64_t i) {
    if (in->lanes == 1) {
        int64_t groups = o->plane / GROUP, size = parts_of(groups, o->runs);
        return (lsh_run){i * size * GROUP, least(size, groups - i * size), i * size * GROUP};
    }
    int64_t parts = o->runs / o->height, y = i / parts, size = parts_of(o->width, parts), x = i % parts * size;
    return (lsh_run){(y * o->width + x) * GROUP, least(size, o->width - x), (y * in->columns + x) * GROUP};
}

/* The entries of filters over kernels of height x width, at the places of `in`. */
static lsh_status index_filters(lsh_entries *e, lsh_csr filters, const lsh_planes *in, const outputs *out, int64_t height,
                                int64_t width, int64_t dilation_y, int64_t dilation_x) {
    int64_t *at = malloc((size_t)(height * width) * sizeof *at);
    if (!at) return LSH_NO_MEMORY;
    for (int64_t i = 0; i < height * width; i++) {
        int64_t y = i / width * dilation_y, x = i % width * dilation_x;
        int64_t phase = y % in->phases_y * in->phases_x + x % in->phases_x;
        at[i] = ((phase * in->rows + y / in->phases_y) * in->columns + x / in->phases_x) * in->lanes;
    }
    /* A run reads its own length, and as much around it, of each row of the kernel; with one lane of all rows at once. */
    int64_t floats = run_of(out, in, 0).groups * GROUP, around = (width - 1) * dilation_x / in->phases_x * in->lanes;
    int64_t bytes = 4 * (in->lanes == 1 ? floats + (height - 1) * dilation_y * in->columns : height * (floats + around));
    lsh_status status = lsh_index_entries(e, filters, height * width, at, in->plane, in->channels, bytes);
    free(at);
    return status;
}

/* One call over a batch. */
typedef struct {
    const lsh_kernels *kernels;
    lsh_planes in;
    outputs out;
    lsh_entries entries;
    int64_t first, images; /* of the block */
    const float *source, *bias;
    float *packed;   /* the block in `in` */
    float *work;     /* planes of `group` filters by thread */
    int64_t group;
    float *target;
    /* of gradients of filters */
    const float *gradient;
    float *packed_gradient, *sums;
    lsh_csr filters;
} job;

static lsh_status pack_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    for (int64_t c = begin; c < end; c++)
        lsh_pack_plane(j->kernels, &j->in, j->source, j->first, j->images, c, j->packed + c * j->in.plane);
    return LSH_OK;
}

/* The plane of filter k to the images. */
static void unpack_plane(const job *j, int64_t k, const float *plane) {
    const outputs *o = &j->out;
    int64_t lanes = j->in.lanes, pixels = o->height * o->width, image = j->entries.rows * pixels;
    float *to = j->target + (j->first * j->entries.rows + k) * pixels;
    if (o->columns == o->width) {
        j->kernels->transpose(plane, lanes, pixels, j->images, to, image);
        return;
    }
    for (int64_t y = 0; y < o->height; y++)
        j->kernels->transpose(plane + y * o->columns * lanes, lanes, o->width, j->images, to + y * o->width, image);
}

/* Whole planes of a group of filters, run by run, slab by slab. */
static lsh_status direct_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const job *j = context;
    int64_t plane = j->out.plane;
    float *work = j->work + worker * j->group * plane;
    for (int64_t k = begin; k < end; k += j->group) {
        int64_t n = least(j->group, end - k);
        for (int64_t i = 0; i < j->out.runs; i++) {
            lsh_run r = run_of(&j->out, &j->in, i);
            lsh_status status = lsh_sum_runs(j->kernels, &j->entries, k, n, j->packed, r, j->bias ? j->bias + k : NULL,
                                             work + r.from, plane);
            if (status != LSH_OK) return status;
        }
        for (int64_t f = 0; f < n; f++) unpack_plane(j, k + f, work + f * plane);
    }
    return LSH_OK;
}

/* Filters that one piece of work has: their planes stay in L2, and each thread has some. */
static int64_t group_of(const job *j, int32_t threads) {
    int64_t fit = GROUP_FLOATS / j->out.plane, share = parts_of(j->entries.rows, threads);
    return fit < share ? (fit > 1 ? fit : 1) : share;
}

static int64_t lanes_for(int64_t left) { return left >= LEAST_IMAGES ? GROUP : 1; }

/* A convolution of stride 1 or more by kernel places, of images in blocks with as many lanes as `in` has. */
static lsh_status convolve_blocks(job *j, int64_t from, int64_t to, lsh_csr filters, int64_t height, int64_t width,
                                  int64_t dilation_y, int64_t dilation_x, int32_t threads) {
    lsh_status status = index_filters(&j->entries, filters, &j->in, &j->out, height, width, dilation_y, dilation_x);
    if (status != LSH_OK) return status;
    int64_t behind = j->in.columns + RUN * GROUP; /* runs of whole groups may read behind the last plane */
    j->packed = new_array(j->in.channels * j->in.plane + behind, 1, sizeof(float));
    j->group = group_of(j, threads);
    j->work = new_array(threads, j->group * j->out.plane, sizeof(float));
    status = j->packed && j->work ? LSH_OK : LSH_NO_MEMORY;
    if (j->packed) memset(j->packed + j->in.channels * j->in.plane, 0, (size_t)behind * sizeof(float));
    for (; from < to && status == LSH_OK; from += j->images) {
        j->first = from;
        j->images = least(j->in.lanes, to - from);
        status = lsh_parallel_for(j->in.channels, 1, threads, pack_chunk, j);
        if (status == LSH_OK) status = lsh_parallel_for(filters.rows, j->group, threads, direct_chunk, j);
    }
    lsh_free_entries(&j->entries);
    free(j->packed);
    free(j->work);
    return status;
}

static int64_t output_size(int64_t size, int64_t padding, int64_t kernel, int64_t dilation, int64_t stride) {
    return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
}

static int is_valid(const lsh_convolution *s) {
    int64_t extent_y = s->dilation_y * (s->kernel_height - 1) + 1, extent_x = s->dilation_x * (s->kernel_width - 1) + 1;
    return s->images >= 0 && s->channels > 0 && s->filters > 0 && s->kernel_height > 0 && s->kernel_width > 0 &&
           s->stride_y > 0 && s->stride_x > 0 && s->dilation_y > 0 && s->dilation_x > 0 && s->padding_y >= 0 &&
           s->padding_x >= 0 && s->height + 2 * s->padding_y >= extent_y && s->width + 2 * s->padding_x >= extent_x;
}

static int fits(lsh_csr filters, int64_t rows, int64_t columns) { return filters.rows == rows && filters.cols == columns; }

static lsh_planes input_planes(const lsh_convolution *s, int64_t lanes) {
    lsh_planes l = lsh_planes_of(s->channels, s->height, s->width, s->height + 2 * s->padding_y, s->width + 2 * s->padding_x,
                         s->stride_y, s->stride_x, lanes);
    l.top = s->padding_y;
    l.left = s->padding_x;
    return l;
}

/* Calls `part` for the blocks with many lanes, then for single images. */
typedef lsh_status (*blocks_fn)(void *context, int64_t from, int64_t to, int64_t lanes);

static lsh_status by_lanes(int64_t images, blocks_fn part, void *context) {
    int64_t rest = images % GROUP, many = lanes_for(rest) == GROUP ? images : images - rest;
    lsh_status status = many ? part(context, 0, many, GROUP) : LSH_OK;
    return status == LSH_OK && many < images ? part(context, many, images, 1) : status;
}

typedef struct {
    lsh_convolution shape;
    const float *source, *gradient, *bias;
    lsh_csr filters;
    float *target;
    int32_t threads;
} request;

static int64_t height_of(const lsh_convolution *s) {
    return output_size(s->height, s->padding_y, s->kernel_height, s->dilation_y, s->stride_y);
}

static int64_t width_of(const lsh_convolution *s) {
    return output_size(s->width, s->padding_x, s->kernel_width, s->dilation_x, s->stride_x);
}

static lsh_status forward_blocks(void *context, int64_t from, int64_t to, int64_t lanes) {
    const request *q = context;
    const lsh_convolution *s = &q->shape;
    job j = {.kernels = lsh_kernels_current(), .in = input_planes(s, lanes), .source = q->source, .bias = q->bias,
             .target = q->target};
    j.out = outputs_of(height_of(s), width_of(s), &j.in);
    return convolve_blocks(&j, from, to, q->filters, s->kernel_height, s->kernel_width, s->dilation_y, s->dilation_x,
                           q->threads);
}

lsh_status lsh_convolve(lsh_convolution shape, const float *images, lsh_csr filters, const float *bias, float *out,
                        int32_t threads) {
    if (!is_valid(&shape) ||
        !fits(filters, shape.filters, shape.channels * shape.kernel_height * shape.kernel_width))
        return LSH_INVALID;
    request q = {.shape = shape, .source = images, .bias = bias, .filters = filters, .target = out, .threads = threads};
    return by_lanes(shape.images, forward_blocks, &q);
}

/* A convolution of the gradient, whose pixels stand a stride apart, by the kernels turned round. */
static lsh_status images_blocks(void *context, int64_t from, int64_t to, int64_t lanes) {
    const request *q = context;
    const lsh_convolution *s = &q->shape;
    int64_t around_y = s->dilation_y * (s->kernel_height - 1), around_x = s->dilation_x * (s->kernel_width - 1);
    job j = {.kernels = lsh_kernels_current(), .source = q->source, .target = q->target};
    j.in = lsh_planes_of(s->filters, height_of(s), width_of(s), s->height + around_y, s->width + around_x, 1, 1, lanes);
    j.in.spread_y = s->stride_y;
    j.in.spread_x = s->stride_x;
    j.in.top = around_y - s->padding_y;
    j.in.left = around_x - s->padding_x;
    j.out = outputs_of(s->height, s->width, &j.in);
    return convolve_blocks(&j, from, to, q->filters, s->kernel_height, s->kernel_width, s->dilation_y, s->dilation_x,
                           q->threads);
}

lsh_status lsh_convolve_images(lsh_convolution shape, const float *gradient, lsh_csr transposed, float *out,
                               int32_t threads) {
    if (!is_valid(&shape) ||
        !fits(transposed, shape.channels, shape.filters * shape.kernel_height * shape.kernel_width))
        return LSH_INVALID;
    request q = {.shape = shape, .source = gradient, .filters = transposed, .target = out, .threads = threads};
    return by_lanes(shape.images, images_blocks, &q);
}

/* Filter k of the gradient, from its images to the runs of the output; places without an output are 0. */
static lsh_status gradient_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    const outputs *o = &j->out;
    lsh_planes p = lsh_planes_of(j->filters.rows, o->height, o->width, o->height, o->columns, 1, 1, j->in.lanes);
    p.plane = o->plane; /* whole groups */
    for (int64_t k = begin; k < end; k++)
        lsh_pack_plane(j->kernels, &p, j->gradient, j->first, j->images, k, j->packed_gradient + k * o->plane);
    return LSH_OK;
}

/* The sums of the entries of BACK_FILTERS filters over all runs of a block. */
static lsh_status filters_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    const lsh_entries *e = &j->entries;
    for (int64_t i = 0; i < j->out.runs; i++) {
        lsh_run r = run_of(&j->out, &j->in, i);
        for (int64_t s = 0; s < e->slabs; s++) {
            if (lsh_interrupted()) return LSH_INTERRUPTED;
            for (int64_t k = begin; k < end; k++) {
                int64_t from = e->bounds[s * e->rows + k], to = e->bounds[(s + 1) * e->rows + k];
                if (from < to)
                    j->kernels->dot_runs(j->packed_gradient + k * j->out.plane + r.from, e->offsets + from, to - from,
                                         j->packed + r.in, j->sums + from * GROUP, r.groups);
            }
        }
    }
    return LSH_OK;
}

static lsh_status filters_blocks(void *context, int64_t from, int64_t to, int64_t lanes) {
    const request *q = context;
    const lsh_convolution *s = &q->shape;
    job j = {.kernels = lsh_kernels_current(), .in = input_planes(s, lanes), .source = q->source, .gradient = q->gradient,
             .filters = q->filters, .sums = q->target};
    j.out = outputs_of(height_of(s), width_of(s), &j.in);
    lsh_status status = index_filters(&j.entries, q->filters, &j.in, &j.out, s->kernel_height, s->kernel_width,
                                      s->dilation_y, s->dilation_x);
    if (status != LSH_OK) return status;
    int64_t behind = j.in.columns + RUN * GROUP;
    j.packed = new_array(s->channels * j.in.plane + behind, 1, sizeof(float));
    j.packed_gradient = new_array(s->filters, j.out.plane, sizeof(float));
    status = j.packed && j.packed_gradient ? LSH_OK : LSH_NO_MEMORY;
    if (j.packed) memset(j.packed + s->channels * j.in.plane, 0, (size_t)behind * sizeof(float));
    for (; from < to && status == LSH_OK; from += j.images) {
        j.first = from;
        j.images = least(lanes, to - from);
        status = lsh_parallel_for(s->channels, 1, q->threads, pack_chunk, &j);
        if (status == LSH_OK) status = lsh_parallel_for(s->filters, 1, q->threads, gradient_chunk, &j);
        if (status == LSH_OK) status = lsh_parallel_for(s->filters, BACK_FILTERS, q->threads, filters_chunk, &j);
    }
    lsh_free_entries(&j.entries);
    free(j.packed);
    free(j.packed_gradient);
    return status;
}

/* Runs a gradient of entries over groups of zeros. */
static lsh_status sum_entries(request *q, blocks_fn blocks, float *values) {
    int64_t nnz = q->filters.rows ? q->filters.indptr[q->filters.rows] : 0;
    q->target = new_array(nnz, GROUP, sizeof(float));
    if (!q->target) return LSH_NO_MEMORY;
    memset(q->target, 0, (size_t)(nnz * GROUP) * sizeof(float));
    lsh_status status = by_lanes(q->shape.images, blocks, q);
    if (status == LSH_OK) lsh_add_groups(q->target, nnz, values);
    free(q->target);
    return status;
}

lsh_status lsh_convolve_filters(lsh_convolution shape, const float *images, const float *gradient, lsh_csr filters,
                                float *values, int32_t threads) {
    if (!is_valid(&shape) ||
        !fits(filters, shape.filters, shape.channels * shape.kernel_height * shape.kernel_width))
        return LSH_INVALID;
    request q = {.shape = shape, .source = images, .gradient = gradient, .filters = filters, .threads = threads};
    return sum_entries(&q, filters_blocks, values);
}
