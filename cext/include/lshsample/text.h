/* Text: sparse multi-label samples, one a line, parsed in parallel.
 *
 * A line is `label,label,... feature:value feature:value ...` with blanks (spaces, tabs) between. A line whose first
 * token has a colon, or that starts with a blank, has no labels; a line without tokens has neither labels nor
 * features. With `svmlight`, a '#' begins a comment, a line with nothing but a comment is no sample, and `qid:number` may
 * stand before the features and is skipped. Lines end with LF or CR LF; the last one may lack its end. The text is cut into chunks of a constant size
 * at line ends, so the same text gives the same arrays and the same first error for any number of threads. Nothing
 * here depends on the process's locale. */
#ifndef LSHSAMPLE_TEXT_H
#define LSHSAMPLE_TEXT_H

#include <stdint.h>
#include "lshsample/status.h"

/* What is wrong with a line. */
typedef enum {
    LSH_TEXT_FINE = 0,
    LSH_TEXT_LABEL = 1,         /* a label is not a non-negative integer */
    LSH_TEXT_LABEL_RANGE = 2,   /* a label is outside [label_base, label_base + n_labels) */
    LSH_TEXT_FEATURE = 3,       /* a feature is not `id:value` */
    LSH_TEXT_FEATURE_RANGE = 4, /* a feature is outside [feature_base, feature_base + n_features) */
    LSH_TEXT_VALUE = 5,         /* a value is not a decimal number of at most LSH_TEXT_NUMBER_MAX characters */
    LSH_TEXT_NOT_FINITE = 6,    /* a value is beyond float32 */
    LSH_TEXT_DUPLICATE = 7      /* a feature stands twice in a row; the offset is the line's first byte */
} lsh_text_fault;

enum { LSH_TEXT_CHUNK = 262144, LSH_TEXT_NUMBER_MAX = 1000 };

typedef struct {
    /* Given. */
    const char *text;
    int64_t size;
    int64_t n_features, n_labels;       /* ids are below these after the base is subtracted; at most 2^31 - 1 */
    int64_t feature_base, label_base;   /* the smallest id in the text */
    int32_t svmlight;                   /* whether there may be comments and qid: */
    const int64_t *bounds, *counts;     /* from lsh_text_count */
    /* Filled; owned by the caller. */
    int64_t *x_indptr, *y_indptr;       /* room for lines + 1 each */
    int32_t *x_indices;                 /* room for each colon; ascending and unique in a row */
    float *x_values;
    int32_t *y_indices;                 /* room for commas + rows; ascending and unique in a row */
    /* Reported. */
    int64_t n_rows, features, labels;   /* samples, and entries written */
    int64_t min_feature;                /* the smallest and the largest ids, base subtracted; -1 where there are none */
    int64_t max_feature, max_label;
    int64_t fault_offset;               /* byte of the first fault in the text: its token, or see the fault */
    int64_t fault_id;                   /* the feature that stands twice */
    int32_t fault;                      /* lsh_text_fault */
} lsh_text_rows;

/* The number of chunks of a text of `size` bytes: n_chunks below. */
int64_t lsh_text_chunks(int64_t size);

/* Cuts a text at line ends and counts. bounds (n_chunks + 1): where each chunk begins; counts (n_chunks, 3): its lines,
 * colons and commas. Cost: one pass over the bytes. Thread-safe. LSH_INVALID for a negative size or threads < 1. */
lsh_status lsh_text_count(const char *text, int64_t size, int32_t threads, int64_t *bounds, int64_t *counts);

/* Parses a text that lsh_text_count has cut. Values are rounded to the nearest float32, ties to even. A label that
 * stands twice in a row counts once. LSH_BAD_FORMAT: `fault` and its offset describe the first error in the text, and the
 * arrays hold nothing of use. LSH_NO_MEMORY, LSH_INVALID otherwise. Thread-safe for different jobs. */
lsh_status lsh_text_parse(lsh_text_rows *rows, int32_t threads);

#endif
