/* Every kernel for one instruction set, and the selectors' tables; the including file names the set. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "families.h"
#include "lshsample/simd.h"
#include "probe.h"
#include "select.h"

LSH_KERNELS_BEGIN

#include "lanes.h"
#include "hadamard.h"
#include "margins.h"
#include "dwta.h"
#include "wta.h"
#include "sets.h"
#include "minhash.h"
#include "icws.h"
#include "buckets.h"

LSH_KERNELS_END

intptr_t LSH_NAME(lsh_family_functions)(int32_t which) {
    switch (which) {
    case LSH_HADAMARD_HASH: return (intptr_t)LSH_NAME(hadamard_hash);
    case LSH_HADAMARD_PROBE: return (intptr_t)LSH_NAME(hadamard_probe);
    case LSH_MATRIX_HASH: return (intptr_t)LSH_NAME(matrix_hash);
    case LSH_MATRIX_PROBE: return (intptr_t)LSH_NAME(matrix_rows);
    case LSH_LISTS_HASH: return (intptr_t)LSH_NAME(lists_hash);
    case LSH_LISTS_PROBE: return (intptr_t)LSH_NAME(lists_rows);
    case LSH_DWTA_WINDOWS: return (intptr_t)LSH_NAME(dwta_windows);
    case LSH_DWTA_LISTS: return (intptr_t)LSH_NAME(dwta_lists);
    case LSH_WTA_WINDOWS: return (intptr_t)LSH_NAME(wta_windows);
    case LSH_WTA_LISTS: return (intptr_t)LSH_NAME(wta_lists);
    case LSH_MINHASH_FUNCTIONS: return (intptr_t)LSH_NAME(minhash_functions);
    case LSH_MINHASH_BINS: return (intptr_t)LSH_NAME(minhash_bins);
    case LSH_ICWS_HASH: return (intptr_t)LSH_NAME(icws_hash);
    case LSH_E2LSH_HADAMARD: return (intptr_t)LSH_NAME(e2lsh_hadamard);
    case LSH_E2LSH_HADAMARD_PROBE: return (intptr_t)LSH_NAME(e2lsh_hadamard_probe);
    case LSH_E2LSH_MATRIX: return (intptr_t)LSH_NAME(e2lsh_matrix);
    case LSH_E2LSH_MATRIX_PROBE: return (intptr_t)LSH_NAME(e2lsh_matrix_probe);
    case LSH_E2LSH_LISTS: return (intptr_t)LSH_NAME(e2lsh_lists);
    case LSH_E2LSH_LISTS_PROBE: return (intptr_t)LSH_NAME(e2lsh_lists_probe);
    case LSH_VERTEX_HADAMARD: return (intptr_t)LSH_NAME(vertex_hadamard);
    case LSH_VERTEX_HADAMARD_PROBE: return (intptr_t)LSH_NAME(vertex_hadamard_probe);
    case LSH_VERTEX_MATRIX: return (intptr_t)LSH_NAME(vertex_matrix);
    case LSH_VERTEX_MATRIX_PROBE: return (intptr_t)LSH_NAME(vertex_matrix_probe);
    case LSH_VERTEX_LISTS: return (intptr_t)LSH_NAME(vertex_lists);
    case LSH_VERTEX_LISTS_PROBE: return (intptr_t)LSH_NAME(vertex_lists_probe);
    default: return 0;
    }
}
