/* SPDX-License-Identifier: MIT
 *
 * test_gather.c: many futures seen as one. */
#include "stage.h"

static void unref_all(coil_future **futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_unref(futures[i]);
}

STAGE(gather_of_nothing_is_done_at_once)
{
    coil_future *g = coil_gather_future(NULL, 0, 0);
    TRUE(coil_future_done(g));
    TRUE(coil_future_result(g) != 0);
    coil_unref(g);
    mark("go");
    FACT(coil_gather(NULL, 0, NULL, 0), 0);
    mark("end");
    TRACE("0:go 0:end");
    return 0;
}

STAGE(gather_keeps_the_order_of_its_arguments)
{
    coil_task *three[] = {walk(NULL, 3, 30), walk(NULL, 1, 10), walk(NULL, 2, 20)};
    coil_ret results[3];
    FACT(coil_gather(three, 3, results, COIL_UNREF), 0);
    FACT(results[0], 30);
    FACT(results[1], 10);
    FACT(results[2], 20);
    return 0;
}

STAGE(gather_counts_a_future_given_twice_once)
{
    coil_future *f = new_future(), *other = new_future();
    coil_future *four[] = {f, f, other, f};
    coil_loop_call_soon(NULL, finish_with_one, f, NULL);
    coil_loop_call_soon(NULL, finish_with_one, other, NULL);
    coil_ret results[4] = {0};
    FACT(coil_gather(four, 4, results, 0), 0);
    for (int i = 0; i < 4; i++)
        FACT(results[i], 1);
    coil_unref(f);
    coil_unref(other);
    return 0;
}

STAGE(gather_of_many_finds_those_given_twice)
{
    enum { N = 100 };
    coil_future *futures[2 * N];
    coil_ret results[2 * N];
    for (int i = 0; i < N; i++) {
        futures[i] = new_future();
        futures[2 * N - 1 - i] = coil_ref(futures[i]);
    }
    coil_future *g = coil_gather_future(futures, 2 * N, 0);
    for (int i = 0; i < N; i++)
        FACT(coil_future_set_result(futures[i], i), 0);
    FACT(coil_gather(futures, 2 * N, results, 0), 0);
    for (int i = 0; i < N; i++) {
        FACT(results[i], i);
        FACT(results[2 * N - 1 - i], i);
    }
    FALSE(coil_future_done(g));
    turns(1); /* its callbacks stand in the ring */
    TRUE(coil_future_done(g));
    coil_unref(g);
    unref_all(futures, 2 * N);
    return 0;
}

STAGE(gather_future_keeps_results_as_long_as_it_lives)
{
    coil_task *two[] = {walk(NULL, 1, 7), walk(NULL, 2, 8)};
    coil_future *g = coil_gather_future(two, 2, COIL_UNREF);
    const coil_ret *results = (const coil_ret *)coil_await(g);
    FACT(results[0], 7);
    FACT(results[1], 8);
    coil_unref(g);
    return 0;
}

STAGE(gather_returning_exceptions_gives_errors_as_results)
{
    coil_future *four[] = {done_future(3), new_future(), done_future(-EIO), new_future()};
    coil_loop_call_soon(NULL, cancel_it, four[1], NULL);
    coil_loop_call_soon(NULL, finish_with_one, four[3], NULL);
    coil_ret results[4];
    FACT(coil_gather(four, 4, results, COIL_RETURN_EXCEPTIONS | COIL_UNREF), 0);
    FACT(results[0], 3);
    FACT(results[1], -ECANCELED);
    FACT(results[2], -EIO);
    FACT(results[3], 1);
    return 0;
}

STAGE(gather_writes_no_results_when_it_fails)
{
    coil_future *two[] = {done_future(3), done_future(-EIO)};
    coil_ret results[2] = {77, 77};
    FACT(coil_gather(two, 2, results, COIL_UNREF), -EIO);
    FACT(results[0], 77);
    FACT(results[1], 77);
    return 0;
}

STAGE(gather_error_carries_the_words_of_the_child)
{
    coil_task *t = walk("child", 1, -EIO);
    FACT(coil_gather(&t, 1, NULL, COIL_UNREF), -EIO);
    TEXT(coil_last_error()->message, "child failed");
    TRUE(coil_last_error()->task[0] != 0);
    return 0;
}

STAGE(gather_nobody_looked_at_is_reported)
{
    coil_future *f = new_future();
    coil_future *g = coil_gather_future(&f, 1, 0);
    FACT(coil_future_set_exception(f, -EIO), 0);
    turns(1);
    TRUE(coil_future_done(g));
    coil_unref(f);
    coil_unref(g);
    TRUE(strstr(stage_reports, "gather exception was never retrieved") != NULL);
    stage_reports[0] = 0;
    return 0;
}

