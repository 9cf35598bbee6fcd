/* SPDX-License-Identifier: MIT
 *
 * called_late.c: groups, iterators and outer futures that are used when all is over, nearly over, or over with the loop. */
#include "../unit/loop/stage.h"
#include "test.h"

#include <coil/combine.h>
#include <coil/debug.h>
#include <coil/group.h>
#include <coil/timeout.h>

static coil_ret sleep_one(void *arg)
{
    coil_ret rc = coil_sleep(1);
    return rc ? rc : (coil_ret)(intptr_t)arg;
}

static coil_ret give(void *arg)
{
    return (coil_ret)(intptr_t)arg;
}

static coil_task *begin(coil_fn fn, const void *arg)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    return coil_create_task_opts(fn, arg, &opts);
}

/* ---- groups ---- */

static coil_ret leave_from_inside(void *arg)
{
    coil_group *group = arg;
    FACT_INT(coil_sleep(0.5), 0); /* the parent waits for us by now */
    FACT_INT(coil_group_exit(group, 0), COIL_EINVALIDSTATE);
    FACT_ERROR(COIL_EINVALIDSTATE, "left already");
    coil_group_leave(group);
    return 0;
}

TASK(group_that_is_being_left_is_not_left_by_a_child)
{
    (void)arg;
    coil_group group = coil_group_begin();
    (void)coil_group_create_task(&group, leave_from_inside, &group);
    FACT_INT(coil_group_exit(&group, 0), 0);
    return 0;
}

static coil_ret use_what_has_ended(void *arg)
{
    coil_group *group = arg;
    FACT_INT(coil_sleep(1), 0); /* as the last child, and after it */
    FACT_INT(coil_sleep(0), 0);
    coil_task *t = coil_group_create_task(group, give, NULL);
    FACT_INT(coil_future_result(t), COIL_EINVALIDSTATE);
    FACT_ERROR(COIL_EINVALIDSTATE, "the group is finished");
    coil_group_cancel(group);
    note("late");
    return 0;
}

/* The last child has been told of, and the parent is woken and has not run. */
TASK(group_without_children_takes_none_while_it_is_left)
{
    (void)arg;
    coil_group group = coil_group_begin();
    (void)coil_group_create_task(&group, sleep_one, NULL);
    coil_task *other = begin(use_what_has_ended, &group);
    FACT_INT(coil_group_exit(&group, 0), 0);
    note("left");
    FACT_INT(coil_join(other), 0);
    FACT_TRACE("late left");
    return 0;
}

TASK(group_takes_children_that_are_told_its_own_loop)
{
    (void)arg;
    coil_group group = coil_group_begin();
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop};
    coil_task *t = coil_ref(coil_group_create_task_opts(&group, give, (void *)5, &opts));
    FACT_INT(coil_group_exit(&group, 0), 0);
    FACT_INT(coil_future_result(t), 5);
    coil_unref(t);
    return 0;
}

static coil_ret cancel_group(void *arg)
{
    coil_group_cancel(arg);
    return 0;
}

TASK(group_cancelled_by_a_child_that_ends_at_once)
{
    (void)arg;
    coil_group group = coil_group_begin();
    coil_task_opts opts = {.size = sizeof opts, .eager = true};
    (void)coil_group_create_task(&group, sleep_one, NULL);
    coil_task *t = coil_ref(coil_group_create_task_opts(&group, cancel_group, &group, &opts));
    FACT(coil_future_done(t));
    FACT_INT(coil_group_exit(&group, 0), 0);
    FACT_INT(coil_future_result(t), 0);
    coil_unref(t);
    return 0;
}

static coil_group *cancelled_by_factory;
static coil_loop *another;

static coil_task *cancels_and_makes_none(coil_loop *loop, const coil_task_recipe *recipe,
                                         const coil_task_opts *opts, void *arg)
{
    (void)loop, (void)recipe, (void)opts, (void)arg;
    coil_group_cancel(cancelled_by_factory);
    return NULL;
}

