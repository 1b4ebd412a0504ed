/* Dual coordinate descent for the squared hinge, LSH_LANES problems at once over the same rows (Hsieh et al., ICML 2008,
 * algorithm 3). The weights of a feature in all problems are one run of memory, so a row costs one multiply-add of
 * contiguous floats for each of its features, where one problem after the other would gather single floats. */
#define LANE_VECTORS (LSH_LANES / LSH_WIDTH)
#define LANE_SUMS (LSH_WIDTH / 4) /* independent sums of each vector: four in all hide the latency of additions */

LSH_INLINE void lane_scores(const lsh_hinge *b, int64_t begin, int64_t end, lsh_vf score[LANE_VECTORS]) {
    lsh_vf sum[LANE_SUMS][LANE_VECTORS];
    const float *bias = b->weights + b->n_features * LSH_LANES;
    int64_t p = begin;
#pragma GCC unroll 4
    for (int v = 0; v < LANE_VECTORS; v++) {
        sum[0][v] = lsh_load(bias + v * LSH_WIDTH);
#pragma GCC unroll 4
        for (int s = 1; s < LANE_SUMS; s++) sum[s][v] = lsh_splat(0);
    }
    for (; p + LANE_SUMS <= end; p += LANE_SUMS) {
#pragma GCC unroll 4
        for (int s = 0; s < LANE_SUMS; s++) {
            const float *w = b->weights + (int64_t)b->features[p + s] * LSH_LANES;
            lsh_vf x = lsh_splat(b->values[p + s]);
#pragma GCC unroll 4
            for (int v = 0; v < LANE_VECTORS; v++) sum[s][v] = lsh_fma(x, lsh_load(w + v * LSH_WIDTH), sum[s][v]);
        }
    }
    for (; p < end; p++) {
        const float *w = b->weights + (int64_t)b->features[p] * LSH_LANES;
        lsh_vf x = lsh_splat(b->values[p]);
#pragma GCC unroll 4
        for (int v = 0; v < LANE_VECTORS; v++) sum[0][v] = lsh_fma(x, lsh_load(w + v * LSH_WIDTH), sum[0][v]);
    }
#pragma GCC unroll 4
    for (int v = 0; v < LANE_VECTORS; v++) {
        score[v] = sum[0][v];
#pragma GCC unroll 4
        for (int s = 1; s < LANE_SUMS; s++) score[v] += sum[s][v];
    }
}

LSH_INLINE void lane_add(const lsh_hinge *b, int64_t begin, int64_t end, const lsh_vf step[LANE_VECTORS]) {
    float *bias = b->weights + b->n_features * LSH_LANES;
    for (int64_t p = begin; p < end; p++) {
        float *w = b->weights + (int64_t)b->features[p] * LSH_LANES;
        lsh_vf x = lsh_splat(b->values[p]);
#pragma GCC unroll 4
        for (int v = 0; v < LANE_VECTORS; v++)
            lsh_store(w + v * LSH_WIDTH, lsh_fma(x, step[v], lsh_load(w + v * LSH_WIDTH)));
    }
#pragma GCC unroll 4
    for (int v = 0; v < LANE_VECTORS; v++)
        lsh_store(bias + v * LSH_WIDTH, step[v] + lsh_load(bias + v * LSH_WIDTH));
}

LSH_INLINE lsh_vf choose(lsh_vi first, lsh_vf a, lsh_vf b) { return (lsh_vf)((first & (lsh_vi)a) | (~first & (lsh_vi)b)); }

