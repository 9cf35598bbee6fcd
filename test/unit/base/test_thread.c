/* SPDX-License-Identifier: MIT
 *
 * test_thread.c: start, join, lock, wait, and who am I. */
#include "base/thread.h"

#include "../loop/stage.h"
#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static struct {
    struct mutex lock;
    struct cond changed;
    int turn;
} shared = {.lock = MUTEX_INIT};

static void run_alone(void (*fn)(void *), void *arg)
{
    struct thread t;
    FACT_INT(coil__thread_start(&t, "test", fn, arg), 0);
    coil__thread_join(&t);
}

/* ---- what a thread is ---- */

struct birth {
    char name[16];
    sigset_t blocked;
    uintptr_t self;
    unsigned count;
};

static void look_around(void *arg)
{
    struct birth *b = arg;
    pthread_getname_np(pthread_self(), b->name, sizeof b->name);
    pthread_sigmask(SIG_SETMASK, NULL, &b->blocked);
    b->self = coil__thread_self();
    b->count = coil__thread_count();
}

PLAIN(thread_has_its_name_and_no_signals)
{
    struct birth b = {0};
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    struct thread t;
    FACT_INT(coil__thread_start(&t, "a name that is too long", look_around, &b), 0);
    coil__thread_join(&t);
    FACT_TEXT(b.name, "a name that is ");
    FACT(sigismember(&b.blocked, SIGINT) && sigismember(&b.blocked, SIGTERM));
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signo = 1; signo < NSIG; signo++)
        FACT_INT(sigismember(&after, signo), sigismember(&before, signo));
    FACT(b.self != 0 && b.self != coil__thread_self());
    FACT(coil__thread_self() == coil__thread_self());
}

PLAIN(thread_number_is_not_that_of_one_that_ended)
{
    struct birth first = {0}, second = {0};
    run_alone(look_around, &first);
    run_alone(look_around, &second); /* most likely in the same memory */
    FACT(first.self != second.self);
}

PLAIN(thread_count_counts_those_that_run)
{
    struct birth b = {0};
    unsigned before = coil__thread_count();
    run_alone(look_around, &b);
    FACT_INT(b.count, before + 1);
    FACT_INT(coil__thread_count(), before);
    FACT(coil__thread_in_process() >= 1);
    FACT(coil__thread_cpus() >= 1);
}

PLAIN(thread_busy_is_a_sum)
{
    unsigned before = coil__thread_busy();
    coil__thread_busy_add(3);
    coil__thread_busy_add(-1);
    FACT_INT(coil__thread_busy(), before + 2);
    coil__thread_busy_add(-2);
    FACT_INT(coil__thread_busy(), before);
}

PLAIN(thread_start_without_memory_says_so)
{
#if STAGE_TABLE
    struct thread t;
    struct birth b = {0};
    unsigned before = coil__thread_count();
    coil__mem_fail_at(1, 0);
    FACT_INT(coil__thread_start(&t, "test", look_around, &b), -ENOMEM);
    coil__mem_fail_at(0, 0);
    FACT_INT(coil__thread_count(), before);
#else
    skip();
#endif
}

/* ---- locks and conditions ---- */

static void ping(void *arg)
{
    const int *me = arg;
    for (int i = 0; i < 100; i++) {
        coil__mutex_lock(&shared.lock);
        while (shared.turn != *me)
            coil__cond_wait(&shared.changed, &shared.lock);
        shared.turn = !*me;
        coil__cond_broadcast(&shared.changed);
        coil__mutex_unlock(&shared.lock);
    }
}

PLAIN(cond_wakes_who_waits)
{
    static int first = 0, second = 1;
    struct thread a, b;
    coil__cond_init(&shared.changed);
    FACT_INT(coil__thread_start(&a, "a", ping, &first), 0);
    FACT_INT(coil__thread_start(&b, "b", ping, &second), 0);
    coil__thread_join(&a);
    coil__thread_join(&b);
    FACT_INT(shared.turn, 0);
    coil__cond_fini(&shared.changed);
}

PLAIN(cond_wait_until_ends_at_its_time_and_not_before)
{
    struct mutex m;
    struct cond c;
    coil__mutex_init(&m);
    coil__cond_init(&c);
    coil__mutex_lock(&m);
    int64_t deadline = coil__clock_real_ns() + 5 * NS_PER_MS;
    while (coil__cond_wait_until(&c, &m, deadline))
        ; /* a spurious wake-up says true */
    FACT(coil__clock_real_ns() >= deadline);
    FACT(!coil__cond_wait_until(&c, &m, 0));
    FACT(!coil__cond_wait_until(&c, &m, INT64_MIN));
    coil__mutex_unlock(&m);
    coil__cond_fini(&c);
    coil__mutex_fini(&m);
}

static void signal_it(void *arg)
{
    (void)arg;
    coil__mutex_lock(&shared.lock);
    shared.turn = 7;
    coil__cond_signal(&shared.changed);
    coil__mutex_unlock(&shared.lock);
}

PLAIN(cond_wait_until_forever_waits_for_the_signal)
{
    struct thread t;
    coil__cond_init(&shared.changed);
    coil__mutex_lock(&shared.lock);
    shared.turn = 0;
    FACT_INT(coil__thread_start(&t, "test", signal_it, NULL), 0);
    while (shared.turn != 7)
        FACT(coil__cond_wait_until(&shared.changed, &shared.lock, CLOCK_FOREVER));
    coil__mutex_unlock(&shared.lock);
    coil__thread_join(&t);
    coil__cond_fini(&shared.changed);
}

/* ---- the end of a thread ---- */

static struct thread_key first_key, second_key;

static void count_up(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void ask_for_last_words(void *arg)
{
    _Atomic int *counts = arg;
    /* A second wish with the same key replaces the first. */
    FACT_INT(coil__thread_at_exit(&first_key, count_up, &counts[0]), 0);
    FACT_INT(coil__thread_at_exit(&first_key, count_up, &counts[1]), 0);
    FACT_INT(coil__thread_at_exit(&second_key, count_up, &counts[2]), 0);
}

PLAIN(thread_at_exit_runs_once_a_key_when_the_thread_ends)
{
    _Atomic int counts[3] = {0};
    run_alone(ask_for_last_words, counts);
    FACT_INT(counts[0], 0);
    FACT_INT(counts[1], 1);
    FACT_INT(counts[2], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_has_its_name_and_no_signals),
        cmocka_unit_test(thread_number_is_not_that_of_one_that_ended),
        cmocka_unit_test(thread_count_counts_those_that_run),
        cmocka_unit_test(thread_busy_is_a_sum),
        cmocka_unit_test(thread_start_without_memory_says_so),
        cmocka_unit_test(cond_wakes_who_waits),
        cmocka_unit_test(cond_wait_until_ends_at_its_time_and_not_before),
        cmocka_unit_test(cond_wait_until_forever_waits_for_the_signal),
        cmocka_unit_test(thread_at_exit_runs_once_a_key_when_the_thread_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
