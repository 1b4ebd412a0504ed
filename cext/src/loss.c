#include "lshsample/loss.h"

#include <math.h>
#include <stddef.h>

#include "dense.h"
#include "kernels.h"
#include "lshsample/parallel.h"

enum { DENSE_ROWS = 4, RAGGED_ROWS = 8, SAMPLED_ROWS = 2 };

/* One row of a part. */
typedef struct {
    float *z;
    const float *log_inclusion;
    int64_t n;
    const int32_t *positions; /* of its targets */
    const float *targets;
    int64_t n_targets;
    lsh_smoothing smoothing;
} part_row;

/* What a loss does: sums of a part of a row, sums and loss of the whole row (part p at parts[p * step]), and the
 * gradient of a part. */
typedef struct {
    lsh_loss_sums (*summarise)(const lsh_kernels *kernels, part_row row);
    lsh_loss_sums (*combine)(double share, const lsh_loss_sums *parts, int64_t n_parts, int64_t step, float *loss);
    void (*finish)(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *part, const lsh_loss_sums *total);
} loss_steps;

/* The sums of smoothing, of logits without correction. */
static lsh_loss_sums smoothing_sums(const lsh_kernels *kernels, part_row row) {
    lsh_loss_sums sums = {0};
    if (row.smoothing.share > 0) {
        sums.spread = kernels->weighted_total(row.z, row.log_inclusion, row.n, &sums.weight);
        sums.labels = (double)row.smoothing.labels;
    }
    return sums;
}

static void add_smoothing_sums(lsh_loss_sums *total, const lsh_loss_sums *part) {
    total->weight += part->weight;
    total->spread += part->spread;
    if (part->labels > total->labels) total->labels = part->labels;
}

/* What smoothing adds to the target of a logit of weight 1; all sums are of the whole row. */
static double even_target(double share, const lsh_loss_sums *total) {
    double labels = total->labels > 0 ? total->labels : total->weight;
    return labels > 0 ? share * total->mass / labels : 0;
}

static lsh_loss_sums softmax_summarise(const lsh_kernels *kernels, part_row row) {
    lsh_loss_sums sums = smoothing_sums(kernels, row);
    float top = kernels->corrected_max(row.z, row.log_inclusion, row.n);
    sums.top = top;
    for (int64_t k = 0; k < row.n_targets; k++) {
        sums.mass += row.targets[k];
        sums.agreement += (double)row.targets[k] * ((double)row.z[row.positions[k]] - top);
    }
    if (row.n > 0) sums.sum = kernels->exp_sum(row.z, row.n, top);
    return sums;
}

/* exp(part's top - total's): 1, whatever the top is, where they are the same. */
static double shrink(double top, double total) { return top == total ? 1 : exp(top - total); }

/* The sum of a row's targets after smoothing. */
static double smoothed_mass(double share, const lsh_loss_sums *total) {
    return (1 - share) * total->mass + even_target(share, total) * total->weight;
}

static lsh_loss_sums softmax_combine(double share, const lsh_loss_sums *parts, int64_t n_parts, int64_t step,
                                     float *loss) {
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
        add_smoothing_sums(&total, part);
        total.agreement += part->agreement;
        if (part->mass != 0 && part->top != total.top) total.agreement += part->mass * (part->top - total.top);
    }
    if (empty) total.sum = 1;
    double agreement = (1 - share) * total.agreement;
    if (total.weight > 0) agreement += even_target(share, &total) * (total.spread - total.weight * total.top);
    *loss = (float)(smoothed_mass(share, &total) * log(total.sum) - agreement);
    return total;
}

static void subtract_even_share(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *total) {
    double even = even_target(row.smoothing.share, total);
    if (even > 0) kernels->subtract_weights(row.z, row.log_inclusion, row.n, (float)even);
}

static void softmax_finish(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *part,
                           const lsh_loss_sums *total) {
    double mass = smoothed_mass(row.smoothing.share, total);
    kernels->scale(row.z, row.n, (float)(mass / total->sum * shrink(part->top, total->top)));
    subtract_even_share(kernels, row, total);
    float kept = (float)(1 - row.smoothing.share);
    for (int64_t k = 0; k < row.n_targets; k++) row.z[row.positions[k]] -= kept * row.targets[k];
}

static double softplus(double z) { return (z > 0 ? z : 0) + log1p(exp(-fabs(z))); }

static lsh_loss_sums sigmoid_summarise(const lsh_kernels *kernels, part_row row) {
    lsh_loss_sums sums = smoothing_sums(kernels, row);
    for (int64_t k = 0; k < row.n_targets; k++) {
        int32_t j = row.positions[k];
        double weight = row.log_inclusion ? exp(-(double)row.log_inclusion[j]) : 1, target = row.targets[k];
        sums.mass += target;
        sums.agreement += weight * target * row.z[j];
        if (target > 1) sums.sum += weight * (target - 1) * softplus(row.z[j]);
    }
    sums.sum += kernels->sigmoid(row.z, row.log_inclusion, row.n);
    return sums;
}

