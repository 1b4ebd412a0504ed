/* Linear scores over label trees: sparse weights for each child of each node, and the best labels by beam search.
 *
 * A child has the margin z = w . x + bias in its node, and the score -max(0, 1 - z)^2 plus its parent's. The score of a
 * label is the logarithm of the mean over trees of e^score. Thread-safe; same bits for any number of threads. */
#ifndef LSHSAMPLE_LINEAR_H
#define LSHSAMPLE_LINEAR_H

#include <stdint.h>
#include "lshsample/label_tree.h"
#include "lshsample/status.h"
#include "lshsample/views.h"

/* Weights by node, feature and child, so that a row reads what its features have and nothing else. */
typedef struct {
    lsh_forest forest;
    const float *bias;            /* (children) */
    const int64_t *feature_begin; /* (n_nodes + 1), into features and offsets */
    const int32_t *features;      /* those that have weights in the node, ascending */
    const uint32_t *offsets;      /* where a feature's entries begin, counted from those of the node */
    const int64_t *entry_begin;   /* (n_nodes + 1), into entries */
    const uint32_t *entries;      /* the child's place in the node << 16 | its weight as bfloat16; places ascend */
    int32_t n_features;
} lsh_linear;

/* Whether the arrays, of n_children, n_pairs (features) and n_entries elements, are as said and all weights finite.
 * Without `contents` neither features nor offsets nor entries are read: where they are not as said, which a damaged file
 * may cause, scores are wrong, and nothing is read outside of the arrays. LSH_NO_MEMORY. */
lsh_status lsh_linear_check(const lsh_linear *model, int64_t n_children, int64_t n_pairs, int64_t n_entries,
                            int32_t contents);

/* ids(x.rows, k) and scores: the best labels of each row among those below the `beam` best nodes of each depth of each
 * tree; best first, ties by smaller id; -1 and -inf where there are fewer. LSH_NO_MEMORY. */
lsh_status lsh_linear_top_k(const lsh_linear *model, lsh_csr x, int32_t beam, int32_t k, int32_t threads, int32_t *ids,
                            float *scores);

#endif
