/* Random words for many indices of one stream: Philox4x32-10 as in src/rng.c, a vector of counters at a time. */

typedef uint64_t lsh_vu __attribute__((vector_size(4 * LSH_WIDTH))); /* 32-bit values in 64-bit lanes */
enum { LSH_COUNTERS = LSH_WIDTH / 2 };

/* The products of the lower halves of the lanes. */
LSH_INLINE lsh_vu lsh_multiply_low(lsh_vu a, lsh_vu b) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vu)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vu)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__x86_64__)
    return (lsh_vu)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
    return (lsh_vu)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

/* The ten rounds, from counters to words; the upper halves of the lanes may hold anything, before and after. */
LSH_INLINE void philox_rounds(uint64_t seed, lsh_vu c[4]) {
    lsh_vu zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        lsh_vu p0 = lsh_multiply_low(m0, c[0]), p1 = lsh_multiply_low(m1, c[2]);
        c[0] = (p1 >> 32) ^ c[1] ^ (zero + k0);
        c[2] = (p0 >> 32) ^ c[3] ^ (zero + k1);
        c[1] = p1;
        c[3] = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* The words of the draws of a stream whose indices lie in the lanes. */
LSH_INLINE void stream_words(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, lsh_vu index, lsh_vu c[4]) {
    lsh_vu zero = {0};
    c[0] = index;
    c[1] = zero + stream;
    c[2] = zero + (uint32_t)step;
    c[3] = zero + (uint64_t)(purpose ^ (uint32_t)((uint32_t)(step >> 32) << 8));
    philox_rounds(seed, c);
}

static void draw_words(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t first,
                       const int32_t *indices, int64_t n, uint64_t *out) {
    lsh_vu low = (lsh_vu){0} + 0xFFFFFFFFu;
    for (int64_t i = 0; i < n; i += LSH_COUNTERS) {
        int64_t lanes = n - i < LSH_COUNTERS ? n - i : LSH_COUNTERS;
        lsh_vu index = {0}, c[4];
        if (lanes == LSH_COUNTERS && indices)
            for (int k = 0; k < LSH_COUNTERS; k++) index[k] = (uint32_t)indices[i + k];
        else if (lanes == LSH_COUNTERS)
            for (int k = 0; k < LSH_COUNTERS; k++) index[k] = (uint32_t)(first + i + k);
        else
            for (int64_t k = 0; k < lanes; k++) index[k] = indices ? (uint32_t)indices[i + k] : (uint32_t)(first + i + k);
        stream_words(seed, purpose, stream, step, index, c);
        lsh_vu words = (c[0] << 32) | (c[1] & low);
        if (lanes == LSH_COUNTERS) memcpy(out + i, &words, sizeof words);
        else
            for (int64_t k = 0; k < lanes; k++) out[i + k] = words[k];
    }
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "draw_halves stores words with their lower half first");

static void draw_halves(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t first, int64_t n,
                        uint16_t *out) {
    lsh_vu low = (lsh_vu){0} + 0xFFFFFFFFu;
    for (int64_t i = 0; i < n; i += LSH_COUNTERS) {
        int64_t lanes = n - i < LSH_COUNTERS ? n - i : LSH_COUNTERS;
        lsh_vu index = {0}, c[4];
        for (int k = 0; k < LSH_COUNTERS; k++) index[k] = (uint32_t)(first + i + k);
        stream_words(seed, purpose, stream, step, index, c);
        lsh_vu pair[2] = {(c[0] & low) | c[1] << 32, (c[2] & low) | c[3] << 32};
        for (int64_t k = 0; k < lanes; k++) {
            uint64_t words[2] = {pair[0][k], pair[1][k]};
            memcpy(out + 8 * (i + k), words, sizeof words);
        }
    }
}
