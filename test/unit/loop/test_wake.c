/* SPDX-License-Identifier: MIT
 *
 * test_wake.c: calls from other threads and from signal handlers: nothing lost, order kept, a sleeping
 * loop woken, a cancelled one never started. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/thread.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { THREADS = 4, CALLS = 2000 };

static struct thread start_thread(void (*fn)(void *), void *arg)
{
    struct thread t;
    assert_int_equal(coil__thread_start(&t, "test", fn, arg), 0);
    return t;
}

/* ---- waking ---- */

static void post_stop(void *arg)
{
    FACT_INT(coil_loop_call_soon_threadsafe(arg, stop_loop, arg, NULL), 0);
}

REAL(loop_asleep_is_woken_by_another_thread)
{
    struct thread t = start_thread(post_stop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0); /* hangs if the ring is lost */
    coil__thread_join(&t);
}

LOOP(loop_in_virtual_time_is_woken_by_another_thread)
{
    struct thread t = start_thread(post_stop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil__thread_join(&t);
}

LOOP(post_before_the_run_is_kept)
{
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("a"), NULL), 0);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("b"), NULL), 0);
    one_turn();
    FACT_TRACE("a b");
}

/* ---- nothing lost, order kept ---- */

static struct poster {
    struct thread thread;
    int number, next;
    _Atomic int posted;
} posters[THREADS];

struct call {
    struct poster *poster;
    int number;
};

static int arrived;

static void arrive(void *arg)
{
    struct call *call = arg;
    FACT_INT(call->number, call->poster->next);
    call->poster->next++;
    if (++arrived == THREADS * CALLS)
        coil_loop_stop(NULL);
    free(call);
}

static void post_many(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < CALLS; i++) {
        struct call *call = malloc(sizeof *call);
        *call = (struct call){p, i};
        if (i % 3) {
            if (coil_loop_call_soon_threadsafe(stage.loop, arrive, call, NULL) == 0)
                p->posted++;
        } else {
            coil_handle *h;
            if (coil_loop_call_soon_threadsafe(stage.loop, arrive, call, &h) == 0) {
                p->posted++;
                coil_handle_unref(h);
            }
        }
    }
}

static void start_posters(void)
{
    arrived = 0;
    for (int i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){.number = i};
        posters[i].thread = start_thread(post_many, &posters[i]);
    }
}

static void join_posters(void)
{
    for (int i = 0; i < THREADS; i++) {
        coil__thread_join(&posters[i].thread);
        FACT_INT(posters[i].posted, CALLS);
    }
}

REAL(posts_of_many_threads_all_arrive_in_each_threads_order)
{
    start_posters();
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    join_posters();
    FACT_INT(arrived, THREADS * CALLS);
}

static _Atomic bool enough;
static _Atomic int refused;

static void nothing(void *arg)
{
    (void)arg;
}

static void post_until_enough(void *arg)
{
    (void)arg;
    while (!enough) {
        coil_handle *h = NULL;
        int bare = coil_loop_call_soon_threadsafe(stage.loop, nothing, NULL, NULL);
        int rc = coil_loop_call_soon_threadsafe(stage.loop, nothing, NULL, &h);
        if (rc == 0)
            coil_handle_unref(h);
        if ((bare && bare != COIL_ECLOSED) || (rc && rc != COIL_ECLOSED))
            refused = -1000;
        if (rc)
            refused++;
        usleep(20); /* slower than the loop, whose turns would grow without end otherwise */
    }
}

REAL(posts_while_the_loop_closes_are_taken_or_refused)
{
    struct thread all[THREADS];
    enough = false;
    refused = 0;
    for (int i = 0; i < THREADS; i++)
        all[i] = start_thread(post_until_enough, NULL);
    for (int i = 0; i < 20; i++)
        one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    while (refused == 0)
        ;
    enough = true;
    for (int i = 0; i < THREADS; i++)
        coil__thread_join(&all[i]);
    FACT(refused > 0);
}

/* ---- handles ---- */

static coil_handle *post_handle(coil_callback_fn fn, const void *arg)
{
    coil_handle *h = NULL;
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, fn, (void *)(uintptr_t)arg, &h), 0);
    return h;
}

LOOP(shared_handle_cancelled_before_it_arrived)
{
    coil_handle *h = post_handle(note_arg, "a"), *b = post_handle(note_arg, "b");
    coil_handle_cancel(h);
    FACT(coil_handle_cancelled(h) && !coil_handle_cancelled(b));
    one_turn();
    FACT_TRACE("b");
    coil_handle_cancel(b);
    FACT(!coil_handle_cancelled(b));
    coil_handle_unref(h);
    coil_handle_unref(b);
}

static coil_handle *victim;

static void cancel_victim(void *arg)
{
    note_arg(arg);
    coil_handle_cancel(victim);
}

LOOP(shared_handle_cancelled_in_the_queue_and_from_inside_itself)
{
    soon(cancel_victim, "first");
    victim = post_handle(note_arg, "never");
    one_turn();
    FACT_TRACE("first");
    FACT(coil_handle_cancelled(victim));
    coil_handle_unref(victim);
    victim = post_handle(cancel_victim, "self"); /* must not wait for itself */
    one_turn();
    FACT_TRACE("self");
    FACT(!coil_handle_cancelled(victim));
    coil_handle_unref(victim);
}

