/* SPDX-License-Identifier: MIT
 *
 * test_await.c: waiting: for futures, tasks, coroutine objects, awaitables of one's own, a time, a
 * descriptor; and running a loop until one thing is done. */
#include "task/task.h"

#include "../loop/stage.h"

#include <coil/combine.h>

#include <math.h>
#include <sys/socket.h>

static coil_ret give(void *arg)
{
    return (coil_ret)arg;
}

static coil_ret blow_up(void *arg)
{
    return coil_fail(COIL_EUSER, "%s", (const char *)arg);
}

static uint64_t switches(void)
{
    coil_loop_stats_t s;
    coil_loop_stats(stage.loop, &s);
    return s.switches;
}

static coil_task *start(coil_fn fn, const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    return coil_create_task_opts(fn, arg, &opts);
}

/* ---- futures and tasks ---- */

TASK(await_of_something_done_does_not_switch)
{
    coil_future *f = coil_loop_create_future(NULL);
    FACT_INT(coil_future_set_result(f, 7), 0);
    uint64_t before = switches();
    soon(note_arg, "later");
    FACT_INT(coil_await(f), 7);
    FACT_INT(coil_await(f), 7);
    FACT_INT(switches() - before, 0);
    FACT_TRACE("");
    FACT_INT(coil_join(f), 7);
    pass();
    FACT_TRACE("later");
    return 0;
}

TASK(await_gives_the_result_the_error_or_the_cancellation)
{
    coil_task *t = coil_create_task(give, (void *)5);
    FACT_INT(coil_join(t), 5);
    t = coil_create_task(blow_up, TEXT("words"));
    FACT_INT(coil_await(t), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "words");
    FACT_TEXT(coil_last_error()->task, coil_task_get_name(t)); /* where it happened */
    FACT_INT(coil_join(t), COIL_EUSER);
    coil_future *f = coil_loop_create_future(NULL);
    coil_future_cancel(f, "enough");
    FACT_INT(coil_join(f), -ECANCELED);
    FACT_ERROR(-ECANCELED, "enough");
    FACT_INT(coil_task_cancelling(coil_current_task()), 0); /* what I awaited was, not I */
    return 0;
}

static coil_ret chain_link(void *arg)
{
    intptr_t n = (intptr_t)arg;
    if (n == 0)
        return blow_up(TEXT("at the bottom"));
    return coil_join(coil_create_task(chain_link, (void *)(n - 1)));
}

TASK(await_passes_an_error_up_a_chain_of_tasks)
{
    FACT_INT(coil_join(coil_create_task(chain_link, (void *)10)), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "at the bottom");
    return 0;
}

static coil_future *shared;

static coil_ret await_shared(void *arg)
{
    coil_ret rc = coil_await(shared);
    note("%s%ld", (const char *)arg, (long)rc);
    return rc;
}

TASK(await_by_many_wakes_them_in_order)
{
    shared = coil_loop_create_future(NULL);
    coil_task *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = coil_create_task(await_shared, TEXT(i == 0 ? "a" : i == 1 ? "b" : "c"));
    pass();
    FACT_TEXT(coil_task_waiting_on(t[0]), "future");
    FACT_INT(coil_future_set_result(shared, 1), 0);
    FACT_TEXT(coil_task_waiting_on(t[0]), ""); /* woken already */
    coil_unref(shared);                        /* the waits hold it */
    pass();
    FACT_TRACE("a1 b1 c1");
    for (int i = 0; i < 3; i++)
        FACT_INT(coil_join(t[i]), 1);
    return 0;
}

TASK(await_of_itself_is_refused)
{
    FACT_INT(coil_await(coil_current_task()), COIL_ESELFAWAIT);
    FACT_ERROR(COIL_ESELFAWAIT, "Task cannot await on itself");
    FACT_INT(coil_sleep(0), 0); /* and nothing broke */
    return 0;
}

TASK(await_of_another_loops_future_is_refused)
{
    coil_loop *other = stage_new_loop(true);
    coil_future *f = coil_loop_create_future(other);
    FACT_INT(coil_await(f), COIL_EWRONGLOOP);
    FACT_ERROR(COIL_EWRONGLOOP, "different loop");
    FACT_INT(coil_future_set_result(f, 4), 0);
    FACT_INT(coil_await(f), 4); /* done: there is nothing to wait for */
    coil_unref(f);
    coil_loop_free(other);
    return 0;
}

