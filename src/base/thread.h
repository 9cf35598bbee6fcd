/* SPDX-License-Identifier: MIT
 *
 * thread.h: the door to threads: start, join, lock, wait, and who am I.
 *
 * Thin over pthreads, so that the rest of the library names no pthread call and a test can look at
 * this seam alone. */
#ifndef COIL_BASE_THREAD_H
#define COIL_BASE_THREAD_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
    pthread_mutex_t m;
};
struct cond {
    pthread_cond_t c; /* on CLOCK_MONOTONIC */
};
struct thread {
    pthread_t t;
};

#define MUTEX_INIT                \
    {                             \
        PTHREAD_MUTEX_INITIALIZER \
    }

void coil__mutex_init(struct mutex *m);
void coil__mutex_fini(struct mutex *m);
void coil__mutex_lock(struct mutex *m);
void coil__mutex_unlock(struct mutex *m);

void coil__cond_init(struct cond *c);
void coil__cond_fini(struct cond *c);
void coil__cond_wait(struct cond *c, struct mutex *m);
/* Waits until `deadline_ns` of the monotonic clock; false when that time came first. */
bool coil__cond_wait_until(struct cond *c, struct mutex *m, int64_t deadline_ns);
void coil__cond_signal(struct cond *c);
void coil__cond_broadcast(struct cond *c);

/* Starts a thread with all signals blocked (they belong to the program's own threads) and this name.
 * Returns 0 or -errno (-EAGAIN: no thread to be had). */
int coil__thread_start(struct thread *out, const char *name, void (*fn)(void *arg), void *arg);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
extern int (*coil__thread_hook)(void); /* tests: 0, or why no thread is to be had */
#endif
void coil__thread_join(struct thread *t);
void coil__thread_detach(struct thread *t);

/* Let others run for a moment, whatever their priority. */
void coil__thread_pause(void);

/* For who looks at memory again and again until another processor has changed it. */
static inline void thread_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb"); /* `yield` takes no time on most of them */
#endif
}

/* A number that tells this thread from every other one, also from those that have ended; cheap. */
uintptr_t coil__thread_self(void);

/* Processors this process may run on. */
unsigned coil__thread_cpus(void);

/* The same by their numbers, as this thread has them. */
struct thread_cpus {
    cpu_set_t set;
};
int coil__thread_cpus_get(struct thread_cpus *out); /* 0 or -errno */
/* This thread runs on the n-th of them alone (in turns), or with NULL where it did before. What it starts afterwards runs on
 * all of them: only threads that were asked for are bound. `cpus` must stay until then. 0 or -errno. */
int coil__thread_pin(const struct thread_cpus *cpus, unsigned n);

/* How many threads coil itself has running in this process. */
unsigned coil__thread_count(void);

/* Jobs queued or running on coil's threads, for any loop or none; the job queue counts them in and out. While there is one,
 * somebody may yet call in from another thread. */
void coil__thread_busy_add(int n);
unsigned coil__thread_busy(void);

/* Threads of this process, whoever made them; 0 if the system does not say. Slow: reads a directory. */
unsigned coil__thread_in_process(void);

/* Runs fn(arg) when the calling thread ends; for what a thread keeps to itself. `key` is a zeroed
 * static of the caller, one for each use, and always comes with the same fn; a later arg replaces the
 * earlier, and for NULL fn gets the key. Allocates nothing. Returns 0 or -errno (no keys left). */
struct thread_key {
    _Atomic int state;
    pthread_key_t key;
};
int coil__thread_at_exit(struct thread_key *key, void (*fn)(void *arg), void *arg);

/* How often this process became the child of a fork since somebody first asked for that to be counted (0 or -errno):
 * threads, and locks that they held, of an earlier count stayed with a parent. The counts above begin anew then. */
int coil__thread_count_forks(void);
unsigned coil__thread_forks(void);

/* Runs child() in the child of every fork from now on, on the one thread it has. `asked` is a zeroed
 * static of the caller; asking again does nothing. Returns 0 or -errno. */
int coil__thread_at_fork(_Atomic int *asked, void (*child)(void));

#endif
