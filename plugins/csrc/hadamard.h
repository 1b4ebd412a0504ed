/* SimHash through fast Hadamard transforms; see lshsample_families/_projections.py for what is computed.
 * Included once per instruction set, after lanes.h. */

/* Butterflies of strides 1, 2, ..., radix / 2 between `radix` vectors in registers. */
#define LSH_STAGES(x, radix)                                                  \
    for (int s_ = 1; s_ < (radix); s_ *= 2)                                   \
        for (int i_ = 0; i_ < (radix); i_++)                                  \
            if (!(i_ & s_)) {                                                 \
                lsh_vf a_ = (x)[i_], b_ = (x)[i_ + s_];                       \
                (x)[i_] = a_ + b_;                                            \
                (x)[i_ + s_] = a_ - b_;                                       \
            }

/* One pass over `size` vectors: the stages of strides h, 2h, ..., radix h / 2. */
#define LSH_BUTTERFLIES(radix)                                                                       \
    LSH_INLINE void LSH_NAME(butterflies_##radix)(float *v, int64_t size, int64_t h) {               \
        for (int64_t base = 0; base < size; base += (radix) * h)                                     \
            for (int64_t j = base; j < base + h; j++) {                                              \
                lsh_vf x[radix];                                                                     \
                for (int i = 0; i < (radix); i++) x[i] = lsh_load(v + (j + i * h) * LSH_WIDTH);      \
                LSH_STAGES(x, radix)                                                                 \
                for (int i = 0; i < (radix); i++) lsh_store(v + (j + i * h) * LSH_WIDTH, x[i]);      \
            }                                                                                        \
    }

LSH_BUTTERFLIES(2)
LSH_BUTTERFLIES(4)
LSH_BUTTERFLIES(8)

/* The first pass: v = the first three stages of the transform of diagonal * y, of which vectors i, i + M, i + 2M, ...
 * are added to one (M = `outputs`, at least 8). v may be y where M is D. */
static void LSH_NAME(scaled_pass)(const float *y, const float *diagonal, int64_t size, int64_t outputs, float *v) {
    for (int64_t base = 0; base < outputs; base += 8) {
        lsh_vf x[8];
        for (int i = 0; i < 8; i++) x[i] = lsh_load(y + (base + i) * LSH_WIDTH) * lsh_splat(diagonal[base + i]);
        for (int64_t j = base + outputs; j < size; j += outputs)
            for (int i = 0; i < 8; i++) x[i] = x[i] + lsh_load(y + (j + i) * LSH_WIDTH) * lsh_splat(diagonal[j + i]);
        LSH_STAGES(x, 8)
        for (int i = 0; i < 8; i++) lsh_store(v + (base + i) * LSH_WIDTH, x[i]);
    }
}

/* The passes after the first, but for one of radix size / h that is left to do: returns that h. */
LSH_INLINE int64_t LSH_NAME(middle_passes)(float *v, int64_t size) {
    int64_t h = 8;
    for (; h * 8 < size; h *= 8) LSH_NAME(butterflies_8)(v, size, h);
    return h;
}

/* Walsh-Hadamard transform of diagonal * y, unnormalised, natural order, folded to its first M vectors. */
static void LSH_NAME(transform)(const float *y, const float *diagonal, int64_t size, int64_t outputs, float *v) {
    LSH_NAME(scaled_pass)(y, diagonal, size, outputs, v);
    int64_t h = LSH_NAME(middle_passes)(v, outputs);
    if (h * 8 == outputs) LSH_NAME(butterflies_8)(v, outputs, h);
    if (h * 4 == outputs) LSH_NAME(butterflies_4)(v, outputs, h);
    if (h * 2 == outputs) LSH_NAME(butterflies_2)(v, outputs, h);
}

/* Powers of two that bring each lane's largest magnitude to [1, 4). */
static lsh_vf LSH_NAME(lane_scales)(const float *columns, int64_t dim) {
    lsh_vi largest = {0}, low = (lsh_vi){0} + 1, high = (lsh_vi){0} + 254;
    for (int64_t i = 0; i < dim; i++) {
        lsh_vi v = LSH_NAME(load_ints)(columns + i * LSH_WIDTH) & 0x7fffffff;
        lsh_vi more = v > largest;
        largest = (v & more) | (largest & ~more);
    }
    lsh_vi e = 254 - (largest >> 23);
    lsh_vi below = e < low, above = e > high;
    e = (low & below) | (high & above) | (e & ~below & ~above);
    e <<= 23;
    lsh_vf scales;
    memcpy(&scales, &e, sizeof scales);
    return scales;
}

/* y = H S2 H S1 x, each row times its power of two; columns from dim to D are zero. */
static void LSH_NAME(spread)(const lsh_hadamard_state *s, const LSH_NAME(row_group) *rows, float *y) {
    LSH_NAME(load_columns)(rows, y);
    lsh_vf scales = LSH_NAME(lane_scales)(y, rows->dim);
    for (int64_t i = 0; i < rows->dim; i++)
        lsh_store(y + i * LSH_WIDTH, lsh_load(y + i * LSH_WIDTH) * scales);
    memset(y + rows->dim * LSH_WIDTH, 0, (size_t)(s->size - rows->dim) * LSH_WIDTH * sizeof *y);
    LSH_NAME(transform)(y, s->first_signs, s->size, s->size, y);
    LSH_NAME(transform)(y, s->second_signs, s->size, s->size, y);
}