TASK(await_of_nothing_is_refused)
{
    FACT_INT(coil_await((coil_future *)NULL), -EINVAL);
    FACT_INT(coil_await((coil_coro *)NULL), -EINVAL);
    FACT_INT(coil_await((coil_awaitable *)NULL), COIL_ETYPE);
    FACT_INT(coil_join(NULL), -EINVAL);
    coil_awaitable empty = {0};
    FACT_INT(coil_await(&empty), COIL_ETYPE);
    coil_future *f = coil_ensure_future((coil_future *)NULL);
    FACT_INT(coil_join(f), -EINVAL);
    f = coil_ensure_future((coil_coro *)NULL);
    FACT_INT(coil_join(f), -EINVAL);
    return 0;
}

LOOP(await_outside_a_task_is_refused)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_await(f), COIL_ENOTASK);
    FACT_INT(coil_await(coil_coro_new(give, NULL)), COIL_ENOTASK); /* consumed all the same */
    coil_awaitable a = {0};
    FACT_INT(coil_await(&a), COIL_ENOTASK);
    FACT_INT(coil_join(f), COIL_ENOTASK); /* the reference is given back */
}

TASK(await_of_a_failed_future_meets_the_error)
{
    coil_task *t = coil_create_task(NULL, NULL);
    FACT_INT(coil_await(t), -EINVAL);
    FACT_ERROR(-EINVAL, "a task needs a function");
    FACT_INT(coil_join(t), -EINVAL);
    return 0;
}

static coil_ret gen_body(coil_gen *self, void *arg)
{
    (void)self, (void)arg;
    return 0;
}

TASK(await_of_a_generator_is_a_type_error)
{
    coil_gen *gen = coil_gen_new(gen_body, NULL);
    FACT_INT(coil_await(gen), COIL_ETYPE);
    FACT_ERROR(COIL_ETYPE, "a generator is not a coroutine");
    coil_gen_unref(gen);
    return 0;
}

/* ---- cancelling down a chain, and round in a circle ---- */

enum { LONG_CHAIN = 5000 };

static coil_ret await_next(void *arg)
{
    intptr_t n = (intptr_t)arg;
    if (n == 0)
        return coil_sleep(COIL_FOREVER);
    coil_task_opts opts = {.size = sizeof opts, .stack_size = 16384};
    return coil_join(coil_create_task_opts(await_next, (void *)(n - 1), &opts));
}

TASK(cancel_goes_down_a_chain_of_any_length)
{
    coil_task_opts opts = {.size = sizeof opts, .stack_size = 16384};
    coil_task *top = coil_create_task_opts(await_next, (void *)LONG_CHAIN, &opts);
    while (coil_all_tasks(NULL, NULL, 0) < LONG_CHAIN + 2)
        pass();
    pass();
    FACT(coil_task_cancel(top, "all the way")); /* from this stack, which is a small one */
    FACT_INT(coil_join(top), -ECANCELED);
    FACT_ERROR(-ECANCELED, "all the way");
    return 0;
}

static coil_task *circle[3];

static coil_ret await_the_next_in_the_circle(void *arg)
{
    coil_ret rc = coil_await(circle[((intptr_t)arg + 1) % 3]);
    note("%d%s", (int)(intptr_t)arg, coil_errname(rc));
    return rc;
}

TASK(cancel_breaks_a_circle_of_awaits)
{
    for (int i = 0; i < 3; i++)
        circle[i] = coil_create_task(await_the_next_in_the_circle, (void *)(intptr_t)i);
    pass();
    FACT(coil_task_cancel(circle[1], "enough")); /* CPython's cancel never comes back from this */
    for (int i = 0; i < 3; i++) {
        FACT_INT(coil_await(circle[i]), -ECANCELED);
        FACT_INT(coil_task_cancelling(circle[i]), 1);
    }
    FACT_TRACE("0ECANCELED 2ECANCELED 1ECANCELED");
    for (int i = 0; i < 3; i++)
        coil_unref(circle[i]);
    return 0;
}

static coil_ret await_two(void *arg)
{
    (void)arg;
    coil_ret rc = coil_await(circle[1]);
    note("tail%s", coil_errname(rc));
    return rc;
}

TASK(cancel_breaks_a_circle_it_comes_to)
{
    for (int i = 0; i < 3; i++)
        circle[i] = coil_create_task(await_the_next_in_the_circle, (void *)(intptr_t)i);
    coil_task *tail = coil_create_task(await_two, NULL);
    pass();
    FACT(coil_task_cancel(tail, NULL));
    FACT_INT(coil_join(tail), -ECANCELED);
    for (int i = 0; i < 3; i++)
        FACT_INT(coil_join(circle[i]), -ECANCELED);
    stage.log[0] = '\0';
    return 0;
}

static coil_ret cancel_self_into_circle(void *arg)
{
    coil_task_cancel(coil_current_task(),
                     NULL); /* delivered when it parks, and closes the circle */
    return await_the_next_in_the_circle(arg);
}

