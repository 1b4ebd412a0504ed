/* Every kernel for one instruction set, and their table; the including file names the set.
 *
 * A new compiled family has the struct of its state in api/NAME.h, which Python reads too, and its kernels in
 * NAME_body.h, which is included below; the table at the end lists each kernel once. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "kernel_table.h"
#include "lshsample/family.h"
#include "lshsample/simd.h"
#include "probe.h"

LSH_KERNELS_BEGIN

#include "cross_polytope_body.h"
#include "dwta_body.h"
#include "e2lsh_body.h"
#include "hadamard_body.h"
#include "icws_body.h"
#include "margins_body.h"
#include "minhash_body.h"
#include "wta_body.h"

LSH_KERNELS_END

const lsh_named_kernel *LSH_NAME(lsh_family_kernels)(void) {
#define LSH_KERNEL(name) {#name, (lsh_any_kernel)LSH_NAME(name)}
    static const lsh_named_kernel kernels[] = {
        LSH_KERNEL(hadamard_hash),
        LSH_KERNEL(hadamard_probe),
        LSH_KERNEL(matrix_hash),
        LSH_KERNEL(matrix_probe),
        LSH_KERNEL(lists_hash),
        LSH_KERNEL(lists_probe),
        LSH_KERNEL(dwta_windows),
        LSH_KERNEL(dwta_lists),
        LSH_KERNEL(wta_windows),
        LSH_KERNEL(wta_lists),
        LSH_KERNEL(minhash_functions),
        LSH_KERNEL(minhash_bins),
        LSH_KERNEL(icws_hash),
        LSH_KERNEL(e2lsh_hadamard),
        LSH_KERNEL(e2lsh_hadamard_probe),
        LSH_KERNEL(e2lsh_matrix),
        LSH_KERNEL(e2lsh_matrix_probe),
        LSH_KERNEL(e2lsh_lists),
        LSH_KERNEL(e2lsh_lists_probe),
        LSH_KERNEL(vertex_hadamard),
        LSH_KERNEL(vertex_hadamard_probe),
        LSH_KERNEL(vertex_matrix),
        LSH_KERNEL(vertex_matrix_probe),
        LSH_KERNEL(vertex_lists),
        LSH_KERNEL(vertex_lists_probe),
        {NULL, NULL},
    };
    return kernels;
}
