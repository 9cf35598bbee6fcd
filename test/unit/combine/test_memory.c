/* SPDX-License-Identifier: MIT
 *
 * test_memory.c: each combinator with its first allocation failing, its second, and so on. It says
 * -ENOMEM or does what it should; nothing is lost, nothing waits for ever. */
#include "stage.h"

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE

static int failures;

/* Plays `body` again and again, failing its n-th allocation (or all from there), until one play meets
 * no failure. */
static void sweep(coil_fn body, int all)
{
    for (failures = 0;; failures++) {
        int64_t live = coil__mem_live();
        coil_loop *loop = stage_loop();
        coil_task_opts opts = {.size = sizeof opts, .loop = loop};
        coil_task *task = coil_create_task_opts(body, NULL, &opts);
        int64_t before = coil__mem_tried();
        coil__mem_fail_at(failures + 1, all);
        coil_ret rc = coil_loop_run_until_complete(loop, task);
        coil__mem_fail_at(0, 0);
        bool met_none = coil__mem_tried() - before <= failures;
        coil_unref(task);
        coil_loop_free(loop);
        coil__error_clear(coil__error_slot()); /* the last error keeps what it speaks of */
        if (rc != 0 && rc != -ENOMEM)
            print_error("allocation %d failed: the body came to %ld\n", failures + 1, (long)rc);
        assert_true(rc == 0 || (rc == -ENOMEM && !met_none));
        assert_int_equal(stage_broken, 0);
        assert_int_equal(coil__mem_live(), live);
        if (met_none)
            return;
    }
}