TASK(cancel_on_its_way_meets_a_circle_that_closes)
{
    circle[0] = coil_create_task(await_the_next_in_the_circle, (void *)0);
    circle[1] = coil_create_task(await_the_next_in_the_circle, (void *)1);
    circle[2] = coil_create_task(cancel_self_into_circle, (void *)2);
    for (int i = 0; i < 3; i++)
        FACT_INT(coil_await(circle[i]), -ECANCELED);
    for (int i = 0; i < 3; i++)
        coil_unref(circle[i]);
    stage.log[0] = '\0';
    return 0;
}

static coil_ret await_a_gather_of_the_other(void *arg)
{
    coil_future *outer = coil_gather_future(&circle[1 - (intptr_t)arg], 1, 0);
    coil_ret rc = coil_join(outer);
    note("%d%s", (int)(intptr_t)arg, coil_errname(rc));
    return rc;
}

TASK(cancel_breaks_a_circle_of_gathers)
{
    for (int i = 0; i < 2; i++)
        circle[i] = coil_create_task(await_a_gather_of_the_other, (void *)(intptr_t)i);
    pass();
    FACT(coil_task_cancel(circle[0], NULL));
    FACT_INT(coil_await(circle[0]), -ECANCELED);
    FACT_INT(coil_await(circle[1]), -ECANCELED);
    coil_unref(circle[0]);
    coil_unref(circle[1]);
    stage.log[0] = '\0';
    stage.report.n = 0; /* the gather that nobody was left to ask */
    return 0;
}

static coil_future *part_of_it;

static coil_ret await_a_gather_with_itself_in_it(void *itself_twice)
{
    coil_future *members[] = {itself_twice ? coil_current_task() : part_of_it, coil_current_task()};
    coil_future *outer = coil_gather_future(members, 2, 0);
    note("%s", coil_errname(coil_join(outer)));
    note("%s", coil_errname(coil_sleep(0)));
    return 0;
}

TASK(cancel_that_comes_round_twice_is_delivered_once)
{
    coil_task *t = coil_create_task(await_a_gather_with_itself_in_it, TEXT("twice"));
    pass();
    FACT(coil_task_cancel(t, NULL));
    FACT_INT(coil_join(t), 0);
    FACT_TRACE("ECANCELED OK");
    FACT_REPORT("gather exception was never retrieved"); /* it ended when nobody was left to ask */
    return 0;
}

/* Its wait is over by a cancel that came round; what it waited for ends before its turn comes. */
TASK(await_that_a_cancel_has_ended_is_not_ended_again_by_the_future)
{
    part_of_it = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task(await_a_gather_with_itself_in_it, NULL);
    pass();
    FACT(coil_task_cancel(t, NULL));
    FACT(coil_future_cancelled(part_of_it));
    FACT_INT(coil_join(t), 0);
    FACT_TRACE("ECANCELED OK");
    FACT_REPORT("gather exception was never retrieved");
    coil_unref(part_of_it);
    return 0;
}

static int survived;

static coil_ret survive_twice(void *arg)
{
    (void)arg;
    for (survived = 0; survived < 2; survived++)
        if (coil_sleep(100) != -ECANCELED)
            return 0;
    return coil_sleep(100);
}

static coil_ret await_survivor(void *arg)
{
    (void)arg;
    return coil_join(coil_create_task(survive_twice, NULL));
}

static coil_ret await_a_gather_of_it(void *arg)
{
    (void)arg;
    coil_task *t = coil_create_task(survive_twice, NULL);
    return coil_gather(&t, 1, NULL, COIL_UNREF);
}

TASK(cancel_again_goes_to_the_members_of_a_gather_again)
{
    coil_task *t = coil_create_task(await_a_gather_of_it, NULL);
    pass();
    pass();
    for (int i = 0; i < 3; i++) {
        FACT_INT(survived, i);
        FACT(coil_task_cancel(t, NULL));
        pass();
        pass();
    }
    FACT_INT(coil_join(t), -ECANCELED);
    return 0;
}

TASK(cancel_again_goes_down_the_chain_again)
{
    coil_task *t = coil_create_task(await_survivor, NULL);
    pass();
    pass();
    for (int i = 0; i < 3; i++) {
        FACT_INT(survived, i);
        FACT(coil_task_cancel(t, NULL));
        pass();
        pass();
    }
    FACT_INT(coil_join(t), -ECANCELED);
    return 0;
}

/* ---- coroutine objects ---- */

static coil_coro *running_coro;
static enum coil_coro_state state_inside;

