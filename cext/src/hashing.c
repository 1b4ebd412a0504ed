#include "lshsample/hashing.h"

#include <stdlib.h>
#include <string.h>

#include "finite.h"
#include "lshsample/parallel.h"

typedef struct {
    const lsh_family_kernel *kernel;
    const float *values;
    int64_t stride; /* of dense rows; 0 for sparse ones */
    const int64_t *indptr;
    const int32_t *indices;
    int32_t n_probes;
    uint32_t *codes;
    char *scratch;
    int64_t scratch_stride; /* bytes from one thread's scratch to the next one's */
} hash_job;

lsh_status lsh_kernel_check(const lsh_family_kernel *kernel, int32_t probing) {
    if (kernel == NULL) return LSH_INVALID;
    if (kernel->abi_version != LSH_FAMILY_ABI) return LSH_BAD_ABI;
    int sizes = kernel->n_tables >= 1 && kernel->code_bits >= 1 && kernel->code_bits <= 32 && kernel->dim >= 1 &&
                kernel->scratch_bytes >= 0 && kernel->reserved == 0;
    if (!sizes || kernel->hash == NULL || (probing && kernel->probe == NULL)) return LSH_INVALID;
    return LSH_OK;
}

static lsh_status check_codes(const uint32_t *codes, int64_t n, int32_t code_bits) {
    uint32_t seen = 0;
    for (int64_t i = 0; i < n; i++) seen |= codes[i];
    return code_bits < 32 && seen >> code_bits ? LSH_OUT_OF_RANGE : LSH_OK;
}

static lsh_status check_values(const hash_job *job, int64_t begin, int64_t end) {
    if (job->indptr)
        return lsh_all_finite(job->values + job->indptr[begin], job->indptr[end] - job->indptr[begin]) ? LSH_OK
                                                                                                   : LSH_NOT_FINITE;
    for (int64_t row = begin; row < end; row++)
        if (!lsh_all_finite(job->values + row * job->stride, job->kernel->dim)) return LSH_NOT_FINITE;
    return LSH_OK;
}

static lsh_status hash_block(void *context, int64_t begin, int64_t end, int32_t worker) {
    const hash_job *job = context;
    const lsh_family_kernel *k = job->kernel;
    lsh_status status = check_values(job, begin, end);
    if (status != LSH_OK) return status;
    int64_t per_row = (int64_t)k->n_tables * (job->n_probes ? job->n_probes : 1), rows = end - begin;
    uint32_t *codes = job->codes + begin * per_row;
    void *scratch = job->scratch + worker * job->scratch_stride;
    const float *values = job->values + begin * job->stride;
    const int64_t *indptr = job->indptr ? job->indptr + begin : NULL;
    int32_t failed = job->n_probes ? k->probe(k->state, rows, k->dim, values, job->stride, indptr, job->indices,
                                              job->n_probes, codes, scratch)
                                   : k->hash(k->state, rows, k->dim, values, job->stride, indptr, job->indices,
                                             codes, scratch);
    return failed ? LSH_PLUGIN_FAILED : check_codes(codes, rows * per_row, k->code_bits);
}

static lsh_status run(hash_job *job, int64_t rows, int32_t threads) {
    enum { LINE = 64 };
    int64_t blocks = (rows + LSH_HASH_BLOCK - 1) / LSH_HASH_BLOCK;
    if (threads > blocks) threads = (int32_t)blocks;
    /* One spare line between threads, so that no two of them write to one cache line. */
    job->scratch_stride = (job->kernel->scratch_bytes + LINE - 1) / LINE * LINE + LINE;
    job->scratch = aligned_alloc(LINE, (size_t)(job->scratch_stride * threads));
    if (job->scratch == NULL) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(rows, LSH_HASH_BLOCK, threads, hash_block, job);
    free(job->scratch);
    return status;
}

static lsh_status check_call(const lsh_family_kernel *kernel, int64_t rows, int64_t cols, int32_t n_probes,
                             int32_t threads, const uint32_t *codes) {
    lsh_status status = lsh_kernel_check(kernel, n_probes > 0);
    if (status != LSH_OK) return status;
    if (rows < 0 || cols != kernel->dim || n_probes < 0 || threads < 1 || (rows > 0 && codes == NULL))
        return LSH_INVALID;
    return LSH_OK;
}

lsh_status lsh_hash_dense(const lsh_family_kernel *kernel, lsh_dense x, int32_t n_probes, int32_t threads,
                          uint32_t *codes) {
    lsh_status status = check_call(kernel, x.rows, x.cols, n_probes, threads, codes);
    if (status != LSH_OK || x.rows == 0) return status;
    if (x.data == NULL || x.stride < x.cols || x.dtype != LSH_FLOAT32) return LSH_INVALID;
    hash_job job = {.kernel = kernel, .values = x.data, .stride = x.stride, .n_probes = n_probes, .codes = codes};
    return run(&job, x.rows, threads);
}

lsh_status lsh_hash_csr(const lsh_family_kernel *kernel, lsh_csr x, int32_t n_probes, int32_t threads,
                        uint32_t *codes) {
    lsh_status status = check_call(kernel, x.rows, x.cols, n_probes, threads, codes);
    if (status != LSH_OK || x.rows == 0) return status;
    if (x.indptr == NULL) return LSH_INVALID;
    hash_job job = {.kernel = kernel, .values = x.values, .indptr = x.indptr, .indices = x.indices,
                    .n_probes = n_probes, .codes = codes};
    return run(&job, x.rows, threads);
}