#define SWEEP(name)                         \
    static coil_ret name##_body(void *arg); \
    static void name(void **state)          \
    {                                       \
        (void)state;                        \
        sweep(name##_body, 0);              \
        sweep(name##_body, 1);              \
        assert_true(failures > 0);          \
    }                                       \
    static coil_ret name##_body(void *arg)

/* Good, or out of memory: the first such word of several. */
static coil_ret first_of(coil_ret a, coil_ret b)
{
    return a ? a : b;
}

/* Holds what room the ring has: who needs more needs memory. Returns how much that is. */
static unsigned hold_all_room(void)
{
    coil_loop *loop = coil__running_loop;
    unsigned n = (unsigned)(loop->mask + 1 - (loop->tail - loop->head) - loop->held);
    FACT(coil__loop_hold(loop, n), 0);
    return n;
}

SWEEP(gather_without_memory)
{
    coil_task *many[20];
    coil_ret results[20];
    for (int i = 0; i < 20; i++)
        many[i] = walk(NULL, i % 3, i);
    coil_ret rc = coil_gather(many, 20, results, COIL_UNREF);
    coil_task *two[] = {walk(NULL, 1, 1), sleeper(NULL, 1, 2)};
    return first_of(rc, coil_gather(two, 2, NULL, COIL_UNREF));
}

SWEEP(gather_of_an_error_without_memory)
{
    coil_task *two[] = {walk("a", 1, -EIO), walk("b", 2, -EIO)};
    coil_ret rc = coil_gather(two, 2, NULL, COIL_UNREF);
    stage_reports[0] = 0;
    return rc == -EIO ? 0 : rc;
}

SWEEP(wait_without_memory)
{
    coil_task *many[20];
    for (int i = 0; i < 20; i++)
        many[i] = walk(NULL, i % 3, i);
    coil_ret rc = coil_wait(many, 20, 10, COIL_ALL_COMPLETED, NULL);
    for (int i = 0; i < 20; i++) {
        if (coil_future_done(many[i]) && coil_future_result(many[i]) == -ENOMEM)
            rc = -ENOMEM;
        coil_unref(many[i]);
    }
    return rc == 20 ? 0 : rc;
}

SWEEP(wait_without_room_for_its_timer)
{
    coil_future *f = new_future();
    unsigned held = hold_all_room();
    coil_ret rc = coil_wait(&f, 1, 10, COIL_ALL_COMPLETED,
                            NULL); /* it never waits without a limit */
    loop_release(coil__running_loop, held);
    if (rc == 1)
        rc = coil_future_result(f);
    coil_unref(f);
    return rc;
}

SWEEP(wait_for_without_memory)
{
    coil_task *t = sleeper(NULL, 5, 0);
    coil_ret rc = coil_wait_for(t, 1);
    FALSE(rc == 0);
    coil_unref(t);
    t = sleeper(NULL, 5, 0);
    coil_ret rc2 = coil_wait_for(t, 0);
    coil_unref(t);
    return rc == -ENOMEM || rc2 == -ENOMEM ? -ENOMEM : 0;
}

SWEEP(shield_without_memory)
{
    coil_task *t = walk(NULL, 2, 0);
    coil_ret rc = coil_shield(t);
    coil_future *s = coil_shield_future(t);
    rc = first_of(rc, coil_await(s));
    coil_unref(s);
    coil_unref(t);
    return rc;
}

SWEEP(as_completed_without_memory)
{
    coil_task *many[20];
    coil_future *f;
    coil_as_completed it;
    for (int i = 0; i < 20; i++)
        many[i] = walk(NULL, i % 3, 0);
    coil_ret rc = coil_as_completed_init(&it, many, 20, 10);
    while (rc == 0) {
        rc = coil_as_completed_next(&it, &f);
        if (rc <= 0)
            break;
        rc = coil_future_result(f);
    }
    coil_as_completed_close(&it);
    for (int i = 0; i < 20; i++)
        coil_unref(many[i]);
    return rc;
}

SWEEP(as_completed_without_room_for_its_timer)
{
    coil_future *f = new_future(), *g;
    coil_as_completed it;
    unsigned held = hold_all_room();
    coil_ret rc = coil_as_completed_init(&it, &f, 1, 10);
    loop_release(coil__running_loop, held);
    if (rc == 0)
        rc = coil_as_completed_next(&it, &g);
    if (rc == 1)
        rc = coil_future_result(g);
    coil_as_completed_close(&it);
    coil_unref(f);
    return rc == -ETIMEDOUT ? 0 : rc;
}

/* A scope without memory for its timer expires at once and says so; it never runs without its limit. */
SWEEP(timeout_without_memory)
{
    coil_timeout_scope scopes[20];
    for (int i = 0; i < 20; i++)
        coil_timeout_enter(&scopes[i], 5 + i);
    coil_ret rc = coil_sleep(1000);
    TRUE(rc == -ECANCELED || rc == -ENOMEM); /* sleep needs memory too */
    for (int i = 19; i >= 0; i--)
        rc = coil_timeout_exit(&scopes[i], rc);
    TRUE(rc == -ETIMEDOUT || rc == -ENOMEM);
    FACT(coil_task_cancelling(coil_current_task()), 0);
    FACT(coil__running_loop->timers.n, 0);
    return rc == -ETIMEDOUT ? 0 : rc;
}

SWEEP(timeout_in_a_chain_of_causes_without_memory)
{
    coil_timeout(tm, 1);
    coil_ignore(coil_sleep(10));
    coil_ret rc = coil_timeout_exit(&tm, coil_fail_from(-EIO, "half written"));
    TRUE(rc == -EIO);
    return 0;
}

SWEEP(group_without_memory)
{
    coil_task_group(g);
    for (int i = 0; i < 10; i++)
        walk_in(&g, NULL, i % 3, 0);
    return coil_group_exit(&g, 0);
}

SWEEP(group_of_errors_without_memory)
{
    coil_task_group(g);
    for (int i = 0; i < 3; i++)
        walk_in(&g, "child", i, -EIO);
    coil_ret rc = coil_group_exit(&g, coil_sleep(10));
    FACT(coil_task_cancelling(coil_current_task()), 0);
    return rc == -EIO ? 0 : rc;
}

static coil_ret return_past_a_group(void *arg)
{
    coil_task_group(g);
    walk_in(&g, "child", 1, -EIO);
    sleeper_in(&g, NULL, 10, 0);
    coil_ignore(coil_sleep(0)); /* a child that could not be made has cancelled us */
    return coil_fail(-ENOENT, "returned");
}

SWEEP(group_left_by_return_without_memory)
{
    FACT(return_past_a_group(NULL), -ENOENT);
    FACT(coil_task_cancelling(coil_current_task()), 0);
    stage_reports[0] = 0;
    return 0;
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(gather_without_memory),
        T(gather_of_an_error_without_memory),
        T(wait_without_memory),
        T(wait_without_room_for_its_timer),
        T(wait_for_without_memory),
        T(shield_without_memory),
        T(as_completed_without_memory),
        T(as_completed_without_room_for_its_timer),
        T(timeout_without_memory),
        T(timeout_in_a_chain_of_causes_without_memory),
        T(group_without_memory),
        T(group_of_errors_without_memory),
        T(group_left_by_return_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    print_message("allocations are not counted in this build (-Dsys_table=true)\n");
    return 77;
}

#endif
