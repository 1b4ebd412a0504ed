#define _DEFAULT_SOURCE /* syscall */

#include "tiles.h"

#include <stddef.h>

#include "lshsample/isa.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILES __attribute__((target("amx-tile,amx-bf16,avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")))
#define TILES_INLINE TILES __attribute__((always_inline)) static inline

/* The first n of 16 or 32 elements; all for more, none for less than 1. */
TILES_INLINE __mmask16 first_16(int64_t n) { return n >= 16 ? 0xFFFF : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }
TILES_INLINE __mmask32 first_32(int64_t n) { return n >= 32 ? 0xFFFFFFFFu : n <= 0 ? 0 : ((__mmask32)1 << n) - 1; }

/* 32 floats as bfloat16, those of `low` first. */
TILES_INLINE __m512i halves_of(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

/* Element i of the lower half beside element i of the upper one. */
TILES_INLINE __m512i interleaved(__m512i halves) {
    __m512i words = _mm512_set_epi32(0x1F000F, 0x1E000E, 0x1D000D, 0x1C000C, 0x1B000B, 0x1A000A, 0x190009, 0x180008,
                                     0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return _mm512_permutexvar_epi16(words, halves);
}

/* 16 rows of 16 words, transposed in place: by 2, by 4, by 8, by 16. */
TILES_INLINE void transpose_words(__m512i r[16]) {
    __m512i t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xDD);
        }
#pragma GCC unroll 16
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xDD);
    }
}

TILES static void pack_left(const float *a, int64_t stride, int64_t m, int64_t depth, lsh_half *blocks,
                            int64_t block_halves) {
    for (int64_t i = 0; i < (m + LSH_TILE_HEIGHT - 1) / LSH_TILE_HEIGHT * LSH_TILE_HEIGHT; i++) {
        lsh_half *to = blocks + i / LSH_TILE_HEIGHT * block_halves + i % LSH_TILE_HEIGHT * LSH_TILE_TERMS;
        for (int64_t p = 0; p < depth; p += LSH_TILE_TERMS, to += LSH_TILE_HALVES) {
            int64_t left = i < m ? depth - p : 0;
            const float *from = a + (left ? i * stride + p : 0);
            __m512 low = _mm512_maskz_loadu_ps(first_16(left), from);
            __m512 high = _mm512_maskz_loadu_ps(first_16(left - 16), from + 16);
            _mm512_storeu_si512(to, halves_of(low, high));
        }
    }
}

TILES static void pack_left_columns(const float *a, int64_t stride, int64_t m, int64_t depth, lsh_half *blocks,
                                    int64_t block_halves) {
    for (int64_t i = 0; i < m; i += LSH_TILE_HEIGHT, blocks += block_halves) {
        __mmask16 some = first_16(m - i);
        for (int64_t p = 0; p < depth; p += LSH_TILE_TERMS) {
            __m512i pairs[16];
            for (int64_t t = 0; t < 16; t++) {
                int64_t at = p + 2 * t;
                __m512 even = _mm512_maskz_loadu_ps(at < depth ? some : 0, a + at * stride + i);
                __m512 odd = _mm512_maskz_loadu_ps(at + 1 < depth ? some : 0, a + (at + 1) * stride + i);
                pairs[t] = interleaved(halves_of(even, odd));
            }
            transpose_words(pairs);
            for (int64_t t = 0; t < 16; t++)
                _mm512_storeu_si512(blocks + p * LSH_TILE_HEIGHT + t * LSH_TILE_TERMS, pairs[t]);
        }
    }
}

TILES static void pack_transposed(const lsh_half *b, int64_t stride, const int32_t *rows, int64_t n, int64_t ahead,
                                  int64_t depth, lsh_half *panel) {
    for (int64_t j = n; rows && j < n + ahead; j++)
        for (int64_t p = 0; p < depth; p += 32) _mm_prefetch((const char *)(b + rows[j] * stride + p), _MM_HINT_T0);
    for (int64_t j = 0; j < LSH_TILE_COLUMNS; j += 16)
        for (int64_t p = 0; p < depth; p += LSH_TILE_TERMS) {
            __mmask32 some = first_32(depth - p);
            __m512i pairs[16];
            for (int64_t t = 0; t < 16; t++) {
                int64_t row = j + t >= n ? 0 : rows ? rows[j + t] : j + t;
                pairs[t] = _mm512_maskz_loadu_epi16(j + t < n ? some : 0, b + row * stride + p);
            }
            transpose_words(pairs);
            lsh_half *to = panel + p * LSH_TILE_COLUMNS + 2 * j;
            for (int64_t t = 0; t < 16; t++) _mm512_storeu_si512(to + t * 2 * LSH_TILE_COLUMNS, pairs[t]);
        }
}

TILES static void pack_rows(const lsh_half *b, int64_t stride, const int32_t *rows, int64_t depth, int64_t n,
                            lsh_half *panel) {
    enum { AHEAD = 16 };
    __mmask32 some = first_32(n);
    __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36,
                                   4, 35, 3, 34, 2, 33, 1, 32, 0);
    __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for (int64_t p = 0; p < lsh_whole_terms(depth); p += 2, panel += 2 * LSH_TILE_COLUMNS) {
        for (int64_t q = p + AHEAD; rows && q < p + AHEAD + 2 && q < depth; q++)
            _mm_prefetch((const char *)(b + rows[q] * stride), _MM_HINT_T0);
        int64_t one = p >= depth ? 0 : rows ? rows[p] : p, other = p + 1 >= depth ? 0 : rows ? rows[p + 1] : p + 1;
        __m512i even = _mm512_maskz_loadu_epi16(p < depth ? some : 0, b + one * stride);
        __m512i odd = _mm512_maskz_loadu_epi16(p + 1 < depth ? some : 0, b + other * stride);
        _mm512_storeu_si512(panel, _mm512_permutex2var_epi16(even, low, odd));
        _mm512_storeu_si512(panel + LSH_TILE_COLUMNS, _mm512_permutex2var_epi16(even, high, odd));
    }
}

