/* Trees over labels: which labels stand near each other, by balanced 2-means of their vectors. */
#ifndef LSHSAMPLE_LABEL_TREE_H
#define LSHSAMPLE_LABEL_TREE_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* Several trees over the same labels. A child is a node, whose number is above its parent's, or ~label; a tree has each
 * label at most once. Numbers of a tree's nodes are above those of the trees before it. */
typedef struct {
    const int32_t *roots;       /* (n_trees): the first node of each tree */
    const int64_t *child_begin; /* (n_nodes + 1): node's children are child_begin[node] .. child_begin[node + 1] - 1 */
    const int32_t *children;
    int32_t n_trees, n_nodes, n_labels;
} lsh_forest;

enum { LSH_MAX_CHILDREN = 65536 };

/* Whether the arrays are as said, in one pass over the children; n_children is their length. LSH_NO_MEMORY. */
lsh_status lsh_forest_check(const lsh_forest *forest, int64_t n_children);

/* Orders the rows of `vectors` (of length 1 or 0), n_trees times, so that each half of the order, each half of a half and
 * so on, `depth` times, are rows that are near each other: balanced spherical 2-means, from random rows, in at most
 * `iterations` passes each. A half of n rows has n / 2, the rest is the other. Rows ascend in the smallest parts.
 * order: (n_trees, vectors.rows). Cost: 2 depth * iterations * nonzeros, for each tree. LSH_NO_MEMORY. */
lsh_status lsh_label_order(lsh_csr vectors, int32_t n_trees, int32_t depth, int32_t iterations, uint64_t seed,
                           int32_t threads, int32_t *order);

#endif
