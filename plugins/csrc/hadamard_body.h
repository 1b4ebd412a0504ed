/* SimHash through fast Hadamard transforms; see lshsample_families/_projections.py for what is computed. */
#ifndef LSHSAMPLE_FAMILIES_HADAMARD_BODY_H
#define LSHSAMPLE_FAMILIES_HADAMARD_BODY_H

#include "api/projections.h"
#include "lanes_body.h"

/* Butterflies of strides 1, 2, ..., radix / 2 between `radix` vectors in registers. Written out, as compilers that unroll
 * nested loops late leave the array in memory. */
#define LSH_PAIR(x, i, j)                      \
    do {                                       \
        lsh_vf a_ = (x)[i], b_ = (x)[j];       \
        (x)[i] = a_ + b_;                      \
        (x)[j] = a_ - b_;                      \
    } while (0)
#define LSH_STAGES_1(x)
#define LSH_STAGES_2(x) LSH_PAIR(x, 0, 1)
#define LSH_STAGES_4(x)     \
    LSH_STAGES_2(x);        \
    LSH_STAGES_2((x) + 2);  \
    LSH_PAIR(x, 0, 2);      \
    LSH_PAIR(x, 1, 3)
#define LSH_STAGES_8(x)     \
    LSH_STAGES_4(x);        \
    LSH_STAGES_4((x) + 4);  \
    LSH_PAIR(x, 0, 4);      \
    LSH_PAIR(x, 1, 5);      \
    LSH_PAIR(x, 2, 6);      \
    LSH_PAIR(x, 3, 7)
#define LSH_STAGES_16(x)    \
    LSH_STAGES_8(x);        \
    LSH_STAGES_8((x) + 8);  \
    LSH_PAIR(x, 0, 8);      \
    LSH_PAIR(x, 1, 9);      \
    LSH_PAIR(x, 2, 10);     \
    LSH_PAIR(x, 3, 11);     \
    LSH_PAIR(x, 4, 12);     \
    LSH_PAIR(x, 5, 13);     \
    LSH_PAIR(x, 6, 14);     \
    LSH_PAIR(x, 7, 15)

/* One pass over `size` vectors: the stages of strides h, 2h, ..., radix h / 2. */
#define LSH_BUTTERFLIES(radix)                                                                       \
    LSH_INLINE void LSH_PASTE(LSH_NAME(butterflies), radix)(float *v, int64_t size, int64_t h) {               \
        for (int64_t base = 0; base < size; base += (radix) * h)                                     \
            for (int64_t j = base; j < base + h; j++) {                                              \
                lsh_vf x[radix];                                                                     \
                for (int i = 0; i < (radix); i++) x[i] = lsh_load(v + (j + i * h) * LSH_WIDTH);      \
                LSH_STAGES_##radix(x);                                                                \
                for (int i = 0; i < (radix); i++) lsh_store(v + (j + i * h) * LSH_WIDTH, x[i]);      \
            }                                                                                        \
    }

LSH_BUTTERFLIES(1)
LSH_BUTTERFLIES(2)
LSH_BUTTERFLIES(4)
LSH_BUTTERFLIES(8)
#if LSH_WIDTH == 16
LSH_BUTTERFLIES(16)
#endif

/* The largest radix of a last pass: sixteen vectors stay in registers where there are 32 of them. A middle pass has
 * radix 8, so that what is left after any number of them is at least 2. */
#if LSH_WIDTH == 16
#define LSH_LAST 16
#define LSH_LAST_16(call) case 16: call; break;
#else
#define LSH_LAST 8
#define LSH_LAST_16(call)
#endif
#define LSH_WITH_LAST_RADIX(radix, name, arguments)                                                  \
    switch (radix) {                                                                                 \
    case 1: LSH_PASTE(name, 1) arguments; break;                                                     \
    case 2: LSH_PASTE(name, 2) arguments; break;                                                     \
    case 4: LSH_PASTE(name, 4) arguments; break;                                                     \
    case 8: LSH_PASTE(name, 8) arguments; break;                                                     \
    LSH_LAST_16(LSH_PASTE(name, 16) arguments)                                                       \
    }

/* The first pass, for a number of folds that the compiler knows; with a scale for each lane or without (NULL). */
LSH_INLINE void LSH_NAME(folded_pass)(const float *y, const lsh_vf *scale, const float *diagonal, int64_t outputs,
                                      int64_t folds, float *v) {
    for (int64_t base = 0; base < outputs; base += 8) {
        lsh_vf x[8];
        for (int i = 0; i < 8; i++) {
            lsh_vf value = lsh_load(y + (base + i) * LSH_WIDTH);
            x[i] = (scale ? value * *scale : value) * lsh_splat(diagonal[base + i]);
        }
        for (int64_t fold = 1; fold < folds; fold++) {
            const float *more = y + (base + fold * outputs) * LSH_WIDTH, *d = diagonal + base + fold * outputs;
            for (int i = 0; i < 8; i++) x[i] = x[i] + lsh_load(more + i * LSH_WIDTH) * lsh_splat(d[i]);
        }
        LSH_STAGES_8(x);
        for (int i = 0; i < 8; i++) lsh_store(v + (base + i) * LSH_WIDTH, x[i]);
    }
}

