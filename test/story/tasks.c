/* SPDX-License-Identifier: MIT
 *
 * tasks.c: what asyncio's tests say of Task (test_tasks.py, BaseTaskTests) and of tasks that start eagerly
 * (test_eager_task_factory.py), told again.
 *
 * T11 to T19, T25, T55, T63, T65. */
#include "play.h"

#include "loop/loop.h"

#include <coil.h>
#include <stdlib.h>

static coil_task *self(void)
{
    return coil_current_task();
}

static uint64_t turns(void)
{
    return coil__running_loop->turns;
}

static coil_task *t;
static coil_future *fut;

/* ---- cancelling ---- */

static coil_ret cancel_self_and_return(void *unused)
{
    assert_true(coil_task_cancel(self(), NULL));
    return 12;
}

PLAY(test_cancel_at_end)
{
    t = spawn(cancel_self_and_return, NULL);
    assert_false(coil_future_cancelled(t));
    assert_int_equal(coil_await(t), -ECANCELED);
    assert_true(coil_future_done(t));
    assert_true(coil_future_cancelled(t));
    assert_false(coil_task_cancel(t, NULL));
    coil_unref(t);
}

static coil_ret cancel_self_and_sleep(void *unused)
{
    assert_true(coil_task_cancel(self(), NULL));
    coil_ret rc = coil_sleep(100);
    return coil_iserr(rc) ? rc : 12;
}

PLAY(test_cancel_current_task)
{
    double before = coil_loop_time(NULL);
    t = spawn(cancel_self_and_sleep, NULL);
    assert_int_equal(coil_await(t), -ECANCELED);
    assert_true(coil_future_cancelled(t));
    assert_false(coil_task_cancel(t, NULL));
    assert_true(coil_loop_time(NULL) - before < 1);
    coil_unref(t);
}

static coil_ret await_fut(void *unused)
{
    coil_ret rc = coil_await(fut);
    return coil_iserr(rc) ? rc : 12;
}

static coil_task *nested;

static coil_ret cancel_self_and_await_nested(void *unused)
{
    nested = spawn(await_fut, NULL);
    turn();
    coil_task_cancel(self(), NULL);
    return coil_await(nested);
}

PLAY(test_cancel_awaited_task)
{
    nested = NULL;
    fut = coil_loop_create_future(NULL);
    t = spawn(cancel_self_and_await_nested, NULL);
    assert_int_equal(coil_await(t), -ECANCELED);
    assert_true(coil_future_cancelled(t));
    assert_non_null(nested);
    assert_true(coil_future_cancelled(nested));
    assert_true(coil_future_cancelled(fut));
    coil_unref(t);
    coil_unref(nested);
    coil_unref(fut);
}

PLAY(test_cancel_inner_future)
{
    fut = coil_loop_create_future(NULL);
    t = spawn(await_fut, NULL);
    turn();
    coil_future_cancel(fut, NULL);
    assert_int_equal(coil_await(t), -ECANCELED);
    assert_true(coil_future_cancelled(t)); /* though nobody called its cancel */
    assert_int_equal(coil_task_cancelling(t), 0);
    coil_unref(t);
    coil_unref(fut);
}

PLAY(test_cancel_both_task_and_inner_future)
{
    fut = coil_loop_create_future(NULL);
    t = spawn(await_fut, NULL);
    turn();
    coil_future_cancel(fut, NULL);
    cancel(t);
    assert_int_equal(coil_await(t), -ECANCELED);
    assert_true(coil_future_cancelled(fut));
    assert_true(coil_future_cancelled(t));
    coil_unref(t);
    coil_unref(fut);
}

static coil_future *f1, *f2, *f3;

static coil_ret catching(void *unused)
{
    assert_int_equal(coil_await(f1), 1);
    coil_ret rc = coil_await(f2);
    return rc == -ECANCELED ? 42 : rc;
}

