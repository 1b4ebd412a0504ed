/* Row-sparse optimizers. A store keeps row r's weights and optimizer state as one streak of memory:
 * store[r * slots * d ...] holds d weights, then slots - 1 times d of state.
 *
 * A step touches the given rows alone (lazy updates; LazyAdam), so it costs what it touches. rows: n ids, unique and in
 * range, or NULL for rows 0 .. n - 1. gradient: (n, d). Thread-safe for disjoint rows. */
#ifndef LSHSAMPLE_OPTIM_H
#define LSHSAMPLE_OPTIM_H

#include <stdint.h>
#include "lshsample/status.h"
#include "lshsample/views.h"

/* w -= lr g. slots: 1 or more, of which the first is used. */
lsh_status lsh_sgd_rows(float *store, int64_t slots, const int32_t *rows, lsh_dense gradient, float lr,
                        int32_t threads);
/* s += g^2; w -= lr g / (sqrt(s) + eps) (Duchi, Hazan & Singer 2011). slots: 2. */
lsh_status lsh_adagrad_rows(float *store, const int32_t *rows, lsh_dense gradient, float lr, float eps,
                            int32_t threads);
/* m += (1 - beta1) (g - m); v += (1 - beta2) (g^2 - v); w -= lr m' / (sqrt(v') + eps) with m' = m / (1 - beta1^step),
 * v' = v / (1 - beta2^step) (Kingma & Ba 2015), step >= 1 counted over all steps. slots: 3. */
lsh_status lsh_adam_rows(float *store, const int32_t *rows, lsh_dense gradient, double lr, double beta1, double beta2,
                         double eps, int64_t step, int32_t threads);

#endif
