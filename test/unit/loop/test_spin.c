/* SPDX-License-Identifier: MIT
 *
 * test_spin.c: a loop that looks for work before it sleeps: what comes meanwhile is met, nothing is early or lost, and
 * it stops where it does not pay. */
#include "loop/loop.h"

#include "../loop/stage.h"
#include "base/cpus.h"
#include "base/sys.h"
#include "base/thread.h"
#include "test.h"

#include <coil/net.h>
#include <coil/work.h>

#include <sched.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define LIMIT_S 0.01

/* True if it spins here at all. */
static bool spin(double seconds)
{
    FACT_INT(coil_loop_set_spin(stage.loop, seconds), 0);
    return coil__cpus_there() > 1;
}

static coil_loop_stats_t stats(void)
{
    coil_loop_stats_t out;
    coil_loop_stats(stage.loop, &out);
    return out;
}

static coil_ret sleep_for(void *seconds)
{
    return coil_sleep(*(const double *)seconds);
}

static void sleep_once(double seconds)
{
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(sleep_for, &seconds)), 0);
}

REAL(loop_does_not_spin_unless_asked)
{
    sleep_once(0.001);
    FACT_INT(stats().spins, 0);
}

REAL(spin_before_a_long_sleep_is_in_vain)
{
    if (!spin(LIMIT_S))
        return;
    sleep_once(9 * LIMIT_S);
    FACT(stats().spins >= 1);
    FACT(stats().spins_in_vain >= 1);
    uint64_t so_far = stats().spins;
    FACT_INT(coil_loop_set_spin(stage.loop, 0), 0);
    sleep_once(0.0001);
    FACT_INT(stats().spins, so_far);
}

/* Does it spin now? Nothing comes meanwhile. */
static bool spins(void)
{
    uint64_t before = stats().spins;
    FACT_INT(coil__loop_spin(stage.loop, 1), 0);
    return stats().spins > before;
}

REAL(long_wait_ends_the_spinning_and_short_ones_bring_it_back)
{
    if (!spin(LIMIT_S))
        return;
    FACT_INT(coil_loop_iterate(stage.loop), 0); /* so that there is something to look at */
    FACT(spins());
    coil__loop_was_idle(stage.loop, 100 * stage.loop->spin_ticks);
    FACT(!spins());
    coil__loop_was_idle(stage.loop, 0);
    FACT(spins());
    for (int i = 0; i < 100; i++)
        coil__loop_was_idle(stage.loop, 3 * stage.loop->spin_ticks);
    FACT(!spins());
    coil__loop_was_idle(stage.loop, stage.loop->spin_ticks); /* the average is 2.5 now, ... */
    FACT(!spins());
    coil__loop_was_idle(stage.loop, 0); /* ... and now below 2 */
    FACT(spins());
}

REAL(timer_within_the_spin_is_not_early)
{
    spin(LIMIT_S);
    double before = coil_loop_time(stage.loop);
    sleep_once(LIMIT_S / 4);
    FACT(coil_loop_time(stage.loop) - before >= LIMIT_S / 4);
    before = coil_loop_time(stage.loop);
    sleep_once(LIMIT_S * 1.5); /* the rest of it asleep */
    FACT(coil_loop_time(stage.loop) - before >= LIMIT_S * 1.5);
}

static const struct backend_class *looked_by; /* the backend's own class */
static int64_t longest_sleep;

/* Looks take longer than the timer that is waited for; sleeps are as they are. */
static int look_for_long(struct backend *b, int64_t timeout_ns)
{
    int64_t until = coil__clock_real_ns() + (int64_t)(LIMIT_S * 1e9);
    while (timeout_ns == 0 && coil__clock_real_ns() < until)
        thread_relax();
    if (timeout_ns < 0 || timeout_ns > longest_sleep)
        longest_sleep = timeout_ns;
    return looked_by->wait(b, timeout_ns < 0 ? 0 : timeout_ns);
}

/* Less than nothing is left to sleep, and that is not taken for "for ever". */
REAL(timer_that_falls_due_within_the_spin_leaves_no_sleep)
{
    if (!spin(LIMIT_S))
        return;
    one_turn(); /* the backend is open */
    looked_by = stage.loop->backend->cls;
    struct backend_class slow = *looked_by;
    slow.wait = look_for_long;
    longest_sleep = 0;
    stage.loop->backend->cls = &slow;
    sleep_once(LIMIT_S / 4);
    stage.loop->backend->cls = looked_by;
    FACT_INT(longest_sleep, 0);
    FACT(stats().spins > 0);
}

