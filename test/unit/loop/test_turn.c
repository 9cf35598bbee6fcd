/* SPDX-License-Identifier: MIT
 *
 * test_turn.c: one turn of the loop: what runs in it, what waits for the next, when it sleeps. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/sys.h"
#include "io/op.h"

/* ---- batches ---- */

static void note_and_again(void *arg)
{
    note_arg(arg);
    soon(note_arg, "next");
}

LOOP(turn_runs_what_was_queued_when_it_began)
{
    soon(note_and_again, "a");
    soon(note_and_again, "b");
    one_turn();
    FACT_TRACE("a b");
    one_turn();
    FACT_TRACE("next next");
    one_turn();
    FACT_TRACE("");
}

static void stop_and_again(void *arg)
{
    note_arg(arg);
    coil_loop_stop(NULL);
    soon(note_arg, "next");
}

LOOP(turn_is_finished_after_stop)
{
    soon(stop_and_again, "a");
    soon(note_arg, "b");
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("a b");
    one_turn();
    FACT_TRACE("next");
}

LOOP(stop_before_a_run_makes_it_one_turn)
{
    soon(note_and_again, "a");
    coil_loop_stop(stage.loop);
    coil_loop_stop(stage.loop); /* twice is once */
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("a");
    coil_loop_stop(stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("next");
}

static int depth_left;

static void chain(void *arg)
{
    if (--depth_left > 0)
        soon(chain, arg);
    else
        coil_loop_stop(NULL);
}

REAL(turn_many_batches_follow_each_other)
{
    coil_loop_stats_t stats;
    depth_left = 10000;
    soon(chain, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_INT(depth_left, 0);
    coil_loop_stats(stage.loop, &stats);
    FACT_INT(stats.turns, 10000);
    FACT_INT(stats.callbacks, 10000);
}

/* ---- the clock and the kernel are looked at while work is ready ---- */

static int spins, spins_before;

static void spin(void *arg)
{
    spins++;
    soon(spin, arg);
}

static void stop_spinning(void *arg)
{
    if (arg)
        note_arg(arg);
    spins_before = spins;
    coil_loop_stop(NULL);
}

REAL(turn_busy_meets_a_timer)
{
    spins = 0;
    soon(spin, NULL);
    later(0.001, stop_spinning, "timer");
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("timer");
}

static void arm_now(void *arg)
{
    note("armed");
    spins = 0;
    later(0, stop_spinning, "due");
    later(-1, note_arg, "overdue");
}

REAL(turn_busy_meets_an_overdue_timer_in_the_next_turn)
{
    soon(spin, NULL);
    soon(arm_now, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    /* The next turn: those that stood in the queue before it, then the timers in order of deadline. */
    FACT_TRACE("armed overdue due");
    FACT_INT(spins_before, 1);
}

static void spin_until_readable(void *arg)
{
    char c;
    FACT_INT(read(*(int *)arg, &c, 1), 1);
    coil_loop_remove_reader(NULL, *(int *)arg);
    note("readable");
    stop_spinning(NULL);
}

REAL(turn_busy_meets_a_descriptor_within_61_turns)
{
    int fds[2];
    FACT_INT(pipe(fds), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], spin_until_readable, &fds[0]), 0);
    FACT_INT(write(fds[1], "x", 1), 1);
    spins = 0;
    soon(spin, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("readable");
    FACT(spins_before <= 62);
    close(fds[0]);
    close(fds[1]);
}

/* ---- order: I/O, the inbox, due timers ---- */

static void come_back_later(void *arg)
{
    (void)arg;
    soon(note_arg, "queued");
}

static void read_one(void *arg)
{
    char c;
    note("io");
    FACT_INT(read(*(int *)arg, &c, 1), 1);
}

REAL(turn_orders_queued_then_io_then_inbox_then_timers)
{
    int fds[2];
    FACT_INT(pipe(fds), 0);
    later(0, note_arg, "timer");
    FACT_INT(
        coil_loop_call_soon_threadsafe(stage.loop, note_arg, (void *)(uintptr_t) "inbox", NULL), 0);
    FACT_INT(coil_loop_add_reader(stage.loop, fds[0], read_one, &fds[0]), 0);
    FACT_INT(write(fds[1], "x", 1), 1);
    soon(note_arg, "first");
    soon(come_back_later, NULL);
    one_turn();
    FACT_TRACE("first io inbox timer");
    one_turn();
    FACT_TRACE("queued");
    coil_loop_remove_reader(stage.loop, fds[0]);
    close(fds[0]);
    close(fds[1]);
}

/* ---- raise ---- */

static void raise_it(void *arg)
{
    note_arg(arg);
    coil_fail(COIL_EUSER, "fatal %s", (const char *)arg);
    coil_loop_raise(NULL, COIL_EUSER);
}

LOOP(raise_ends_the_run_after_this_callback_and_keeps_the_rest)
{
    soon(note_arg, "a");
    soon(raise_it, "b");
    soon(note_arg, "c");
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
    FACT_TRACE("a b");
    FACT_ERROR(COIL_EUSER, "fatal b"); /* its words come through */
    FACT(!coil_loop_is_running(stage.loop));
    one_turn();
    FACT_TRACE("c");
}

LOOP(run_that_ends_well_leaves_the_last_error_alone)
{
    coil_fail(COIL_EUSER, "of before");
    one_turn();
    FACT_ERROR(COIL_EUSER, "of before");
}

LOOP(raise_first_one_counts_and_a_value_is_einval)
{
    coil_loop_raise(stage.loop, COIL_EUSER);
    coil_loop_raise(stage.loop, -EIO);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
    coil_loop_raise(stage.loop, 5);
    FACT_INT(coil_loop_run_forever(stage.loop), -EINVAL);
    one_turn();
}

REAL(raise_before_a_run_does_not_sleep)
{
    soon(note_arg, "a");
    coil_loop_raise(stage.loop, COIL_EUSER);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
    FACT_TRACE("");
    one_turn();
    FACT_TRACE("a");
    coil_loop_raise(stage.loop, COIL_EUSER); /* nothing ready at all */
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
}

/* ---- sleeping ---- */

#if STAGE_TABLE
static int waits, sleeps;
static bool early;

static int counted_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    waits++;
    sleeps += timeout_ns != 0;
    return coil__sys_real.epoll_pwait2(ep, ev, n, timeout_ns);
}
static int counted_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    waits++;
    sleeps += ms != 0;
    return coil__sys_real.epoll_wait(ep, ev, n, ms);
}
static int counted_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    waits++;
    sleeps += !t || t->tv_sec || t->tv_nsec;
    return coil__sys_real.ppoll(p, n, t, m);
}
/* What a sleeping call hands over, of <linux/io_uring.h>; the rest of it is nothing to us. */
struct enter_arg {
    uint64_t mask;
    uint32_t mask_n, pad;
    const int64_t *ts; /* seconds, nanoseconds; NULL: for ever */
};
static int counted_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                         size_t arg_n)
{
    waits++;
    sleeps += arg != NULL;
    return coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
}
static int no_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    (void)ep, (void)ev, (void)n, (void)timeout_ns;
    return -ENOSYS;
}

