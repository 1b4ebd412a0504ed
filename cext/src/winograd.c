#include <stdlib.h>
#include <string.h>

#include "lshsample/convolution.h"
#include "lshsample/parallel.h"
#include "planes.h"

/* Blocks of GROUP images come one after another. In a block, the inputs of each tile become points, which lie as
 * (point, channel, tile, image); at each point the filters are sparse rows over the channels, and the results become
 * tiles of the output. */
enum { BACK_ROWS = 64 }; /* rows of points whose weight gradients are one piece of work */

typedef struct {
    const lsh_kernels *kernels;
    int64_t tile, size, across, tiles;  /* outputs and inputs of a tile in one direction; tiles in a row, in an image */
    int64_t run, runs;                  /* groups of a run of tiles, runs */
    int64_t first, images;              /* of the block */
    const float *source;                /* that is packed, into planes, and mapped to points */
    lsh_planes planes;
    int32_t map;
    float *packed, *points;
    lsh_entries entries;
    int64_t rows, height, width;        /* results by point; of the target */
    float *results;
    lsh_planes target_planes;           /* tiles that overlap are added there */
    const float *bias;
    float *target, *work, *sums;
    int32_t threads;
} job;

static int64_t height_of(const lsh_convolution *s) { return s->height + 2 * s->padding_y - 2; }
static int64_t width_of(const lsh_convolution *s) { return s->width + 2 * s->padding_x - 2; }

static int is_valid(const lsh_convolution *s, int32_t tile) {
    return (tile == 2 || tile == 4) && s->images >= 0 && s->channels > 0 && s->filters > 0 && s->kernel_height == 3 &&
           s->kernel_width == 3 && s->stride_y == 1 && s->stride_x == 1 && s->dilation_y == 1 && s->dilation_x == 1 &&
           s->padding_y >= 0 && s->padding_x >= 0 && height_of(s) > 0 && width_of(s) > 0;
}

static job job_of(const lsh_convolution *s, int32_t tile, int32_t threads) {
    job j = {.kernels = lsh_kernels_current(), .tile = tile, .size = tile + 2, .threads = threads};
    j.across = parts_of(width_of(s), tile);
    j.tiles = j.across * parts_of(height_of(s), tile);
    j.runs = parts_of(j.tiles, RUN);
    j.run = parts_of(j.tiles, j.runs);
    return j;
}

static int64_t n_points(const job *j) { return j->size * j->size; }

/* Images in planes whose tiles are all whole; with or without the padding and the places around. */
static lsh_planes images_in_tiles(const job *j, const lsh_convolution *s) {
    lsh_planes p = lsh_planes_of(s->channels, s->height, s->width, j->tiles / j->across * j->tile + 2, j->across * j->tile + 2,
                                 1, 1, GROUP);
    p.top = s->padding_y;
    p.left = s->padding_x;
    return p;
}

static lsh_planes outputs_in_tiles(const job *j, const lsh_convolution *s) {
    return lsh_planes_of(s->filters, height_of(s), width_of(s), j->tiles / j->across * j->tile, j->across * j->tile, 1, 1,
                         GROUP);
}

static lsh_status points_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const job *j = context;
    const lsh_planes *p = &j->planes;
    float *plane = j->packed + worker * p->plane;
    int64_t column = p->channels * j->tiles * GROUP, row = j->size * column;
    for (int64_t c = begin; c < end; c++) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        lsh_pack_plane(j->kernels, p, j->source, j->first, j->images, c, plane);
        for (int64_t t = 0; t < j->tiles; t++) {
            const float *from = plane + (t / j->across * j->tile * p->columns + t % j->across * j->tile) * GROUP;
            j->kernels->winograd_map(j->map, from, p->columns * GROUP, GROUP, j->points + (c * j->tiles + t) * GROUP, row,
                                     column);
        }
    }
    return LSH_OK;
}

/* The source at the points. */
static lsh_status to_points(job *j, const float *source, lsh_planes planes, int32_t map, float *points) {
    j->source = source;
    j->planes = planes;
    j->map = map + (int32_t)j->tile;
    j->points = points;
    return lsh_parallel_for(planes.channels, 1, j->threads, points_chunk, j);
}