static int sleeps_for_ever;

static int stop_as_it_falls_asleep(struct backend *b, int64_t timeout_ns)
{
    if (timeout_ns < 0) {
        sleeps_for_ever++;
        FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, stop_loop, stage.loop, NULL), 0);
    }
    return looked_by->wait(b, timeout_ns);
}

REAL(spin_in_vain_with_nothing_to_wait_for_ends_in_a_sleep_without_end)
{
    if (!spin(0.0001))
        return;
    one_turn(); /* the backend is open */
    looked_by = stage.loop->backend->cls;
    struct backend_class sleepy = *looked_by;
    sleepy.wait = stop_as_it_falls_asleep;
    sleeps_for_ever = 0;
    stage.loop->backend->cls = &sleepy;
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    stage.loop->backend->cls = looked_by;
    FACT_INT(sleeps_for_ever, 1);
    FACT_INT(stats().spins_in_vain, 1);
}

/* Runs `fn` on the first of this thread's processors alone. */
static void on_one_processor(void (*fn)(void))
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    FACT_INT(sched_getaffinity(0, sizeof all, &all), 0);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all))
            CPU_SET(i, &one);
    FACT_INT(sched_setaffinity(0, sizeof one, &one), 0);
    fn();
    FACT_INT(sched_setaffinity(0, sizeof all, &all), 0);
}

static void spin_and_sleep(void)
{
    bool some = spin(LIMIT_S);
    sleep_once(0.001);
    FACT_INT(stats().spins > 0, some);
}

REAL(loop_that_is_pinned_spins_if_there_are_more_processors)
{
    on_one_processor(spin_and_sleep);
}

#if STAGE_TABLE
static int one_online(int dir, const char *path, int flags, mode_t mode)
{
    (void)dir, (void)flags, (void)mode;
    int ends[2];
    if (strcmp(path, "/sys/devices/system/cpu/online") != 0)
        return -ENOENT;
    FACT_INT(coil__sys_real.pipe2(ends, O_CLOEXEC), 0);
    FACT_INT(coil__sys_real.write(ends[1], "3\n", 2), 2);
    FACT_INT(coil__sys_real.close(ends[1]), 0);
    return ends[0];
}
#endif

REAL(loop_with_one_processor_does_not_spin)
{
#if STAGE_TABLE
    coil__sys.openat = one_online;
    FACT_INT(coil_loop_set_spin(stage.loop, LIMIT_S), 0);
    coil__sys.openat = coil__sys_real.openat;
    sleep_once(0.001);
    FACT_INT(stats().spins, 0);
#else
    skip();
#endif
}

static int cannot_look(struct backend *b, int64_t timeout_ns)
{
    (void)b, (void)timeout_ns;
    return -EIO;
}

static void break_it(void *arg)
{
    stage.loop->backend->cls = arg;
}

/* The first look ends the run, as a sleep does that the backend refuses. */
REAL(error_of_the_backend_ends_a_spin_and_the_run)
{
    if (!spin(LIMIT_S))
        return;
    one_turn(); /* the backend is open */
    const struct backend_class *real = stage.loop->backend->cls;
    struct backend_class broken = *real;
    broken.wait = cannot_look;
    soon(break_it, &broken);
    later(60, note_arg, "late");
    unsigned long long before = stats().spins;
    FACT_INT(coil_loop_run_forever(stage.loop), -EIO);
    FACT_INT(stats().spins - before, 1);
    FACT_INT(stats().spins_in_vain, 0);
    stage.loop->backend->cls = real;
}

/* ---- what comes meanwhile ---- */

enum { ROUNDS = 200 };

static coil_ret echo_all(void *fd)
{
    char byte;
    for (int i = 0; i < ROUNDS; i++) {
        FACT_INT(coil_loop_sock_recv(NULL, (int)(intptr_t)fd, &byte, 1), 1);
        FACT_INT(coil_loop_sock_sendall(NULL, (int)(intptr_t)fd, &byte, 1, NULL), 0);
    }
    return 0;
}

static void ask_again_and_again(void *fd)
{
    char byte = 'x';
    for (int i = 0; i < ROUNDS; i++)
        if (sys_write((int)(intptr_t)fd, &byte, 1) != 1 ||
            sys_read((int)(intptr_t)fd, &byte, 1) != 1)
            return;
}

