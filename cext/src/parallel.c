#define _GNU_SOURCE
#include "lshsample/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

enum {
    MAX_WORKERS = 255,
    /* Looks at a flag before a thread goes to sleep, some 20 microseconds: the kernels of a training step follow each
     * other faster than a sleeping thread wakes up. */
    PATIENCE = 1000,
    /* Milliseconds between two calls of the function that may interrupt a long call. */
    POLL_INTERVAL = 50
};

typedef struct job job;
struct job {
    int64_t n, grain, n_chunks;
    lsh_chunk_fn fn;
    void *context;
    _Atomic int64_t next;         /* the next chunk to be taken */
    _Atomic int64_t failed_chunk; /* n_chunks while nothing failed, -1 after an interruption */
    job *outer;                   /* the job in whose chunk this one was started */
    pthread_mutex_t lock;
    lsh_status status;
    /* What follows is guarded by the pool's lock; `inside` may be read without it. */
    int32_t seats, next_seat; /* worker numbers to be given, the next one */
    _Atomic int32_t inside;   /* helpers that are working on the job */
    pthread_cond_t empty;     /* the last helper has finished */
    job *below;               /* the open job under this one */
};

/* Threads that wait for open jobs. They help with a job; its caller does whatever they leave, and waits only for those
 * that have begun. So a helper that the system does not run costs nothing, where a barrier would wait for it: on a
 * machine whose cores were all busy, OpenMP's threads took 80 ms for a step that takes 12 ms this way. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    job *open;              /* jobs with free seats or running, the latest first */
    _Atomic int32_t n_open; /* free seats, may be read without the lock */
    int32_t n_workers;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;
static _Atomic(lsh_interrupt_fn) interrupt_fn;
/* In the block that a thread has from its start: glibc allocates other blocks at their first use, and ends the process
 * if there is no memory for them. */
#ifdef __GLIBC__
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define THREAD_LOCAL _Thread_local
#endif
static THREAD_LOCAL job *current;      /* whose chunk this thread runs */
static THREAD_LOCAL int64_t last_poll; /* in milliseconds */

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void lsh_interrupt_by(lsh_interrupt_fn fn) { atomic_store(&interrupt_fn, fn); }

#if defined(__APPLE__)
#define COARSE_CLOCK CLOCK_MONOTONIC_RAW_APPROX
static int is_main_thread(void) { return pthread_main_np(); }
#else
#define COARSE_CLOCK CLOCK_MONOTONIC_COARSE
static int is_main_thread(void) { return syscall(SYS_gettid) == getpid(); }
#endif

/* Whether the program wants this thread, its main one, to stop what it does. The coarse clock takes some nanoseconds; the
 * system calls that tell the main thread from others, also in a forked child, are made once an interval. */
static int poll_interrupt(void) {
    struct timespec now;
    clock_gettime(COARSE_CLOCK, &now);
    int64_t milliseconds = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (milliseconds - last_poll < POLL_INTERVAL) return 0;
    last_poll = milliseconds;
    lsh_interrupt_fn fn = atomic_load(&interrupt_fn);
    return fn && is_main_thread() && fn();
}

int32_t lsh_interrupted(void) {
    for (const job *work = current; work; work = work->outer)
        if (atomic_load(&work->failed_chunk) < 0) return 1;
    return poll_interrupt();
}

static void record_failure(job *work, int64_t chunk, lsh_status status) {
    if (status == LSH_INTERRUPTED) chunk = -1; /* before all others, so that every chunk stops */
    pthread_mutex_lock(&work->lock);
    if (chunk < atomic_load(&work->failed_chunk)) {
        atomic_store(&work->failed_chunk, chunk);
        work->status = status;
    }
    pthread_mutex_unlock(&work->lock);
}

static void run_chunks(job *work, int32_t worker) {
    job *before = current;
    current = work;
    for (;;) {
        int64_t chunk = atomic_fetch_add(&work->next, 1);
        /* A chunk that was taken before a later one failed is run, so that all chunks below the failed one are. */
        if (chunk >= work->n_chunks || atomic_load(&work->failed_chunk) < chunk) break;
        int64_t begin = chunk * work->grain;
        int64_t end = begin + work->grain < work->n ? begin + work->grain : work->n;
        lsh_status status = LSH_INTERRUPTED;
        if (worker > 0 || !poll_interrupt()) status = work->fn(work->context, begin, end, worker);
        if (status != LSH_OK) record_failure(work, chunk, status);
    }
    current = before;
}

