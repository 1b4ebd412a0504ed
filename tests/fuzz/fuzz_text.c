/* libFuzzer: any bytes through the reader of text, plain and with comments, on 1 and 3 threads, which must agree. */
#include <stdlib.h>
#include <string.h>

#include "lshsample/text.h"

static lsh_status parse(const char *text, int64_t size, int32_t svmlight, int32_t threads, lsh_text_rows *rows) {
    int64_t chunks = lsh_text_chunks(size), lines = 0, colons = 0, commas = 0;
    int64_t *bounds = calloc((size_t)chunks + 1, sizeof *bounds), *counts = calloc(3 * (size_t)chunks + 1, sizeof *counts);
    lsh_status status = lsh_text_count(text, size, threads, bounds, counts);
    for (int64_t i = 0; i < chunks; i++) {
        lines += counts[3 * i];
        colons += counts[3 * i + 1];
        commas += counts[3 * i + 2];
    }
    *rows = (lsh_text_rows){.text = text, .size = size, .n_features = 1000, .n_labels = 100, .svmlight = svmlight, .bounds = bounds, .counts = counts};
    rows->x_indptr = calloc((size_t)lines + 1, sizeof(int64_t));
    rows->y_indptr = calloc((size_t)lines + 1, sizeof(int64_t));
    rows->x_indices = calloc((size_t)colons + 1, sizeof(int32_t));
    rows->x_values = calloc((size_t)colons + 1, sizeof(float));
    rows->y_indices = calloc((size_t)(commas + lines) + 1, sizeof(int32_t));
    if (status == LSH_OK) status = lsh_text_parse(rows, threads);
    if (status == LSH_OK) {
        int64_t n = rows->n_rows;
        if (n > lines || rows->x_indptr[n] != rows->features || rows->y_indptr[n] != rows->labels) abort();
        for (int64_t i = 0; i < n; i++)
            if (rows->x_indptr[i] > rows->x_indptr[i + 1] || rows->y_indptr[i] > rows->y_indptr[i + 1]) abort();
    }
    free(bounds);
    free(counts);
    free(rows->x_indptr);
    free(rows->y_indptr);
    free(rows->x_indices);
    free(rows->x_values);
    free(rows->y_indices);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1); /* of exactly this size, so that a read past the end is found */
    char *exact = size ? realloc(text, size) : text;
    if (size) memcpy(exact, data, size);
    for (int32_t svmlight = 0; svmlight < 2; svmlight++) {
        lsh_text_rows one, three;
        lsh_status first = parse(exact, (int64_t)size, svmlight, 1, &one);
        lsh_status second = parse(exact, (int64_t)size, svmlight, 3, &three);
        if (first != second || one.n_rows != three.n_rows || one.features != three.features) abort();
        if (one.fault_offset != three.fault_offset) abort();
    }
    free(exact);
    return 0;
}
