/* SPDX-License-Identifier: MIT
 *
 * test_event.c: Event. */
#include "play.h"

#include "sync/waiters.h"

#include <coil/sync.h>

static coil_event event;

static coil_ret wait_and_note(void *tag)
{
    coil_ret rc = coil_event_wait(&event);
    note("%s%s", coil_iserr(rc) ? "-" : "", (char *)tag);
    return rc;
}

static void set_event(void *unused)
{
    assert_int_equal(coil_event_set(&event), 0);
}

PLAY(event_set_wakes_all_in_the_order_they_came)
{
    event = (coil_event)COIL_EVENT;
    coil_task *t[] = {spawn(wait_and_note, "1"), spawn(wait_and_note, "2"),
                      spawn(wait_and_note, "3")};
    turn();
    assert_string_equal(coil_task_waiting_on(t[0]), "event");
    soon(set_event, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(end_of(t[i]), 0);
    assert_trace("1 2 3");
}

PLAY(event_clear_right_after_set_lets_the_woken_go)
{
    event = (coil_event)COIL_EVENT;
    coil_task *before = spawn(wait_and_note, "before");
    turn();
    set_event(NULL);
    coil_event_clear(&event);
    coil_task *after = spawn(wait_and_note, "after");
    turn();
    assert_trace("before");
    assert_false(coil_future_done(after));
    set_event(NULL);
    assert_int_equal(end_of(before), 0);
    assert_int_equal(end_of(after), 0);
}

PLAY(event_cancel_that_comes_after_the_set_still_wins)
{
    event = (coil_event)COIL_EVENT;
    coil_task *t[] = {spawn(wait_and_note, "1"), spawn(wait_and_note, "2")};
    turn();
    set_event(NULL);
    cancel(t[0]);
    assert_int_equal(end_of(t[0]), -ECANCELED);
    assert_int_equal(end_of(t[1]), 0);
    assert_trace("-1 2");
}

PLAY(event_wait_on_a_set_one_takes_no_turn)
{
    event = (coil_event)COIL_EVENT;
    set_event(NULL);
    uint64_t turns = coil__running_loop->turns;
    assert_int_equal(coil_event_wait(&event), 0);
    assert_int_equal(coil__running_loop->turns, turns);
}

COIL_TEST_PLAIN(event_can_be_set_but_not_waited_for_outside_of_tasks)
{
    event = (coil_event)COIL_EVENT;
    set_event(NULL);
    assert_true(coil_event_is_set(&event));
    assert_int_equal(coil_event_wait(&event), COIL_ENOTASK);
    coil_event_clear(&event);
    assert_false(coil_event_is_set(&event));
}

static void quiet(coil_loop *loop, const coil_exception_context *context, void *arg)
{
}

static coil_ret leave_two_waiting(void *unused)
{
    coil_unref(spawn(wait_and_note, "1"));
    coil_unref(spawn(wait_and_note, "2"));
    turn();
    return 0;
}

COIL_TEST_PLAIN(event_line_is_empty_once_the_loop_is_closed)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_loop_set_exception_handler(loop, quiet, NULL);
    play_trace[0] = '\0';
    event = (coil_event)COIL_EVENT;
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(leave_two_waiting, NULL)), 0);
    coil_loop_free(loop);
    assert_trace("-2 -1");
    const struct waiters *line = (const struct waiters *)&event;
    assert_null(line->first);
    assert_null(line->pending);
    assert_int_equal(line->n, 0);
    set_event(NULL);
}

COIL_TEST_MAIN()
