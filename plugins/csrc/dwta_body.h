/* Densified winner-take-all; see lshsample_families/dwta.py for what is computed. */
#ifndef LSHSAMPLE_FAMILIES_DWTA_BODY_H
#define LSHSAMPLE_FAMILIES_DWTA_BODY_H

#include "api/dwta.h"
#include "lanes_body.h"
#include "mix_body.h"

/* The column of the smallest random rank among those that are not zero gives the position of an empty window. */
static uint32_t LSH_NAME(borrowed)(const int32_t *columns, int64_t n, uint32_t seed, uint32_t window) {
    uint32_t least = UINT32_MAX;
    if (n == 0) return 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t rank = LSH_NAME(mix)((uint32_t)columns[i] * 0x9e3779b1u ^ seed);
        least = rank < least ? rank : least;
    }
    return least & (window - 1);
}

/* Bit r is set where lane r of a mask is. */
LSH_INLINE uint32_t LSH_NAME(lane_bits)(lsh_vi mask) {
#if defined(LSH_TARGET_AVX512)
    return _mm512_movepi32_mask((__m512i)mask);
#elif defined(LSH_TARGET_AVX2)
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
#elif defined(__x86_64__)
    return (uint32_t)_mm_movemask_ps((__m128)mask);
#elif defined(__aarch64__)
    const uint32x4_t places = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32((uint32x4_t)mask, places));
#else
    uint32_t bits = 0;
    for (int r = 0; r < LSH_WIDTH; r++) bits |= (uint32_t)(mask[r] & 1) << r;
    return bits;
#endif
}

/* The columns of each lane that are not zero, found when a window of the lane is empty. */
typedef struct {
    const float *columns;
    int64_t dim, n[LSH_WIDTH]; /* n: -1 until found */
    int32_t *found;            /* (LSH_WIDTH, dim) */
} LSH_NAME(lane_lists);

static const int32_t *LSH_NAME(columns_of)(LSH_NAME(lane_lists) *lists, int r) {
    int32_t *found = lists->found + r * lists->dim;
    if (lists->n[r] < 0) {
        int64_t n = 0;
        for (int64_t i = 0; i < lists->dim; i++)
            if (lists->columns[i * LSH_WIDTH + r] != -INFINITY) found[n++] = (int32_t)i;
        lists->n[r] = n;
    }
    return found;
}

/* Positions of the first largest value in a window; the lanes of `empty` saw nothing but zeros. */
LSH_INLINE lsh_vi LSH_NAME(winners)(const int32_t *window, int32_t size, const float *columns, uint32_t *empty) {
    lsh_vf best = lsh_load(columns + (int64_t)window[0] * LSH_WIDTH);
    lsh_vi place = {0};
    for (int32_t j = 1; j < size; j++) {
        lsh_vf value = lsh_load(columns + (int64_t)window[j] * LSH_WIDTH);
        lsh_vi better = value > best;
        best = (lsh_vf)(((lsh_vi)value & better) | ((lsh_vi)best & ~better));
        place = (((lsh_vi){0} + j) & better) | (place & ~better);
    }
    *empty = LSH_NAME(lane_bits)(best == lsh_splat(-INFINITY));
    return place;
}

static void LSH_NAME(window_codes)(const lsh_dwta_state *s, LSH_NAME(lane_lists) *lists, uint32_t *by) {
    int32_t shift = __builtin_ctz((uint32_t)s->window);
    const int32_t *window = s->windows;
    const uint32_t *seed = s->seeds;
    for (int32_t t = 0; t < s->n_tables; t++) {
        lsh_vi code = {0};
        for (int32_t k = 0; k < s->n_hashes; k++, window += s->window, seed++) {
            uint32_t empty;
            lsh_vi place = LSH_NAME(winners)(window, s->window, lists->columns, &empty);
            for (; empty; empty &= empty - 1) {
                int r = __builtin_ctz(empty);
                const int32_t *columns = LSH_NAME(columns_of)(lists, r);
                place[r] = (int32_t)LSH_NAME(borrowed)(columns, lists->n[r], *seed, (uint32_t)s->window);
            }
            code |= place << (k * shift);
        }
        LSH_NAME(store_ints)(by + (int64_t)t * LSH_WIDTH, code);
    }
}