static coil_ret look_and_sleep(void *arg)
{
    FACT(coil_current_task() != NULL);
    state_inside = coil_coro_state(running_coro);
    note("in");
    FACT_INT(coil_sleep(1), 0);
    return (coil_ret)arg;
}

TASK(coroutine_awaited_runs_in_this_task)
{
    coil_task *me = coil_current_task();
    uint64_t before = switches();
    running_coro = coil_coro_new(look_and_sleep, (void *)9);
    FACT_INT(coil_coro_state(running_coro), COIL_CORO_CREATED);
    FACT_TRACE(""); /* nothing of it ran */
    FACT_INT(coil_await(running_coro), 9);
    FACT(coil_current_task() == me);
    FACT_INT(state_inside, COIL_CORO_RUNNING);
    FACT_INT(switches() - before, 1); /* only for the sleep */
    FACT_TRACE("in");
    return 0;
}

static coil_ret await_it_too(void *arg)
{
    FACT_INT(coil_coro_state(arg), COIL_CORO_SUSPENDED);
    coil_ret rc = coil_await((coil_coro *)arg);
    FACT_ERROR(COIL_EINVALIDSTATE, "awaited already");
    return rc;
}

TASK(coroutine_is_awaited_once)
{
    running_coro = coil_coro_new(look_and_sleep, (void *)9);
    coil_task *t = coil_create_task(await_it_too, running_coro);
    FACT_INT(coil_await(running_coro), 9);
    FACT_INT(coil_join(t), COIL_EINVALIDSTATE);
    stage.log[0] = '\0';
    return 0;
}

TASK(coroutine_becomes_a_task)
{
    running_coro = coil_coro_new(look_and_sleep, (void *)9);
    coil_task *t = coil_create_task_coro(running_coro);
    FACT_INT(coil_coro_state(running_coro), COIL_CORO_CREATED); /* booked, and not begun */
    FACT(coil_is_task(t));
    pass();
    FACT_INT(coil_coro_state(running_coro), COIL_CORO_SUSPENDED);
    FACT_INT(coil_join(t), 9);
    FACT_TRACE("in");
    return 0;
}

TASK(coroutine_of_a_task_cancelled_before_its_start_is_freed)
{
    coil_task *t = coil_create_task_coro(coil_coro_new(look_and_sleep, NULL));
    coil_task_cancel(t, NULL);
    FACT_INT(coil_join(t), -ECANCELED);
    FACT_TRACE("");
    return 0;
}

LOOP(coroutine_of_a_task_that_never_started_is_freed_at_close)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_unref(coil_create_task_coro_at(__FILE__, __LINE__, coil_coro_new(give, NULL), &opts));
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_REPORT("Task was destroyed but it is pending!");
}

LOOP(coroutine_refused_a_task_is_consumed)
{
    coil_task *t = coil_create_task_coro(coil_coro_new(give, NULL)); /* no loop runs */
    FACT_INT(coil_future_result(t), COIL_ENOLOOP);
    coil_unref(t);
}

PLAIN(coroutine_needs_a_function)
{
    FACT(coil_coro_new(NULL, NULL) == NULL);
    FACT_ERROR(-EINVAL, "a coroutine needs a function");
    FACT_INT(coil_coro_state(NULL), COIL_CORO_CLOSED);
}

/* ---- generators as coroutines ---- */

static coil_future *to_yield;

static coil_ret old_style(coil_gen *self, void *arg)
{
    coil_ret sent = coil_gen_yield(self, 0); /* gives up a turn */
    note("turn:%ld", (long)sent);
    coil_task *t = coil_create_task(give, (void *)21);
    sent = coil_gen_yield(self, (coil_ret)t); /* waited for, and given back */
    note("task:%ld", (long)sent);
    sent = coil_gen_yield(self, (coil_ret)coil_create_task(blow_up, TEXT("words")));
    note("error:%s", coil_errname(sent));
    FACT_ERROR(COIL_EUSER, "words");
    FACT_INT(coil_sleep(1), 0); /* and it may wait by itself */
    return (coil_ret)arg;
}

TASK(generator_runs_as_a_coroutine)
{
    coil_coro *c = coil_gen_to_coro(coil_gen_new(old_style, (void *)8));
    FACT_INT(coil_coro_state(c), COIL_CORO_CREATED);
    FACT_INT(coil_await(c), 8);
    FACT_TRACE("turn:0 task:21 error:COIL_EUSER");
    coil_task *t = coil_create_task_coro(coil_gen_to_coro(coil_gen_new(old_style, (void *)9)));
    FACT_INT(coil_join(t), 9);
    stage.log[0] = '\0';
    return 0;
}

static coil_ret wait_for_one(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ret sent = coil_gen_yield(self, (coil_ret)coil_ref(to_yield));
    note("%s", coil_errname(sent));
    return sent;
}

