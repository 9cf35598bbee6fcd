/* SPDX-License-Identifier: MIT
 *
 * task_groups.c: asyncio's test_taskgroups, by the names its tests have there.
 *
 * Left out, with why: 20 and 21 need a KeyboardInterrupt raised by a coroutine, which has no counterpart
 * here; already_entered, double_enter and not_entered cannot be written, since a group begins entered. */
#include "../unit/combine/stage.h"

enum { ZERO_DIVISION = COIL_EUSER, MY_EXC = COIL_EUSER - 1, VALUE_ERROR = COIL_EUSER - 2 };

static int count;

static coil_task *self(void)
{
    return coil_current_task();
}

/* Runs fn as a task, cancels it after `after` seconds (0: never); how it ended. */
static coil_ret run_and_cancel(coil_fn fn, double after)
{
    count = 0;
    coil_task *t = coil_create_task(fn, NULL);
    if (after > 0) {
        FACT(coil_sleep(after), 0);
        FALSE(coil_future_done(t));
        coil_task_cancel(t, NULL);
    }
    return coil_join(t);
}

static void last_error_is_group_of(size_t n, coil_ret first, coil_ret second)
{
    const coil_error *e = coil_last_error();
    FACT(e->members_n, n);
    if (e->members_n > 0)
        FACT(e->members[0]->code, first);
    if (e->members_n > 1)
        FACT(e->members[1]->code, second);
}

STAGE(test_taskgroup_01)
{
    coil_task_group(g);
    coil_task *t1 = coil_ref(sleeper_in(&g, NULL, 0.1, 42)),
              *t2 = coil_ref(sleeper_in(&g, NULL, 0.2, 11));
    FACT(coil_group_exit(&g, 0), 0);
    FACT(coil_future_result(t1), 42);
    FACT(coil_future_result(t2), 11);
    coil_unref(t1);
    coil_unref(t2);
    return 0;
}

STAGE(test_taskgroup_02)
{
    coil_task_group(g);
    coil_task *t1 = coil_ref(sleeper_in(&g, NULL, 0.1, 42));
    coil_ret rc = coil_sleep(0.15);
    coil_task *t2 = coil_ref(sleeper_in(&g, NULL, 0.2, 11));
    FACT(coil_group_exit(&g, rc), 0);
    FACT(coil_future_result(t1), 42);
    FACT(coil_future_result(t2), 11);
    coil_unref(t1);
    coil_unref(t2);
    return 0;
}

STAGE(test_taskgroup_03)
{
    coil_task_group(g);
    coil_task *t1 = coil_ref(sleeper_in(&g, NULL, 1, 42));
    coil_ret rc = coil_sleep(0.15);
    coil_task_cancel(t1, NULL);
    coil_task *t2 = coil_ref(sleeper_in(&g, NULL, 0.2, 11));
    FACT(coil_group_exit(&g, rc), 0);
    TRUE(coil_future_cancelled(t1));
    FACT(coil_future_result(t2), 11);
    coil_unref(t1);
    coil_unref(t2);
    return 0;
}

static coil_task *second_task;

static coil_ret runner_04(void *arg)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 0.1, ZERO_DIVISION);
    second_task = coil_ref(sleeper_in(&g, "t2", 1, 0));
    coil_ret rc = coil_group_exit(&g, 0);
    if (!coil_iserr(rc))
        count += 10;
    return rc;
}

STAGE(test_taskgroup_04)
{
    FACT(run_and_cancel(runner_04, 0), ZERO_DIVISION);
    last_error_is_group_of(1, ZERO_DIVISION, 0);
    FACT(count, 0);
    TRUE(strstr(stage_log, "t2c") != NULL);
    TRUE(coil_future_cancelled(second_task));
    coil_unref(second_task);
    return 0;
}

static coil_ret runner_child_error(void *arg)
{
    coil_task_group(g);
    for (int i = 0; i < 3; i++)
        sleeper_in(&g, NULL, 0.1, ZERO_DIVISION);
    sleeper_in(&g, "t2", 5, 0);
    coil_ret rc = coil_sleep(10);
    if (rc == -ECANCELED)
        mark("runner");
    return coil_group_exit(&g, rc);
}

