#include "lshsample/coded.h"

#include <stdlib.h>
#include <string.h>

#include "dense.h"
#include "kernels.h"
#include "lshsample/parallel.h"
#include "lshsample/rng.h"
#include "sorted.h"

enum {
    DECODED = 16,    /* rows that are decoded together for a sparse product, at most */
    DECODED_VALUES = 4096, /* and their values, at most, but for two rows: 16 KiB stay in L1 */
    ROWS = 64,       /* rows in one task */
    SAMPLES = 4,     /* samples of a sparse product in one task */
    DOTS = 1024,     /* inner products in one task */
    AHEAD = 4,       /* rows that are prefetched before they are read */
    PADDING = 64     /* values behind those of a row, which kernels may read */
};

/* What is before a record's codes: scale and offset, then 4 bytes for each slot of state. */
static int64_t head_bytes(int32_t slots) { return 4 * (int64_t)(1 + slots); }

static int64_t filled_up(int64_t bytes) { return (bytes + 3) / 4 * 4; }

static int64_t code_bytes(int64_t cols, int32_t bits) { return filled_up(bits == 8 ? cols : (cols + 1) / 2); }

/* Whether squares are one mean for each row. */
static int by_row(int32_t bits, int32_t state_bits) { return bits == 4 || state_bits == 4; }

int64_t lsh_coded_bytes(int64_t cols, int32_t bits, int32_t state_bits, int32_t slots) {
    int64_t state = by_row(bits, state_bits) ? slots - 2 : slots - 1; /* slots with codes */
    return head_bytes(slots) + code_bytes(cols, bits) + (state > 0 ? state : 0) * code_bytes(cols, state_bits);
}

static int fits(const lsh_coded *c) {
    return (c->bits == 8 || c->bits == 4) && (c->state_bits == 8 || c->state_bits == 4) && c->cols >= 1 && c->slots >= 1 &&
           c->slots <= 3 && c->record_bytes == lsh_coded_bytes(c->cols, c->bits, c->state_bits, c->slots) &&
           (c->sets == 0 || c->ways > 0);
}

/* A row in codes. */
typedef struct {
    float *scale;   /* scale and offset */
    int32_t *tops;  /* of slot 1, of slot 2 */
    float *means;   /* in the place of a top */
    uint8_t *codes, *state;
} record;

static record record_of(const lsh_coded *c, int64_t row) {
    uint8_t *at = c->records + row * c->record_bytes;
    uint8_t *codes = at + head_bytes(c->slots);
    return (record){(float *)(void *)at, (int32_t *)(void *)(at + 8), (float *)(void *)(at + 8), codes,
                    codes + code_bytes(c->cols, c->bits)};
}

/* Of three slots, the second is a mean of gradients; the last of any is one of squares. */
static int is_mean(const lsh_coded *c, int32_t slot) { return by_row(c->bits, c->state_bits) && slot == c->slots - 1; }

static int64_t cached_floats(const lsh_coded *c) { return c->slots * c->cols; }

static float *place(const lsh_coded *c, int64_t at) { return c->cached + at * cached_floats(c); }

/* Where a row is in the cache, or -1. */
static int64_t find(const lsh_coded *c, int32_t row) {
    if (c->sets == 0) return -1;
    int64_t first = row % c->sets * c->ways;
    for (int64_t at = first; at < first + c->ways; at++)
        if (c->tags[at] == row) return at;
    return -1;
}

static void prefetch(const lsh_coded *c, int64_t row) {
    const char *at = (const char *)c->records + row * c->record_bytes;
    for (int64_t byte = 0; byte < c->record_bytes; byte += 64) __builtin_prefetch(at + byte);
}

static uint8_t *codes_of(const lsh_coded *c, record r, int32_t slot) {
    return r.state + (slot - 1) * code_bytes(c->cols, c->state_bits);
}

/* The values of a slot. */
static void decode(const lsh_kernels *k, const lsh_coded *c, int64_t row, int32_t slot, float *out) {
    record r = record_of(c, row);
    if (slot == 0 && c->bits == 8) k->decode_8(r.codes, c->cols, r.scale[0], r.scale[1], out);
    else if (slot == 0) k->decode_4(r.codes, c->cols, r.scale[0], r.scale[1], out);
    else if (is_mean(c, slot))
        for (int64_t j = 0; j < c->cols; j++) out[j] = r.means[slot - 1];
    else if (c->state_bits == 4) k->small_decode_4(codes_of(c, r, slot), c->cols, r.tops[slot - 1], out);
    else k->small_decode(codes_of(c, r, slot), c->cols, slot == 1 && c->slots == 3, r.tops[slot - 1], out);
}