STAGE(gather_looks_at_errors_that_come_after_the_first)
{
    coil_task *two[] = {walk(NULL, 1, -EIO), walk(NULL, 3, -ENOENT)};
    FACT(coil_gather(two, 2, NULL, COIL_UNREF), -EIO);
    turns(4);
    REPORTS("");
    return 0;
}

STAGE(gather_cancelled_after_its_end_says_no_and_keeps_its_result)
{
    coil_future *f = done_future(5);
    coil_future *g = coil_gather_future(&f, 1, COIL_UNREF);
    FALSE(coil_future_cancel(g, NULL));
    FACT(((const coil_ret *)coil_future_result(g))[0], 5);
    coil_unref(g);
    return 0;
}

STAGE(gather_cancel_that_reaches_no_child_says_no)
{
    coil_future *f = new_future();
    coil_future *g = coil_gather_future(&f, 1, 0);
    FACT(coil_future_set_result(f, 5), 0); /* told of in the next turn */
    FALSE(coil_future_cancel(g, NULL));
    FALSE(coil_future_done(g));
    FACT(((const coil_ret *)coil_await(g))[0], 5);
    coil_unref(f);
    coil_unref(g);
    return 0;
}

STAGE(gather_cancelled_fails_without_being_a_cancelled_future)
{
    coil_future *two[] = {new_future(), new_future()};
    coil_future *g = coil_gather_future(two, 2, COIL_RETURN_EXCEPTIONS);
    TRUE(coil_future_cancel(g, "enough"));
    FACT(coil_await(g), -ECANCELED);
    TEXT(coil_last_error()->message, "enough");
    FALSE(coil_future_cancelled(g));
    TRUE(coil_future_cancelled(two[0]));
    TRUE(coil_future_cancelled(two[1]));
    unref_all(two, 2);
    coil_unref(g);
    return 0;
}

STAGE(gather_inside_gather_passes_the_cancel_down)
{
    coil_future *inner[] = {new_future(), new_future()};
    coil_future *outer[] = {coil_gather_future(inner, 2, COIL_UNREF), new_future()};
    coil_future *g = coil_gather_future(outer, 2, 0);
    TRUE(coil_future_cancel(g, NULL));
    FACT(coil_await(g), -ECANCELED);
    TRUE(coil_future_cancelled(outer[1]));
    FACT(coil_await(outer[0]), -ECANCELED);
    unref_all(outer, 2);
    coil_unref(g);
    return 0;
}

STAGE(gather_refuses_futures_of_two_loops)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *other = coil_new_event_loop(&opts);
    coil_future *two[] = {new_future(), coil_loop_create_future(other)};
    FACT(coil_gather(two, 2, NULL, 0), COIL_EWRONGLOOP);
    coil_future *g = coil_gather_future(two, 2, COIL_UNREF);
    FACT(coil_await(g), COIL_EWRONGLOOP);
    coil_unref(g);
    coil_loop_free(other);
    return 0;
}

STAGE(gather_refuses_null_and_unknown_flags)
{
    coil_future *f = NULL;
    FACT(coil_gather(&f, 1, NULL, 0), -EINVAL);
    FACT(coil_gather(&f, 0, NULL, 1u << 9), -EINVAL);
    return 0;
}

STAGE(gather_meets_the_error_of_what_could_not_be_made)
{
    coil_task *two[] = {coil_create_task(NULL, NULL), walk(NULL, 1, 0)};
    FACT(coil_gather(two, 2, NULL, COIL_UNREF), -EINVAL);
    turns(3);
    return 0;
}

/* ---- values that own memory ---- */

static int freed;

static void count_freed(coil_ret value)
{
    freed += (int)value;
}

static coil_task *owner(coil_ret value)
{
    coil_task_opts opts = {.size = sizeof opts, .free_result = count_freed};
    struct steps s = {NULL, 1, value, 0};
    return coil_create_task_at(__FILE__, __LINE__, take_steps, &s, sizeof s, &opts);
}

STAGE(gather_that_gives_results_gives_their_ownership)
{
    freed = 0;
    coil_task *two[] = {owner(1), owner(10)};
    coil_ret results[2];
    FACT(coil_gather(two, 2, results, COIL_UNREF), 0);
    FACT(freed, 0);
    return 0;
}

STAGE(gather_whose_results_nobody_takes_frees_them)
{
    freed = 0;
    coil_task *two[] = {owner(1), owner(10)};
    FACT(coil_gather(two, 2, NULL, COIL_UNREF), 0);
    FACT(freed, 11);

    freed = 0;
    coil_task *more[] = {owner(1), owner(10)};
    coil_future *g = coil_gather_future(more, 2, COIL_UNREF);
    turns(4);
    TRUE(coil_future_done(g));
    coil_unref(g);
    FACT(freed, 11);
    return 0;
}

