/* MinHash; see lshsample_families/minhash.py for what is computed. */
#ifndef LSHSAMPLE_FAMILIES_MINHASH_BODY_H
#define LSHSAMPLE_FAMILIES_MINHASH_BODY_H

#include "api/minhash.h"
#include "sets_body.h"

LSH_INLINE lsh_vi LSH_NAME(least)(lsh_vi a, lsh_vi b) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vi)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vi)_mm256_min_epi32((__m256i)a, (__m256i)b);
#elif defined(__aarch64__)
    return (lsh_vi)vminq_s32((int32x4_t)a, (int32x4_t)b);
#else
    lsh_vi less = a < b;
    return (a & less) | (b & ~less);
#endif
}

/* minima[j] = min over the words w of multipliers[j] w + offsets[j], as signed numbers, for n_all (a multiple of
 * 64) functions: four vectors of them stay in registers while the words go by. */
static void LSH_NAME(lower_minima)(const lsh_minhash_state *s, const uint32_t *words, int64_t n, int64_t n_all,
                                   int32_t *minima) {
    enum { VECTORS = 4 };
    for (int64_t j = 0; j < n_all; j += VECTORS * LSH_WIDTH) {
        lsh_vi factor[VECTORS], offset[VECTORS], low[VECTORS];
        for (int u = 0; u < VECTORS; u++) {
            factor[u] = LSH_NAME(load_ints)(s->multipliers + j + u * LSH_WIDTH);
            offset[u] = LSH_NAME(load_ints)(s->offsets + j + u * LSH_WIDTH);
            low[u] = LSH_NAME(load_ints)(minima + j + u * LSH_WIDTH);
        }
        for (int64_t i = 0; i < n; i++) {
            lsh_vi word = (lsh_vi){0} + (int32_t)words[i];
            for (int u = 0; u < VECTORS; u++) low[u] = LSH_NAME(least)(low[u], word * factor[u] + offset[u]);
        }
        for (int u = 0; u < VECTORS; u++) LSH_NAME(store_ints)(minima + j + u * LSH_WIDTH, low[u]);
    }
}

/* Hash k of table t is `bits` bits of values[k * n_tables + t], mixed with a multiple of `salt` for each table (0 for none). */
static void LSH_NAME(pack_minima)(const lsh_minhash_state *s, const uint32_t *values, uint32_t salt, uint32_t *codes) {
    uint32_t mask = s->bits < 32 ? (1u << s->bits) - 1 : UINT32_MAX;
    memset(codes, 0, (size_t)s->n_tables * sizeof *codes);
    for (int32_t k = 0; k < s->n_hashes; k++) {
        const uint32_t *line = values + (int64_t)k * s->n_tables;
        for (int32_t t = 0; t < s->n_tables; t++)
            codes[t] |= (LSH_NAME(mix)(line[t] + (uint32_t)t * salt) & mask) << (k * s->bits);
    }
}

/* A function for each hash. */
static int32_t LSH_NAME(minhash_functions)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                           int64_t stride, const int64_t *indptr, const int32_t *indices,
                                           uint32_t *codes, void *scratch) {
    const lsh_minhash_state *s = state;
    uint64_t *largest = scratch;
    uint32_t *words = (uint32_t *)(largest + s->rule.size);
    int32_t *minima = (int32_t *)(words + LSH_SET_CHUNK);
    int64_t n_all = ((int64_t)s->n_hashes * s->n_tables + 63) / 64 * 64;
    for (int64_t r = 0; r < n_rows; r++, codes += s->n_tables) {
        LSH_NAME(set_reader) row = LSH_NAME(read_set)(&s->rule, r, dim, values, stride, indptr, indices, largest);
        int64_t n = LSH_NAME(next_words)(&row, words);
        memset(codes, 0, (size_t)s->n_tables * sizeof *codes);
        if (n == 0) continue;
        for (int64_t j = 0; j < n_all; j++) minima[j] = INT32_MAX;
        for (; n; n = LSH_NAME(next_words)(&row, words)) LSH_NAME(lower_minima)(s, words, n, n_all, minima);
        LSH_NAME(pack_minima)(s, (const uint32_t *)minima, 0, codes);
    }
    return 0;
}

/* One permutation's bins: (n) values, UINT32_MAX where empty; `tries` has (LSH_BIN_TRIES, n) bins. */
typedef struct {
    const uint32_t *values, *tries, *filled; /* filled: (n_filled) bins that are not empty */
    uint32_t n, n_filled, seed;
} LSH_NAME(bin_row);

/* What stands in where the tries find nothing: the filled bin of least random rank. Ranks differ, so one bin alone has
 * the least; found in two sweeps without branches, which compilers make vectors of. */
