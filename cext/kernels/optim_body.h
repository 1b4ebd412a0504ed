/* Optimizer steps over n weights of one row, with their state. */

static void sgd(float *w, const float *gradient, int64_t n, float lr) {
    lsh_vf rate = lsh_splat(-lr);
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH)
        lsh_store(w + i, lsh_fma(rate, lsh_load(gradient + i), lsh_load(w + i)));
    if (i < n) lsh_store_some(w + i, lsh_fma(rate, lsh_load_some(gradient + i, n - i), lsh_load_some(w + i, n - i)), n - i);
}

LSH_INLINE void adagrad_vector(lsh_vf *w, lsh_vf *s, lsh_vf g, float lr, float eps) {
    *s = lsh_fma(g, g, *s);
    *w = *w - g * lr / (lsh_sqrt(*s) + eps);
}

static void adagrad(float *weights, float *state, const float *gradient, int64_t n, float lr, float eps) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) {
        lsh_vf w = lsh_load(weights + i), s = lsh_load(state + i);
        adagrad_vector(&w, &s, lsh_load(gradient + i), lr, eps);
        lsh_store(weights + i, w);
        lsh_store(state + i, s);
    }
    if (i == n) return;
    lsh_vf w = lsh_load_some(weights + i, n - i), s = lsh_load_some(state + i, n - i);
    adagrad_vector(&w, &s, lsh_load_some(gradient + i, n - i), lr, eps);
    lsh_store_some(weights + i, w, n - i);
    lsh_store_some(state + i, s, n - i);
}

LSH_INLINE void adam_vector(lsh_vf *w, lsh_vf *m, lsh_vf *v, lsh_vf g, const lsh_adam_step *step) {
    *m = lsh_fma(*m, lsh_splat(step->beta1), g * step->rest1);
    *v = lsh_fma(*v, lsh_splat(step->beta2), g * g * step->rest2);
    *w = *w - *m * step->rate / lsh_fma(lsh_sqrt(*v), lsh_splat(step->scale), lsh_splat(step->eps));
}

static void adam(float *weights, float *first, float *second, const float *gradient, int64_t n,
                 const lsh_adam_step *step) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) {
        lsh_vf w = lsh_load(weights + i), m = lsh_load(first + i), v = lsh_load(second + i);
        adam_vector(&w, &m, &v, lsh_load(gradient + i), step);
        lsh_store(weights + i, w);
        lsh_store(first + i, m);
        lsh_store(second + i, v);
    }
    if (i == n) return;
    int64_t left = n - i;
    lsh_vf w = lsh_load_some(weights + i, left), m = lsh_load_some(first + i, left), v = lsh_load_some(second + i, left);
    adam_vector(&w, &m, &v, lsh_load_some(gradient + i, left), step);
    lsh_store_some(weights + i, w, left);
    lsh_store_some(first + i, m, left);
    lsh_store_some(second + i, v, left);
}
