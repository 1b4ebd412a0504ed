#define _GNU_SOURCE
#include "lshsample/text.h"

#include <float.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#include "lshsample/parallel.h"

/* ---- Cutting and counting ---- */

typedef struct {
    const char *text;
    const int64_t *bounds;
    int64_t *counts;
} count_job;

int64_t lsh_text_chunks(int64_t size) { return (size + LSH_TEXT_CHUNK - 1) / LSH_TEXT_CHUNK; }

/* A chunk begins where the first line that starts at or after its nominal place does. */
static void cut(const char *text, int64_t size, int64_t n_chunks, int64_t *bounds) {
    bounds[0] = 0;
    for (int64_t i = 1; i < n_chunks; i++) {
        int64_t at = i * LSH_TEXT_CHUNK - 1;
        if (at < bounds[i - 1] - 1) { /* inside of a line longer than a chunk */
            bounds[i] = bounds[i - 1];
            continue;
        }
        const char *found = memchr(text + at, '\n', (size_t)(size - at));
        bounds[i] = found ? found - text + 1 : size;
    }
    bounds[n_chunks] = size;
}

static int64_t count_byte(const char *p, int64_t n, char byte) {
    int64_t total = 0;
    while (n > 0) { /* 255 sums fit a byte: the inner loops become byte-wide vector operations */
        uint8_t lanes[64] = {0};
        int64_t blocks = n / 64 < 255 ? n / 64 : 255;
        for (int64_t b = 0; b < blocks; b++)
            for (int i = 0; i < 64; i++) lanes[i] += p[b * 64 + i] == byte;
        for (int i = 0; i < 64; i++) total += lanes[i];
        p += blocks * 64;
        n -= blocks * 64;
        if (blocks == 0) {
            for (int64_t i = 0; i < n; i++) total += p[i] == byte;
            n = 0;
        }
    }
    return total;
}

static lsh_status count_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    const count_job *job = context;
    for (int64_t c = begin; c < end; c++) {
        const char *p = job->text + job->bounds[c];
        int64_t n = job->bounds[c + 1] - job->bounds[c], *counts = job->counts + 3 * c;
        int64_t unfinished = n > 0 && p[n - 1] != '\n';
        counts[0] = count_byte(p, n, '\n') + unfinished;
        counts[1] = count_byte(p, n, ':');
        counts[2] = count_byte(p, n, ',');
    }
    return LSH_OK;
}

lsh_status lsh_text_count(const char *text, int64_t size, int32_t threads, int64_t *bounds, int64_t *counts) {
    if (size < 0 || threads < 1) return LSH_INVALID;
    int64_t n_chunks = lsh_text_chunks(size);
    cut(text, size, n_chunks, bounds);
    count_job job = {text, bounds, counts};
    return lsh_parallel_for(n_chunks, 1, threads, count_chunk, &job);
}

/* ---- Numbers ---- */

static inline int is_blank(char c) { return c == ' ' || c == '\t'; }
static inline int is_digit(char c) { return (unsigned char)(c - '0') < 10; }
static inline int ends_token(const char *p, const char *end) { return p == end || is_blank(*p); }

/* An unsigned integer; NULL where there is no digit. Values from 10^11 on stay above every id's range. */
static inline const char *read_id(const char *p, const char *end, int64_t *id) {
    const char *start = p;
    int64_t value = 0;
    for (; p < end && is_digit(*p); p++)
        if (value < 100000000000) value = value * 10 + (*p - '0');
    *id = value;
    return p == start ? NULL : p;
}

/* A decimal number split into parts: digits * 10^exponent, as far as 19 significant digits hold it. */
typedef struct {
    uint64_t digits;
    int64_t exponent;
    int is_negative, is_cut;
} decimal;

static const char *read_digits(const char *p, const char *end, decimal *number, int *n_digits, int is_fraction) {
    const char *start = p;
    for (; p < end && is_digit(*p); p++) {
        if (number->digits < 1000000000000000000u) {
            number->digits = number->digits * 10 + (uint64_t)(*p - '0');
            number->exponent -= is_fraction;
        } else {
            number->is_cut = 1;
            number->exponent += !is_fraction;
        }
    }
    *n_digits += (int)(p - start > 0);
    return p;
}

