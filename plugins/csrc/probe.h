/* The order in which the buckets around a code are visited: query-directed probing (Lv et al., VLDB 2007). */
#ifndef LSHSAMPLE_FAMILIES_PROBE_H
#define LSHSAMPLE_FAMILIES_PROBE_H

#include <stdint.h>

/* The n_probes best codes for K margins (K from 1 to 32, n_probes from 1 to 2^K) into codes[0 .. n_probes-1].
 * Flipping a set of bits scores the sum of their squared margins; the least comes first, the empty set at its head.
 * Ties go to the set whose bits, numbered by ascending margin, make the smaller number. All sums are in float32, in
 * that order of bits. Cost: O(P log P). Returns 0, or 1 when out of memory. Thread-safe. */
int32_t lsh_probe_flips(const float *margins, int32_t n_hashes, int32_t n_probes, uint32_t *codes);

#endif
