/* Training of linear scores over label trees: in each node one problem for each child, on the rows that have a label below
 * the node (all rows in a root): positive are those with a label below the child.
 *
 *   min over w  |w|^2 / 2 + sum_i C_i max(0, 1 - y_i w . x_i)^2,  x_i with a last feature 1, C_i = c, for positive rows
 *   times the child's weight
 *
 * by coordinate descent on the dual (Hsieh et al., ICML 2008), LSH_LANES children at once, whose weights of one feature
 * lie side by side. Each block of children has its own random stream: same bits for any number of threads. */
#ifndef LSHSAMPLE_LINEAR_TRAIN_H
#define LSHSAMPLE_LINEAR_TRAIN_H

#include <stdint.h>
#include "lshsample/label_tree.h"
#include "lshsample/status.h"
#include "lshsample/views.h"

typedef struct {
    float c;
    float tolerance;    /* a block ends when no projected gradient is larger */
    float prune;        /* smaller weights are left out */
    int32_t max_epochs; /* passes over the rows */
    uint64_t seed;
} lsh_linear_options;

typedef struct lsh_linear_training lsh_linear_training;

/* Begins a training; x, y, the forest's arrays and `positive` (a weight for each child) are borrowed until its end.
 * LSH_NO_MEMORY. */
lsh_status lsh_linear_begin(lsh_csr x, lsh_csr y, const lsh_forest *forest, const float *positive,
                            lsh_linear_options options, lsh_linear_training **training);

/* The work is cut into items, the largest first. Returns their number, and writes the size of each unless NULL: nonzeros
 * of its rows, times blocks. */
int64_t lsh_linear_items(const lsh_linear_training *training, int64_t *sizes);

/* Does the items begin .. end - 1, each of which is done once. Not thread-safe. LSH_NO_MEMORY, LSH_INTERRUPTED. */
lsh_status lsh_linear_train(lsh_linear_training *training, int64_t begin, int64_t end, int32_t threads);

/* pairs[node] and entries[node]: features with weights in the node, and weights, of at least `least`. LSH_NO_MEMORY. */
lsh_status lsh_linear_sizes(const lsh_linear_training *training, float least, int32_t threads, int64_t *pairs,
                            int64_t *entries);

/* Fills the arrays of a model (linear.h) whose feature_begin and entry_begin are sums of those sizes. LSH_NO_MEMORY. */
lsh_status lsh_linear_pack(const lsh_linear_training *training, float least, const int64_t *feature_begin,
                           const int64_t *entry_begin, int32_t threads, int32_t *features, uint32_t *offsets,
                           uint32_t *entries, float *bias);

/* Frees it; NULL is ignored. */
void lsh_linear_end(lsh_linear_training *training);

#endif