STAGE(gather_that_fails_frees_the_values_it_has)
{
    freed = 0;
    coil_task *two[] = {owner(1), walk(NULL, 2, -EIO)};
    FACT(coil_gather(two, 2, NULL, COIL_UNREF), -EIO);
    FACT(freed, 1);
    return 0;
}

/* ---- the caller goes ---- */

STAGE(gather_dropped_by_its_caller_still_looks_at_its_children)
{
    coil_task *two[] = {walk(NULL, 1, 0), walk(NULL, 2, -EIO)};
    coil_future *g = coil_gather_future(two, 2, COIL_UNREF);
    coil_unref(g);
    turns(5); /* asyncio reports the gather's own error */
    TRUE(strstr(stage_reports, "gather exception was never retrieved") != NULL);
    TRUE(strstr(stage_reports, "Task exception") == NULL);
    stage_reports[0] = 0;
    return 0;
}

static coil_ret wait_in_gather(void *arg)
{
    coil_task *two[] = {sleeper(NULL, 10, 0), sleeper(NULL, 20, 0)};
    return coil_gather(two, 2, NULL, COIL_UNREF);
}

static coil_ret leave_some_behind(void *arg)
{
    coil_task *first[] = {walk(NULL, 1, -EIO), sleeper(NULL, 10, 0), sleeper(NULL, 20, 0)};
    FACT(coil_gather(first, 3, NULL, COIL_UNREF), -EIO); /* two run on */
    coil_unref(coil_create_task(wait_in_gather, NULL));
    turns(2);
    return 0;
}

static void gather_gives_everything_back_when_its_loop_closes(void **state)
{
    (void)state;
    stage_leave(leave_some_behind);
}

static void gather_outside_of_tasks_makes_a_future_but_does_not_wait(void **state)
{
    (void)state;
    int64_t live = stage_live();
    coil_loop *loop = stage_loop();
    coil_future *f = coil_loop_create_future(loop);
    assert_int_equal(coil_gather(&f, 1, NULL, 0), COIL_ENOTASK);
    coil_future *g = coil_gather_future(&f, 1, 0);
    assert_ptr_equal(coil_future_get_loop(g), loop);
    assert_int_equal(coil_future_set_result(f, 4), 0);
    const coil_ret *results = (const coil_ret *)coil_loop_run_until_complete(loop, g);
    assert_int_equal(results[0], 4);
    coil_unref(f);
    coil_unref(g);
    coil_future *none = coil_gather_future(NULL, 0, 0);
    assert_int_equal(coil_future_result(none), COIL_ENOLOOP);
    coil_unref(none);
    coil_loop_free(loop);
    assert_int_equal(stage_live(), live);
}

#define T(name) cmocka_unit_test(name)

/* What is left behind is found by the stage, which counts memory once its loop is closed. */
STAGE(gather_of_futures_that_never_end_goes_with_its_loop)
{
    coil_future *two[] = {new_future(), new_future()};
    coil_unref(coil_gather_future(two, 2, COIL_UNREF));
    coil_future *kept = new_future();
    coil_unref(coil_gather_future(&kept, 1, 0));
    coil_unref(coil_shield_future(kept));
    coil_unref(kept);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(gather_of_nothing_is_done_at_once),
        T(gather_keeps_the_order_of_its_arguments),
        T(gather_counts_a_future_given_twice_once),
        T(gather_of_many_finds_those_given_twice),
        T(gather_future_keeps_results_as_long_as_it_lives),
        T(gather_returning_exceptions_gives_errors_as_results),
        T(gather_writes_no_results_when_it_fails),
        T(gather_error_carries_the_words_of_the_child),
        T(gather_nobody_looked_at_is_reported),
        T(gather_looks_at_errors_that_come_after_the_first),
        T(gather_cancelled_after_its_end_says_no_and_keeps_its_result),
        T(gather_cancel_that_reaches_no_child_says_no),
        T(gather_cancelled_fails_without_being_a_cancelled_future),
        T(gather_inside_gather_passes_the_cancel_down),
        T(gather_refuses_futures_of_two_loops),
        T(gather_refuses_null_and_unknown_flags),
        T(gather_meets_the_error_of_what_could_not_be_made),
        T(gather_that_gives_results_gives_their_ownership),
        T(gather_whose_results_nobody_takes_frees_them),
        T(gather_that_fails_frees_the_values_it_has),
        T(gather_dropped_by_its_caller_still_looks_at_its_children),
        T(gather_gives_everything_back_when_its_loop_closes),
        T(gather_of_futures_that_never_end_goes_with_its_loop),
        T(gather_outside_of_tasks_makes_a_future_but_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
