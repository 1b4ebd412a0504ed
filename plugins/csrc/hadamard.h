/* SimHash through fast Hadamard transforms; see lshsample_families/_projections.py for what is computed.
 * Included once per instruction set, after lanes.h. */

/* One pass of butterflies of strides h, 2h, ..., radix h / 2 over `size` vectors: log2 radix stages in registers. */
#define LSH_BUTTERFLIES(radix)                                                                       \
    LSH_INLINE void LSH_NAME(butterflies_##radix)(float *v, int64_t size, int64_t h) {               \
        for (int64_t base = 0; base < size; base += (radix) * h)                                     \
            for (int64_t j = base; j < base + h; j++) {                                              \
                lsh_vf x[radix];                                                                     \
                for (int i = 0; i < (radix); i++) x[i] = lsh_load(v + (j + i * h) * LSH_WIDTH);      \
                for (int s = 1; s < (radix); s *= 2)                                                 \
                    for (int i = 0; i < (radix); i++)                                                \
                        if (!(i & s)) {                                                              \
                            lsh_vf a = x[i], b = x[i + s];                                           \
                            x[i] = a + b;                                                            \
                            x[i + s] = a - b;                                                        \
                        }                                                                            \
                for (int i = 0; i < (radix); i++) lsh_store(v + (j + i * h) * LSH_WIDTH, x[i]);      \
            }                                                                                        \
    }

LSH_BUTTERFLIES(2)
LSH_BUTTERFLIES(4)
LSH_BUTTERFLIES(8)

/* Walsh-Hadamard transform of `size` vectors, unnormalised, natural order. */
static void LSH_NAME(transform)(float *v, int64_t size) {
    int64_t h = 1;
    for (; h * 8 <= size; h *= 8) LSH_NAME(butterflies_8)(v, size, h);
    if (h * 4 == size) LSH_NAME(butterflies_4)(v, size, h);
    if (h * 2 == size) LSH_NAME(butterflies_2)(v, size, h);
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
        lsh_store(y + i * LSH_WIDTH, lsh_load(y + i * LSH_WIDTH) * scales * lsh_splat(s->first_signs[i]));
    memset(y + rows->dim * LSH_WIDTH, 0, (size_t)(s->size - rows->dim) * LSH_WIDTH * sizeof *y);
    LSH_NAME(transform)(y, s->size);
    for (int64_t i = 0; i < s->size; i++)
        lsh_store(y + i * LSH_WIDTH, lsh_load(y + i * LSH_WIDTH) * lsh_splat(s->second_signs[i]));
    LSH_NAME(transform)(y, s->size);
}

/* The M margins of one block: H G y, folded to the first M rows of H. */
static void LSH_NAME(block_margins)(const lsh_hadamard_state *s, int64_t block, const float *y, float *margins) {
    const float *diagonal = s->diagonals + block * s->size;
    for (int64_t j = 0; j < s->outputs; j++) {
        lsh_vf sum = lsh_load(y + j * LSH_WIDTH) * lsh_splat(diagonal[j]);
        for (int64_t i = j + s->outputs; i < s->size; i += s->outputs)
            sum = sum + lsh_load(y + i * LSH_WIDTH) * lsh_splat(diagonal[i]);
        lsh_store(margins + j * LSH_WIDTH, sum);
    }
    LSH_NAME(transform)(margins, s->outputs);
}

/* The tables that a group of blocks serves: from group * M on, at most M. */
LSH_INLINE int64_t LSH_NAME(tables_of)(const lsh_hadamard_state *s, int64_t group) {
    int64_t left = s->shape.n_tables - group * s->outputs;
    return left < s->outputs ? left : s->outputs;
}

static void LSH_NAME(hadamard_codes)(const lsh_hadamard_state *s, const float *y, float *margins, uint32_t *by) {
    memset(by, 0, (size_t)s->shape.n_tables * LSH_WIDTH * sizeof *by);
    for (int64_t group = 0; group < s->groups; group++) {
        uint32_t *codes = by + group * s->outputs * LSH_WIDTH;
        for (int32_t k = 0; k < s->shape.n_hashes; k++) {
            int64_t block = group * s->shape.n_hashes + k, tables = LSH_NAME(tables_of)(s, group);
            const int32_t *order = s->permutations + block * s->outputs;
            LSH_NAME(block_margins)(s, block, y, margins);
            lsh_vi bit = (lsh_vi){0} + (int32_t)(1u << k);
            for (int64_t t = 0; t < tables; t++) {
                lsh_vi side = lsh_load(margins + order[t] * LSH_WIDTH) >= (lsh_vf){0};
                uint32_t *code = codes + t * LSH_WIDTH;
                LSH_NAME(store_ints)(code, LSH_NAME(load_ints)(code) | (side & bit));
            }
        }
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
                LSH_NAME(block_margins)(s, group * n_hashes + k, y, margins + k * s->outputs * LSH_WIDTH);
            for (int64_t t = 0; t < LSH_NAME(tables_of)(s, group); t++)
                for (int64_t r = 0; r < rows.n; r++) {
                    for (int64_t k = 0; k < n_hashes; k++)
                        table[k] = margins[(k * s->outputs + order[k * s->outputs + t]) * LSH_WIDTH + r];
                    int64_t place = (begin + r) * s->shape.n_tables + group * s->outputs + t;
                    int32_t status = lsh_probe_flips(table, n_hashes, n_probes, codes + place * n_probes);
                    if (status) return status;
                }
        }
    }
    return 0;
}
