/* libFuzzer: arrays of any content as opened tables. Looking into buckets, sampling and checking may refuse them, and
 * must not leave them. */
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

static void look(const lsh_packed *p, const uint32_t *codes) {
    int64_t held[QUERIES * TABLES], sizes[QUERIES * TABLES], total = 0;
    if (lsh_buckets_count(p, NULL, 0, codes, QUERIES, 1, held, sizes) != LSH_OK) return;
    int64_t indptr[QUERIES * TABLES + 1] = {0};
    for (int i = 0; i < QUERIES * TABLES; i++) indptr[i + 1] = total += held[i];
    int32_t *ids = malloc((size_t)total * sizeof *ids + 1);
    lsh_buckets_fill(p, NULL, 0, codes, QUERIES, indptr, 1, ids);
    free(ids);
}

static void sample(const lsh_packed *p, const uint32_t *codes) {
    lsh_stage stage = {.op = LSH_STAGE_RETRIEVE, .n_probes = PROBES, .tables = p, .codes = codes};
    lsh_plan plan = {.stages = &stage, .n_stages = 1, .n_queries = QUERIES, .n_items = p->n_ids};
    lsh_workspace *workspace = NULL;
    lsh_drawn *drawn = NULL;
    int32_t failed;
    if (lsh_workspace_new(p->n_ids, 1, &workspace) != LSH_OK) return;
    if (lsh_sample_run(&plan, workspace, 1, &drawn, &failed) == LSH_OK) lsh_sample_free(drawn);
    lsh_workspace_free(workspace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t shape[4];
    uint32_t codes[QUERIES * TABLES];
    take(&data, &size, shape, sizeof shape);
    take(&data, &size, codes, sizeof codes);
    lsh_packed p = {.n_items = shape[0] % 40, .n_ids = shape[1] % 60 + 1, .n_tables = TABLES, .untrusted = 1};
    p.code_bits = shape[2] % 32 + 1;
    if (shape[3] % 4 == 0 && p.code_bits <= 6) p.bucket_size = shape[3] / 4 % 5 + 1;
    p.directory_bits = p.bucket_size ? p.code_bits : lsh_packed_directory_bits(p.n_items, p.code_bits);
    size_t buckets = (size_t)1 << p.directory_bits;
    size_t n_ids = TABLES * (p.bucket_size ? buckets * (size_t)p.bucket_size : (size_t)p.n_items);
    size_t n_directory = TABLES * (buckets + (p.bucket_size == 0));
    p.ids = malloc(n_ids * sizeof *p.ids + 1);
    p.directory = malloc(n_directory * sizeof *p.directory);
    take(&data, &size, p.directory, n_directory * sizeof *p.directory);
    take(&data, &size, p.ids, n_ids * sizeof *p.ids);
    if (p.directory_bits < p.code_bits) {
        p.codes = malloc(n_ids * sizeof *p.codes + 1);
        take(&data, &size, p.codes, n_ids * sizeof *p.codes);
    }
    look(&p, codes);
    sample(&p, codes);
    lsh_packed_check(&p, 1);
    free(p.ids);
    free(p.codes);
    free(p.directory);
    return 0;
}
