/* SPDX-License-Identifier: MIT
 *
 * futures.c: what asyncio's tests say of Future and ensure_future (test_futures.py, and the first part of
 * test_tasks.py), told again.
 *
 * T09, T10, and the table of futures. Not here: the texts of repr, the class of an exception given where one
 * of its objects belongs, and a comparison that changes the list of callbacks while it is searched: here
 * callbacks are compared by their function and argument, which run nothing. */
#include "play.h"

#include "loop/loop.h"

#include <coil.h>

static coil_future *f;

static void begin(void)
{
    f = coil_loop_create_future(NULL);
}

static void done(void)
{
    coil_unref(f);
}

static void note_text(void *text)
{
    note("%s", (char *)text);
}

static void tell(coil_future *future, void *text)
{
    assert_true(coil_future_done(future));
    note("%s", (char *)text);
}

static void when_done(const char *text)
{
    assert_int_equal(coil_future_add_done_callback(f, tell, (void *)(uintptr_t)text), 0);
}

static uint64_t turns(void)
{
    return coil__running_loop->turns;
}

/* ---- BaseFutureTests ---- */

PLAY(test_initial_state)
{
    begin();
    assert_int_equal(coil_future_state(f), COIL_FUTURE_PENDING);
    assert_false(coil_future_done(f));
    assert_false(coil_future_cancelled(f));
    assert_ptr_equal(coil_future_get_loop(f), coil_get_running_loop());
    assert_false(coil_is_task(f));
    assert_true(coil_future_cancel(f, NULL));
    assert_int_equal(coil_future_state(f), COIL_FUTURE_CANCELLED);
    assert_true(coil_future_done(f));
    assert_true(coil_future_cancelled(f));
    done();
}

PLAY(test_cancel)
{
    begin();
    assert_true(coil_future_cancel(f, NULL));
    assert_true(coil_future_cancelled(f));
    assert_int_equal(coil_future_result(f), -ECANCELED);
    assert_int_equal(there(coil_future_exception(f))->code, -ECANCELED);
    assert_int_equal(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), COIL_EINVALIDSTATE);
    assert_false(coil_future_cancel(f, NULL));
    done();
}

PLAY(test_future_cancel_message_getter)
{
    char words[] = "my message";
    begin();
    assert_true(coil_future_cancel(f, words));
    words[0] = '\0'; /* it was copied */
    assert_int_equal(coil_await(f), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "my message");
    done();
}

PLAY(test_result)
{
    begin();
    assert_int_equal(coil_future_result(f), COIL_EINVALIDSTATE);
    assert_string_equal(coil_last_error()->message, "Result is not set.");
    assert_int_equal(coil_future_set_result(f, 42), 0);
    assert_int_equal(coil_future_state(f), COIL_FUTURE_FINISHED);
    assert_false(coil_future_cancelled(f));
    assert_true(coil_future_done(f));
    assert_int_equal(coil_future_result(f), 42);
    assert_null(coil_future_exception(f));
    assert_int_equal(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), COIL_EINVALIDSTATE);
    assert_false(coil_future_cancel(f, NULL));
    assert_int_equal(coil_future_result(f), 42);
    done();
}

