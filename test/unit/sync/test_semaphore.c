/* SPDX-License-Identifier: MIT
 *
 * test_semaphore.c: Semaphore and BoundedSemaphore. */
#include "play.h"

#include "task/task.h"

#include <coil/sync.h>

static coil_semaphore sem;

static coil_ret acquire_and_note(void *tag)
{
    coil_ret rc = coil_semaphore_acquire(&sem);
    note("%s%s", coil_iserr(rc) ? "-" : "", (char *)tag);
    return rc;
}

static const char *repr(void)
{
    static char text[64];
    coil_semaphore_repr(&sem, text, sizeof text);
    return text;
}

static void release(void)
{
    assert_int_equal(coil_semaphore_release(&sem), 0);
}

/* `n` tasks named 1, 2, ... stand in line for a semaphore without permits. */
static void line_up(coil_task **tasks, int n)
{
    static const char *const tags[] = {"1", "2", "3", "4", "5"};
    sem = (coil_semaphore)COIL_SEMAPHORE(0);
    for (int i = 0; i < n; i++)
        tasks[i] = spawn(acquire_and_note, tags[i]);
    turn();
}

/* One of three is cancelled, at each place, before or after two permits came: the two others have them. */
PLAY(semaphore_permit_of_a_cancelled_waiter_goes_to_the_next)
{
    for (int victim = 0; victim < 3; victim++) {
        for (int permits_before = 0; permits_before <= 2; permits_before++) {
            coil_task *t[3];
            line_up(t, 3);
            for (int i = 0; i < permits_before; i++)
                release();
            cancel(t[victim]);
            for (int i = permits_before; i < 2; i++)
                release();
            for (int i = 0; i < 3; i++)
                assert_int_equal(end_of(t[i]), i == victim ? -ECANCELED : 0);
            assert_string_equal(repr(), "semaphore [locked]");
        }
    }
}

PLAY(semaphore_all_cancelled_after_the_grant_leave_every_permit)
{
    coil_task *t[3];
    line_up(t, 3);
    for (int i = 0; i < 3; i++)
        release();
    for (int i = 0; i < 3; i++)
        cancel(t[i]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(end_of(t[i]), -ECANCELED);
    assert_string_equal(repr(), "semaphore [unlocked, value:3]");
}

PLAY(semaphore_newcomer_waits_behind_the_line_though_permits_are_free)
{
    coil_task *t[1];
    line_up(t, 1);
    release();
    release();
    assert_true(coil_semaphore_locked(&sem));
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    assert_trace("1");
    assert_int_equal(end_of(t[0]), 0);
}

PLAY(semaphore_with_only_cancelled_waiters_is_not_locked)
{
    coil_task *t[1];
    line_up(t, 1);
    cancel(t[0]);
    release();
    assert_false(coil_semaphore_locked(&sem));
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    assert_int_equal(end_of(t[0]), -ECANCELED);
}

PLAY(semaphore_tells_what_it_waits_for)
{
    coil_task *t[2];
    char text[64];
    line_up(t, 2);
    assert_string_equal(coil_task_waiting_on(t[0]), "semaphore");
    const struct wait *wait = as_task(t[0])->waiting;
    wait->cls->describe(wait, text, sizeof text);
    assert_string_equal(text, "0 permits free, 2 in line");
    release();
    release();
    for (int i = 0; i < 2; i++)
        assert_int_equal(end_of(t[i]), 0);
}

COIL_TEST_PLAIN(semaphore_that_begins_negative_is_refused_at_use)
{
    sem = (coil_semaphore)COIL_SEMAPHORE(-1);
    assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
    assert_true(coil_semaphore_locked(&sem));
    sem = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(-1);
    assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
}

COIL_TEST_PLAIN(semaphore_bounded_takes_back_no_more_than_it_had)
{
    sem = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(0);
    assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
    assert_true(coil_semaphore_locked(&sem));
    sem = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(2);
    assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
    assert_string_equal(repr(), "semaphore [unlocked, value:2]");
}

PLAY(semaphore_bounded_may_be_filled_up_again)
{
    sem = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(2);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(coil_semaphore_acquire(&sem), 0);
        assert_int_equal(coil_semaphore_acquire(&sem), 0);
        assert_true(coil_semaphore_locked(&sem));
        release();
        release();
        assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
    }
}

COIL_TEST_PLAIN(semaphore_without_a_bound_grows_up_to_the_largest_number)
{
    sem = (coil_semaphore)COIL_SEMAPHORE(INTPTR_MAX - 1);
    release();
    assert_int_equal(coil_semaphore_release(&sem), -EOVERFLOW);
    sem = (coil_semaphore){0};
    assert_true(coil_semaphore_locked(&sem));
    release();
    assert_string_equal(repr(), "semaphore [unlocked, value:1]");
}

static void quiet(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

/* Runs in the loop's last turn: the first in line is granted, and never runs. */
static void release_last(void *unused)
{
    release();
}

static coil_ret leave_some_waiting(void *unused)
{
    coil_task *t[3];
    line_up(t, 3);
    for (int i = 0; i < 3; i++)
        coil_unref(t[i]);
    soon(release_last, NULL);
    return 0;
}

COIL_TEST_PLAIN(semaphore_permit_granted_to_an_unwound_task_is_kept)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, quiet, NULL);
    play_trace[0] = '\0';
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(leave_some_waiting, NULL)),
                     0);
    coil_loop_free(loop);
    assert_trace("-3 -2 -1");
    assert_string_equal(repr(), "semaphore [unlocked, value:1]");
}

COIL_TEST_MAIN()
