/* SPDX-License-Identifier: MIT
 *
 * thread.c: what base/thread.h promises, for threads of the interleaving checker.
 *
 * A mutex keeps its owner's number where a real one keeps pthread's; a condition, how many wait and how many were
 * woken. Both fit into the real types, so that everything compiled with base/thread.h can stay as it is. */
#include "base/thread.h"

#include "loom.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct lock {
    unsigned owner; /* its number + 1; 0: free */
};
_Static_assert(sizeof(struct lock) <= sizeof(struct mutex), "a lock fits into a mutex");

enum { WAITERS = 8 };
struct waiting {
    uint8_t waits[WAITERS]; /* of each thread: 1 it waits, 2 it was woken */
};
_Static_assert(sizeof(struct waiting) <= sizeof(struct cond), "who waits fits into a condition");

static struct lock *lock_of(struct mutex *m)
{
    return (struct lock *)(void *)m;
}

static struct waiting *waiting_of(struct cond *c)
{
    return (struct waiting *)(void *)c;
}

void coil__mutex_init(struct mutex *m)
{
    memset(m, 0, sizeof *m);
}

void coil__mutex_fini(struct mutex *m)
{
    loom_check(lock_of(m)->owner == 0);
}

static bool is_free(void *lock)
{
    return ((struct lock *)lock)->owner == 0;
}

void coil__mutex_lock(struct mutex *m)
{
    loom_check(lock_of(m)->owner != loom_self() + 1);
    loom_wait("a lock", is_free, lock_of(m));
    lock_of(m)->owner = loom_self() + 1;
}

void coil__mutex_unlock(struct mutex *m)
{
    loom_check(lock_of(m)->owner == loom_self() + 1);
    lock_of(m)->owner = 0;
    loom_step("a lock given back");
}

void coil__cond_init(struct cond *c)
{
    memset(c, 0, sizeof *c);
}

void coil__cond_fini(struct cond *c)
{
    for (unsigned i = 0; i < WAITERS; i++)
        loom_check(waiting_of(c)->waits[i] == 0);
}

static bool was_woken(void *mine)
{
    return *(uint8_t *)mine == 2;
}

/* With `may_pass` its deadline may come first: a choice, for time is not modelled. */
static bool wait_on(struct cond *c, struct mutex *m, bool may_pass)
{
    uint8_t *mine = &waiting_of(c)->waits[loom_self()];
    bool passed = may_pass && loom_choose("a deadline", 2) == 1;
    lock_of(m)->owner = 0;
    if (passed) {
        loom_step("a deadline passed");
    } else {
        *mine = 1;
        loom_wait("a condition", was_woken, mine);
        *mine = 0;
    }
    coil__mutex_lock(m);
    return !passed;
}

void coil__cond_wait(struct cond *c, struct mutex *m)
{
    (void)wait_on(c, m, false);
}

bool coil__cond_wait_until(struct cond *c, struct mutex *m, int64_t deadline_ns)
{
    return wait_on(c, m, deadline_ns != INT64_MAX);
}

void coil__cond_signal(struct cond *c)
{
    uint8_t *waits = waiting_of(c)->waits, *list[WAITERS];
    unsigned n = 0;
    for (unsigned i = 0; i < WAITERS; i++)
        if (waits[i] == 1)
            list[n++] = &waits[i];
    if (n > 0)
        *list[loom_choose("whom a signal wakes", n)] = 2;
}

void coil__cond_broadcast(struct cond *c)
{
    for (unsigned i = 0; i < WAITERS; i++)
        if (waiting_of(c)->waits[i] == 1)
            waiting_of(c)->waits[i] = 2;
}

/* The handle is the number; a pthread_t has room for it. */
int coil__thread_start(struct thread *out, const char *name, void (*fn)(void *arg), void *arg)
{
    (void)name;
    out->t = (pthread_t)loom_thread("worker", fn, arg);
    return 0;
}

void coil__thread_join(struct thread *t)
{
    loom_join((unsigned)t->t);
}

void coil__thread_detach(struct thread *t)
{
    (void)t;
}

void coil__thread_pause(void)
{
    loom_pause();
}

uintptr_t coil__thread_self(void)
{
    return loom_self() + 1;
}

unsigned coil__thread_cpus(void)
{
    return 2;
}

unsigned coil__thread_count(void)
{
    return 0;
}

static _Atomic unsigned busy;

void coil__thread_busy_add(int n)
{
    atomic_fetch_add(&busy, (unsigned)n);
}

unsigned coil__thread_busy(void)
{
    return busy;
}

unsigned coil__thread_in_process(void)
{
    return 1;
}

int coil__thread_at_exit(struct thread_key *key, void (*fn)(void *arg), void *arg)
{
    (void)key, (void)fn, (void)arg;
    return 0;
}

int coil__thread_at_fork(_Atomic int *asked, void (*child)(void))
{
    (void)asked, (void)child;
    return 0;
}

int coil__thread_count_forks(void)
{
    return 0;
}

unsigned coil__thread_forks(void)
{
    return 0;
}