PLAY(test_exception)
{
    begin();
    assert_null(coil_future_exception(f));
    assert_int_equal(last_code(), COIL_EINVALIDSTATE);
    assert_string_equal(coil_last_error()->message, "Exception is not set.");
    assert_int_equal(coil_future_set_exception(f, coil_fail(COIL_EUSER, "boom")), 0);
    assert_int_equal(coil_future_state(f), COIL_FUTURE_FINISHED); /* failed is finished too */
    assert_int_equal(there(coil_future_exception(f))->code, COIL_EUSER);
    coil_fail(-EIO, "something else");
    assert_int_equal(coil_future_result(f), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "boom"); /* the words are the future's */
    assert_int_equal(coil_future_set_result(f, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_future_set_exception(f, -EIO), COIL_EINVALIDSTATE);
    assert_false(coil_future_cancel(f, NULL));
    done();
}

/* Where asyncio refuses StopIteration: values that would be read as something else. */
PLAY(future_takes_no_error_for_a_value_and_no_value_for_an_error)
{
    begin();
    assert_int_equal(coil_future_set_result(f, -EIO), -EINVAL);
    assert_int_equal(coil_future_set_exception(f, 5), -EINVAL);
    assert_int_equal(coil_future_set_exception(f, -ECANCELED), -EINVAL);
    assert_false(coil_future_done(f));
    assert_int_equal(coil_future_set_result(f, -4096), 0);
    assert_int_equal(coil_future_result(f), -4096);
    done();
}

PLAY(test_yield_from_twice)
{
    begin();
    soon(note_text, (void *)(uintptr_t) "A");
    assert_int_equal(coil_loop_call_later(NULL, 1, note_text, (void *)(uintptr_t) "B", NULL), 0);
    assert_int_equal(coil_future_set_result(f, 42), 0);
    uint64_t before = turns();
    assert_int_equal(coil_await(f), 42); /* done: no turn passes */
    assert_int_equal(coil_await(f), 42);
    assert_int_equal(turns(), before);
    assert_trace("");
    assert_int_equal(coil_sleep(1), 0);
    assert_trace("A B");
    done();
}

/* ---- BaseFutureDoneCallbackTests ---- */

PLAY(test_callbacks_invoked_on_set_result)
{
    begin();
    when_done("1");
    when_done("2");
    when_done("1");
    assert_int_equal(coil_future_set_result(f, 1), 0);
    assert_trace(""); /* never inside the call that finishes it */
    turn();
    assert_trace("1 2 1");
    turn();
    assert_trace("1 2 1"); /* once each */
    done();
}

PLAY(test_callbacks_invoked_on_set_exception)
{
    begin();
    when_done("1");
    assert_int_equal(coil_future_set_exception(f, COIL_EUSER), 0);
    turn();
    assert_trace("1");
    assert_int_equal(coil_future_result(f), COIL_EUSER);
    done();
}

PLAY(callbacks_are_called_on_cancel_too)
{
    begin();
    when_done("1");
    coil_future_cancel(f, NULL);
    assert_trace("");
    turn();
    assert_trace("1");
    done();
}

PLAY(callback_of_a_future_that_is_done_is_queued)
{
    begin();
    assert_int_equal(coil_future_set_result(f, 1), 0);
    when_done("late");
    assert_trace("");
    turn();
    assert_trace("late");
    done();
}

PLAY(callback_keeps_its_future_alive)
{
    begin();
    when_done("1");
    assert_int_equal(coil_future_set_result(f, 1), 0);
    done(); /* the last reference of ours; tell() looks at it */
    turn();
    assert_trace("1");
}

PLAY(test_remove_done_callback)
{
    char one[] = "1", two[] = "2", three[] = "3";
    begin();
    when_done(one);
    when_done(two);
    assert_int_equal(coil_future_remove_done_callback(f, tell, two), 1);
    assert_int_equal(coil_future_remove_done_callback(f, tell, three), 0);
    when_done(two);
    for (int i = 0; i < 5; i++)
        when_done(one);
    assert_int_equal(coil_future_remove_done_callback(f, tell, one), 6);
    assert_trace("");
    assert_int_equal(coil_future_set_result(f, 1), 0);
    turn();
    assert_trace("2");
    done();
}

static char removed[] = "removed";

static void remove_others(coil_future *future, void *text)
{
    note("%s", (char *)text);
    /* They are queued already, each on its own: too late, as in asyncio. */
    assert_int_equal(coil_future_remove_done_callback(future, tell, removed), 0);
    assert_int_equal(coil_future_add_done_callback(future, tell, (void *)(uintptr_t) "added"), 0);
}

PLAY(test_schedule_callbacks_list_mutation_1)
{
    begin();
    assert_int_equal(coil_future_add_done_callback(f, remove_others, (void *)(uintptr_t) "first"),
                     0);
    when_done(removed);
    when_done(removed);
    assert_int_equal(coil_future_set_result(f, 1), 0);
    turn();
    assert_trace("first removed removed");
    turn();
    assert_trace("first removed removed added");
    done();
}

static const coil_contextvar color = COIL_CONTEXTVAR("color", (void *)(uintptr_t) "none");

static void tell_color(coil_future *future, void *unused)
{
    note("%s", (char *)coil_contextvar_get(&color));
    assert_int_equal(coil_contextvar_set(&color, (void *)(uintptr_t) "spoilt", NULL), 0);
}

PLAY(callback_sees_the_context_it_was_added_in_or_is_given)
{
    coil_contextvar_token token;
    begin();
    coil_context *own = coil_copy_context();
    assert_int_equal(coil_contextvar_set(&color, (void *)(uintptr_t) "red", &token), 0);
    assert_int_equal(coil_future_add_done_callback(f, tell_color, NULL), 0);
    assert_int_equal(coil_future_add_done_callback(f, tell_color, NULL), 0);
    assert_int_equal(coil_future_add_done_callback_context(f, tell_color, NULL, own), 0);
    assert_int_equal(coil_contextvar_reset(&token), 0);
    assert_int_equal(coil_future_set_result(f, 1), 0);
    turn();
    assert_trace("red red none");
    assert_string_equal(coil_contextvar_get(&color), "none");
    void *value;
    assert_true(coil_context_get(own, &color, &value)); /* that very context was used */
    assert_string_equal(value, "spoilt");
    coil_context_unref(own);
    done();
}

/* ---- awaiting ---- */

static coil_ret await_f(void *name)
{
    coil_ret rc = coil_await(f);
    note("%s=%ld", (char *)name, (long)rc);
    return rc;
}

PLAY(future_wakes_all_who_wait_in_order_of_asking)
{
    begin();
    coil_task *t[] = {spawn(await_f, "a"), spawn(await_f, "b")};
    turn();
    assert_int_equal(coil_future_set_result(f, 7), 0);
    assert_trace("");
    assert_int_equal(end_of(t[1]), 7);
    assert_int_equal(end_of(t[0]), 7);
    assert_trace("a=7 b=7");
    done();
}

PLAY(cancelling_who_waits_cancels_what_it_waits_for)
{
    begin();
    coil_task *t = spawn(await_f, "a");
    turn();
    cancel(t);
    assert_true(coil_future_cancelled(f));
    assert_int_equal(end_of(t), -ECANCELED);
    done();
}

static coil_ret freed;

static void free_value(coil_ret value)
{
    freed = value;
}

PLAY(result_that_owns_memory_is_freed_unless_taken)
{
    begin();
    freed = 0;
    coil_future_set_free_result(f, free_value);
    assert_int_equal(coil_future_set_result(f, 9), 0);
    done();
    assert_int_equal(freed, 9);

    begin();
    freed = 0;
    coil_future_set_free_result(f, free_value);
    assert_int_equal(coil_future_set_result(f, 9), 0);
    assert_int_equal(coil_await(f), 9);
    done();
    assert_int_equal(freed, 0);
}

COIL_TEST_PLAIN(await_outside_of_tasks_is_refused)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    f = coil_loop_create_future(loop);
    assert_int_equal(coil_await(f), COIL_ENOTASK);
    assert_int_equal(coil_sleep(1), COIL_ENOTASK);
    assert_int_equal(coil_wait_fd(0, COIL_READ), COIL_ENOTASK);
    done();
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(future_without_a_loop_is_a_failed_one)
{
    begin();
    assert_true(coil_future_done(f));
    assert_int_equal(coil_future_result(f), COIL_ENOLOOP);
    done();
    assert_int_equal(coil_future_result(coil_create_task(await_f, NULL)), COIL_ENOLOOP);
}

/* ---- ensure_future ---- */

static coil_ret seven(void *unused)
{
    return 7;
}

PLAY(test_ensure_future_future)
{
    begin();
    coil_future *same = coil_ensure_future(f);
    assert_ptr_equal(same, f);
    assert_int_equal(coil_future_set_result(f, 1), 0);
    done();
    assert_int_equal(coil_join(same), 1); /* a reference of its own */
}

PLAY(test_ensure_future_task)
{
    coil_task *task = spawn(seven, NULL);
    coil_future *same = coil_ensure_future(task);
    assert_ptr_equal(same, task);
    coil_unref(task);
    assert_int_equal(coil_join(same), 7);
}

PLAY(test_ensure_future_coroutine)
{
    coil_future *task = coil_ensure_future(coil_coro_new(seven, NULL));
    assert_true(coil_is_task(task));
    assert_int_equal(coil_join(task), 7);
}

static coil_ret await_mine(coil_awaitable *self)
{
    coil_ret rc = coil_sleep(1);
    return coil_iserr(rc) ? rc : 8;
}

PLAY(test_ensure_future_awaitable)
{
    coil_awaitable mine = {await_mine};
    coil_future *task = coil_ensure_future(&mine);
    assert_true(coil_is_task(task));
    assert_int_equal(coil_join(task), 8);
    assert_int_equal(coil_await(&mine), 8); /* and without a task */
    coil_awaitable none = {NULL};
    assert_int_equal(coil_await(&none), COIL_ETYPE);
}

COIL_TEST_MAIN()
