/* SPDX-License-Identifier: MIT
 *
 * test_eager.c: tasks whose first step runs inside the call that makes them; story/tasks.c has what
 * asyncio's tests say. */
#include "task/task.h"

#include "../loop/stage.h"

#include <sys/socket.h>

static const coil_contextvar color = COIL_CONTEXTVAR("color", TEXT("none"));

static coil_task *eager_opts(coil_fn fn, const void *arg, coil_task_opts opts)
{
    opts.size = sizeof opts;
    opts.eager = true;
    return coil_create_task_opts(fn, arg, &opts);
}

static coil_task *eager(coil_fn fn, const void *arg)
{
    return eager_opts(fn, arg, (coil_task_opts){0});
}

static coil_ret give(void *arg)
{
    return (coil_ret)arg;
}

static coil_ret blow_up(void *arg)
{
    return coil_fail(COIL_EUSER, "%s", (const char *)arg);
}

static coil_ret two_steps(void *arg)
{
    note("%s1", (const char *)arg);
    coil_ret rc = coil_sleep(0);
    note("%s2", (const char *)arg);
    return rc;
}

TASK(eager_task_that_does_not_wait_is_done_when_made)
{
    coil_loop_stats_t before, after;
    coil_loop_stats(NULL, &before);
    coil_task *t = eager(give, (void *)7);
    FACT(coil_future_done(t));
    FACT_INT(coil_task_state(t), COIL_TASK_DONE);
    FACT_INT(coil_future_result(t), 7);
    coil_loop_stats(NULL, &after);
    FACT_INT(after.tasks, before.tasks);
    FACT_INT(after.ready, before.ready); /* never queued */
    FACT_INT(coil_join(t), 7);
    return 0;
}

TASK(eager_task_that_must_not_be_is_not)
{
    coil_task *t = eager_opts(give, (void *)7, (coil_task_opts){.no_eager = true});
    FACT(!coil_future_done(t));
    FACT_INT(coil_join(t), 7);
    return 0;
}

TASK(eager_task_that_waits_goes_on_like_any_other)
{
    coil_task *a = coil_create_task(two_steps, TEXT("a")), *b = eager(two_steps, TEXT("b"));
    note("made");
    FACT(!coil_future_done(b));
    pass(); /* b is queued behind a, whose first step comes now */
    FACT_TRACE("b1 made a1 b2");
    FACT_INT(coil_join(a), 0);
    FACT_INT(coil_join(b), 0);
    FACT_TRACE("a2");
    return 0;
}

static coil_task *creator;

static coil_ret look_around(void *arg)
{
    coil_task *me = coil_current_task();
    FACT(me != creator && me != NULL);
    FACT_INT(coil_task_state(me), COIL_TASK_RUNNING);
    if (creator)
        FACT_INT(coil_task_state(creator), COIL_TASK_PENDING);
    FACT_TEXT(coil_contextvar_get(&color), arg);
    FACT_INT(coil_contextvar_set(&color, TEXT("inside"), NULL), 0);
    coil_fail(-EIO, "inside");
    FACT_INT(coil_sleep(0), 0);
    FACT(coil_current_task() == me);
    FACT_TEXT(coil_contextvar_get(&color), "inside");
    FACT_ERROR(-EIO, "inside");
    return 0;
}

TASK(eager_task_gives_back_current_task_context_and_last_error)
{
    creator = coil_current_task();
    FACT_INT(coil_contextvar_set(&color, TEXT("outside"), NULL), 0);
    coil_fail(COIL_EUSER, "outside");
    coil_task *t = eager(look_around, "outside");
    FACT(coil_current_task() == creator);
    FACT_TEXT(coil_contextvar_get(&color), "outside");
    FACT_ERROR(COIL_EUSER, "outside");
    coil_task *u = eager(blow_up, "at once");
    FACT_ERROR(COIL_EUSER, "outside"); /* also when it ended in there */
    FACT(coil_current_task() == creator);
    FACT_INT(coil_join(u), COIL_EUSER);
    FACT_ERROR(COIL_EUSER, "at once");
    FACT_INT(coil_join(t), 0);
    FACT_INT(coil_contextvar_set(&color, TEXT("none"), NULL), 0);
    return 0;
}

static void make_one(void *arg)
{
    creator = NULL;
    FACT(coil_current_task() == NULL);
    *(coil_task **)arg = eager(look_around, "none");
    FACT(coil_current_task() == NULL);
    FACT_TEXT(coil_contextvar_get(&color), "none");
}

