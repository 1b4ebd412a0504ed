/* Small floating-point numbers of 8 and 4 bits, relative to the greatest of a row (lshsample/coded.h). The bits are the same on
 * every instruction set. Their greatest codes without a sign: of 8 bits with one and without, and of 4 bits with one. */
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

LSH_INLINE void small_decode_bytes(const uint8_t *codes, int64_t n, int most, int top, float *out) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) lsh_store(out + i, small_decoded(read_codes(codes + i), most, top));
    if (i == n) return;
    uint8_t some[LSH_WIDTH] = {0};
    memcpy(some, codes + i, (size_t)(n - i));
    lsh_store_some(out + i, small_decoded(read_codes(some), most, top), n - i);
}

LSH_INLINE void small_encode_bytes(uint8_t *codes, int64_t n, const float *values, int most, int top,
                                   const uint16_t *random) {
    int64_t i = 0;
    for (; i + LSH_WIDTH <= n; i += LSH_WIDTH) write_codes(codes + i, small_encoded(values + i, random + i, most, top));
    if (i == n) return;
    float last[LSH_WIDTH] = {0};
    uint8_t some[LSH_WIDTH];
    memcpy(last, values + i, (size_t)(n - i) * sizeof *last);
    write_codes(some, small_encoded(last, random + i, most, top));
    memcpy(codes + i, some, (size_t)(n - i));
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
    if (is_signed) small_decode_bytes(codes, n, SIGNED_8, top, out);
    else small_decode_bytes(codes, n, UNSIGNED_8, top, out);
}

static void small_encode(uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, const float *values,
                         const uint16_t *random) {
    if (is_signed) small_encode_bytes(codes, n, values, SIGNED_8, top, random);
    else small_encode_bytes(codes, n, values, UNSIGNED_8, top, random);
}

static void small_decode_4(const uint8_t *codes, int64_t n, int32_t top, float *out) {
    int64_t half = (n + 1) / 2, i = 0;
    for (; i + LSH_WIDTH <= n - half; i += LSH_WIDTH) {
        lsh_vi both = read_codes(codes + i);
        lsh_store(out + i, small_decoded(both & 15, SIGNED_4, top));
        lsh_store(out + half + i, small_decoded(both >> 4, SIGNED_4, top));
    }
    for (; i < half; i += LSH_WIDTH) {
        int64_t left = half - i < LSH_WIDTH ? half - i : LSH_WIDTH, above = n - half - i;
        uint8_t some[LSH_WIDTH] = {0};
        memcpy(some, codes + i, (size_t)left);
        lsh_vi both = read_codes(some);
        lsh_store_some(out + i, small_decoded(both & 15, SIGNED_4, top), left);
        if (above > 0) lsh_store_some(out + half + i, small_decoded(both >> 4, SIGNED_4, top), above < left ? above : left);
    }
}

static void small_encode_4(uint8_t *codes, int64_t n, int32_t top, const float *values, const uint16_t *random) {
    int64_t half = (n + 1) / 2, i = 0;
    for (; i + LSH_WIDTH <= n - half; i += LSH_WIDTH) {
        lsh_vi low = small_encoded(values + i, random + i, SIGNED_4, top);
        lsh_vi high = small_encoded(values + half + i, random + half + i, SIGNED_4, top);
        write_codes(codes + i, low | high << 4);
    }
    for (; i < half; i += LSH_WIDTH) {
        int64_t left = half - i < LSH_WIDTH ? half - i : LSH_WIDTH, above = n - half - i;
        float lower[LSH_WIDTH] = {0}, upper[LSH_WIDTH] = {0};
        uint8_t some[LSH_WIDTH];
        memcpy(lower, values + i, (size_t)left * sizeof *lower);
        if (above > 0) memcpy(upper, values + half + i, (size_t)(above < left ? above : left) * sizeof *upper);
        lsh_vi low = small_encoded(lower, random + i, SIGNED_4, top);
        lsh_vi high = small_encoded(upper, random + half + i, SIGNED_4, top);
        write_codes(some, low | high << 4);
        memcpy(codes + i, some, (size_t)left);
    }
}
