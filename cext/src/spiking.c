#include "lshsample/spiking.h"

#include <math.h>
#include <stdlib.h>

#include "lshsample/parallel.h"

enum {
    CHECKS = 8,       /* looks at the gap in one window */
    FIRST_WINDOW = 8, /* its length, in units of the currents' time constant */
    ARRAYS = 7,       /* of a network, m numbers each */
    BLOCK = 64,       /* neurons that are looked at together */
    NEWTON = 60       /* iterations at most; bisection halves the interval where a step leaves it */
};

typedef struct {
    const float *lateral;
    int64_t m;
    const float *drives;
    double lambda, tol;
    int64_t max_spikes;
    double *rates;
    int64_t *spikes;
    double *gaps, *times;
    double *scratch; /* (threads, ARRAYS, m) */
} codes;

/* One network. Without a spike, after time d, v is v + input d - current (1 - exp(-d)), which is convex where the
 * current, what arrived from the others' spikes, inhibits. */
typedef struct {
    const float *lateral;
    int64_t m;
    double *threshold;
    double *input;         /* drive - lambda */
    double *v, *current;   /* potential; inhibition that still flows */
    double *v0, *current0; /* those at the start of the window */
    double *count;         /* spikes in the window */
} network;

static inline double potential(const network *net, int64_t i, double d, double faded) {
    return net->v[i] + net->input[i] * d - net->current[i] * faded;
}

/* The time at which neuron i, which is below its threshold now and not at `late`, reaches it. */
static double crossing(const network *net, int64_t i, double late) {
    double low = 0, high = late, threshold = net->threshold[i], d = 0;
    for (int32_t step = 0; step < NEWTON; step++) {
        double fade = exp(-d), value = potential(net, i, d, -expm1(-d)) - threshold;
        double slope = net->input[i] - net->current[i] * fade;
        if (value < 0) low = d;
        else high = d;
        double next = d - value / slope;
        if (!(next > low && next < high)) next = (low + high) / 2;
        if (fabs(next - d) <= 1e-14 * (1 + d)) return next;
        d = next;
    }
    return high;
}

/* The time up to `late` at which a neuron below its threshold is above it, if it reaches it at all. */
static double peak_before(const network *net, int64_t i, double late) {
    double input = net->input[i], current = net->current[i];
    if (input >= 0 || current >= 0) return late; /* convex, or rising for ever */
    double peak = log(current / input);
    return peak < 0 ? 0 : peak < late ? peak : late;
}

/* Makes neuron i the best if it reaches its threshold before `late`, which becomes that time. */
static void earlier(const network *net, int64_t i, int64_t *best, double *late) {
    double at = peak_before(net, i, *late);
    if (i == *best || potential(net, i, at, -expm1(-at)) < net->threshold[i]) return;
    *late = net->v[i] >= net->threshold[i] ? 0 : crossing(net, i, at);
    *best = i;
}

/* Whether a neuron of a block may reach its threshold before `late`. An excited one may have reached it and be
 * below again: the input that takes it down is left out. */
static int32_t any_may(const network *net, int64_t begin, int64_t end, double late, double faded) {
    const double *restrict v = net->v, *restrict current = net->current, *restrict input = net->input;
    const double *restrict threshold = net->threshold;
    double most = -1;
    for (int64_t i = begin; i < end; i++) {
        double gained = current[i] >= 0 || input[i] > 0 ? input[i] : 0;
        double reached = v[i] + gained * late - current[i] * faded - threshold[i];
        most = reached > most ? reached : most;
    }
    return most >= 0;
}

/* The next neuron to spike and, in *wait, when; -1 if none does within *wait. */
static int64_t next_spike(const network *net, double *wait) {
    int64_t best = -1;
    double late = *wait, faded = -expm1(-late), least = INFINITY;
    int64_t guess = -1;
    for (int64_t i = 0; i < net->m; i++) { /* the first by the slope of now: most often the next one */
        double slope = net->input[i] - net->current[i], left = net->threshold[i] - net->v[i];
        if (slope > 0 && left < least * slope) {
            least = left / slope;
            guess = i;
        }
    }
    if (guess >= 0) {
        earlier(net, guess, &best, &late);
        faded = -expm1(-late);
    }
    for (int64_t begin = 0; begin < net->m; begin += BLOCK) {
        int64_t end = begin + BLOCK < net->m ? begin + BLOCK : net->m;
        if (!any_may(net, begin, end, late, faded)) continue;
        for (int64_t i = begin; i < end; i++) earlier(net, i, &best, &late);
        faded = -expm1(-late);
    }
    *wait = late;
    return best;
}

/* Time d goes by, and then neuron `spiking` (-1 for none) spikes. */
static void advance(network *net, double d, int64_t spiking) {
    double faded = -expm1(-d), kept = 1 - faded;
    double *restrict v = net->v, *restrict current = net->current;
    const double *restrict input = net->input;
    for (int64_t i = 0; i < net->m; i++) {
        v[i] += input[i] * d - current[i] * faded;
        current[i] *= kept;
    }
    if (spiking < 0) return;
    const float *restrict row = net->lateral + spiking * net->m;
    double own = row[spiking], before = current[spiking];
    for (int64_t i = 0; i < net->m; i++) current[i] += row[i];
    current[spiking] = before;
    v[spiking] -= own;
    net->count[spiking]++;
}

