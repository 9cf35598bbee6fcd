/* SPDX-License-Identifier: MIT
 *
 * odd_tasks.c: tasks, coroutine objects and generators in places where they are seldom: without a loop, without a place they
 * were made at, made by odd factories, while everything ends, without memory. */
#include "../unit/loop/stage.h"
#include "loop/loop.h"
#include "test.h"

#include <coil/combine.h>
#include <coil/debug.h>
#include <coil/generator.h>
#include <coil/timeout.h>

static coil_ret give(void *arg)
{
    return (coil_ret)(intptr_t)arg;
}

static coil_ret fail_now(void *arg)
{
    return coil_fail((coil_ret)(intptr_t)arg, "it fails");
}

static coil_ret wait_for_ever(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_FOREVER);
}

static coil_task *begin(coil_fn fn, const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    return coil_create_task_opts(fn, arg, &opts);
}

/* ---- nobody says where ---- */

LOOP(errors_of_what_was_made_nowhere_are_told_all_the_same)
{
    coil_task *t = coil_loop_create_task_at(NULL, 0, stage.loop, fail_now, (void *)-EIO);
    one_turn();
    coil_unref(t);
    one_turn();
    FACT_REPORT("created at ?:0");
    coil_future *f = coil_create_future_at(NULL, 0, stage.loop);
    FACT_INT(coil_future_set_exception(f, -EIO), 0);
    coil_unref(f);
    FACT_REPORT("Future exception was never retrieved, created at ?:0");
}

PLAIN(coroutine_never_awaited_without_a_loop_is_told_on_stderr)
{
    fflush(stderr);
    char text[256] = "";
    FILE *into = tmpfile();
    int before = dup(2);
    dup2(fileno(into), 2);
    coil_coro_free(coil_coro_new(give, NULL));
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(into);
    FACT(fgets(text, sizeof text, into) != NULL);
    fclose(into);
    FACT_HAS(text, "coil: coroutine 'give' was never awaited, created at ");
}

/* ---- factories ---- */

static coil_task_recipe kept;

static coil_task *gives_a_future(coil_loop *loop, const coil_task_recipe *recipe,
                                 const coil_task_opts *opts, void *arg)
{
    (void)opts;
    kept = *recipe;
    FACT(arg == &kept);
    coil_future *f = coil_loop_create_future(loop);
    FACT_INT(coil_future_set_result(f, 9), 0);
    return f;
}

/* What it gave is done before the body has begun. */
TASK(factory_that_makes_no_task_of_a_coroutine_may_run_it_later)
{
    void *out = NULL;
    FACT_INT(coil_loop_set_task_factory(NULL, gives_a_future, &kept), 0);
    FACT(coil_loop_get_task_factory(NULL, &out) == gives_a_future && out == &kept);
    FACT(coil_loop_get_task_factory(NULL, NULL) == gives_a_future);
    coil_task *t = coil_create_task_coro(coil_coro_new(give, (void *)4));
    FACT_INT(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    FACT_INT(coil_await(t), 9);
    coil_unref(t);
    FACT_INT(kept.fn((void *)(uintptr_t)kept.arg), 4);
    (void)arg;
    return 0;
}

static coil_task *runs_and_loses_it(coil_loop *loop, const coil_task_recipe *recipe,
                                    const coil_task_opts *opts, void *arg)
{
    (void)arg;
    coil_task_opts own = *opts;
    own.eager = true;
    coil_unref(coil_task_new(loop, recipe, &own));
    return NULL;
}

TASK(factory_that_loses_the_task_of_a_coroutine_has_run_it)
{
    (void)arg;
    FACT_INT(coil_loop_set_task_factory(NULL, runs_and_loses_it, NULL), 0);
    coil_task *t = coil_create_task_coro(coil_coro_new(give, (void *)4));
    FACT_INT(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    FACT_INT(coil_future_result(t), COIL_ETYPE);
    return 0;
}

TASK(task_of_a_recipe_needs_the_recipe_alone)
{
    (void)arg;
    const coil_task_recipe recipe = {sizeof recipe, __FILE__, __LINE__, give, (void *)6, 0};
    coil_task *none = coil_task_new(NULL, NULL, NULL);
    FACT_INT(coil_future_result(none), -EINVAL);
    coil_task *t = coil_task_new(NULL, &recipe, NULL);
    FACT_INT(coil_join(t), 6);
    t = coil_eager_task_factory(NULL, &recipe, NULL, NULL);
    FACT(coil_future_done(t));
    FACT_INT(coil_join(t), 6);
    return 0;
}

/* ---- running one loop in another, and deadlocks ---- */

TASK(run_until_complete_of_a_coroutine_inside_a_run_is_refused)
{
    (void)arg;
    coil_loop *other = stage_new_loop(true);
    FACT_INT(coil_loop_run_until_complete(other, coil_coro_new(give, NULL)), COIL_ERUNNING);
    coil_loop_free(other);
    return 0;
}

static coil_ret await_it(void *future)
{
    return coil_await((coil_future *)future);
}

LOOP(deadlock_of_many_names_as_many_as_there_is_room_for)
{
    if (!deadlocks_are_certain())
        return;
    coil_future *f = coil_loop_create_future(stage.loop);
    coil_task *tasks[20];
    for (int i = 0; i < 20; i++)
        tasks[i] = begin(await_it, f);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_EDEADLOCK);
    FACT_ERROR(COIL_EDEADLOCK, "Task-1 waits for future; Task-2 waits for future;");
    FACT_INT(coil_future_set_result(f, 0), 0);
    for (int i = 0; i < 20; i++) {
        FACT_INT(coil_loop_run_until_complete(stage.loop, tasks[i]), 0);
        coil_unref(tasks[i]);
    }
    coil_unref(f);
}

/* ---- contexts ---- */

static void is_told(coil_future *f, void *arg)
{
    (void)f;
    note_arg(arg);
}

static coil_ret turn_inside(void *context)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_add_done_callback_context(f, is_told, TEXT("told"), context), 0);
    FACT_INT(coil_future_set_result(f, 0), 0);
    one_turn();
    FACT_TEXT(stage.report.kind, "callback-not-run");
    FACT_REPORT("a done-callback was not run: its context is already entered");
    coil_unref(f);
    return 0;
}