/* The mean, in an order that is the same on every instruction set. */
static float mean_of(const float *values, int64_t n) {
    float sums[16] = {0}, sum = 0;
    int64_t j = 0;
    for (; j + 16 <= n; j += 16)
        for (int i = 0; i < 16; i++) sums[i] += values[j + i];
    for (; j < n; j++) sums[j % 16] += values[j];
    for (int i = 0; i < 16; i++) sum += sums[i];
    return sum / (float)n;
}

/* Weights, from the least to the greatest; a scale that is not finite keeps what is not finite from being lost. */
static void encode(const lsh_kernels *k, const lsh_coded *c, int64_t row, const float *values, const uint16_t *drawn) {
    record r = record_of(c, row);
    float least, greatest;
    k->coded_range(values, c->cols, &least, &greatest);
    r.scale[0] = (greatest - least) / (c->bits == 8 ? 255.0f : 15.0f);
    r.scale[1] = least;
    float inverse = r.scale[0] > 1e-30f ? 1 / r.scale[0] : 0;
    if (c->bits == 8) k->encode_8(r.codes, c->cols, values, inverse, least, drawn);
    else k->encode_4(r.codes, c->cols, values, inverse, least, drawn);
}

static void encode_state(const lsh_kernels *k, const lsh_coded *c, int64_t row, int32_t slot, const float *values,
                         const uint16_t *drawn) {
    record r = record_of(c, row);
    if (is_mean(c, slot)) {
        r.means[slot - 1] = mean_of(values, c->cols);
        return;
    }
    if (c->state_bits == 4) {
        r.tops[slot - 1] = k->small_top_4(values, c->cols);
        k->small_encode_4(codes_of(c, r, slot), c->cols, r.tops[slot - 1], values, drawn);
        return;
    }
    r.tops[slot - 1] = k->small_top(values, c->cols);
    k->small_encode(codes_of(c, r, slot), c->cols, slot == 1 && c->slots == 3, r.tops[slot - 1], values, drawn);
}

/* The scratch of one thread. */
typedef struct {
    float *values; /* DECODED rows */
    uint16_t *bits;
} scratch;

typedef struct {
    const lsh_kernels *kernels;
    const lsh_coded *coded;
    const int32_t *rows;
    int64_t first, scratch_bytes;
    char *work;
    lsh_dense values; /* read, written, or a gradient */
    int32_t slot;
    lsh_adam_step step;
    const lsh_rounding *rounding;
    lsh_csr x;
    const int64_t *indptr;
    const int32_t *ids;
    const float *bias;
    int64_t bias_stride;
    float *out;
} job;

static int64_t padded(int64_t cols) { return (cols + PADDING + 15) / 16 * 16; }

static int job_begin(job *j, const lsh_coded *coded, int32_t threads) {
    j->kernels = lsh_kernels_current();
    j->coded = coded;
    j->scratch_bytes = padded(coded->cols) * (DECODED * (int64_t)sizeof(float) + (int64_t)sizeof(uint16_t));
    j->scratch_bytes = (j->scratch_bytes + 63) / 64 * 64;
    return (j->work = aligned_alloc(64, (size_t)(j->scratch_bytes * (threads < 1 ? 1 : threads)))) != NULL;
}

static scratch scratch_of(const job *j, int32_t worker) {
    char *at = j->work + worker * j->scratch_bytes;
    return (scratch){(float *)(void *)at, (uint16_t *)(void *)(at + padded(j->coded->cols) * DECODED * (int64_t)sizeof(float))};
}

static void slot_of(const job *j, int64_t row, int32_t slot, float *out) {
    const lsh_coded *c = j->coded;
    int64_t at = find(c, (int32_t)row);
    if (at >= 0) memcpy(out, place(c, at) + slot * c->cols, (size_t)c->cols * sizeof *out);
    else decode(j->kernels, c, row, slot, out);
}

static lsh_status read_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    for (int64_t i = begin; i < end; i++) {
        if (j->rows && i + AHEAD < end) prefetch(j->coded, j->rows[i + AHEAD]);
        int64_t row = j->rows ? j->rows[i] : j->first + i;
        slot_of(j, row, j->slot, lsh_float_row(j->values, i));
    }
    return LSH_OK;
}

/* Whether rows first .. first + n are there, if they are meant. */
static int in_range(const lsh_coded *c, const int32_t *rows, int64_t first, int64_t n) {
    return rows || (first >= 0 && n <= c->rows - first);
}

lsh_status lsh_coded_read(const lsh_coded *coded, const int32_t *rows, int64_t first, int32_t slot, lsh_dense out,
                          int32_t threads) {
    if (!fits(coded) || slot < 0 || slot >= coded->slots || out.dtype != LSH_FLOAT32 || out.cols != coded->cols ||
        !in_range(coded, rows, first, out.rows))
        return LSH_INVALID;
    job j = {.kernels = lsh_kernels_current(), .coded = coded, .rows = rows, .first = first, .values = out, .slot = slot};
    return lsh_parallel_for(out.rows, ROWS, threads, read_chunk, &j);
}

