/* SPDX-License-Identifier: MIT
 *
 * test_group.c: tasks that live and end together. */
#include "stage.h"

static coil_task *self(void)
{
    return coil_current_task();
}

STAGE(group_of_nobody_ends_at_once)
{
    mark("go");
    coil_task_group(g);
    FACT(coil_group_exit(&g, 7), 7);
    mark("end");
    TRACE("0:go 0:end");
    return 0;
}

STAGE(group_waits_for_every_child)
{
    coil_task_group(g);
    coil_task *a = coil_ref(sleeper_in(&g, NULL, 2, 20)),
              *b = coil_ref(sleeper_in(&g, NULL, 1, 10));
    FACT(coil_group_exit(&g, 3), 3);
    FACT(coil_future_result(a), 20);
    FACT(coil_future_result(b), 10);
    coil_unref(a);
    coil_unref(b);
    return 0;
}

STAGE(group_drops_finished_children_at_once)
{
    int64_t live = stage_live();
    coil_task_group(g);
    for (int i = 0; i < 100; i++) {
        walk_in(&g, NULL, 0, 0);
        turns(2);
    }
    FACT(stage_live(), live);
    FACT(coil_group_exit(&g, 0), 0);
    return 0;
}

STAGE(group_returns_the_first_error_and_lists_all)
{
    coil_task_group(g);
    walk_in(&g, "a", 2, -EIO);
    walk_in(&g, "b", 1, -ENOENT);
    walk_in(&g, "c", 1, -EPIPE);
    FACT(coil_group_exit(&g, 0), -ENOENT);
    const coil_error *e = coil_last_error();
    FACT(e->code, -ENOENT);
    FACT(e->members_n, 3); /* a failed in the very turn in which the others were told of */
    FACT(e->members[0]->code, -ENOENT);
    TEXT(e->members[0]->message, "b failed");
    FACT(e->members[1]->code, -EPIPE);
    FACT(e->members[2]->code, -EIO);
    TRUE(strstr(e->message, "b failed") != NULL);
    TRUE(strcmp(e->members[0]->task, e->members[1]->task) != 0);
    return 0;
}

STAGE(group_joins_the_bodys_error)
{
    coil_task_group(g);
    walk_in(&g, "a", 1, -EIO);
    coil_ret rc = coil_sleep(10);
    FACT(rc, -ECANCELED);
    rc = coil_fail(-ENOENT, "from the body");
    FACT(coil_group_exit(&g, rc), -EIO);
    FACT(coil_last_error()->members_n, 2);
    FACT(coil_last_error()->members[0]->code, -EIO);
    FACT(coil_last_error()->members[1]->code, -ENOENT);
    TEXT(coil_last_error()->members[1]->message, "from the body");
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

STAGE(group_of_an_error_of_the_body_alone_is_a_group_too)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 10, 0);
    turns(1);
    FACT(coil_group_exit(&g, coil_fail(-EIO, "alone")), -EIO);
    FACT(coil_last_error()->members_n, 1);
    TEXT(coil_last_error()->members[0]->message, "alone");
    return 0;
}

STAGE(group_ignores_a_child_that_was_cancelled)
{
    coil_task_group(g);
    coil_task *a = coil_ref(sleeper_in(&g, NULL, 10, 0));
    sleeper_in(&g, NULL, 1, 0);
    turns(1);
    coil_task_cancel(a, NULL);
    FACT(coil_group_exit(&g, 0), 0);
    TRUE(coil_future_cancelled(a));
    coil_unref(a);
    return 0;
}

/* ---- creating ---- */

static coil_ret add_two_later(void *group)
{
    coil_ret rc = coil_sleep(1);
    walk_in(group, NULL, 3, 0);
    walk_in(group, NULL, 5, 0);
    mark("added");
    return rc;
}

STAGE(group_waits_for_tasks_added_while_it_waits)
{
    mark("go");
    coil_task_group(g);
    coil_group_create_task(&g, add_two_later, &g);
    FACT(coil_group_exit(&g, 0), 0);
    mark("end");
    TRACE("0:go 3:added 11:end");
    return 0;
}