STAGE(test_cancel_children_on_child_error)
{
    FACT(run_and_cancel(runner_child_error, 0), ZERO_DIVISION);
    last_error_is_group_of(3, ZERO_DIVISION, ZERO_DIVISION);
    TRUE(strstr(stage_log, "t2c") != NULL);
    TRUE(strstr(stage_log, "runner") != NULL);
    return 0;
}

static coil_ret foo_counts(void *arg)
{
    coil_ret rc = coil_sleep(5);
    if (rc == -ECANCELED)
        count++;
    return rc;
}

static coil_ret runner_cancellation(void *arg)
{
    coil_task_group(g);
    for (int i = 0; i < 5; i++)
        coil_group_create_task(&g, foo_counts, NULL);
    return coil_group_exit(&g, 0);
}

STAGE(test_cancellation)
{
    FACT(run_and_cancel(runner_cancellation, 0.1), -ECANCELED);
    FACT(count, 5);
    return 0;
}

static coil_ret runner_07(void *arg)
{
    coil_task_group(g);
    for (int i = 0; i < 5; i++)
        coil_group_create_task(&g, foo_counts, NULL);
    coil_ret rc = coil_sleep(10);
    if (rc == -ECANCELED)
        count += 10;
    return coil_group_exit(&g, rc);
}

STAGE(test_taskgroup_07)
{
    FACT(run_and_cancel(runner_07, 0.1), -ECANCELED);
    FACT(count, 15);
    return 0;
}

static coil_ret divide_in_the_end(void *arg)
{
    coil_ignore(coil_sleep(10));
    return coil_fail(ZERO_DIVISION, "division by zero");
}

static coil_ret runner_08(void *arg)
{
    coil_task_group(g);
    for (int i = 0; i < 5; i++)
        coil_group_create_task(&g, divide_in_the_end, NULL);
    coil_ret rc = coil_sleep(10);
    return coil_group_exit(&g, rc);
}

STAGE(test_taskgroup_08)
{
    FACT(run_and_cancel(runner_08, 0.1), ZERO_DIVISION);
    last_error_is_group_of(5, ZERO_DIVISION, ZERO_DIVISION);
    return 0;
}

static void body_fails_after(double delay)
{
    coil_task_group(g);
    coil_task *t1 = coil_ref(sleeper_in(&g, NULL, 1, 42)),
              *t2 = coil_ref(sleeper_in(&g, NULL, 2, 11));
    if (delay > 0)
        FACT(coil_sleep(delay), 0);
    FACT(coil_group_exit(&g, coil_fail(ZERO_DIVISION, "1 / 0")), ZERO_DIVISION);
    last_error_is_group_of(1, ZERO_DIVISION, 0);
    TRUE(coil_future_cancelled(t1));
    TRUE(coil_future_cancelled(t2));
    coil_unref(t1);
    coil_unref(t2);
}

STAGE(test_taskgroup_09)
{
    body_fails_after(0.1);
    return 0;
}

STAGE(test_taskgroup_10)
{
    body_fails_after(0);
    return 0;
}

static coil_ret runner_11(void *arg)
{
    coil_task_group(g1);
    if (arg)
        sleeper_in(&g1, NULL, 10, 0);
    coil_task_group(g2);
    for (int i = 0; i < 5; i++)
        coil_group_create_task(&g2, divide_in_the_end, NULL);
    coil_ret rc = coil_sleep(10);
    rc = coil_group_exit(&g2, rc);
    return coil_group_exit(&g1, rc);
}

static coil_ret runner_12(void *arg)
{
    bool with_a_sleeper_in_the_outer_group = true;
    return runner_11(&with_a_sleeper_in_the_outer_group);
}

static void groups_nest(coil_ret code)
{
    last_error_is_group_of(1, code, 0);
    const coil_error *inner = coil_last_error()->members[0];
    FACT(inner->members_n > 0, 1);
    FACT(inner->members[0]->code, code);
}

