/* Optimizer steps over n columns of one row, with its state, whose elements are of one dtype; compiled for each dtype, after
 * row_body.h. bits: NULL, which rounds to nearest, or 16 random bits for each column, with a whole vector behind the last
 * one; the weights are rounded by them as they are, the state by the same turned by 5 and by 10 places. These are as
 * uniform, and since a rounding depends on the upper bits most, roundings of one column are nearly independent. */

LSH_INLINE void LSH_ROW(put)(LSH_ELEMENT *to, lsh_vf v, int64_t n, const uint16_t *bits, const int places) {
    if (!bits) {
        if (n < LSH_WIDTH) LSH_ROW(write_some)(to, v, n);
        else LSH_ROW(write)(to, v);
        return;
    }
    LSH_ELEMENT some[LSH_WIDTH];
    lsh_vh drawn = load_bits(bits);
    LSH_ROW(write_stochastic)(n < LSH_WIDTH ? some : to, v, places ? drawn << places | drawn >> (16 - places) : drawn);
    if (n < LSH_WIDTH) memcpy(to, some, (size_t)n * sizeof *to);
}

/* Vector i of a row, of which n columns are left. */
LSH_INLINE lsh_vf LSH_ROW(get)(const LSH_ELEMENT *from, int64_t n) {
    return n < LSH_WIDTH ? LSH_ROW(read_some)(from, n) : LSH_ROW(read)(from);
}
LSH_INLINE lsh_vf LSH_ROW(slope)(const float *from, int64_t n) {
    return n < LSH_WIDTH ? lsh_load_some(from, n) : lsh_load(from);
}

LSH_INLINE void LSH_ROW(sgd_vector)(LSH_ELEMENT *w, const float *gradient, int64_t n, float lr, const uint16_t *bits) {
    LSH_ROW(put)(w, lsh_fma(lsh_splat(-lr), LSH_ROW(slope)(gradient, n), LSH_ROW(get)(w, n)), n, bits, 0);
}

LSH_INLINE void LSH_ROW(adagrad_vector)(LSH_ELEMENT *w, LSH_ELEMENT *s, const float *gradient, int64_t n, float lr,
                                        float eps, const uint16_t *bits) {
    lsh_vf g = LSH_ROW(slope)(gradient, n), sum = lsh_fma(g, g, LSH_ROW(get)(s, n));
    lsh_vf next = LSH_ROW(get)(w, n) - g * lr / (lsh_sqrt(sum) + eps);
    LSH_ROW(put)(w, next, n, bits, 0);
    LSH_ROW(put)(s, sum, n, bits, 5);
}

LSH_INLINE void LSH_ROW(adam_vector)(LSH_ELEMENT *w, LSH_ELEMENT *m, LSH_ELEMENT *v, const float *gradient, int64_t n,
                                     const lsh_adam_step *step, const uint16_t *bits) {
    lsh_vf g = LSH_ROW(slope)(gradient, n);
    lsh_vf first = lsh_fma(LSH_ROW(get)(m, n), lsh_splat(step->beta1), g * step->rest1);
    lsh_vf second = lsh_fma(LSH_ROW(get)(v, n), lsh_splat(step->beta2), g * g * step->rest2);
    lsh_vf next = LSH_ROW(get)(w, n) -
                  first * step->rate / lsh_fma(lsh_sqrt(second), lsh_splat(step->scale), lsh_splat(step->eps));
    LSH_ROW(put)(w, next, n, bits, 0);
    LSH_ROW(put)(m, first, n, bits, 5);
    LSH_ROW(put)(v, second, n, bits, 10);
}

/* All columns, with a constant width but for the last ones, once for each way of rounding. */
#define LSH_COLUMNS(step)                                                 \
    do {                                                                  \
        int64_t i = 0;                                                    \
        if (bits)                                                         \
            for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) step(LSH_WIDTH, bits + i); \
        else                                                              \
            for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) step(LSH_WIDTH, NULL); \
        if (i < n) step(n - i, bits ? bits + i : NULL);                   \
    } while (0)

static void LSH_ROW(sgd)(void *weights, const float *gradient, int64_t n, float lr, const uint16_t *bits) {
    LSH_ELEMENT *w = weights;
#define LSH_STEP(width, some) LSH_ROW(sgd_vector)(w + i, gradient + i, width, lr, some)
    LSH_COLUMNS(LSH_STEP);
#undef LSH_STEP
}

static void LSH_ROW(adagrad)(void *weights, void *state, const float *gradient, int64_t n, float lr, float eps,
                             const uint16_t *bits) {
    LSH_ELEMENT *w = weights, *s = state;
#define LSH_STEP(width, some) LSH_ROW(adagrad_vector)(w + i, s + i, gradient + i, width, lr, eps, some)
    LSH_COLUMNS(LSH_STEP);
#undef LSH_STEP
}

static void LSH_ROW(adam)(void *weights, void *first, void *second, const float *gradient, int64_t n,
                          const lsh_adam_step *step, const uint16_t *bits) {
    LSH_ELEMENT *w = weights, *m = first, *v = second;
#define LSH_STEP(width, some) LSH_ROW(adam_vector)(w + i, m + i, v + i, gradient + i, width, step, some)
    LSH_COLUMNS(LSH_STEP);
#undef LSH_STEP
}
#undef LSH_COLUMNS
