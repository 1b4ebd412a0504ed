/* Plain winner-take-all, where zeros are values like others; see lshsample_families/wta.py. */
#ifndef LSHSAMPLE_FAMILIES_WTA_BODY_H
#define LSHSAMPLE_FAMILIES_WTA_BODY_H

#include "api/dwta.h"
#include "dwta_body.h"
#include "margins_body.h"

/* Few columns: groups of rows side by side, each window read in turn. */
static int32_t LSH_NAME(wta_windows)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                     int64_t stride, const int64_t *indptr, const int32_t *indices, uint32_t *codes,
                                     void *scratch) {
    const lsh_dwta_state *s = state;
    int32_t shift = __builtin_ctz((uint32_t)s->window);
    float *columns = scratch;
    uint32_t *by = (uint32_t *)(columns + dim * LSH_WIDTH), unused;
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(load_columns)(&rows, columns);
        const int32_t *window = s->windows;
        for (int32_t t = 0; t < s->n_tables; t++) {
            lsh_vi code = {0};
            for (int32_t k = 0; k < s->n_hashes; k++, window += s->window)
                code |= LSH_NAME(winners)(window, s->window, columns, &unused) << (k * shift);
            LSH_NAME(store_ints)(by + (int64_t)t * LSH_WIDTH, code);
        }
        LSH_NAME(store_codes)(by, s->n_tables, rows.n, codes + begin * s->n_tables);
    }
    return 0;
}

/* The value of a column, by bisection where only some are stored. */
static float LSH_NAME(value_at)(const LSH_NAME(one_row) *row, int32_t column) {
    int64_t low = 0, high = row->n;
    if (!row->columns) return row->values[column];
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (row->columns[middle] < column) low = middle + 1;
        else high = middle;
    }
    return low < row->n && row->columns[low] == column ? row->values[low] : 0;
}

/* The winner of a window without positive values: the first zero, or else the largest. */
static int32_t LSH_NAME(winner_below)(const LSH_NAME(one_row) *row, const int32_t *window, int32_t size) {
    float best = LSH_NAME(value_at)(row, window[0]);
    int32_t place = 0;
    for (int32_t j = 1; j < size && best < 0; j++) {
        float value = LSH_NAME(value_at)(row, window[j]);
        if (value > best) {
            best = value;
            place = j;
        }
    }
    return place;
}

/* Many columns: each positive entry looks up the windows that its column is in; the windows that none is in look at
 * their columns, and most find a zero at once. */
static int32_t LSH_NAME(wta_lists)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                   int64_t stride, const int64_t *indptr, const int32_t *indices, uint32_t *codes,
                                   void *scratch) {
    const lsh_dwta_state *s = state;
    int32_t shift = __builtin_ctz((uint32_t)s->window);
    int64_t n_all = (int64_t)s->n_hashes * s->n_tables;
    float *best = scratch;
    int32_t *place = (int32_t *)(best + n_all);
    for (int64_t r = 0; r < n_rows; r++) {
        LSH_NAME(one_row) row = {dim, 0, values + r * stride, NULL};
        if (indptr)
            row = (LSH_NAME(one_row)){indptr[r + 1] - indptr[r], 0, values + indptr[r], indices + indptr[r]};
        memset(best, 0, (size_t)n_all * sizeof *best);
        for (int64_t i = 0; i < row.n; i++)
            if (row.values[i] > 0)
                LSH_NAME(meet_windows)(s, shift, row.columns ? row.columns[i] : (int32_t)i, row.values[i], best, place);
        for (int64_t h = 0, t = 0; t < s->n_tables; t++) {
            uint32_t code = 0;
            for (int32_t k = 0; k < s->n_hashes; k++, h++) {
                const int32_t *window = s->windows + h * s->window;
                int32_t winner = best[h] > 0 ? place[h] : LSH_NAME(winner_below)(&row, window, s->window);
                code |= (uint32_t)winner << (k * shift);
            }
            codes[r * s->n_tables + t] = code;
        }
    }
    return 0;
}

#endif
