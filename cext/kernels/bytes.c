#include "bytes.h"

#include <string.h>

#include "lshsample/bytes.h"
#include "lshsample/isa.h"
#include "tiles.h"

enum { PANEL = LSH_BYTE_PANEL };

static uint32_t above_threshold(const int32_t *sums, const float *terms, const lsh_byte_query *query,
                                float *bounds) {
    uint32_t above = 0;
    for (int j = 0; j < PANEL; j++) {
        float bound = (float)sums[j] * terms[j] * query->scale + terms[PANEL + j];
        bound += terms[2 * PANEL + j] * query->norm + terms[3 * PANEL + j] * query->error;
        above |= (uint32_t)(bound > query->threshold) << j;
        bounds[j] = bound;
    }
    return above;
}

static void panel_baseline(const uint8_t *u, int64_t m, const int8_t *values, int64_t quads, const int32_t *offsets,
                           const float *terms, const lsh_byte_query *queries, uint32_t *above, float *bounds) {
    for (int64_t i = 0; i < m; i++, u += 4 * quads) {
        int32_t sums[PANEL];
        memcpy(sums, offsets, sizeof sums);
        for (int64_t p = 0; p < quads; p++) {
            const int8_t *q = values + p * 4 * PANEL;
            for (int j = 0; j < PANEL; j++)
                for (int t = 0; t < 4; t++) sums[j] += u[4 * p + t] * q[4 * j + t];
        }
        above[i] = above_threshold(sums, terms, queries + i, bounds + i * PANEL);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Two labels in a vector's quarter: products of 16 bits, added in pairs, so that nothing saturates. */
__attribute__((target("avx2,fma"))) static void panel_avx2(const uint8_t *u, int64_t m, const int8_t *values,
                                                           int64_t quads, const int32_t *offsets, const float *terms,
                                                           const lsh_byte_query *queries, uint32_t *above,
                                                           float *bounds) {
    for (int64_t i = 0; i < m; i++, u += 4 * quads) {
        __m256i pairs[PANEL / 4];
        for (int v = 0; v < PANEL / 4; v++) pairs[v] = _mm256_setzero_si256();
        for (int64_t p = 0; p < quads; p++) {
            int32_t four;
            memcpy(&four, u + 4 * p, sizeof four);
            __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
            const __m128i *q = (const __m128i *)(values + p * 4 * PANEL);
            for (int v = 0; v < PANEL / 4; v++)
                pairs[v] = _mm256_add_epi32(pairs[v],
                                            _mm256_madd_epi16(x, _mm256_cvtepi8_epi16(_mm_loadu_si128(q + v))));
        }
        int32_t sums[PANEL], halves[8];
        for (int v = 0; v < PANEL / 4; v++) {
            _mm256_storeu_si256((__m256i *)halves, pairs[v]);
            for (int t = 0; t < 4; t++) sums[4 * v + t] = offsets[4 * v + t] + halves[2 * t] + halves[2 * t + 1];
        }
        above[i] = above_threshold(sums, terms, queries + i, bounds + i * PANEL);
    }
}

#define VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"), always_inline)) static inline
enum { TILE = 8 };

VNNI __m512 half_bounds(__m512i sums, const float *terms, const lsh_byte_query *query) {
    __m512 bound = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(terms));
    bound = _mm512_fmadd_ps(bound, _mm512_set1_ps(query->scale), _mm512_loadu_ps(terms + PANEL));
    bound = _mm512_fmadd_ps(_mm512_loadu_ps(terms + 2 * PANEL), _mm512_set1_ps(query->norm), bound);
    bound = _mm512_fmadd_ps(_mm512_loadu_ps(terms + 3 * PANEL), _mm512_set1_ps(query->error), bound);
    return bound;
}

VNNI uint32_t compared(__m512i left_sums, __m512i right_sums, const float *terms, const lsh_byte_query *query,
                       float *bounds) {
    __m512 left = half_bounds(left_sums, terms, query), right = half_bounds(right_sums, terms + 16, query);
    __m512 threshold = _mm512_set1_ps(query->threshold);
    uint32_t above = (uint32_t)_mm512_cmp_ps_mask(left, threshold, _CMP_GT_OQ) |
                     (uint32_t)_mm512_cmp_ps_mask(right, threshold, _CMP_GT_OQ) << 16;
    if (above) {
        _mm512_storeu_ps(bounds, left);
        _mm512_storeu_ps(bounds + 16, right);
    }
    return above;
}

/* h rows at once, a compile-time constant, so that the sums live in registers. */
VNNI void tile_vnni(const int h, const uint8_t *u, const int8_t *values, int64_t quads, const int32_t *offsets,
                    const float *terms, const lsh_byte_query *queries, uint32_t *above, float *bounds) {
    __m512i sums[TILE][2];
#pragma GCC unroll 16
    for (int i = 0; i < h; i++) {
        sums[i][0] = _mm512_loadu_si512(offsets);
        sums[i][1] = _mm512_loadu_si512(offsets + 16);
    }
    for (int64_t p = 0; p < quads; p++, values += 4 * PANEL) {
        __m512i left = _mm512_loadu_si512(values), right = _mm512_loadu_si512(values + 64);
#pragma GCC unroll 16
        for (int i = 0; i < h; i++) {
            int32_t four;
            memcpy(&four, u + (i * quads + p) * 4, sizeof four);
            __m512i x = _mm512_set1_epi32(four);
            sums[i][0] = _mm512_dpbusd_epi32(sums[i][0], x, left);
            sums[i][1] = _mm512_dpbusd_epi32(sums[i][1], x, right);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < h; i++)
        above[i] = compared(sums[i][0], sums[i][1], terms, queries + i, bounds + i * PANEL);
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))) static void panel_vnni(
    const uint8_t *u, int64_t m, const int8_t *values, int64_t quads, const int32_t *offsets, const float *terms,
    const lsh_byte_query *queries, uint32_t *above, float *bounds) {
    int64_t i = 0;
    for (; i + TILE <= m; i += TILE)
        tile_vnni(TILE, u + 4 * quads * i, values, quads, offsets, terms, queries + i, above + i,
                  bounds + i * PANEL);
    for (; i < m; i++) tile_vnni(1, u + 4 * quads * i, values, quads, offsets, terms, queries + i, above + i,
                  bounds + i * PANEL);
}