static void count_waits(void)
{
    waits = sleeps = 0;
    coil__sys.epoll_pwait2 = counted_pwait2;
    coil__sys.epoll_wait = counted_wait;
    coil__sys.ppoll = counted_ppoll;
    coil__sys.io_uring_enter = counted_enter;
}

static void stop_counting(void)
{
    coil__sys.epoll_pwait2 = coil__sys_real.epoll_pwait2;
    coil__sys.epoll_wait = coil__sys_real.epoll_wait;
    coil__sys.ppoll = coil__sys_real.ppoll;
    coil__sys.io_uring_enter = coil__sys_real.io_uring_enter;
}

static coil_ret five_sleeps(void *arg)
{
    static const double delays[] = {1e-2, 1e-4, 1e-6, 1e-8, 1e-10};
    (void)arg;
    for (int i = 0; i < 5; i++) {
        double before = now();
        FACT_INT(coil_sleep(delays[i]), 0);
        early |= now() < before + delays[i];
    }
    return 0;
}

static void run_five_sleeps(void)
{
    early = false;
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *task = coil_create_task_opts(five_sleeps, NULL, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, task), 0);
    coil_unref(task);
}

/* CPython's test allows 20 turns of the selector, and needs 12. */
REAL(sleep_neither_spins_nor_ends_early)
{
    count_waits();
    run_five_sleeps();
    stop_counting();
    FACT(waits > 0 && waits <= 20);
    FACT(!early);
}

REAL(sleep_in_milliseconds_neither_spins_nor_ends_early)
{
    count_waits();
    coil__sys.epoll_pwait2 = no_pwait2;
    run_five_sleeps();
    stop_counting();
    FACT(waits > 0 && waits <= 20);
    FACT(!early);
}

REAL(sleep_with_nothing_due_is_one_wait)
{
    later(0.02, stop_loop, stage.loop);
    count_waits();
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    stop_counting();
    FACT(sleeps >= 1 && sleeps <= 3); /* one, and a signal or two */
}

static int64_t asked_ns;

static int fake_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    if (timeout_ns != 0)
        coil_loop_stop(stage.loop);
    asked_ns = timeout_ns;
    return coil__sys_real.epoll_wait(ep, ev, n, 0);
}
static int fake_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    if (ms != 0)
        coil_loop_stop(stage.loop);
    asked_ns = ms < 0 ? -1 : ms * NS_PER_MS;
    return coil__sys_real.epoll_wait(ep, ev, n, 0);
}
static int fake_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    static const struct timespec none;
    asked_ns = t ? t->tv_sec * NS_PER_S + t->tv_nsec : -1;
    coil_loop_stop(stage.loop);
    return coil__sys_real.ppoll(p, n, &none, m);
}