LOOP(eager_task_made_by_a_callback)
{
    coil_task *t = NULL;
    soon(make_one, &t); /* the very first thing this loop does */
    one_turn();
    FACT(!coil_future_done(t));
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    coil_unref(t);
}

static coil_ret nest(void *arg)
{
    intptr_t n = (intptr_t)arg;
    coil_task *me = coil_current_task();
    if (n == 0)
        return coil_sleep(1);
    coil_task *t = eager(nest, (void *)(n - 1));
    FACT(coil_current_task() == me);
    FACT(!coil_future_done(t));
    return coil_join(t);
}

TASK(eager_tasks_nest)
{
    FACT_INT(coil_join(eager(nest, (void *)50)), 0);
    return 0;
}

static coil_ret cancel_creator(void *arg)
{
    FACT(coil_task_cancel(creator, "from inside"));
    return (coil_ret)arg;
}

TASK(eager_task_may_cancel_its_creator)
{
    creator = coil_current_task();
    FACT_INT(coil_join(eager(cancel_creator, (void *)3)), 3); /* done: not delivered here */
    FACT_INT(coil_sleep(0), -ECANCELED);
    FACT_ERROR(-ECANCELED, "from inside");
    FACT_INT(coil_task_uncancel(creator), 0);
    return 0;
}

static coil_ret cancel_self(void *arg)
{
    FACT(coil_task_cancel(coil_current_task(), NULL));
    return arg ? coil_sleep(1) : 5;
}

TASK(eager_task_may_cancel_itself)
{
    coil_task *t = eager(cancel_self, NULL);
    FACT(coil_future_cancelled(t)); /* the cancel in the last step wins here as well */
    FACT_INT(coil_join(t), -ECANCELED);
    t = eager(cancel_self, "wait");
    FACT(!coil_future_done(t)); /* delivered with its next step */
    FACT_INT(coil_join(t), -ECANCELED);
    return 0;
}

TASK(eager_task_never_retrieved_is_reported)
{
    coil_unref(eager(blow_up, "lost"));
    FACT_REPORT("Task exception was never retrieved");
    return 0;
}

static int freed;

static void count_free(coil_ret value)
{
    freed += value == 77;
}

TASK(eager_task_with_a_result_that_owns_memory)
{
    freed = 0;
    coil_unref(eager_opts(give, (void *)77, (coil_task_opts){.free_result = count_free}));
    FACT_INT(freed, 1);
    FACT_INT(coil_join(eager_opts(give, (void *)77, (coil_task_opts){.free_result = count_free})),
             77);
    FACT_INT(freed, 1);
    return 0;
}

static int pair[2];

static coil_ret wait_readable(void *arg)
{
    (void)arg;
    return coil_wait_fd(pair[0], COIL_READ);
}

TASK(eager_task_may_wait_for_a_descriptor_at_once)
{
    FACT_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    coil_task *t = eager(wait_readable, NULL);
    FACT_TEXT(coil_task_waiting_on(t), "fd");
    FACT_INT(write(pair[1], "x", 1), 1);
    FACT_INT(coil_join(t), COIL_READ);
    t = eager(wait_readable, NULL);
    coil_task_cancel(t, NULL); /* before the loop looked at it */
    coil_ret rc = coil_join(t);
    FACT(rc == -ECANCELED || rc == COIL_READ);
    close(pair[0]);
    close(pair[1]);
    return 0;
}

struct args {
    char text[64];
};

static coil_ret read_args(void *arg)
{
    const struct args *args = arg;
    FACT_TEXT(args->text, "hello");
    FACT_INT(coil_sleep(1), 0);
    FACT_TEXT(args->text, "hello");
    return 0;
}

TASK(eager_task_has_its_own_copy_of_the_arguments)
{
    struct args args = {"hello"};
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    coil_task *t = coil_create_task_at(__FILE__, __LINE__, read_args, &args, sizeof args, &opts);
    memset(&args, 0, sizeof args);
    FACT_INT(coil_join(t), 0);
    return 0;
}

static coil_ret coro_body(void *arg)
{
    return coil_sleep(*(double *)arg);
}

TASK(eager_task_of_a_coroutine_object)
{
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    double zero = 0, one = 1;
    coil_task *t = coil_create_task_coro_at(__FILE__, __LINE__, coil_coro_new(coro_body, &one),
                                            &opts);
    coil_task *u = coil_create_task_coro_at(__FILE__, __LINE__, coil_coro_new(give, &zero), &opts);
    FACT(!coil_future_done(t));
    FACT(coil_future_done(u));
    FACT(coil_join(u) == (coil_ret)&zero);
    FACT_INT(coil_join(t), 0);
    return 0;
}