PLAY(test_cancel_task_catching)
{
    f1 = coil_loop_create_future(NULL);
    f2 = coil_loop_create_future(NULL);
    t = spawn(catching, NULL);
    turn();
    assert_int_equal(coil_future_set_result(f1, 1), 0);
    turn();
    cancel(t);
    assert_true(coil_future_cancelled(f2));
    assert_int_equal(coil_await(t), 42);
    assert_false(coil_future_cancelled(t));
    coil_unref(t);
    coil_unref(f1);
    coil_unref(f2);
}

static coil_ret ignoring(void *unused)
{
    assert_int_equal(coil_await(f1), 1);
    assert_int_equal(coil_await(f2), -ECANCELED);
    return coil_await(f3);
}

PLAY(test_cancel_task_ignoring)
{
    f1 = coil_loop_create_future(NULL);
    f2 = coil_loop_create_future(NULL);
    f3 = coil_loop_create_future(NULL);
    t = spawn(ignoring, NULL);
    turn();
    assert_int_equal(coil_future_set_result(f1, 1), 0);
    turn();
    cancel(t);
    assert_true(coil_future_cancelled(f2));
    turn();
    assert_false(coil_future_done(t));
    assert_int_equal(coil_future_set_result(f3, 42), 0);
    assert_int_equal(coil_await(t), 42);
    assert_false(coil_future_cancelled(f3));
    assert_false(coil_future_cancelled(t));
    coil_unref(t);
    coil_unref(f1);
    coil_unref(f2);
    coil_unref(f3);
}

static coil_ret never(void *unused)
{
    note("never");
    return coil_sleep(10);
}

PLAY(test_cancel_with_message_before_starting_task)
{
    t = spawn(never, NULL);
    assert_true(coil_task_cancel(t, "my message"));
    bool is_done;
    assert_int_equal(coil_wait(&t, 1, COIL_FOREVER, COIL_ALL_COMPLETED, &is_done), 1);
    assert_string_equal(there(coil_future_exception(t))->message, "my message");
    assert_int_equal(coil_await(t), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "my message");
    assert_trace(""); /* the body saw nothing */
    coil_unref(t);
}

/* ---- the count of cancels ---- */

struct request {
    double sleep, timeout;
    coil_task *task;
    bool timed_out, finished, outside;
};

static void on_timeout(void *arg)
{
    struct request *r = arg;
    r->timed_out = true;
    coil_task_cancel(r->task, NULL);
}

static coil_ret make_request_with_timeout(void *arg)
{
    struct request *r = arg;
    coil_handle *timer;
    r->task = self();
    assert_int_equal(coil_loop_call_later(NULL, r->timeout, on_timeout, r, &timer), 0);
    coil_ret rc = coil_sleep(r->sleep);
    r->finished = rc == 0;
    coil_handle_cancel(timer);
    coil_handle_unref(timer);
    if (r->timed_out && coil_task_uncancel(self()) == 0 && rc == -ECANCELED)
        rc = -ETIMEDOUT;
    assert_int_equal(rc, r->timed_out ? -ETIMEDOUT : 0);
    r->outside = true;
    return coil_sleep(0);
}

PLAY(test_uncancel_structured_blocks)
{
    struct request late = {.sleep = 10, .timeout = 0.1}, in_time = {.sleep = 0, .timeout = 10};
    t = spawn(make_request_with_timeout, &late);
    assert_int_equal(coil_await(t), 0);
    assert_true(late.timed_out && !late.finished && late.outside);
    assert_int_equal(coil_task_cancelling(t), 0);
    coil_unref(t);
    t = spawn(make_request_with_timeout, &in_time);
    assert_int_equal(coil_await(t), 0);
    assert_true(!in_time.timed_out && in_time.finished && in_time.outside);
    assert_int_equal(coil_task_cancelling(t), 0);
    coil_unref(t);
}

PLAY(test_uncancel_resets_must_cancel)
{
    fut = coil_loop_create_future(NULL);
    t = spawn(await_fut, NULL);
    turn();
    assert_int_equal(coil_future_set_result(fut, 1), 0); /* the task is about to run */
    cancel(t);
    assert_int_equal(coil_task_cancelling(t), 1);
    assert_int_equal(coil_task_uncancel(t), 0);
    assert_int_equal(coil_await(t), 12);
    coil_unref(t);
    coil_unref(fut);
}

