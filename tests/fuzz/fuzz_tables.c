/* libFuzzer: arrays of any content as opened tables. Lookups, sampling and checks may refuse them, and must not
 * read outside of them. */
#include <stdlib.h>
#include <string.h>

#include "lshsample/buckets.h"
#include "lshsample/sample.h"

enum { TABLES = 2, PROBES = 1, QUERIES = 3 };

static const uint8_t *take(const uint8_t **data, size_t *left, void *out, size_t bytes) {
    size_t given = bytes < *left ? bytes : *left;
    memset(out, 0, bytes);
    if (given) memcpy(out, *data, given);
    *data += given;
    *left -= given;
    return *data;
}

static void look(const lsh_reader *reader, const uint32_t *codes) {
    int64_t held[QUERIES * TABLES], sizes[QUERIES * TABLES], total = 0;
    if (lsh_buckets_count(reader, codes, QUERIES, 1, held, sizes) != LSH_OK) return;
    int64_t indptr[QUERIES * TABLES + 1] = {0};
    for (int i = 0; i < QUERIES * TABLES; i++) indptr[i + 1] = total += held[i];
    int32_t *ids = malloc((size_t)total * sizeof *ids + 1);
    lsh_buckets_fill(reader, codes, QUERIES, indptr, 1, ids);
    free(ids);
}

static void sample(const lsh_reader *reader, int64_t n_ids, const uint32_t *codes) {
    lsh_stage stage = {.op = LSH_STAGE_RETRIEVE, .n_probes = PROBES, .reader = reader, .codes = codes};
    lsh_plan plan = {.stages = &stage, .n_stages = 1, .n_queries = QUERIES, .n_items = n_ids};
    lsh_workspace *workspace = NULL;
    lsh_drawn *drawn = NULL;
    int32_t failed;
    if (lsh_workspace_new(n_ids, 1, &workspace) != LSH_OK) return;
    if (lsh_sample_run(&plan, workspace, 1, &drawn, &failed) == LSH_OK) lsh_sample_free(drawn);
    lsh_workspace_free(workspace);
}

/* An array of n 32-bit words from the data. */
static void *taken(const uint8_t **data, size_t *left, size_t n) {
    void *out = malloc(4 * n + 1);
    take(data, left, out, 4 * n);
    return out;
}

static void packed(const uint8_t *shape, const uint32_t *codes, const uint8_t *data, size_t left) {
    lsh_packed p = {.n_items = shape[0] % 40, .n_ids = shape[1] % 60 + 1, .n_tables = TABLES, .untrusted = 1};
    p.code_bits = shape[2] % 32 + 1;
    p.directory_bits = lsh_packed_directory_bits(p.n_items, p.code_bits);
    size_t n_ids = (size_t)(TABLES * p.n_items);
    p.directory = taken(&data, &left, TABLES * (((size_t)1 << p.directory_bits) + 1));
    p.ids = taken(&data, &left, n_ids);
    p.codes = p.directory_bits < p.code_bits ? taken(&data, &left, n_ids) : NULL;
    lsh_reader reader = {.packed = &p};
    look(&reader, codes);
    sample(&reader, p.n_ids, codes);
    lsh_packed_check(&p, 1);
    free(p.ids);
    free(p.codes);
    free(p.directory);
}

static void bounded(const uint8_t *shape, const uint32_t *codes, const uint8_t *data, size_t left) {
    lsh_bounded b = {.n_items = shape[0] % 40, .n_ids = shape[1] % 60 + 1, .n_tables = TABLES, .untrusted = 1};
    b.code_bits = shape[2] % 32 + 1;
    b.bucket_size = shape[3] / 4 % 5 + 1;
    size_t buckets = TABLES * ((size_t)1 << b.code_bits);
    b.sizes = taken(&data, &left, buckets);
    b.ids = taken(&data, &left, buckets * (size_t)b.bucket_size);
    lsh_reader reader = {.bounded = &b};
    look(&reader, codes);
    sample(&reader, b.n_ids, codes);
    lsh_bounded_check(&b, 1);
    free(b.ids);
    free(b.sizes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t shape[4];
    uint32_t codes[QUERIES * TABLES];
    take(&data, &size, shape, sizeof shape);
    take(&data, &size, codes, sizeof codes);
    if (shape[3] % 4 == 0 && shape[2] % 32 < 6) bounded(shape, codes, data, size);
    else packed(shape, codes, data, size);
    return 0;
}