STAGE(group_that_is_finished_refuses_children)
{
    coil_task_group(g);
    FACT(coil_group_exit(&g, 0), 0);
    coil_task *t = walk_in(&g, NULL, 1, 0);
    FACT(coil_await(t), COIL_EINVALIDSTATE);
    return 0;
}

static coil_ret create_when_cancelled(void *group)
{
    coil_ret rc = coil_sleep(10);
    FACT(rc, -ECANCELED);
    FACT(coil_future_result(walk_in(group, "never", 1, 0)), COIL_ESHUTDOWN);
    return rc;
}

STAGE(group_that_shuts_down_refuses_children)
{
    coil_task_group(g);
    coil_group_create_task(&g, create_when_cancelled, &g);
    walk_in(&g, NULL, 1, -EIO);
    FACT(coil_group_exit(&g, 0), -EIO);
    FACT(coil_last_error()->members_n, 1);
    return 0;
}

static coil_ret nothing(void *arg)
{
    return 0;
}

STAGE(group_takes_coroutine_objects_and_closes_those_it_refuses)
{
    coil_task_group(g);
    coil_group_create_task_coro(&g, coil_coro_new(nothing, NULL));
    FACT(coil_group_exit(&g, 0), 0);
    FACT(coil_await(coil_group_create_task_coro(&g, coil_coro_new(nothing, NULL))),
         COIL_EINVALIDSTATE);
    REPORTS("");
    return 0;
}

STAGE(group_counts_a_child_that_could_not_be_made_as_failed)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 10, 0);
    coil_task *t = coil_group_create_task(&g, NULL, NULL);
    FACT(coil_future_result(t), -EINVAL);
    FACT(coil_sleep(10), -ECANCELED);
    FACT(coil_group_exit(&g, 0), -EINVAL);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

STAGE(group_children_take_options)
{
    coil_contextvar var = COIL_CONTEXTVAR("var", NULL);
    coil_context *context = coil_copy_context();
    coil_task_opts opts = {.size = sizeof opts, .name = "yolo", .context = context};
    coil_task_group(g);
    coil_task *t = coil_group_create_task_opts(&g, nothing, NULL, &opts);
    TEXT(coil_task_get_name(t), "yolo");
    TRUE(coil_task_get_context(t) == context);
    FACT(coil_group_exit(&g, 0), 0);
    TRUE(coil_contextvar_get(&var) == NULL);
    coil_context_unref(context);
    return 0;
}

static coil_ret eager_steps(void *arg)
{
    const char *name = arg;
    mark("%s", name);
    if (name[0] == 'w')
        return coil_sleep(0);
    return name[0] == 'f' ? coil_fail(-EIO, "eagerly") : 0;
}

STAGE(group_is_told_of_an_eager_child_a_turn_later)
{
    coil_task_opts eager = {.size = sizeof eager, .eager = true};
    mark("go");
    coil_task_group(g);
    coil_group_create_task_opts(&g, eager_steps, "works", &eager);
    coil_group_create_task_opts(&g, eager_steps, "fails", &eager);
    mark("body");
    FACT(coil_task_cancelling(self()), 0); /* not in the middle of our step */
    FACT(coil_sleep(10), -ECANCELED);
    mark("cancelled");
    FACT(coil_group_exit(&g, 0), -EIO);
    TRACE("0:go 0:works 0:fails 0:body 2:cancelled");
    return 0;
}

static coil_ret cancel_the_group(void *group)
{
    coil_group_cancel(group);
    return coil_sleep(100);
}

STAGE(group_cancelled_by_an_eager_child_cancels_that_child)
{
    coil_task_opts eager = {.size = sizeof eager, .eager = true};
    double now = coil_loop_time(NULL);
    coil_task_group(g);
    coil_group_create_task_opts(&g, cancel_the_group, &g, &eager);
    FACT(coil_group_exit(&g, 0), 0);
    TRUE(coil_loop_time(NULL) - now < 1);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

/* ---- cancels from outside ---- */

STAGE(group_passes_an_outside_cancel_on_after_its_children)
{
    coil_task_group(g);
    coil_task *child = coil_ref(sleeper_in(&g, NULL, 10, 0));
    coil_loop_call_later(NULL, 1, cancel_it, self(), NULL);
    FACT(coil_group_exit(&g, 0), -ECANCELED);
    TRUE(coil_future_cancelled(child));
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_task_uncancel(self()), 0);
    coil_unref(child);
    return 0;
}

