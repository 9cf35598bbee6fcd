/* SPDX-License-Identifier: MIT
 *
 * together.c: tasks that wait for each other, under faults: groups, gather, wait, timeouts, every kind of synchronisation.
 * Permits, items and references are counted at the end of each. */
#include "body.h"

static coil_ret sleep_for_ms(void *arg)
{
    coil_ret rc = coil_sleep((double)(intptr_t)arg / 1000);
    return rc < 0 ? rc : (coil_ret)(intptr_t)arg;
}

static coil_ret fail_soon(void *arg)
{
    coil_ret rc = coil_sleep(0.002);
    return rc < 0 ? rc : coil_fail((coil_ret)(intptr_t)arg, "as it was asked to");
}

/* ---- groups within groups, and one that fails ---- */

static coil_ret inner_group(void *arg)
{
    coil_task_group(group);
    for (intptr_t i = 1; i < 4; i++)
        coil_group_create_task(&group, sleep_for_ms, (void *)i);
    if (arg)
        coil_group_create_task(&group, fail_soon, arg);
    return coil_group_exit(&group, 0);
}

static coil_ret groups(void)
{
    coil_task_group(group);
    coil_group_create_task(&group, inner_group, NULL);
    coil_group_create_task(&group, inner_group, NULL);
    leave_on_error(coil_group_exit(&group, 0));
    coil_task *fails = coil_create_task(inner_group, (void *)(intptr_t)-EDOM);
    coil_ret rc = coil_await(fails);
    coil_unref(fails);
    return rc == COIL_EGROUP || rc == -EDOM ? 0 : rc < 0 ? rc : -EPROTO;
}

COIL_TEST(groups_under_faults)
{
    play(groups);
}

/* ---- gather, wait, as_completed ---- */

static void let_go(coil_task **tasks, int n)
{
    for (int i = 0; i < n; i++) {
        coil_future_cancel(tasks[i], NULL);
        coil_ignore(coil_await(tasks[i]));
        coil_unref(tasks[i]);
    }
}

static coil_ret gather_and_wait(void)
{
    coil_task *tasks[4];
    coil_ret results[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = coil_create_task(sleep_for_ms, (void *)(intptr_t)(i + 1));
    coil_ret rc = coil_wait(tasks, 4, 0.0025, COIL_ALL_COMPLETED, NULL);
    if (rc >= 0)
        rc = coil_gather(tasks, 4, results, 0);
    for (int i = 0; rc >= 0 && i < 4; i++)
        assert_int_equal(results[i], i + 1);
    let_go(tasks, 4);
    return rc < 0 ? rc : 0;
}

COIL_TEST(gather_under_faults)
{
    play(gather_and_wait);
}

static coil_ret as_they_come(void)
{
    coil_task *tasks[3];
    coil_future *next;
    coil_as_completed it;
    for (int i = 0; i < 3; i++)
        tasks[i] = coil_create_task(sleep_for_ms, (void *)(intptr_t)(3 - i));
    coil_ret rc = coil_as_completed_init(&it, tasks, 3, 1);
    for (int i = 0; i < 3 && rc >= 0; i++)
        rc = coil_as_completed_next(&it, &next);
    coil_as_completed_close(&it);
    let_go(tasks, 3);
    return rc < 0 ? rc : 0;
}

COIL_TEST(as_completed_under_faults)
{
    play(as_they_come);
}

/* ---- timeouts in timeouts, shields ---- */

static coil_ret timed(void)
{
    coil_timeout_scope outer, inner;
    leave_on_error(coil_timeout_enter(&outer, 1));
    coil_ret rc = coil_timeout_enter(&inner, 0.001);
    rc = coil_timeout_exit(&inner, rc < 0 ? rc : coil_sleep(10));
    if (rc == -ETIMEDOUT)
        rc = coil_wait_for_call(sleep_for_ms, (void *)2, 1);
    rc = coil_timeout_exit(&outer, rc);
    return rc < 0 ? rc : 0;
}

COIL_TEST(timeouts_under_faults)
{
    play(timed);
}

static coil_ret shielded(void)
{
    coil_task *task = coil_create_task(sleep_for_ms, (void *)2);
    coil_future *shield = coil_shield_future(task);
    coil_ret timed_out = coil_wait_for(shield, 0.001);
    coil_unref(shield);
    coil_ret rc = coil_await(task);
    let_go(&task, 1);
    if (timed_out >= 0)
        return -EPROTO;
    return timed_out != -ETIMEDOUT ? timed_out : rc < 0 ? rc : 0;
}

COIL_TEST(shields_under_faults)
{
    play(shielded);
}

/* ---- synchronisation ---- */

struct meeting {
    coil_lock lock;
    coil_condition changed;
    coil_event open;
    coil_semaphore two;
    coil_barrier barrier;
    int inside, value;
};

static coil_ret attend(void *arg)
{
    struct meeting *m = arg;
    leave_on_error(coil_event_wait(&m->open));
    leave_on_error(coil_semaphore_acquire(&m->two));
    m->inside++;
    assert_true(m->inside <= 2);
    coil_ret rc = coil_sleep(0.001);
    m->inside--;
    coil_semaphore_release(&m->two);
    leave_on_error(rc);
    leave_on_error(coil_lock_acquire(&m->lock));
    m->value++;
    coil_condition_notify_all(&m->changed);
    coil_lock_release(&m->lock);
    rc = coil_barrier_wait(&m->barrier);
    return rc < 0 ? rc : 0;
}

/* A group takes a cancelled child for no error, and the others would wait for him; so who cannot come calls it off. */
static coil_ret attend_or_call_off(void *arg)
{
    coil_ret rc = attend(arg);
    return rc == -ECANCELED ? coil_fail(-ENOTCONN, "somebody does not come") : rc;
}

static coil_ret count_them(void *arg)
{
    struct meeting *m = arg;
    leave_on_error(coil_lock_acquire(&m->lock));
    coil_ret rc = 0;
    while (m->value < 3 && rc >= 0)
        rc = coil_condition_wait(&m->changed);
    coil_lock_release(&m->lock); /* wait takes it back whatever it returns */
    return rc;
}

static coil_ret meet(void)
{
    struct meeting m = {.lock = COIL_LOCK,
                        .open = COIL_EVENT,
                        .two = COIL_SEMAPHORE(2),
                        .barrier = COIL_BARRIER(3)};
    m.changed = (coil_condition)COIL_CONDITION(&m.lock);
    coil_task_group(group);
    for (int i = 0; i < 3; i++)
        coil_group_create_task(&group, attend_or_call_off, &m);
    coil_group_create_task(&group, count_them, &m);
    coil_ret rc = coil_sleep(0.001);
    coil_event_set(&m.open);
    rc = coil_group_exit(&group, rc);
    assert_int_equal(m.inside, 0);
    assert_false(coil_lock_locked(&m.lock));
    assert_false(coil_semaphore_locked(&m.two));
    return rc;
}

COIL_TEST(synchronisation_under_faults)
{
    play(meet);
}

COIL_TEST_MAIN()
