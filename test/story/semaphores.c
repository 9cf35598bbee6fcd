/* SPDX-License-Identifier: MIT
 *
 * semaphores.c: what asyncio's tests say of Semaphore and BoundedSemaphore (test_locks.py:
 * SemaphoreTests), told again.
 *
 * T39. `value` and the number of waiters, which the originals read from private fields, are read off the
 * repr. */
#include "play.h"

#include <coil/sync.h>

static coil_semaphore sem;

static const char *repr_sem(void)
{
    static char text[64];
    coil_semaphore_repr(&sem, text, sizeof text);
    return text;
}

static void begin(int value)
{
    sem = (coil_semaphore)COIL_SEMAPHORE(value);
}

static coil_ret just_acquire(void *unused)
{
    return coil_semaphore_acquire(&sem);
}

static coil_ret acquire_as(const char *tag)
{
    coil_ret rc = coil_semaphore_acquire(&sem);
    if (!coil_iserr(rc))
        note("%s", tag);
    return rc;
}

static coil_ret acquire_and_note(void *tag)
{
    return acquire_as(tag);
}

PLAY(semaphore_test_initial_value_zero)
{
    begin(0);
    assert_true(coil_semaphore_locked(&sem));
}

PLAY(semaphore_test_repr)
{
    begin(1);
    assert_string_equal(repr_sem(), "semaphore [unlocked, value:1]");
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    assert_string_equal(repr_sem(), "semaphore [locked]");
    coil_task *t1 = spawn(just_acquire, NULL);
    turn();
    assert_string_equal(repr_sem(), "semaphore [locked, waiters:1]");
    coil_task *t2 = spawn(just_acquire, NULL);
    turn();
    assert_string_equal(repr_sem(), "semaphore [locked, waiters:2]");
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
}

PLAY(semaphore_test_semaphore_value)
{
    begin(-1);
    assert_int_equal(coil_semaphore_acquire(&sem), -EINVAL);
    assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
    assert_true(coil_semaphore_locked(&sem));
}

PLAY(semaphore_test_acquire)
{
    begin(3);
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    assert_true(!coil_semaphore_locked(&sem));
    coil_task *t1 = spawn(acquire_and_note, "1");
    coil_task *t2 = spawn(acquire_and_note, "2");
    coil_task *t3 = spawn(acquire_and_note, "3");
    turn();
    assert_trace("1");
    assert_string_equal(repr_sem(), "semaphore [locked, waiters:2]");

    coil_task *t4 = spawn(acquire_and_note, "4");
    assert_int_equal(coil_semaphore_release(&sem), 0);
    assert_int_equal(coil_semaphore_release(&sem), 0);
    turn();
    assert_trace("1 2 3");
    assert_string_equal(repr_sem(), "semaphore [locked, waiters:1]");
    assert_true(coil_future_done(t1) && coil_future_done(t2) && coil_future_done(t3));
    assert_true(!coil_future_done(t4));

    assert_int_equal(coil_semaphore_release(&sem), 0);
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
    assert_int_equal(end_of(t3), 0);
    assert_int_equal(end_of(t4), 0);
}

PLAY(semaphore_test_acquire_cancel)
{
    begin(1);
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    coil_task *acquire = spawn(just_acquire, NULL);
    soon(cancel_task, acquire);
    assert_int_equal(end_of(acquire), -ECANCELED);
    assert_string_equal(repr_sem(), "semaphore [locked]");
}

PLAY(semaphore_test_acquire_cancel_before_awoken)
{
    begin(0);
    coil_task *t1 = spawn(just_acquire, NULL);
    coil_task *t2 = spawn(just_acquire, NULL);
    coil_task *t3 = spawn(just_acquire, NULL);
    coil_task *t4 = spawn(just_acquire, NULL);
    turn();

    cancel(t1);
    cancel(t2);
    coil_semaphore_release(&sem);
    turn();
    turn();
    assert_true(coil_future_done(t3));
    assert_true(!coil_future_done(t4));

    cancel(t3);
    cancel(t4);
    turn();
    assert_int_equal(end_of(t1), -ECANCELED);
    assert_int_equal(end_of(t2), -ECANCELED);
    assert_int_equal(end_of(t3), 0);
    assert_int_equal(end_of(t4), -ECANCELED);
}

PLAY(semaphore_test_acquire_hang)
{
    begin(0);
    coil_task *t1 = spawn(just_acquire, NULL);
    coil_task *t2 = spawn(just_acquire, NULL);
    turn();
    cancel(t1);
    coil_semaphore_release(&sem);
    turn();
    turn();
    assert_true(coil_semaphore_locked(&sem));
    assert_true(coil_future_done(t2));
    assert_int_equal(end_of(t1), -ECANCELED);
    assert_int_equal(end_of(t2), 0);
}