static void cancel_with_words(void *task)
{
    coil_task_cancel(task, "go home");
}

STAGE(group_keeps_the_words_of_an_outside_cancel)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 10, 0);
    coil_loop_call_later(NULL, 1, cancel_with_words, self(), NULL);
    coil_ret rc = coil_sleep(5);
    FACT(coil_group_exit(&g, rc), -ECANCELED);
    TEXT(coil_last_error()->message, "go home");
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

static coil_ret fail_when_cancelled(void *arg)
{
    coil_ret rc = coil_sleep(10);
    return rc == -ECANCELED ? coil_fail(-EIO, "in the clean-up") : rc;
}

STAGE(group_with_an_error_and_an_outside_cancel_gives_the_error_then_the_cancel)
{
    coil_task_group(g);
    coil_group_create_task(&g, fail_when_cancelled, NULL);
    coil_loop_call_later(NULL, 1, cancel_it, self(), NULL);
    FACT(coil_group_exit(&g, 0), -EIO);
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_sleep(10), -ECANCELED);
    FACT(coil_task_uncancel(self()), 0);
    turns(1);
    return 0;
}

/* asyncio cancels the task again, and says nothing with it. */
STAGE(group_with_an_error_delivers_an_outside_cancel_again_without_its_words)
{
    coil_task_group(g);
    coil_group_create_task(&g, fail_when_cancelled, NULL);
    coil_loop_call_later(NULL, 1, cancel_with_words, self(), NULL);
    FACT(coil_group_exit(&g, 0), -EIO);
    FACT(coil_sleep(10), -ECANCELED);
    TEXT(coil_last_error()->message, "cancelled");
    FACT(coil_task_uncancel(self()), 0);
    turns(1);
    return 0;
}

static coil_ret marks_its_cancel(void *name)
{
    coil_ret rc = coil_sleep(10);
    mark("%s", (const char *)name);
    return rc;
}

STAGE(group_cancels_its_children_in_the_order_of_their_creation)
{
    coil_task_group(g);
    coil_group_create_task(&g, marks_its_cancel, "a");
    coil_group_create_task(&g, marks_its_cancel, "b");
    coil_group_create_task(&g, marks_its_cancel, "c");
    turns(1);
    FACT(coil_group_exit(&g, coil_fail(-EIO, "the body failed")), -EIO);
    TRACE("0:a 0:b 0:c");
    return 0;
}

static coil_ret slow_to_end(void *arg)
{
    coil_ret rc = coil_sleep(100);
    for (int i = 0; i < 3; i++)
        coil_ignore(coil_sleep(1));
    return rc;
}

STAGE(group_drains_through_repeated_cancels)
{
    double now = coil_loop_time(NULL);
    coil_task_group(g);
    coil_group_create_task(&g, slow_to_end, NULL);
    for (int i = 1; i <= 3; i++)
        coil_loop_call_later(NULL, i * 0.9, cancel_it, self(), NULL);
    FACT(coil_group_exit(&g, 0), -ECANCELED);
    TRUE(coil_loop_time(NULL) - now > 3.5);
    FACT(coil_task_cancelling(self()), 3);
    while (coil_task_uncancel(self()) > 0) {}
    return 0;
}

/* ---- coil_group_cancel ---- */

STAGE(group_cancel_ends_children_and_body_and_is_swallowed)
{
    coil_task_group(g);
    coil_task *child = coil_ref(sleeper_in(&g, NULL, 10, 0));
    turns(1);
    coil_group_cancel(&g);
    coil_group_cancel(&g);
    coil_ret rc = coil_sleep(10);
    FACT(rc, -ECANCELED);
    FACT(coil_group_exit(&g, rc), 0);
    TRUE(coil_future_cancelled(child));
    FACT(coil_task_cancelling(self()), 0);
    coil_group_cancel(&g);
    turns(1);
    coil_unref(child);
    return 0;
}