static uint32_t LSH_NAME(least_rank)(const LSH_NAME(bin_row) *bins, uint32_t t) {
    uint32_t word = LSH_NAME(mix)(t * 0x9e3779b1u ^ bins->seed), least = UINT32_MAX, bin = 0;
    for (uint32_t i = 0; i < bins->n_filled; i++) {
        uint32_t rank = LSH_NAME(mix)(bins->filled[i] * 0x9e3779b1u ^ word);
        least = rank < least ? rank : least;
    }
    for (uint32_t i = 0; i < bins->n_filled; i++) {
        uint32_t rank = LSH_NAME(mix)(bins->filled[i] * 0x9e3779b1u ^ word);
        bin |= rank == least ? bins->filled[i] : 0;
    }
    return bins->values[bin];
}

/* Values of all bins into `out`, empty ones filled by the first filled bin of their tries; returns 0 where all are empty.
 * All empty bins make their first try, those that found nothing the second, and so on: the content of a bin is
 * unpredictable, so nothing branches on it. `lists` is scratch of (n + 1). */
static int LSH_NAME(densify)(LSH_NAME(bin_row) *bins, uint32_t *lists, uint32_t *out) {
    uint32_t n_filled = 0, n_empty = 0;
    for (uint32_t t = 0; t < bins->n; t++) {
        lists[n_filled] = t;
        n_filled += bins->values[t] != UINT32_MAX;
        out[t] = bins->values[t];
    }
    if (n_filled == 0) return 0;
    bins->filled = lists;
    bins->n_filled = n_filled;
    uint32_t *empty = lists + n_filled;
    for (uint32_t t = 0; t < bins->n; t++) {
        empty[n_empty] = t;
        n_empty += bins->values[t] == UINT32_MAX;
    }
    for (const uint32_t *tries = bins->tries; tries < bins->tries + (size_t)LSH_BIN_TRIES * bins->n; tries += bins->n) {
        uint32_t left = 0;
        for (uint32_t i = 0; i < n_empty; i++) {
            uint32_t t = empty[i], value = bins->values[tries[t]];
            out[t] = value;
            empty[left] = t;
            left += value == UINT32_MAX;
        }
        n_empty = left;
    }
    for (uint32_t i = 0; i < n_empty; i++) out[empty[i]] = LSH_NAME(least_rank)(bins, empty[i]);
    return 1;
}

/* A permutation for each of the K hashes, cut into a bin for each table. */
static int32_t LSH_NAME(minhash_bins)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                      int64_t stride, const int64_t *indptr, const int32_t *indices, uint32_t *codes,
                                      void *scratch) {
    const lsh_minhash_state *s = state;
    uint64_t *largest = scratch;
    uint32_t *words = (uint32_t *)(largest + s->rule.size), *mixed = words + LSH_SET_CHUNK;
    uint32_t n_bins = (uint32_t)s->n_tables, *lists = mixed + LSH_SET_CHUNK, *out = lists + n_bins + 1;
    uint32_t *bins = out + (int64_t)s->n_hashes * n_bins;
    for (int64_t r = 0; r < n_rows; r++, codes += s->n_tables) {
        LSH_NAME(set_reader) row = LSH_NAME(read_set)(&s->rule, r, dim, values, stride, indptr, indices, largest);
        int some = 1;
        memset(bins, 255, (size_t)s->n_hashes * n_bins * sizeof *bins);
        for (int64_t n = LSH_NAME(next_words)(&row, words); n; n = LSH_NAME(next_words)(&row, words))
            for (int32_t k = 0; k < s->n_hashes; k++) {
                uint32_t *own = bins + (int64_t)k * n_bins, seed = s->multipliers[k];
                for (int64_t i = 0; i < n; i++) mixed[i] = LSH_NAME(mix)(words[i] ^ seed);
                for (int64_t i = 0; i < n; i++) {
                    uint32_t *bin = own + ((uint64_t)mixed[i] * n_bins >> 32);
                    *bin = mixed[i] < *bin ? mixed[i] : *bin;
                }
            }
        for (int64_t k = 0; k < s->n_hashes; k++) {
            LSH_NAME(bin_row) own = {.values = bins + k * n_bins, .tries = s->tries + k * n_bins * LSH_BIN_TRIES,
                                     .n = n_bins, .seed = s->offsets[k]};
            some &= LSH_NAME(densify)(&own, lists, out + k * n_bins);
        }
        if (some) LSH_NAME(pack_minima)(s, out, 0x9e3779b1u, codes);
        else memset(codes, 0, (size_t)s->n_tables * sizeof *codes);
    }
    return 0;
}

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_minhash_scratch(const lsh_minhash_state *state) {
    int64_t hashes = (int64_t)state->n_hashes * state->n_tables;
    return 8 * state->rule.size + 4 * (2 * LSH_SET_CHUNK + 2 * (hashes + 64) + 2 * ((int64_t)state->n_tables + 1));
}
#endif

#endif
