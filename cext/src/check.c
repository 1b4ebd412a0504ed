#include "lshsample/check.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "dense.h"
#include "finite.h"
#include "lshsample/parallel.h"

enum { ENTRIES = 1 << 15 };

typedef struct {
    const lsh_csr *x;
    _Atomic int64_t index, order, value, zero;
} check_job;

/* The first row that begins at `entry` or after it. */
static int64_t row_from(const lsh_csr *x, int64_t entry) {
    int64_t low = 0, high = x->rows;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (x->indptr[middle] < entry)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Steps between neighbours that do not ascend, less those from one row to the next: 0 in sound rows. No branch in the
 * loop over entries. */
static int indices_are_sound(const lsh_csr *x, int64_t begin, int64_t end) {
    const int32_t *columns = x->indices;
    uint32_t outside = 0, cols = (uint32_t)x->cols;
    int32_t descents = 0;
    if (begin == 0) outside = (uint32_t)columns[0] >= cols;
    for (int64_t i = begin ? begin : 1; i < end; i++) {
        outside |= (uint32_t)columns[i] >= cols;
        descents += columns[i] <= columns[i - 1];
    }
    for (int64_t row = row_from(x, begin ? begin : 1); row < x->rows && x->indptr[row] < end; row++) {
        int64_t first = x->indptr[row];
        if (first < x->indptr[row + 1]) descents -= columns[first] <= columns[first - 1];
    }
    return !outside && !descents;
}

static void keep_first(_Atomic int64_t *place, int64_t found) {
    int64_t before = atomic_load(place);
    while ((before < 0 || found < before) && !atomic_compare_exchange_weak(place, &before, found)) {
    }
}

/* Where the faults of a chunk's indices are. */
static void find_faults(check_job *job, int64_t begin, int64_t end) {
    const lsh_csr *x = job->x;
    int64_t row = row_from(x, begin), index = -1, order = -1;
    for (int64_t i = begin; i < end && (index < 0 || order < 0); i++) {
        while (row < x->rows && x->indptr[row] < i) row++;
        int starts = i == 0 || (row < x->rows && x->indptr[row] == i);
        if (index < 0 && (uint32_t)x->indices[i] >= (uint32_t)x->cols) index = i;
        if (order < 0 && !starts && x->indices[i] <= x->indices[i - 1]) order = i;
    }
    if (index >= 0) keep_first(&job->index, index);
    if (order >= 0) keep_first(&job->order, order);
}

/* Where the first value that is no number is, and the first zero; no branch before there is one of them. */
static void check_values(check_job *job, int64_t begin, int64_t end) {
    const float *values = job->x->values;
    uint32_t infinite = 0, zeros = 0;
    for (int64_t i = begin; i < end; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        bits &= 0x7fffffffu; /* blind to signs */
        infinite |= (uint32_t)(bits > 0x7f7fffffu);
        zeros |= (uint32_t)(bits == 0);
    }
    int64_t i = begin;
    if (infinite) {
        while (lsh_all_finite(values + i, 1)) i++;
        keep_first(&job->value, i);
    }
    if (zeros) {
        for (i = begin; values[i] != 0; i++) {
        }
        keep_first(&job->zero, i);
    }
}

static lsh_status check_entries(void *context, int64_t begin, int64_t end, int32_t worker) {
    check_job *job = context;
    (void)worker;
    if (!indices_are_sound(job->x, begin, end)) find_faults(job, begin, end);
    if (job->x->values != NULL) check_values(job, begin, end);
    return LSH_OK;
}

static int64_t bad_row(const lsh_csr *x, int64_t n_entries) {
    if (x->indptr[0] < 0) return 0;
    for (int64_t row = 0; row < x->rows; row++)
        if (x->indptr[row + 1] < x->indptr[row] || x->indptr[row + 1] > n_entries) return row;
    return -1;
}

lsh_status lsh_csr_check(lsh_csr x, int64_t n_entries, int32_t threads, lsh_csr_faults *faults) {
    if (x.rows < 0 || x.cols < 0 || n_entries < 0 || threads < 1) return LSH_INVALID;
    *faults = (lsh_csr_faults){bad_row(&x, n_entries), -1, -1, -1, -1};
    if (faults->row >= 0) return LSH_OK;
    check_job job = {&x, -1, -1, -1, -1};
    lsh_status status = lsh_parallel_for(n_entries, ENTRIES, threads, check_entries, &job);
    faults->index = atomic_load(&job.index);
    faults->order = atomic_load(&job.order);
    faults->value = atomic_load(&job.value);
    faults->zero = atomic_load(&job.zero);
    return status;
}

int32_t lsh_finite(lsh_dense x) {
    for (int64_t i = 0; i < x.rows; i++)
        if (!lsh_all_finite(lsh_float_row(x, i), x.cols)) return 0;
    return 1;
}

typedef struct {
    const int64_t *wide;
    int32_t *narrow;
} narrow_job;

static lsh_status narrow_entries(void *context, int64_t begin, int64_t end, int32_t worker) {
    const narrow_job *job = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        int64_t index = job->wide[i];
        job->narrow[i] = (uint64_t)index > INT32_MAX ? -1 : (int32_t)index;
    }
    return LSH_OK;
}

lsh_status lsh_indices_narrow(const int64_t *wide, int64_t n, int32_t threads, int32_t *narrow) {
    if (n < 0 || threads < 1) return LSH_INVALID;
    narrow_job job = {wide, narrow};
    return lsh_parallel_for(n, ENTRIES, threads, narrow_entries, &job);
}