static void cancel_group(void *group)
{
    coil_group_cancel(group);
}

STAGE(group_cancel_while_draining)
{
    double now = coil_loop_time(NULL);
    coil_task_group(g);
    sleeper_in(&g, NULL, 10, 0);
    coil_loop_call_later(NULL, 1, cancel_group, &g, NULL);
    FACT(coil_group_exit(&g, 5), 5);
    TRUE(coil_loop_time(NULL) - now < 2);
    FACT(coil_task_cancelling(self()), 0);
    turns(1);
    return 0;
}

STAGE(group_cancel_leaves_a_body_that_never_waits_its_value)
{
    coil_task_group(g);
    coil_group_cancel(&g);
    FACT(coil_future_result(walk_in(&g, NULL, 1, 0)), COIL_ESHUTDOWN);
    FACT(coil_group_exit(&g, 6), 6);
    turns(1);
    return 0;
}

STAGE(group_cancel_does_not_hide_an_outside_cancel)
{
    coil_task_group(g);
    coil_group_create_task(&g, slow_to_end, NULL);
    turns(1);
    coil_group_cancel(&g);
    coil_loop_call_later(NULL, 1.5, cancel_it, self(), NULL);
    FACT(coil_group_exit(&g, 0), -ECANCELED);
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_task_uncancel(self()), 0);
    return 0;
}

STAGE(group_cancel_does_not_hide_a_childs_error)
{
    coil_task_group(g);
    coil_group_create_task(&g, fail_when_cancelled, NULL);
    turns(1);
    coil_group_cancel(&g);
    FACT(coil_group_exit(&g, 0), -EIO);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

/* ---- left by return ---- */

static coil_ret return_past_a_group(void *arg)
{
    coil_task_group(g);
    coil_task **child = arg;
    *child = coil_ref(sleeper_in(&g, NULL, 10, 0));
    turns(1);
    return coil_fail(-ENOENT, "returned");
}

STAGE(group_left_by_return_cancels_and_drains)
{
    coil_task *child;
    coil_loop_set_debug(NULL, false);
    FACT(return_past_a_group(&child), -ENOENT);
    TEXT(coil_last_error()->message, "returned");
    TRUE(coil_future_cancelled(child));
    FACT(coil_task_cancelling(self()), 0);
    coil_unref(child);
    REPORTS("");
    return 0;
}

STAGE(group_left_by_return_says_so_in_debug_mode)
{
    coil_task *child;
    coil_loop_set_debug(NULL, true);
    FACT(return_past_a_group(&child), -ENOENT);
    coil_loop_set_debug(NULL, false);
    coil_unref(child);
    TRUE(strstr(stage_reports, "test_group.c:") != NULL);
    TRUE(strstr(stage_reports, "left by return") != NULL);
    stage_reports[0] = 0;
    return 0;
}

static coil_ret return_past_a_slow_group(void *arg)
{
    coil_task_group(g);
    coil_group_create_task(&g, slow_to_end, NULL);
    coil_group_create_task(&g, fail_when_cancelled, NULL);
    turns(1);
    return 5;
}

STAGE(group_left_by_return_defers_cancels_and_reports_errors)
{
    double now = coil_loop_time(NULL);
    coil_loop_set_debug(NULL, false);
    coil_loop_call_later(NULL, 1.5, cancel_it, self(), NULL);
    FACT(return_past_a_slow_group(NULL), 5);
    TRUE(coil_loop_time(NULL) - now > 2.5);
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_sleep(10), -ECANCELED);
    FACT(coil_task_uncancel(self()), 0);
    REPORTS("[errors in a group that was left by return EIO]");
    return 0;
}

static coil_ret return_after_a_child_failed(void *arg)
{
    coil_task_group(g);
    walk_in(&g, NULL, 0, -EIO);
    return coil_sleep(10);
}

STAGE(group_left_by_return_takes_its_own_cancel_back)
{
    FACT(return_after_a_child_failed(NULL), -ECANCELED);
    FACT(coil_task_cancelling(self()), 0);
    REPORTS("[errors in a group that was left by return EIO]");
    turns(1);
    return 0;
}

