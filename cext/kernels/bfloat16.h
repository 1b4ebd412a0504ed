/* Elements of bfloat16, the upper half of a float32: read by a shift, written after rounding. Integer operations only,
 * so the bits are the same on every instruction set. */

typedef uint16_t element_bfloat16;
typedef uint32_t lsh_vw __attribute__((vector_size(4 * LSH_WIDTH)));

LSH_INLINE float read_one_bfloat16(const uint16_t *p) {
    uint32_t bits = (uint32_t)*p << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Zeros interleaved below the halves: one instruction, where compilers widen a vector of 8 bytes in several. */
LSH_INLINE lsh_four read_four_bfloat16(const uint16_t *p) {
    typedef uint16_t eight __attribute__((vector_size(16)));
    typedef uint64_t two __attribute__((vector_size(16)));
    uint64_t bits;
    memcpy(&bits, p, sizeof bits);
    return (lsh_four)__builtin_shufflevector((eight){0}, (eight)(two){bits, 0}, 0, 8, 1, 9, 2, 10, 3, 11);
}

LSH_INLINE lsh_vf read_bfloat16(const uint16_t *p) {
#if LSH_WIDTH == 4
    return read_four_bfloat16(p);
#else
    lsh_vh v;
    memcpy(&v, p, sizeof v);
    return (lsh_vf)(__builtin_convertvector(v, lsh_vw) << 16);
#endif
}

LSH_INLINE lsh_vf read_some_bfloat16(const uint16_t *p, int64_t n) {
    uint16_t some[LSH_WIDTH] = {0};
    for (int64_t i = 0; i < n; i++) some[i] = p[i];
    return read_bfloat16(some);
}

/* The upper halves of v + increment, an increment of less than one unit of the upper half; a carry into the exponent is
 * what rounding up to the next power of two, or to infinity, means. A NaN is kept, and made quiet, because its carry
 * could end in the sign. */
LSH_INLINE void write_upper_halves(uint16_t *p, lsh_vf v, lsh_vw increment) {
    lsh_vw bits = (lsh_vw)v, is_nan = (lsh_vw)(v != v);
    lsh_vw rounded = (bits + increment) >> 16, quiet = bits >> 16 | 0x40;
    lsh_vh upper = __builtin_convertvector((rounded & ~is_nan) | (quiet & is_nan), lsh_vh);
    memcpy(p, &upper, sizeof upper);
}

/* Half a unit less the smallest step, and that step where the kept bits are odd: ties go to even. */
LSH_INLINE void write_bfloat16(uint16_t *p, lsh_vf v) {
    write_upper_halves(p, v, ((lsh_vw)v >> 16 & 1) + 0x7fff);
}

LSH_INLINE void write_some_bfloat16(uint16_t *p, lsh_vf v, int64_t n) {
    uint16_t some[LSH_WIDTH];
    write_bfloat16(some, v);
    memcpy(p, some, (size_t)n * sizeof *p);
}

/* The 16 bits that are cut off are a number of 2^16ths of a unit: adding a uniform one carries with that probability. */
LSH_INLINE void write_stochastic_bfloat16(uint16_t *p, lsh_vf v, lsh_vh bits) {
    write_upper_halves(p, v, __builtin_convertvector(bits, lsh_vw));
}
