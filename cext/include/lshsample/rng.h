/* Random streams: Philox4x32-10 (Salmon et al., SC 2011), counter-based. A draw is a pure function of
 * (seed, purpose, stream, step, index): no state, so the same for any number of threads and any order of work. */
#ifndef LSHSAMPLE_RNG_H
#define LSHSAMPLE_RNG_H

#include <stdint.h>

/* What a stream is for; streams of different purposes are independent. */
enum {
    LSH_DRAW_CAP = 1,       /* which ids a cap keeps: stream = row, index = id */
    LSH_DRAW_TOP = 2,       /* ties of a top-k by count: stream = row, index = id */
    LSH_DRAW_FILL = 3,      /* uniform fill: stream = row, index = attempt */
    LSH_DRAW_UNIFORM = 4,   /* the uniform source: stream = row, index = attempt */
    LSH_DRAW_FREQUENCY = 5, /* the frequency source: stream = row, index = draw */
    LSH_DRAW_TABLES = 6,    /* the order in which tables are visited: stream = row, index = position */
    LSH_DRAW_DROPOUT = 7,   /* dropout masks: stream = layer, index = unit/4 */
    LSH_DRAW_BUCKET = 8,    /* bounded buckets: stream = table, step = code, index = the id's number in the bucket */
    LSH_DRAW_MERGE = 9,     /* merging bounded buckets: stream = table, step = code, index = draw */
    LSH_DRAW_ROUNDING = 10, /* stochastic rounding: stream = row, index = column/8 */
    LSH_DRAW_LABELS = 11,   /* first rows of 2-means over labels: stream = tree, step = depth, index = part */
    LSH_DRAW_LINEAR = 12,   /* the order of rows in linear training: stream = node, index = block */
    LSH_DRAW_EVICTION = 13  /* stochastic rounding of rows that leave a cache: stream = row, index = column/8 */
};

/* Four words of 32 random bits. Thread-safe; cost: about 40 integer operations. */
void lsh_philox(uint64_t seed, uint32_t purpose, uint32_t stream, uint64_t step, uint32_t index, uint32_t out[4]);

#endif