static coil_task *makes_it_elsewhere(coil_loop *loop, const coil_task_recipe *recipe,
                                     const coil_task_opts *opts, void *arg)
{
    (void)loop, (void)arg;
    coil_task_opts own = *opts;
    own.loop = another;
    return coil_task_new(another, recipe, &own);
}

TASK(group_whose_factory_cancels_it_and_makes_no_task)
{
    (void)arg;
    coil_group group = coil_group_begin();
    cancelled_by_factory = &group;
    FACT_INT(coil_loop_set_task_factory(NULL, cancels_and_makes_none, NULL), 0);
    coil_task *t = coil_group_create_task(&group, give, NULL);
    FACT_INT(coil_future_result(t), COIL_ETYPE);
    FACT_INT(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    FACT_INT(coil_group_exit(&group, 0), COIL_ETYPE);
    return 0;
}

TASK(group_whose_factory_makes_tasks_of_another_loop)
{
    (void)arg;
    another = stage_new_loop(true);
    coil_group group = coil_group_begin();
    FACT_INT(coil_loop_set_task_factory(NULL, makes_it_elsewhere, NULL), 0);
    coil_task *t = coil_group_create_task(&group, give, NULL);
    FACT_INT(coil_future_result(t), COIL_EWRONGLOOP);
    FACT_INT(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
    FACT_INT(coil_group_exit(&group, 0), COIL_EWRONGLOOP);
    coil_loop_free(another);
    stage.report.n = 0; /* the task that is left there says so */
    return 0;
}

static coil_ret fail_now(void *arg)
{
    return coil_fail((coil_ret)(intptr_t)arg, "it fails");
}

static coil_ret goes_on(void *arg)
{
    (void)arg;
    coil_ignore(coil_sleep(1));
    return coil_sleep(100);
}

static coil_ret is_unwound_with_an_error(void *arg)
{
    (void)arg;
    coil_group group = coil_group_begin();
    (void)coil_group_create_task(&group, fail_now, (void *)-EIO);
    (void)coil_group_create_task(&group, goes_on, NULL);
    coil_ret rc = coil_group_exit(&group, 0);
    note("%s", coil_errname(rc));
    return rc;
}

LOOP(group_that_is_unwound_still_tells_of_its_errors)
{
    coil_unref(begin(is_unwound_with_an_error, NULL));
    for (int i = 0; i < 4; i++)
        one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("EIO");
    stage.report.n = 0; /* tasks were left */
}

/* ---- iterators ---- */

struct asked {
    coil_as_completed *it;
    coil_future *future;
};

static coil_ret ask(void *arg)
{
    struct asked *a = arg;
    coil_ret rc = coil_as_completed_next(a->it, &a->future);
    note("%ld", (long)rc);
    return rc;
}

TASK(iterator_gives_two_askers_what_ends_together)
{
    (void)arg;
    coil_future *two[] = {coil_loop_create_future(NULL), coil_loop_create_future(NULL)};
    coil_as_completed it;
    FACT_INT(coil_as_completed_init(&it, two, 2, COIL_FOREVER), 0);
    struct asked a = {.it = &it}, b = {.it = &it};
    coil_task *ta = begin(ask, &a), *tb = begin(ask, &b);
    pass();
    FACT_INT(coil_future_set_result(two[1], 1), 0);
    FACT_INT(coil_future_set_result(two[0], 0), 0);
    FACT_INT(coil_join(ta), 1);
    FACT_INT(coil_join(tb), 1);
    FACT(a.future == two[1] && b.future == two[0]);
    FACT_TRACE("1 1");
    coil_as_completed_close(&it);
    coil_unref(two[0]);
    coil_unref(two[1]);
    return 0;
}

TASK(iterator_closed_while_it_is_asked_is_at_its_end)
{
    (void)arg;
    coil_future *f = coil_loop_create_future(NULL);
    coil_as_completed it;
    FACT_INT(coil_as_completed_init(&it, &f, 1, COIL_FOREVER), 0);
    struct asked a = {.it = &it};
    coil_task *t = begin(ask, &a);
    pass();
    coil_as_completed_close(&it);
    FACT_INT(coil_join(t), 0);
    FACT_TRACE("0");
    coil_unref(f);
    return 0;
}

/* The asker was woken for an item that somebody else took before it ran; then it is cancelled. */
TASK(iterator_whose_item_was_taken_is_asked_by_one_who_is_cancelled)
{
    (void)arg;
    coil_future *f = coil_loop_create_future(NULL), *g = coil_loop_create_future(NULL), *got;
    coil_future *two[] = {f, g};
    coil_as_completed it;
    FACT_INT(coil_as_completed_init(&it, two, 2, COIL_FOREVER), 0);
    struct asked a = {.it = &it};
    coil_task *t = begin(ask, &a);
    pass();
    FACT_INT(coil_future_set_result(f, 0), 0);
    pass();
    FACT_INT(coil_as_completed_next(&it, &got), 1);
    FACT(got == f);
    coil_task_cancel(t, NULL);
    FACT_INT(coil_join(t), -ECANCELED);
    coil_as_completed_close(&it);
    coil_unref(f);
    coil_unref(g);
    return 0;
}

/* ---- outer futures, when the loop has gone ---- */

LOOP(outer_futures_that_are_done_outlive_their_loop)
{
    coil_task *t = begin(give, (void *)7);
    coil_future *shield = coil_shield_future(t);
    coil_future *gather = coil_gather_future(&t, 1, 0);
    for (int i = 0; i < 4; i++)
        one_turn();
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_future_result(shield), 7);
    FACT_INT(((const coil_ret *)coil_future_result(gather))[0], 7);
    coil_unref(shield);
    coil_unref(gather);
    coil_unref(t);
}

TASK(gather_takes_what_could_not_be_made_as_a_result)
{
    (void)arg;
    coil_future *two[] = {coil_create_task(NULL, NULL), coil_create_task(give, (void *)3)};
    coil_ret results[2];
    FACT_INT(coil_gather(two, 2, results, COIL_RETURN_EXCEPTIONS | COIL_UNREF), 0);
    FACT_INT(results[0], -EINVAL);
    FACT_INT(results[1], 3);
    return 0;
}

static void is_told(coil_future *f, void *arg)
{
    (void)f;
    note_arg(arg);
}

TASK(shield_given_up_among_others_who_wait_for_the_same)
{
    (void)arg;
    coil_future *inner = coil_loop_create_future(NULL);
    FACT_INT(coil_future_add_done_callback(inner, is_told, TEXT("told")), 0);
    coil_future *shield = coil_shield_future(inner);
    coil_future_cancel(shield, NULL);
    pass();
    FACT_INT(coil_future_set_exception(inner, -EIO), 0);
    pass();
    pass();
    FACT_TRACE("told");
    FACT_REPORT("exception in shielded future");
    coil_unref(shield);
    coil_unref(inner);
    return 0;
}

/* ---- no time left ---- */

static coil_ret answers_a_cancel(void *arg)
{
    (void)arg;
    FACT_INT(coil_sleep(10), -ECANCELED);
    return 5;
}

TASK(wait_for_without_time_takes_what_a_cancelled_one_gives)
{
    (void)arg;
    coil_task *t = begin(answers_a_cancel, NULL);
    pass();
    FACT_INT(coil_wait_for(t, 0), 5);
    coil_unref(t);
    return 0;
}

static coil_ret has_no_time(void *arg)
{
    return coil_wait_for_call(sleep_one, arg, 0);
}

TASK(wait_for_call_without_time_may_be_cancelled_at_every_turn)
{
    (void)arg;
    int cancelled = 0, late = 0;
    for (int turns = 1; turns <= 4; turns++) {
        coil_task *t = begin(has_no_time, NULL);
        for (int i = 0; i < turns; i++)
            pass();
        coil_task_cancel(t, NULL);
        coil_ret rc = coil_join(t);
        cancelled += rc == -ECANCELED;
        late += rc == -ETIMEDOUT;
    }
    FACT_INT(cancelled + late, 4);
    FACT(cancelled >= 1 && late >= 1);
    return 0;
}

/* ---- awaited-by ---- */

LOOP(awaited_by_is_for_futures_of_one_loop_and_thread)
{
    another = stage_new_loop(true);
    coil_future *f = coil_loop_create_future(stage.loop), *g = coil_loop_create_future(another);
    coil_future *h = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_add_to_awaited_by(f, g), COIL_EWRONGLOOP);
    FACT_INT(coil_future_add_to_awaited_by(f, h), 0);
    coil_future_discard_from_awaited_by(f, h);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_INT(coil_future_add_to_awaited_by(f, h), COIL_ECLOSED);
    coil_unref(f);
    coil_unref(g);
    coil_unref(h);
    coil_loop_free(another);
}

