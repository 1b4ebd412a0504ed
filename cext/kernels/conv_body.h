/* Sums over runs: short rows of one array, each at an offset of its own, which overlap. A run is a number of groups of
 * LSH_GROUP floats. Included once per instruction set, between LSH_KERNELS_BEGIN and LSH_KERNELS_END. */

/* Vectors of a run that are kept in registers. */
#if defined(LSH_TARGET_AVX512)
#define LSH_HELD 28
#else
#define LSH_HELD 12
#endif

LSH_INLINE void add_run(const int held, const int32_t *offsets, const float *values, int64_t n, const float *in,
                        const float *first, float *out) {
    lsh_vf sum[LSH_HELD];
    LSH_UNROLL
    for (int v = 0; v < held; v++) sum[v] = first ? lsh_splat(*first) : lsh_load(out + v * LSH_WIDTH);
    for (int64_t t = 0; t < n; t++) {
        const float *from = in + offsets[t];
        lsh_vf value = lsh_splat(values[t]);
        LSH_UNROLL
        for (int v = 0; v < held; v++) sum[v] = lsh_fma(value, lsh_load(from + v * LSH_WIDTH), sum[v]);
    }
    LSH_UNROLL
    for (int v = 0; v < held; v++) lsh_store(out + v * LSH_WIDTH, sum[v]);
}

/* A group of partial sums for each offset: at least 16 / LSH_WIDTH of them are independent, and four with wide vectors. */
LSH_INLINE void dot_run(const int held, const float *run, const int32_t *offsets, int64_t n, const float *in, float *sums) {
    enum { VECTORS = LSH_GROUP / LSH_WIDTH, CHAINS = 4 };
    lsh_vf mine[LSH_HELD];
    LSH_UNROLL
    for (int v = 0; v < held; v++) mine[v] = lsh_load(run + v * LSH_WIDTH);
    for (int64_t t = 0; t < n; t++) {
        const float *from = in + offsets[t];
        lsh_vf sum[CHAINS] = {{0}};
        LSH_UNROLL
        for (int v = 0; v < held; v++)
            sum[v % CHAINS] = lsh_fma(mine[v], lsh_load(from + v * LSH_WIDTH), sum[v % CHAINS]);
        for (int v = CHAINS - 1; v >= VECTORS; v--) sum[v % VECTORS] = sum[v % VECTORS] + sum[v];
        for (int v = 0; v < VECTORS; v++) {
            float *to = sums + t * LSH_GROUP + v * LSH_WIDTH;
            lsh_store(to, lsh_load(to) + sum[v]);
        }
    }
}

#define LSH_CASE(n, call) case n: call; break;
#define LSH_CASES_12(call) \
    LSH_CASE(1, call(1)) LSH_CASE(2, call(2)) LSH_CASE(3, call(3)) LSH_CASE(4, call(4)) LSH_CASE(5, call(5)) \
    LSH_CASE(6, call(6)) LSH_CASE(7, call(7)) LSH_CASE(8, call(8)) LSH_CASE(9, call(9)) LSH_CASE(10, call(10)) \
    LSH_CASE(11, call(11)) LSH_CASE(12, call(12))
#if LSH_HELD == 28
#define LSH_CASES(call) LSH_CASES_12(call) \
    LSH_CASE(13, call(13)) LSH_CASE(14, call(14)) LSH_CASE(15, call(15)) LSH_CASE(16, call(16)) LSH_CASE(17, call(17)) \
    LSH_CASE(18, call(18)) LSH_CASE(19, call(19)) LSH_CASE(20, call(20)) LSH_CASE(21, call(21)) LSH_CASE(22, call(22)) \
    LSH_CASE(23, call(23)) LSH_CASE(24, call(24)) LSH_CASE(25, call(25)) LSH_CASE(26, call(26)) LSH_CASE(27, call(27)) \
    LSH_CASE(28, call(28))
#else
#define LSH_CASES(call) LSH_CASES_12(call)
#endif

/* The next vectors of a run of `left`: as few equal parts as registers allow. */
LSH_INLINE int64_t next_part(int64_t left) {
    int64_t parts = (left + LSH_HELD - 1) / LSH_HELD;
    return (left + parts - 1) / parts;
}

static void add_runs(const int32_t *offsets, const float *values, int64_t n, const float *in, const float *first,
                     float *out, int64_t groups) {
#define LSH_CALL(held) add_run(held, offsets, values, n, in, first, out)
    for (int64_t left = groups * (LSH_GROUP / LSH_WIDTH); left > 0;) {
        int64_t now = next_part(left);
        switch (now) { LSH_CASES(LSH_CALL) }
        left -= now;
        in += now * LSH_WIDTH;
        out += now * LSH_WIDTH;
    }
#undef LSH_CALL
}