TASK(generator_as_a_coroutine_is_cancelled_like_one)
{
    to_yield = coil_loop_create_future(NULL);
    coil_task *t = coil_create_task_coro(coil_gen_to_coro(coil_gen_new(wait_for_one, NULL)));
    pass();
    FACT(coil_task_cancel(t, "enough"));
    FACT_INT(coil_join(t), -ECANCELED);
    FACT_ERROR(-ECANCELED, "enough");
    FACT(coil_future_cancelled(to_yield));
    FACT_TRACE("ECANCELED");
    coil_unref(to_yield);
    return 0;
}

static coil_ret yield_nonsense(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ret sent = coil_gen_yield(self, -EIO);
    note("%s", coil_errname(sent));
    return 4;
}

TASK(generator_as_a_coroutine_must_yield_futures)
{
    FACT_INT(coil_await(coil_gen_to_coro(coil_gen_new(yield_nonsense, NULL))), 4);
    FACT_TRACE("COIL_ETYPE");
    FACT(coil_gen_to_coro(NULL) == NULL);
    FACT_ERROR(-EINVAL, "no generator");
    return 0;
}

TASK(generator_as_a_coroutine_never_awaited)
{
    coil_coro_free(coil_gen_to_coro(coil_gen_new(old_style, NULL)));
    FACT_REPORT("coroutine 'old_style' was never awaited");
    coil_coro_close(coil_gen_to_coro(coil_gen_new(old_style, NULL)));
    FACT_TRACE("");
    return 0;
}

LOOP(generator_as_a_coroutine_is_unwound)
{
    to_yield = coil_loop_create_future(stage.loop);
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_unref(coil_create_task_coro_at(__FILE__, __LINE__,
                                        coil_gen_to_coro(coil_gen_new(wait_for_one, NULL)), &opts));
    one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("COIL_EEXIT");
    FACT_REPORT("destroyed but it is pending");
    coil_unref(to_yield);
}

/* ---- awaitables of one's own ---- */

struct countdown {
    coil_awaitable awaitable; /* first */
    int n;
};

static coil_ret count_down(coil_awaitable *self)
{
    struct countdown *c = (struct countdown *)self;
    while (c->n > 0) {
        c->n--;
        coil_ret rc = coil_sleep(1);
        if (coil_iserr(rc))
            return rc;
    }
    return 33;
}

TASK(awaitable_of_ones_own)
{
    struct countdown c = {{count_down}, 3};
    double before = now();
    FACT_INT(coil_await(&c.awaitable), 33);
    FACT(about(now() - before, 3));
    FACT_INT(c.n, 0);
    c.n = 2;
    coil_future *f = coil_ensure_future(&c.awaitable);
    FACT(coil_is_task(f));
    FACT_INT(coil_join(f), 33);
    return 0;
}

TASK(ensure_future_of_a_future_is_that_future)
{
    coil_future *f = coil_loop_create_future(NULL), *same = coil_ensure_future(f);
    FACT(same == f);
    coil_unref(f);
    FACT_INT(coil_future_set_result(same, 1), 0);
    FACT_INT(coil_join(same), 1);
    coil_future *t = coil_ensure_future(coil_coro_new(give, (void *)4));
    FACT(coil_is_task(t));
    FACT_INT(coil_join(t), 4);
    return 0;
}

/* ---- sleeping ---- */

TASK(sleep_takes_its_time)
{
    double before = now();
    FACT_INT(coil_sleep(2.5), 0);
    FACT(about(now() - before, 2.5));
    FACT_INT(coil_sleep((double)NAN), -EINVAL);
    FACT_ERROR(-EINVAL, "NaN");
    FACT(about(now() - before, 2.5));
    return 0;
}

TASK(sleep_of_nothing_or_less_is_one_turn_and_no_timer)
{
    coil_loop_stats_t s, t;
    coil_loop_stats(stage.loop, &s);
    soon(note_arg, "a");
    FACT_INT(coil_sleep(0), 0);
    FACT_TRACE("a");
    FACT_INT(coil_sleep(-5), 0);
    FACT_INT(coil_sleep(-INFINITY), 0);
    coil_loop_stats(stage.loop, &t);
    FACT_INT(t.turns - s.turns, 3);
    FACT_INT(t.timers, 0);
    return 0;
}

static coil_ret sleep_long(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

TASK(sleep_cancelled_takes_its_timer_along)
{
    coil_loop_stats_t s;
    coil_task *t = coil_create_task(sleep_long, NULL);
    pass();
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.timers, 1);
    FACT_TEXT(coil_task_waiting_on(t), "sleep");
    coil_task_cancel(t, NULL);
    FACT_INT(coil_join(t), -ECANCELED);
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.timers, 0);
    return 0;
}