PLAY(cancels_are_counted_and_taken_back_one_by_one)
{
    fut = coil_loop_create_future(NULL);
    t = spawn(await_fut, NULL);
    for (int i = 1; i <= 3; i++) {
        assert_true(coil_task_cancel(t, NULL));
        assert_int_equal(coil_task_cancelling(t), i);
    }
    assert_int_equal(coil_task_uncancel(t), 2);
    assert_int_equal(coil_await(t), -ECANCELED); /* two still ask for it */
    assert_int_equal(coil_task_uncancel(t), 1);
    assert_int_equal(coil_task_uncancel(t), 0);
    assert_int_equal(coil_task_uncancel(t), 0);
    assert_int_equal(coil_task_cancelling(fut), 0); /* a plain future counts none */
    coil_unref(t);
    coil_unref(fut);
}

/* ---- what travels with an error ---- */

static coil_ret set_and_sleep(void *unused)
{
    assert_int_equal(coil_future_set_result(fut, 1), 0);
    return coil_sleep(10);
}

static void cancel_with_words(void *task)
{
    coil_task_cancel(task, "msg");
}

static coil_ret raise_from_cancel(void *unused)
{
    coil_task *inner = spawn(set_and_sleep, NULL);
    assert_int_equal(coil_await(fut), 1);
    soon(cancel_with_words, inner);
    coil_ret rc = coil_join(inner);
    return rc == -ECANCELED ? coil_fail_from(COIL_EUSER, "cancelled") : rc;
}

PLAY(test_cancellation_exception_context)
{
    fut = coil_loop_create_future(NULL);
    assert_int_equal(end_of(spawn(raise_from_cancel, NULL)), COIL_EUSER);
    const coil_error *e = coil_last_error();
    assert_string_equal(e->message, "cancelled");
    assert_int_equal(there(e->cause)->code, -ECANCELED);
    assert_string_equal(e->cause->message, "msg");
    assert_null(e->cause->cause);
    coil_unref(fut);
}

static coil_ret await_each_other(void *depth)
{
    if (!depth)
        return coil_sleep(10);
    return end_of(spawn(await_each_other, (char *)depth - 1));
}

PLAY(cancel_goes_down_a_chain_of_awaits_and_its_words_come_back)
{
    t = spawn(await_each_other, (void *)3);
    for (int i = 0; i < 5; i++)
        turn();
    coil_task_cancel(t, "my message");
    assert_int_equal(end_of(t), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "my message");
}

/* ---- wrong awaits ---- */

static coil_ret await_t(void *unused)
{
    return coil_await(t);
}

PLAY(test_task_awaits_on_itself)
{
    t = spawn(await_t, NULL);
    assert_int_equal(coil_await(t), COIL_ESELFAWAIT);
    coil_unref(t);
}

PLAY(test_other_loop_future)
{
    coil_loop *other = coil_new_event_loop(NULL);
    fut = coil_loop_create_future(other);
    assert_int_equal(end_of(spawn(await_fut, NULL)), COIL_EWRONGLOOP);
    coil_unref(fut);
    coil_loop_free(other);
}

static coil_ret yield_one(coil_gen *gen, void *unused)
{
    return coil_gen_yield(gen, 1);
}

PLAY(generator_where_a_coroutine_belongs_is_refused)
{
    coil_gen *gen = coil_gen_new(yield_one, NULL);
    assert_int_equal(coil_await(gen), COIL_ETYPE);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CREATED); /* nothing of it ran */
    coil_gen_unref(gen);
}

PLAY(future_that_is_not_there_is_refused)
{
    assert_int_equal(coil_await((coil_future *)NULL), -EINVAL);
    assert_int_equal(coil_await((coil_coro *)NULL), -EINVAL);
    assert_int_equal(coil_await(coil_create_task(NULL, NULL)), -EINVAL);
}

/* ---- steps ---- */

