#include "lshsample/packed.h"

#include <stdlib.h>
#include <string.h>

#include "lshsample/parallel.h"
#include "radix.h"
#include "sorted.h"
#include "square.h"

/* A thread transposes rows in runs that stay in the cache, so that each column is written in long runs; in squares, of which
 * each row and column is one vector. */
enum { TRANSPOSE_RUN = 512, SQUARE = 4 };

static int32_t floor_log2(int64_t n) {
    int32_t bits = 0;
    while (bits < 62 && ((int64_t)2 << bits) <= n) bits++;
    return bits;
}

int32_t lsh_packed_directory_bits(int64_t n_items, int32_t code_bits) {
    int32_t low = n_items > 1 ? floor_log2(n_items) : 0;
    int32_t high = ((int64_t)1 << low) < n_items ? low + 1 : low;
    return code_bits <= high ? code_bits : low;
}

int64_t lsh_packed_build_scratch(int64_t n_items, int32_t n_tables, int32_t code_bits, int32_t threads) {
    int counting = lsh_packed_directory_bits(n_items, code_bits) == code_bits;
    int32_t workers = threads < n_tables ? threads : n_tables;
    return workers * n_items * (int64_t)(counting ? sizeof(uint32_t) : 2 * sizeof(uint64_t));
}

static int valid(const lsh_packed *p) {
    return p && p->n_items >= 0 && p->n_items < INT32_MAX && p->n_ids >= 0 && p->n_ids < INT32_MAX &&
           p->n_tables >= 1 && p->code_bits >= 1 && p->code_bits <= 32 && p->directory_bits >= 0 && p->directory_bits <= p->code_bits &&
           p->directory_bits < 31 && p->directory && (p->ids || p->n_items == 0) &&
           (p->codes || p->directory_bits == p->code_bits || p->n_items == 0);
}

static int64_t directory_size(const lsh_packed *p) { return ((int64_t)1 << p->directory_bits) + 1; }

static uint32_t code_mask(int32_t code_bits) {
    return code_bits == 32 ? UINT32_MAX : ((uint32_t)1 << code_bits) - 1;
}

/* ---- transpose ---- */

typedef struct {
    const uint32_t *block;
    uint32_t *columns;
    int64_t n_items, first;
    int32_t n_tables;
    uint32_t mask;
} transpose_job;

static lsh_status transpose_rows(void *context, int64_t begin, int64_t end, int32_t worker) {
    const transpose_job *job = context;
    int64_t tables = job->n_tables;
    (void)worker;
    uint32_t seen = 0;
    for (int64_t i = begin * tables; i < end * tables; i++) seen |= job->block[i];
    for (int64_t t = 0; t < tables; t += SQUARE) {
        /* The first rows touch every page of new columns: that alone may take long. */
        if (lsh_interrupted()) return LSH_INTERRUPTED;
        const uint32_t *in = job->block + t;
        uint32_t *out = job->columns + t * job->n_items + job->first;
        int64_t columns = tables - t < SQUARE ? tables - t : SQUARE, row = begin;
        for (; columns == SQUARE && row + SQUARE <= end; row += SQUARE) {
            lsh_row4 square[SQUARE];
            for (int i = 0; i < SQUARE; i++) memcpy(&square[i], in + (row + i) * tables, sizeof square[i]);
            transpose_square(square);
            for (int i = 0; i < SQUARE; i++) memcpy(out + i * job->n_items + row, &square[i], sizeof square[i]);
        }
        for (; row < end; row++)
            for (int64_t i = 0; i < columns; i++) out[i * job->n_items + row] = in[row * tables + i];
    }
    return seen & ~job->mask ? LSH_OUT_OF_RANGE : LSH_OK;
}

lsh_status lsh_codes_transpose(const uint32_t *block, int64_t rows, int32_t n_tables, int32_t code_bits, int64_t first,
                               int64_t n_items, uint32_t *columns, int32_t threads) {
    if (rows < 0 || n_tables < 1 || code_bits < 1 || code_bits > 32 || first < 0 || first + rows > n_items)
        return LSH_INVALID;
    transpose_job job = {block, columns, n_items, first, n_tables, code_mask(code_bits)};
    return lsh_parallel_for(rows, TRANSPOSE_RUN, threads, transpose_rows, &job);
}

