/* Values in codes of 8 and 4 bits (lshsample/coded.h), of two kinds: offset + scale * code; and small floating-point numbers,
 * relative to the greatest of a row. Without fused operations, so that the bits are the same on every instruction set. */

/* By intrinsics: compilers widen and narrow vectors of bytes element by element. */
LSH_INLINE lsh_vi read_codes(const uint8_t *p) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
    return (lsh_vi){p[0], p[1], p[2], p[3]};
#endif
}

LSH_INLINE void write_codes(uint8_t *p, lsh_vi codes) {
#if defined(LSH_TARGET_AVX512)
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8((__m512i)codes));
#elif defined(LSH_TARGET_AVX2)
    __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)codes), _mm256_extracti128_si256((__m256i)codes, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(halves, halves));
#else
    for (int lane = 0; lane < LSH_WIDTH; lane++) p[lane] = (uint8_t)codes[lane];
#endif
}

LSH_INLINE lsh_vf decoded(lsh_vi codes, float scale, float offset) {
    return __builtin_convertvector(codes, lsh_vf) * scale + offset;
}

/* floor(x + u) of x = (v - offset) * inverse, u in (0, 1) from 16 random bits, or 1/2. NaN becomes 0. */
LSH_INLINE lsh_vi encoded(const float *values, const uint16_t *bits, float inverse, float offset, float levels) {
    lsh_vf u = lsh_splat(0.5f);
    if (bits) {
        lsh_vh drawn = load_bits(bits);
        u = (__builtin_convertvector(__builtin_convertvector(drawn, lsh_vi), lsh_vf) + 0.5f) * (1.0f / 65536);
    }
    lsh_vf x = (lsh_load(values) - offset) * inverse + u;
    return __builtin_convertvector(lsh_min(lsh_max(x, lsh_splat(0)), lsh_splat(levels)), lsh_vi);
}

/* The greatest codes without a sign of small numbers: of 8 bits with one and without, and of 4 bits with one. */
enum { SIGNED_8 = 127, UNSIGNED_8 = 255, SIGNED_4 = 7 };

/* The place in a float of the lowest bit of mantissa that is kept. */
LSH_INLINE int small_shift(int most) { return most == SIGNED_4 ? 23 : 20; }

/* From the bit of the sign to that of a float. */
LSH_INLINE int sign_shift(int most) { return most == SIGNED_4 ? 28 : 24; }

LSH_INLINE lsh_vf small_decoded(lsh_vi codes, int most, int top) {
    lsh_vi magnitude = codes & most;
    lsh_vi bits = (magnitude + (top - most)) << small_shift(most) & (magnitude != 0);
    return (lsh_vf)(most == UNSIGNED_8 ? bits : bits | (codes & (most + 1)) << sign_shift(most));
}

LSH_INLINE lsh_vi small_encoded(const float *values, const uint16_t *random, int most, int top) {
    int shift = small_shift(most);
    lsh_vi bits = (lsh_vi)lsh_load(values), magnitude = bits & 0x7fffffff;
    lsh_vw drawn = __builtin_convertvector(load_bits(random), lsh_vw);
    /* What is cut off is a number of 2^-shift units: a uniform one that is added carries with that probability. */
    lsh_vw kept = ((lsh_vw)magnitude + ((drawn << 1 | 1) << (shift - 17))) >> shift;
    lsh_vi code = (lsh_vi)kept - (top - most), above = code > most;
    lsh_vi first = (top - most + 1) << shift | (lsh_vi){0}; /* the number of code 1 */
    lsh_vi below = magnitude < first, least = (lsh_vi)(magnitude != 0);
    if (most != UNSIGNED_8) {
        /* 0 or that number, with the probability that keeps the mean. */
        lsh_vf u = (__builtin_convertvector((lsh_vi)drawn, lsh_vf) + 0.5f) * (1.0f / 65536);
        least = (lsh_vf)magnitude > (lsh_vf)first * u;
    }
    code = (code & ~above & ~below) | (above & most) | (below & least & 1);
    return most == UNSIGNED_8 ? code : code | ((bits >> sign_shift(most)) & (most + 1));
}

