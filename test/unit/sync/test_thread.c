/* SPDX-License-Identifier: MIT
 *
 * test_thread.c: whoever would wake a task of another thread's loop is told so in debug mode, and has changed nothing. */
#include "play.h"

#include "elsewhere.h"

#include <coil/queue.h>
#include <coil/run.h>
#include <coil/sync.h>

#define DEBUG(name) COIL_TEST_WITH(name, .debug = true, .virtual_time = true)

/* ---- lock, event, condition, semaphore ---- */

static coil_lock lock;
static coil_event event;
static coil_condition cond;
static coil_semaphore sem;

static coil_ret wait_for_lock(void *arg)
{
    (void)arg;
    coil_ret rc = coil_lock_acquire(&lock);
    return rc < 0 ? rc : coil_lock_release(&lock);
}

static int release_lock(void)
{
    return coil_lock_release(&lock);
}

DEBUG(lock_release_from_another_thread_is_told_in_debug_mode)
{
    lock = (coil_lock)COIL_LOCK;
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_task *t = spawn(wait_for_lock, NULL);
    turn();
    assert_int_equal(elsewhere(release_lock), COIL_EWRONGTHREAD);
    assert_true(coil_lock_locked(&lock));
    assert_int_equal(release_lock(), 0);
    assert_int_equal(end_of(t), 0);
}

static coil_ret wait_for_event(void *arg)
{
    (void)arg;
    return coil_event_wait(&event);
}

static int set_event(void)
{
    return coil_event_set(&event);
}

DEBUG(event_set_from_another_thread_is_told_in_debug_mode)
{
    event = (coil_event)COIL_EVENT;
    coil_task *t = spawn(wait_for_event, NULL);
    turn();
    assert_int_equal(elsewhere(set_event), COIL_EWRONGTHREAD);
    assert_false(coil_event_is_set(&event));
    assert_int_equal(set_event(), 0);
    assert_int_equal(end_of(t), 0);
}

static coil_ret wait_for_condition(void *arg)
{
    (void)arg;
    coil_ret rc;
    coil_with_condition(rc, &cond)
    {
        rc = coil_condition_wait(&cond);
    }
    return rc;
}

static coil_ret wait_without_the_lock(void *arg)
{
    (void)arg;
    return coil_condition_wait(&cond);
}

static int run_a_wait(void)
{
    return (int)coil_run(wait_without_the_lock, NULL);
}

DEBUG(condition_wait_in_another_threads_loop_is_told_in_debug_mode)
{
    lock = (coil_lock)COIL_LOCK;
    cond = (coil_condition)COIL_CONDITION(&lock);
    assert_int_equal(coil_lock_acquire(&lock), 0);
    coil_task *t = spawn(wait_for_lock, NULL);
    turn();
    assert_int_equal(elsewhere(run_a_wait), COIL_EWRONGTHREAD);
    assert_true(coil_lock_locked(&lock));
    assert_int_equal(release_lock(), 0);
    assert_int_equal(end_of(t), 0);
}

static int notify(void)
{
    return coil_condition_notify(&cond, 1);
}

static int notify_all(void)
{
    return coil_condition_notify_all(&cond);
}

DEBUG(condition_notify_from_another_thread_is_told_in_debug_mode)
{
    cond = (coil_condition)COIL_CONDITION(NULL);
    coil_task *t = spawn(wait_for_condition, NULL);
    turn();
    assert_int_equal(coil_condition_acquire(&cond), 0);
    assert_int_equal(elsewhere(notify), COIL_EWRONGTHREAD);
    assert_int_equal(elsewhere(notify_all), COIL_EWRONGTHREAD);
    assert_int_equal(notify(), 0);
    assert_int_equal(coil_condition_release(&cond), 0);
    assert_int_equal(end_of(t), 0);
}

static coil_ret wait_for_permit(void *arg)
{
    (void)arg;
    return coil_semaphore_acquire(&sem);
}

static int release_permit(void)
{
    return coil_semaphore_release(&sem);
}

DEBUG(semaphore_release_from_another_thread_is_told_in_debug_mode)
{
    sem = (coil_semaphore)COIL_SEMAPHORE(0);
    coil_task *t = spawn(wait_for_permit, NULL);
    turn();
    assert_int_equal(elsewhere(release_permit), COIL_EWRONGTHREAD);
    turn();
    assert_false(coil_future_done(t));
    assert_int_equal(release_permit(), 0);
    assert_int_equal(end_of(t), 0);
}

/* ---- queue: somebody in any of its three lines ---- */

static coil_queue q;

static int put_one(void)
{
    return coil_queue_put_nowait(&q, NULL);
}

static int get_one(void)
{
    return coil_queue_get_nowait(&q, NULL);
}

static int one_done(void)
{
    return coil_queue_task_done(&q);
}

static int shut_down(void)
{
    return coil_queue_shutdown(&q, false);
}

static void all_are_told(size_t size)
{
    assert_int_equal(elsewhere(put_one), COIL_EWRONGTHREAD);
    assert_int_equal(elsewhere(get_one), COIL_EWRONGTHREAD);
    assert_int_equal(elsewhere(one_done), COIL_EWRONGTHREAD);
    assert_int_equal(elsewhere(shut_down), COIL_EWRONGTHREAD);
    assert_int_equal(coil_queue_qsize(&q), size);
}

static coil_ret get_task(void *arg)
{
    (void)arg;
    return coil_queue_get(&q, NULL);
}

static coil_ret put_task(void *arg)
{
    (void)arg;
    return coil_queue_put(&q, NULL);
}

static coil_ret join_task(void *arg)
{
    (void)arg;
    return coil_queue_join(&q);
}

DEBUG(queue_with_a_getter_tells_other_threads_in_debug_mode)
{
    q = (coil_queue)COIL_QUEUE(0);
    coil_task *t = spawn(get_task, NULL);
    turn();
    all_are_told(0);
    assert_int_equal(put_one(), 0);
    assert_int_equal(end_of(t), 0);
    assert_int_equal(coil_queue_fini(&q), 0);
}

DEBUG(queue_with_a_putter_tells_other_threads_in_debug_mode)
{
    q = (coil_queue)COIL_QUEUE(1);
    assert_int_equal(put_one(), 0);
    coil_task *t = spawn(put_task, NULL);
    turn();
    all_are_told(1);
    assert_int_equal(get_one(), 0);
    assert_int_equal(end_of(t), 0);
    assert_int_equal(get_one(), 0);
    assert_int_equal(coil_queue_fini(&q), 0);
}

DEBUG(queue_with_a_joiner_tells_other_threads_in_debug_mode)
{
    q = (coil_queue)COIL_QUEUE(0);
    assert_int_equal(put_one(), 0);
    coil_task *t = spawn(join_task, NULL);
    turn();
    all_are_told(1);
    assert_int_equal(get_one(), 0);
    assert_int_equal(one_done(), 0);
    assert_int_equal(end_of(t), 0);
    assert_int_equal(coil_queue_fini(&q), 0);
}

COIL_TEST_MAIN()