/* Rows come in random order, so what a later one needs is fetched before its turn: where it lies, then its weights. */
LSH_INLINE void lane_prefetch(const lsh_hinge *b, int64_t at) {
    if (at + 8 < b->active) {
        int32_t far = b->order[at + 8];
        __builtin_prefetch(b->begin + far);
        __builtin_prefetch(b->squares + far);
        __builtin_prefetch(b->positive + far);
        __builtin_prefetch(b->alpha + (int64_t)far * LSH_LANES, 1);
    }
    if (at + 4 < b->active) {
        int64_t begin = b->begin[b->order[at + 4]];
        __builtin_prefetch(b->features + begin);
        __builtin_prefetch(b->values + begin);
    }
    if (at + 1 < b->active) {
        int32_t row = b->order[at + 1];
        for (int64_t p = b->begin[row]; p < b->begin[row + 1]; p++)
            __builtin_prefetch(b->weights + (int64_t)b->features[p] * LSH_LANES, 1);
    }
}

static void hinge_rows(lsh_hinge *b, int64_t from, int64_t to) {
    const lsh_vf zero = lsh_splat(0), one = lsh_splat(1);
    lsh_vf largest[LANE_VECTORS], upper[LANE_VECTORS];
    lsh_vi bit[LANE_VECTORS];
    for (int v = 0; v < LANE_VECTORS; v++) {
        largest[v] = lsh_load(b->largest + v * LSH_WIDTH);
        upper[v] = lsh_load(b->upper + v * LSH_WIDTH);
        for (int i = 0; i < LSH_WIDTH; i++) bit[v][i] = 1 << (v * LSH_WIDTH + i);
    }
    for (int64_t at = from; at < to && at < b->active;) {
        int32_t row = b->order[at];
        int64_t begin = b->begin[row], end = b->begin[row + 1];
        float *alpha = b->alpha + (int64_t)row * LSH_LANES;
        lsh_vf score[LANE_VECTORS], g[LANE_VECTORS], sign[LANE_VECTORS], diagonal[LANE_VECTORS];
        int needed = 0, keep = 0;
        lane_prefetch(b, at);
        lane_scores(b, begin, end, score);
#pragma GCC unroll 4
        for (int v = 0; v < LANE_VECTORS; v++) {
            lsh_vf a = lsh_load(alpha + v * LSH_WIDTH), live = lsh_load(b->live + v * LSH_WIDTH);
            sign[v] = -one;
            diagonal[v] = lsh_splat(b->diagonal);
            if (b->positive[row]) {
                lsh_vi is_positive = (((int32_t)b->positive[row] - (lsh_vi){0}) & bit[v]) != 0;
                sign[v] = choose(is_positive, one, -one);
                diagonal[v] = choose(is_positive, lsh_load(b->positive_diagonal + v * LSH_WIDTH), diagonal[v]);
            }
            g[v] = lsh_fma(diagonal[v], a, lsh_fma(sign[v], score[v], -one)) * live;
            /* At the bound alpha = 0 only a negative gradient moves it. */
            lsh_vf projected = choose(a > zero, g[v], lsh_min(g[v], zero));
            lsh_vf size = lsh_max(projected, -projected);
            largest[v] = lsh_max(largest[v], size);
            upper[v] = lsh_max(upper[v], projected);
            needed |= lsh_any_above(size, lsh_splat(b->negligible));
            keep |= lsh_any_above(a, zero) | lsh_any_above(lsh_load(b->bound + v * LSH_WIDTH), g[v]);
        }
        if (!keep) {
            b->order[at] = b->order[--b->active];
            b->order[b->active] = row;
            continue;
        }
        at++;
        if (!needed) continue;
#pragma GCC unroll 4
        for (int v = 0; v < LANE_VECTORS; v++) {
            lsh_vf a = lsh_load(alpha + v * LSH_WIDTH);
            lsh_vf moved = lsh_max(a - g[v] / (lsh_splat(b->squares[row]) + diagonal[v]), zero);
            lsh_store(alpha + v * LSH_WIDTH, moved);
            g[v] = (moved - a) * sign[v];
        }
        lane_add(b, begin, end, g);
    }
    for (int v = 0; v < LANE_VECTORS; v++) {
        lsh_store(b->largest + v * LSH_WIDTH, largest[v]);
        lsh_store(b->upper + v * LSH_WIDTH, upper[v]);
    }
}