static coil_task *to_cancel;

static void cancel_it(void *arg)
{
    (void)arg;
    coil_task_cancel(to_cancel, NULL);
}

static coil_ret sleep_one(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(1);
    note("%s", coil_errname(rc));
    coil_ret again = coil_sleep(1);
    note("%s", coil_errname(again));
    return rc;
}

TASK(sleep_cancelled_in_the_turn_it_ends)
{
    /* The timer of the cancel is due with that of the sleep: before it, and after it. */
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            later(1, cancel_it, NULL);
        to_cancel = coil_create_task(sleep_one, NULL);
        pass();
        if (i == 1)
            later(1, cancel_it, NULL);
        FACT_INT(coil_join(to_cancel), -ECANCELED);
    }
    FACT_TRACE("ECANCELED OK ECANCELED OK");
    return 0;
}

static void cancel_it_and_take_long(void *arg)
{
    coil_loop *loop = coil__running_loop;
    cancel_it(arg);
    clock_advance_to(&loop->clock, loop_now_ns(loop) + 2 * NS_PER_S);
}

static coil_ret sleep_one_then_more(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(1);
    double before = coil_loop_time(NULL);
    FACT_INT(coil_sleep(100), 0); /* in the frame that the first one had */
    FACT(coil_loop_time(NULL) - before >= 100);
    return rc;
}

/* The timer is due while the cancelled task stands in line: its slot is queued behind the task's step, which ends the sleep. */
TASK(sleep_cancelled_before_it_is_due_leaves_no_slot_behind)
{
    to_cancel = coil_create_task(sleep_one_then_more, NULL);
    pass();
    soon(cancel_it_and_take_long, NULL);
    FACT_INT(coil_join(to_cancel), -ECANCELED);
    return 0;
}

/* ---- descriptors ---- */

static int pair[2];

static void open_pair(void)
{
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(void)
{
    close(pair[0]);
    close(pair[1]);
}

static coil_ret wait_readable(void *arg)
{
    (void)arg;
    return coil_wait_fd(pair[0], COIL_READ);
}

TASK(wait_fd_says_what_is_ready)
{
    char c;
    open_pair();
    FACT_INT(coil_wait_fd(pair[0], COIL_WRITE), COIL_WRITE);
    FACT_INT(coil_wait_fd(pair[0], COIL_READ | COIL_WRITE), COIL_WRITE);
    FACT_INT(write(pair[1], "x", 1), 1);
    FACT_INT(coil_wait_fd(pair[0], COIL_READ), COIL_READ);
    FACT_INT(coil_wait_fd(pair[0], COIL_READ), COIL_READ); /* level: it is still there */
    FACT_INT(coil_wait_fd(pair[0], COIL_READ | COIL_WRITE), COIL_READ | COIL_WRITE);
    FACT_INT(read(pair[0], &c, 1), 1);
    coil_task *t = coil_create_task(wait_readable, NULL);
    pass();
    FACT_TEXT(coil_task_waiting_on(t), "fd");
    close(pair[1]);
    FACT_INT(coil_join(t), COIL_READ); /* the end of the stream is something to read */
    close(pair[0]);
    return 0;
}

TASK(wait_fd_cancelled_leaves_no_trace)
{
    coil_loop_stats_t s;
    open_pair();
    coil_task *t = coil_create_task(wait_readable, NULL);
    pass();
    coil_task_cancel(t, "enough");
    FACT_INT(coil_join(t), -ECANCELED);
    FACT_ERROR(-ECANCELED, "enough");
    coil_loop_stats(stage.loop, &s);
    FACT_INT(s.ops, 0);
    FACT_INT(write(pair[1], "x", 1), 1);
    FACT_INT(coil_wait_fd(pair[0], COIL_READ), COIL_READ);
    close_pair();
    return 0;
}

static coil_ret wait_and_tell(void *arg)
{
    (void)arg;
    coil_ret rc = coil_wait_fd(pair[0], COIL_READ);
    note("%ld", (long)rc);
    rc = coil_sleep(1); /* here comes the cancel that was too late */
    note("%s", coil_errname(rc));
    return rc;
}

TASK(wait_fd_cancelled_twice_is_cancelled_once)
{
    open_pair();
    coil_task *t = coil_create_task(wait_readable, NULL);
    pass();
    pass();
    FACT(coil_task_cancel(t, NULL));
    FACT(coil_task_cancel(t, NULL)); /* perhaps before the kernel has answered to the first */
    FACT_INT(coil_task_cancelling(t), 2);
    FACT_INT(coil_join(t), -ECANCELED);
    close_pair();
    return 0;
}

TASK(wait_fd_that_was_quicker_than_the_cancel_keeps_its_result)
{
    open_pair();
    coil_task *t = coil_create_task(wait_and_tell, NULL);
    pass();
    FACT_INT(write(pair[1], "x", 1), 1);
    to_cancel = t;
    while (*coil_task_waiting_on(t)) /* until it is woken, and has not run */
        pass();
    if (!coil_future_done(t) && stage.log[0] == '\0')
        coil_task_cancel(t, NULL);
    coil_ret rc = coil_join(t);
    FACT(rc == -ECANCELED || rc == 0);
    FACT_HAS(stage.log, "1 ");
    stage.log[0] = '\0';
    close_pair();
    return 0;
}

TASK(wait_fd_refuses_what_cannot_be_waited_for)
{
    FACT_INT(coil_wait_fd(0, 0), -EINVAL);
    FACT_INT(coil_wait_fd(0, 8), -EINVAL);
    FACT_INT(coil_wait_fd(0, COIL_READ | 4), -EINVAL);
    FACT_INT(coil_wait_fd(987, COIL_READ), -EBADF);
    FACT_INT(coil_wait_fd(-1, COIL_READ), -EBADF);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    FACT_INT(coil_wait_fd(file, COIL_READ), -EPERM);
    close(file);
    return 0;
}

static coil_ret wait_both_ways(void *arg)
{
    coil_ret rc = coil_wait_fd(pair[0], (unsigned)(uintptr_t)arg);
    note("%ld", (long)rc);
    return rc;
}

TASK(wait_fd_by_several_tasks)
{
    open_pair();
    coil_task *r1 = coil_create_task(wait_both_ways, (void *)COIL_READ);
    coil_task *r2 = coil_create_task(wait_both_ways, (void *)COIL_READ);
    coil_task *w = coil_create_task(wait_both_ways, (void *)COIL_WRITE);
    FACT_INT(coil_join(w), COIL_WRITE);
    FACT(!coil_future_done(r1) && !coil_future_done(r2));
    FACT_INT(write(pair[1], "x", 1), 1);
    FACT_INT(coil_join(r1), COIL_READ);
    FACT_INT(coil_join(r2), COIL_READ);
    FACT_TRACE("2 1 1");
    close_pair();
    return 0;
}

/* ---- running until ---- */

LOOP(run_until_complete_takes_a_future_a_task_or_a_coroutine)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_set_result(f, 3), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), 3);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), 3);
    coil_unref(f);
    coil_task *t = start(give, (void *)4);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 4);
    coil_unref(t);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(give, (void *)5)), 5);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(blow_up, TEXT("x"))),
             COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "x");
}