/* The map between the values of a row and their codes; most is 0 for offset + scale * code. */
typedef struct {
    int most, top;
    float scale, offset, levels; /* scale: from codes to values, or from values to codes */
} row_code;

LSH_INLINE lsh_vf values_of(lsh_vi codes, row_code c) {
    return c.most ? small_decoded(codes, c.most, c.top) : decoded(codes, c.scale, c.offset);
}

LSH_INLINE lsh_vi codes_of(const float *values, const uint16_t *bits, row_code c) {
    return c.most ? small_encoded(values, bits, c.most, c.top) : encoded(values, bits, c.scale, c.offset, c.levels);
}

LSH_INLINE void decode_bytes(const uint8_t *codes, int64_t n, float *out, row_code c) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(out + i, values_of(read_codes(codes + i), c));
    if (i == n) return;
    uint8_t some[LSH_WIDTH] = {0};
    memcpy(some, codes + i, (size_t)(n - i));
    lsh_store_some(out + i, values_of(read_codes(some), c), n - i);
}

LSH_INLINE void encode_bytes(uint8_t *codes, int64_t n, const float *values, const uint16_t *bits, row_code c) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) write_codes(codes + i, codes_of(values + i, bits ? bits + i : NULL, c));
    if (i == n) return;
    float last[LSH_WIDTH] = {0};
    uint8_t some[LSH_WIDTH];
    memcpy(last, values + i, (size_t)(n - i) * sizeof *last);
    write_codes(some, codes_of(last, bits ? bits + i : NULL, c));
    memcpy(codes + i, some, (size_t)(n - i));
}

/* The lower halves of the bytes hold the first half of a row, the upper ones the rest. */
LSH_INLINE void decode_halves(const uint8_t *codes, int64_t n, float *out, row_code c) {
    int64_t half = (n + 1) / 2, i = 0;
    for (; i + LSH_WIDTH <= n - half; i += LSH_WIDTH) {
        lsh_vi both = read_codes(codes + i);
        lsh_store(out + i, values_of(both & 15, c));
        lsh_store(out + half + i, values_of(both >> 4, c));
    }
    for (; i < half; i += LSH_WIDTH) {
        int64_t left = half - i < LSH_WIDTH ? half - i : LSH_WIDTH, above = n - half - i;
        uint8_t some[LSH_WIDTH] = {0};
        memcpy(some, codes + i, (size_t)left);
        lsh_vi both = read_codes(some);
        lsh_store_some(out + i, values_of(both & 15, c), left);
        if (above > 0) lsh_store_some(out + half + i, values_of(both >> 4, c), above < left ? above : left);
    }
}

LSH_INLINE void encode_halves(uint8_t *codes, int64_t n, const float *values, const uint16_t *bits, row_code c) {
    int64_t half = (n + 1) / 2, i = 0;
    for (; i + LSH_WIDTH <= n - half; i += LSH_WIDTH) {
        lsh_vi low = codes_of(values + i, bits ? bits + i : NULL, c);
        lsh_vi high = codes_of(values + half + i, bits ? bits + half + i : NULL, c);
        write_codes(codes + i, low | high << 4);
    }
    for (; i < half; i += LSH_WIDTH) {
        int64_t left = half - i < LSH_WIDTH ? half - i : LSH_WIDTH, above = n - half - i;
        float lower[LSH_WIDTH] = {0}, upper[LSH_WIDTH] = {0};
        uint8_t some[LSH_WIDTH];
        memcpy(lower, values + i, (size_t)left * sizeof *lower);
        if (above > 0) memcpy(upper, values + half + i, (size_t)(above < left ? above : left) * sizeof *upper);
        lsh_vi low = codes_of(lower, bits ? bits + i : NULL, c);
        lsh_vi high = codes_of(upper, bits ? bits + half + i : NULL, c);
        write_codes(some, low | high << 4);
        memcpy(codes + i, some, (size_t)left);
    }
}

