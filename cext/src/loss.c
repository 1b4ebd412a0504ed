#include "lshsample/loss.h"

#include <math.h>
#include <stddef.h>

#include "kernels.h"
#include "lshsample/parallel.h"

enum { DENSE_ROWS = 4, RAGGED_ROWS = 8 };

/* One row of a part. */
typedef struct {
    float *z;
    const float *log_inclusion;
    int64_t n;
    const int32_t *positions; /* of its targets */
    const float *targets;
    int64_t n_targets;
} part_row;

/* What a loss does: sums of a part of a row, sums and loss of the whole row (part p at parts[p * step]), and the
 * gradient of a part. */
typedef struct {
    lsh_loss_sums (*summarise)(const lsh_kernels *kernels, part_row row);
    lsh_loss_sums (*combine)(const lsh_loss_sums *parts, int64_t n_parts, int64_t step, float *loss);
    void (*finish)(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *part, const lsh_loss_sums *total);
} loss_steps;

static lsh_loss_sums softmax_summarise(const lsh_kernels *kernels, part_row row) {
    float top = kernels->corrected_max(row.z, row.log_inclusion, row.n);
    lsh_loss_sums sums = {.top = top};
    for (int64_t k = 0; k < row.n_targets; k++) {
        sums.mass += row.targets[k];
        sums.agreement += (double)row.targets[k] * ((double)row.z[row.positions[k]] - top);
    }
    if (row.n > 0) sums.sum = kernels->exp_sum(row.z, row.n, top);
    return sums;
}

/* exp(part's top - total's): 1, whatever the top is, where they are the same. */
static double shrink(double top, double total) { return top == total ? 1 : exp(top - total); }

static lsh_loss_sums softmax_combine(const lsh_loss_sums *parts, int64_t n_parts, int64_t step, float *loss) {
    lsh_loss_sums total = {.top = -INFINITY};
    int empty = 1; /* a part that is not empty has a sum of at least 1, or NaN */
    for (int64_t p = 0; p < n_parts; p++) {
        const lsh_loss_sums *part = &parts[p * step];
        empty &= part->sum == 0;
        if (part->top > total.top) total.top = part->top;
    }
    for (int64_t p = 0; p < n_parts; p++) {
        const lsh_loss_sums *part = &parts[p * step];
        if (part->sum == 0) continue;
        total.sum += part->sum * shrink(part->top, total.top);
        total.mass += part->mass;
        total.agreement += part->agreement;
        if (part->mass != 0 && part->top != total.top) total.agreement += part->mass * (part->top - total.top);
    }
    if (empty) total.sum = 1;
    *loss = (float)(total.mass * log(total.sum) - total.agreement);
    return total;
}

static void softmax_finish(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *part,
                           const lsh_loss_sums *total) {
    kernels->scale(row.z, row.n, (float)(total->mass / total->sum * shrink(part->top, total->top)));
    for (int64_t k = 0; k < row.n_targets; k++) row.z[row.positions[k]] -= row.targets[k];
}

static lsh_loss_sums sigmoid_summarise(const lsh_kernels *kernels, part_row row) {
    lsh_loss_sums sums = {0};
    for (int64_t k = 0; k < row.n_targets; k++) {
        int32_t j = row.positions[k];
        double weight = row.log_inclusion ? exp(-(double)row.log_inclusion[j]) : 1;
        sums.agreement += weight * row.targets[k] * row.z[j];
    }
    sums.sum = kernels->sigmoid(row.z, row.log_inclusion, row.n);
    return sums;
}

static lsh_loss_sums sigmoid_combine(const lsh_loss_sums *parts, int64_t n_parts, int64_t step, float *loss) {
    lsh_loss_sums total = {0};
    for (int64_t p = 0; p < n_parts; p++) {
        total.sum += parts[p * step].sum;
        total.agreement += parts[p * step].agreement;
    }
    *loss = (float)(total.sum - total.agreement);
    return total;
}

static void sigmoid_finish(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *part,
                           const lsh_loss_sums *total) {
    (void)kernels, (void)part, (void)total;
    for (int64_t k = 0; k < row.n_targets; k++) {
        int32_t j = row.positions[k];
        float weight = row.log_inclusion ? (float)exp(-(double)row.log_inclusion[j]) : 1;
        row.z[j] -= weight * row.targets[k];
    }
}