/* [+-] digits [. digits] [e [+-] digits]; NULL where the text is not that. */
static const char *read_decimal(const char *p, const char *end, decimal *number) {
    int n_digits = 0;
    *number = (decimal){0};
    if (p < end && (*p == '+' || *p == '-')) number->is_negative = *p++ == '-';
    p = read_digits(p, end, number, &n_digits, 0);
    if (p < end && *p == '.') p = read_digits(p + 1, end, number, &n_digits, 1);
    if (n_digits == 0) return NULL;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        int is_negative = 0;
        if (p < end && (*p == '+' || *p == '-')) is_negative = *p++ == '-';
        int64_t exponent;
        p = read_id(p, end, &exponent);
        if (p == NULL) return NULL;
        number->exponent += is_negative ? -exponent : exponent;
    }
    return p;
}

/* Clinger's fast path in double precision: digits and power are exact, so one operation rounds once. Rounding that to
 * float is right unless the double lies just between two floats; those, and what is not normal, take the slow path. */
static int fast_float(const decimal *number, float *value) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (number->is_cut || number->digits > (1ull << 53) || number->exponent < -22 || number->exponent > 22) return 0;
    double d = (double)number->digits;
    d = number->exponent < 0 ? d / powers[-number->exponent] : d * powers[number->exponent];
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    int is_between = (bits & 0x1fffffff) == 0x10000000;
    if (d != 0 && (is_between || d < FLT_MIN || d > FLT_MAX)) return 0;
    *value = number->is_negative ? -(float)d : (float)d;
    return 1;
}

/* The C library's exact conversion, in the "C" locale. */
static float slow_float(const char *start, const char *stop, locale_t c_locale) {
    char copy[LSH_TEXT_NUMBER_MAX + 1];
    memcpy(copy, start, (size_t)(stop - start));
    copy[stop - start] = 0;
    return strtof_l(copy, NULL, c_locale);
}

/* ---- Rows ---- */

/* One chunk's progress; its first fault, if it has one. */
typedef struct {
    int64_t first_row, first_feature, first_label; /* where it began to write, */
    int64_t row, feature, label;                   /* and writes next */
    int64_t min_feature, max_feature, max_label, fault_offset, fault_id;
    int32_t fault;
    uint64_t *scratch;
    int64_t room;
} cursor;

typedef struct {
    lsh_text_rows *rows;
    cursor *cursors;
    locale_t c_locale;
} parse_job;

static lsh_status fail(const parse_job *job, cursor *c, lsh_text_fault fault, const char *at) {
    c->fault = (int32_t)fault;
    c->fault_offset = at - job->rows->text;
    return LSH_BAD_FORMAT;
}

static int by_key(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static lsh_status reserve(cursor *c, int64_t n) {
    if (n <= c->room) return LSH_OK;
    int64_t room = n < 256 ? 256 : 2 * n;
    uint64_t *grown = realloc(c->scratch, (size_t)room * sizeof *grown);
    if (grown == NULL) return LSH_NO_MEMORY;
    c->scratch = grown;
    c->room = room;
    return LSH_OK;
}

/* Sorts a row's features by id, each carried with its value's bits. */
static lsh_status sort_features(const parse_job *job, cursor *c, int64_t begin, const char *line) {
    int64_t n = c->feature - begin;
    lsh_status status = reserve(c, n);
    if (status != LSH_OK) return status;
    int32_t *ids = job->rows->x_indices + begin;
    float *values = job->rows->x_values + begin;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        c->scratch[i] = (uint64_t)ids[i] << 32 | bits;
    }
    qsort(c->scratch, (size_t)n, sizeof *c->scratch, by_key);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)c->scratch[i];
        ids[i] = (int32_t)(c->scratch[i] >> 32);
        memcpy(&values[i], &bits, sizeof bits);
        if (i > 0 && ids[i] == ids[i - 1]) {
            c->fault_id = ids[i];
            return fail(job, c, LSH_TEXT_DUPLICATE, line);
        }
    }
    return LSH_OK;
}

static lsh_status sort_labels(const parse_job *job, cursor *c, int64_t begin) {
    int64_t n = c->label - begin, kept = 0;
    lsh_status status = reserve(c, n);
    if (status != LSH_OK) return status;
    int32_t *ids = job->rows->y_indices + begin;
    for (int64_t i = 0; i < n; i++) c->scratch[i] = (uint64_t)ids[i];
    qsort(c->scratch, (size_t)n, sizeof *c->scratch, by_key);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || c->scratch[i] != c->scratch[i - 1]) ids[kept++] = (int32_t)c->scratch[i];
    c->label = begin + kept;
    return LSH_OK;
}

