/* SPDX-License-Identifier: MIT
 *
 * test_embed.c: coil inside somebody else's loop: a host that polls coil_loop_fd, the two halves of a
 * turn, and who may call in meanwhile. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/thread.h"

#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* ---- a host ---- */

static bool done;
static atomic_int sleeps; /* that the host began; other threads look at it */

static void set_done(void *arg)
{
    (void)arg;
    done = true;
}

/* A foreign loop as the header describes it: coil's descriptor, coil's timeout, a turn. It knows
 * nothing else of coil, and sleeps as long as it is told. Returns how often it slept. */
static int host(int fd, int limit)
{
    int polls = 0;
    done = false;
    while (!done && polls < limit && !stage.broken) {
        double timeout = coil_loop_timeout(stage.loop);
        if (timeout > 0) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            int ms = isinf(timeout) ? 20000 : (int)ceil(timeout * 1e3);
            atomic_fetch_add(&sleeps, 1);
            int n = poll(&p, 1, ms);
            polls++;
            if (!FACT(n > 0 || !isinf(timeout))) /* nobody woke us for what we were promised */
                break;
        }
        FACT(coil_loop_iterate(stage.loop) >= 0);
    }
    return polls;
}

static int host_fd(void)
{
    int fd = coil_loop_fd(stage.loop);
    if (fd == -ENOTSUP) {
        print_message("the %s backend has no descriptor to poll\n", coil_loop_backend(stage.loop));
        coil_loop_free(stage.loop);
        stage.loop = NULL;
        skip();
    }
    FACT(fd >= 0);
    return fd;
}

REAL(embedded_timers_are_in_time_and_the_host_does_not_spin)
{
    int fd = host_fd();
    double before = now();
    later(0.01, note_arg, "a");
    later(0.02, set_done, NULL);
    int polls = host(fd, 100);
    FACT_TRACE("a");
    FACT(now() - before >= 0.02);
    FACT(polls <= 6);
}

static void post_done(void *arg)
{
    /* However long this thread took to start: the host is about to sleep, and most likely sleeps. */
    while (!atomic_load(&sleeps))
        usleep(100);
    usleep(1000);
    FACT_INT(coil_loop_call_soon_threadsafe(arg, set_done, NULL, NULL), 0);
}

REAL(embedded_post_from_a_thread_wakes_the_host)
{
    struct thread t;
    int fd = host_fd();
    for (int i = 0; i < 3; i++) {
        atomic_store(&sleeps, 0);
        FACT_INT(coil__thread_start(&t, "test", post_done, stage.loop), 0);
        FACT(host(fd, 100) >= 1);
        coil__thread_join(&t);
    }
}

REAL(embedded_post_before_the_first_turn_is_seen)
{
    int fd = host_fd();
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, set_done, NULL, NULL), 0);
    host(fd, 10);
    FACT(done);
}

static int pair[2];

static void open_pair(void)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(void)
{
    close(pair[0]);
    close(pair[1]);
}

static void read_one(void *arg)
{
    char c;
    note("read");
    FACT_INT(read(pair[0], &c, 1), 1);
    set_done(arg);
}

static void write_one(void *arg)
{
    (void)arg;
    usleep(5000);
    FACT_INT(write(pair[1], "x", 1), 1);
}

static void add_reader(void *arg)
{
    (void)arg;
    FACT_INT(coil_loop_add_reader(NULL, pair[0], read_one, NULL), 0);
}

REAL(embedded_reader_added_by_the_host_wakes_it)
{
    struct thread t;
    int fd = host_fd();
    open_pair();
    FACT_INT(coil_loop_add_reader(stage.loop, pair[0], read_one, NULL), 0);
    FACT_INT(coil__thread_start(&t, "test", write_one, NULL), 0);
    host(fd, 100);
    coil__thread_join(&t);
    FACT_TRACE("read");
    coil_loop_remove_reader(stage.loop, pair[0]);
    close_pair();
}

REAL(embedded_reader_added_by_a_callback_wakes_the_host)
{
    struct thread t;
    int fd = host_fd();
    open_pair();
    soon(add_reader, NULL);
    FACT_INT(coil__thread_start(&t, "test", write_one, NULL), 0);
    host(fd, 100);
    coil__thread_join(&t);
    FACT_TRACE("read");
    coil_loop_remove_reader(stage.loop, pair[0]);
    close_pair();
}

static coil_ret wait_and_read(void *arg)
{
    char c;
    (void)arg;
    for (int i = 0; i < 3; i++) {
        FACT_INT(coil_wait_fd(pair[0], COIL_READ), COIL_READ);
        FACT_INT(read(pair[0], &c, 1), 1);
        note("%c", c);
        FACT_INT(coil_sleep(0.002), 0);
    }
    set_done(NULL);
    return 0;
}

static void write_three(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        usleep(3000);
        FACT_INT(write(pair[1], &"abc"[i], 1), 1);
    }
}

