#include "planes.h"

#include <stdlib.h>
#include <string.h>

#include "lshsample/parallel.h"

lsh_planes lsh_planes_of(int64_t channels, int64_t height, int64_t width, int64_t padded_height, int64_t padded_width,
                         int64_t phases_y, int64_t phases_x, int64_t lanes) {
    lsh_planes p = {.channels = channels, .height = height, .width = width, .spread_y = 1, .spread_x = 1,
                    .phases_y = phases_y, .phases_x = phases_x, .rows = parts_of(padded_height, phases_y),
                    .columns = parts_of(padded_width, phases_x), .lanes = lanes};
    p.plane = phases_y * phases_x * p.rows * p.columns * lanes;
    return p;
}

void lsh_pack_plane(const lsh_kernels *kernels, const lsh_planes *p, const float *source, int64_t first, int64_t images,
                    int64_t c, float *to) {
    int64_t image = p->channels * p->height * p->width, height = p->rows * p->phases_y, width = p->columns * p->phases_x;
    memset(to, 0, (size_t)p->plane * sizeof *to);
    for (int64_t y = 0; y < p->height; y++) {
        int64_t row = y * p->spread_y + p->top;
        if (row < 0 || row >= height) continue;
        const float *from = source + ((first * p->channels + c) * p->height + y) * p->width;
        if (p->phases_x == 1 && p->spread_x == 1) { /* a row is one matrix of images and places */
            int64_t begin = p->left < 0 ? -p->left : 0, end = least(p->width, width - p->left);
            float *at = to + ((row % p->phases_y * p->rows + row / p->phases_y) * p->columns + p->left + begin) * p->lanes;
            if (begin < end) kernels->transpose(from + begin, image, images, end - begin, at, p->lanes);
            continue;
        }
        for (int64_t x = 0; x < p->width; x++) {
            int64_t column = x * p->spread_x + p->left;
            if (column < 0 || column >= width) continue;
            int64_t phase = row % p->phases_y * p->phases_x + column % p->phases_x;
            float *at = to + ((phase * p->rows + row / p->phases_y) * p->columns + column / p->phases_x) * p->lanes;
            for (int64_t i = 0; i < images; i++) at[i] = from[i * image + x];
        }
    }
}

lsh_status lsh_index_entries(lsh_entries *e, lsh_csr rows, int64_t kernel, const int64_t *at, int64_t plane, int64_t channels,
                             int64_t bytes) {
    int64_t nnz = rows.rows ? rows.indptr[rows.rows] : 0, slab = bytes < SLAB ? SLAB / bytes : 1;
    if (plane > INT32_MAX || plane * channels > INT32_MAX) return LSH_INVALID;
    *e = (lsh_entries){.values = rows.values, .rows = rows.rows, .slabs = parts_of(channels, slab)};
    e->offsets = malloc((size_t)(nnz + 1) * sizeof *e->offsets);
    e->bounds = malloc((size_t)((e->slabs + 1) * rows.rows + 1) * sizeof *e->bounds);
    if (!e->offsets || !e->bounds) {
        lsh_free_entries(e);
        return LSH_NO_MEMORY;
    }
    for (int64_t k = 0; k < rows.rows; k++) {
        int64_t t = rows.indptr[k];
        for (int64_t s = 0; s <= e->slabs; s++) {
            int64_t end = least(s * slab, channels) * kernel;
            for (; t < rows.indptr[k + 1] && rows.indices[t] < end; t++)
                e->offsets[t] = (int32_t)(rows.indices[t] / kernel * plane + at[rows.indices[t] % kernel]);
            e->bounds[s * rows.rows + k] = t;
        }
    }
    return LSH_OK;
}

void lsh_free_entries(lsh_entries *e) {
    free(e->offsets);
    free(e->bounds);
}

lsh_status lsh_sum_runs(const lsh_kernels *kernels, const lsh_entries *e, int64_t k, int64_t n, const float *in, lsh_run run,
                        const float *first, float *out, int64_t stride) {
    static const float zero = 0;
    for (int64_t s = 0; s < e->slabs; s++) {
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        const int64_t *from = e->bounds + s * e->rows + k, *to = from + e->rows;
        for (int64_t i = 0; i < n; i++)
            if (s == 0 || from[i] < to[i])
                kernels->add_runs(e->offsets + from[i], e->values + from[i], to[i] - from[i], in + run.in,
                                  s > 0 ? NULL : first ? first + i : &zero, out + i * stride, run.groups);
    }
    return LSH_OK;
}

void lsh_add_groups(const float *sums, int64_t n, float *values) {
    for (int64_t t = 0; t < n; t++) {
        double sum = 0;
        for (int i = 0; i < GROUP; i++) sum += (double)sums[t * GROUP + i];
        values[t] = (float)sum;
    }
}
