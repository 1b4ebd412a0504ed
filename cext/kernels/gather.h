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

/* A square of four rows, transposed, into four columns of a panel. */
LSH_INLINE void transpose_square(const lsh_four row[4], float *panel) {
    lsh_four a = row[0], b = row[1], c = row[2], d = row[3];
    lsh_four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    lsh_four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    lsh_four out[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                       __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                       __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                       __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
    for (int i = 0; i < 4; i++) memcpy(panel + i * LSH_PANEL, &out[i], sizeof out[i]);
}