static lsh_loss_sums sigmoid_combine(double share, const lsh_loss_sums *parts, int64_t n_parts, int64_t step,
                                     float *loss) {
    lsh_loss_sums total = {0};
    for (int64_t p = 0; p < n_parts; p++) {
        const lsh_loss_sums *part = &parts[p * step];
        total.sum += part->sum;
        total.mass += part->mass;
        total.agreement += part->agreement;
        add_smoothing_sums(&total, part);
    }
    double agreement = (1 - share) * total.agreement + even_target(share, &total) * total.spread;
    *loss = (float)(total.sum - agreement);
    return total;
}

static void sigmoid_finish(const lsh_kernels *kernels, part_row row, const lsh_loss_sums *part,
                           const lsh_loss_sums *total) {
    (void)part;
    float kept = (float)(1 - row.smoothing.share);
    for (int64_t k = 0; k < row.n_targets; k++) {
        int32_t j = row.positions[k];
        float weight = row.log_inclusion ? (float)exp(-(double)row.log_inclusion[j]) : 1, target = row.targets[k];
        if (target > 1) row.z[j] *= target;
        row.z[j] -= kept * weight * target;
    }
    subtract_even_share(kernels, row, total);
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
    float *losses;                    /* of lsh_loss_apply and lsh_loss_sampled */
    const lsh_sampled_layer *layer;   /* of lsh_loss_sampled */
    const lsh_row_kernels *weights;
} batch;

static part_row row_of(const lsh_logits *logits, int64_t i) {
    const lsh_targets *t = &logits->targets;
    part_row row = {.positions = t->positions + t->indptr[i], .targets = t->values + t->indptr[i],
                    .n_targets = t->indptr[i + 1] - t->indptr[i], .smoothing = logits->smoothing};
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

static void apply_row(const batch *b, part_row row, float *loss) {
    lsh_loss_sums part = b->steps->summarise(b->kernels, row);
    lsh_loss_sums total = b->steps->combine(row.smoothing.share, &part, 1, 1, loss);
    b->steps->finish(b->kernels, row, &part, &total);
}

static lsh_status apply_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const batch *b = context;
    for (int64_t i = begin; i < end; i++) apply_row(b, row_of(b->logits, i), &b->losses[i]);
    return LSH_OK;
}

static lsh_status sampled_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const batch *b = context;
    const lsh_sampled_layer *layer = b->layer;
    for (int64_t i = begin; i < end; i++) {
        part_row row = row_of(b->logits, i);
        const int32_t *ids = layer->ids + b->logits->indptr[i];
        b->weights->dots(lsh_float_row(layer->h, i), layer->h.cols, layer->w.data, layer->w.stride, ids, row.n, row.z);
        for (int64_t t = 0; layer->bias && t < row.n; t++) row.z[t] += layer->bias[ids[t] * layer->bias_stride];
        apply_row(b, row, &b->losses[i]);
        if (layer->dh.data)
            b->weights->weighted_sum(ids, row.z, row.n, layer->w.data, layer->w.stride, NULL,
                                     lsh_float_row(layer->dh, i), layer->dh.cols);
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
    int64_t grain = b.layer ? SAMPLED_ROWS : b.logits->indptr ? RAGGED_ROWS : DENSE_ROWS;
    return lsh_parallel_for(b.logits->rows, grain, threads, chunk, &b);
}

lsh_status lsh_loss_apply(lsh_loss loss, lsh_logits logits, float *losses, int32_t threads) {
    return run(loss, (batch){.logits = &logits, .losses = losses}, apply_chunk, threads);
}

lsh_status lsh_loss_sampled(lsh_loss loss, lsh_logits logits, const lsh_sampled_layer *layer, float *losses,
                            int32_t threads) {
    batch b = {.logits = &logits, .losses = losses, .layer = layer};
    b.weights = lsh_row_kernels_for(lsh_kernels_current(), layer->w.dtype);
    int floats = layer->h.dtype == LSH_FLOAT32 && layer->dh.dtype == LSH_FLOAT32;
    if (!b.weights || !floats || !logits.indptr || layer->h.rows != logits.rows || layer->h.cols != layer->w.cols)
        return LSH_INVALID;
    if (layer->dh.data && (layer->dh.rows != logits.rows || layer->dh.cols != layer->w.cols)) return LSH_INVALID;
    return run(loss, b, sampled_chunk, threads);
}

lsh_status lsh_loss_summarise(lsh_loss loss, lsh_logits logits, lsh_loss_sums *sums, int32_t threads) {
    return run(loss, (batch){.logits = &logits, .sums = sums}, summarise_chunk, threads);
}

lsh_status lsh_loss_combine(lsh_loss loss, double share, const lsh_loss_sums *parts, int64_t n_parts, int64_t rows,
                            lsh_loss_sums *total, float *losses) {
    const loss_steps *steps = steps_of(loss);
    if (!steps || n_parts < 0) return LSH_INVALID;
    for (int64_t i = 0; i < rows; i++) total[i] = steps->combine(share, parts + i, n_parts, rows, &losses[i]);
    return LSH_OK;
}

lsh_status lsh_loss_finish(lsh_loss loss, lsh_logits logits, const lsh_loss_sums *part, const lsh_loss_sums *total,
                           int32_t threads) {
    return run(loss, (batch){.logits = &logits, .part = part, .total = total}, finish_chunk, threads);
}