REAL(bytes_are_answered_by_a_loop_that_spins)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    spin(LIMIT_S);
    struct thread t;
    assert_int_equal(coil__thread_start(&t, "test", ask_again_and_again, (void *)(intptr_t)pair[1]),
                     0);
    FACT_INT(coil_loop_run_until_complete(stage.loop,
                                          coil_coro_new(echo_all, (void *)(intptr_t)pair[0])),
             0);
    coil__thread_join(&t);
    sys_close(pair[0]);
    sys_close(pair[1]);
}

static coil_ret add_one(void *arg)
{
    ++*(int *)arg;
    return 0;
}

static coil_ret call_threads(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        FACT_INT(coil_to_thread(add_one, arg), 0);
    return coil_loop_shutdown_default_executor(NULL, COIL_FOREVER);
}

REAL(jobs_of_threads_are_done_and_heard_of_by_spinning)
{
    int n = 0;
    spin(LIMIT_S);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(call_threads, &n)), 0);
    FACT_INT(n, ROUNDS);
}

static void post_stop(void *loop)
{
    FACT_INT(coil_loop_call_soon_threadsafe(loop, stop_loop, loop, NULL), 0);
}

static void spin_and_call_threads(void)
{
    int n = 0;
    spin(LIMIT_S);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(call_threads, &n)), 0);
    FACT_INT(n, ROUNDS);
    FACT_INT(stats().spins, 0);
}

/* They would have to wait for the end of the spin. */
REAL(jobs_without_a_processor_of_their_own_are_not_spun_for)
{
    on_one_processor(spin_and_call_threads);
}

REAL(call_from_a_thread_is_seen_by_a_loop_that_spins)
{
    spin(LIMIT_S);
    for (int i = 0; i < 20; i++) {
        struct thread t;
        assert_int_equal(coil__thread_start(&t, "test", post_stop, stage.loop), 0);
        FACT_INT(coil_loop_run_forever(stage.loop), 0);
        coil__thread_join(&t);
    }
}

/* ---- where there is none ---- */

LOOP(virtual_time_does_not_spin)
{
    spin(LIMIT_S);
    sleep_once(3600);
    FACT_INT(stats().spins, 0);
}

LOOP(spin_that_is_no_short_time_is_refused)
{
    const double wrong[] = {-0.001, 0.0101, 1, COIL_FOREVER, NAN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        FACT_INT(coil_loop_set_spin(stage.loop, wrong[i]), -EINVAL);
        FACT_ERROR(-EINVAL, "a loop may spin for 0 to 0.01 seconds before it sleeps");
        coil_run_opts opts = {.size = sizeof opts, .spin = wrong[i]};
        FACT(coil_new_event_loop(&opts) == NULL);
        FACT_ERROR(-EINVAL, "a loop may spin for 0 to 0.01 seconds before it sleeps");
    }
    coil_run_opts opts = {.size = sizeof opts, .spin = 0.01};
    coil_loop *loop = coil_new_event_loop(&opts);
    FACT(loop != NULL);
    coil_loop_free(loop);
}

PLAIN(spin_needs_a_loop)
{
    FACT_INT(coil_loop_set_spin(NULL, 0), COIL_ENOLOOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loop_does_not_spin_unless_asked),
        cmocka_unit_test(spin_before_a_long_sleep_is_in_vain),
        cmocka_unit_test(long_wait_ends_the_spinning_and_short_ones_bring_it_back),
        cmocka_unit_test(timer_within_the_spin_is_not_early),
        cmocka_unit_test(timer_that_falls_due_within_the_spin_leaves_no_sleep),
        cmocka_unit_test(spin_in_vain_with_nothing_to_wait_for_ends_in_a_sleep_without_end),
        cmocka_unit_test(loop_that_is_pinned_spins_if_there_are_more_processors),
        cmocka_unit_test(loop_with_one_processor_does_not_spin),
        cmocka_unit_test(error_of_the_backend_ends_a_spin_and_the_run),
        cmocka_unit_test(bytes_are_answered_by_a_loop_that_spins),
        cmocka_unit_test(jobs_of_threads_are_done_and_heard_of_by_spinning),
        cmocka_unit_test(jobs_without_a_processor_of_their_own_are_not_spun_for),
        cmocka_unit_test(call_from_a_thread_is_seen_by_a_loop_that_spins),
        cmocka_unit_test(virtual_time_does_not_spin),
        cmocka_unit_test(spin_that_is_no_short_time_is_refused),
        cmocka_unit_test(spin_needs_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