LOOP(done_callback_whose_context_is_entered_is_not_run)
{
    coil_context *context = coil_context_new();
    FACT_INT(coil_context_run(context, turn_inside, context), 0);
    FACT_TRACE("");
    coil_context_unref(context);
}

/* ---- the end ---- */

static void free_it(coil_ret result)
{
    note("freed %ld", (long)result);
}

static coil_ret ends_badly(void *arg)
{
    (void)arg;
    coil_ret rc = wait_for_ever(NULL);
    note("%s", coil_errname(rc));
    return coil_fail(-EIO, "it ends badly");
}

static coil_ret ends_well(void *arg)
{
    coil_ignore(wait_for_ever(NULL));
    return (coil_ret)(intptr_t)arg;
}

LOOP(task_that_is_unwound_frees_results_and_no_errors)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .free_result = free_it};
    coil_unref(coil_create_task_opts(ends_well, (void *)8, &opts));
    coil_unref(coil_create_task_opts(ends_badly, NULL, &opts));
    one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("COIL_EEXIT freed 8");
    stage.report.n = 0; /* they were left */
}

static coil_ret count_to_one(coil_gen *gen, void *arg)
{
    (void)arg;
    return coil_gen_yield(gen, 1);
}

static coil_ret begins_a_generator_at_its_end(void *arg)
{
    coil_ret value = 0, rc = wait_for_ever(arg);
    coil_gen *gen = coil_gen_new(count_to_one, NULL);
    FACT_INT(coil_gen_next(gen, &value), 1);
    FACT_INT(value, 1);
    coil_gen_unref(gen);
    note("counted");
    return rc;
}

LOOP(generator_begun_while_its_task_is_unwound_is_nobodys)
{
    coil_unref(begin(begins_a_generator_at_its_end, NULL));
    one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("counted");
    stage.report.n = 0;
}

/* ---- memory ---- */

#if STAGE_TABLE
LOOP(generator_becomes_no_coroutine_without_memory)
{
    coil_gen *gen = coil_gen_new(count_to_one, NULL);
    coil__mem_fail_at(1, 0);
    coil_coro *coro = coil_gen_to_coro(gen); /* which is consumed all the same */
    coil__mem_fail_at(0, 0);
    FACT(coro == NULL);
    FACT_ERROR(-ENOMEM, "");
}

