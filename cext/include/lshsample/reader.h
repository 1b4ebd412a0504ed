/* What samplers and estimators read: tables of one of the two kinds, and what changed since they were built. */
#ifndef LSHSAMPLE_READER_H
#define LSHSAMPLE_READER_H

#include <stdint.h>
#include "lshsample/bounded.h"
#include "lshsample/delta.h"
#include "lshsample/packed.h"

typedef struct {
    const lsh_packed *packed;   /* one of packed and bounded is given, the other is NULL */
    const lsh_bounded *bounded;
    const lsh_delta *deltas;    /* (n_deltas), of packed tables only */
    int64_t n_deltas;
} lsh_reader;

#endif