LOOP(shared_handle_outlives_the_close_and_is_cancelled_by_it)
{
    coil_handle *posted = post_handle(note_arg, "a");
    one_turn();
    coil_handle *late = post_handle(note_arg, "b"), *queued;
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT(coil_loop_dispatch(stage.loop) > 0);
    queued = post_handle(note_arg, "c");
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("a b");
    FACT(coil_handle_cancelled(queued) && !coil_handle_cancelled(late));
    coil_handle_cancel(queued);
    coil_handle_unref(posted);
    coil_handle_unref(late);
    coil_handle_unref(queued);
}

static const coil_contextvar color = COIL_CONTEXTVAR("color", NULL);

static void note_color(void *arg)
{
    note("%s%s", (const char *)arg, (const char *)coil_contextvar_get(&color));
}

LOOP(shared_handle_gives_its_context_and_takes_it_along)
{
    coil_contextvar_token token;
    void *value;
    FACT_INT(coil_contextvar_set(&color, TEXT("red"), &token), 0);
    coil_handle *a = post_handle(note_color, "a"), *b = post_handle(note_color, "b");
    coil_handle *c = post_handle(note_color, "c");
    FACT_INT(coil_contextvar_reset(&token), 0);
    FACT(coil_context_get(coil_handle_get_context(a), &color, &value));
    FACT_TEXT(value, "red");
    FACT(coil_handle_get_context(a) == coil_handle_get_context(a));
    FACT(coil_handle_get_context(b) != NULL);
    FACT(coil_handle_get_context(c) != NULL);
    coil_handle_cancel(b); /* before it arrived: what was asked for goes with it */
    FACT(coil_handle_get_context(b) == NULL);
    one_turn();
    FACT_TRACE("ared cred");
    FACT(coil_handle_get_context(a) == NULL);
    coil_handle *d = post_handle(note_color, "d");
    FACT(coil_handle_get_context(d) != NULL);
    FACT_INT(coil_loop_close(stage.loop), 0);
    coil_handle_unref(a);
    coil_handle_unref(b);
    coil_handle_unref(c);
    coil_handle_unref(d);
}

static void raise_it(void *arg)
{
    coil_loop_raise(arg, -EIO);
}

LOOP(shared_handle_in_the_queue_is_dropped_by_close)
{
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, raise_it, stage.loop, NULL), 0);
    coil_handle *h = post_handle(note_arg, "never");
    FACT_INT(coil_loop_run_forever(stage.loop), -EIO); /* it has arrived, and has not run */
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT(coil_handle_cancelled(h));
    coil_handle_unref(h);
}

static _Atomic int running, over;

static void take_a_while(void *arg)
{
    (void)arg;
    running = 1;
    for (int i = 0; i < 20; i++)
        usleep(1000);
    over = 1;
}

static void cancel_elsewhere(void *arg)
{
    while (!running)
        usleep(100);
    coil_handle_cancel(arg);
    FACT_INT(over, 1); /* cancel waited until it was over */
    FACT(!coil_handle_cancelled(arg));
}

REAL(shared_handle_cancel_waits_while_the_callback_runs)
{
    running = over = 0;
    coil_handle *h = post_handle(take_a_while, NULL);
    struct thread t = start_thread(cancel_elsewhere, h);
    one_turn();
    coil__thread_join(&t);
    coil_handle_unref(h);
}

static _Atomic int ran;

static void use_it(void *arg)
{
    FACT_INT(*(_Atomic int *)arg, 1); /* what it needs is still there */
    ran++;
}

static void post_and_cancel(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        _Atomic int needed = 1;
        coil_handle *h;
        if (coil_loop_call_soon_threadsafe(stage.loop, use_it, &needed, &h) < 0)
            continue;
        coil_handle_cancel(h); /* after this it neither runs nor will */
        needed = 0;
        coil_handle_unref(h);
    }
    coil_loop_call_soon_threadsafe(stage.loop, stop_loop, stage.loop, NULL);
}

