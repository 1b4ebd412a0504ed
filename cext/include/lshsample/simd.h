/* Vectors for kernels that are written once and compiled once per instruction set.
 *
 * The including file defines LSH_TARGET_AVX2, LSH_TARGET_AVX512 or LSH_TARGET_NEON, or none of them (baseline: SSE2, or
 * NEON without fused multiply-adds, which gives the same bits), includes this header, and puts its functions between LSH_KERNELS_BEGIN and LSH_KERNELS_END. Plugins may use it as the core does.
 *
 *   LSH_WIDTH        floats in a vector: 4, 8 or 16
 *   lsh_vf, lsh_vi   vectors of float and of int32_t (GCC and clang vector extensions: + - * / & | < work)
 *   LSH_NAME(f)      f with the instruction set's suffix
 *   lsh_load, lsh_store, lsh_splat, lsh_fma(a, b, c) = a * b + c, lsh_sum (in a fixed order)
 *
 * Contraction is off (-ffp-contract=off): a * b + c rounds twice on every set, and lsh_fma once where the set has it.
 * Kernels whose results must be the same on every set use the former and a summation order that ignores the width. */
#ifndef LSHSAMPLE_SIMD_H
#define LSHSAMPLE_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define LSH_PASTE_(a, b) a##_##b
#define LSH_PASTE(a, b) LSH_PASTE_(a, b)

#if defined(LSH_TARGET_AVX512)
#define LSH_WIDTH 16
#define LSH_SUFFIX avx512
#define LSH_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2,popcnt"
#elif defined(LSH_TARGET_AVX2)
#define LSH_WIDTH 8
#define LSH_SUFFIX avx2
#define LSH_TARGET "avx2,fma,bmi2,popcnt"
#elif defined(LSH_TARGET_NEON) /* part of every 64-bit ARM: no target is named */
#define LSH_WIDTH 4
#define LSH_SUFFIX neon
#else
#define LSH_WIDTH 4
#define LSH_SUFFIX baseline
#endif

#define LSH_NAME(f) LSH_PASTE(f, LSH_SUFFIX)
#define LSH_PRAGMA(text) _Pragma(#text)

#if !defined(LSH_TARGET)
#define LSH_KERNELS_BEGIN
#define LSH_KERNELS_END
#elif defined(__clang__)
#define LSH_ATTRIBUTE_(t) LSH_PRAGMA(clang attribute push(__attribute__((target(t))), apply_to = function))
#define LSH_KERNELS_BEGIN LSH_ATTRIBUTE_(LSH_TARGET)
#define LSH_KERNELS_END _Pragma("clang attribute pop")
#else
#define LSH_OPTIONS_(t) LSH_PRAGMA(GCC target t)
#define LSH_KERNELS_BEGIN _Pragma("GCC push_options") LSH_OPTIONS_((LSH_TARGET))
#define LSH_KERNELS_END _Pragma("GCC pop_options")
#endif

typedef float lsh_vf __attribute__((vector_size(4 * LSH_WIDTH)));
typedef int32_t lsh_vi __attribute__((vector_size(4 * LSH_WIDTH)));

LSH_KERNELS_BEGIN

static inline __attribute__((always_inline)) lsh_vf lsh_load(const float *p) {
    lsh_vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline __attribute__((always_inline)) void lsh_store(float *p, lsh_vf v) { memcpy(p, &v, sizeof v); }

static inline __attribute__((always_inline)) lsh_vf lsh_splat(float x) { return x - (lsh_vf){0}; }

static inline __attribute__((always_inline)) lsh_vf lsh_fma(lsh_vf a, lsh_vf b, lsh_vf c) {
#if defined(LSH_TARGET_AVX512)
    return (lsh_vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(LSH_TARGET_AVX2)
    return (lsh_vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(LSH_TARGET_NEON)
    return (lsh_vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* Half onto half until one is left: the same order, and bits, on every path. */
static inline __attribute__((always_inline)) float lsh_sum(lsh_vf v) {
#if defined(__x86_64__)
#if defined(LSH_TARGET_AVX512)
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif defined(LSH_TARGET_AVX2)
    __m128 four = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
#else
    __m128 four = (__m128)v;
#endif
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#elif defined(__aarch64__)
    float32x2_t two = vadd_f32(vget_low_f32((float32x4_t)v), vget_high_f32((float32x4_t)v));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
#else
    float lanes[LSH_WIDTH];
    memcpy(lanes, &v, sizeof v);
    for (int half = LSH_WIDTH / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
#endif
}

LSH_KERNELS_END

#endif
