/* Optimizer steps over one row of a store: its weights, then each slot of state, d floats each, one streak of memory. */

static void sgd(float *row, const float *gradient, int64_t d, float lr) {
    lsh_vf rate = lsh_splat(-lr);
    int64_t i = 0;
    for (; i + LSH_WIDTH <= d; i += LSH_WIDTH)
        lsh_store(row + i, lsh_fma(rate, lsh_load(gradient + i), lsh_load(row + i)));
    if (i < d) lsh_store_some(row + i, lsh_fma(rate, lsh_load_some(gradient + i, d - i), lsh_load_some(row + i, d - i)), d - i);
}

LSH_INLINE void adagrad_vector(lsh_vf *w, lsh_vf *s, lsh_vf g, float lr, float eps) {
    *s = lsh_fma(g, g, *s);
    *w = *w - g * lr / (lsh_sqrt(*s) + eps);
}

static void adagrad(float *row, const float *gradient, int64_t d, float lr, float eps) {
    float *state = row + d;
    int64_t i = 0;
    for (; i + LSH_WIDTH <= d; i += LSH_WIDTH) {
        lsh_vf w = lsh_load(row + i), s = lsh_load(state + i);
        adagrad_vector(&w, &s, lsh_load(gradient + i), lr, eps);
        lsh_store(row + i, w);
        lsh_store(state + i, s);
    }
    if (i == d) return;
    lsh_vf w = lsh_load_some(row + i, d - i), s = lsh_load_some(state + i, d - i);
    adagrad_vector(&w, &s, lsh_load_some(gradient + i, d - i), lr, eps);
    lsh_store_some(row + i, w, d - i);
    lsh_store_some(state + i, s, d - i);
}

LSH_INLINE void adam_vector(lsh_vf *w, lsh_vf *m, lsh_vf *v, lsh_vf g, const lsh_adam_step *step) {
    *m = lsh_fma(*m, lsh_splat(step->beta1), g * step->rest1);
    *v = lsh_fma(*v, lsh_splat(step->beta2), g * g * step->rest2);
    *w = *w - *m * step->rate / lsh_fma(lsh_sqrt(*v), lsh_splat(step->scale), lsh_splat(step->eps));
}

static void adam(float *row, const float *gradient, int64_t d, const lsh_adam_step *step) {
    float *first = row + d, *second = row + 2 * d;
    int64_t i = 0;
    for (; i + LSH_WIDTH <= d; i += LSH_WIDTH) {
        lsh_vf w = lsh_load(row + i), m = lsh_load(first + i), v = lsh_load(second + i);
        adam_vector(&w, &m, &v, lsh_load(gradient + i), step);
        lsh_store(row + i, w);
        lsh_store(first + i, m);
        lsh_store(second + i, v);
    }
    if (i == d) return;
    lsh_vf w = lsh_load_some(row + i, d - i), m = lsh_load_some(first + i, d - i), v = lsh_load_some(second + i, d - i);
    adam_vector(&w, &m, &v, lsh_load_some(gradient + i, d - i), step);
    lsh_store_some(row + i, w, d - i);
    lsh_store_some(first + i, m, d - i);
    lsh_store_some(second + i, v, d - i);
}
