/* Status codes. Every function of the C core returns one; none prints, none exits.
 * lshsample/_native/core.py turns each into an exception. */
#ifndef LSHSAMPLE_STATUS_H
#define LSHSAMPLE_STATUS_H

typedef enum {
    LSH_OK = 0,
    LSH_INVALID = 1,        /* an argument breaks the function's contract */
    LSH_OUT_OF_RANGE = 2,   /* an id, an index or a code lies outside of its range */
    LSH_NO_MEMORY = 3,      /* an allocation failed; nothing was changed */
    LSH_NOT_FINITE = 4,     /* a NaN or an infinity where a finite number is required */
    LSH_BAD_ABI = 5,        /* a plugin's kernel has another ABI version */
    LSH_PLUGIN_FAILED = 6,  /* a plugin's function returned something other than 0 */
    LSH_BAD_FORMAT = 7,     /* text that does not follow its format */
    LSH_FULL = 8,           /* the caller's buffer is too small; the needed size is reported */
    LSH_INTERRUPTED = 9     /* the program asked for it (parallel.h); arrays that the call writes are unfinished */
} lsh_status;

/* A short English text for a status; static storage, never NULL. */
const char *lsh_status_text(lsh_status status);

#endif