/* The gap of the rates of a window of length t. The potentials know the gradient: what they lost is what the spikes took
 * more than the input gave, as far as it has arrived. */
static double gap_of(const network *net, double t) {
    double gap = 0;
    for (int64_t i = 0; i < net->m; i++) {
        double gradient = (net->v0[i] - net->v[i] + net->current[i] - net->current0[i]) / (t * net->threshold[i]);
        double rate = net->count[i] / t;
        double off = fabs(rate < gradient ? rate : gradient);
        if (off > gap) gap = off;
    }
    return gap;
}

/* A window starts: potentials far below are lifted to one spike below rest, else a neuron that was inhibited at first
 * would be silent long after. */
static void start_window(network *net) {
    for (int64_t i = 0; i < net->m; i++) {
        double lowest = -net->threshold[i];
        if (net->v[i] < lowest) net->v[i] = lowest;
        net->v0[i] = net->v[i];
        net->current0[i] = net->current[i];
        net->count[i] = 0;
    }
}

static lsh_status run(const codes *c, network *net, int64_t item, double scale) {
    double *rates = c->rates + item * c->m, time = 0, gap = INFINITY, elapsed = 0;
    int64_t spikes = 0;
    for (int64_t i = 0; i < net->m; i++) net->v[i] = net->current[i] = 0;
    for (double window = FIRST_WINDOW; gap > c->tol && spikes < c->max_spikes; window *= 2) {
        start_window(net);
        elapsed = 0;
        for (int32_t check = 1; check <= CHECKS && gap > c->tol && spikes < c->max_spikes; check++) {
            for (double until = window * check / CHECKS; elapsed < until && spikes < c->max_spikes;) {
                double wait = until - elapsed;
                int64_t spiking = next_spike(net, &wait);
                advance(net, wait, spiking);
                elapsed = spiking < 0 ? until : elapsed + wait;
                spikes += spiking >= 0;
                if ((spikes & 1023) == 0 && lsh_interrupted()) return LSH_INTERRUPTED;
            }
            gap = elapsed > 0 ? gap_of(net, elapsed) : INFINITY;
        }
        time += elapsed;
    }
    for (int64_t i = 0; i < net->m; i++) rates[i] = elapsed > 0 ? net->count[i] / elapsed * scale : 0;
    c->spikes[item] = spikes;
    c->gaps[item] = gap;
    c->times[item] = time;
    return LSH_OK;
}

static void no_spikes(const codes *c, int64_t item) {
    for (int64_t i = 0; i < c->m; i++) c->rates[item * c->m + i] = 0;
    c->spikes[item] = 0;
    c->gaps[item] = c->times[item] = 0;
}

static lsh_status code_chunk(void *context, int64_t begin, int64_t end, int32_t worker) {
    const codes *c = context;
    network net = {.lateral = c->lateral, .m = c->m};
    double **arrays[ARRAYS] = {&net.threshold, &net.input, &net.v, &net.current, &net.v0, &net.current0, &net.count};
    for (int64_t k = 0; k < ARRAYS; k++) *arrays[k] = c->scratch + (worker * ARRAYS + k) * c->m;
    for (int64_t i = 0; i < c->m; i++) net.threshold[i] = c->lateral[i * c->m + i];
    for (int64_t item = begin; item < end; item++) {
        const float *drives = c->drives + item * c->m;
        double scale = 0;
        int32_t driven = 0;
        for (int64_t i = 0; i < c->m; i++) {
            double drive = drives[i] / net.threshold[i];
            if (drive > scale) scale = drive;
            driven |= drives[i] > c->lambda;
        }
        if (!driven) {
            no_spikes(c, item);
            continue;
        }
        for (int64_t i = 0; i < c->m; i++) net.input[i] = (drives[i] - c->lambda) / scale;
        lsh_status status = run(c, &net, item, scale);
        if (status != LSH_OK) return status;
    }
    return LSH_OK;
}

lsh_status lsh_spiking_codes(const float *lateral, int64_t m, const float *drives, int64_t n, double lambda, double tol,
                             int64_t max_spikes, double *rates, int64_t *spikes, double *gaps, double *times,
                             int32_t threads) {
    if (m < 1 || n < 0 || threads < 1 || max_spikes < 1 || !(lambda >= 0) || !(tol > 0)) return LSH_INVALID;
    for (int64_t i = 0; i < m; i++)
        if (!(lateral[i * m + i] > 0)) return LSH_INVALID;
    codes c = {lateral, m, drives, lambda, tol, max_spikes, rates, spikes, gaps, times, NULL};
    c.scratch = malloc((size_t)threads * ARRAYS * (size_t)m * sizeof *c.scratch);
    if (!c.scratch) return LSH_NO_MEMORY;
    lsh_status status = lsh_parallel_for(n, 1, threads, code_chunk, &c);
    free(c.scratch);
    return status;
}