STAGE(test_taskgroup_11)
{
    FACT(run_and_cancel(runner_11, 0.1), ZERO_DIVISION);
    groups_nest(ZERO_DIVISION);
    FACT(coil_last_error()->members[0]->members_n, 5);
    return 0;
}

STAGE(test_taskgroup_12)
{
    FACT(run_and_cancel(runner_12, 0.1), ZERO_DIVISION);
    groups_nest(ZERO_DIVISION);
    return 0;
}

static coil_ret two_groups(double outer, double inner)
{
    coil_task_group(g1);
    sleeper_in(&g1, NULL, outer, VALUE_ERROR);
    coil_task_group(g2);
    sleeper_in(&g2, NULL, inner, VALUE_ERROR);
    coil_ret rc = coil_group_exit(&g2, 0);
    return coil_group_exit(&g1, rc);
}

static coil_ret runner_13(void *arg)
{
    return two_groups(0.1, 10);
}

STAGE(test_taskgroup_13)
{
    FACT(run_and_cancel(runner_13, 0), VALUE_ERROR);
    last_error_is_group_of(1, VALUE_ERROR, 0);
    FACT(coil_last_error()->members[0]->members_n, 0);
    return 0;
}

static coil_ret runner_14(void *arg)
{
    return two_groups(10, 0.1);
}

STAGE(test_taskgroup_14)
{
    FACT(run_and_cancel(runner_14, 0), VALUE_ERROR);
    groups_nest(VALUE_ERROR);
    return 0;
}

static coil_ret runner_15(void *arg)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 0.3, ZERO_DIVISION);
    coil_ret rc = coil_sleep(10);
    if (rc == -ECANCELED)
        coil_ignore(coil_sleep(0.5));
    return coil_group_exit(&g, coil_fail(rc, "cancelled"));
}

STAGE(test_taskgroup_15)
{
    FACT(run_and_cancel(runner_15, 0.1), ZERO_DIVISION);
    last_error_is_group_of(1, ZERO_DIVISION, 0);
    return 0;
}

static coil_ret runner_16(void *arg)
{
    coil_task *nested = coil_create_task(runner_15, NULL);
    return coil_join(nested);
}

STAGE(test_taskgroup_16)
{
    FACT(run_and_cancel(runner_16, 0.1), ZERO_DIVISION);
    last_error_is_group_of(1, ZERO_DIVISION, 0);
    return 0;
}

static coil_ret runner_17(void *arg)
{
    coil_task_group(g);
    coil_ret rc = coil_sleep(10);
    if (rc == -ECANCELED)
        count += 10;
    return coil_group_exit(&g, rc);
}

STAGE(test_taskgroup_17)
{
    FACT(run_and_cancel(runner_17, 0.1), -ECANCELED);
    FACT(count, 10);
    return 0;
}

static coil_ret runner_18(void *arg)
{
    coil_task_group(g);
    coil_ret rc = coil_sleep(10);
    if (rc == -ECANCELED) {
        count += 10;
        rc = coil_fail(MY_EXC, "instead of the cancel");
    }
    return coil_group_exit(&g, rc);
}

STAGE(test_taskgroup_18)
{
    FACT(run_and_cancel(runner_18, 0.1), MY_EXC);
    last_error_is_group_of(1, MY_EXC, 0);
    FACT(count, 10);
    return 0;
}

static coil_ret runner_19(void *arg)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 0.1, ZERO_DIVISION);
    coil_ignore(coil_sleep(10));
    return coil_group_exit(&g, coil_fail(MY_EXC, "in a finally"));
}

/* 19, and with no class of errors above the others also 20a and 21a. */
STAGE(test_taskgroup_19_20a_21a)
{
    FACT(run_and_cancel(runner_19, 0), ZERO_DIVISION);
    last_error_is_group_of(2, ZERO_DIVISION, MY_EXC);
    return 0;
}

static coil_ret runner_22(void *arg)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 1, 42);
    sleeper_in(&g, NULL, 2, 11);
    return coil_group_exit(&g, 0);
}

