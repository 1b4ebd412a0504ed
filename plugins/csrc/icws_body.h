/* Consistent weighted sampling; see lshsample_families/icws.py for what is computed.
 * All arithmetic is float32 in a fixed order. */
#ifndef LSHSAMPLE_FAMILIES_ICWS_BODY_H
#define LSHSAMPLE_FAMILIES_ICWS_BODY_H

#include "api/icws.h"
#include "lanes_body.h"
#include "mix_body.h"

typedef uint32_t LSH_NAME(vu) __attribute__((vector_size(4 * LSH_WIDTH)));

LSH_INLINE LSH_NAME(vu) LSH_NAME(mix_lanes)(LSH_NAME(vu) x) {
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* Natural logarithm of normal numbers: with x = 2^e m, m near 1, s = (m - 1) / (m + 1), it is e log 2 + 2 atanh s. */
LSH_INLINE lsh_vf LSH_NAME(log_lanes)(lsh_vf x) {
    lsh_vi bits = (lsh_vi)x;
    lsh_vi e = (bits - 0x3f3504f3) >> 23;
    lsh_vf m = (lsh_vf)(bits - (e << 23));
    lsh_vf s = (m - 1.0f) / (m + 1.0f), z = s * s;
    lsh_vf series = (((z * 0.11111111f + 0.14285715f) * z + 0.2f) * z + 0.33333334f) * z;
    return __builtin_convertvector(e, lsh_vf) * 0.6931472f + (s + s * series) * 2.0f;
}

/* (0, 1) in steps of 2^-23. */
LSH_INLINE lsh_vf LSH_NAME(uniform_lanes)(LSH_NAME(vu) word) {
    return (__builtin_convertvector((lsh_vi)(word >> 9), lsh_vf) + 0.5f) * 1.1920929e-07f;
}

typedef struct {
    lsh_vf rate, log_cut, shift; /* Gamma(2, 1), the logarithm of another, and uniform */
} LSH_NAME(icws_draws);

/* What LSH_WIDTH hashes draw for one element. */
LSH_INLINE LSH_NAME(icws_draws) LSH_NAME(icws_draw)(uint32_t word, const uint32_t *seeds) {
    LSH_NAME(vu) w[5];
    memcpy(w, seeds, sizeof *w);
    w[0] = LSH_NAME(mix_lanes)(w[0] ^ word);
    for (int i = 1; i < 5; i++) w[i] = LSH_NAME(mix_lanes)(w[i - 1] + 0x9e3779b1u);
    lsh_vf cut = -LSH_NAME(log_lanes)(LSH_NAME(uniform_lanes)(w[2]) * LSH_NAME(uniform_lanes)(w[3]));
    return (LSH_NAME(icws_draws)){
        -LSH_NAME(log_lanes)(LSH_NAME(uniform_lanes)(w[0]) * LSH_NAME(uniform_lanes)(w[1])),
        LSH_NAME(log_lanes)(cut), LSH_NAME(uniform_lanes)(w[4])};
}

/* The log of a magnitude, subnormal ones too. */
static float LSH_NAME(log_weight)(float weight) {
    int small = weight < 1.1754944e-38f;
    lsh_vf x = lsh_splat(small ? weight * 16777216.0f : weight);
    return LSH_NAME(log_lanes)(x)[0] - (small ? 16.635532f : 0.0f);
}

/* The best element so far of each hash. */
typedef struct {
    float *cost;
    int32_t *level;
    uint32_t *word;
} LSH_NAME(icws_best);

static void LSH_NAME(icws_meet)(const lsh_icws_state *s, int64_t element, float log_weight, int64_t n_all,
                                const LSH_NAME(icws_best) *best) {
    uint32_t word = LSH_NAME(mix)((uint32_t)element * 0x9e3779b1u ^ s->seed);
    const float *line = s->draws ? s->draws + element * 3 * n_all : NULL;
    for (int64_t j = 0; j < n_all; j += LSH_WIDTH) {
        LSH_NAME(icws_draws) d;
        if (line) d = (LSH_NAME(icws_draws)){lsh_load(line + j), lsh_load(line + n_all + j),
                                             lsh_load(line + 2 * n_all + j)};
        else d = LSH_NAME(icws_draw)(word, s->seeds + j);
        lsh_vf level = lsh_splat(log_weight) / d.rate + d.shift;
        lsh_vi whole = __builtin_convertvector(level, lsh_vi);
        whole += __builtin_convertvector(whole, lsh_vf) > level;
        lsh_vf cost = d.log_cut - d.rate * (__builtin_convertvector(whole, lsh_vf) - d.shift + 1.0f);
        lsh_vf least = lsh_load(best->cost + j);
        lsh_vi better = cost < least;
        lsh_vi old = LSH_NAME(load_ints)(best->level + j), owner = LSH_NAME(load_ints)(best->word + j);
        lsh_store(best->cost + j, (lsh_vf)(((lsh_vi)cost & better) | ((lsh_vi)least & ~better)));
        LSH_NAME(store_ints)(best->level + j, (whole & better) | (old & ~better));
        LSH_NAME(store_ints)(best->word + j, (((lsh_vi){0} + (int32_t)word) & better) | (owner & ~better));
    }
}

static int32_t LSH_NAME(icws_hash)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                   int64_t stride, const int64_t *indptr, const int32_t *indices, uint32_t *codes,
                                   void *scratch) {
    const lsh_icws_state *s = state;
    int64_t n = (int64_t)s->n_hashes * s->n_tables, n_all = (n + 15) / 16 * 16;
    uint32_t mask = s->bits < 32 ? (1u << s->bits) - 1 : UINT32_MAX;
    LSH_NAME(icws_best) best = {scratch, (int32_t *)scratch + n_all, (uint32_t *)scratch + 2 * n_all};
    for (int64_t r = 0; r < n_rows; r++, codes += s->n_tables) {
        const float *row = indptr ? values + indptr[r] : values + r * stride;
        const int32_t *columns = indptr ? indices + indptr[r] : NULL;
        int64_t entries = indptr ? indptr[r + 1] - indptr[r] : dim, met = 0;
        for (int64_t j = 0; j < n_all; j++) best.cost[j] = INFINITY;
        for (int64_t i = 0; i < entries; i++) {
            if (row[i] == 0) continue;
            int64_t element = 2 * (int64_t)(columns ? columns[i] : i) + (row[i] < 0);
            LSH_NAME(icws_meet)(s, element, LSH_NAME(log_weight)(fabsf(row[i])), n_all, &best);
            met++;
        }
        memset(codes, 0, (size_t)s->n_tables * sizeof *codes);
        for (int64_t j = 0; met && j < n; j++) {
            uint32_t level = LSH_NAME(mix)((uint32_t)best.level[j] + s->seeds[j]);
            codes[j % s->n_tables] |= (LSH_NAME(mix)(best.word[j] ^ level) & mask) << (j / s->n_tables * s->bits);
        }
    }
    return 0;
}

#if !defined(LSH_TARGET) /* once, with the baseline kernels: it serves every instruction set */
int64_t lsh_icws_scratch(const lsh_icws_state *state) {
    return 12 * ((int64_t)state->n_hashes * state->n_tables + LSH_WIDEST);
}
#endif

#endif