#if defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAVE_BYTE_TILES
/* Tiles of 16 rows with 16 labels by 64 terms; terms behind the last whole 64 as in panel_vnni. Reads up to 31 rows
 * behind the last one, whose products are not used. */
__attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))) static void panel_tiles(
    const uint8_t *u, int64_t m, const int8_t *values, int64_t quads, const int32_t *offsets, const float *terms,
    const lsh_byte_query *queries, uint32_t *above, float *bounds) {
    enum { HEIGHT = 2 * LSH_TILE_HEIGHT, QUADS = 16, ROW = 4 * PANEL }; /* bytes between rows of a panel's tile */
    if (m < TILE || quads < QUADS) {
        panel_vnni(u, m, values, quads, offsets, terms, queries, above, bounds);
        return;
    }
    lsh_shape_tiles();
    int64_t whole = quads / QUADS * QUADS, stride = 4 * quads;
    __m512i first_left = _mm512_loadu_si512(offsets), first_right = _mm512_loadu_si512(offsets + 16);
    for (int64_t i = 0; i < m; i += HEIGHT, u += HEIGHT * stride) {
        _Alignas(64) int32_t sums[HEIGHT * PANEL];
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t p = 0; p < whole; p += QUADS) {
            _tile_loadd(6, values + p * ROW, ROW);
            _tile_loadd(7, values + p * ROW + ROW / 2, ROW);
            _tile_loadd(4, u + 4 * p, stride);
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_loadd(5, u + LSH_TILE_HEIGHT * stride + 4 * p, stride);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        _tile_stored(0, sums, ROW);
        _tile_stored(1, sums + 16, ROW);
        _tile_stored(2, sums + LSH_TILE_HEIGHT * PANEL, ROW);
        _tile_stored(3, sums + LSH_TILE_HEIGHT * PANEL + 16, ROW);
        int64_t rows = m - i < HEIGHT ? m - i : HEIGHT;
        for (int64_t r = 0; r < rows; r++) {
            __m512i left = _mm512_add_epi32(_mm512_load_si512(sums + r * PANEL), first_left);
            __m512i right = _mm512_add_epi32(_mm512_load_si512(sums + r * PANEL + 16), first_right);
            for (int64_t p = whole; p < quads; p++) {
                int32_t four;
                memcpy(&four, u + r * stride + 4 * p, sizeof four);
                __m512i x = _mm512_set1_epi32(four);
                left = _mm512_dpbusd_epi32(left, x, _mm512_loadu_si512(values + p * ROW));
                right = _mm512_dpbusd_epi32(right, x, _mm512_loadu_si512(values + p * ROW + 64));
            }
            above[i + r] = compared(left, right, terms, queries + i + r, bounds + (i + r) * PANEL);
        }
    }
    _tile_release();
}
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>

/* Two labels in a vector: a product of a byte without a sign and one with fits in 16 bits; pairs are added to 32. */
static void panel_neon(const uint8_t *u, int64_t m, const int8_t *values, int64_t quads, const int32_t *offsets,
                       const float *terms, const lsh_byte_query *queries, uint32_t *above, float *bounds) {
    for (int64_t i = 0; i < m; i++, u += 4 * quads) {
        int32x4_t pairs[PANEL / 2];
        for (int v = 0; v < PANEL / 2; v++) pairs[v] = vdupq_n_s32(0);
        for (int64_t p = 0; p < quads; p++) {
            uint32_t four;
            memcpy(&four, u + 4 * p, sizeof four);
            int16x8_t x = vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))));
            const int8_t *q = values + p * 4 * PANEL;
            for (int v = 0; v < PANEL / 2; v++)
                pairs[v] = vpadalq_s16(pairs[v], vmulq_s16(x, vmovl_s8(vld1_s8(q + 8 * v))));
        }
        int32_t sums[PANEL];
        for (int v = 0; v < PANEL / 4; v++)
            vst1q_s32(sums + 4 * v,
                      vaddq_s32(vld1q_s32(offsets + 4 * v), vpaddq_s32(pairs[2 * v], pairs[2 * v + 1])));
        above[i] = above_threshold(sums, terms, queries + i, bounds + i * PANEL);
    }
}
#endif

lsh_byte_panel *lsh_byte_panel_current(void) {
#if defined(__x86_64__)
    lsh_isa isa = lsh_isa_current();
    int vnni = isa == LSH_ISA_AVX512 && __builtin_cpu_supports("avx512vnni");
#if defined(HAVE_BYTE_TILES)
    if (vnni && lsh_byte_tiles_current()) return panel_tiles;
#endif
    if (vnni) return panel_vnni;
    if (isa == LSH_ISA_AVX512 || isa == LSH_ISA_AVX2) return panel_avx2;
#elif defined(__aarch64__)
    if (lsh_isa_current() == LSH_ISA_NEON) return panel_neon;
#endif
    return panel_baseline;
}
