#include "lshsample/loss.h"

#include <math.h>

#include "kernels.h"
#include "lshsample/parallel.h"

enum { DENSE_ROWS = 4, RAGGED_ROWS = 8 };

typedef struct {
    const lsh_kernels *kernels;
    float *logits;
    const int64_t *indptr;  /* of ragged rows; NULL for rows of one length */
    int64_t stride, cols;   /* of rows of one length */
    lsh_targets targets;
    const float *log_inclusion;
    float *loss;
    void (*row)(const void *batch, int64_t i, float *z, const float *log_inclusion, int64_t n);
} batch;

static void softmax_row(const void *context, int64_t i, float *z, const float *log_inclusion, int64_t n) {
    const batch *b = context;
    const lsh_targets *t = &b->targets;
    float top = b->kernels->corrected_max(z, log_inclusion, n);
    double mass = 0, agreement = 0;
    for (int64_t k = t->indptr[i]; k < t->indptr[i + 1]; k++) {
        mass += t->values[k];
        agreement += (double)t->values[k] * ((double)z[t->positions[k]] - top);
    }
    double total = n > 0 ? b->kernels->exp_sum(z, n, top) : 1;
    b->loss[i] = (float)(mass * log(total) - agreement);
    b->kernels->scale(z, n, (float)(mass / total));
    for (int64_t k = t->indptr[i]; k < t->indptr[i + 1]; k++) z[t->positions[k]] -= t->values[k];
}

static void sigmoid_row(const void *context, int64_t i, float *z, const float *log_inclusion, int64_t n) {
    const batch *b = context;
    const lsh_targets *t = &b->targets;
    double agreement = 0;
    for (int64_t k = t->indptr[i]; k < t->indptr[i + 1]; k++) {
        int32_t j = t->positions[k];
        double weight = log_inclusion ? exp(-(double)log_inclusion[j]) : 1;
        agreement += weight * t->values[k] * z[j];
    }
    b->loss[i] = (float)(b->kernels->sigmoid(z, log_inclusion, n) - agreement);
    for (int64_t k = t->indptr[i]; k < t->indptr[i + 1]; k++) {
        int32_t j = t->positions[k];
        float weight = log_inclusion ? (float)exp(-(double)log_inclusion[j]) : 1;
        z[j] -= weight * t->values[k];
    }
}

static lsh_status rows_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const batch *b = context;
    for (int64_t i = begin; i < end; i++) {
        if (b->indptr) {
            int64_t from = b->indptr[i], n = b->indptr[i + 1] - from;
            b->row(b, i, b->logits + from, b->log_inclusion ? b->log_inclusion + from : b->log_inclusion, n);
        } else {
            b->row(b, i, b->logits + i * b->stride, b->log_inclusion, b->cols);
        }
    }
    return LSH_OK;
}

static lsh_status run_dense(lsh_dense logits, batch b, int32_t threads) {
    b.kernels = lsh_kernels_current();
    b.logits = logits.data;
    b.stride = logits.stride;
    b.cols = logits.cols;
    return lsh_parallel_for(logits.rows, DENSE_ROWS, threads, rows_chunk, &b);
}

static lsh_status run_ragged(float *logits, const int64_t *indptr, int64_t m, batch b, int32_t threads) {
    b.kernels = lsh_kernels_current();
    b.logits = logits;
    b.indptr = indptr;
    return lsh_parallel_for(m, RAGGED_ROWS, threads, rows_chunk, &b);
}

lsh_status lsh_softmax(lsh_dense logits, lsh_targets targets, const float *log_inclusion, float *loss, int32_t threads) {
    batch b = {.targets = targets, .log_inclusion = log_inclusion, .loss = loss, .row = softmax_row};
    return run_dense(logits, b, threads);
}

lsh_status lsh_softmax_ragged(float *logits, const int64_t *indptr, int64_t m, lsh_targets targets,
                              const float *log_inclusion, float *loss, int32_t threads) {
    batch b = {.targets = targets, .log_inclusion = log_inclusion, .loss = loss, .row = softmax_row};
    return run_ragged(logits, indptr, m, b, threads);
}

lsh_status lsh_sigmoid(lsh_dense logits, lsh_targets targets, const float *log_inclusion, float *loss, int32_t threads) {
    batch b = {.targets = targets, .log_inclusion = log_inclusion, .loss = loss, .row = sigmoid_row};
    return run_dense(logits, b, threads);
}

lsh_status lsh_sigmoid_ragged(float *logits, const int64_t *indptr, int64_t m, lsh_targets targets,
                              const float *log_inclusion, float *loss, int32_t threads) {
    batch b = {.targets = targets, .log_inclusion = log_inclusion, .loss = loss, .row = sigmoid_row};
    return run_ragged(logits, indptr, m, b, threads);
}