REAL(shared_handle_cancelled_never_starts_after)
{
    struct thread t = start_thread(post_and_cancel, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    coil__thread_join(&t);
}

/* A thread may cancel before the loop ever ran, while it starts to. */
REAL(shared_handle_cancelled_while_the_loop_starts)
{
    for (int i = 0; i < 20; i++) {
        struct thread t = start_thread(post_and_cancel, NULL);
        one_turn();
        one_turn();
        coil__thread_join(&t);
    }
    one_turn();
}

/* ---- signals ---- */

static coil_loop *to_wake;
static volatile sig_atomic_t signals;

static void on_signal(int signo)
{
    (void)signo;
    signals++;
    coil_loop_wakeup(to_wake);
}

static bool wakes_or_stops(void)
{
    return signals > 0;
}

static void check(void *arg)
{
    if (wakes_or_stops())
        coil_loop_stop(NULL);
    else
        soon(check, arg);
}

REAL(wakeup_from_a_signal_handler_ends_the_sleep)
{
    struct sigaction old, act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval soon_after = {.it_value = {.tv_usec = 5000}}, none = {0};
    to_wake = stage.loop;
    signals = 0;
    sigaction(SIGALRM, &act, &old);
    double before = now();
    setitimer(ITIMER_REAL, &soon_after, NULL);
    /* One sleep, which would last a minute. */
    int rc = 0;
    while (rc == 0 && !wakes_or_stops() && now() - before < 30)
        rc = coil_loop_collect(stage.loop, 60) || coil_loop_dispatch(stage.loop) < 0;
    FACT_INT(rc, 0);
    FACT(now() - before < 30);
    FACT_INT(signals, 1);
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, &old, NULL);
    soon(check, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
}

REAL(wakeup_before_the_sleep_counts_for_the_next_one)
{
    double before = now();
    coil_loop_wakeup(stage.loop);
    FACT_INT(coil_loop_collect(stage.loop, 30), 0);
    FACT(coil_loop_dispatch(stage.loop) >= 0);
    FACT(now() - before < 20);
}

LOOP(wakeup_of_a_closed_loop_is_nothing)
{
    FACT_INT(coil_loop_close(stage.loop), 0);
    coil_loop_wakeup(stage.loop);
    coil_loop_wakeup(NULL);
}

/* ---- debug: a call from the wrong thread ---- */

static int said[4];
static coil_future *theirs;
static coil_handle *their_handle;

static void call_from_elsewhere(void *arg)
{
    (void)arg;
    FACT_INT(coil_future_set_result(theirs, 1), COIL_EWRONGTHREAD);
    FACT_INT(coil_future_set_exception(theirs, -EIO), COIL_EWRONGTHREAD);
    FACT(!coil_future_cancel(theirs, NULL));
    FACT_ERROR(COIL_EWRONGTHREAD, "call_soon_threadsafe");
    FACT_INT(coil_future_add_done_callback(theirs, NULL, NULL), COIL_EWRONGTHREAD);
    coil_handle_cancel(their_handle);
    FACT(!coil_handle_cancelled(their_handle));
    said[0] = coil_loop_call_soon(stage.loop, nothing, NULL, NULL);
    said[1] = coil_loop_call_later(stage.loop, 1, nothing, NULL, NULL);
    said[2] = coil_last_error() ? (int)coil_last_error()->code : 0;
    said[3] = coil_get_running_loop() != NULL;
}

static void call_and_wait(void *arg)
{
    (void)arg;
    struct thread t = start_thread(call_from_elsewhere, NULL);
    coil__thread_join(&t);
}

LOOP(call_from_the_wrong_thread_is_refused_in_debug_mode)
{
    coil_loop_set_debug(stage.loop, true);
    coil_loop_set_slow_callback_duration(stage.loop, 60);
    theirs = coil_loop_create_future(stage.loop);
    FACT_INT(coil_loop_call_later(stage.loop, 100, nothing, NULL, &their_handle), 0);
    soon(call_and_wait, NULL);
    one_turn();
    FACT(!coil_future_done(theirs));
    FACT_INT(coil_future_set_result(theirs, 1), 0); /* from here it is fine */
    coil_unref(theirs);
    coil_handle_cancel(their_handle);
    coil_handle_unref(their_handle);
    FACT_INT(said[0], COIL_EWRONGTHREAD);
    FACT_INT(said[1], COIL_EWRONGTHREAD);
    FACT_INT(said[2], COIL_EWRONGTHREAD);
    FACT_INT(said[3], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loop_asleep_is_woken_by_another_thread),
        cmocka_unit_test(loop_in_virtual_time_is_woken_by_another_thread),
        cmocka_unit_test(post_before_the_run_is_kept),
        cmocka_unit_test(posts_of_many_threads_all_arrive_in_each_threads_order),
        cmocka_unit_test(posts_while_the_loop_closes_are_taken_or_refused),
        cmocka_unit_test(shared_handle_cancelled_before_it_arrived),
        cmocka_unit_test(shared_handle_cancelled_in_the_queue_and_from_inside_itself),
        cmocka_unit_test(shared_handle_outlives_the_close_and_is_cancelled_by_it),
        cmocka_unit_test(shared_handle_gives_its_context_and_takes_it_along),
        cmocka_unit_test(shared_handle_in_the_queue_is_dropped_by_close),
        cmocka_unit_test(shared_handle_cancel_waits_while_the_callback_runs),
        cmocka_unit_test(shared_handle_cancelled_never_starts_after),
        cmocka_unit_test(shared_handle_cancelled_while_the_loop_starts),
        cmocka_unit_test(wakeup_from_a_signal_handler_ends_the_sleep),
        cmocka_unit_test(wakeup_before_the_sleep_counts_for_the_next_one),
        cmocka_unit_test(wakeup_of_a_closed_loop_is_nothing),
        cmocka_unit_test(call_from_the_wrong_thread_is_refused_in_debug_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