static void dot_runs(const float *run, const int32_t *offsets, int64_t n, const float *in, float *sums, int64_t groups) {
#define LSH_CALL(held) dot_run(held, run, offsets, n, in, sums)
    enum { VECTORS = LSH_GROUP / LSH_WIDTH, WHOLE = LSH_HELD / VECTORS * VECTORS };
    for (int64_t left = groups * VECTORS; left > 0;) {
        /* Whole groups, so that each lane of a group keeps its own sums. */
        int64_t now = left < WHOLE ? left : WHOLE;
        switch (now) { LSH_CASES(LSH_CALL) }
        left -= now;
        in += now * LSH_WIDTH;
        run += now * LSH_WIDTH;
    }
#undef LSH_CALL
}

#if defined(LSH_TARGET_AVX512)
/* A block of up to 16 x 16 in registers: pairs of rows, of pairs, and of quarters are interleaved. */
LSH_INLINE void transpose_block(const float *in, const int64_t in_stride, int64_t rows, int64_t columns, float *out,
                                const int64_t out_stride) {
    __mmask16 wide = (__mmask16)((1u << columns) - 1), tall = (__mmask16)((1u << rows) - 1);
    __m512 r[16], t[16];
    LSH_UNROLL
    for (int i = 0; i < 16; i += 4) {
        const float *from = in + (i < rows ? i : 0) * in_stride;
        LSH_UNROLL
        for (int k = 0; k < 4; k++) r[i + k] = _mm512_maskz_loadu_ps(i + k < rows ? wide : 0, from + k * in_stride);
    }
    LSH_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    LSH_UNROLL
    for (int i = 0; i < 16; i += 4) {
        LSH_UNROLL
        for (int half = 0; half < 2; half++) {
            __m512d a = _mm512_castps_pd(t[i + half]), b = _mm512_castps_pd(t[i + half + 2]);
            r[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    LSH_UNROLL
    for (int q = 0; q < 4; q++) {
        __m512 even = _mm512_shuffle_f32x4(r[q], r[4 + q], 0x88), odd = _mm512_shuffle_f32x4(r[q], r[4 + q], 0xdd);
        __m512 evens = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0x88), odds = _mm512_shuffle_f32x4(r[8 + q], r[12 + q], 0xdd);
        t[q] = _mm512_shuffle_f32x4(even, evens, 0x88);
        t[4 + q] = _mm512_shuffle_f32x4(odd, odds, 0x88);
        t[8 + q] = _mm512_shuffle_f32x4(even, evens, 0xdd);
        t[12 + q] = _mm512_shuffle_f32x4(odd, odds, 0xdd);
    }
    LSH_UNROLL
    for (int c = 0; c < 16; c += 4) {
        float *to = out + (c < columns ? c : 0) * out_stride;
        LSH_UNROLL
        for (int k = 0; k < 4; k++) _mm512_mask_storeu_ps(to + k * out_stride, c + k < columns ? tall : 0, t[c + k]);
    }
}
#else
LSH_INLINE void transpose_block(const float *in, int64_t in_stride, int64_t rows, int64_t columns, float *out,
                                int64_t out_stride) {
    for (int64_t c = 0; c < columns; c++)
        for (int64_t r = 0; r < rows; r++) out[c * out_stride + r] = in[r * in_stride + c];
}
#endif

/* Lanes side by side are one of both strides: strides that are known keep addresses out of registers. */
static void transpose(const float *in, int64_t in_stride, int64_t rows, int64_t columns, float *out, int64_t out_stride) {
    for (int64_t r = 0; r < rows; r += 16)
        for (int64_t c = 0; c < columns; c += 16) {
            const float *from = in + r * in_stride + c;
            float *to = out + c * out_stride + r;
            int64_t m = rows - r < 16 ? rows - r : 16, n = columns - c < 16 ? columns - c : 16;
            if (in_stride == LSH_GROUP && m == 16 && n == 16) transpose_block(from, LSH_GROUP, 16, 16, to, out_stride);
            else if (out_stride == LSH_GROUP && m == 16 && n == 16) transpose_block(from, in_stride, 16, 16, to, LSH_GROUP);
            else if (in_stride == LSH_GROUP) transpose_block(from, LSH_GROUP, m, n, to, out_stride);
            else if (out_stride == LSH_GROUP) transpose_block(from, in_stride, m, n, to, LSH_GROUP);
            else transpose_block(from, in_stride, m, n, to, out_stride);
        }
}

/* out(rows, rows) = matrix(rows, cols) in(cols, cols) matrix', elements being groups; no element of `in` is read twice from
 * memory. */
LSH_INLINE void map_tile(const int rows, const int cols, const float *matrix, const float *in, int64_t in_row, int64_t in_column,
                         float *out, int64_t out_row, int64_t out_column) {
    for (int lane = 0; lane < LSH_GROUP; lane += LSH_WIDTH) {
        lsh_vf half[6 * 6];
        LSH_UNROLL
        for (int x = 0; x < cols; x++) {
            lsh_vf column[6];
            LSH_UNROLL
            for (int y = 0; y < cols; y++) column[y] = lsh_load(in + y * in_row + x * in_column + lane);
            LSH_UNROLL
            for (int i = 0; i < rows; i++) {
                lsh_vf sum = {0};
                LSH_UNROLL
                for (int y = 0; y < cols; y++)
                    if (matrix[i * cols + y] != 0) sum = lsh_fma(lsh_splat(matrix[i * cols + y]), column[y], sum);
                half[i * cols + x] = sum;
            }
        }
        LSH_UNROLL
        for (int i = 0; i < rows; i++)
            LSH_UNROLL
            for (int j = 0; j < rows; j++) {
                lsh_vf sum = {0};
                LSH_UNROLL
                for (int x = 0; x < cols; x++)
                    if (matrix[j * cols + x] != 0) sum = lsh_fma(lsh_splat(matrix[j * cols + x]), half[i * cols + x], sum);
                lsh_store(out + i * out_row + j * out_column + lane, sum);
            }
    }
}

/* Lavin & Gray's matrices. */
static const float LSH_NAME(points_2)[4 * 4] = {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1};
static const float LSH_NAME(outputs_2)[2 * 4] = {1, 1, 1, 0, 0, 1, -1, -1};
static const float LSH_NAME(points_4)[6 * 6] = {4, 0, -5, 0, 1, 0, 0, -4, -4, 1, 1, 0, 0, 4, -4, -1, 1, 0,
                                                0, -2, -1, 2, 1, 0, 0, 2, -1, -2, 1, 0, 0, 4, 0, -5, 0, 1};
static const float LSH_NAME(outputs_4)[4 * 6] = {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0, 0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1};
static const float LSH_NAME(points_2t)[4 * 4] = {1, 0, 0, 0, 0, 1, -1, 1, -1, 1, 1, 0, 0, 0, 0, -1};
static const float LSH_NAME(outputs_2t)[4 * 2] = {1, 0, 1, 1, 1, -1, 0, -1};
static const float LSH_NAME(points_4t)[6 * 6] = {4, 0, 0, 0, 0, 0, 0, -4, 4, -2, 2, 4, -5, -4, -4, -1, -1, 0,
                                                 0, 1, -1, 2, -2, -5, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1};
static const float LSH_NAME(outputs_4t)[6 * 4] = {1, 0, 0, 0, 1, 1, 1, 1, 1, -1, 1, -1, 1, 2, 4, 8, 1, -2, 4, -8, 0, 0, 0, 1};

static void winograd_map(int32_t map, const float *in, int64_t in_row, int64_t in_column, float *out, int64_t out_row,
                         int64_t out_column) {
#define LSH_MAP(rows, cols, matrix) \
    map_tile(rows, cols, LSH_NAME(matrix), in, in_row, in_column, out, out_row, out_column)
    switch (map) {
    case LSH_POINTS + 2: LSH_MAP(4, 4, points_2); break;
    case LSH_POINTS + 4: LSH_MAP(6, 6, points_4); break;
    case LSH_OUTPUTS + 2: LSH_MAP(2, 4, outputs_2); break;
    case LSH_OUTPUTS + 4: LSH_MAP(4, 6, outputs_4); break;
    case LSH_POINTS_BACK + 2: LSH_MAP(4, 4, points_2t); break;
    case LSH_POINTS_BACK + 4: LSH_MAP(6, 6, points_4t); break;
    case LSH_OUTPUTS_BACK + 2: LSH_MAP(4, 2, outputs_2t); break;
    case LSH_OUTPUTS_BACK + 4: LSH_MAP(6, 4, outputs_4t); break;
    }
#undef LSH_MAP
}

#undef LSH_CASES
#undef LSH_CASES_12
#undef LSH_CASE
#undef LSH_HELD