static lsh_status read_labels(const parse_job *job, cursor *c, const char *p, const char *end) {
    const lsh_text_rows *rows = job->rows;
    int64_t begin = c->label, last = -1;
    int is_sorted = 1;
    for (;; p++) {
        int64_t id;
        const char *stop = read_id(p, end, &id);
        if (stop == NULL || !(stop == end || *stop == ',')) return fail(job, c, LSH_TEXT_LABEL, p);
        id -= rows->label_base;
        if (id < 0 || id >= rows->n_labels) return fail(job, c, LSH_TEXT_LABEL_RANGE, p);
        is_sorted &= id > last;
        last = id;
        if (id > c->max_label) c->max_label = id;
        rows->y_indices[c->label++] = (int32_t)id;
        p = stop;
        if (p == end) break;
    }
    return is_sorted ? LSH_OK : sort_labels(job, c, begin);
}

/* Reads `id:value` into the next place; *p moves behind it. */
static inline lsh_status read_feature(const parse_job *job, cursor *c, const char **p, const char *end) {
    const lsh_text_rows *rows = job->rows;
    const char *start = *p;
    int64_t id;
    const char *colon = read_id(start, end, &id);
    if (colon == NULL || colon == end || *colon != ':') return fail(job, c, LSH_TEXT_FEATURE, start);
    decimal number;
    const char *stop = read_decimal(colon + 1, end, &number);
    if (stop == NULL || !ends_token(stop, end) || stop - (colon + 1) > LSH_TEXT_NUMBER_MAX)
        return fail(job, c, LSH_TEXT_VALUE, start);
    id -= rows->feature_base;
    if (id < 0 || id >= rows->n_features) return fail(job, c, LSH_TEXT_FEATURE_RANGE, start);
    float value;
    if (!fast_float(&number, &value)) {
        value = slow_float(colon + 1, stop, job->c_locale);
        if (!(value >= -FLT_MAX && value <= FLT_MAX)) return fail(job, c, LSH_TEXT_NOT_FINITE, start);
    }
    rows->x_indices[c->feature] = (int32_t)id;
    rows->x_values[c->feature++] = value;
    *p = stop;
    return LSH_OK;
}

/* Moves *p behind `qid:number`, if that is next. */
static lsh_status skip_query(const parse_job *job, cursor *c, const char **p, const char *end) {
    const char *start = *p;
    while (start < end && is_blank(*start)) start++;
    if (end - start < 4 || memcmp(start, "qid:", 4) != 0) return LSH_OK;
    int64_t query;
    const char *stop = read_id(start + 4, end, &query);
    if (stop == NULL || !ends_token(stop, end)) return fail(job, c, LSH_TEXT_FEATURE, start);
    *p = stop;
    return LSH_OK;
}

static lsh_status read_features(const parse_job *job, cursor *c, const char *p, const char *end, const char *line) {
    const int32_t *ids = job->rows->x_indices;
    int64_t begin = c->feature, last = -1;
    int is_sorted = 1;
    lsh_status status = job->rows->svmlight ? skip_query(job, c, &p, end) : LSH_OK;
    if (status != LSH_OK) return status;
    for (;;) {
        while (p < end && is_blank(*p)) p++;
        if (p == end) break;
        status = read_feature(job, c, &p, end);
        if (status != LSH_OK) return status;
        int64_t id = ids[c->feature - 1];
        is_sorted &= id > last;
        last = id;
        if (id > c->max_feature) c->max_feature = id;
    }
    if (!is_sorted) status = sort_features(job, c, begin, line);
    if (c->feature > begin && ids[begin] < c->min_feature) c->min_feature = ids[begin];
    return status;
}

static lsh_status read_row(const parse_job *job, cursor *c, const char *line, const char *end) {
    const char *p = line;
    if (p < end && !is_blank(*p)) {
        const char *stop = p;
        int has_colon = 0;
        for (; !ends_token(stop, end); stop++) has_colon |= *stop == ':';
        if (!has_colon) {
            lsh_status status = read_labels(job, c, p, stop);
            if (status != LSH_OK) return status;
            p = stop;
        }
    }
    return read_features(job, c, p, end, line);
}

/* Where a line's text ends: before a comment. NULL for a line with nothing but a comment, which is no sample. */
static const char *before_comment(const char *line, const char *end) {
    const char *hash = memchr(line, '#', (size_t)(end - line));
    if (hash == NULL) return end;
    while (line < hash && is_blank(*line)) line++;
    return line == hash ? NULL : hash;
}

