/* Non-negative sparse codes by networks of spiking neurons, simulated exactly from spike to spike. */
#ifndef LSHSAMPLE_SPIKING_H
#define LSHSAMPLE_SPIKING_H

#include <stdint.h>
#include "lshsample/status.h"

/* Runs a network of m neurons for each of n vectors of drives until its mean rates solve
 *     min over a >= 0 of a'Ha / 2 - b'a + lambda sum(a),
 * where b is the vector's drives and H, `lateral`, has a positive diagonal; row j is what a spike of neuron j subtracts
 * from all potentials. A spike is felt as a current that decays by exp(-t). A neuron that reaches its threshold H_jj
 * spikes, which takes H_jj from its potential at once. Drives of a vector are divided by the largest b_j / H_jj.
 *
 * The rates are those of a window of time that starts anew, twice as long, until the largest
 * |min(a_i, gradient_i / H_ii)|, the gap, is at most `tol` times that scale; this is looked at eight times in a window.
 * A vector stops without that after `max_spikes`, which neurons that excite each other may reach in no time. `rates`
 * (n, m): the result. `spikes`, `gaps` and `times` (n): spikes of all neurons, the gap in units of the scale, and the
 * simulated time.
 * A vector none of whose drives is above lambda gets rates 0.
 *
 * A spike costs about m steps. Thread-safe; same bits for any number of threads. Returns LSH_INVALID for sizes below 1
 * or a diagonal that is not above 0, LSH_NO_MEMORY, LSH_INTERRUPTED. */
lsh_status lsh_spiking_codes(const float *lateral, int64_t m, const float *drives, int64_t n, double lambda, double tol,
                             int64_t max_spikes, double *rates, int64_t *spikes, double *gaps, double *times,
                             int32_t threads);

#endif