static lsh_status products_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    int64_t floats = j->tiles * GROUP, parts = parts_of(j->rows, FILTERS);
    for (int64_t i = begin; i < end; i++) {
        int64_t point = i / (parts * j->runs), k = i / j->runs % parts * FILTERS, from = i % j->runs * j->run;
        lsh_run r = {.groups = least(j->run, j->tiles - from), .in = from * GROUP};
        int64_t n = least(FILTERS, j->rows - k);
        float *out = j->results + (point * j->rows + k) * floats + from * GROUP;
        lsh_status status = lsh_sum_runs(j->kernels, &j->entries, point * j->rows + k, n,
                                         j->points + point * j->planes.channels * floats, r, NULL, out, floats);
        if (status != LSH_OK) return status;
    }
    return LSH_OK;
}

/* Tiles of results to a plane of the target. Those of inputs overlap by two places. */
static lsh_status tiles_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const job *j = context;
    const lsh_planes *p = &j->target_planes;
    int is_output = j->map == LSH_OUTPUTS + j->tile;
    int64_t side = is_output ? j->tile : j->size, column = j->rows * j->tiles * GROUP, row = j->size * column;
    float *plane = j->work + worker * p->plane;
    _Alignas(64) float tile[6 * 6 * GROUP];
    for (int64_t k = begin; k < end; k++) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        memset(plane, 0, (size_t)p->plane * sizeof *plane);
        for (int64_t t = 0; t < j->tiles; t++) {
            j->kernels->winograd_map(j->map, j->results + (k * j->tiles + t) * GROUP, row, column, tile, side * GROUP, GROUP);
            float *to = plane + (t / j->across * j->tile * p->columns + t % j->across * j->tile) * GROUP;
            for (int64_t y = 0; y < side; y++)
                j->kernels->add(to + y * p->columns * GROUP, tile + y * side * GROUP, side * GROUP);
        }
        float bias = j->bias ? j->bias[k] : 0.0f;
        float *out = j->target + (j->first * j->rows + k) * j->height * j->width;
        for (int64_t i = 0; i < p->plane && bias != 0; i++) plane[i] += bias;
        for (int64_t y = 0; y < j->height; y++)
            j->kernels->transpose(plane + ((y + p->top) * p->columns + p->left) * GROUP, GROUP, j->width, j->images,
                                  out + y * j->width, j->rows * j->height * j->width);
    }
    return LSH_OK;
}

static lsh_status multiply(job *j, lsh_planes target, int32_t map) {
    j->target_planes = target;
    j->height = target.height;
    j->width = target.width;
    lsh_status status = lsh_parallel_for(n_points(j) * parts_of(j->rows, FILTERS) * j->runs, 1, j->threads, products_chunk, j);
    j->map = map + (int32_t)j->tile;
    return status == LSH_OK ? lsh_parallel_for(j->rows, 1, j->threads, tiles_chunk, j) : status;
}

static lsh_status index_points(job *j, lsh_csr rows, int64_t channels) {
    int64_t start = 0;
    return lsh_index_entries(&j->entries, rows, 1, &start, j->tiles * GROUP, channels, j->run * GROUP * 4);
}

/* Source to target through the points. */
static lsh_status run_blocks(job *j, const lsh_convolution *s, const float *source, lsh_planes from, int32_t to, lsh_planes target,
                             int32_t back, lsh_csr rows) {
    j->rows = target.channels;
    lsh_status status = index_points(j, rows, from.channels);
    if (status != LSH_OK) return status;
    int64_t floats = n_points(j) * j->tiles * GROUP;
    float *points = new_array(floats, from.channels, sizeof(float));
    j->results = new_array(floats, target.channels, sizeof(float));
    j->packed = new_array(j->threads, from.plane, sizeof(float));
    j->work = new_array(j->threads, target.plane, sizeof(float));
    status = points && j->results && j->packed && j->work ? LSH_OK : LSH_NO_MEMORY;
    for (j->first = 0; j->first < s->images && status == LSH_OK; j->first += GROUP) {
        j->images = least(GROUP, s->images - j->first);
        status = to_points(j, source, from, to, points);
        if (status == LSH_OK) status = multiply(j, target, back);
    }
    lsh_free_entries(&j->entries);
    free(points);
    free(j->results);
    free(j->packed);
    free(j->work);
    return status;
}

