/* Whether values are numbers; free of branches, so that compilers make vectors of it. */
#ifndef LSHSAMPLE_FINITE_H
#define LSHSAMPLE_FINITE_H

#include <stdint.h>
#include <string.h>

static inline int lsh_all_finite(const float *values, int64_t n) {
    uint32_t any = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        any |= (uint32_t)((bits & 0x7fffffffu) > 0x7f7fffffu); /* blind to signs */
    }
    return !any;
}

#endif