static int fake_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                      size_t arg_n)
{
    const struct enter_arg *a = arg;
    if (arg) {
        coil_loop_stop(stage.loop);
        asked_ns = a->ts ? a->ts[0] * NS_PER_S + a->ts[1] : -1;
    }
    return coil__sys_real.io_uring_enter(fd, submit, 0, flags, arg, arg_n);
}

static void watch_one_wait(void)
{
    asked_ns = 0;
    coil__sys.epoll_pwait2 = fake_pwait2;
    coil__sys.epoll_wait = fake_wait;
    coil__sys.ppoll = fake_ppoll;
    coil__sys.io_uring_enter = fake_enter;
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    stop_counting();
}

REAL(sleep_lasts_a_day_at_most)
{
    coil_handle *h;
    FACT_INT(coil_loop_call_later(stage.loop, 1e9, note_arg, (void *)(uintptr_t) "far", &h), 0);
    watch_one_wait();
    FACT_INT(asked_ns, 24 * 3600 * NS_PER_S);
    coil_handle_cancel(h);
    coil_handle_unref(h);
    FACT_INT(coil_loop_call_later(stage.loop, COIL_FOREVER, note_arg, NULL, &h), 0);
    watch_one_wait();
    FACT_INT(asked_ns, 24 * 3600 * NS_PER_S);
    coil_handle_cancel(h);
    coil_handle_unref(h);
}

REAL(sleep_without_timers_has_no_end)
{
    watch_one_wait();
    FACT_INT(asked_ns, -1);
}

static int failing_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    (void)ep, (void)ev, (void)n, (void)timeout_ns;
    return -EBADF;
}
static int failing_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    (void)ep, (void)ev, (void)n, (void)ms;
    return -EBADF;
}
static int failing_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    (void)p, (void)n, (void)t, (void)m;
    return -EBADF;
}

static int failing_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                         size_t arg_n)
{
    (void)fd, (void)submit, (void)want, (void)flags, (void)arg, (void)arg_n;
    return -EBADF;
}

REAL(run_says_what_the_kernel_said)
{
    soon(note_arg, "a");
    coil__sys.epoll_pwait2 = failing_pwait2;
    coil__sys.epoll_wait = failing_wait;
    coil__sys.ppoll = failing_ppoll;
    coil__sys.io_uring_enter = failing_enter;
    FACT_INT(coil_loop_run_forever(stage.loop), -EBADF);
    FACT_INT(coil_loop_collect(stage.loop, 1), -EBADF);
    FACT_INT(coil_loop_iterate(stage.loop), -EBADF);
    stop_counting();
    FACT(!coil_loop_is_running(stage.loop));
    one_turn(); /* and can be run again */
    FACT_TRACE("a");
}

static int interrupted;

static int interrupted_pwait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    return interrupted++ < 3 ? -EINTR : coil__sys_real.epoll_pwait2(ep, ev, n, timeout_ns);
}
static int interrupted_enter(int fd, unsigned submit, unsigned want, unsigned flags,
                             const void *arg, size_t arg_n)
{
    return interrupted++ < 3 ? -EINTR
                             : coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
}
static int interrupted_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t,
                             const sigset_t *m)
{
    return interrupted++ < 3 ? -EINTR : coil__sys_real.ppoll(p, n, t, m);
}

REAL(sleep_goes_on_after_a_signal)
{
    double before = now();
    later(0.01, stop_loop, stage.loop);
    interrupted = 0;
    coil__sys.epoll_pwait2 = interrupted_pwait2;
    coil__sys.ppoll = interrupted_ppoll;
    coil__sys.io_uring_enter = interrupted_enter;
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    stop_counting();
    FACT(interrupted >= 4);
    FACT(now() - before >= 0.01);
}
#endif

/* ---- running ---- */

static void run_inside(void *arg)
{
    coil_loop *other = arg;
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_ERUNNING);
    FACT_ERROR(COIL_ERUNNING, "already running");
    FACT_INT(coil_loop_run_forever(other), COIL_ERUNNING);
    FACT_ERROR(COIL_ERUNNING, "another loop is running");
    FACT_INT(coil_loop_iterate(stage.loop), COIL_ERUNNING);
    FACT_INT(coil_loop_iterate(other), COIL_ERUNNING);
    FACT(coil_loop_is_running(stage.loop) && !coil_loop_is_running(other));
    FACT(coil_get_running_loop() == stage.loop);
    note("inside");
}

