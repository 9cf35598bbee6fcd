/* SPDX-License-Identifier: MIT
 *
 * bad_input_threads.c: what executors and thread futures refuse, and what debug mode refuses to threads that are
 * not the loop's. */
#include "refuse.h"

/* ---- threads ---- */

COIL_TEST(an_executor_that_was_shut_down_takes_no_work)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    assert_int_equal(coil_executor_shutdown(executor, true, true), 0);
    REFUSED_THREAD_FUTURE(COIL_ESHUTDOWN, coil_executor_submit(executor, give, NULL, 0));
    REFUSED(COIL_ESHUTDOWN, coil_join(coil_loop_run_in_executor(NULL, executor, give, NULL, 0)));
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    REFUSED(COIL_ESHUTDOWN, coil_to_thread(give, NULL));
    REFUSED(COIL_ESHUTDOWN, coil_to_thread_copy(give, "", 1));
    coil_executor_unref(executor);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, -1), 0);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, COIL_FOREVER), 0);
    REFUSED_FUTURE(COIL_ESHUTDOWN, coil_loop_run_in_executor(NULL, NULL, give, NULL, 0));
}

COIL_TEST(threads_are_given_functions_and_what_they_need)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_thread_future *f = coil_thread_future_new();
    REFUSED(-EINVAL, coil_to_thread(NULL, NULL));
    REFUSED(-EINVAL, coil_to_thread_copy(NULL, "", 1));
    REFUSED(-EINVAL, coil_to_thread_copy(give, NULL, 8));
    REFUSED_FUTURE(-EINVAL, coil_loop_run_in_executor(NULL, NULL, NULL, NULL, 0));
    REFUSED_FUTURE(-EINVAL, coil_loop_run_in_executor(NULL, executor, give, NULL, 8));
    REFUSED_FUTURE(-EINVAL, coil_wrap_future(NULL, NULL));
    REFUSED_THREAD_FUTURE(-EINVAL, coil_executor_submit(executor, NULL, NULL, 0));
    REFUSED_THREAD_FUTURE(-EINVAL, coil_executor_submit(executor, give, NULL, 8));
    REFUSED_THREAD_FUTURE(-EINVAL, coil_executor_submit(NULL, give, NULL, 0));
    REFUSED_THREAD_FUTURE(-EINVAL, coil_run_coroutine_threadsafe(NULL, NULL, NULL));
    REFUSED_THREAD_FUTURE(-EINVAL, coil_run_coroutine_threadsafe_with(NULL, give, NULL, 8));
    REFUSED(COIL_ETYPE, coil_loop_set_default_executor(NULL, NULL));
    REFUSED(-EINVAL, coil_thread_future_add_done_callback(f, NULL, NULL));
    coil_thread_future_unref(f);
    coil_executor_unref(executor);
}

COIL_TEST(a_thread_future_is_finished_once_and_by_whoever_made_it)
{
    coil_thread_future *f = coil_thread_future_new();
    REFUSED(-ETIMEDOUT, coil_thread_future_result(f, 0));
    REFUSED(-ETIMEDOUT, coil_thread_future_result(f, -1));
    REFUSED(-EINVAL, coil_thread_future_set_result(f, -EIO));
    REFUSED(-EINVAL, coil_thread_future_set_exception(f, 1));
    assert_int_equal(coil_thread_future_set_running_or_notify_cancel(f), 1);
    REFUSED(COIL_EINVALIDSTATE, coil_thread_future_set_running_or_notify_cancel(f));
    assert_false(coil_thread_future_cancel(f));
    assert_int_equal(coil_thread_future_set_result(f, 4), 0);
    REFUSED(COIL_EINVALIDSTATE, coil_thread_future_set_result(f, 5));
    REFUSED(COIL_EINVALIDSTATE, coil_thread_future_set_exception(f, -EIO));
    assert_int_equal(coil_thread_future_result(f, 0), 4);
    coil_thread_future_unref(f);

    f = coil_run_coroutine_threadsafe(NULL, give, (void *)6);
    REFUSED(COIL_EINVALIDSTATE, coil_thread_future_set_result(f, 1));
    REFUSED(COIL_EINVALIDSTATE, coil_thread_future_set_exception(f, -EIO));
    REFUSED(COIL_EINVALIDSTATE, coil_thread_future_set_running_or_notify_cancel(f));
    REFUSED(COIL_EDEADLOCK, coil_thread_future_result(f, 1)); /* only this loop could finish it */
    assert_int_equal(coil_join(coil_wrap_future(f, NULL)), 6);
    coil_thread_future_unref(f);
}

static coil_ret shut_own_executor_down(void *executor)
{
    return coil_executor_shutdown(executor, true, false);
}

COIL_TEST_PLAIN(a_thread_cannot_wait_for_its_own_end)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_thread_future *f = coil_executor_submit(executor, shut_own_executor_down, executor, 0);
    REFUSED(COIL_EDEADLOCK, coil_thread_future_result(f, COIL_FOREVER));
    coil_thread_future_unref(f);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    coil_executor_unref(executor);
}

/* What a foreign thread finds while the loop's own waits for it: each is waited for by a task. */
static struct {
    coil_loop *loop;
    coil_future *pending;
    coil_gen *gen;
    coil_lock lock;
    coil_event event;
    coil_semaphore semaphore;
    coil_queue empty, full, unfinished;
} guarded;

static coil_ret take_lock(void *arg)
{
    return coil_lock_acquire(arg);
}

static coil_ret take_permit(void *arg)
{
    return coil_semaphore_acquire(arg);
}

static coil_ret wait_event(void *arg)
{
    return coil_event_wait(arg);
}