static coil_ret eager_gen(coil_gen *self, void *arg)
{
    coil_task *t = eager(two_steps, arg);
    coil_ret rc = coil_gen_yield(self, 1);
    note("gen");
    return coil_join(t) | rc;
}

TASK(eager_task_made_inside_a_generator)
{
    coil_ret value;
    coil_gen *gen = coil_gen_new(eager_gen, TEXT("e"));
    FACT_INT(coil_gen_next(gen, &value), 1);
    FACT_TRACE("e1");
    pass();
    FACT_TRACE("e2");
    FACT_INT(coil_gen_next(gen, &value), 0);
    FACT_TRACE("gen");
    coil_gen_unref(gen);
    return 0;
}

LOOP(eager_task_of_a_loop_that_does_not_run_waits_for_its_turn)
{
    coil_task *t = eager_opts(give, (void *)4, (coil_task_opts){.loop = stage.loop});
    FACT(!coil_future_done(t));
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 4);
    coil_unref(t);
}

TASK(eager_task_of_another_loop_waits_for_its_turn)
{
    coil_loop *other = stage_new_loop(true);
    coil_task *t = eager_opts(give, (void *)4, (coil_task_opts){.loop = other});
    FACT(!coil_future_done(t));
    coil_task_cancel(t, NULL);
    coil_unref(t);
    coil_loop_free(other);
    FACT_REPORT("Task was destroyed but it is pending");
    return 0;
}

static coil_ret raise_it(void *arg)
{
    (void)arg;
    coil_loop_raise(NULL, coil_fail(COIL_EUSER, "fatal"));
    return coil_sleep(0);
}

static coil_ret make_raiser(void *arg)
{
    (void)arg;
    coil_task *t = eager(raise_it, NULL);
    note("made"); /* this callback, or step, is finished */
    coil_ret rc = coil_join(t);
    note("joined");
    return rc;
}

LOOP(eager_task_may_end_the_run)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(make_raiser, NULL, &opts);
    FACT_INT(coil_loop_run_forever(stage.loop), COIL_EUSER);
    FACT_TRACE("made");
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    FACT_TRACE("joined");
    coil_unref(t);
}

static coil_ret park_for_ever(void *arg)
{
    (void)arg;
    coil_ret rc = coil_sleep(COIL_FOREVER);
    note("%s", coil_errname(rc));
    return rc;
}

static coil_ret leave_one_parked(void *arg)
{
    (void)arg;
    coil_unref(eager(park_for_ever, NULL));
    return 0;
}

LOOP(eager_task_parked_at_close_is_unwound)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_create_task_opts(leave_one_parked, NULL, &opts);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), 0);
    coil_unref(t);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("COIL_EEXIT");
    FACT_REPORT("waiting on sleep");
}

TASK(eager_tasks_in_debug_mode)
{
    coil_loop_set_debug(NULL, true);
    coil_loop_set_slow_callback_duration(NULL, 60);
    coil_task *a = eager(two_steps, "a"), *b = eager(two_steps, "b");
    FACT_INT(coil_join(b), 0);
    FACT_INT(coil_join(a), 0);
    FACT_TRACE("a1 b1 a2 b2");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eager_task_that_does_not_wait_is_done_when_made),
        cmocka_unit_test(eager_task_that_must_not_be_is_not),
        cmocka_unit_test(eager_task_that_waits_goes_on_like_any_other),
        cmocka_unit_test(eager_task_gives_back_current_task_context_and_last_error),
        cmocka_unit_test(eager_task_made_by_a_callback),
        cmocka_unit_test(eager_tasks_nest),
        cmocka_unit_test(eager_task_may_cancel_its_creator),
        cmocka_unit_test(eager_task_may_cancel_itself),
        cmocka_unit_test(eager_task_never_retrieved_is_reported),
        cmocka_unit_test(eager_task_with_a_result_that_owns_memory),
        cmocka_unit_test(eager_task_may_wait_for_a_descriptor_at_once),
        cmocka_unit_test(eager_task_has_its_own_copy_of_the_arguments),
        cmocka_unit_test(eager_task_of_a_coroutine_object),
        cmocka_unit_test(eager_task_made_inside_a_generator),
        cmocka_unit_test(eager_task_of_a_loop_that_does_not_run_waits_for_its_turn),
        cmocka_unit_test(eager_task_of_another_loop_waits_for_its_turn),
        cmocka_unit_test(eager_task_may_end_the_run),
        cmocka_unit_test(eager_task_parked_at_close_is_unwound),
        cmocka_unit_test(eager_tasks_in_debug_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
