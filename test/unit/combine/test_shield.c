/* SPDX-License-Identifier: MIT
 *
 * test_shield.c: waiting for something without the power to cancel it. */
#include "stage.h"

STAGE(shield_of_a_done_future_is_that_future)
{
    coil_future *f = done_future(5);
    coil_future *s = coil_shield_future(f);
    TRUE(s == f);
    coil_unref(s);
    FACT(coil_shield(f), 5);
    coil_unref(f);
    return 0;
}

STAGE(shield_passes_result_and_error_on)
{
    coil_future *f = new_future(), *bad = new_future();
    coil_future *s = coil_shield_future(f), *t = coil_shield_future(bad);
    FACT(coil_future_set_result(f, 5), 0);
    coil_fail(-EIO, "the disk is full");
    FACT(coil_future_set_exception(bad, -EIO), 0);
    FACT(coil_await(s), 5);
    FACT(coil_await(t), -EIO);
    TEXT(coil_last_error()->message, "the disk is full");
    coil_unref(s);
    coil_unref(t);
    coil_unref(f);
    coil_unref(bad);
    return 0;
}

STAGE(shield_cancelled_leaves_the_inner_future_alone)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    TRUE(coil_future_cancel(s, NULL));
    TRUE(coil_future_cancelled(s));
    turns(1);
    FALSE(coil_future_done(f));
    coil_unref(s);
    FACT(coil_future_set_result(f, 1), 0);
    turns(2);
    coil_unref(f);
    return 0;
}

static coil_future *answered;

static coil_ret answer_a_shield(void *arg)
{
    coil_task *t = sleeper(NULL, 1000, 0);
    answered = coil_shield_future(t);
    coil_unref(t);
    FACT(coil_future_set_result(answered, 5), 0);
    FACT(coil_await(answered), 5);
    return 0;
}

static void shield_answered_by_hand_outlives_the_loop(void **state)
{
    (void)state;
    int64_t live = stage_live();
    coil_loop *loop = stage_loop();
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_task *task = coil_create_task_opts(answer_a_shield, NULL, &opts);
    assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
    coil_unref(task);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(coil_future_result(answered), 5);
    coil_unref(answered); /* what it shielded went with the loop */
    coil_loop_free(loop);
    assert_int_equal(stage_live(), live);
    assert_int_equal(stage_broken, 0);
}

STAGE(shield_reports_an_error_after_it_was_cancelled)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    coil_future_cancel(s, NULL);
    coil_unref(s);
    turns(1);
    FACT(coil_future_set_exception(f, -EIO), 0);
    REPORTS("");
    turns(1);
    REPORTS("[exception in shielded future EIO]");
    coil_unref(f); /* it counts as looked at */
    return 0;
}

STAGE(shields_of_one_future_report_once)
{
    coil_future *f = new_future();
    for (int i = 0; i < 5; i++) {
        coil_future *s = coil_shield_future(f);
        coil_future_cancel(s, NULL);
        coil_unref(s);
        if (i % 2)
            turns(1);
    }
    turns(1);
    FACT(coil_future_set_exception(f, -EIO), 0);
    turns(2);
    REPORTS("[exception in shielded future EIO]");
    coil_unref(f);
    return 0;
}

STAGE(shield_cancelled_as_the_inner_fails_leaves_the_error_to_others)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    FACT(coil_future_set_exception(f, -EIO), 0);
    coil_future_cancel(s, NULL);
    coil_unref(s);
    turns(3);
    REPORTS("");
    coil_unref(f);
    TRUE(strstr(stage_reports, "never retrieved") != NULL);
    stage_reports[0] = 0;
    return 0;
}

STAGE(shield_error_nobody_looked_at_is_reported)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    FACT(coil_future_set_exception(f, -EIO), 0);
    turns(3);
    coil_unref(f);
    coil_unref(s);
    TRUE(strstr(stage_reports, "shield exception was never retrieved") != NULL);
    stage_reports[0] = 0;
    return 0;
}

/* ---- values that own memory ---- */

static int freed;

static void count_freed(coil_ret value)
{
    freed += (int)value;
}

STAGE(shield_value_is_freed_once_unless_taken)
{
    for (int taken = 0; taken < 2; taken++) {
        freed = 0;
        coil_future *f = new_future(), *s = coil_shield_future(f);
        coil_future_set_free_result(f, count_freed);
        FACT(coil_future_set_result(f, 1), 0);
        turns(2);
        if (taken)
            FACT(coil_future_result(s), 1);
        coil_unref(f);
        FACT(freed, 0);
        coil_unref(s);
        FACT(freed, !taken);
    }
    return 0;
}

STAGE(shield_keeps_the_words_of_the_inner_futures_cancel)
{
    coil_future *f = new_future(), *s = coil_shield_future(f);
    TRUE(coil_future_cancel(f, "go home"));
    turns(2);
    FACT(coil_future_result(s), -ECANCELED);
    TEXT(coil_last_error()->message, "go home");
    coil_unref(s);
    coil_unref(f);
    return 0;
}

STAGE(shield_value_taken_from_the_inner_future_is_not_freed)
{
    freed = 0;
    coil_future *f = new_future(), *s = coil_shield_future(f);
    coil_future_set_free_result(f, count_freed);
    FACT(coil_future_set_result(f, 1), 0);
    turns(2);
    FACT(coil_future_result(f), 1);
    coil_unref(s);
    coil_unref(f);
    FACT(freed, 0);
    return 0;
}

static void drop_it(void *future)
{
    coil_unref(future);
}

STAGE(shield_keeps_the_inner_task_alive)
{
    coil_task *t = walk(NULL, 3, 9);
    coil_loop_call_soon(NULL, drop_it, t, NULL);
    FACT(coil_shield(t), 9);
    return 0;
}

static coil_ret shield_for_ever(void *arg)
{
    coil_task *t = sleeper(NULL, 100, 0);
    coil_ret rc = coil_shield(t);
    coil_unref(t);
    return rc;
}

static coil_ret leave_a_shield_behind(void *arg)
{
    coil_unref(coil_create_task(shield_for_ever, NULL));
    coil_task *t = sleeper(NULL, 100, 0);
    coil_future *s = coil_shield_future(t);
    coil_future_cancel(s, NULL);
    coil_unref(s);
    coil_unref(t);
    turns(3);
    return 0;
}

static void shield_gives_everything_back_when_its_loop_closes(void **state)
{
    (void)state;
    stage_leave(leave_a_shield_behind);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(shield_of_a_done_future_is_that_future),
        T(shield_passes_result_and_error_on),
        T(shield_keeps_the_words_of_the_inner_futures_cancel),
        T(shield_cancelled_leaves_the_inner_future_alone),
        T(shield_answered_by_hand_outlives_the_loop),
        T(shield_reports_an_error_after_it_was_cancelled),
        T(shields_of_one_future_report_once),
        T(shield_cancelled_as_the_inner_fails_leaves_the_error_to_others),
        T(shield_error_nobody_looked_at_is_reported),
        T(shield_value_is_freed_once_unless_taken),
        T(shield_value_taken_from_the_inner_future_is_not_freed),
        T(shield_keeps_the_inner_task_alive),
        T(shield_gives_everything_back_when_its_loop_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