static int fits(lsh_csr rows, const job *j, int64_t each, int64_t columns) {
    return rows.rows == n_points(j) * each && rows.cols == columns;
}

lsh_status lsh_winograd(lsh_convolution shape, int32_t tile, const float *images, lsh_csr points, const float *bias,
                        float *out, int32_t threads) {
    if (!is_valid(&shape, tile)) return LSH_INVALID;
    job j = job_of(&shape, tile, threads);
    if (!fits(points, &j, shape.filters, shape.channels)) return LSH_INVALID;
    j.bias = bias;
    j.target = out;
    return run_blocks(&j, &shape, images, images_in_tiles(&j, &shape), LSH_POINTS, outputs_in_tiles(&j, &shape), LSH_OUTPUTS,
                      points);
}

lsh_status lsh_winograd_images(lsh_convolution shape, int32_t tile, const float *gradient, lsh_csr transposed, float *out,
                               int32_t threads) {
    if (!is_valid(&shape, tile)) return LSH_INVALID;
    job j = job_of(&shape, tile, threads);
    if (!fits(transposed, &j, shape.channels, shape.filters)) return LSH_INVALID;
    j.target = out;
    return run_blocks(&j, &shape, gradient, outputs_in_tiles(&j, &shape), LSH_OUTPUTS_BACK, images_in_tiles(&j, &shape),
                      LSH_POINTS_BACK, transposed);
}

/* The sums of the entries of some rows over the tiles of a block. */
static lsh_status sums_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    const lsh_entries *e = &j->entries;
    int64_t floats = j->tiles * GROUP;
    for (int64_t i = 0; i < j->runs; i++) {
        int64_t from = i * j->run, groups = least(j->run, j->tiles - from);
        for (int64_t s = 0; s < e->slabs; s++) {
            if (lsh_interrupted()) return LSH_INTERRUPTED;
            for (int64_t k = begin; k < end; k++) {
                int64_t t = e->bounds[s * e->rows + k], to = e->bounds[(s + 1) * e->rows + k];
                const float *in = j->points + k / j->rows * j->planes.channels * floats + from * GROUP;
                if (t < to)
                    j->kernels->dot_runs(j->results + k * floats + from * GROUP, e->offsets + t, to - t, in,
                                         j->sums + t * GROUP, groups);
            }
        }
    }
    return LSH_OK;
}

lsh_status lsh_winograd_points(lsh_convolution shape, int32_t tile, const float *images, const float *gradient,
                               lsh_csr points, float *values, int32_t threads) {
    if (!is_valid(&shape, tile)) return LSH_INVALID;
    job j = job_of(&shape, tile, threads);
    if (!fits(points, &j, shape.filters, shape.channels)) return LSH_INVALID;
    lsh_planes inputs = images_in_tiles(&j, &shape), outputs = outputs_in_tiles(&j, &shape);
    lsh_status status = index_points(&j, points, shape.channels);
    if (status != LSH_OK) return status;
    int64_t floats = n_points(&j) * j.tiles * GROUP, nnz = points.indptr[points.rows];
    float *before = new_array(floats, shape.channels, sizeof(float));
    j.rows = shape.filters;
    j.results = new_array(floats, shape.filters, sizeof(float));
    j.packed = new_array(threads, inputs.plane > outputs.plane ? inputs.plane : outputs.plane, sizeof(float));
    j.sums = new_array(nnz, GROUP, sizeof(float));
    status = before && j.results && j.packed && j.sums ? LSH_OK : LSH_NO_MEMORY;
    if (j.sums) memset(j.sums, 0, (size_t)(nnz * GROUP) * sizeof *j.sums);
    for (j.first = 0; j.first < shape.images && status == LSH_OK; j.first += GROUP) {
        j.images = least(GROUP, shape.images - j.first);
        status = to_points(&j, gradient, outputs, LSH_OUTPUTS_BACK, j.results);
        if (status == LSH_OK) status = to_points(&j, images, inputs, LSH_POINTS, before);
        if (status == LSH_OK) status = lsh_parallel_for(points.rows, BACK_ROWS, threads, sums_chunk, &j);
    }
    if (status == LSH_OK) lsh_add_groups(j.sums, nnz, values);
    lsh_free_entries(&j.entries);
    free(before);
    free(j.results);
    free(j.packed);
    free(j.sums);
    return status;
}