STAGE(test_taskgroup_22)
{
    FACT(run_and_cancel(runner_22, 0.05), -ECANCELED);
    return 0;
}

STAGE(test_taskgroup_23)
{
    size_t before = coil_all_tasks(NULL, NULL, 0);
    coil_task_group(g);
    for (int i = 0; i < 10; i++) {
        FACT(coil_sleep(0.1), 0);
        sleeper_in(&g, NULL, 0.3, 0);
        if (i == 5)
            TRUE(coil_all_tasks(NULL, NULL, 0) - before < 5);
    }
    FACT(coil_sleep(1.35), 0);
    FACT(coil_all_tasks(NULL, NULL, 0), before);
    FACT(coil_group_exit(&g, 0), 0);
    return 0;
}

static coil_ret root_24(void *group)
{
    coil_ret rc = coil_sleep(0.1);
    sleeper_in(group, NULL, 0.1, 0);
    sleeper_in(group, NULL, 0.2, 0);
    return rc;
}

STAGE(test_taskgroup_24)
{
    coil_task_group(g);
    coil_group_create_task(&g, root_24, &g);
    FACT(coil_group_exit(&g, 0), 0);
    return 0;
}

static int hydras;

static coil_ret hydra(void *group)
{
    hydras++;
    coil_ret rc = coil_sleep(0.01);
    if (coil_iserr(rc))
        return rc;
    coil_group_create_task(group, hydra, group);
    coil_group_create_task(group, hydra, group);
    return 0;
}

static coil_ret hercules(void *arg)
{
    while (hydras < 10) {
        coil_ret rc = coil_sleep(0.015);
        if (coil_iserr(rc))
            return rc;
    }
    return coil_fail(ZERO_DIVISION, "enough");
}

STAGE(test_taskgroup_25)
{
    hydras = 0;
    coil_task_group(g);
    coil_group_create_task(&g, hydra, &g);
    coil_group_create_task(&g, hercules, NULL);
    FACT(coil_group_exit(&g, 0), ZERO_DIVISION);
    last_error_is_group_of(1, ZERO_DIVISION, 0);
    TRUE(hydras >= 10);
    return 0;
}

static coil_contextvar cvar = COIL_CONTEXTVAR("cvar", NULL);

static coil_ret set_var(void *value)
{
    coil_ret rc = coil_sleep(0);
    FACT(coil_contextvar_set(&cvar, value, NULL), 0);
    return rc;
}

STAGE(test_taskgroup_task_context)
{
    int one = 1, two = 2;
    void *value;
    coil_context *context = coil_copy_context();
    coil_task_opts opts = {.size = sizeof opts, .context = context};
    coil_task_group(g);
    FALSE(coil_context_get(context, &cvar, &value));
    coil_task *t = coil_ref(coil_group_create_task_opts(&g, set_var, &one, &opts));
    FACT(coil_join(t), 0);
    TRUE(coil_context_get(context, &cvar, &value) && value == &one);
    t = coil_ref(coil_group_create_task_opts(&g, set_var, &two, &opts));
    FACT(coil_join(t), 0);
    TRUE(coil_context_get(context, &cvar, &value) && value == &two);
    FACT(coil_group_exit(&g, 0), 0);
    coil_context_unref(context);
    return 0;
}

static coil_ret create_after_failure(void *group)
{
    coil_ret rc = coil_sleep(1);
    FACT(rc, -ECANCELED);
    coil_coro *coro = coil_coro_new(divide_in_the_end, NULL);
    FACT(coil_future_result(coil_group_create_task_coro(group, coro)), COIL_ESHUTDOWN);
    return rc;
}

STAGE(test_taskgroup_no_create_task_after_failure)
{
    coil_task_group(g);
    sleeper_in(&g, NULL, 0.001, ZERO_DIVISION);
    coil_group_create_task(&g, create_after_failure, &g);
    FACT(coil_group_exit(&g, 0), ZERO_DIVISION);
    last_error_is_group_of(1, ZERO_DIVISION, 0);
    return 0;
}

