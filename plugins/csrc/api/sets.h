/* Rows as sets of columns. */
#ifndef LSHSAMPLE_FAMILIES_SETS_H
#define LSHSAMPLE_FAMILIES_SETS_H

#include <stdint.h>

/* Which columns of a row make its set. */
typedef struct {
    int32_t kind;    /* LSH_SET_... */
    uint32_t seed;   /* of the words that stand for columns */
    int64_t size;    /* LSH_SET_TOP: the most entries; otherwise 0 */
    float threshold; /* LSH_SET_ABOVE: at least 0 */
} lsh_set_rule;

enum { LSH_SET_NONZERO, LSH_SET_ABOVE, LSH_SET_TOP };

/* Columns of a set that are handled at once. */
enum { LSH_SET_CHUNK = 256 };

#endif
