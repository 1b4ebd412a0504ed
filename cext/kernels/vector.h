/* What the kernels need beyond lshsample/simd.h: partial loads and stores, max, min, square root, exp, log1p.
 * Included once per instruction set, between LSH_KERNELS_BEGIN and LSH_KERNELS_END. */
#define LSH_INLINE static inline __attribute__((always_inline))

/* Before a loop whose bounds are known: all of its turns are written out, so that arrays stay in registers. */
#if defined(__clang__)
#define LSH_UNROLL _Pragma("unroll")
#else
#define LSH_UNROLL _Pragma("GCC unroll 32")
#endif

/* The first n (0 < n < LSH_WIDTH) floats at p, the other lanes 0; reads nothing behind them. */
LSH_INLINE lsh_vf lsh_load_some(const float *p, int64_t n) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    lsh_vf v = {0};
    for (int64_t i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}

LSH_INLINE void lsh_store_some(float *p, lsh_vf v, int64_t n) {
#if defined(LSH_TARGET_AVX512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
    for (int64_t i = 0; i < n; i++) p[i] = v[i];
#endif
}

/* Where either is NaN the result is b, so the value under test belongs in b. */
LSH_INLINE lsh_vf lsh_max(lsh_vf a, lsh_vf b) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
    return (lsh_vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    lsh_vi a_wins = a > b;
    return (lsh_vf)(((lsh_vi)a & a_wins) | ((lsh_vi)b & ~a_wins));
#endif
}

LSH_INLINE lsh_vf lsh_min(lsh_vf a, lsh_vf b) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
    return (lsh_vf)_mm_min_ps((__m128)a, (__m128)b);
#else
    lsh_vi a_wins = a < b;
    return (lsh_vf)(((lsh_vi)a & a_wins) | ((lsh_vi)b & ~a_wins));
#endif
}

LSH_INLINE lsh_vf lsh_sqrt(lsh_vf v) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vf)_mm512_sqrt_ps((__m512)v);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vf)_mm256_sqrt_ps((__m256)v);
#elif defined(__x86_64__)
    return (lsh_vf)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
    return (lsh_vf)vsqrtq_f32((float32x4_t)v);
#else
    for (int i = 0; i < LSH_WIDTH; i++) v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}

/* Whether a > b in any lane; never where either is NaN. */
LSH_INLINE int lsh_any_above(lsh_vf a, lsh_vf b) {
#if defined(LSH_TARGET_AVX512)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ) != 0;
#elif defined(LSH_TARGET_AVX2)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ)) != 0;
#elif defined(__x86_64__)
    return _mm_movemask_ps(_mm_cmpgt_ps((__m128)a, (__m128)b)) != 0;
#elif defined(__aarch64__)
    return vmaxvq_u32(vcgtq_f32((float32x4_t)a, (float32x4_t)b)) != 0;
#else
    lsh_vi above = a > b;
    int any = 0;
    for (int i = 0; i < LSH_WIDTH; i++) any |= above[i];
    return any;
#endif
}

LSH_INLINE float lsh_max_lane(lsh_vf v) {
    float lanes[LSH_WIDTH], best;
    memcpy(lanes, &v, sizeof v);
    best = lanes[0];
    for (int i = 1; i < LSH_WIDTH; i++) best = lanes[i] > best ? lanes[i] : best;
    return best;
}

/* exp(x) for x <= 88, within 1.5 units in the last place (measured over all of [-87, 0]); 0 below -87.3, where the
 * result would be subnormal; e^88 above; NaN stays NaN.
 *
 * x = n ln 2 + r with |r| <= ln(2)/2; ln 2 is split so that n * LN2_HIGH is exact. Adding 1.5 * 2^23 rounds to an
 * integer and leaves it in the low bits of the sum, ready to be shifted into the exponent. The polynomial is the
 * minimax one of degree 6 for (e^r - 1 - r) / r^2 on that interval, taken with a Remez exchange in float64. */
LSH_INLINE lsh_vf lsh_exp(lsh_vf x) {
    const lsh_vf shift = lsh_splat(12582912.0f);
    lsh_vi normal = x >= lsh_splat(-87.33f);
    x = lsh_min(lsh_splat(88.0f), lsh_max(lsh_splat(-87.33f), x));
    lsh_vf t = lsh_fma(x, lsh_splat(1.44269504088896341f), shift);
    lsh_vf n = t - shift;
    lsh_vf r = lsh_fma(n, lsh_splat(-0.693359375f), x);
    r = lsh_fma(n, lsh_splat(2.12194440e-4f), r);
    lsh_vf p = lsh_splat(1.3814320555e-3f);
    p = lsh_fma(p, r, lsh_splat(8.3688506857e-3f));
    p = lsh_fma(p, r, lsh_splat(4.1668400168e-2f));
    p = lsh_fma(p, r, lsh_splat(1.66665196419e-1f));
    p = lsh_fma(p, r, lsh_splat(4.99999940395e-1f));
    lsh_vf y = lsh_fma(p, r * r, r) + 1.0f;
    lsh_vi scale = ((lsh_vi)t << 23) + 0x3f800000;
    lsh_vi abnormal = x != x;
    return (lsh_vf)((lsh_vi)(y * (lsh_vf)scale) & (normal | abnormal));
}

/* log(1 + e) for 0 <= e <= 1, within 2 units in the last place: 2 atanh(s) with s = e / (2 + e) <= 1/3, whose series
 * after s^15 is below 2^-29 of the sum. Relative accuracy holds down to e = 0. */
LSH_INLINE lsh_vf lsh_log1p(lsh_vf e) {
    lsh_vf s = e / (e + 2.0f), q = s * s;
    lsh_vf p = lsh_splat(1.0f / 15);
    p = lsh_fma(p, q, lsh_splat(1.0f / 13));
    p = lsh_fma(p, q, lsh_splat(1.0f / 11));
    p = lsh_fma(p, q, lsh_splat(1.0f / 9));
    p = lsh_fma(p, q, lsh_splat(1.0f / 7));
    p = lsh_fma(p, q, lsh_splat(1.0f / 5));
    p = lsh_fma(p, q, lsh_splat(1.0f / 3));
    s = s + s;
    return lsh_fma(p * q, s, s);
}
