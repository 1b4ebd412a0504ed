#define _GNU_SOURCE
#include "lshsample/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#define LSH_MAX_SPAWNED 256

typedef struct {
    int64_t n, grain, n_chunks;
    lsh_chunk_fn fn;
    void *context;
    _Atomic int64_t next;         /* the next chunk to be taken */
    _Atomic int64_t failed_chunk; /* n_chunks while nothing failed */
    pthread_mutex_t lock;
    lsh_status status;
} job;

typedef struct {
    job *work;
    int32_t worker;
} seat;

static void record_failure(job *work, int64_t chunk, lsh_status status) {
    pthread_mutex_lock(&work->lock);
    if (chunk < atomic_load(&work->failed_chunk)) {
        atomic_store(&work->failed_chunk, chunk);
        work->status = status;
    }
    pthread_mutex_unlock(&work->lock);
}

static void run_chunks(job *work, int32_t worker) {
    for (;;) {
        int64_t chunk = atomic_fetch_add(&work->next, 1);
        if (chunk >= work->n_chunks || atomic_load(&work->failed_chunk) < work->n_chunks) return;
        int64_t begin = chunk * work->grain;
        int64_t end = begin + work->grain < work->n ? begin + work->grain : work->n;
        lsh_status status = work->fn(work->context, begin, end, worker);
        if (status != LSH_OK) record_failure(work, chunk, status);
    }
}

static void *run_seat(void *argument) {
    seat *s = argument;
    run_chunks(s->work, s->worker);
    return NULL;
}

/* Plain threads, made for this call: the backend of sanitizer builds, which do not understand OpenMP's, and of a
 * forked child, where OpenMP's own pool of threads no longer exists and would be waited for without end. */
static void run_spawned(job *work, int32_t threads) {
    pthread_t handles[LSH_MAX_SPAWNED];
    seat seats[LSH_MAX_SPAWNED];
    int32_t started = 0;
    for (int32_t i = 1; i < threads && started < LSH_MAX_SPAWNED; i++) {
        seats[started] = (seat){work, i};
        if (pthread_create(&handles[started], NULL, run_seat, &seats[started]) != 0) break;
        started++;
    }
    run_chunks(work, 0);
    for (int32_t i = 0; i < started; i++) pthread_join(handles[i], NULL);
}

#ifdef _OPENMP
#include <omp.h>

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static _Atomic int is_forked_child;

static void note_fork(void) { atomic_store(&is_forked_child, 1); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, note_fork); }

static void run_threads(job *work, int32_t threads) {
    pthread_once(&watch_once, watch_forks);
    if (atomic_load(&is_forked_child)) {
        run_spawned(work, threads);
        return;
    }
#pragma omp parallel num_threads(threads)
    run_chunks(work, omp_get_thread_num());
}
#else
static void run_threads(job *work, int32_t threads) { run_spawned(work, threads); }
#endif

lsh_status lsh_parallel_for(int64_t n, int64_t grain, int32_t threads, lsh_chunk_fn fn, void *context) {
    if (n < 0 || grain < 1 || threads < 1 || fn == NULL) return LSH_INVALID;
    if (n == 0) return LSH_OK;
    job work = {.n = n, .grain = grain, .n_chunks = (n + grain - 1) / grain, .fn = fn, .context = context};
    atomic_init(&work.next, 0);
    atomic_init(&work.failed_chunk, work.n_chunks);
    work.status = LSH_OK;
    pthread_mutex_init(&work.lock, NULL);
    if (threads > work.n_chunks) threads = (int32_t)work.n_chunks;
    if (threads == 1) run_chunks(&work, 0);
    else run_threads(&work, threads);
    pthread_mutex_destroy(&work.lock);
    return work.status;
}

int32_t lsh_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int32_t)n : 1;
}
