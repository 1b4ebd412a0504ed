/* Lookups in a reader's base, for both kinds of tables. */
#ifndef LSHSAMPLE_LOOKUP_H
#define LSHSAMPLE_LOOKUP_H

#include "lshsample/reader.h"

static inline int reader_valid(const lsh_reader *r) {
    return r && !r->packed != !r->bounded && r->n_deltas >= 0 && (r->n_deltas == 0 || (r->packed && r->deltas));
}

static inline int32_t reader_n_tables(const lsh_reader *r) {
    return r->packed ? r->packed->n_tables : r->bounded->n_tables;
}

static inline int64_t reader_n_ids(const lsh_reader *r) { return r->packed ? r->packed->n_ids : r->bounded->n_ids; }

/* The array that buckets of the base are runs of. */
static inline const int32_t *reader_ids(const lsh_reader *r) { return r->packed ? r->packed->ids : r->bounded->ids; }

/* The bucket of a code in the base: reader_ids()[*begin] and so on; returns its length, or -1 if untrusted tables are
 * damaged there. */
static inline int64_t reader_bucket(const lsh_reader *r, int32_t table, uint32_t code, int64_t *begin) {
    if (r->packed)
        return r->packed->untrusted ? lsh_packed_bucket_checked(r->packed, table, code, begin)
                                    : lsh_packed_bucket(r->packed, table, code, begin);
    return r->bounded->untrusted ? lsh_bounded_bucket_checked(r->bounded, table, code, begin)
                                 : lsh_bounded_bucket(r->bounded, table, code, begin);
}

/* The place in a directory over the top bits of codes; 0 for a code out of range. */
static inline uint64_t directory_place(uint32_t code, int32_t code_bits, int32_t directory_bits) {
    uint64_t top = (uint64_t)code >> (code_bits - directory_bits);
    return top >> directory_bits == 0 ? top : 0;
}

/* What finding a bucket reads first, to be prefetched by the caller: GCC drops calls of functions that only prefetch, as
 * being without effect. */
static inline const int32_t *reader_line(const lsh_reader *r, int32_t table, uint32_t code) {
    if (r->packed) {
        const lsh_packed *p = r->packed;
        int64_t width = ((int64_t)1 << p->directory_bits) + 1;
        return p->directory + table * width + directory_place(code, p->code_bits, p->directory_bits);
    }
    const lsh_bounded *b = r->bounded;
    return b->sizes + ((int64_t)table << b->code_bits) + directory_place(code, b->code_bits, b->code_bits);
}

static inline const int32_t *delta_line(const lsh_delta *d, int32_t table, uint32_t code) {
    int64_t width = ((int64_t)1 << d->directory_bits) + 1;
    return d->directory + table * width + directory_place(code, d->code_bits, d->directory_bits);
}

#endif