/* ---- build ---- */

typedef struct {
    const lsh_packed *tables;
    void *scratch; /* of each worker: n_items codes, or where codes are kept twice as many keys */
    int64_t first; /* table */
} build_job;

/* Counting sort by the whole code: the directory is the counters. It is stable, so ids ascend in a bucket. Each pass takes
 * the rows in ranges: `codes` are those of rows begin .. end - 1, which are copied too where `copy` is not NULL. */
static inline lsh_status count_rows(const lsh_packed *p, const uint32_t *codes, int64_t begin, int64_t end,
                                    int32_t *directory, uint32_t *copy) {
    int64_t buckets = directory_size(p) - 1;
    if (begin == 0) memset(directory, 0, (size_t)(buckets + 1) * sizeof *directory);
    for (int64_t i = 0; i < end - begin; i++) {
        uint32_t code = codes[i];
        if (code >= buckets) return LSH_OUT_OF_RANGE;
        directory[code + 1]++;
        if (copy) copy[i] = code;
    }
    return LSH_OK;
}

static void place_rows(const lsh_packed *p, const uint32_t *codes, int64_t begin, int64_t end, int32_t *ids,
                       int32_t *directory) {
    int64_t buckets = directory_size(p) - 1;
    for (int64_t c = 0; begin == 0 && c < buckets; c++) directory[c + 1] += directory[c];
    for (int64_t i = begin; i < end; i++) ids[directory[codes[i - begin]]++] = (int32_t)i;
    if (end < p->n_items) return;
    /* Each entry now holds its bucket's end, which is the next one's begin. */
    memmove(directory + 1, directory, (size_t)buckets * sizeof *directory);
    directory[0] = 0;
}

/* Sorted keys (code << 32 | id) as arrays, and where each value of the codes' top bits begins. */
static void unpack(const lsh_packed *p, const uint64_t *keys, uint32_t *codes, int32_t *ids, int32_t *directory) {
    int32_t shift = p->code_bits - p->directory_bits;
    int64_t buckets = directory_size(p) - 1, next = 0;
    for (int64_t i = 0; i < p->n_items; i++) {
        codes[i] = (uint32_t)(keys[i] >> 32);
        ids[i] = (int32_t)keys[i];
        for (int64_t top = (int64_t)((uint64_t)codes[i] >> shift); next <= top; next++) directory[next] = (int32_t)i;
    }
    for (; next <= buckets; next++) directory[next] = (int32_t)p->n_items;
}

static lsh_status build_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const build_job *job = context;
    const lsh_packed *p = job->tables;
    int64_t n = p->n_items;
    for (int64_t t = job->first + begin; t < job->first + end; t++) {
        int32_t *ids = p->ids + t * n, *directory = p->directory + t * directory_size(p);
        if (p->directory_bits == p->code_bits) {
            /* The codes, which lie where the ids belong, make way for them. */
            uint32_t *codes = (uint32_t *)job->scratch + n * worker;
            lsh_status status = count_rows(p, (const uint32_t *)ids, 0, n, directory, codes);
            if (status != LSH_OK) return status;
            place_rows(p, codes, 0, n, ids, directory);
            continue;
        }
        uint64_t *scratch = (uint64_t *)job->scratch + 2 * n * worker;
        uint32_t *codes = p->codes + t * n;
        const uint64_t *sorted = radix_order(codes, n, p->code_bits, scratch, scratch + n);
        if (sorted == NULL) return LSH_OUT_OF_RANGE;
        unpack(p, sorted, codes, ids, directory);
    }
    return LSH_OK;
}

