/* Dense products: a register tile of up to LSH_TILE rows and two vectors of columns, over panels packed for it.
 *
 * A tile's accumulators stay in registers over the whole depth of a panel: of 32 registers on AVX-512, 16 hold sums,
 * 2 the panel's row and 1 a broadcast from a; of 16 on AVX2, 12, 2 and 1. */
#define LSH_PANEL (2 * LSH_WIDTH)
#if LSH_WIDTH == 16
#define LSH_TILE 8
#elif LSH_WIDTH == 8
#define LSH_TILE 6
#else
#define LSH_TILE 4
#endif

_Static_assert(LSH_PANEL <= LSH_PANEL_COLUMNS && LSH_TILE <= LSH_TILE_ROWS, "buffers of the drivers are large enough");

/* The height of the tile that starts where `left` rows are left: full tiles, then 4, 2 and 1. */
LSH_INLINE int64_t tile_height(int64_t left) {
    return left >= LSH_TILE ? LSH_TILE : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* a(i, p) = a[i * row_step + p * column_step]; h is a compile-time constant, so the sums live in registers. */
LSH_INLINE void tile_full(const int h, const float *a, int64_t row_step, int64_t column_step, const float *panel,
                          int64_t depth, const float *first, float *c, int64_t c_stride) {
    lsh_vf sum[LSH_TILE][2];
#pragma GCC unroll 16
    for (int i = 0; i < h; i++) {
        const float *from = first ? first : c + i * c_stride;
        sum[i][0] = lsh_load(from);
        sum[i][1] = lsh_load(from + LSH_WIDTH);
    }
    for (int64_t p = 0; p < depth; p++, panel += LSH_PANEL) {
        lsh_vf left = lsh_load(panel), right = lsh_load(panel + LSH_WIDTH);
#pragma GCC unroll 16
        for (int i = 0; i < h; i++) {
            lsh_vf x = lsh_splat(a[i * row_step + p * column_step]);
            sum[i][0] = lsh_fma(x, left, sum[i][0]);
            sum[i][1] = lsh_fma(x, right, sum[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < h; i++) {
        lsh_store(c + i * c_stride, sum[i][0]);
        lsh_store(c + i * c_stride + LSH_WIDTH, sum[i][1]);
    }
}

/* As tile_full for n <= LSH_PANEL columns of c; nothing behind them is touched. */
LSH_INLINE void tile(const int h, const float *a, int64_t row_step, int64_t column_step, const float *panel,
                     int64_t depth, const float *first, float *c, int64_t c_stride, int64_t n) {
    if (n == LSH_PANEL) {
        tile_full(h, a, row_step, column_step, panel, depth, first, c, c_stride);
        return;
    }
    float edge[LSH_TILE * LSH_PANEL];
    if (!first) {
        memset(edge, 0, sizeof edge);
        for (int i = 0; i < h; i++) memcpy(edge + i * LSH_PANEL, c + i * c_stride, (size_t)n * sizeof *c);
    }
    tile_full(h, a, row_step, column_step, panel, depth, first, edge, LSH_PANEL);
    for (int i = 0; i < h; i++) memcpy(c + i * c_stride, edge + i * LSH_PANEL, (size_t)n * sizeof *c);
}

static void product_rows(const float *a, int64_t a_stride, int64_t m, const float *panel, int64_t depth,
                         const float *first, float *c, int64_t c_stride, int64_t n) {
    for (int64_t i = 0, h; i < m; i += h, a += h * a_stride, c += h * c_stride) {
        h = tile_height(m - i);
        if (h == LSH_TILE) tile(LSH_TILE, a, a_stride, 1, panel, depth, first, c, c_stride, n);
        else if (h == 4) tile(4, a, a_stride, 1, panel, depth, first, c, c_stride, n);
        else if (h == 2) tile(2, a, a_stride, 1, panel, depth, first, c, c_stride, n);
        else tile(1, a, a_stride, 1, panel, depth, first, c, c_stride, n);
    }
}

static void product_packed(const float *tiles, int64_t m, const float *panel, int64_t depth, const float *first,
                           float *c, int64_t c_stride, int64_t n) {
    for (int64_t i = 0, h; i < m; i += h, tiles += h * depth, c += h * c_stride) {
        h = tile_height(m - i);
        if (h == LSH_TILE) tile(LSH_TILE, tiles, 1, LSH_TILE, panel, depth, first, c, c_stride, n);
        else if (h == 4) tile(4, tiles, 1, 4, panel, depth, first, c, c_stride, n);
        else if (h == 2) tile(2, tiles, 1, 2, panel, depth, first, c, c_stride, n);
        else tile(1, tiles, 1, 1, panel, depth, first, c, c_stride, n);
    }
}

typedef float four __attribute__((vector_size(16)));

LSH_INLINE four load_four(const float *p) {
    four v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Four rows become four columns of the panel, four terms at a time. */
LSH_INLINE void transpose_four(const float *const row[4], int64_t depth, float *panel) {
    int64_t p = 0;
    for (; p + 4 <= depth; p += 4) {
        four a = load_four(row[0] + p), b = load_four(row[1] + p), c = load_four(row[2] + p), d = load_four(row[3] + p);
        four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        four out[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                       __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                       __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                       __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
        for (int i = 0; i < 4; i++) memcpy(panel + (p + i) * LSH_PANEL, &out[i], sizeof(four));
    }
    for (; p < depth; p++)
        for (int j = 0; j < 4; j++) panel[p * LSH_PANEL + j] = row[j][p];
}

static void pack_transposed(const float *b, int64_t stride, const int32_t *rows, int64_t n, int64_t depth,
                            float *panel) {
    if (n < LSH_PANEL) memset(panel, 0, (size_t)(depth * LSH_PANEL) * sizeof *panel);
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const float *row[4];
        for (int i = 0; i < 4; i++) row[i] = b + (rows ? rows[j + i] : j + i) * stride;
        transpose_four(row, depth, panel + j);
    }
    for (; j < n; j++) {
        const float *row = b + (rows ? rows[j] : j) * stride;
        for (int64_t p = 0; p < depth; p++) panel[p * LSH_PANEL + j] = row[p];
    }
}

static void pack_rows(const float *b, int64_t stride, const int32_t *rows, int64_t depth, int64_t n, float *panel) {
    for (int64_t p = 0; p < depth; p++, panel += LSH_PANEL) {
        const float *row = b + (rows ? rows[p] : p) * stride;
        if (n == LSH_PANEL) {
            lsh_store(panel, lsh_load(row));
            lsh_store(panel + LSH_WIDTH, lsh_load(row + LSH_WIDTH));
        } else {
            memset(panel, 0, LSH_PANEL * sizeof *panel);
            memcpy(panel, row, (size_t)n * sizeof *panel);
        }
    }
}

static void pack_columns(const float *a, int64_t stride, int64_t depth, int64_t n, float *tiles) {
    for (int64_t j = 0, h; j < n; j += h) {
        h = tile_height(n - j);
        for (int64_t p = 0; p < depth; p++, tiles += h) {
            const float *from = a + p * stride + j;
            if (h == LSH_TILE) memcpy(tiles, from, LSH_TILE * sizeof *tiles);
            else memcpy(tiles, from, (size_t)h * sizeof *tiles);
        }
    }
}

/* How far ahead of its use a gathered row is asked of memory. */
LSH_INLINE void prefetch_row(const float *row, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(row + i);
    __builtin_prefetch(row + n - 1); /* a row that begins within a cache line ends in one more */
}

static int64_t next_above(const float *scores, int64_t from, int64_t n, float threshold) {
    int64_t i = from;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH)
        if (lsh_any_above(lsh_load(scores + i), lsh_splat(threshold))) break;
    for (; i < n; i++)
        if (scores[i] > threshold) return i;
    return n;
}