/* An open job with a free seat, or NULL; the pool is locked. */
static job *find_seat(void) {
    job *work = pool.open;
    while (work && work->next_seat > work->seats) work = work->below;
    return work;
}

static void *run_worker(void *unused) {
    (void)unused;
    for (;;) {
        for (int i = 0; i < PATIENCE && atomic_load(&pool.n_open) == 0; i++) relax();
        pthread_mutex_lock(&pool.lock);
        job *work;
        while (!(work = find_seat())) pthread_cond_wait(&pool.work, &pool.lock);
        int32_t seat = work->next_seat++;
        atomic_fetch_sub(&pool.n_open, 1);
        atomic_fetch_add(&work->inside, 1);
        pthread_mutex_unlock(&pool.lock);
        run_chunks(work, seat);
        pthread_mutex_lock(&pool.lock);
        if (atomic_fetch_sub(&work->inside, 1) == 1) pthread_cond_signal(&work->empty);
        pthread_mutex_unlock(&pool.lock);
    }
    return NULL;
}

static void before_fork(void) { pthread_mutex_lock(&pool.lock); }
static void after_fork(void) { pthread_mutex_unlock(&pool.lock); }

/* A forked child has none of the threads; it makes its own when it needs them. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pool.open = NULL;
    pool.n_workers = 0;
    atomic_store(&pool.n_open, 0);
}

static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

/* Makes threads until there are `wanted`, or the system has no more; the pool is locked. Signals stay with the threads
 * of the program. */
static void grow_pool(int32_t wanted) {
    sigset_t all, before;
    pthread_t thread;
    if (pool.n_workers >= wanted) return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.n_workers < wanted && pthread_create(&thread, NULL, run_worker, NULL) == 0) {
        pthread_detach(thread);
        pool.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void open_job(job *work, int32_t helpers) {
    pthread_mutex_lock(&pool.lock);
    grow_pool(helpers);
    work->seats = helpers;
    work->next_seat = 1;
    work->below = pool.open;
    pool.open = work;
    atomic_fetch_add(&pool.n_open, helpers);
    for (int32_t i = 0; i < helpers; i++) pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.lock);
}

/* Waits for the helpers that are inside, at most for the interval of polls; returns whether some still are. */
static int helpers_inside(job *work) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += POLL_INTERVAL * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&work->inside) > 0 && pthread_cond_timedwait(&work->empty, &pool.lock, &until) == 0) {}
    int inside = atomic_load(&work->inside) > 0;
    pthread_mutex_unlock(&pool.lock);
    return inside;
}

/* Takes the job out of the pool and waits for the helpers that are inside. */
static void close_job(job *work) {
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_sub(&pool.n_open, work->seats + 1 - work->next_seat);
    job **place = &pool.open;
    while (*place != work) place = &(*place)->below;
    *place = work->below;
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < PATIENCE && atomic_load(&work->inside) > 0; i++) relax();
    while (helpers_inside(work))
        if (poll_interrupt()) record_failure(work, -1, LSH_INTERRUPTED);
}

lsh_status lsh_parallel_for(int64_t n, int64_t grain, int32_t threads, lsh_chunk_fn fn, void *context) {
    if (n < 0 || grain < 1 || threads < 1 || fn == NULL) return LSH_INVALID;
    if (n == 0) return LSH_OK;
    job work = {.n = n, .grain = grain, .n_chunks = (n - 1) / grain + 1, .fn = fn, .context = context,
                .outer = current};
    atomic_init(&work.next, 0);
    atomic_init(&work.failed_chunk, work.n_chunks);
    atomic_init(&work.inside, 0);
    if (threads > work.n_chunks) threads = (int32_t)work.n_chunks;
    if (threads > MAX_WORKERS + 1) threads = MAX_WORKERS + 1;
    pthread_mutex_init(&work.lock, NULL);
    pthread_cond_init(&work.empty, NULL);
    if (threads > 1) {
        pthread_once(&watch_once, watch_forks);
        open_job(&work, threads - 1);
    }
    run_chunks(&work, 0);
    if (threads > 1) close_job(&work);
    pthread_cond_destroy(&work.empty);
    pthread_mutex_destroy(&work.lock);
    return work.status;
}

int32_t lsh_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int32_t)n : 1;
}