/* Sorts tables first to last - 1. */
static lsh_status sort_tables(const lsh_packed *tables, int64_t first, int64_t last, int32_t threads) {
    build_job job = {tables, NULL, first};
    int64_t scratch =
        lsh_packed_build_scratch(tables->n_items, (int32_t)(last - first), tables->code_bits, threads);
    if (scratch > 0 && !(job.scratch = malloc((size_t)scratch))) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(last - first, 1, threads, build_tables, &job);
    free(job.scratch);
    return status;
}

lsh_status lsh_packed_build(const lsh_packed *tables, int32_t threads) {
    if (!valid(tables) || threads < 1) return LSH_INVALID;
    return sort_tables(tables, 0, tables->n_tables, threads);
}

/* ---- sort in slices ---- */

typedef struct {
    const lsh_packed *tables;
    const uint32_t *blocks; /* (blocks, n_tables, rows) */
    int64_t rows;           /* of a block */
    int64_t begin, end;     /* of the slice: table t takes the rows twice from step 2 n t on, to count and to place them */
    int64_t first;          /* table */
} slice_job;

static int64_t clamp(int64_t at, int64_t high) { return at < 0 ? 0 : at < high ? at : high; }

/* Counts or places rows of a table, block by block. */
static lsh_status pass_rows(const slice_job *job, int64_t t, int64_t begin, int64_t end, int placing) {
    const lsh_packed *p = job->tables;
    int32_t *ids = p->ids + t * p->n_items, *directory = p->directory + t * directory_size(p);
    lsh_status status = LSH_OK;
    while (begin < end && status == LSH_OK) {
        int64_t block = begin / job->rows, offset = begin % job->rows, last = (block + 1) * job->rows;
        const uint32_t *codes = job->blocks + (block * p->n_tables + t) * job->rows + offset;
        if (last > end) last = end;
        if (placing) place_rows(p, codes, begin, last, ids, directory);
        else status = count_rows(p, codes, begin, last, directory, NULL);
        begin = last;
    }
    return status;
}

static lsh_status sort_slice(void *context, int64_t begin, int64_t end, int32_t worker) {
    const slice_job *job = context;
    int64_t n = job->tables->n_items;
    (void)worker;
    for (int64_t t = job->first + begin; t < job->first + end; t++) {
        int64_t from = job->begin - 2 * n * t, to = job->end - 2 * n * t;
        lsh_status status = pass_rows(job, t, clamp(from, n), clamp(to, n), 0);
        if (status != LSH_OK) return status;
        pass_rows(job, t, clamp(from - n, n), clamp(to - n, n), 1);
    }
    return LSH_OK;
}

/* Copies the codes of table t out of the blocks. */
static void copy_column(const slice_job *job, int64_t t, uint32_t *out) {
    int64_t n = job->tables->n_items;
    for (int64_t begin = 0, block = 0; begin < n; begin += job->rows, block++) {
        int64_t count = begin + job->rows < n ? job->rows : n - begin;
        memcpy(out + begin, job->blocks + (block * job->tables->n_tables + t) * job->rows, (size_t)count * sizeof *out);
    }
}

lsh_status lsh_packed_sort_slice(const lsh_packed *tables, const uint32_t *blocks, int64_t rows, int64_t begin,
                                 int64_t end, int32_t threads) {
    if (!valid(tables) || blocks == NULL || rows < 1 || threads < 1 || begin < 0 || begin >= end) return LSH_INVALID;
    int64_t each = 2 * tables->n_items;
    if (end > each * tables->n_tables) return LSH_INVALID;
    slice_job job = {tables, blocks, rows, begin, end, begin / each};
    if (tables->directory_bits == tables->code_bits)
        return lsh_parallel_for((end - 1) / each + 1 - job.first, 1, threads, sort_slice, &job);
    /* The tables that end in this slice. */
    for (int64_t t = begin / each; t < end / each; t++) copy_column(&job, t, tables->codes + t * tables->n_items);
    return sort_tables(tables, begin / each, end / each, threads);
}

/* ---- check and lookup ---- */

