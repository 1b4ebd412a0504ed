/* Values in codes of 8 and 4 bits: offset + scale * code. Without fused operations, so that the bits are the same on every
 * instruction set. */

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
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(out + i, decoded(read_codes(codes + i), scale, offset));
    for (; i < n; i++) out[i] = (float)codes[i] * scale + offset;
}

static void encode_8(uint8_t *codes, int64_t n, const float *values, float inverse, float offset, const uint16_t *bits) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH)
        write_codes(codes + i, encoded(values + i, bits ? bits + i : NULL, inverse, offset, 255));
    if (i == n) return;
    float last[LSH_WIDTH] = {0};
    uint8_t some[LSH_WIDTH];
    memcpy(last, values + i, (size_t)(n - i) * sizeof *last);
    write_codes(some, encoded(last, bits ? bits + i : NULL, inverse, offset, 255));
    memcpy(codes + i, some, (size_t)(n - i));
}

static void decode_4(const uint8_t *codes, int64_t n, float scale, float offset, float *out) {
    int64_t half = (n + 1) / 2, i = 0;
    for (; i + LSH_WIDTH <= n - half; i += LSH_WIDTH) {
        lsh_vi both = read_codes(codes + i);
        lsh_store(out + i, decoded(both & 15, scale, offset));
        lsh_store(out + half + i, decoded(both >> 4, scale, offset));
    }
    for (; i < half; i++) {
        out[i] = (float)(codes[i] & 15) * scale + offset;
        if (half + i < n) out[half + i] = (float)(codes[i] >> 4) * scale + offset;
    }
}

static void encode_4(uint8_t *codes, int64_t n, const float *values, float inverse, float offset, const uint16_t *bits) {
    int64_t half = (n + 1) / 2, i = 0;
    for (; i + LSH_WIDTH <= n - half; i += LSH_WIDTH) {
        lsh_vi low = encoded(values + i, bits ? bits + i : NULL, inverse, offset, 15);
        lsh_vi high = encoded(values + half + i, bits ? bits + half + i : NULL, inverse, offset, 15);
        write_codes(codes + i, low | high << 4);
    }
    if (i == half) return;
    float lower[LSH_WIDTH] = {0}, upper[LSH_WIDTH] = {0};
    uint8_t some[LSH_WIDTH];
    for (; i < half; i += LSH_WIDTH) {
        int64_t left = half - i < LSH_WIDTH ? half - i : LSH_WIDTH, above = n - half - i;
        memcpy(lower, values + i, (size_t)left * sizeof *lower);
        if (above > 0) memcpy(upper, values + half + i, (size_t)(above < left ? above : left) * sizeof *upper);
        lsh_vi low = encoded(lower, bits ? bits + i : NULL, inverse, offset, 15);
        lsh_vi high = encoded(upper, bits ? bits + half + i : NULL, inverse, offset, 15);
        write_codes(some, low | high << 4);
        memcpy(codes + i, some, (size_t)left);
    }
}

static void turn_bits(uint16_t *bits, int64_t n, int places) {
    for (int64_t i = 0; i < n; i++) bits[i] = (uint16_t)(bits[i] << places | bits[i] >> (16 - places));
}