static coil_task *victim;

static coil_ret hold_one_turn_then_cancel(void *unused)
{
    coil_ret rc;
    coil_with_semaphore(rc, &sem) turn();
    cancel(victim);
    return rc;
}

static coil_ret never_gets_in(void *unused)
{
    coil_ret rc;
    coil_with_semaphore(rc, &sem) fail_msg("entered although cancelled");
    return rc;
}

PLAY(semaphore_test_acquire_no_hang)
{
    begin(1);
    coil_task *t1 = spawn(hold_one_turn_then_cancel, NULL);
    victim = spawn(never_gets_in, NULL);
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(victim), -ECANCELED);
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
}

PLAY(semaphore_test_release_not_acquired)
{
    sem = (coil_semaphore)COIL_BOUNDED_SEMAPHORE(1);
    assert_int_equal(coil_semaphore_release(&sem), -EINVAL);
}

PLAY(semaphore_test_release_no_waiters)
{
    begin(1);
    assert_int_equal(coil_semaphore_acquire(&sem), 0);
    assert_true(coil_semaphore_locked(&sem));
    assert_int_equal(coil_semaphore_release(&sem), 0);
    assert_true(!coil_semaphore_locked(&sem));
}

static coil_ret twice(void *tag)
{
    for (int round = 1; round <= 2; round++) {
        coil_ret rc = coil_semaphore_acquire(&sem);
        if (coil_iserr(rc))
            return rc;
        note("%s_%d", (char *)tag, round);
        if (coil_iserr(rc = coil_sleep(0.01)))
            return rc;
        coil_semaphore_release(&sem);
    }
    return 0;
}

PLAY(semaphore_test_acquire_fifo_order)
{
    begin(1);
    coil_task *t[] = {spawn(twice, "c1"), spawn(twice, "c2"), spawn(twice, "c3")};
    for (int i = 0; i < 3; i++)
        assert_int_equal(end_of(t[i]), 0);
    assert_trace("c1_1 c2_1 c3_1 c1_2 c2_2 c3_2");
}

static coil_ret acquire_release_acquire(void *unused)
{
    coil_ret rc = acquire_as("2");
    if (coil_iserr(rc))
        return rc;
    coil_semaphore_release(&sem);
    return acquire_as("4");
}

PLAY(semaphore_test_acquire_fifo_order_2)
{
    begin(1);
    coil_task *t1 = spawn(acquire_and_note, "1");
    coil_task *t2 = spawn(acquire_release_acquire, NULL);
    coil_task *t3 = spawn(acquire_and_note, "3");
    turn();
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
    assert_int_equal(end_of(t3), 0);
    assert_trace("1 2 3 4");
}

PLAY(semaphore_test_acquire_fifo_order_3)
{
    begin(0);
    coil_task *t1 = spawn(acquire_and_note, "1");
    coil_task *t2 = spawn(acquire_and_note, "2");
    coil_task *t3 = spawn(acquire_and_note, "3");
    turn();
    cancel(t1);
    turn();
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    assert_int_equal(end_of(t1), -ECANCELED);
    assert_int_equal(end_of(t2), 0);
    assert_int_equal(end_of(t3), 0);
    assert_trace("2 3");
}

static coil_task *fourth;

static coil_ret note_only(void *tag)
{
    note("%s", (char *)tag);
    return 0;
}

static coil_ret fifo4_first(void *unused)
{
    assert_string_equal(repr_sem(), "semaphore [locked]");
    coil_ret rc = coil_semaphore_acquire(&sem);
    /* All who waited are on their way now; a task made here comes after them. */
    assert_string_equal(repr_sem(), "semaphore [locked, waiters:2]");
    fourth = spawn(note_only, "4");
    note("1");
    return rc;
}

static coil_ret fifo4_second(void *unused)
{
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    /* Two permits are free, but the first in line has not run yet. */
    assert_true(coil_semaphore_locked(&sem));
    return acquire_as("2");
}

static coil_ret fifo4_third(void *unused)
{
    coil_ret rc = coil_semaphore_acquire(&sem);
    assert_true(coil_semaphore_locked(&sem));
    note("3");
    return rc;
}

PLAY(semaphore_test_acquire_fifo_order_4)
{
    begin(0);
    coil_task *t1 = spawn(fifo4_first, NULL);
    coil_task *t2 = spawn(fifo4_second, NULL);
    coil_task *t3 = spawn(fifo4_third, NULL);
    turn();
    assert_string_equal(repr_sem(), "semaphore [locked, waiters:3]");
    turn();
    assert_int_equal(end_of(t1), 0);
    assert_int_equal(end_of(t2), 0);
    assert_int_equal(end_of(t3), 0);
    assert_int_equal(end_of(fourth), 0);
    assert_trace("1 2 3 4");
}

COIL_TEST_MAIN()