static int table_sound(const lsh_packed *p, int64_t t) {
    int64_t n = p->n_items, buckets = directory_size(p) - 1;
    const int32_t *directory = p->directory + t * (buckets + 1);
    int bad = directory[0] != 0 || directory[buckets] != n;
    for (int64_t c = 0; c < buckets; c++) bad |= directory[c + 1] < directory[c];
    if (bad || !ids_in_range(p->ids + t * n, n, p->n_ids)) return 0;
    if (p->directory_bits == p->code_bits) return 1;
    const uint32_t *codes = p->codes + t * n;
    int32_t shift = p->code_bits - p->directory_bits;
    for (int64_t c = 0; c < buckets; c++)
        for (int64_t i = directory[c]; i < directory[c + 1]; i++)
            bad |= ((uint64_t)codes[i] >> shift) != (uint64_t)c || (i > 0 && codes[i] < codes[i - 1]);
    return !bad;
}

static lsh_status check_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const lsh_packed *p = context;
    (void)worker;
    for (int64_t t = begin; t < end; t++)
        if (!table_sound(p, t)) return LSH_OUT_OF_RANGE;
    return LSH_OK;
}

lsh_status lsh_packed_check(const lsh_packed *tables, int32_t threads) {
    if (!valid(tables)) return LSH_INVALID;
    return lsh_parallel_for(tables->n_tables, 1, threads, check_tables, (void *)(uintptr_t)tables);
}

int64_t lsh_packed_bucket(const lsh_packed *tables, int32_t table, uint32_t code, int64_t *begin) {
    int64_t n = tables->n_items, buckets = directory_size(tables) - 1;
    int32_t shift = tables->code_bits - tables->directory_bits;
    uint64_t top = (uint64_t)code >> shift;
    *begin = table * n;
    if (top >= (uint64_t)buckets) return 0;
    const int32_t *directory = tables->directory + table * (buckets + 1) + top;
    int64_t first = directory[0], last = directory[1];
    *begin = table * n + first;
    if (shift == 0 || first == last) return last - first;
    const uint32_t *codes = tables->codes + table * n;
    int64_t low = lower_bound(codes, first, last, code);
    int64_t high = code == UINT32_MAX ? last : lower_bound(codes, low, last, code + 1);
    *begin = table * n + low;
    return high - low;
}

int64_t lsh_packed_bucket_checked(const lsh_packed *tables, int32_t table, uint32_t code, int64_t *begin) {
    int64_t n = tables->n_items, buckets = directory_size(tables) - 1;
    int64_t top = (int64_t)((uint64_t)code >> (tables->code_bits - tables->directory_bits));
    *begin = 0;
    if (top >= buckets) return 0;
    const int32_t *directory = tables->directory + table * (buckets + 1) + top;
    if (directory[0] < 0 || directory[0] > directory[1] || directory[1] > n) return -1;
    int64_t length = lsh_packed_bucket(tables, table, code, begin);
    return length >= 0 && ids_in_range(tables->ids + *begin, length, tables->n_ids) ? length : -1;
}

/* ---- codes by id ---- */

typedef struct {
    const lsh_packed *tables;
    uint32_t *codes;
} forward_job;

static lsh_status forward_tables(void *context, int64_t begin, int64_t end, int32_t worker) {
    const forward_job *job = context;
    const lsh_packed *p = job->tables;
    int64_t n = p->n_items, width = directory_size(p);
    (void)worker;
    for (int64_t t = begin; t < end; t++) {
        const int32_t *ids = p->ids + t * n, *directory = p->directory + t * width;
        uint32_t *out = job->codes + t;
        for (int64_t c = 0; c + 1 < width; c++)
            for (int64_t i = directory[c]; i < directory[c + 1]; i++)
                out[ids[i] * (int64_t)p->n_tables] = p->codes ? p->codes[t * n + i] : (uint32_t)c;
    }
    return LSH_OK;
}

lsh_status lsh_packed_forward(const lsh_packed *tables, uint32_t *codes, int32_t threads) {
    if (!valid(tables)) return LSH_INVALID;
    forward_job job = {tables, codes};
    return lsh_parallel_for(tables->n_tables, 1, threads, forward_tables, &job);
}