/* The last pass of a block's transform gives margins, of which only the sides matter: bit k of the code of table
 * tables[o] is whether margin o is not negative. */
#define LSH_LAST_PASS(radix)                                                                                        \
    LSH_INLINE void LSH_NAME(sides_##radix)(const float *v, int64_t h, const int32_t *tables, int32_t k,            \
                                            uint32_t *codes) {                                                      \
        lsh_vi bit = (lsh_vi){0} + (int32_t)(1u << k);                                                              \
        for (int64_t j = 0; j < h; j++) {                                                                           \
            lsh_vf x[radix];                                                                                        \
            for (int i = 0; i < (radix); i++) x[i] = lsh_load(v + (j + i * h) * LSH_WIDTH);                         \
            LSH_STAGES(x, radix)                                                                                    \
            for (int i = 0; i < (radix); i++) {                                                                     \
                uint32_t *code = codes + (int64_t)tables[j + i * h] * LSH_WIDTH;                                    \
                LSH_NAME(store_ints)(code, LSH_NAME(load_ints)(code) | ((x[i] >= (lsh_vf){0}) & bit));              \
            }                                                                                                       \
        }                                                                                                           \
    }

LSH_LAST_PASS(1)
LSH_LAST_PASS(2)
LSH_LAST_PASS(4)
LSH_LAST_PASS(8)

/* Codes by[t * LSH_WIDTH + lane], for groups * M tables, of which those from L on are not wanted. */
static void LSH_NAME(hadamard_codes)(const lsh_hadamard_state *s, const float *y, float *v, uint32_t *by) {
    memset(by, 0, (size_t)(s->groups * s->outputs) * LSH_WIDTH * sizeof *by);
    for (int64_t block = 0; block < s->groups * s->shape.n_hashes; block++) {
        int64_t group = block / s->shape.n_hashes;
        int32_t k = (int32_t)(block % s->shape.n_hashes);
        uint32_t *codes = by + group * s->outputs * LSH_WIDTH;
        const int32_t *tables = s->tables + block * s->outputs;
        LSH_NAME(scaled_pass)(y, s->diagonals + block * s->size, s->size, s->outputs, v);
        int64_t h = LSH_NAME(middle_passes)(v, s->outputs);
        if (h == s->outputs) LSH_NAME(sides_1)(v, h, tables, k, codes);
        if (h * 2 == s->outputs) LSH_NAME(sides_2)(v, h, tables, k, codes);
        if (h * 4 == s->outputs) LSH_NAME(sides_4)(v, h, tables, k, codes);
        if (h * 8 == s->outputs) LSH_NAME(sides_8)(v, h, tables, k, codes);
    }
}

static int32_t LSH_NAME(hadamard_hash)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                       int64_t stride, const int64_t *indptr, const int32_t *indices,
                                       uint32_t *codes, void *scratch) {
    const lsh_hadamard_state *s = state;
    float *y = scratch, *margins = y + s->size * LSH_WIDTH;
    uint32_t *by = (uint32_t *)(margins + s->outputs * LSH_WIDTH);
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(spread)(s, &rows, y);
        LSH_NAME(hadamard_codes)(s, y, margins, by);
        LSH_NAME(store_codes)(by, s->shape.n_tables, rows.n, codes + begin * s->shape.n_tables);
    }
    return 0;
}

/* Margins of the tables of one group, all K blocks: margins[(k * M + order) * LSH_WIDTH + lane]. */
static int32_t LSH_NAME(hadamard_probe)(const void *state, int64_t n_rows, int64_t dim, const float *values,
                                        int64_t stride, const int64_t *indptr, const int32_t *indices,
                                        int32_t n_probes, uint32_t *codes, void *scratch) {
    const lsh_hadamard_state *s = state;
    int32_t n_hashes = s->shape.n_hashes;
    float *y = scratch, *margins = y + s->size * LSH_WIDTH, table[32];
    for (int64_t begin = 0; begin < n_rows; begin += LSH_WIDTH) {
        LSH_NAME(row_group) rows = LSH_NAME(group_at)(begin, n_rows, dim, values, stride, indptr, indices);
        LSH_NAME(spread)(s, &rows, y);
        for (int64_t group = 0; group < s->groups; group++) {
            const int32_t *order = s->permutations + group * n_hashes * s->outputs;
            for (int32_t k = 0; k < n_hashes; k++)
                LSH_NAME(transform)(y, s->diagonals + (group * n_hashes + k) * s->size, s->size, s->outputs,
                                    margins + k * s->outputs * LSH_WIDTH);
            for (int64_t t = group * s->outputs; t < (group + 1) * s->outputs && t < s->shape.n_tables; t++)
                for (int64_t r = 0; r < rows.n; r++) {
                    for (int64_t k = 0; k < n_hashes; k++) {
                        int64_t margin = k * s->outputs + order[k * s->outputs + t - group * s->outputs];
                        table[k] = margins[margin * LSH_WIDTH + r];
                    }
                    int64_t place = (begin + r) * s->shape.n_tables + t;
                    int32_t status = lsh_probe_flips(table, n_hashes, n_probes, codes + place * n_probes);
                    if (status) return status;
                }
        }
    }
    return 0;
}
