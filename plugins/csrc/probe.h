/* The order in which the buckets around a code are visited: query-directed probing (Lv et al., VLDB 2007). */
#ifndef LSHSAMPLE_FAMILIES_PROBE_H
#define LSHSAMPLE_FAMILIES_PROBE_H

#include <stdint.h>

/* The n_probes best codes for K margins (K from 1 to 32, n_probes from 1 to 2^K) into codes[0 .. n_probes-1].
 * Flipping a set of bits scores the sum of their squared margins; the least comes first, the empty set at its head.
 * Ties go to the set whose bits, numbered by ascending margin, make the smaller number. All sums are in float32, in
 * that order of bits. Cost: O(P log P). Returns 0, or 1 when out of memory. Thread-safe. */
int32_t lsh_probe_flips(const float *margins, int32_t n_hashes, int32_t n_probes, uint32_t *codes);

/* Where hashes have many values, the best codes of the first hashes are joined with the values of the next hash, each
 * computed when it is needed. It is what best_codes in lshsample_families/_probing.py does, in the same
 * order, ties included. */

/* A value of one hash, or a code, and what it costs. */
typedef struct {
    double cost;
    uint32_t code;
} lsh_choice;

/* Gives a hash's choice of this rank, 0 being the cheapest; called with 0, 1, 2, ... Returns 0 when there is none. */
typedef int32_t (*lsh_next_choice)(void *hash, int32_t rank, lsh_choice *choice);

/* One thread's room. */
typedef struct {
    int32_t n_probes, n_joined;
    struct lsh_level *levels; /* one for each hash */
    void *room;               /* theirs */
    int64_t *keys;  /* the caller's, */
    float *margins; /* and these too */
} lsh_probing;

/* Allocates memory for n_probes codes of n_hashes hashes, and for what the caller needs. Returns 0, or 1 when out of
 * memory. */
int32_t lsh_probing_begin(lsh_probing *probing, int32_t n_probes, int32_t n_hashes, int64_t n_margins, int64_t n_keys);
void lsh_probing_end(lsh_probing *probing);

/* Joins a hash, at bit `shift` of the codes; it must stay until codes are taken. */
void lsh_probing_join(lsh_probing *probing, lsh_next_choice next, void *hash, int32_t shift);
/* Takes the n_probes codes (there must be as many), and removes all hashes. Cost: O(K P log P) at most. */
void lsh_probing_take(lsh_probing *probing, uint32_t *codes);

#endif
