/* The active set of one row during a run: state and probability of each id seen so far. Internal to the sampler. */
#ifndef LSH_ACTIVE_H
#define LSH_ACTIVE_H

#include "lshsample/sample.h"

enum { OUT = 0, IN = 1, FORCED = 2, CAPPED = 3, DRAWN = 4 /* a flag, within one stage */ };

enum { IDS_AHEAD = 32 /* ids by which their slots, anywhere in an array of all items, are prefetched */ };

/* Whether an id is in the set. */
static inline int held(uint8_t state) { return state == IN || state == FORCED; }

typedef struct {
    int64_t begin; /* into the ids of the tables */
    int64_t length;
} bucket;

/* Independent draws, with replacement, by one distribution over the items. */
typedef struct {
    const double *frequency;
    int64_t draws;
} drawn_by;

enum { MAX_DISTRIBUTIONS = 32 };

typedef struct {
    int64_t n_items;
    uint32_t *slot;   /* per item: 0, or 1 + its place below */
    int64_t size, room;
    int32_t *ids;     /* per place */
    uint32_t *counts;
    float *chance;    /* probability of being in the set, given the tables */
    uint8_t *state;
    uint64_t *keys;   /* scratch of 2 * room */
    int32_t *places;  /* scratch of `room` */
    int32_t *listed;  /* scratch of `room` */
    bucket *buckets;  /* scratch of bucket_room */
    int64_t bucket_room;
    uint32_t *levels; /* scratch of `room` */
    /* The inclusion probabilities of the row. */
    double rest;      /* probability of each id not seen, without frequency draws */
    int n_distributions; /* of the frequency draws, which can draw those ids as well */
    drawn_by distributions[MAX_DISTRIBUTIONS];
    double capped;    /* product form: the fraction that caps kept of a set of random size; 1 if none */
    double kept;      /* the fraction that all caps kept */
    int product, random_members, random_size, positive;
    int32_t zero_probability_stage; /* reported if some item has probability 0 */
} lsh_active;

typedef struct {
    const lsh_plan *plan;
    int64_t row;               /* its index among the rows of the plan */
    int64_t first, last;       /* its queries */
    int32_t threads;           /* maximum number within a stage */
} lsh_row;

lsh_status active_reserve(lsh_active *a, int64_t more);
lsh_status active_reserve_buckets(lsh_active *a, int64_t n);
void active_clear(lsh_active *a);
/* The place of an id; a new one is added with count 0, state OUT and the probability of ids not seen. */
int64_t active_place(lsh_active *a, int32_t id);
double active_rest(const lsh_active *a, int32_t id);
/* From here on probabilities are conditional on the set as it is. */
void active_condition(lsh_active *a);
/* Before a random join: replaces the product form by probabilities conditional on the set that was capped. */
void active_leave_product(lsh_active *a);
/* Whether every item has a probability above 0. */
int active_every_item_possible(const lsh_active *a);

/* Random words of this row: 64 bits for an index. */
uint64_t row_random(const lsh_row *row, const lsh_stage *stage, uint32_t purpose, uint32_t index);
/* The same for many indices: first, first + 1, ... or those listed. */
void row_randoms(const lsh_row *row, const lsh_stage *stage, uint32_t purpose, uint32_t first, const int32_t *indices,
                 int64_t n, uint64_t *out);

/* Every stage, as STAGE(op, name): stage_name runs LSH_STAGE_op. Listed once, here. */
#define LSH_STAGES(STAGE) \
    STAGE(RETRIEVE, retrieve) \
    STAGE(AT_LEAST, at_least) \
    STAGE(TOP, top) \
    STAGE(CAP, cap) \
    STAGE(INCLUDE, include) \
    STAGE(FILL, fill) \
    STAGE(UNIFORM, uniform) \
    STAGE(FREQUENCY, frequency) \
    STAGE(GIVEN, given) \
    STAGE(FULL, full) \
    STAGE(JOIN, join)

#define LSH_DECLARE_STAGE(op, name) lsh_status stage_##name(lsh_active *a, const lsh_row *row, const lsh_stage *stage);
LSH_STAGES(LSH_DECLARE_STAGE)

#endif