LOOP(run_until_complete_refuses_nothing_and_strangers)
{
    coil_loop *other = stage_new_loop(true);
    coil_future *f = coil_loop_create_future(other);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_EWRONGLOOP);
    FACT_INT(coil_loop_run_until_complete(stage.loop, (coil_future *)NULL), -EINVAL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, (coil_coro *)NULL), -EINVAL);
    coil_unref(f);
    coil_loop_free(other);
    FACT_INT(coil_loop_run_until_complete((coil_loop *)NULL, (coil_future *)NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_run_until_complete((coil_loop *)NULL, coil_coro_new(give, NULL)),
             COIL_ENOLOOP);
}

static coil_ret run_inside(void *arg)
{
    (void)arg;
    coil_future *f = coil_loop_create_future(NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ERUNNING);
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(give, NULL)), COIL_ERUNNING);
    FACT_INT(coil_future_set_result(f, 1), 0);
    coil_unref(f);
    return coil_sleep(0);
}

LOOP(run_until_complete_inside_a_run_is_refused_and_leaves_nothing)
{
    FACT_INT(coil_loop_run_until_complete(stage.loop, coil_coro_new(run_inside, NULL)), 0);
    one_turn();
}

static void stop_now(void *arg)
{
    (void)arg;
    coil_loop_stop(NULL);
}

LOOP(run_until_complete_stopped_before)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    soon(stop_now, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ESTOPPED);
    FACT_ERROR(COIL_ESTOPPED, "Event loop stopped before Future completed");
    FACT(!coil_future_done(f));
    /* Nothing of that run is left on the future: finishing it does not stop the next one. */
    FACT_INT(coil_future_set_result(f, 1), 0);
    later(1, note_arg, "timer");
    later(2, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("timer");
    coil_unref(f);
}

static void raise_now(void *arg)
{
    (void)arg;
    coil_loop_raise(NULL, coil_fail(COIL_EUSER, "fatal"));
}