static lsh_status write_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const job *j = context;
    const lsh_coded *c = j->coded;
    for (int64_t i = begin; i < end; i++) {
        const float *values = lsh_float_row(j->values, i);
        int64_t at = find(c, (int32_t)(j->first + i));
        if (at >= 0) memcpy(place(c, at), values, (size_t)c->cols * sizeof *values);
        else encode(j->kernels, c, j->first + i, values, NULL);
    }
    return LSH_OK;
}

lsh_status lsh_coded_write(const lsh_coded *coded, int64_t first, lsh_dense values, int32_t threads) {
    if (!fits(coded) || values.dtype != LSH_FLOAT32 || values.cols != coded->cols ||
        !in_range(coded, NULL, first, values.rows))
        return LSH_INVALID;
    job j = {.kernels = lsh_kernels_current(), .coded = coded, .first = first, .values = values};
    return lsh_parallel_for(values.rows, ROWS, threads, write_chunk, &j);
}

/* Puts a row, whose slots are `stride` floats apart, into its record. */
static void put_record(const job *j, int64_t row, uint32_t purpose, const float *values, int64_t stride, uint16_t *bits) {
    const lsh_coded *c = j->coded;
    j->kernels->draw_halves(j->rounding->seed, purpose, (uint32_t)row, j->rounding->step, 0, (c->cols + 7) / 8, bits);
    encode(j->kernels, c, row, values, bits);
    for (int32_t slot = 1; slot < c->slots; slot++) {
        j->kernels->turn_bits(bits, c->cols, 5);
        encode_state(j->kernels, c, row, slot, values + slot * stride, bits);
    }
}

static void get_record(const job *j, int64_t row, float *values, int64_t stride) {
    for (int32_t slot = 0; slot < j->coded->slots; slot++) decode(j->kernels, j->coded, row, slot, values + slot * stride);
}

/* One more update of a row. */
static void count(const lsh_coded *c, int64_t row) {
    if (c->uses[row] == UINT16_MAX)
        for (int64_t i = 0; i < c->rows; i++) c->uses[i] /= 2;
    c->uses[row]++;
}

/* The place of a set that a row which is not in the cache takes, or -1. */
static int64_t place_for(const lsh_coded *c, int64_t row, int64_t step) {
    int64_t first = row % c->sets * c->ways, best = -1;
    int64_t least = c->uses ? c->uses[row] : step;
    for (int64_t at = first; at < first + c->ways; at++) {
        if (c->tags[at] < 0) return at;
        int64_t value = c->uses ? c->uses[c->tags[at]] : c->used[at];
        if (value < least) {
            least = value;
            best = at;
        }
    }
    return best;
}

/* Counts an update of each row, and moves rows to and from the cache. */
static void move_rows(const job *j, int64_t n, uint16_t *bits) {
    const lsh_coded *c = j->coded;
    int64_t step = (int64_t)j->rounding->step;
    for (int64_t i = 0; c->uses && i < n; i++) count(c, j->rows ? j->rows[i] : i);
    for (int64_t i = 0; i < n; i++) {
        int32_t row = j->rows ? j->rows[i] : (int32_t)i;
        int64_t at = find(c, row);
        if (at < 0 && (at = place_for(c, row, step)) >= 0) {
            if (c->tags[at] >= 0) put_record(j, c->tags[at], LSH_DRAW_EVICTION, place(c, at), c->cols, bits);
            get_record(j, row, place(c, at), c->cols);
            c->tags[at] = row;
        }
        if (at >= 0 && c->used) c->used[at] = step;
    }
}

static void apply(const job *j, float *values, int64_t stride, const float *gradient) {
    const lsh_row_kernels *k = j->kernels->float32;
    const lsh_adam_step *s = &j->step;
    int64_t n = j->coded->cols;
    if (j->coded->slots == 1) k->sgd(values, gradient, n, s->rate, NULL);
    else if (j->coded->slots == 2) k->adagrad(values, values + stride, gradient, n, s->rate, s->eps, NULL);
    else k->adam(values, values + stride, values + 2 * stride, gradient, n, s, NULL);
}

static lsh_status update_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const job *j = context;
    const lsh_coded *c = j->coded;
    scratch s = scratch_of(j, worker);
    for (int64_t i = begin; i < end; i++) {
        if (j->rows && i + AHEAD < end) prefetch(c, j->rows[i + AHEAD]);
        int64_t row = j->rows ? j->rows[i] : i, at = find(c, (int32_t)row);
        if (at >= 0) {
            apply(j, place(c, at), c->cols, lsh_float_row(j->values, i));
        } else {
            get_record(j, row, s.values, padded(c->cols));
            apply(j, s.values, padded(c->cols), lsh_float_row(j->values, i));
            put_record(j, row, LSH_DRAW_ROUNDING, s.values, padded(c->cols), s.bits);
        }
    }
    return LSH_OK;
}