REAL(embedded_tasks_wait_for_descriptors_and_time)
{
    struct thread t;
    int fd = host_fd();
    open_pair();
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *task = coil_create_task_opts(wait_and_read, NULL, &opts);
    FACT_INT(coil__thread_start(&t, "test", write_three, NULL), 0);
    int polls = host(fd, 100);
    coil__thread_join(&t);
    FACT_TRACE("a b c");
    FACT(polls <= 30);
    FACT_INT(coil_future_result(task), 0);
    coil_unref(task);
    close_pair();
}

/* Without a descriptor a host asks how long it may sleep, and iterates often. */
LOOP(embedded_without_a_descriptor_works_by_iterating)
{
    later(5, note_arg, "timer");
    soon(note_arg, "soon");
    for (int i = 0; i < 100 && coil_loop_timeout(stage.loop) == 0; i++)
        FACT(coil_loop_iterate(stage.loop) >= 0);
    FACT_TRACE("soon timer");
    FACT(isinf(coil_loop_timeout(stage.loop)));
}

/* ---- how long the host may sleep ---- */

LOOP(timeout_says_what_is_to_be_done)
{
    FACT(isinf(coil_loop_timeout(stage.loop)));
    soon(note_arg, "a");
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT(coil_loop_iterate(stage.loop) == 1);
    FACT(isinf(coil_loop_timeout(stage.loop)));
    coil_loop_stop(stage.loop);
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT(coil_loop_iterate(stage.loop) == 0);
    coil_loop_raise(stage.loop, -EIO);
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT_INT(coil_loop_iterate(stage.loop), -EIO);
    FACT(isinf(coil_loop_timeout(stage.loop)));
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("b"), NULL), 0);
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT(coil_loop_iterate(stage.loop) == 1);
    FACT_TRACE("a b");
}

LOOP(timeout_of_an_embedded_loop_that_was_closed_lets_the_host_find_out)
{
    (void)coil_loop_fd(stage.loop);
    FACT(isinf(coil_loop_timeout(stage.loop)));
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT_INT(coil_loop_iterate(stage.loop), COIL_ECLOSED);
}

LOOP(timeout_before_the_first_turn_sees_what_was_posted)
{
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("b"), NULL), 0);
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT(coil_loop_iterate(stage.loop) == 1);
    FACT_TRACE("b");
}

REAL(timeout_is_until_the_next_timer)
{
    later(10, note_arg, "far");
    double t = coil_loop_timeout(stage.loop);
    FACT(t > 5 && t <= 10);
    later(-1, note_arg, "past");
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT(coil_loop_iterate(stage.loop) == 1);
    FACT_TRACE("past");
}

/* ---- the two halves ---- */

LOOP(collect_calls_nothing_back_and_dispatch_runs_it)
{
    soon(note_arg, "a");
    later(0, note_arg, "b");
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_TRACE("");
    FACT(coil_loop_is_running(stage.loop));
    FACT(coil_get_running_loop() == stage.loop);
    soon(note_arg, "late"); /* after the batch was fixed */
    FACT_INT(coil_loop_dispatch(stage.loop), 2);
    FACT_TRACE("a b");
    FACT(!coil_loop_is_running(stage.loop));
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    FACT_TRACE("late");
}

LOOP(collect_twice_and_dispatch_alone_are_refused)
{
    FACT_INT(coil_loop_dispatch(stage.loop), COIL_EINVALIDSTATE);
    FACT_INT(coil_loop_collect(stage.loop, (double)NAN), -EINVAL);
    FACT_INT(coil_loop_collect(stage.loop, -5), 0); /* as 0 */
    FACT_INT(coil_loop_collect(stage.loop, 0), COIL_EINVALIDSTATE);
    FACT_INT(coil_loop_iterate(stage.loop), COIL_EINVALIDSTATE);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_ERUNNING);
    FACT_INT(coil_loop_dispatch(stage.loop), 0);
    FACT_INT(coil_loop_dispatch(stage.loop), COIL_EINVALIDSTATE);
}

static void drive_inside(void *arg)
{
    note_arg(arg);
    FACT_INT(coil_loop_dispatch(stage.loop), COIL_EINVALIDSTATE);
    FACT_INT(coil_loop_collect(stage.loop, 0), COIL_ERUNNING);
    FACT_INT(coil_loop_iterate(stage.loop), COIL_ERUNNING);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_ERUNNING);
    FACT(coil_loop_is_running(stage.loop));
    FACT(coil_get_running_loop() == stage.loop);
}

static void dispatch_elsewhere(void *arg)
{
    FACT_INT(coil_loop_dispatch(arg), COIL_EWRONGTHREAD);
}

LOOP(dispatch_belongs_to_the_thread_that_collected)
{
    struct thread t;
    soon(note_arg, "a");
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_INT(coil__thread_start(&t, "test", dispatch_elsewhere, stage.loop), 0);
    coil__thread_join(&t);
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    FACT_TRACE("a");
}

