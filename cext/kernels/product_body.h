/* Dense products: a register tile of up to LSH_TILE rows and two vectors of columns, over panels packed for it.
 *
 * A tile's accumulators stay in registers over the whole depth of a panel: of 32 registers on AVX-512 and ARM, 16 hold
 * sums, 2 the panel's row and 1 a broadcast from a; of 16 on AVX2, 12, 2 and 1. */
#define LSH_PANEL (2 * LSH_WIDTH)
#if LSH_WIDTH == 16 || defined(__aarch64__)
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

/* Row after row: the rows of a are far apart, and each is on a page of its own. */
static void pack_columns(const float *a, int64_t stride, int64_t depth, int64_t n, float *tiles) {
    int64_t full = n / LSH_TILE * LSH_TILE;
    for (int64_t p = 0; p < depth; p++, a += stride) {
        float *to = tiles + p * LSH_TILE;
        for (int64_t j = 0; j < full; j += LSH_TILE) memcpy(to + j * depth, a + j, LSH_TILE * sizeof *a);
        for (int64_t j = full, h; j < n; j += h) {
            h = tile_height(n - j);
            memcpy(tiles + j * depth + p * h, a + j, (size_t)h * sizeof *a);
        }
    }
}

static void add(float *out, const float *a, int64_t n) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(out + i, lsh_load(out + i) + lsh_load(a + i));
    for (; i < n; i++) out[i] += a[i];
}

static int64_t next_above(const float *scores, int64_t from, int64_t n, float threshold) {
    int64_t i = from;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH)
        if (lsh_any_above(lsh_load(scores + i), lsh_splat(threshold))) break;
    for (; i < n; i++)
        if (scores[i] > threshold) return i;
    return n;
}