static lsh_status parse_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    (void)worker;
    (void)end; /* one chunk a call */
    const parse_job *job = context;
    const lsh_text_rows *rows = job->rows;
    cursor *c = &job->cursors[begin];
    const char *line = rows->text + rows->bounds[begin], *stop = rows->text + rows->bounds[begin + 1];
    lsh_status status = LSH_OK;
    while (line < stop && status == LSH_OK) {
        const char *found = memchr(line, '\n', (size_t)(stop - line));
        const char *next = found ? found + 1 : stop, *tail = found ? found : stop;
        if (tail > line && tail[-1] == '\r') tail--;
        if (rows->svmlight && line < tail) tail = before_comment(line, tail);
        if (tail != NULL) {
            status = read_row(job, c, line, tail);
            c->row++;
            rows->x_indptr[c->row] = c->feature;
            rows->y_indptr[c->row] = c->label;
        }
        line = next;
    }
    free(c->scratch);
    c->scratch = NULL;
    return status;
}

/* Each chunk gets the place of its first row, feature and label; there may be fewer of them than places. */
static void place(const lsh_text_rows *rows, cursor *cursors, int64_t n_chunks) {
    int64_t row = 0, feature = 0, label = 0;
    for (int64_t c = 0; c < n_chunks; c++) {
        cursors[c] = (cursor){.first_row = row, .first_feature = feature, .first_label = label,
                              .row = row, .feature = feature, .label = label,
                              .min_feature = INT64_MAX, .max_feature = -1, .max_label = -1};
        row += rows->counts[3 * c];
        feature += rows->counts[3 * c + 1];
        label += rows->counts[3 * c] + rows->counts[3 * c + 2];
    }
}

static void move_down(void *array, int64_t to, int64_t from, int64_t n, size_t size) {
    if (to < from && n > 0) memmove((char *)array + to * (int64_t)size, (char *)array + from * (int64_t)size, (size_t)n * size);
}

/* Moves what the chunks wrote together and sums up what they report. */
static void gather(lsh_text_rows *rows, const cursor *cursors, int64_t n_chunks) {
    int64_t row = 0, feature = 0, label = 0, min_feature = INT64_MAX;
    for (int64_t i = 0; i < n_chunks; i++) {
        const cursor *c = &cursors[i];
        int64_t n_features = c->feature - c->first_feature, n_labels = c->label - c->first_label;
        int64_t feature_gap = c->first_feature - feature, label_gap = c->first_label - label;
        for (int64_t from = c->first_row + 1; from <= c->row; from++) {
            row++;
            rows->x_indptr[row] = rows->x_indptr[from] - feature_gap;
            rows->y_indptr[row] = rows->y_indptr[from] - label_gap;
        }
        move_down(rows->x_indices, feature, c->first_feature, n_features, sizeof(int32_t));
        move_down(rows->x_values, feature, c->first_feature, n_features, sizeof(float));
        move_down(rows->y_indices, label, c->first_label, n_labels, sizeof(int32_t));
        feature += n_features;
        label += n_labels;
        if (c->min_feature < min_feature) min_feature = c->min_feature;
        if (c->max_feature > rows->max_feature) rows->max_feature = c->max_feature;
        if (c->max_label > rows->max_label) rows->max_label = c->max_label;
    }
    rows->n_rows = row;
    rows->features = feature;
    rows->labels = label;
    rows->min_feature = min_feature == INT64_MAX ? -1 : min_feature;
}

static void report_fault(lsh_text_rows *rows, const cursor *cursors, int64_t n_chunks) {
    for (int64_t i = 0; i < n_chunks; i++) {
        if (cursors[i].fault == LSH_TEXT_FINE) continue;
        rows->fault = cursors[i].fault;
        rows->fault_offset = cursors[i].fault_offset;
        rows->fault_id = cursors[i].fault_id;
        return;
    }
}

lsh_status lsh_text_parse(lsh_text_rows *rows, int32_t threads) {
    if (rows->size < 0 || threads < 1 || rows->n_features > INT32_MAX || rows->n_labels > INT32_MAX) return LSH_INVALID;
    int64_t n_chunks = lsh_text_chunks(rows->size);
    rows->x_indptr[0] = rows->y_indptr[0] = 0;
    rows->n_rows = rows->features = rows->labels = 0;
    rows->min_feature = rows->max_feature = rows->max_label = -1;
    rows->fault = LSH_TEXT_FINE;
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    cursor *cursors = malloc((size_t)(n_chunks + 1) * sizeof *cursors);
    lsh_status status = c_locale && cursors ? LSH_OK : LSH_NO_MEMORY;
    if (status == LSH_OK) {
        place(rows, cursors, n_chunks);
        parse_job job = {rows, cursors, c_locale};
        status = lsh_parallel_for(n_chunks, 1, threads, parse_chunk, &job);
    }
    if (status == LSH_OK) gather(rows, cursors, n_chunks);
    if (status == LSH_BAD_FORMAT) report_fault(rows, cursors, n_chunks);
    free(cursors);
    if (c_locale) freelocale(c_locale);
    return status;
}