static void coded_range(const float *values, int64_t n, float *least, float *greatest) {
    lsh_vf low = lsh_splat(__builtin_inff()), high = lsh_splat(-__builtin_inff());
    lsh_vi nan = {0};
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) {
        lsh_vf v = lsh_load(values + i);
        low = lsh_min(v, low);
        high = lsh_max(v, high);
        nan |= v != v;
    }
    *least = -lsh_max_lane(-low);
    *greatest = lsh_max_lane(high);
    int32_t bad = 0;
    for (int lane = 0; lane < LSH_WIDTH; lane++) bad |= nan[lane];
    for (; i < n; i++) {
        *least = values[i] < *least ? values[i] : *least;
        *greatest = values[i] > *greatest ? values[i] : *greatest;
        bad |= values[i] != values[i];
    }
    if (bad) *least = *greatest = __builtin_nanf("");
}

static void decode_8(const uint8_t *codes, int64_t n, float scale, float offset, float *out) {
    decode_bytes(codes, n, out, (row_code){.scale = scale, .offset = offset});
}

static void encode_8(uint8_t *codes, int64_t n, const float *values, float inverse, float offset, const uint16_t *bits) {
    encode_bytes(codes, n, values, bits, (row_code){.scale = inverse, .offset = offset, .levels = 255});
}

static void decode_4(const uint8_t *codes, int64_t n, float scale, float offset, float *out) {
    decode_halves(codes, n, out, (row_code){.scale = scale, .offset = offset});
}

static void encode_4(uint8_t *codes, int64_t n, const float *values, float inverse, float offset, const uint16_t *bits) {
    encode_halves(codes, n, values, bits, (row_code){.scale = inverse, .offset = offset, .levels = 15});
}

/* The greatest magnitude, shifted and rounded up; at least `most`, so that each code is a float. */
LSH_INLINE int32_t top_of(const float *values, int64_t n, int most) {
    lsh_vi high = {0};
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) {
        lsh_vi magnitude = (lsh_vi)lsh_load(values + i) & 0x7fffffff, more = magnitude > high;
        high = (magnitude & more) | (high & ~more);
    }
    int32_t greatest = 0;
    for (int lane = 0; lane < LSH_WIDTH; lane++) greatest = high[lane] > greatest ? high[lane] : greatest;
    for (; i < n; i++) {
        int32_t magnitude;
        memcpy(&magnitude, values + i, sizeof magnitude);
        magnitude &= 0x7fffffff;
        greatest = magnitude > greatest ? magnitude : greatest;
    }
    int shift = small_shift(most), top = (int)(((uint32_t)greatest + (1u << shift) - 1) >> shift), last = 0x7fffffff >> shift;
    return top > last ? last : top < most ? most : top;
}

static int32_t small_top(const float *values, int64_t n) { return top_of(values, n, UNSIGNED_8); }

static int32_t small_top_4(const float *values, int64_t n) { return top_of(values, n, SIGNED_4); }

static void small_decode(const uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, float *out) {
    if (is_signed) decode_bytes(codes, n, out, (row_code){.most = SIGNED_8, .top = top});
    else decode_bytes(codes, n, out, (row_code){.most = UNSIGNED_8, .top = top});
}

static void small_encode(uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, const float *values,
                         const uint16_t *random) {
    if (is_signed) encode_bytes(codes, n, values, random, (row_code){.most = SIGNED_8, .top = top});
    else encode_bytes(codes, n, values, random, (row_code){.most = UNSIGNED_8, .top = top});
}

static void small_decode_4(const uint8_t *codes, int64_t n, int32_t top, float *out) {
    decode_halves(codes, n, out, (row_code){.most = SIGNED_4, .top = top});
}

static void small_encode_4(uint8_t *codes, int64_t n, int32_t top, const float *values, const uint16_t *random) {
    encode_halves(codes, n, values, random, (row_code){.most = SIGNED_4, .top = top});
}

static void turn_bits(uint16_t *bits, int64_t n, int places) {
    for (int64_t i = 0; i < n; i++) bits[i] = (uint16_t)(bits[i] << places | bits[i] >> (16 - places));
}
