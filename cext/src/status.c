#include "lshsample/status.h"

const char *lsh_status_text(lsh_status status) {
    switch (status) {
    case LSH_OK: return "ok";
    case LSH_INVALID: return "invalid argument";
    case LSH_OUT_OF_RANGE: return "an id, index or code is out of range";
    case LSH_NO_MEMORY: return "out of memory";
    case LSH_NOT_FINITE: return "a value is NaN or infinite";
    case LSH_BAD_ABI: return "a kernel has another ABI version";
    case LSH_PLUGIN_FAILED: return "a plugin's kernel failed";
    case LSH_BAD_FORMAT: return "malformed text";
    case LSH_FULL: return "the buffer is too small";
    case LSH_INTERRUPTED: return "interrupted";
    }
    return "unknown status";
}
