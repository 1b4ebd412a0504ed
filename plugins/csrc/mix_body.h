/* MurmurHash3's 32-bit finalizer, a bijection of 32-bit words; see lshsample_families/_mixing.py. */
#ifndef LSHSAMPLE_FAMILIES_MIX_BODY_H
#define LSHSAMPLE_FAMILIES_MIX_BODY_H

#include "lanes_body.h"

LSH_INLINE uint32_t LSH_NAME(mix)(uint32_t x) {
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

#endif
