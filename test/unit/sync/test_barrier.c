/* SPDX-License-Identifier: MIT
 *
 * test_barrier.c: Barrier. */
#include "play.h"

#include "task/task.h"

#include <coil/sync.h>

static coil_barrier barrier;

static coil_ret wait_and_note(void *tag)
{
    coil_ret rc = coil_barrier_wait(&barrier);
    note("%s:%d", (char *)tag, (int)rc);
    return rc;
}

static const char *repr(void)
{
    static char text[64];
    coil_barrier_repr(&barrier, text, sizeof text);
    return text;
}

static void come(coil_task **tasks, int from, int to)
{
    static const char *const tags[] = {"a", "b", "c", "d", "e", "f"};
    for (int i = from; i < to; i++)
        tasks[i] = spawn(wait_and_note, tags[i]);
    turn();
}

static void all_gone(coil_task **tasks, int n)
{
    for (int i = 0; i < n; i++)
        coil_ignore(end_of(tasks[i]));
}

PLAY(barrier_gives_each_the_number_of_its_arrival)
{
    coil_task *t[3];
    barrier = (coil_barrier)COIL_BARRIER(3);
    come(t, 0, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(end_of(t[i]), i);
}

PLAY(barrier_newcomers_wait_while_it_drains)
{
    coil_task *t[4];
    barrier = (coil_barrier)COIL_BARRIER(2);
    come(t, 0, 2);
    assert_string_equal(repr(), "barrier [draining, waiters:0/2]");
    come(t, 2, 4);
    all_gone(t, 4);
    assert_trace("b:1 a:0 d:1 c:0");
    assert_string_equal(repr(), "barrier [filling, waiters:0/2]");
}

/* Who is cancelled on the way out has passed all the same: the round is not spoilt for the others. */
PLAY(barrier_cancel_while_it_drains_harms_nobody_else)
{
    coil_task *t[4];
    barrier = (coil_barrier)COIL_BARRIER(3);
    come(t, 0, 3);
    cancel(t[0]);
    all_gone(t, 3);
    assert_trace("c:2 a:-125 b:1");
    assert_string_equal(repr(), "barrier [filling, waiters:0/3]");
}

/* Every subset of three waiting tasks is cancelled; as many new ones fill the barrier again. */
PLAY(barrier_cancelled_waiters_can_be_replaced)
{
    for (int victims = 0; victims < 8; victims++) {
        coil_task *t[6];
        int left = 0;
        barrier = (coil_barrier)COIL_BARRIER(4);
        come(t, 0, 3);
        for (int i = 0; i < 3; i++) {
            if (victims >> i & 1)
                cancel(t[i]);
            else
                left++;
        }
        turn();
        assert_int_equal(coil_barrier_n_waiting(&barrier), left);
        coil_task *more[4];
        come(more, 0, 4 - left);
        for (int i = 0; i < 3; i++)
            assert_int_equal(coil_iserr(end_of(t[i])), victims >> i & 1);
        for (int i = 0; i < 4 - left; i++)
            assert_false(coil_iserr(end_of(more[i])));
    }
}

PLAY(barrier_abort_lasts_until_a_reset)
{
    coil_task *t[2];
    barrier = (coil_barrier)COIL_BARRIER(3);
    come(t, 0, 2);
    assert_int_equal(coil_barrier_abort(&barrier), 0);
    assert_true(coil_barrier_broken(&barrier));
    assert_int_equal(coil_barrier_n_waiting(&barrier), 0);
    assert_int_equal(coil_barrier_wait(&barrier), COIL_EBROKENBARRIER);
    assert_string_equal(coil_last_error()->message, "the barrier was aborted");
    for (int i = 0; i < 2; i++)
        assert_int_equal(end_of(t[i]), COIL_EBROKENBARRIER);
    assert_int_equal(coil_barrier_wait(&barrier), COIL_EBROKENBARRIER);
    assert_int_equal(coil_barrier_reset(&barrier), 0);
    assert_string_equal(repr(), "barrier [filling, waiters:0/3]");
}

PLAY(barrier_tells_how_many_are_there)
{
    coil_task *t[2];
    char text[64];
    barrier = (coil_barrier)COIL_BARRIER(3);
    come(t, 0, 2);
    assert_string_equal(coil_task_waiting_on(t[0]), "barrier");
    const struct wait *wait = as_task(t[0])->waiting;
    wait->cls->describe(wait, text, sizeof text);
    assert_string_equal(text, "filling, 2 of 3 there");
    assert_int_equal(coil_barrier_wait(&barrier), 2);
    all_gone(t, 2);
}

COIL_TEST_PLAIN(barrier_needs_a_task_to_wait_in)
{
    barrier = (coil_barrier)COIL_BARRIER(1);
    assert_int_equal(coil_barrier_wait(&barrier), COIL_ENOTASK);
    assert_int_equal(coil_barrier_reset(&barrier), COIL_ENOTASK);
    assert_int_equal(coil_barrier_abort(&barrier), COIL_ENOTASK);
    assert_int_equal(coil_barrier_parties(&barrier), 1);
}

static void quiet(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

static coil_ret leave_two_waiting(void *unused)
{
    coil_task *t[2];
    come(t, 0, 2);
    coil_unref(t[0]);
    coil_unref(t[1]);
    return 0;
}

COIL_TEST_PLAIN(barrier_line_is_left_when_the_loop_closes)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, quiet, NULL);
    play_trace[0] = '\0';
    barrier = (coil_barrier)COIL_BARRIER(3);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(leave_two_waiting, NULL)), 0);
    coil_loop_free(loop);
    assert_trace("b:-2011 a:-2011");
    assert_string_equal(repr(), "barrier [filling, waiters:0/3]");
}

COIL_TEST_MAIN()