/* v = the first three stages of the transform of diagonal * y, of which vectors i, i + M, i + 2M, ... are added to one
 * (M = `outputs`, at least 8). v may be y where M is D. */
static void LSH_NAME(scaled_pass)(const float *y, const float *diagonal, int64_t size, int64_t outputs, float *v) {
    int64_t folds = size / outputs;
    if (folds == 1) LSH_NAME(folded_pass)(y, NULL, diagonal, outputs, 1, v);
    else if (folds == 2) LSH_NAME(folded_pass)(y, NULL, diagonal, outputs, 2, v);
    else LSH_NAME(folded_pass)(y, NULL, diagonal, outputs, folds, v);
}

/* The passes after the first, but for the last: returns its stride h; its radix is size / h, at most LSH_LAST. */
LSH_INLINE int64_t LSH_NAME(middle_passes)(float *v, int64_t size) {
    int64_t h = 8;
    for (; h * LSH_LAST < size; h *= 8) LSH_PASTE(LSH_NAME(butterflies), 8)(v, size, h);
    return h;
}

/* The rest of a transform after its first pass. */
static void LSH_NAME(later_passes)(float *v, int64_t size) {
    int64_t h = LSH_NAME(middle_passes)(v, size);
    LSH_WITH_LAST_RADIX(size / h, LSH_NAME(butterflies), (v, size, h))
}

LSH_INLINE lsh_vi LSH_NAME(larger)(lsh_vi a, lsh_vi b) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
#elif defined(__aarch64__)
    return (lsh_vi)vmaxq_s32((int32x4_t)a, (int32x4_t)b);
#else
    lsh_vi more = a > b;
    return (a & more) | (b & ~more);
#endif
}

/* Powers of two that bring each lane's largest magnitude to [1, 4). */
static lsh_vf LSH_NAME(lane_scales)(const float *columns, int64_t dim) {
    lsh_vi largest = {0}, low = (lsh_vi){0} + 1, high = (lsh_vi){0} + 254;
    for (int64_t i = 0; i < dim; i++) {
        lsh_vi v = LSH_NAME(load_ints)(columns + i * LSH_WIDTH) & 0x7fffffff;
        largest = LSH_NAME(larger)(v, largest);
    }
    lsh_vi e = 254 - (largest >> 23);
    lsh_vi below = e < low, above = e > high;
    e = (low & below) | (high & above) | (e & ~below & ~above);
    e <<= 23;
    lsh_vf scales;
    memcpy(&scales, &e, sizeof scales);
    return scales;
}

/* y = H S2 H S1 x, each row times its power of two; columns from dim to D are zero. Returns the powers. */
static lsh_vf LSH_NAME(spread)(const lsh_hadamard_state *s, const LSH_NAME(row_group) *rows, float *y) {
    LSH_NAME(load_columns)(rows, y);
    memset(y + rows->dim * LSH_WIDTH, 0, (size_t)(s->size - rows->dim) * LSH_WIDTH * sizeof *y);
    lsh_vf scales = LSH_NAME(lane_scales)(y, rows->dim);
    LSH_NAME(folded_pass)(y, &scales, s->first_signs, s->size, 1, y);
    LSH_NAME(later_passes)(y, s->size);
    LSH_NAME(scaled_pass)(y, s->second_signs, s->size, s->size, y);
    LSH_NAME(later_passes)(y, s->size);
    return scales;
}

/* The last pass of a block's transform gives margins, of which only the sides matter: bit k of the code of table
 * tables[o] is whether margin o is not negative. */
#define LSH_LAST_PASS(radix)                                                                                        \
    LSH_INLINE void LSH_PASTE(LSH_NAME(sides), radix)(const float *v, int64_t h, const int32_t *tables, int32_t k,            \
                                            uint32_t *codes) {                                                      \
        lsh_vi bit = (lsh_vi){0} + (int32_t)(1u << k);                                                              \
        for (int64_t j = 0; j < h; j++) {                                                                           \
            lsh_vf x[radix];                                                                                        \
            for (int i = 0; i < (radix); i++) x[i] = lsh_load(v + (j + i * h) * LSH_WIDTH);                         \
            LSH_STAGES_##radix(x);                                                                                   \
            for (int i = 0; i < (radix); i++) {                                                                     \
                uint32_t *code = codes + (int64_t)tables[j + i * h] * LSH_WIDTH;                                    \
                LSH_NAME(store_ints)(code, LSH_NAME(load_ints)(code) | ((x[i] >= (lsh_vf){0}) & bit));              \
            }                                                                                                       \
        }                                                                                                           \
    }