static coil_ret main_exit_raises(void *arg)
{
    coil_task_group(g);
    walk_in(&g, NULL, 0, MY_EXC);
    coil_ignore(coil_sleep(1));
    coil_ret rc = coil_group_exit(&g, coil_fail(MY_EXC, "closing the database"));
    FACT(coil_task_cancelling(self()), 0);
    last_error_is_group_of(2, MY_EXC, MY_EXC);
    return rc;
}

STAGE(test_taskgroup_context_manager_exit_raises)
{
    FACT(run_and_cancel(main_exit_raises, 0), MY_EXC);
    return 0;
}

STAGE(test_taskgroup_finished_and_coro_closed_when_tg_closed)
{
    coil_task_group(g);
    FACT(coil_group_exit(&g, 0), 0);
    coil_coro *coro = coil_coro_new(divide_in_the_end, NULL);
    FACT(coil_future_result(coil_group_create_task_coro(&g, coro)), COIL_EINVALIDSTATE);
    REPORTS("");
    return 0;
}

STAGE(test_cancelling_level_preserved)
{
    coil_task_group(g);
    walk_in(&g, NULL, 1, VALUE_ERROR);
    FACT(coil_group_exit(&g, 0), VALUE_ERROR);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

STAGE(test_nested_groups_both_cancelled)
{
    coil_task_group(outer);
    coil_task_group(inner);
    walk_in(&inner, NULL, 1, MY_EXC);
    walk_in(&outer, NULL, 1, VALUE_ERROR);
    FACT(coil_group_exit(&inner, 0), MY_EXC);
    FACT(coil_task_cancelling(self()), 1);
    FACT(coil_group_exit(&outer, 0), VALUE_ERROR);
    FACT(coil_task_cancelling(self()), 0);
    return 0;
}

static coil_future *event;

static coil_ret raise_error(void *arg)
{
    FACT(coil_future_set_result(event, 1), 0);
    turns(1);
    return coil_fail(MY_EXC, "raised");
}

static coil_ret inner_error_and_cancel(void *arg)
{
    coil_task_group(g);
    coil_group_create_task(&g, raise_error, NULL);
    coil_ret rc = coil_sleep(1);
    FACT(rc, -ECANCELED);
    FACT(coil_group_exit(&g, rc), MY_EXC);
    FACT(coil_task_cancelling(self()), 1);
    rc = coil_sleep(1);
    FACT(rc, -ECANCELED);
    return rc;
}

STAGE(test_error_and_cancel)
{
    event = new_future();
    coil_task *t = coil_create_task(inner_error_and_cancel, NULL);
    FACT(coil_await(event), 1);
    FACT(coil_task_cancelling(t), 0);
    coil_task_cancel(t, NULL);
    FACT(coil_task_cancelling(t), 1);
    FACT(coil_await(t), -ECANCELED);
    TRUE(coil_future_cancelled(t));
    coil_unref(t);
    coil_unref(event);
    return 0;
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_taskgroup_01),
        T(test_taskgroup_02),
        T(test_taskgroup_03),
        T(test_taskgroup_04),
        T(test_cancel_children_on_child_error),
        T(test_cancellation),
        T(test_taskgroup_07),
        T(test_taskgroup_08),
        T(test_taskgroup_09),
        T(test_taskgroup_10),
        T(test_taskgroup_11),
        T(test_taskgroup_12),
        T(test_taskgroup_13),
        T(test_taskgroup_14),
        T(test_taskgroup_15),
        T(test_taskgroup_16),
        T(test_taskgroup_17),
        T(test_taskgroup_18),
        T(test_taskgroup_19_20a_21a),
        T(test_taskgroup_22),
        T(test_taskgroup_23),
        T(test_taskgroup_24),
        T(test_taskgroup_25),
        T(test_taskgroup_task_context),
        T(test_taskgroup_no_create_task_after_failure),
        T(test_taskgroup_context_manager_exit_raises),
        T(test_taskgroup_finished_and_coro_closed_when_tg_closed),
        T(test_cancelling_level_preserved),
        T(test_nested_groups_both_cancelled),
        T(test_error_and_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