static coil_ret put_one(void *arg)
{
    return coil_queue_put(arg, arg);
}

static coil_ret join_queue(void *arg)
{
    return coil_queue_join(arg);
}

static coil_ret meddle(void *arg)
{
    coil_loop *loop = guarded.loop;
    coil_thread_future *elsewhere = coil_thread_future_new();
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    coil_as_completed it;
    coil_handle *handle;
    void *item;
    REFUSED(COIL_EWRONGTHREAD, coil_loop_call_soon(loop, no_callback, NULL, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_loop_call_soon(loop, no_callback, NULL, &handle));
    REFUSED(COIL_EWRONGTHREAD, coil_loop_call_later(loop, 1, no_callback, NULL, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_loop_call_at(loop, 1, no_callback, NULL, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_loop_add_reader(loop, 0, no_callback, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_loop_add_writer(loop, 0, no_callback, NULL));
    REFUSED_FUTURE(COIL_EWRONGTHREAD, coil_loop_create_future(loop));
    REFUSED_FUTURE(COIL_EWRONGTHREAD, coil_loop_create_task(loop, give, NULL));
    REFUSED_FUTURE(COIL_EWRONGTHREAD,
                   coil_create_task_coro_at("", 0, coil_coro_new(give, NULL), &opts));
    REFUSED_FUTURE(COIL_EWRONGTHREAD, coil_loop_run_in_executor(loop, executor, give, NULL, 0));
    REFUSED_FUTURE(COIL_EWRONGTHREAD, coil_wrap_future(elsewhere, loop));
    REFUSED_FUTURE(COIL_EWRONGTHREAD, coil_gather_future(&guarded.pending, 1, 0));
    REFUSED(COIL_EWRONGTHREAD, coil_as_completed_init(&it, &guarded.pending, 1, 1));
    REFUSED(COIL_EWRONGTHREAD, coil_loop_set_default_executor(loop, executor));
    REFUSED(COIL_EWRONGTHREAD, coil_future_add_done_callback(guarded.pending, no_done, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_future_set_result(guarded.pending, 1));
    REFUSED(COIL_EWRONGTHREAD, coil_future_set_exception(guarded.pending, -EIO));
    REFUSED(COIL_EWRONGTHREAD, coil_gen_next(guarded.gen, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_gen_close(guarded.gen));

    REFUSED(COIL_EWRONGTHREAD, coil_lock_release(&guarded.lock));
    REFUSED(COIL_EWRONGTHREAD, coil_event_set(&guarded.event));
    REFUSED(COIL_EWRONGTHREAD, coil_semaphore_release(&guarded.semaphore));
    REFUSED(COIL_EWRONGTHREAD, coil_queue_put_nowait(&guarded.empty, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_queue_get_nowait(&guarded.full, &item));
    REFUSED(COIL_EWRONGTHREAD, coil_queue_shutdown(&guarded.full, true));
    REFUSED(COIL_EWRONGTHREAD, coil_queue_task_done(&guarded.unfinished));

    REFUSED(COIL_ERUNNING, coil_loop_run_forever(loop));
    REFUSED(COIL_ERUNNING, coil_loop_close(loop));
    REFUSED(COIL_ERUNNING, coil_loop_iterate(loop));
    coil_thread_future_unref(elsewhere);
    coil_executor_unref(executor);
    return (coil_ret)arg;
}

COIL_TEST_WITH(debug_mode_refuses_calls_of_a_foreign_thread, .debug = true, .virtual_time = true)
{
    memset(&guarded, 0, sizeof guarded);
    guarded.loop = coil_get_running_loop();
    guarded.pending = coil_loop_create_future(NULL);
    guarded.gen = coil_gen_new(count_down, (void *)1);
    guarded.full = (coil_queue)COIL_QUEUE(1);
    assert_int_equal(coil_lock_acquire(&guarded.lock), 0);
    assert_int_equal(coil_queue_put_nowait(&guarded.full, NULL), 0);
    assert_int_equal(coil_queue_put_nowait(&guarded.unfinished, NULL), 0);
    coil_task *waiting[] = {coil_create_task(take_lock, &guarded.lock),
                            coil_create_task(wait_event, &guarded.event),
                            coil_create_task(take_permit, &guarded.semaphore),
                            coil_create_task(get_one, &guarded.empty),
                            coil_create_task(put_one, &guarded.full),
                            coil_create_task(join_queue, &guarded.unfinished)};
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_to_thread(meddle, (void *)11), 11);

    /* each of them still waits, and is served by the loop's own thread */
    for (size_t i = 0; i < sizeof waiting / sizeof *waiting; i++)
        assert_false(coil_future_done(waiting[i]));
    assert_int_equal(coil_lock_release(&guarded.lock), 0);
    assert_int_equal(coil_event_set(&guarded.event), 0);
    assert_int_equal(coil_semaphore_release(&guarded.semaphore), 0);
    assert_int_equal(coil_queue_put_nowait(&guarded.empty, NULL), 0);
    assert_int_equal(coil_queue_get_nowait(&guarded.full, NULL), 0);
    assert_int_equal(coil_queue_task_done(&guarded.unfinished), 0);
    assert_int_equal(coil_gather(waiting, 6, NULL, COIL_UNREF), 0);
    assert_int_equal(coil_future_set_result(guarded.pending, 1), 0);
    coil_unref(guarded.pending);
    coil_gen_unref(guarded.gen);
    assert_int_equal(coil_queue_fini(&guarded.empty), 0);
    assert_int_equal(coil_queue_fini(&guarded.full), 0);
    assert_int_equal(coil_queue_fini(&guarded.unfinished), 0);
}

COIL_TEST_MAIN()
