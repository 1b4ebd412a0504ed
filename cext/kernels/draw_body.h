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
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

/* out[i] = words 0 and 1 of the draw with index first + i, or indices[i] where those are given. */
static void draw_words(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t first,
                       const int32_t *indices, int64_t n, uint64_t *out) {
    lsh_vu zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u, low = zero + 0xFFFFFFFFu;
    uint64_t c3_first = purpose ^ (uint32_t)((uint32_t)(step >> 32) << 8);
    for (int64_t i = 0; i < n; i += LSH_COUNTERS) {
        int64_t lanes = n - i < LSH_COUNTERS ? n - i : LSH_COUNTERS;
        lsh_vu c0 = zero, c1 = zero + stream, c2 = zero + (uint32_t)step, c3 = zero + c3_first;
        if (lanes == LSH_COUNTERS && indices)
            for (int k = 0; k < LSH_COUNTERS; k++) c0[k] = (uint32_t)indices[i + k];
        else
            for (int64_t k = 0; k < lanes; k++) c0[k] = indices ? (uint32_t)indices[i + k] : (uint32_t)(first + i + k);
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++) {
            lsh_vu p0 = lsh_multiply_low(m0, c0), p1 = lsh_multiply_low(m1, c2);
            c0 = (p1 >> 32) ^ c1 ^ (zero + k0);
            c2 = (p0 >> 32) ^ c3 ^ (zero + k1);
            c1 = p1; /* the upper halves are never looked at but by the last line, which masks them */
            c3 = p0;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        lsh_vu words = (c0 << 32) | (c1 & low);
        if (lanes == LSH_COUNTERS) memcpy(out + i, &words, sizeof words);
        else
            for (int64_t k = 0; k < lanes; k++) out[i + k] = words[k];
    }
}
