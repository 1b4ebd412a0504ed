#include "lshsample/optim.h"

#include <math.h>

#include "kernels.h"
#include "lshsample/parallel.h"

typedef struct {
    const lsh_kernels *kernels;
    float *store;
    int64_t row_floats; /* slots * d */
    const int32_t *rows;
    lsh_dense gradient;
    float lr, eps;
    lsh_adam_step adam;
    void (*row)(const void *step, float *row, const float *gradient);
} step;

static void sgd_row(const void *context, float *row, const float *gradient) {
    const step *s = context;
    s->kernels->sgd(row, gradient, s->gradient.cols, s->lr);
}

static void adagrad_row(const void *context, float *row, const float *gradient) {
    const step *s = context;
    s->kernels->adagrad(row, gradient, s->gradient.cols, s->lr, s->eps);
}

static void adam_row(const void *context, float *row, const float *gradient) {
    const step *s = context;
    s->kernels->adam(row, gradient, s->gradient.cols, &s->adam);
}

static lsh_status rows_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const step *s = context;
    enum { AHEAD = 4 }; /* measured: 0.45 ms for 5,000 rows of 1.5 KiB; 0.54 with 2, 0.75 without */
    for (int64_t i = begin; i < end; i++) {
        if (s->rows && i + AHEAD < end) {
            const float *later = s->store + s->rows[i + AHEAD] * s->row_floats;
            for (int64_t j = 0; j < s->row_floats; j += 16) __builtin_prefetch(later + j, 1);
        }
        int64_t row = s->rows ? s->rows[i] : i;
        s->row(s, s->store + row * s->row_floats, s->gradient.data + i * s->gradient.stride);
    }
    return LSH_OK;
}

static lsh_status run(step s, int64_t slots, int32_t threads) {
    int64_t d = s.gradient.cols;
    if (d == 0) return LSH_OK;
    s.kernels = lsh_kernels_current();
    s.row_floats = slots * d;
    int64_t grain = 8192 / d < 16 ? 16 : 8192 / d;
    return lsh_parallel_for(s.gradient.rows, grain, threads, rows_chunk, &s);
}

lsh_status lsh_sgd_rows(float *store, int64_t slots, const int32_t *rows, lsh_dense gradient, float lr,
                        int32_t threads) {
    step s = {.store = store, .rows = rows, .gradient = gradient, .lr = lr, .row = sgd_row};
    return run(s, slots, threads);
}

lsh_status lsh_adagrad_rows(float *store, const int32_t *rows, lsh_dense gradient, float lr, float eps,
                            int32_t threads) {
    step s = {.store = store, .rows = rows, .gradient = gradient, .lr = lr, .eps = eps, .row = adagrad_row};
    return run(s, 2, threads);
}

lsh_status lsh_adam_rows(float *store, const int32_t *rows, lsh_dense gradient, double lr, double beta1, double beta2,
                         double eps, int64_t step_number, int32_t threads) {
    if (step_number < 1) return LSH_INVALID;
    step s = {.store = store, .rows = rows, .gradient = gradient, .row = adam_row};
    s.adam = (lsh_adam_step){.beta1 = (float)beta1, .rest1 = (float)(1 - beta1), .beta2 = (float)beta2,
                             .rest2 = (float)(1 - beta2), .eps = (float)eps,
                             .rate = (float)(lr / (1 - pow(beta1, (double)step_number))),
                             .scale = (float)(1 / sqrt(1 - pow(beta2, (double)step_number)))};
    return run(s, 3, threads);
}
