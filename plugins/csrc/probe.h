/* The order in which the buckets around a code are visited: query-directed probing (Lv et al., VLDB 2007). */
#ifndef LSHSAMPLE_FAMILIES_PROBE_H
#define LSHSAMPLE_FAMILIES_PROBE_H

#include <stdint.h>

/* The n_probes best codes for K margins (K from 1 to 32, n_probes from 1 to 2^K) into codes[0 .. n_probes-1].
 * Flipping a set of bits scores the sum of their squared margins; the least comes first, the empty set at its head.
 * Ties go to the set whose bits, numbered by ascending margin, make the smaller number. All sums are in float32, in
 * that order of bits. Cost: O(P log P). Returns 0, or 1 when out of memory. Thread-safe. */
int32_t lsh_probe_flips(const float *margins, int32_t n_hashes, int32_t n_probes, uint32_t *codes);

/* Where hashes have many values, codes are joined hash by hash, and the n_probes best are kept; then finish. It is
 * what best_codes in lshsample_families/_probing.py does, in the same order, ties included. */

/* A value of one hash, or a code, and what it costs. */
typedef struct {
    double cost;
    uint32_t code;
} lsh_choice;

/* Gives a hash's choice of this rank, 0 being the cheapest; called with 0, 1, 2, ... Returns 0 when there is none. */
typedef int32_t (*lsh_next_choice)(void *hash, int32_t rank, lsh_choice *choice);

/* One thread's room. */
typedef struct {
    int32_t n_probes, n_best;
    lsh_choice *choices;     /* of the hash at hand, as far as they were needed */
    lsh_choice *best, *next; /* codes of the hashes that are joined, the cheapest first */
    struct lsh_waiting *heap;
    int64_t *keys;  /* the caller's, */
    float *margins; /* and these too */
} lsh_probing;

/* Takes room for n_probes codes, and for what the caller wants. Returns 0, or 1 when out of memory. */
int32_t lsh_probing_begin(lsh_probing *probing, int32_t n_probes, int64_t n_margins, int64_t n_keys);
void lsh_probing_end(lsh_probing *probing);

/* Joins a hash, at bit `shift` of the codes. Cost: O(P log P), and the choices that are needed, at most P. */
void lsh_probing_join(lsh_probing *probing, lsh_next_choice next, void *hash, int32_t shift);
/* The n_probes codes (there must be as many), and back to no hash. */
void lsh_probing_finish(lsh_probing *probing, uint32_t *codes);

#endif