TILES static void pack_floats(const float *b, int64_t stride, int64_t depth, int64_t n, lsh_half *panel) {
    for (int64_t p = 0; p < lsh_whole_terms(depth); p += 2)
        for (int64_t j = 0; j < LSH_TILE_COLUMNS; j += 16, panel += LSH_TILE_COLUMNS) {
            __mmask16 some = first_16(n - j);
            __m512 even = _mm512_maskz_loadu_ps(p < depth ? some : 0, b + p * stride + j);
            __m512 odd = _mm512_maskz_loadu_ps(p + 1 < depth ? some : 0, b + (p + 1) * stride + j);
            _mm512_storeu_si512(panel, interleaved(halves_of(even, odd)));
        }
}

/* The products of 32 rows with a panel, or of 16. */
TILES_INLINE void block_product(const int tall, const lsh_half *block, int64_t block_halves, const lsh_half *panel,
                                int64_t depth, float *sums) {
    enum { ROW = 2 * LSH_TILE_TERMS, PAIR = 4 * LSH_TILE_COLUMNS, FLOATS = 4 * LSH_TILE_COLUMNS }; /* bytes */
    _tile_zero(0);
    _tile_zero(1);
    if (tall) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t p = 0; p < depth; p += LSH_TILE_TERMS, block += LSH_TILE_HALVES, panel += LSH_PANEL_HALVES) {
        _tile_loadd(6, panel, PAIR);
        _tile_loadd(7, panel + LSH_TILE_COLUMNS, PAIR);
        _tile_loadd(4, block, ROW);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (tall) {
            _tile_loadd(5, block + block_halves, ROW);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, FLOATS);
    _tile_stored(1, sums + 16, FLOATS);
    if (tall) {
        _tile_stored(2, sums + 16 * LSH_TILE_COLUMNS, FLOATS);
        _tile_stored(3, sums + 16 * LSH_TILE_COLUMNS + 16, FLOATS);
    }
}

TILES void lsh_shape_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1};
    for (int i = 0; i < 8; i++) shapes.row_bytes[i] = 64, shapes.rows[i] = 16;
    __asm__ volatile("" ::: "memory"); /* loads of tiles do not tell the compiler what they read */
    _tile_loadconfig(&shapes);
}

TILES static void product(const lsh_half *blocks, int64_t block_halves, int64_t m, const lsh_half *panel, int64_t depth,
                          const float *first, float *c, int64_t c_stride, int64_t n) {
    lsh_shape_tiles();
    __mmask16 low = first_16(n), high = first_16(n - 16);
    for (int64_t i = 0; i < m; i += 2 * LSH_TILE_HEIGHT, blocks += 2 * block_halves) {
        _Alignas(64) float sums[2 * LSH_TILE_HEIGHT * LSH_TILE_COLUMNS];
        if (m - i > LSH_TILE_HEIGHT) block_product(1, blocks, block_halves, panel, depth, sums);
        else block_product(0, blocks, block_halves, panel, depth, sums);
        int64_t rows = m - i < 2 * LSH_TILE_HEIGHT ? m - i : 2 * LSH_TILE_HEIGHT;
        for (int64_t r = 0; r < rows; r++, c += c_stride) {
            const float *add = first ? first : c, *sum = sums + r * LSH_TILE_COLUMNS;
            __m512 left = _mm512_add_ps(_mm512_maskz_loadu_ps(low, add), _mm512_load_ps(sum));
            __m512 right = _mm512_add_ps(_mm512_maskz_loadu_ps(high, add + 16), _mm512_load_ps(sum + 16));
            _mm512_mask_storeu_ps(c, low, left);
            _mm512_mask_storeu_ps(c + 16, high, right);
        }
    }
    _tile_release();
}

static const lsh_tile_kernels tile_kernels = {.pack_left = pack_left, .pack_left_columns = pack_left_columns,
                                              .pack_transposed = pack_transposed, .pack_rows = pack_rows,
                                              .pack_floats = pack_floats, .product = product};

/* What a processor must have for products of bfloat16 (with conversions to it), and of bytes. */
enum { OF_HALVES = 1, OF_BYTES = 2 };

/* The products that the processor has, and the system lets this process use (Linux 5.16). */
static int tiles_permitted(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    uint32_t a, b, c, d, more;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 24 & 1)) return 0;
    int found = d >> 25 & 1 ? OF_BYTES : 0;
    if (d >> 22 & 1 && __get_cpuid_count(7, 1, &more, &b, &c, &d) && more >> 5 & 1) found |= OF_HALVES;
    return found && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 ? found : 0;
}

static int tiles_current(void) {
    static _Atomic int permitted = -1;
    if (lsh_isa_current() != LSH_ISA_AVX512) return 0;
    int known = atomic_load(&permitted);
    if (known < 0) atomic_store(&permitted, known = tiles_permitted());
    return known;
}

const lsh_tile_kernels *lsh_tile_kernels_current(void) { return tiles_current() & OF_HALVES ? &tile_kernels : NULL; }
int lsh_byte_tiles_current(void) { return (tiles_current() & OF_BYTES) != 0; }
#else
const lsh_tile_kernels *lsh_tile_kernels_current(void) { return NULL; }
int lsh_byte_tiles_current(void) { return 0; }
#endif