static coil_ret note_name(void *name)
{
    note("%s", (char *)name);
    return 0;
}

/* S074 to S077, S092: creating does not run; first steps come in order of creation. */
PLAY(tasks_start_in_the_order_of_their_creation)
{
    coil_task *five[5];
    const char *names[] = {"1", "2", "3", "4", "5"};
    for (int i = 0; i < 5; i++)
        five[i] = spawn(note_name, names[i]);
    assert_trace("");
    note("main waits");
    assert_int_equal(coil_gather(five, 5, NULL, COIL_UNREF), 0);
    assert_trace("main waits 1 2 3 4 5");
}

static coil_ret worker(void *name)
{
    for (int i = 1; i <= 2; i++) {
        note("%s%d", (char *)name, i);
        coil_ret rc = coil_sleep(0);
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

/* S002, S061: one runs until it waits, then the next one. */
PLAY(tasks_take_turns_at_their_awaits)
{
    coil_task *two[] = {spawn(worker, "a"), spawn(worker, "b")};
    assert_int_equal(coil_gather(two, 2, NULL, COIL_UNREF), 0);
    assert_trace("a1 b1 a2 b2");
}

static int inside;

static coil_ret alone(void *n)
{
    for (int i = 0; i < 20; i++) {
        assert_int_equal(inside++, 0);
        coil_loop_stats_t stats;
        coil_loop_stats(NULL, &stats); /* calls that do not wait let nobody else in */
        assert_int_equal(coil_task_state(self()), COIL_TASK_RUNNING);
        inside--;
        coil_ret rc = coil_sleep((intptr_t)n % 2 ? 0 : 0.001);
        if (coil_iserr(rc))
            return rc;
    }
    return 0;
}

/* S003: concurrent is not parallel. */
PLAY(no_two_coroutines_of_a_loop_run_at_the_same_time)
{
    coil_task *ten[10];
    inside = 0;
    for (int i = 0; i < 10; i++)
        ten[i] = spawn(alone, (void *)(intptr_t)i);
    assert_int_equal(coil_gather(ten, 10, NULL, COIL_UNREF), 0);
}

static void inc(void *n)
{
    ++*(int *)n;
}

PLAY(test_sleep_zero)
{
    int n = 0;
    soon(inc, &n);
    assert_int_equal(n, 0);
    uint64_t before = turns();
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(n, 1);
    assert_int_equal(turns(), before + 1); /* exactly one */
    before = turns();
    assert_int_equal(coil_sleep(-5), 0);
    assert_int_equal(turns(), before + 1);
}

PLAY(sleep_of_nan_is_refused)
{
    assert_int_equal(coil_sleep(NAN), -EINVAL);
}

static coil_ret sleep_ten(void *unused)
{
    return coil_sleep(10);
}

PLAY(test_sleep_cancel)
{
    coil_loop_stats_t stats;
    t = spawn(sleep_ten, NULL);
    turn();
    coil_loop_stats(NULL, &stats);
    assert_int_equal(stats.timers, 1);
    assert_string_equal(coil_task_waiting_on(t), "sleep");
    cancel(t);
    turn();
    coil_loop_stats(NULL, &stats);
    assert_int_equal(stats.timers, 0);
    assert_int_equal(end_of(t), -ECANCELED);
}

static coil_ret deeper(int depth, intptr_t expected)
{
    if (depth == 0)
        return coil_await(fut);
    volatile intptr_t local = expected + depth;
    coil_ret rc = deeper(depth - 1, expected);
    assert_int_equal(local, expected + depth); /* each frame is as it was */
    assert_ptr_equal(self(), t);
    return rc;
}

static coil_ret go_deep(void *unused)
{
    return deeper(50, 1000);
}

/* S095 to S097: a chain of calls stops as one, and belongs to one task. */
PLAY(chain_of_any_depth_stops_and_goes_on_as_one)
{
    fut = coil_loop_create_future(NULL);
    t = spawn(go_deep, NULL);
    turn();
    assert_string_equal(coil_task_waiting_on(t), "future");
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    assert_int_equal(stats.ready, 0); /* S116: who waits is not in the queue */
    assert_int_equal(stats.tasks, 2);
    assert_int_equal(coil_future_set_result(fut, 5), 0);
    coil_loop_stats(NULL, &stats);
    assert_int_equal(stats.ready, 1);
    assert_string_equal(coil_task_waiting_on(t), "");
    assert_int_equal(end_of(t), 5);
    coil_unref(fut);
}

/* ---- the coroutine object ---- */

static coil_ret current_is(void *task)
{
    note("ran");
    assert_ptr_equal(self(), task);
    return 3;
}

PLAY(coroutine_object_runs_in_the_task_that_awaits_it)
{
    coil_coro *coro = coil_coro_new(current_is, self());
    turn();
    assert_trace("");
    assert_int_equal(coil_coro_state(coro), COIL_CORO_CREATED);
    uint64_t before = turns();
    assert_int_equal(coil_await(coro), 3);
    assert_int_equal(turns(), before); /* no task, no turn */
    assert_trace("ran");
}

static coil_coro *object;

static coil_ret look_at_object(void *unused)
{
    assert_int_equal(coil_coro_state(object), COIL_CORO_RUNNING);
    return coil_await(fut);
}

PLAY(coroutine_object_knows_its_state_and_is_taken_once)
{
    fut = coil_loop_create_future(NULL);
    object = coil_coro_new(look_at_object, NULL);
    t = coil_create_task_coro(object);
    turn();
    assert_int_equal(coil_coro_state(object), COIL_CORO_SUSPENDED);
    assert_int_equal(coil_await(object), COIL_EINVALIDSTATE); /* somebody awaits it already */
    assert_int_equal(coil_future_set_result(fut, 4), 0);
    assert_int_equal(end_of(t), 4);
    coil_unref(fut);
}

/* ---- what a task tells ---- */

PLAY(test_set_name_and_get_name)
{
    coil_task_opts opts = {.size = sizeof opts, .name = "a name of more than thirty-one bytes"};
    t = coil_create_task_opts(note_name, "x", &opts);
    assert_string_equal(coil_task_get_name(t), "a name of more than thirty-one ");
    coil_task_set_name(t, "other");
    assert_string_equal(coil_task_get_name(t), "other");
    assert_int_equal(end_of(t), 0);
    coil_task *a = spawn(note_name, "x"), *b = spawn(note_name, "x");
    int first, second;
    assert_int_equal(sscanf(coil_task_get_name(a), "Task-%d", &first), 1);
    assert_int_equal(sscanf(coil_task_get_name(b), "Task-%d", &second), 1);
    assert_int_equal(second, first + 1);
    assert_int_equal(end_of(a), 0);
    assert_int_equal(end_of(b), 0);
}

PLAY(task_tells_what_it_is_made_of)
{
    void *arg;
    int line;
    t = spawn(note_name, "x"), line = 0;
    assert_true(coil_is_task(t));
    assert_true(coil_task_get_fn(t, &arg) == note_name);
    assert_string_equal(arg, "x");
    assert_non_null(strstr(coil_task_created_at(t, &line), "play.h"));
    assert_true(line > 0);
    assert_ptr_equal(coil_future_get_loop(t), coil_get_running_loop());
    assert_non_null(coil_task_get_context(t));
    assert_int_equal(coil_task_state(t), COIL_TASK_PENDING);
    assert_int_equal(coil_task_state(self()), COIL_TASK_RUNNING);
    assert_int_equal(coil_await(t), 0);
    assert_int_equal(coil_task_state(t), COIL_TASK_DONE);
    coil_unref(t);
}

/* S048: the result of a task is its coroutine's business. */
PLAY(test_set_result_and_set_exception_of_a_task)
{
    t = spawn(note_name, "x");
    assert_int_equal(coil_future_set_result(t, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_future_set_exception(t, -EIO), COIL_EINVALIDSTATE);
    assert_int_equal(end_of(t), 0);
}

static void no_task_here(void *unused)
{
    assert_null(coil_current_task());
    note("callback");
}

PLAY(test_current_task_no_running_loop_and_in_callbacks)
{
    soon(no_task_here, NULL);
    coil_task *me = self();
    turn();
    assert_trace("callback");
    assert_ptr_equal(self(), me);
}

PLAY(test_all_tasks)
{
    coil_task *out[4], *a = spawn(sleep_ten, NULL), *b = spawn(note_name, "x");
    assert_int_equal(coil_all_tasks(NULL, NULL, 0), 3);
    turn();
    assert_int_equal(coil_all_tasks(NULL, out, 4), 2); /* b is done */
    assert_ptr_equal(out[0], self());
    assert_ptr_equal(out[1], a);
    coil_unref(out[0]);
    coil_unref(out[1]);
    cancel(a);
    assert_int_equal(end_of(a), -ECANCELED);
    assert_int_equal(end_of(b), 0);
}

static coil_ret give_struct(void *arg)
{
    const int *copied = arg;
    coil_ret rc = coil_sleep(0);
    return coil_iserr(rc) ? rc : copied[0] + copied[1];
}

static coil_task *spawn_with_locals(void)
{
    int locals[] = {40, 2};
    return coil_create_task_with(give_struct, locals, sizeof locals);
}

PLAY(arguments_that_are_copied_outlive_the_caller_s)
{
    assert_int_equal(end_of(spawn_with_locals()), 42);
}

/* ---- task factories ---- */

static int made;

static coil_task *my_task(coil_loop *loop, const coil_task_recipe *recipe,
                          const coil_task_opts *opts, void *unused)
{
    made++;
    return coil_task_new(loop, recipe, opts);
}

PLAY(test_set_task_factory)
{
    made = 0;
    assert_null(coil_loop_get_task_factory(NULL, NULL));
    assert_int_equal(coil_loop_set_task_factory(NULL, my_task, &made), 0);
    void *arg;
    assert_true(coil_loop_get_task_factory(NULL, &arg) == my_task);
    assert_ptr_equal(arg, &made);
    assert_int_equal(end_of(coil_create_task(note_name, "x")), 0);
    assert_int_equal(made, 1);
    assert_int_equal(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    assert_null(coil_loop_get_task_factory(NULL, NULL));
    assert_int_equal(end_of(coil_create_task(note_name, "y")), 0);
    assert_int_equal(made, 1);
    assert_trace("x y");
}

static void create_named_task(void)
{
    t = coil_create_task_opts(
        note_name, "x", &((coil_task_opts){.size = sizeof(coil_task_opts), .name = "test_task"}));
    assert_string_equal(coil_task_get_name(t), "test_task");
    assert_int_equal(end_of(t), 0);
}

PLAY(test_create_named_task_with_default_factory)
{
    create_named_task();
    assert_trace("x");
}

PLAY(test_create_named_task_with_custom_factory)
{
    assert_int_equal(coil_loop_set_task_factory(NULL, my_task, NULL), 0);
    create_named_task();
    assert_trace("x");
}

static coil_task *corrupted(coil_loop *loop, const coil_task_recipe *recipe,
                            const coil_task_opts *opts, void *unused)
{
    coil_future *failed = coil_loop_create_future(loop);
    coil_future_set_exception(failed, coil_fail(COIL_EUSER, "a corrupted factory"));
    return failed;
}

/* The caller in the other thread learns why. */
PLAY(test_run_coroutine_threadsafe_task_factory_exception)
{
    assert_int_equal(coil_loop_set_task_factory(NULL, corrupted, NULL), 0);
    coil_thread_future *future = coil_run_coroutine_threadsafe(coil_get_running_loop(), note_name,
                                                               "x");
    assert_int_equal(coil_join(coil_wrap_future(future, NULL)), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "a corrupted factory");
    coil_thread_future_unref(future);
    assert_trace("");
}

/* So does one whose arguments leave no room on the task's stack. */
PLAY(threadsafe_coroutine_that_cannot_be_made_is_told_to_its_caller)
{
    enum { TOO_MUCH = 64 << 20 };
    char *args = calloc(1, TOO_MUCH);
    coil_thread_future *future = coil_run_coroutine_threadsafe_with(coil_get_running_loop(),
                                                                    give_struct, args, TOO_MUCH);
    assert_int_equal(coil_join(coil_wrap_future(future, NULL)), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "leave no room"));
    coil_thread_future_unref(future);
    free(args);
}

/* ---- eager tasks ---- */

static const coil_task_opts eager = {.size = sizeof(coil_task_opts), .eager = true};

static coil_ret finish_after_blocking(void *unused)
{
    note("first step");
    coil_ret rc = coil_sleep(0.1);
    note("second step");
    return coil_iserr(rc) ? rc : 5;
}

PLAY(test_eager_completion)
{
    coil_loop_stats_t stats;
    t = coil_create_task_opts(note_name, "x", &eager);
    assert_true(coil_future_done(t));
    assert_trace("x");
    coil_loop_stats(NULL, &stats);
    assert_int_equal(stats.ready, 0); /* it was never queued */
    assert_int_equal(stats.tasks, 1);
    assert_int_equal(end_of(t), 0);
}

PLAY(test_block_after_eager_step)
{
    t = coil_create_task_opts(finish_after_blocking, NULL, &eager);
    assert_trace("first step");
    assert_false(coil_future_done(t));
    coil_task *out[2];
    assert_int_equal(coil_all_tasks(NULL, out, 2), 2);
    coil_unref(out[0]);
    coil_unref(out[1]);
    assert_int_equal(coil_await(t), 5);
    assert_true(coil_future_done(t));
    coil_unref(t);
}

PLAY(test_cancellation_after_eager_step_blocks)
{
    t = coil_create_task_opts(finish_after_blocking, NULL, &eager);
    coil_task_cancel(t, "cancellation message");
    assert_true(coil_task_cancelling(t) > 0);
    assert_int_equal(end_of(t), -ECANCELED);
    assert_string_equal(coil_last_error()->message, "cancellation message");
}

PLAY(test_eager_task_factory_set)
{
    assert_int_equal(coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL), 0);
    assert_true(coil_loop_get_task_factory(NULL, NULL) == coil_eager_task_factory);
    t = coil_create_task(note_name, "x");
    assert_true(coil_is_task(t));
    assert_trace("x");
    assert_int_equal(end_of(t), 0);
}

static coil_ret set_fut(void *value)
{
    return coil_future_set_result(fut, (coil_ret)value);
}

PLAY(test_await_future_during_eager_step)
{
    assert_int_equal(coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL), 0);
    fut = coil_loop_create_future(NULL);
    t = coil_create_task(set_fut, (void *)5);
    assert_true(coil_future_done(t));
    assert_int_equal(end_of(fut), 5);
    assert_int_equal(end_of(t), 0);
}

PLAY(test_cancellation_after_eager_completion)
{
    t = coil_create_task_opts(note_name, "x", &eager);
    assert_false(coil_task_cancel(t, NULL));
    assert_false(coil_future_cancelled(t));
    assert_int_equal(end_of(t), 0);
    assert_trace("x");
}

static coil_task *captured;

static coil_ret capture_current(void *unused)
{
    captured = self();
    coil_ret rc = coil_sleep(0.1);
    assert_ptr_equal(self(), captured);
    return rc;
}

PLAY(test_current_task)
{
    coil_task *me = self();
    t = coil_create_task_opts(capture_current, NULL, &eager);
    assert_ptr_equal(captured, t);
    assert_ptr_equal(self(), me);
    assert_int_equal(end_of(t), 0);
}

/* In asyncio its coroutine is dropped at once (issue 122332); here its stack is. */
PLAY(eager_task_that_is_done_gives_its_stack_back)
{
    coil_loop_stats_t before, after;
    coil_loop_stats(NULL, &before);
    coil_unref(coil_create_task_opts(note_name, "x", &eager));
    coil_loop_stats(NULL, &after);
    assert_int_equal(after.stacks, before.stacks);
    assert_trace("x");
}

COIL_TEST_PLAIN(eager_task_without_a_running_loop_starts_later)
{
    coil_run_opts run = {.size = sizeof run, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&run);
    coil_task_opts opts = eager;
    opts.loop = loop;
    play_trace[0] = '\0';
    t = coil_create_task_opts(note_name, "x", &opts);
    assert_trace("");
    assert_int_equal(coil_loop_run_until_complete(loop, t), 0);
    assert_trace("x");
    coil_unref(t);
    coil_loop_free(loop);
}

/* ---- contexts ---- */

static const coil_contextvar cvar = COIL_CONTEXTVAR("cvar", (void *)-1);

static intptr_t get_cvar(void)
{
    return (intptr_t)coil_contextvar_get(&cvar);
}

static void set_cvar(intptr_t value)
{
    assert_int_equal(coil_contextvar_set(&cvar, (void *)value, NULL), 0);
}

static void spoil(coil_future *future, void *unused)
{
    set_cvar(1000);
}

static void finish_it(void *future)
{
    assert_int_equal(coil_future_set_result(future, 0), 0);
}

static coil_ret context_2(void *unused)
{
    assert_int_equal(get_cvar(), -1);
    for (int j = 0; j < 2; j++) {
        fut = coil_loop_create_future(NULL);
        assert_int_equal(coil_future_add_done_callback(fut, spoil, NULL), 0);
        set_cvar(j);
        soon(finish_it, fut);
        assert_int_equal(coil_join(fut), 0);
        assert_int_equal(get_cvar(), j);
        for (int i = 0; i < 3; i++) {
            set_cvar(i * 10 + j);
            assert_int_equal(coil_sleep(0.001), 0);
            assert_int_equal(get_cvar(), i * 10 + j);
        }
    }
    return 0;
}

PLAY(test_context_2)
{
    assert_int_equal(end_of(spawn(context_2, NULL)), 0);
    assert_int_equal(get_cvar(), -1); /* what a task sets does not leak out */
}

static coil_ret set_later(void *value)
{
    turn();
    set_cvar((intptr_t)value);
    return 0;
}

PLAY(test_context_5)
{
    void *value;
    coil_context *context = coil_copy_context();
    coil_task_opts opts = {.size = sizeof opts, .context = context};
    assert_false(coil_context_get(context, &cvar, &value));
    for (intptr_t i = 1; i <= 2; i++) {
        assert_int_equal(end_of(coil_create_task_opts(set_later, (void *)i, &opts)), 0);
        assert_true(coil_context_get(context, &cvar, &value));
        assert_int_equal((intptr_t)value, i);
    }
    assert_int_equal(get_cvar(), -1);
    coil_context_unref(context);
}

/* ---- destroyed while pending ---- */

static char reported[256];

static void keep_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    snprintf(reported, sizeof reported, "%s", context->message);
    assert_ptr_equal(context->task, context->future);
}

static coil_ret kill_me(void *unused)
{
    coil_ret rc = coil_join(coil_loop_create_future(NULL));
    note("%s", coil_errname(rc));
    return rc;
}

COIL_TEST_PLAIN(test_log_destroyed_pending_task)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    coil_task_opts task_opts = {.size = sizeof task_opts, .loop = loop, .name = "victim"};
    play_trace[0] = reported[0] = '\0';
    coil_loop_set_exception_handler(loop, keep_report, NULL);
    coil_unref(coil_create_task_opts(kill_me, NULL, &task_opts));
    assert_int_equal(coil_all_tasks(loop, NULL, 0), 1);
    coil_loop_stop(loop);
    assert_int_equal(coil_loop_run_forever(loop), 0);
    assert_string_equal(reported, "");
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(coil_all_tasks(loop, NULL, 0), 0);
    assert_non_null(strstr(reported, "Task was destroyed but it is pending! victim"));
    assert_non_null(strstr(reported, "tasks.c:")); /* where it was made */
    assert_trace("COIL_EEXIT");
    coil_loop_free(loop);
}

COIL_TEST_MAIN()