/* Few columns: groups of rows side by side, each window read in turn. */
static int32_t LSH_NAME(dwta_windows)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                      int64_t stride, const int64_t *indptr, const int32_t *indices,
                                      uint32_t *codes, void *scratch) {
    const lsh_dwta_state *s = state;
    float *columns = scratch;
    int32_t *found = (int32_t *)(columns + dim * LSH_WIDTH);
    uint32_t *by = (uint32_t *)(found + dim * LSH_WIDTH);
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(lane_lists) lists = {.columns = columns, .dim = dim, .found = found};
        LSH_NAME(load_columns)(&rows, columns);
        for (int64_t i = 0; i < dim; i++) {
            lsh_vf value = lsh_load(columns + i * LSH_WIDTH);
            lsh_vi zero = value == (lsh_vf){0};
            lsh_vf absent = lsh_splat(-INFINITY);
            lsh_store(columns + i * LSH_WIDTH, (lsh_vf)(((lsh_vi)value & ~zero) | ((lsh_vi)absent & zero)));
        }
        for (int r = 0; r < LSH_WIDTH; r++) lists.n[r] = -1;
        LSH_NAME(window_codes)(s, &lists, by);
        LSH_NAME(store_codes)(by, s->n_tables, rows.n, codes + begin * s->n_tables);
    }
    return 0;
}

/* One entry of a row meets the windows that its column is in. */
LSH_INLINE void LSH_NAME(meet_windows)(const lsh_dwta_state *s, int32_t shift, int32_t column, float value,
                                       float *best, int32_t *place) {
    for (int64_t e = s->indptr[column]; e < s->indptr[column + 1]; e++) {
        uint32_t hash = s->entries[e] >> shift;
        int32_t j = (int32_t)(s->entries[e] & (uint32_t)(s->window - 1));
        if (value > best[hash] || (value == best[hash] && j < place[hash])) {
            best[hash] = value;
            place[hash] = j;
        }
    }
}

/* Many columns: each entry of a row looks up the windows that its column is in. */
static int32_t LSH_NAME(dwta_lists)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                    int64_t stride, const int64_t *indptr, const int32_t *indices, uint32_t *codes,
                                    void *scratch) {
    const lsh_dwta_state *s = state;
    int32_t shift = __builtin_ctz((uint32_t)s->window);
    int64_t n_all = (int64_t)s->n_hashes * s->n_tables;
    float *best = scratch;
    int32_t *place = (int32_t *)(best + n_all), *found = place + n_all;
    for (int64_t r = 0; r < n_rows; r++) {
        const float *row = indptr ? values + indptr[r] : values + r * stride;
        const int32_t *columns = indptr ? indices + indptr[r] : NULL;
        int64_t entries = indptr ? indptr[r + 1] - indptr[r] : dim, n = 0;
        for (int64_t h = 0; h < n_all; h++) best[h] = -INFINITY;
        for (int64_t i = 0; i < entries; i++) {
            if (row[i] == 0) continue;
            found[n] = columns ? columns[i] : (int32_t)i;
            LSH_NAME(meet_windows)(s, shift, found[n++], row[i], best, place);
        }
        for (int64_t h = 0, t = 0; t < s->n_tables; t++) {
            uint32_t code = 0;
            for (int32_t k = 0; k < s->n_hashes; k++, h++) {
                uint32_t position = best[h] != -INFINITY ? (uint32_t)place[h]
                                    : LSH_NAME(borrowed)(found, n, s->seeds[h], (uint32_t)s->window);
                code |= position << (k * shift);
            }
            codes[r * s->n_tables + t] = code;
        }
    }
    return 0;
}

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_dwta_scratch(const lsh_dwta_state *state) {
    int64_t windows = (2 * state->dim + state->n_tables) * LSH_WIDEST;
    int64_t lists = 2 * (int64_t)state->n_hashes * state->n_tables + state->dim;
    return 4 * (state->indptr ? lists : windows);
}
#endif

#endif