LOOP(run_until_complete_ended_by_force_leaves_nothing)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    soon(raise_now, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "fatal");
    FACT_INT(coil_future_set_result(f, 1), 0);
    later(1, note_arg, "timer");
    later(2, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("timer");
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), 1);
    coil_unref(f);
}

static coil_ret finish_and_raise(void *arg)
{
    (void)arg;
    coil_loop_raise(NULL, coil_fail(COIL_EUSER, "fatal"));
    return 6;
}

LOOP(run_until_complete_ended_by_force_when_it_was_done)
{
    coil_task *t = start(finish_and_raise, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), COIL_EUSER);
    later(1, note_arg, "timer"); /* the stop that was queued then must not hit this run */
    later(2, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT_TRACE("timer");
    FACT_INT(coil_future_result(t), 6);
    coil_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(await_of_something_done_does_not_switch),
        cmocka_unit_test(await_gives_the_result_the_error_or_the_cancellation),
        cmocka_unit_test(await_passes_an_error_up_a_chain_of_tasks),
        cmocka_unit_test(await_by_many_wakes_them_in_order),
        cmocka_unit_test(await_of_itself_is_refused),
        cmocka_unit_test(await_of_another_loops_future_is_refused),
        cmocka_unit_test(await_of_nothing_is_refused),
        cmocka_unit_test(await_outside_a_task_is_refused),
        cmocka_unit_test(await_of_a_failed_future_meets_the_error),
        cmocka_unit_test(await_of_a_generator_is_a_type_error),
        cmocka_unit_test(cancel_goes_down_a_chain_of_any_length),
        cmocka_unit_test(cancel_breaks_a_circle_of_awaits),
        cmocka_unit_test(cancel_breaks_a_circle_it_comes_to),
        cmocka_unit_test(cancel_on_its_way_meets_a_circle_that_closes),
        cmocka_unit_test(cancel_breaks_a_circle_of_gathers),
        cmocka_unit_test(cancel_that_comes_round_twice_is_delivered_once),
        cmocka_unit_test(await_that_a_cancel_has_ended_is_not_ended_again_by_the_future),
        cmocka_unit_test(cancel_again_goes_to_the_members_of_a_gather_again),
        cmocka_unit_test(cancel_again_goes_down_the_chain_again),
        cmocka_unit_test(coroutine_awaited_runs_in_this_task),
        cmocka_unit_test(coroutine_is_awaited_once),
        cmocka_unit_test(coroutine_becomes_a_task),
        cmocka_unit_test(coroutine_of_a_task_cancelled_before_its_start_is_freed),
        cmocka_unit_test(coroutine_of_a_task_that_never_started_is_freed_at_close),
        cmocka_unit_test(coroutine_refused_a_task_is_consumed),
        cmocka_unit_test(coroutine_needs_a_function),
        cmocka_unit_test(generator_runs_as_a_coroutine),
        cmocka_unit_test(generator_as_a_coroutine_is_cancelled_like_one),
        cmocka_unit_test(generator_as_a_coroutine_must_yield_futures),
        cmocka_unit_test(generator_as_a_coroutine_never_awaited),
        cmocka_unit_test(generator_as_a_coroutine_is_unwound),
        cmocka_unit_test(awaitable_of_ones_own),
        cmocka_unit_test(ensure_future_of_a_future_is_that_future),
        cmocka_unit_test(sleep_takes_its_time),
        cmocka_unit_test(sleep_of_nothing_or_less_is_one_turn_and_no_timer),
        cmocka_unit_test(sleep_cancelled_takes_its_timer_along),
        cmocka_unit_test(sleep_cancelled_in_the_turn_it_ends),
        cmocka_unit_test(sleep_cancelled_before_it_is_due_leaves_no_slot_behind),
        cmocka_unit_test(wait_fd_says_what_is_ready),
        cmocka_unit_test(wait_fd_cancelled_leaves_no_trace),
        cmocka_unit_test(wait_fd_cancelled_twice_is_cancelled_once),
        cmocka_unit_test(wait_fd_that_was_quicker_than_the_cancel_keeps_its_result),
        cmocka_unit_test(wait_fd_refuses_what_cannot_be_waited_for),
        cmocka_unit_test(wait_fd_by_several_tasks),
        cmocka_unit_test(run_until_complete_takes_a_future_a_task_or_a_coroutine),
        cmocka_unit_test(run_until_complete_refuses_nothing_and_strangers),
        cmocka_unit_test(run_until_complete_inside_a_run_is_refused_and_leaves_nothing),
        cmocka_unit_test(run_until_complete_stopped_before),
        cmocka_unit_test(run_until_complete_ended_by_force_leaves_nothing),
        cmocka_unit_test(run_until_complete_ended_by_force_when_it_was_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
