/* What kernels over rows use whatever the dtype of the rows. */

/* Rows lie anywhere in a large store, so each is prefetched LSH_AHEAD rows before its turn: 65,536 rows of 512
 * bytes out of 600 MB take 1.1 ms with 16, 1.8 with 4. */
#define LSH_AHEAD 16
typedef uint16_t lsh_vh __attribute__((vector_size(2 * LSH_WIDTH))); /* 16 bits for each column of a vector */

LSH_INLINE lsh_vh load_bits(const uint16_t *bits) {
    lsh_vh v;
    memcpy(&v, bits, sizeof v);
    return v;
}

/* Vectors of columns that are summed in one pass over the rows; all of them stay in registers. */
#define LSH_SUMS 8

LSH_INLINE void prefetch_row(const void *row, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)row + i);
    __builtin_prefetch((const char *)row + bytes - 1); /* a row that begins within a cache line ends in one more */
}

typedef float lsh_four __attribute__((vector_size(16)));