LSH_LAST_PASS(1)
LSH_LAST_PASS(2)
LSH_LAST_PASS(4)
LSH_LAST_PASS(8)
#if LSH_WIDTH == 16
LSH_LAST_PASS(16)
#endif

/* Codes by[t * LSH_WIDTH + lane], for groups * M tables, of which those from L on are not used. */
static void LSH_NAME(hadamard_codes)(const lsh_hadamard_state *s, const float *y, float *v, uint32_t *by) {
    memset(by, 0, (size_t)(s->groups * s->outputs) * LSH_WIDTH * sizeof *by);
    for (int64_t block = 0; block < s->groups * s->shape.n_hashes; block++) {
        int64_t group = block / s->shape.n_hashes;
        int32_t k = (int32_t)(block % s->shape.n_hashes);
        uint32_t *codes = by + group * s->outputs * LSH_WIDTH;
        const int32_t *tables = s->tables + block * s->outputs;
        LSH_NAME(scaled_pass)(y, s->diagonals + block * s->size, s->size, s->outputs, v);
        int64_t h = LSH_NAME(middle_passes)(v, s->outputs);
        LSH_WITH_LAST_RADIX(s->outputs / h, LSH_NAME(sides), (v, h, tables, k, codes))
    }
}

static int32_t LSH_NAME(hadamard_hash)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                       int64_t stride, const int64_t *indptr, const int32_t *indices,
                                       uint32_t *codes, void *scratch) {
    const lsh_hadamard_state *s = state;
    float *y = scratch, *margins = y + s->size * LSH_WIDTH;
    uint32_t *by = (uint32_t *)(margins + s->outputs * LSH_WIDTH);
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(spread)(s, &rows, y);
        LSH_NAME(hadamard_codes)(s, y, margins, by);
        LSH_NAME(store_codes)(by, s->shape.n_tables, rows.n, codes + begin * s->shape.n_tables);
    }
    return 0;
}

/* Finds the n_probes codes of one row of a group, number r, in table t, from the table's margins. */
typedef int32_t (*LSH_NAME(probe_table))(const void *context, const float *table, int64_t r, int64_t t,
                                         int32_t n_probes, uint32_t *codes);

/* Codes of every table for n rows, spread as y. `margins` has room for K M vectors, and for K numbers after them. */
LSH_INLINE int32_t LSH_NAME(probe_group)(const lsh_hadamard_state *s, const float *y, int64_t n, float *margins,
                                         LSH_NAME(probe_table) probe, const void *context, int32_t n_probes,
                                         uint32_t *codes) {
    int64_t n_hashes = s->shape.n_hashes, n_tables = s->shape.n_tables;
    float *table = margins + n_hashes * s->outputs * LSH_WIDTH;
    for (int64_t group = 0; group < s->groups; group++) {
        int64_t first = group * s->outputs;
        const int32_t *order = s->permutations + first * n_hashes;
        for (int64_t k = 0; k < n_hashes; k++) {
            float *v = margins + k * s->outputs * LSH_WIDTH;
            LSH_NAME(scaled_pass)(y, s->diagonals + (group * n_hashes + k) * s->size, s->size, s->outputs, v);
            LSH_NAME(later_passes)(v, s->outputs);
        }
        for (int64_t t = first; t < first + s->outputs && t < n_tables; t++)
            for (int64_t r = 0; r < n; r++) {
                for (int64_t k = 0; k < n_hashes; k++)
                    table[k] = margins[(k * s->outputs + order[k * s->outputs + t - first]) * LSH_WIDTH + r];
                int32_t status = probe(context, table, r, t, n_probes, codes + (r * n_tables + t) * n_probes);
                if (status) return status;
            }
    }
    return 0;
}

static int32_t LSH_NAME(probe_signs)(const void *shape, const float *table, int64_t r, int64_t t, int32_t n_probes,
                                     uint32_t *codes) {
    (void)r, (void)t;
    return lsh_probe_flips(table, ((const lsh_simhash_shape *)shape)->n_hashes, n_probes, codes);
}

static int32_t LSH_NAME(hadamard_probe)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                        int64_t stride, const int64_t *indptr, const int32_t *indices,
                                        int32_t n_probes, uint32_t *codes, void *scratch) {
    const lsh_hadamard_state *s = state;
    float *y = scratch, *margins = y + s->size * LSH_WIDTH;
    int32_t status = 0;
    for (int64_t begin = 0; begin < n_rows && !status; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(spread)(s, &rows, y);
        status = LSH_NAME(probe_group)(s, y, rows.n, margins, LSH_NAME(probe_signs), &s->shape, n_probes,
                                       codes + begin * s->shape.n_tables * n_probes);
    }
    return status;
}

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_hadamard_scratch(const lsh_hadamard_state *state) {
    int64_t codes = state->groups * state->outputs, margins = state->outputs * state->shape.n_hashes;
    int64_t hashing = state->outputs + codes;
    return (state->size + (hashing > margins ? hashing : margins)) * LSH_WIDEST * 4 + 4 * state->shape.n_hashes;
}
#endif

#endif