LOOP(callbacks_of_a_future_that_is_done_after_its_loop_are_dropped)
{
    coil_future *f = coil_loop_create_future(stage.loop);
    FACT_INT(coil_future_add_done_callback(f, is_told, TEXT("told")), 0);
    FACT_INT(coil_loop_close(stage.loop), 0);
    (void)coil_future_set_result(f, 1);
    FACT_TRACE("");
    coil_unref(f);
}

TASK(callbacks_are_removed_from_among_those_who_await)
{
    (void)arg;
    coil_future *f = coil_loop_create_future(NULL);
    coil_future *shield = coil_shield_future(f);
    FACT_INT(coil_future_add_done_callback(f, is_told, TEXT("a")), 0);
    FACT_INT(coil_future_add_done_callback(f, is_told, TEXT("b")), 0);
    FACT_INT(coil_future_remove_done_callback(f, is_told, TEXT("c")), 0);
    FACT_INT(coil_future_remove_done_callback(f, NULL, NULL), 0);
    FACT_INT(coil_future_set_result(f, 2), 0);
    pass();
    pass();
    FACT_TRACE("a b");
    FACT_INT(coil_await(shield), 2);
    coil_unref(shield);
    coil_unref(f);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(group_that_is_being_left_is_not_left_by_a_child),
        cmocka_unit_test(group_without_children_takes_none_while_it_is_left),
        cmocka_unit_test(group_takes_children_that_are_told_its_own_loop),
        cmocka_unit_test(group_cancelled_by_a_child_that_ends_at_once),
        cmocka_unit_test(group_whose_factory_cancels_it_and_makes_no_task),
        cmocka_unit_test(group_whose_factory_makes_tasks_of_another_loop),
        cmocka_unit_test(group_that_is_unwound_still_tells_of_its_errors),
        cmocka_unit_test(iterator_gives_two_askers_what_ends_together),
        cmocka_unit_test(iterator_closed_while_it_is_asked_is_at_its_end),
        cmocka_unit_test(iterator_whose_item_was_taken_is_asked_by_one_who_is_cancelled),
        cmocka_unit_test(outer_futures_that_are_done_outlive_their_loop),
        cmocka_unit_test(gather_takes_what_could_not_be_made_as_a_result),
        cmocka_unit_test(shield_given_up_among_others_who_wait_for_the_same),
        cmocka_unit_test(wait_for_without_time_takes_what_a_cancelled_one_gives),
        cmocka_unit_test(wait_for_call_without_time_may_be_cancelled_at_every_turn),
        cmocka_unit_test(awaited_by_is_for_futures_of_one_loop_and_thread),
        cmocka_unit_test(callbacks_of_a_future_that_is_done_after_its_loop_are_dropped),
        cmocka_unit_test(callbacks_are_removed_from_among_those_who_await),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
