/* Softmax and sigmoid over one row. Sums are kept per lane for LSH_SUM_BLOCK elements and then added in float64, so
 * that a row of a million labels loses nothing. */
#define LSH_SUM_BLOCK 1024

static float corrected_max(float *z, const float *log_inclusion, int64_t n) {
    lsh_vf best = lsh_splat(-__builtin_inff());
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) {
        lsh_vf v = lsh_load(z + i);
        if (log_inclusion) lsh_store(z + i, v = v - lsh_load(log_inclusion + i));
        best = lsh_max(best, v);
    }
    float top = lsh_max_lane(best);
    for (; i < n; i++) {
        if (log_inclusion) z[i] -= log_inclusion[i];
        if (z[i] > top) top = z[i];
    }
    return top;
}

static double exp_sum(float *z, int64_t n, float shift) {
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += LSH_SUM_BLOCK) {
        int64_t end = begin + LSH_SUM_BLOCK < n ? begin + LSH_SUM_BLOCK : n, i = begin;
        lsh_vf sum = {0};
        for (; i + LSH_WIDTH <= end; i += LSH_WIDTH) {
            lsh_vf e = lsh_exp(lsh_load(z + i) - shift);
            lsh_store(z + i, e);
            sum = sum + e;
        }
        total += lsh_sum(sum);
        if (i < end) {
            lsh_vf e = lsh_exp(lsh_load_some(z + i, end - i) - shift);
            lsh_store_some(z + i, e, end - i);
            for (int64_t lane = 0; lane < end - i; lane++) total += e[lane];
        }
    }
    return total;
}

static void scale(float *z, int64_t n, float factor) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(z + i, lsh_load(z + i) * factor);
    for (; i < n; i++) z[i] *= factor;
}

/* Returns sigmoid(z) and puts log(1 + e^z) = max(z, 0) + log(1 + e^-|z|) in *softplus: e^-|z| cannot overflow, and
 * neither loses digits at either end. */
LSH_INLINE lsh_vf sigmoid_vector(lsh_vf z, lsh_vf *softplus) {
    lsh_vf zero = {0};
    lsh_vf e = lsh_exp(lsh_min(zero - z, z));
    lsh_vi negative = z < zero;
    lsh_vf numerator = (lsh_vf)(((lsh_vi)e & negative) | ((lsh_vi)lsh_splat(1.0f) & ~negative));
    *softplus = lsh_max(zero, z) + lsh_log1p(e);
    return numerator / (e + 1.0f);
}

static double sigmoid(float *z, const float *log_inclusion, int64_t n) {
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += LSH_SUM_BLOCK) {
        int64_t end = begin + LSH_SUM_BLOCK < n ? begin + LSH_SUM_BLOCK : n, i = begin;
        lsh_vf sum = {0}, loss, weight;
        for (; i + LSH_WIDTH <= end; i += LSH_WIDTH) {
            lsh_vf p = sigmoid_vector(lsh_load(z + i), &loss);
            weight = log_inclusion ? lsh_exp((lsh_vf){0} - lsh_load(log_inclusion + i)) : lsh_splat(1.0f);
            lsh_store(z + i, weight * p);
            sum = lsh_fma(weight, loss, sum);
        }
        total += lsh_sum(sum);
        if (i < end) {
            int64_t left = end - i;
            lsh_vf p = sigmoid_vector(lsh_load_some(z + i, left), &loss);
            weight = log_inclusion ? lsh_exp((lsh_vf){0} - lsh_load_some(log_inclusion + i, left)) : lsh_splat(1.0f);
            lsh_store_some(z + i, weight * p, left);
            loss = weight * loss;
            for (int64_t lane = 0; lane < left; lane++) total += loss[lane];
        }
    }
    return total;
}

/* The weights of lanes: exp(-log_inclusion), or 1. */
LSH_INLINE lsh_vf weight_vector(const float *log_inclusion, int64_t i) {
    return log_inclusion ? lsh_exp((lsh_vf){0} - lsh_load(log_inclusion + i)) : lsh_splat(1.0f);
}

static double weighted_total(const float *z, const float *log_inclusion, int64_t n, double *weight) {
    double total = 0, weights = 0;
    for (int64_t begin = 0; begin < n; begin += LSH_SUM_BLOCK) {
        int64_t end = begin + LSH_SUM_BLOCK < n ? begin + LSH_SUM_BLOCK : n, i = begin;
        lsh_vf sum = {0}, sum_of_weights = {0};
        for (; i + LSH_WIDTH <= end; i += LSH_WIDTH) {
            lsh_vf w = weight_vector(log_inclusion, i);
            sum_of_weights = sum_of_weights + w;
            sum = lsh_fma(w, lsh_load(z + i), sum);
        }
        total += lsh_sum(sum);
        weights += lsh_sum(sum_of_weights);
        for (; i < end; i++) {
            float w = log_inclusion ? lsh_exp(lsh_splat(-log_inclusion[i]))[0] : 1;
            weights += w;
            total += w * z[i];
        }
    }
    *weight = weights;
    return total;
}

static void subtract_weights(float *z, const float *log_inclusion, int64_t n, float amount) {
    lsh_vf minus = lsh_splat(-amount);
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH)
        lsh_store(z + i, lsh_fma(minus, weight_vector(log_inclusion, i), lsh_load(z + i)));
    for (; i < n; i++) z[i] -= amount * (log_inclusion ? lsh_exp(lsh_splat(-log_inclusion[i]))[0] : 1);
}