LOOP(future_of_debug_mode_is_not_made_without_memory)
{
    coil_loop_set_debug(stage.loop, true);
    coil_unref(coil_loop_create_future(stage.loop));
    coil__mem_fail_at(1, 0);
    coil_future *f = coil_loop_create_future(stage.loop);
    coil__mem_fail_at(0, 0);
    FACT_INT(coil_future_result(f), -ENOMEM);
}

LOOP(factory_of_a_loop_without_memory_is_not_set)
{
    coil__mem_fail_at(1, 0);
    FACT_INT(coil_loop_set_task_factory(stage.loop, gives_a_future, &kept), -ENOMEM);
    coil__mem_fail_at(1, 0);
    FACT(coil_loop_get_task_factory(stage.loop, NULL) == NULL);
    coil__mem_fail_at(0, 0);
    FACT(coil_loop_get_task_factory(stage.loop, NULL) == NULL);
}

/* Its timer is set when it is waited for the first time, and there is no room among the timers. */
TASK(deadline_without_memory_ends_the_wait_it_was_for)
{
    (void)arg;
    coil_future *f = coil_loop_create_future(NULL);
    coil_handle *handles[200];
    int n = 0;
    int64_t tried;
    do { /* until the next one would need more memory */
        tried = coil__mem_tried();
        FACT_INT(coil_loop_call_later(stage.loop, 1000, note_arg, NULL, &handles[n++]), 0);
    } while (coil__mem_tried() - tried < 2);
    while (stage.loop->timers.n < stage.loop->timers.capacity)
        FACT_INT(coil_loop_call_later(stage.loop, 1000, note_arg, NULL, &handles[n++]), 0);
    {
        coil_timeout(tm, 5);
        coil__mem_fail_at(1, 1);
        coil_ret rc = coil_await(f);
        coil__mem_fail_at(0, 0);
        FACT_INT(rc, -ECANCELED); /* as if it had passed */
        FACT_INT(coil_timeout_exit(&tm, rc), -ENOMEM);
    }
    while (n > 0) {
        coil_handle_cancel(handles[--n]);
        coil_handle_unref(handles[n]);
    }
    coil_unref(f);
    return 0;
}
#endif

/* ---- descriptors ---- */

static coil_ret wait_to_read(void *fd)
{
    return coil_wait_fd((int)(intptr_t)fd, COIL_READ);
}

/* What it waits for has ended, and nobody has collected that yet. */
LOOP(task_cancelled_while_its_descriptor_is_forgotten)
{
    int fds[2];
    FACT_INT(pipe(fds), 0);
    coil_task *t = begin(wait_to_read, (void *)(intptr_t)fds[0]);
    one_turn();
    coil_loop_forget_fd(stage.loop, fds[0]);
    coil_task_cancel(t, NULL);
    coil_ret rc = coil_loop_run_until_complete(stage.loop, t);
    FACT_INT(rc, -ECANCELED);
    t = (coil_unref(t), begin(wait_to_read, (void *)(intptr_t)fds[0]));
    one_turn();
    coil_loop_forget_fd(stage.loop, fds[0]);
    FACT_INT(coil_loop_run_until_complete(stage.loop, t), -EBADF);
    coil_unref(t);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_what_was_made_nowhere_are_told_all_the_same),
        cmocka_unit_test(coroutine_never_awaited_without_a_loop_is_told_on_stderr),
        cmocka_unit_test(factory_that_makes_no_task_of_a_coroutine_may_run_it_later),
        cmocka_unit_test(factory_that_loses_the_task_of_a_coroutine_has_run_it),
        cmocka_unit_test(task_of_a_recipe_needs_the_recipe_alone),
        cmocka_unit_test(run_until_complete_of_a_coroutine_inside_a_run_is_refused),
        cmocka_unit_test(deadlock_of_many_names_as_many_as_there_is_room_for),
        cmocka_unit_test(done_callback_whose_context_is_entered_is_not_run),
        cmocka_unit_test(task_that_is_unwound_frees_results_and_no_errors),
        cmocka_unit_test(generator_begun_while_its_task_is_unwound_is_nobodys),
#if STAGE_TABLE
        cmocka_unit_test(generator_becomes_no_coroutine_without_memory),
        cmocka_unit_test(future_of_debug_mode_is_not_made_without_memory),
        cmocka_unit_test(factory_of_a_loop_without_memory_is_not_set),
        cmocka_unit_test(deadline_without_memory_ends_the_wait_it_was_for),
#endif
        cmocka_unit_test(task_cancelled_while_its_descriptor_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