LOOP(dispatch_inside_a_callback_is_refused)
{
    soon(drive_inside, "a");
    soon(drive_inside, "b");
    FACT_INT(coil_loop_iterate(stage.loop), 2);
    FACT_TRACE("a b");
    soon(drive_inside, "c");
    one_turn();
    FACT_TRACE("c");
}

LOOP(collect_in_virtual_time_moves_the_clock_no_further_than_it_may)
{
    later(10, note_arg, "timer");
    FACT_INT(coil_loop_collect(stage.loop, 4), 0);
    FACT_INT(coil_loop_dispatch(stage.loop), 0);
    FACT(about(now(), 4));
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_INT(coil_loop_dispatch(stage.loop), 0);
    FACT(about(now(), 4));
    FACT_INT(coil_loop_collect(stage.loop, 100), 0);
    FACT(about(now(), 10));
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    FACT_TRACE("timer");
}

REAL(collect_sleeps_no_longer_than_it_may)
{
    double before = now();
    FACT_INT(coil_loop_collect(stage.loop, 0.005), 0);
    FACT(now() - before >= 0.005);
    FACT_INT(coil_loop_dispatch(stage.loop), 0);
    later(0.005, note_arg, "timer");
    before = now();
    FACT_INT(coil_loop_collect(stage.loop, 20), 0); /* no longer than until the timer */
    FACT(now() - before < 15);
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    FACT_TRACE("timer");
}

static void post_note(void *arg)
{
    usleep(3000);
    FACT_INT(coil_loop_call_soon_threadsafe(arg, note_arg, TEXT("posted"), NULL), 0);
}

REAL(collect_is_woken_from_another_thread)
{
    struct thread t;
    FACT_INT(coil__thread_start(&t, "test", post_note, stage.loop), 0);
    FACT_INT(coil_loop_collect(stage.loop, COIL_FOREVER), 0);
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    coil__thread_join(&t);
    FACT_TRACE("posted");
}

static void stop_and_note(void *arg)
{
    coil_loop_stop(NULL);
    note_arg(arg);
}

LOOP(stop_in_an_iteration_does_not_reach_the_next_run)
{
    soon(stop_and_note, "a");
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    later(1, note_arg, "b");
    later(2, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("a b");
}

static void raise_and_note(void *arg)
{
    coil_fail(COIL_EUSER, "words");
    coil_loop_raise(NULL, COIL_EUSER);
    note_arg(arg);
}

LOOP(raise_in_an_iteration_keeps_the_rest_for_the_next)
{
    soon(raise_and_note, "a");
    soon(note_arg, "b");
    FACT_INT(coil_loop_iterate(stage.loop), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "words");
    FACT_TRACE("a");
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    FACT_TRACE("b");
}

LOOP(iterating_and_running_mix)
{
    soon(note_arg, "a");
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    soon(note_arg, "b");
    one_turn();
    soon(note_arg, "c");
    FACT_INT(coil_loop_collect(stage.loop, 0), 0);
    FACT_INT(coil_loop_dispatch(stage.loop), 1);
    FACT_TRACE("a b c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded_timers_are_in_time_and_the_host_does_not_spin),
        cmocka_unit_test(embedded_post_from_a_thread_wakes_the_host),
        cmocka_unit_test(embedded_post_before_the_first_turn_is_seen),
        cmocka_unit_test(embedded_reader_added_by_the_host_wakes_it),
        cmocka_unit_test(embedded_reader_added_by_a_callback_wakes_the_host),
        cmocka_unit_test(embedded_tasks_wait_for_descriptors_and_time),
        cmocka_unit_test(embedded_without_a_descriptor_works_by_iterating),
        cmocka_unit_test(timeout_says_what_is_to_be_done),
        cmocka_unit_test(timeout_of_an_embedded_loop_that_was_closed_lets_the_host_find_out),
        cmocka_unit_test(timeout_before_the_first_turn_sees_what_was_posted),
        cmocka_unit_test(timeout_is_until_the_next_timer),
        cmocka_unit_test(collect_calls_nothing_back_and_dispatch_runs_it),
        cmocka_unit_test(collect_twice_and_dispatch_alone_are_refused),
        cmocka_unit_test(dispatch_belongs_to_the_thread_that_collected),
        cmocka_unit_test(dispatch_inside_a_callback_is_refused),
        cmocka_unit_test(collect_in_virtual_time_moves_the_clock_no_further_than_it_may),
        cmocka_unit_test(collect_sleeps_no_longer_than_it_may),
        cmocka_unit_test(collect_is_woken_from_another_thread),
        cmocka_unit_test(stop_in_an_iteration_does_not_reach_the_next_run),
        cmocka_unit_test(raise_in_an_iteration_keeps_the_rest_for_the_next),
        cmocka_unit_test(iterating_and_running_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
