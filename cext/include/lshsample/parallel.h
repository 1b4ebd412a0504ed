/* Threads: the only file of the core that creates them.
 *
 * Work is cut into chunks of `grain` items, and the cut depends on n and grain alone, never on the number of
 * threads; so a kernel whose chunks write disjoint results gives the same bits for any number of threads. */
#ifndef LSHSAMPLE_PARALLEL_H
#define LSHSAMPLE_PARALLEL_H

#include <stdint.h>
#include "lshsample/status.h"

/* Does items [begin, end). `worker` is in [0, threads): a place in per-thread scratch, never a source of results. */
typedef lsh_status (*lsh_chunk_fn)(void *context, int64_t begin, int64_t end, int32_t worker);

/* Runs fn over [0, n) in chunks of `grain` on at most `threads` threads and waits for them. After a failure no new
 * chunk starts, and the status of the failed chunk with the smallest `begin` among those run is returned.
 * Works in a child process forked after threads were used. */
lsh_status lsh_parallel_for(int64_t n, int64_t grain, int32_t threads, lsh_chunk_fn fn, void *context);

/* The number of processors that this process may use. */
int32_t lsh_processors(void);

#endif