lsh_status lsh_coded_update(const lsh_coded *coded, const int32_t *rows, lsh_dense gradient, const lsh_coded_step *step,
                            const lsh_rounding *rounding, int32_t threads) {
    if (!fits(coded) || gradient.dtype != LSH_FLOAT32 || gradient.cols != coded->cols || !rounding ||
        (!rows && gradient.rows != coded->rows))
        return LSH_INVALID;
    if (gradient.rows == 0) return LSH_OK;
    job j = {.rows = rows, .values = gradient, .rounding = rounding};
    j.step = (lsh_adam_step){.beta1 = step->beta1, .rest1 = step->rest1, .beta2 = step->beta2, .rest2 = step->rest2,
                             .eps = step->eps, .rate = step->rate, .scale = step->scale};
    if (!job_begin(&j, coded, threads)) return LSH_NO_MEMORY;
    if (coded->sets) move_rows(&j, gradient.rows, scratch_of(&j, 0).bits);
    lsh_status status = lsh_parallel_for(gradient.rows, ROWS, threads, update_chunk, &j);
    free(j.work);
    return status;
}

static const int32_t order[DECODED] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* Decodes some of the rows ids[begin .. end); returns how many. */
static int64_t decode_some(const job *j, int64_t begin, int64_t end, float *values) {
    int64_t most = DECODED_VALUES / j->coded->cols < 2 ? 2 : DECODED_VALUES / j->coded->cols;
    int64_t n = end - begin < most ? end - begin : most;
    if (n > DECODED) n = DECODED;
    for (int64_t t = 0; t < n; t++) {
        if (begin + t + AHEAD < end) prefetch(j->coded, j->ids[begin + t + AHEAD]);
        slot_of(j, j->ids[begin + t], 0, values + t * padded(j->coded->cols));
    }
    return n;
}

static lsh_status matmul_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const job *j = context;
    int64_t d = j->coded->cols;
    scratch s = scratch_of(j, worker);
    for (int64_t i = begin; i < end; i++) {
        float *out = lsh_float_row(j->values, i);
        for (int64_t column = 0; column < d; column++) out[column] = j->bias ? j->bias[column * j->bias_stride] : 0;
        for (int64_t t = j->indptr[i], n; t < j->indptr[i + 1]; t += n) {
            n = decode_some(j, t, j->indptr[i + 1], s.values);
            j->kernels->float32->weighted_sum(order, j->x.values + t, n, s.values, padded(d), out, out, d);
        }
    }
    return LSH_OK;
}

lsh_status lsh_coded_csr_matmul(lsh_csr x, const lsh_coded *coded, const float *bias, int64_t bias_stride, lsh_dense out,
                                int32_t threads) {
    if (!fits(coded) || x.cols != coded->rows || out.rows != x.rows || out.cols != coded->cols || out.dtype != LSH_FLOAT32)
        return LSH_INVALID;
    job j = {.values = out, .x = x, .indptr = x.indptr, .ids = x.indices, .bias = bias, .bias_stride = bias_stride};
    if (!job_begin(&j, coded, threads)) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(x.rows, SAMPLES, threads, matmul_chunk, &j);
    free(j.work);
    return status;
}

static lsh_status dots_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const job *j = context;
    int64_t d = j->coded->cols;
    scratch s = scratch_of(j, worker);
    for (int64_t i = row_of(j->indptr, j->values.rows, begin); begin < end; i++) {
        int64_t to = j->indptr[i + 1] < end ? j->indptr[i + 1] : end;
        for (int64_t n; begin < to; begin += n) {
            n = decode_some(j, begin, to, s.values);
            j->kernels->float32->dots(lsh_float_row(j->values, i), d, s.values, padded(d), order, n, j->out + begin);
            for (int64_t t = begin; j->bias && t < begin + n; t++) j->out[t] += j->bias[j->ids[t] * j->bias_stride];
        }
    }
    return LSH_OK;
}

lsh_status lsh_coded_csr_sampled_matmul(lsh_dense h, const lsh_coded *coded, const float *bias, int64_t bias_stride,
                                        const int64_t *indptr, const int32_t *ids, float *values, int32_t threads) {
    if (!fits(coded) || h.dtype != LSH_FLOAT32 || h.cols != coded->cols) return LSH_INVALID;
    job j = {.values = h, .indptr = indptr, .ids = ids, .bias = bias, .bias_stride = bias_stride, .out = values};
    if (!job_begin(&j, coded, threads)) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(h.rows ? indptr[h.rows] : 0, DOTS, threads, dots_chunk, &j);
    free(j.work);
    return status;
}
