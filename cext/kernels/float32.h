/* Elements of float32: read and written as they are. */

typedef float element_float32;

LSH_INLINE float read_one_float32(const float *p) { return *p; }

LSH_INLINE lsh_four read_four_float32(const float *p) {
    lsh_four v;
    memcpy(&v, p, sizeof v);
    return v;
}

LSH_INLINE lsh_vf read_float32(const float *p) { return lsh_load(p); }

LSH_INLINE lsh_vf read_some_float32(const float *p, int64_t n) { return lsh_load_some(p, n); }

LSH_INLINE void write_float32(float *p, lsh_vf v) { lsh_store(p, v); }

LSH_INLINE void write_some_float32(float *p, lsh_vf v, int64_t n) { lsh_store_some(p, v, n); }

/* Nothing is lost, so there is nothing to round. */
LSH_INLINE void write_stochastic_float32(float *p, lsh_vf v, lsh_vh bits) {
    (void)bits;
    lsh_store(p, v);
}
