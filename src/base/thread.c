/* SPDX-License-Identifier: MIT
 *
 * thread.c: threads, locks and conditions over pthreads.
 *
 * Any thread calls anything here. A mutex or condition that fails is a broken program of ours, hence
 * checks and not errors; only starting a thread may fail in earnest. */
#include "base/thread.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned running;

void coil__mutex_init(struct mutex *m)
{
    COIL_CHECK(pthread_mutex_init(&m->m, NULL) == 0);
}

void coil__mutex_fini(struct mutex *m)
{
    COIL_CHECK(pthread_mutex_destroy(&m->m) == 0);
}

void coil__mutex_lock(struct mutex *m)
{
    COIL_CHECK(pthread_mutex_lock(&m->m) == 0);
}

void coil__mutex_unlock(struct mutex *m)
{
    COIL_CHECK(pthread_mutex_unlock(&m->m) == 0);
}

void coil__cond_init(struct cond *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    COIL_CHECK(pthread_cond_init(&c->c, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void coil__cond_fini(struct cond *c)
{
    COIL_CHECK(pthread_cond_destroy(&c->c) == 0);
}

void coil__cond_wait(struct cond *c, struct mutex *m)
{
    COIL_CHECK(pthread_cond_wait(&c->c, &m->m) == 0);
}

bool coil__cond_wait_until(struct cond *c, struct mutex *m, int64_t deadline_ns)
{
    if (deadline_ns == CLOCK_FOREVER) {
        coil__cond_wait(c, m);
        return true;
    }
    if (deadline_ns < 0)
        deadline_ns = 0;
    struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                          .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    int err = pthread_cond_timedwait(&c->c, &m->m, &ts);
    COIL_CHECK(err == 0 || err == ETIMEDOUT);
    return err == 0;
}

void coil__cond_signal(struct cond *c)
{
    COIL_CHECK(pthread_cond_signal(&c->c) == 0);
}

void coil__cond_broadcast(struct cond *c)
{
    COIL_CHECK(pthread_cond_broadcast(&c->c) == 0);
}

/* Where this thread might run if it were not pinned; NULL: it is not. */
static _Thread_local const struct thread_cpus *pinned_from;

struct start {
    void (*fn)(void *arg);
    void *arg;
    bool unpinned; /* it runs on `cpus`, not where its maker is pinned */
    struct thread_cpus cpus;
    char name[16]; /* what the kernel keeps of it */
};

static void *thread_main(void *p)
{
    struct start start = *(struct start *)p;
    coil__free(p);
    pthread_setname_np(pthread_self(), start.name);
    if (start.unpinned)
        (void)sched_setaffinity(0, sizeof start.cpus.set, &start.cpus.set);
#if SYS_UNDER_TSAN
    (void)coil__sys_hush(); /* a worker that waits for work would hold a handler back */
#endif
    start.fn(start.arg);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
int (*coil__thread_hook)(void);
#endif

int coil__thread_start(struct thread *out, const char *name, void (*fn)(void *arg), void *arg)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    int refused = coil__thread_hook ? coil__thread_hook() : 0;
    if (refused)
        return refused;
#endif
    struct start *start = coil__zalloc(sizeof *start);
    if (!start)
        return -ENOMEM;
    start->fn = fn;
    start->arg = arg;
    strncpy(start->name, name, sizeof start->name - 1);
    if (pinned_from) {
        start->unpinned = true;
        start->cpus = *pinned_from;
    }

    /* The new thread inherits the mask: block everything before, restore after. */
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t all, old;
    sigfillset(&all);
    /* What an instruction of its own brings about stays open: blocked, it would kill without a word. */
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    atomic_fetch_add(&running, 1);
    int err = pthread_create(&out->t, NULL, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (err) {
        atomic_fetch_sub(&running, 1);
        coil__free(start);
    }
    return -err;
}

void coil__thread_join(struct thread *t)
{
    COIL_CHECK(pthread_join(t->t, NULL) == 0);
}

void coil__thread_detach(struct thread *t)
{
    COIL_CHECK(pthread_detach(t->t) == 0);
}

void coil__thread_pause(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

uintptr_t coil__thread_self(void)
{
    static _Thread_local uintptr_t
        number; /* drawn at the first call; an address would come again */
    static atomic_uintptr_t drawn;
    if (coil_unlikely(number == 0))
        number = atomic_fetch_add(&drawn, 1) + 1;
    return number;
}

int coil__thread_cpus_get(struct thread_cpus *out)
{
    if (sched_getaffinity(0, sizeof out->set, &out->set) < 0)
        return -errno;
    return CPU_COUNT(&out->set) > 0 ? 0 : -EINVAL;
}

static int nth_cpu(const cpu_set_t *set, unsigned n)
{
    n %= (unsigned)CPU_COUNT(set);
    for (int cpu = 0;; cpu++)
        if (CPU_ISSET(cpu, set) && n-- == 0)
            return cpu;
}

int coil__thread_pin(const struct thread_cpus *cpus, unsigned n)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    if (cpus)
        CPU_SET(nth_cpu(&cpus->set, n), &one);
    else if (pinned_from)
        one = pinned_from->set;
    else
        return 0;
    if (sched_setaffinity(0, sizeof one, &one) < 0)
        return -errno;
    pinned_from = cpus;
    return 0;
}

unsigned coil__thread_cpus(void)
{
    struct thread_cpus cpus;
    if (pinned_from)
        return (unsigned)CPU_COUNT(&pinned_from->set);
    if (coil__thread_cpus_get(&cpus) == 0)
        return (unsigned)CPU_COUNT(&cpus.set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

unsigned coil__thread_count(void)
{
    return atomic_load(&running);
}

static _Atomic unsigned busy;

void coil__thread_busy_add(int n)
{
    atomic_fetch_add_explicit(&busy, (unsigned)n, memory_order_seq_cst);
}

unsigned coil__thread_busy(void)
{
    return atomic_load_explicit(&busy, memory_order_seq_cst);
}

unsigned coil__thread_in_process(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned n = 0;
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

int coil__thread_at_exit(struct thread_key *key, void (*fn)(void *arg), void *arg)
{
    static struct mutex making = MUTEX_INIT;
    if (atomic_load_explicit(&key->state, memory_order_acquire) == 0) {
        int err = 0;
        coil__mutex_lock(&making);
        if (atomic_load_explicit(&key->state, memory_order_relaxed) == 0) {
            err = pthread_key_create(&key->key, fn);
            if (err == 0)
                atomic_store_explicit(&key->state, 1, memory_order_release);
        }
        coil__mutex_unlock(&making);
        if (err)
            return -err;
    }
    /* NULL would mean that there is nothing to run. */
    return -pthread_setspecific(key->key, arg ? arg : key);
}

int coil__thread_at_fork(_Atomic int *asked, void (*child)(void))
{
    if (atomic_exchange_explicit(asked, 1, memory_order_acq_rel))
        return 0;
    int err = pthread_atfork(NULL, NULL, child);
    if (err)
        atomic_store_explicit(asked, 0, memory_order_release);
    return -err;
}

static unsigned forks; /* written where there is one thread only */

static void forked(void)
{
    forks++;
    atomic_store(&running, 0);
    atomic_store(&busy, 0);
}

int coil__thread_count_forks(void)
{
    static _Atomic int asked;
    return coil__thread_at_fork(&asked, forked);
}

unsigned coil__thread_forks(void)
{
    return forks;
}