static const loss_steps LOSSES[] = {
    [LSH_LOSS_SOFTMAX] = {softmax_summarise, softmax_combine, softmax_finish},
    [LSH_LOSS_SIGMOID] = {sigmoid_summarise, sigmoid_combine, sigmoid_finish},
};

static const loss_steps *steps_of(lsh_loss loss) {
    return (unsigned)loss < sizeof LOSSES / sizeof *LOSSES ? &LOSSES[loss] : NULL;
}

typedef struct {
    const lsh_kernels *kernels;
    const loss_steps *steps;
    const lsh_logits *logits;
    lsh_loss_sums *sums;              /* of lsh_loss_summarise */
    const lsh_loss_sums *part, *total; /* of lsh_loss_finish */
    float *losses;                    /* of lsh_loss_apply */
} batch;

static part_row row_of(const lsh_logits *logits, int64_t i) {
    const lsh_targets *t = &logits->targets;
    part_row row = {.positions = t->positions + t->indptr[i], .targets = t->values + t->indptr[i],
                    .n_targets = t->indptr[i + 1] - t->indptr[i]};
    if (logits->indptr) {
        int64_t from = logits->indptr[i];
        row.z = logits->values + from;
        row.n = logits->indptr[i + 1] - from;
        row.log_inclusion = logits->log_inclusion ? logits->log_inclusion + from : NULL;
    } else {
        row.z = logits->values + i * logits->stride;
        row.n = logits->cols;
        row.log_inclusion = logits->log_inclusion;
    }
    return row;
}

static lsh_status apply_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const batch *b = context;
    for (int64_t i = begin; i < end; i++) {
        part_row row = row_of(b->logits, i);
        lsh_loss_sums part = b->steps->summarise(b->kernels, row);
        lsh_loss_sums total = b->steps->combine(&part, 1, 1, &b->losses[i]);
        b->steps->finish(b->kernels, row, &part, &total);
    }
    return LSH_OK;
}

static lsh_status summarise_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const batch *b = context;
    for (int64_t i = begin; i < end; i++) b->sums[i] = b->steps->summarise(b->kernels, row_of(b->logits, i));
    return LSH_OK;
}

static lsh_status finish_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const batch *b = context;
    for (int64_t i = begin; i < end; i++)
        b->steps->finish(b->kernels, row_of(b->logits, i), &b->part[i], &b->total[i]);
    return LSH_OK;
}

static lsh_status run(lsh_loss loss, batch b, lsh_chunk_fn chunk, int32_t threads) {
    if (!(b.steps = steps_of(loss))) return LSH_INVALID;
    b.kernels = lsh_kernels_current();
    return lsh_parallel_for(b.logits->rows, b.logits->indptr ? RAGGED_ROWS : DENSE_ROWS, threads, chunk, &b);
}

lsh_status lsh_loss_apply(lsh_loss loss, lsh_logits logits, float *losses, int32_t threads) {
    return run(loss, (batch){.logits = &logits, .losses = losses}, apply_chunk, threads);
}

lsh_status lsh_loss_summarise(lsh_loss loss, lsh_logits logits, lsh_loss_sums *sums, int32_t threads) {
    return run(loss, (batch){.logits = &logits, .sums = sums}, summarise_chunk, threads);
}

lsh_status lsh_loss_combine(lsh_loss loss, const lsh_loss_sums *parts, int64_t n_parts, int64_t rows,
                            lsh_loss_sums *total, float *losses) {
    const loss_steps *steps = steps_of(loss);
    if (!steps || n_parts < 0) return LSH_INVALID;
    for (int64_t i = 0; i < rows; i++) total[i] = steps->combine(parts + i, n_parts, rows, &losses[i]);
    return LSH_OK;
}

lsh_status lsh_loss_finish(lsh_loss loss, lsh_logits logits, const lsh_loss_sums *part, const lsh_loss_sums *total,
                           int32_t threads) {
    return run(loss, (batch){.logits = &logits, .part = part, .total = total}, finish_chunk, threads);
}
