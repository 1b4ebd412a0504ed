/* Small floating-point numbers of 8 bits, relative to the greatest of a row (lshsample/coded.h). The bits are the same on every
 * instruction set. */

enum { SMALL_SHIFT = 20 }; /* of the lowest bit of mantissa that is kept */

LSH_INLINE lsh_vf small_decoded(lsh_vi codes, int most, int top) {
    lsh_vi magnitude = codes & most;
    lsh_vi bits = (magnitude + (top - most)) << SMALL_SHIFT & (magnitude != 0);
    return (lsh_vf)(most < 128 ? bits | (codes & 128) << 24 : bits);
}

LSH_INLINE lsh_vi small_encoded(const float *values, const uint16_t *random, int most, int top) {
    lsh_vi bits = (lsh_vi)lsh_load(values), magnitude = bits & 0x7fffffff;
    lsh_vw drawn = __builtin_convertvector(load_bits(random), lsh_vw);
    /* What is cut off is a number of 2^-shift units: a uniform one that is added carries with that probability. */
    lsh_vw kept = ((lsh_vw)magnitude + ((drawn << 1 | 1) << (SMALL_SHIFT - 17))) >> SMALL_SHIFT;
    lsh_vi code = (lsh_vi)kept - (top - most), above = code > most;
    lsh_vi first = (top - most + 1) << SMALL_SHIFT | (lsh_vi){0}; /* the number of code 1 */
    lsh_vi below = magnitude < first, least = (lsh_vi)(magnitude != 0);
    if (most < 128) {
        /* 0 or that number, with the probability that keeps the mean. */
        lsh_vf u = (__builtin_convertvector((lsh_vi)drawn, lsh_vf) + 0.5f) * (1.0f / 65536);
        least = (lsh_vf)magnitude > (lsh_vf)first * u;
    }
    code = (code & ~above & ~below) | (above & most) | (below & least & 1);
    return most < 128 ? code | ((bits >> 24) & 128) : code;
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

static int32_t small_top(const float *values, int64_t n) {
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
    int top = (int)(((uint32_t)greatest + (1u << SMALL_SHIFT) - 1) >> SMALL_SHIFT), last = 0x7fffffff >> SMALL_SHIFT;
    return top > last ? last : top < 255 ? 255 : top;
}

static void small_decode(const uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, float *out) {
    if (is_signed) small_decode_bytes(codes, n, 127, top, out);
    else small_decode_bytes(codes, n, 255, top, out);
}

static void small_encode(uint8_t *codes, int64_t n, int32_t is_signed, int32_t top, const float *values,
                         const uint16_t *random) {
    if (is_signed) small_encode_bytes(codes, n, values, 127, top, random);
    else small_encode_bytes(codes, n, values, 255, top, random);
}