#if STAGE_TABLE
REAL(sleep_of_a_host_is_no_longer_than_it_may)
{
    coil_handle *h;
    FACT_INT(coil_loop_call_later(stage.loop, 3600, note_arg, NULL, &h), 0);
    asked_ns = 0;
    coil__sys.epoll_pwait2 = fake_pwait2;
    coil__sys.epoll_wait = fake_wait;
    coil__sys.ppoll = fake_ppoll;
    coil__sys.io_uring_enter = fake_enter;
    FACT_INT(coil_loop_collect(stage.loop, 0.25), 0);
    stop_counting();
    FACT_INT(asked_ns, NS_PER_S / 4);
    FACT_INT(coil_loop_dispatch(stage.loop), 0);
    coil_handle_cancel(h);
    coil_handle_unref(h);
}
#endif

LOOP(run_inside_a_run_is_refused_also_for_another_loop)
{
    coil_loop *other = stage_new_loop(true);
    soon(run_inside, other);
    one_turn();
    FACT_TRACE("inside");
    FACT(coil_get_running_loop() == NULL);
    coil_loop_stop(other);
    FACT_INT(coil_loop_run_forever(other), 0);
    coil_loop_free(other);
}

LOOP(run_of_a_closed_loop_is_refused)
{
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_ECLOSED);
    FACT_ERROR(COIL_ECLOSED, "Event loop is closed");
    FACT_INT(coil_loop_iterate(stage.loop), COIL_ECLOSED);
    FACT_INT(coil_loop_collect(stage.loop, 0), COIL_ECLOSED);
}

PLAIN(run_without_a_loop_is_refused)
{
    FACT_INT(coil_loop_run_forever(NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_iterate(NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_collect(NULL, 0), COIL_ENOLOOP);
    FACT_INT(coil_loop_dispatch(NULL), COIL_ENOLOOP);
    FACT_ERROR(COIL_ENOLOOP, "no running event loop");
}

static coil_ret wake_the_other_and_pause(void *arg)
{
    for (int i = 0; i < 3; i++) {
        soon(note_arg, arg);
        FACT_INT(coil_sleep(0), 0);
    }
    return 0;
}

/* A host dispatches one turn, and no batch that follows, also where tasks hand over to each other. */
LOOP(turn_of_a_host_is_one_turn_for_tasks_too)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *a = coil_create_task_opts(wake_the_other_and_pause, TEXT("a"), &opts);
    coil_task *b = coil_create_task_opts(wake_the_other_and_pause, TEXT("b"), &opts);
    FACT_INT(coil_loop_iterate(stage.loop), 2);
    FACT_TRACE("");
    FACT_INT(coil_loop_iterate(stage.loop), 4);
    FACT_TRACE("a b");
    while (coil_loop_iterate(stage.loop) > 0)
        continue;
    FACT_TRACE("a b a b");
    FACT_INT(coil_future_result(a), 0);
    coil_unref(a);
    coil_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turn_runs_what_was_queued_when_it_began),
        cmocka_unit_test(turn_is_finished_after_stop),
        cmocka_unit_test(stop_before_a_run_makes_it_one_turn),
        cmocka_unit_test(turn_many_batches_follow_each_other),
        cmocka_unit_test(turn_busy_meets_a_timer),
        cmocka_unit_test(turn_busy_meets_an_overdue_timer_in_the_next_turn),
        cmocka_unit_test(turn_busy_meets_a_descriptor_within_61_turns),
        cmocka_unit_test(turn_orders_queued_then_io_then_inbox_then_timers),
        cmocka_unit_test(raise_ends_the_run_after_this_callback_and_keeps_the_rest),
        cmocka_unit_test(run_that_ends_well_leaves_the_last_error_alone),
        cmocka_unit_test(raise_first_one_counts_and_a_value_is_einval),
        cmocka_unit_test(raise_before_a_run_does_not_sleep),
#if STAGE_TABLE
        cmocka_unit_test(sleep_neither_spins_nor_ends_early),
        cmocka_unit_test(sleep_in_milliseconds_neither_spins_nor_ends_early),
        cmocka_unit_test(sleep_with_nothing_due_is_one_wait),
        cmocka_unit_test(sleep_lasts_a_day_at_most),
        cmocka_unit_test(sleep_without_timers_has_no_end),
        cmocka_unit_test(run_says_what_the_kernel_said),
        cmocka_unit_test(sleep_goes_on_after_a_signal),
        cmocka_unit_test(sleep_of_a_host_is_no_longer_than_it_may),
#endif
        cmocka_unit_test(run_inside_a_run_is_refused_also_for_another_loop),
        cmocka_unit_test(run_of_a_closed_loop_is_refused),
        cmocka_unit_test(run_without_a_loop_is_refused),
        cmocka_unit_test(turn_of_a_host_is_one_turn_for_tasks_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
