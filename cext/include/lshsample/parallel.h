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
 * chunk starts, and the status of the failed chunk with the smallest `begin` is returned; all chunks below it were run.
 * Works in a child process forked after threads were used. */
lsh_status lsh_parallel_for(int64_t n, int64_t grain, int32_t threads, lsh_chunk_fn fn, void *context);

/* Long calls can be interrupted: while one runs in the main thread of the process, `fn` is called there about 20 times a
 * second, between chunks. If it returns other than 0, the call ends with LSH_INTERRUPTED. No lock is held meanwhile. */
typedef int32_t (*lsh_interrupt_fn)(void);
void lsh_interrupt_by(lsh_interrupt_fn fn);

/* Whether to end the present call with LSH_INTERRUPTED: for loops inside of a chunk that may take more than a tenth of a
 * second. Takes some nanoseconds. */
int32_t lsh_interrupted(void);

/* The number of processors that this process may use. */
int32_t lsh_processors(void);

#endif