/* ---- misuse ---- */

static void begin_outside(void *arg)
{
    coil_task_group(g);
    FACT(coil_future_result(walk_in(&g, NULL, 1, 0)), COIL_ENOTASK);
    coil_group_cancel(&g);
    FACT(coil_group_exit(&g, 0), COIL_ENOTASK);
    FACT(coil_group_exit(&g, -EIO), -EIO);
}

STAGE(group_belongs_into_a_task)
{
    coil_loop_call_soon(NULL, begin_outside, NULL, NULL);
    turns(1);
    return 0;
}

static void without_any_loop_groups_fail(void **state)
{
    (void)state;
    begin_outside(NULL);
}

static coil_ret exit_it(void *group)
{
    return coil_group_exit(group, 0);
}

STAGE(group_is_left_once_and_by_its_own_task)
{
    coil_task_group(g);
    coil_task *t = coil_create_task(exit_it, &g);
    FACT(coil_join(t), COIL_EINVALIDSTATE);
    FACT(coil_group_exit(&g, 4), 4);
    FACT(coil_group_exit(&g, 4), COIL_EINVALIDSTATE);
    return 0;
}

/* ---- unwinding ---- */

static coil_ret sleep_in_nested_groups(void *arg)
{
    coil_task_group(outer);
    sleeper_in(&outer, NULL, 50, 0);
    coil_task_group(inner);
    sleeper_in(&inner, NULL, 50, 0);
    coil_ret rc = arg ? coil_sleep(100) : 0;
    if (coil_iserr(rc))
        return rc; /* by the cleanup form */
    rc = coil_group_exit(&inner, rc);
    return coil_group_exit(&outer, rc);
}

static coil_ret leave_groups_behind(void *arg)
{
    coil_unref(coil_create_task(sleep_in_nested_groups, NULL));
    coil_unref(coil_create_task(sleep_in_nested_groups, ""));
    turns(3);
    return 0;
}

static void group_is_unwound_with_its_task(void **state)
{
    (void)state;
    stage_leave(leave_groups_behind);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(group_of_nobody_ends_at_once),
        T(group_waits_for_every_child),
        T(group_drops_finished_children_at_once),
        T(group_returns_the_first_error_and_lists_all),
        T(group_joins_the_bodys_error),
        T(group_of_an_error_of_the_body_alone_is_a_group_too),
        T(group_ignores_a_child_that_was_cancelled),
        T(group_waits_for_tasks_added_while_it_waits),
        T(group_that_is_finished_refuses_children),
        T(group_that_shuts_down_refuses_children),
        T(group_takes_coroutine_objects_and_closes_those_it_refuses),
        T(group_counts_a_child_that_could_not_be_made_as_failed),
        T(group_children_take_options),
        T(group_is_told_of_an_eager_child_a_turn_later),
        T(group_cancelled_by_an_eager_child_cancels_that_child),
        T(group_passes_an_outside_cancel_on_after_its_children),
        T(group_keeps_the_words_of_an_outside_cancel),
        T(group_with_an_error_and_an_outside_cancel_gives_the_error_then_the_cancel),
        T(group_with_an_error_delivers_an_outside_cancel_again_without_its_words),
        T(group_cancels_its_children_in_the_order_of_their_creation),
        T(group_drains_through_repeated_cancels),
        T(group_cancel_ends_children_and_body_and_is_swallowed),
        T(group_cancel_while_draining),
        T(group_cancel_leaves_a_body_that_never_waits_its_value),
        T(group_cancel_does_not_hide_an_outside_cancel),
        T(group_cancel_does_not_hide_a_childs_error),
        T(group_left_by_return_cancels_and_drains),
        T(group_left_by_return_says_so_in_debug_mode),
        T(group_left_by_return_defers_cancels_and_reports_errors),
        T(group_left_by_return_takes_its_own_cancel_back),
        T(group_belongs_into_a_task),
        T(without_any_loop_groups_fail),
        T(group_is_left_once_and_by_its_own_task),
        T(group_is_unwound_with_its_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
