/* SPDX-License-Identifier: MIT
 *
 * bad_input.c: what the headers do not allow is refused with the error they name, and nothing is lost by it:
 * loops, futures, tasks, generators, and what is asked of them where there is no task, no loop, or another
 * one. The other chapters: bad_input_sync.c, bad_input_threads.c, bad_input_net.c; options of other
 * versions: options.c. */
#include "refuse.h"

/* ---- outside a task ---- */

static struct {
    coil_future *future;
    coil_as_completed it;
    coil_lock lock;
    coil_event event;
    coil_condition condition;
    coil_semaphore semaphore;
    coil_barrier barrier;
    coil_queue queue;
} thing;

static coil_ret await_nothing(coil_awaitable *self)
{
    (void)self;
    return 0;
}

static coil_ret wait_in_generator(coil_gen *self, void *arg)
{
    (void)self, (void)arg;
    return coil_sleep(1);
}

static void make_things(coil_loop *loop)
{
    memset(&thing, 0, sizeof thing);
    thing.future = coil_loop_create_future(loop);
    thing.semaphore = (coil_semaphore)COIL_SEMAPHORE(1);
    thing.barrier = (coil_barrier)COIL_BARRIER(2);
    assert_int_equal(coil_as_completed_init(&thing.it, &thing.future, 1, COIL_FOREVER), 0);
}

static void drop_things(void)
{
    coil_as_completed_close(&thing.it);
    coil_unref(thing.future);
    assert_int_equal(coil_queue_fini(&thing.queue), 0);
}

static void wait_for_anything(void *arg)
{
    coil_awaitable object = {await_nothing};
    coil_ret rc;
    void *item;
    (void)arg;
    REFUSED(COIL_ENOTASK, coil_await(thing.future));
    REFUSED(COIL_ENOTASK, coil_join(coil_ref(thing.future)));
    REFUSED(COIL_ENOTASK, coil_await(coil_coro_new(give, NULL))); /* consumed all the same */
    REFUSED(COIL_ENOTASK, coil_await(&object));
    REFUSED(COIL_ENOTASK, coil_sleep(1));
    REFUSED(COIL_ENOTASK, coil_sleep(0));
    REFUSED(COIL_ENOTASK, coil_wait_fd(0, COIL_READ));

    REFUSED(COIL_ENOTASK, coil_lock_acquire(&thing.lock));
    REFUSED(COIL_ENOTASK, coil_event_wait(&thing.event));
    REFUSED(COIL_ENOTASK, coil_condition_acquire(&thing.condition));
    REFUSED(COIL_ENOTASK, coil_condition_wait(&thing.condition));
    REFUSED(COIL_ENOTASK, coil_condition_wait_for(&thing.condition, give, NULL));
    REFUSED(COIL_ENOTASK, coil_semaphore_acquire(&thing.semaphore));
    REFUSED(COIL_ENOTASK, coil_barrier_wait(&thing.barrier));
    REFUSED(COIL_ENOTASK, coil_barrier_reset(&thing.barrier));
    REFUSED(COIL_ENOTASK, coil_barrier_abort(&thing.barrier));
    coil_with_lock(rc, &thing.lock) fail();
    assert_int_equal(rc, COIL_ENOTASK);
    coil_with_condition(rc, &thing.condition) fail();
    assert_int_equal(rc, COIL_ENOTASK);
    coil_with_semaphore(rc, &thing.semaphore) fail();
    assert_int_equal(rc, COIL_ENOTASK);
    REFUSED(COIL_ENOTASK, coil_queue_put(&thing.queue, NULL));
    REFUSED(COIL_ENOTASK, coil_queue_get(&thing.queue, &item));
    REFUSED(COIL_ENOTASK, coil_queue_join(&thing.queue));

    REFUSED(COIL_ENOTASK, coil_gather(&thing.future, 1, NULL, 0));
    coil_future *taken = coil_ref(thing.future);
    REFUSED(COIL_ENOTASK, coil_gather(&taken, 1, NULL, COIL_UNREF));
    REFUSED(COIL_ENOTASK, coil_wait(&thing.future, 1, 1, COIL_ALL_COMPLETED, NULL));
    REFUSED(COIL_ENOTASK, coil_wait_for(thing.future, 1));
    REFUSED(COIL_ENOTASK, coil_wait_for_call(give, NULL, 1));
    REFUSED(COIL_ENOTASK, coil_shield(thing.future));
    REFUSED(COIL_ENOTASK, coil_as_completed_next(&thing.it, &taken));
    coil_group group = coil_group_begin();
    REFUSED_FUTURE(COIL_ENOTASK, coil_group_create_task(&group, give, NULL));
    REFUSED(COIL_ENOTASK, coil_group_exit(&group, 0));
    coil_group_cancel(&group);
    coil_group_leave(&group);
    coil_timeout_scope scope;
    REFUSED(COIL_ENOTASK, coil_timeout_enter(&scope, 1));
    REFUSED(COIL_EINVALIDSTATE, coil_timeout_reschedule(&scope, 1));
    REFUSED(COIL_ENOTASK, coil_timeout_exit(&scope, 0));
    REFUSED(COIL_ENOTASK, coil_timeout_enter_at(&scope, 1));
    coil_timeout_leave(&scope);

    REFUSED(COIL_ENOTASK, coil_to_thread(give, NULL));
    REFUSED(COIL_ENOTASK, coil_to_thread_copy(give, "", 1));
    REFUSED(COIL_ENOTASK, coil_loop_shutdown_default_executor(NULL, 1));

    coil_gen *gen = coil_gen_new(wait_in_generator, NULL);
    REFUSED(COIL_ENOTASK,
            coil_gen_next(gen, NULL)); /* it runs anywhere, but waits in a task only */
    coil_gen_unref(gen);

    /* nothing of it left a trace */
    assert_false(coil_future_done(thing.future));
    assert_false(coil_lock_locked(&thing.lock));
    assert_false(coil_condition_locked(&thing.condition));
    assert_false(coil_semaphore_locked(&thing.semaphore));
    assert_int_equal(coil_barrier_n_waiting(&thing.barrier), 0);
    assert_true(coil_queue_empty(&thing.queue));
}

COIL_TEST(in_a_callback_every_waiting_call_says_that_there_is_no_task)
{
    make_things(NULL);
    assert_int_equal(coil_loop_call_soon(NULL, wait_for_anything, NULL, NULL), 0);
    assert_int_equal(coil_sleep(0), 0);
    drop_things();
}

COIL_TEST_PLAIN(without_a_loop_every_waiting_call_says_that_there_is_no_task)
{
    coil_loop *loop = new_virtual_loop(false);
    make_things(loop);
    wait_for_anything(NULL);
    drop_things();
    coil_loop_free(loop);
}

/* ---- no loop, a closed loop ---- */

COIL_TEST_PLAIN(without_a_loop_calls_that_need_one_say_so)
{
    coil_thread_future *elsewhere = coil_thread_future_new();
    assert_null(coil_get_running_loop());
    REFUSED(COIL_ENOLOOP, coil_get_event_loop() ? 0 : last_code());
    REFUSED_FUTURE(COIL_ENOLOOP, coil_loop_create_future(NULL));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_create_task(give, NULL));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_loop_create_task(NULL, give, NULL));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_create_task_coro(coil_coro_new(give, NULL)));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_ensure_future(coil_coro_new(give, NULL)));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_gather_future(NULL, 0, 0));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_loop_run_in_executor(NULL, NULL, give, NULL, 0));
    REFUSED_FUTURE(COIL_ENOLOOP, coil_wrap_future(elsewhere, NULL));
    REFUSED_THREAD_FUTURE(COIL_ENOLOOP, coil_run_coroutine_threadsafe(NULL, give, NULL));
    coil_as_completed it;
    REFUSED(COIL_ENOLOOP, coil_as_completed_init(&it, NULL, 0, 1));
    coil_as_completed_close(&it);
    REFUSED(COIL_ENOLOOP, coil_loop_call_soon(NULL, no_callback, NULL, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_call_soon_threadsafe(NULL, no_callback, NULL, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_call_later(NULL, 1, no_callback, NULL, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_call_at(NULL, 1, no_callback, NULL, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_add_reader(NULL, 0, no_callback, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_add_writer(NULL, 0, no_callback, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_set_default_executor(NULL, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_run_forever(NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_run_until_complete_future(NULL, NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_run_until_complete(NULL, coil_coro_new(give, NULL)));
    REFUSED(COIL_ENOLOOP, coil_loop_close(NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_fd(NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_iterate(NULL));
    REFUSED(COIL_ENOLOOP, coil_loop_collect(NULL, 0));
    REFUSED(COIL_ENOLOOP, coil_loop_dispatch(NULL));
    assert_int_equal(coil_loop_remove_reader(NULL, 0), 0);
    assert_int_equal(coil_loop_remove_writer(NULL, 0), 0);
    REFUSED(COIL_ENOLOOP, coil_loop_add_signal_handler(NULL, SIGUSR1, no_callback, NULL));
    REFUSED(COIL_ENOLOOP, coil_service_watchdog(NULL));
    assert_int_equal(coil_loop_remove_signal_handler(NULL, SIGUSR1), 0);
    coil_loop_forget_fd(NULL, 0);
    coil_loop_stop(NULL);
    coil_loop_raise(NULL, -EIO);
    coil_loop_wakeup(NULL);
    coil_loop_set_debug(NULL, true);
    coil_loop_set_data(NULL, NULL);
    coil_loop_set_slow_callback_duration(NULL, 1);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
    coil_loop_call_exception_handler(NULL, NULL);
    coil_loop_fork_child(NULL);
    assert_false(coil_loop_is_running(NULL) || coil_loop_is_closed(NULL));
    assert_true(isnan(coil_loop_time(NULL)));
    assert_int_equal(coil_all_tasks(NULL, NULL, 0), 0);
    assert_null(coil_current_task());
    coil_thread_future_unref(elsewhere);
}

COIL_TEST_PLAIN(a_closed_loop_says_that_it_is_closed)
{
    coil_loop *loop = new_virtual_loop(false);
    coil_future *future = coil_loop_create_future(loop);
    coil_thread_future *elsewhere = coil_thread_future_new();
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_handle *handle;
    assert_int_equal(coil_loop_call_later(loop, 1, no_callback, NULL, &handle), 0);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_true(coil_loop_is_closed(loop));

    REFUSED_FUTURE(COIL_ECLOSED, coil_loop_create_future(loop));
    REFUSED_FUTURE(COIL_ECLOSED, coil_loop_create_task(loop, give, NULL));
    coil_task_opts opts = {.size = sizeof opts, .loop = loop};
    REFUSED_FUTURE(COIL_ECLOSED, coil_create_task_coro_at("", 0, coil_coro_new(give, NULL), &opts));
    REFUSED_FUTURE(COIL_ECLOSED, coil_loop_run_in_executor(loop, NULL, give, NULL, 0));
    REFUSED_FUTURE(COIL_ECLOSED, coil_loop_run_in_executor(loop, executor, give, NULL, 0));
    REFUSED_FUTURE(COIL_ECLOSED, coil_wrap_future(elsewhere, loop));
    REFUSED_FUTURE(COIL_ECLOSED, coil_gather_future(&future, 1, 0));
    REFUSED_THREAD_FUTURE(COIL_ECLOSED, coil_run_coroutine_threadsafe(loop, give, NULL));
    coil_as_completed it;
    REFUSED(COIL_ECLOSED, coil_as_completed_init(&it, &future, 1, 1));
    REFUSED(COIL_ECLOSED, coil_loop_call_soon(loop, no_callback, NULL, NULL));
    REFUSED(COIL_ECLOSED, coil_loop_call_soon(loop, no_callback, NULL, &handle));
    REFUSED(COIL_ECLOSED, coil_loop_call_soon_threadsafe(loop, no_callback, NULL, NULL));
    REFUSED(COIL_ECLOSED, coil_loop_call_soon_threadsafe(loop, no_callback, NULL, &handle));
    REFUSED(COIL_ECLOSED, coil_loop_call_later(loop, 1, no_callback, NULL, NULL));
    REFUSED(COIL_ECLOSED, coil_loop_call_at(loop, 1, no_callback, NULL, NULL));
    REFUSED(COIL_ECLOSED, coil_loop_add_reader(loop, 0, no_callback, NULL));
    REFUSED(COIL_ECLOSED, coil_loop_add_writer(loop, 0, no_callback, NULL));
    REFUSED(COIL_ECLOSED, coil_loop_set_default_executor(loop, executor));
    REFUSED(COIL_ECLOSED, coil_loop_run_forever(loop));
    REFUSED(COIL_ECLOSED, coil_loop_run_until_complete(loop, future));
    REFUSED(COIL_ECLOSED, coil_loop_run_until_complete(loop, coil_coro_new(give, NULL)));
    REFUSED(COIL_ECLOSED, coil_loop_fd(loop));
    REFUSED(COIL_ECLOSED, coil_loop_iterate(loop));
    REFUSED(COIL_ECLOSED, coil_loop_collect(loop, 0));
    REFUSED(COIL_ECLOSED, coil_future_set_result(future, 1));
    REFUSED(COIL_ECLOSED, coil_future_set_exception(future, -EIO));
    REFUSED(COIL_ECLOSED, coil_future_add_done_callback(future, no_done, NULL));
    assert_false(coil_future_done(future));

    /* what only asks, or asks for nothing */
    coil_loop_stats_t stats;
    coil_loop_stats(loop, &stats);
    assert_int_equal(stats.tasks + stats.ready + stats.timers + stats.fds, 0);
    coil_loop_stop(loop);
    coil_loop_raise(loop, -EIO);
    coil_loop_wakeup(loop);
    coil_loop_set_debug(loop, false);
    coil_loop_forget_fd(loop, 0);
    assert_int_equal(coil_loop_remove_reader(loop, 0), 0);
    assert_int_equal(coil_all_tasks(loop, NULL, 0), 0);
    coil_handle_cancel(handle);
    coil_handle_unref(handle);
    coil_unref(future);
    coil_loop_free(loop);
    coil_thread_future_unref(elsewhere);
    coil_executor_unref(executor);
}

/* ---- a loop that runs ---- */

COIL_TEST(inside_a_running_loop_no_loop_can_be_run)
{
    coil_loop *loop = coil_get_running_loop(), *other = new_virtual_loop(false);
    coil_future *own = coil_loop_create_future(loop), *others = coil_loop_create_future(other);
    REFUSED(COIL_ERUNNING, coil_run(give, NULL));
    REFUSED(COIL_ERUNNING, coil_loop_run_forever(loop));
    REFUSED(COIL_ERUNNING, coil_loop_run_forever(other));
    REFUSED(COIL_ERUNNING, coil_loop_run_until_complete(loop, own));
    REFUSED(COIL_ERUNNING, coil_loop_run_until_complete(other, others));
    REFUSED(COIL_ERUNNING, coil_loop_run_until_complete(loop, coil_coro_new(give, NULL)));
    REFUSED(COIL_ERUNNING, coil_loop_iterate(loop));
    REFUSED(COIL_ERUNNING, coil_loop_collect(other, 0));
    REFUSED(COIL_EINVALIDSTATE, coil_loop_dispatch(loop));
    REFUSED(COIL_ERUNNING, coil_loop_close(loop));
    coil_loop_free(loop); /* refused as well */
    assert_true(coil_loop_is_running(loop));
    assert_false(coil_future_done(own) || coil_future_done(others));
    coil_unref(own);
    coil_unref(others);
    coil_loop_free(other);
}

COIL_TEST_PLAIN(run_refuses_what_it_cannot_run)
{
    REFUSED(-EINVAL, coil_run(NULL, NULL));
    coil_run_opts opts = {.size = sizeof opts, .backend = "a backend that is not"};
    REFUSED(-EINVAL, coil_run_with(give, NULL, &opts));
    REFUSED(-EINVAL, coil_new_event_loop(&opts) ? 0 : last_code());
    coil_loop *loop = new_virtual_loop(false), *other = new_virtual_loop(false);
    coil_future *others = coil_loop_create_future(other);
    REFUSED(-EINVAL, coil_loop_run_until_complete_future(loop, NULL));
    REFUSED(-EINVAL, coil_loop_run_until_complete_coro(loop, NULL));
    REFUSED(COIL_EWRONGLOOP, coil_loop_run_until_complete(loop, others));
    coil_unref(others);
    coil_loop_free(loop);
    coil_loop_free(other);
}

/* ---- times ---- */

COIL_TEST(a_time_that_is_no_number_is_refused)
{
    coil_future *future = coil_loop_create_future(NULL);
    coil_thread_future *elsewhere = coil_thread_future_new();
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    coil_as_completed it;
    coil_timeout_scope scope;
    REFUSED(-EINVAL, coil_sleep(NAN));
    REFUSED(-EINVAL, coil_loop_call_later(NULL, NAN, no_callback, NULL, NULL));
    REFUSED(-EINVAL, coil_loop_call_at(NULL, NAN, no_callback, NULL, NULL));
    REFUSED(-EINVAL, coil_wait(&future, 1, NAN, COIL_ALL_COMPLETED, NULL));
    REFUSED(-EINVAL, coil_wait_for(future, NAN));
    REFUSED(-EINVAL, coil_wait_for_call(give, NULL, NAN));
    REFUSED(-EINVAL, coil_as_completed_init(&it, &future, 1, NAN));
    REFUSED(-EINVAL, coil_timeout_enter(&scope, NAN));
    assert_int_equal(coil_sleep(1), -ECANCELED); /* nobody may wait without the limit he wanted */
    REFUSED(-EINVAL, coil_timeout_exit(&scope, -ECANCELED));
    assert_int_equal(coil_timeout_enter(&scope, 1), 0);
    REFUSED(-EINVAL, coil_timeout_reschedule(&scope, NAN));
    assert_int_equal(coil_timeout_exit(&scope, 7), 7);
    REFUSED(-EINVAL, coil_thread_future_result(elsewhere, NAN));
    REFUSED(-EINVAL, coil_thread_future_exception(elsewhere, NAN) ? 0 : last_code());
    REFUSED(-EINVAL, coil_executor_shutdown_within(executor, NAN, false));
    REFUSED(-EINVAL, coil_loop_shutdown_default_executor(NULL, NAN));
    REFUSED(-EINVAL, coil_loop_collect(NULL, NAN));
    coil_loop_set_slow_callback_duration(NULL, NAN);
    assert_int_equal(coil_task_cancelling(coil_current_task()), 0);
    assert_false(coil_future_done(future));
    coil_thread_future_unref(elsewhere);
    coil_executor_unref(executor);
    coil_unref(future);
}

COIL_TEST(times_before_now_are_now_and_times_beyond_all_never_come)
{
    coil_future *future = coil_loop_create_future(NULL);
    const double before[] = {-1, -1e300, -INFINITY}, began = coil_loop_time(NULL);
    coil_handle *handle;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(coil_sleep(before[i]), 0);
        assert_int_equal(coil_loop_call_later(NULL, before[i], no_callback, NULL, NULL), 0);
        assert_int_equal(coil_loop_call_at(NULL, before[i], no_callback, NULL, NULL), 0);
        assert_int_equal(coil_wait(&future, 1, before[i], COIL_ALL_COMPLETED, NULL), 0);
        REFUSED(-ETIMEDOUT, coil_wait_for_call(give, NULL, before[i]));
        coil_timeout(tm, before[i]);
        REFUSED(-ETIMEDOUT, coil_timeout_exit(&tm, coil_sleep(1)));
        coil_as_completed it;
        assert_int_equal(coil_as_completed_init(&it, &future, 1, before[i]), 0);
        coil_future *next;
        REFUSED(-ETIMEDOUT, coil_as_completed_next(&it, &next));
        coil_as_completed_close(&it);
    }
    assert_true(coil_loop_time(NULL) - began < 1);
    const double beyond[] = {1e300, INFINITY};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(coil_loop_call_later(NULL, beyond[i], no_callback, NULL, &handle), 0);
        coil_handle_cancel(handle);
        coil_handle_unref(handle);
        coil_timeout(tm, 5);
        REFUSED(-ETIMEDOUT, coil_timeout_exit(&tm, coil_sleep(beyond[i])));
        coil_timeout(outer, 5);
        REFUSED(-ETIMEDOUT, coil_timeout_exit(&outer, coil_wait_for_call((coil_fn)coil_await_future,
                                                                         future, beyond[i])));
        assert_true(coil_future_done(future));
        coil_unref(future);
        future = coil_loop_create_future(NULL);
    }
    coil_unref(future);
}

/* ---- another loop's things ---- */

/* Makes each of them belong to the loop it runs in: that is, waits. */
static coil_ret bind_things(void *arg)
{
    void *item;
    (void)arg;
    assert_int_equal(coil_lock_acquire(&thing.lock), 0);
    assert_int_equal(coil_semaphore_acquire(&thing.semaphore), 0);
    assert_int_equal(coil_condition_acquire(&thing.condition), 0);
#define GIVE_UP(call)                                                 \
    do {                                                              \
        coil_timeout(tm, 1);                                          \
        assert_int_equal(coil_timeout_exit(&tm, (call)), -ETIMEDOUT); \
    } while (0)
    GIVE_UP(coil_lock_acquire(&thing.lock));
    GIVE_UP(coil_event_wait(&thing.event));
    GIVE_UP(coil_condition_wait(&thing.condition));
    GIVE_UP(coil_semaphore_acquire(&thing.semaphore));
    GIVE_UP(coil_barrier_wait(&thing.barrier));
    GIVE_UP(coil_queue_get(&thing.queue, &item));
    return 0;
}

static coil_ret use_things(void *arg)
{
    coil_future *const others = thing.future, *own = coil_loop_create_future(NULL);
    coil_future *mixed[] = {own, others};
    coil_thread_future *elsewhere = coil_thread_future_new();
    coil_as_completed it;
    void *item;
    REFUSED(COIL_EWRONGLOOP, coil_await(others));
    REFUSED(COIL_EWRONGLOOP, coil_join(coil_ref(others)));
    REFUSED(COIL_EWRONGLOOP, coil_gather(&thing.future, 1, NULL, 0));
    REFUSED(COIL_EWRONGLOOP, coil_gather(mixed, 2, NULL, COIL_RETURN_EXCEPTIONS));
    REFUSED_FUTURE(COIL_EWRONGLOOP, coil_gather_future(mixed, 2, 0));
    REFUSED(COIL_EWRONGLOOP, coil_wait(mixed, 2, 1, COIL_FIRST_COMPLETED, NULL));
    REFUSED(COIL_EWRONGLOOP, coil_wait_for(others, 1));
    REFUSED(COIL_EWRONGLOOP, coil_wait_for(others, 0));
    REFUSED(COIL_EWRONGLOOP, coil_shield(others));
    REFUSED(COIL_EWRONGLOOP, coil_as_completed_init(&it, mixed, 2, 1));
    REFUSED(COIL_EWRONGLOOP, coil_loop_shutdown_default_executor(arg, 1));

    REFUSED(COIL_EWRONGLOOP, coil_lock_acquire(&thing.lock));
    REFUSED(COIL_EWRONGLOOP, coil_event_wait(&thing.event));
    REFUSED(COIL_EWRONGLOOP, coil_condition_wait(&thing.condition));
    REFUSED(COIL_EWRONGLOOP, coil_semaphore_acquire(&thing.semaphore));
    REFUSED(COIL_EWRONGLOOP, coil_barrier_wait(&thing.barrier));
    REFUSED(COIL_EWRONGLOOP, coil_queue_get(&thing.queue, &item));

    coil_task_opts opts = {.size = sizeof opts, .loop = arg};
    coil_group group = coil_group_begin();
    REFUSED_FUTURE(COIL_EWRONGLOOP, coil_group_create_task_opts(&group, give, NULL, &opts));
    REFUSED(COIL_EWRONGLOOP, coil_group_exit(&group, 0));
    assert_int_equal(coil_all_tasks(arg, NULL, 0), 0);

    assert_false(coil_future_done(own) || coil_future_done(others));
    assert_int_equal(coil_barrier_n_waiting(&thing.barrier), 0);
    assert_true(coil_condition_locked(&thing.condition));
    coil_thread_future_unref(elsewhere);
    coil_unref(own);
    return 0;
}

COIL_TEST_PLAIN(what_belongs_to_another_loop_cannot_be_waited_for)
{
    coil_loop *first = new_virtual_loop(false), *second = new_virtual_loop(false);
    make_things(first);
    assert_int_equal(in_loop(first, bind_things, NULL), 0);
    assert_int_equal(in_loop(second, use_things, first), 0);
    assert_int_equal(coil_condition_release(&thing.condition), 0);
    drop_things();
    coil_loop_free(first);
    coil_loop_free(second);
}

/* ---- oneself, and things that cannot be awaited ---- */

COIL_TEST(a_task_cannot_await_itself)
{
    coil_task *self = coil_current_task();
    REFUSED(COIL_ESELFAWAIT, coil_await(self));
    REFUSED(COIL_ESELFAWAIT, coil_join(coil_ref(self)));
    REFUSED(COIL_ESELFAWAIT, coil_wait_for(self, 1));
    REFUSED(COIL_ESELFAWAIT, coil_wait_for(self, COIL_FOREVER));
    coil_future *wrapped = coil_ensure_future(self);
    REFUSED(COIL_ESELFAWAIT, coil_join(wrapped));
    assert_int_equal(coil_task_cancelling(self), 0);
    assert_int_equal(coil_sleep(1), 0);
}

static coil_ret gather_oneself(void *arg)
{
    (void)arg;
    coil_task *self = coil_current_task();
    return coil_gather(&self, 1, NULL, 0);
}

static coil_ret shield_oneself(void *arg)
{
    (void)arg;
    return coil_shield(coil_current_task());
}

static void hear_nothing(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
}

/* As in asyncio these wait for ever; here that has a name. */
COIL_TEST_PLAIN(to_wait_for_oneself_in_a_gather_is_a_deadlock)
{
    if (!deadlocks_are_certain())
        skip();
    const coil_fn ways[] = {gather_oneself, shield_oneself};
    for (size_t i = 0; i < 2; i++) {
        coil_loop *loop = new_virtual_loop(false);
        coil_loop_set_exception_handler(loop, hear_nothing, NULL);
        REFUSED(COIL_EDEADLOCK, in_loop(loop, ways[i], NULL));
        coil_loop_free(loop);
    }
}

COIL_TEST(a_generator_is_no_coroutine)
{
    coil_gen *gen = coil_gen_new(count_down, (void *)2);
    coil_ret value;
    REFUSED(COIL_ETYPE, coil_await(gen));
    assert_int_equal(coil_gen_next(gen, &value), 1); /* it was not touched */
    assert_int_equal(value, 2);
    coil_gen_unref(gen);
    REFUSED(COIL_ETYPE, coil_await((coil_awaitable *)NULL));
    coil_awaitable empty = {NULL};
    REFUSED(COIL_ETYPE, coil_await(&empty));
    REFUSED(COIL_ETYPE, coil_join(coil_ensure_future(&empty)));
}

static coil_ret misuse_inside(coil_gen *self, void *arg)
{
    coil_gen *other = arg;
    REFUSED(COIL_ERUNNING, coil_gen_next(self, NULL));
    REFUSED(COIL_ERUNNING, coil_gen_throw(self, -EIO, NULL));
    REFUSED(COIL_ERUNNING, coil_gen_close(self));
    REFUSED(COIL_EINVALIDSTATE, coil_gen_yield(other, 1));
    REFUSED(COIL_ERUNNING, coil_gen_yield_from(self, self, NULL));
    REFUSED(-EINVAL, coil_gen_yield_from(self, NULL, NULL));
    return coil_gen_yield(self, 1);
}

static coil_ret ignore_the_end(coil_gen *self, void *arg)
{
    (void)arg;
    coil_ignore(coil_gen_yield(self, 1));
    coil_ignore(coil_gen_yield(self, 2));
    return 3;
}

COIL_TEST_PLAIN(generators_refuse_what_is_out_of_order)
{
    coil_gen *gen = coil_gen_new(count_down, (void *)2);
    coil_ret value = 77;
    REFUSED(COIL_ETYPE, coil_gen_send(gen, 5, &value)); /* no yield waits for it yet */
    REFUSED(-EINVAL, coil_gen_send(gen, -EIO, &value));
    REFUSED(COIL_ETYPE, coil_gen_throw(gen, 5, &value));
    REFUSED(COIL_EINVALIDSTATE, coil_gen_yield(gen, 5));
    REFUSED(COIL_EINVALIDSTATE, coil_gen_yield(NULL, 5));
    REFUSED(COIL_EINVALIDSTATE, coil_gen_yield_from(gen, gen, &value));
    assert_int_equal(value, 77);
    assert_int_equal(coil_gen_state(gen), COIL_GEN_CREATED);
    assert_int_equal(coil_gen_next(gen, &value), 1);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(coil_gen_close(gen), 0);
    assert_int_equal(coil_gen_next(gen, &value), 0);
    REFUSED(-EIO, coil_gen_throw(gen, -EIO, &value));

    coil_gen *inside = coil_gen_new(misuse_inside, gen);
    assert_int_equal(coil_gen_next(inside, NULL), 1);
    coil_gen_unref(inside);
    coil_gen_unref(gen);

    coil_gen *stubborn = coil_gen_new(ignore_the_end, NULL);
    assert_int_equal(coil_gen_next(stubborn, NULL), 1);
    REFUSED(COIL_EINVALIDSTATE, coil_gen_close(stubborn));
    assert_int_equal(coil_gen_close(stubborn), 0);
    coil_gen_unref(stubborn);

    REFUSED(-EINVAL, coil_gen_next(NULL, &value));
    REFUSED(-EINVAL, coil_gen_send(NULL, 0, &value));
    REFUSED(-EINVAL, coil_gen_throw(NULL, -EIO, &value));
    REFUSED(-EINVAL, coil_gen_next(coil_gen_new(NULL, NULL), &value));
    REFUSED(-EINVAL, coil_gen_next(coil_gen_new_with(count_down, NULL, 8), &value));
    REFUSED(-EINVAL, coil_gen_next(coil_gen_new_with(count_down, "", SIZE_MAX), &value));
    REFUSED(-EINVAL, coil_gen_next(coil_gen_new_with(count_down, "", SIZE_MAX / 2), &value));
    REFUSED(-EINVAL, coil_gen_to_coro(NULL) ? 0 : last_code());
}

/* ---- futures ---- */

COIL_TEST(a_future_is_finished_once_and_with_the_right_kind_of_value)
{
    coil_future *f = coil_loop_create_future(NULL);
    REFUSED(COIL_EINVALIDSTATE, coil_future_result(f));
    REFUSED(COIL_EINVALIDSTATE, coil_future_exception(f) ? 0 : last_code());
    REFUSED(-EINVAL, coil_future_set_result(f, -EIO));
    REFUSED(-EINVAL, coil_future_set_result(f, -4095));
    REFUSED(-EINVAL, coil_future_set_exception(f, 0));
    REFUSED(-EINVAL, coil_future_set_exception(f, -4096));
    REFUSED(-EINVAL, coil_future_set_exception(f, -ECANCELED));
    REFUSED(-EINVAL, coil_future_add_done_callback(f, NULL, NULL));
    assert_int_equal(coil_future_remove_done_callback(f, no_done, NULL), 0);
    assert_int_equal(coil_future_state(f), COIL_FUTURE_PENDING);
    assert_int_equal(coil_future_set_result(f, -4096), 0);
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_result(f, 1));
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_exception(f, -EIO));
    assert_false(coil_future_cancel(f, NULL));
    assert_int_equal(coil_future_result(f), -4096);
    coil_unref(f);

    f = coil_loop_create_future(NULL);
    assert_true(coil_future_cancel(f, NULL));
    assert_false(coil_future_cancel(f, NULL));
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_result(f, 1));
    REFUSED(-ECANCELED, coil_future_result(f));
    coil_unref(f);
}

COIL_TEST(a_task_is_finished_by_its_function_alone)
{
    coil_task *t = coil_create_task(give, (void *)5);
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_result(t, 1));
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_exception(t, -EIO));
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_result(coil_current_task(), 1));
    assert_int_equal(coil_await(t), 5);
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_result(t, 1));
    assert_false(coil_task_cancel(t, NULL));
    assert_int_equal(coil_join(t), 5);
}

COIL_TEST(what_is_no_task_has_nothing_of_one)
{
    coil_future *f = coil_loop_create_future(NULL);
    void *arg = &f;
    assert_false(coil_is_task(f));
    assert_string_equal(coil_task_get_name(f), "");
    coil_task_set_name(f, "name");
    coil_task_set_name(coil_current_task(), NULL);
    assert_null(coil_task_get_fn(f, &arg));
    assert_null(arg);
    assert_null(coil_task_get_context(f));
    assert_string_equal(coil_task_waiting_on(f), "");
    assert_int_equal(coil_task_cancelling(f), 0);
    assert_int_equal(coil_task_uncancel(f), 0);
    assert_true(coil_task_cancel(f, "it is a future all the same"));
    assert_true(coil_future_cancelled(f));
    coil_unref(f);
}

/* The stand-in for what could not be made answers every question. */
COIL_TEST(a_future_that_could_not_be_made_can_be_used_like_any)
{
    coil_task *t = coil_create_task(NULL, NULL);
    assert_int_equal(coil_future_state(t), COIL_FUTURE_FINISHED);
    assert_false(coil_is_task(t) || coil_future_cancelled(t) || coil_future_cancel(t, NULL));
    assert_null(coil_future_get_loop(t));
    assert_string_equal(coil_task_get_name(t), "");
    assert_int_equal(coil_task_state(t), COIL_TASK_DONE);
    coil_future_set_free_result(t, NULL);
    REFUSED(COIL_EINVALIDSTATE, coil_future_set_result(t, 1));
    assert_int_equal(coil_future_add_done_callback(t, no_done, NULL), 0);
    coil_unref(coil_ref(t));
    coil_future *pair[] = {coil_loop_create_future(NULL), t};
    REFUSED(-EINVAL, coil_gather(pair, 2, NULL, 0));
    assert_int_equal(coil_wait(pair, 2, 1, COIL_FIRST_COMPLETED, NULL), 1);
    REFUSED(-EINVAL, coil_wait_for(t, 1));
    REFUSED(-EINVAL, coil_shield(t));
    REFUSED(-EINVAL, coil_join(coil_shield_future(t)));
    REFUSED(-EINVAL, coil_loop_run_until_complete(NULL, t));
    REFUSED(-EINVAL, coil_join(t));
    coil_unref(pair[0]);
}

COIL_TEST(a_coroutine_object_is_consumed_once)
{
    REFUSED(-EINVAL, coil_coro_new(NULL, NULL) ? 0 : last_code());
    REFUSED(-EINVAL, coil_await((coil_coro *)NULL));
    REFUSED_FUTURE(-EINVAL, coil_create_task_coro(NULL));
    coil_coro *coro = coil_coro_new(give, (void *)5);
    coil_task *t = coil_create_task_coro(coro);
    REFUSED(COIL_EINVALIDSTATE, coil_await(coro));
    REFUSED_FUTURE(COIL_EINVALIDSTATE, coil_create_task_coro(coro));
    coil_coro_close(coro); /* it is not ours to close any more */
    coil_coro_free(coro);
    assert_int_equal(coil_join(t), 5);
}

/* ---- contexts, callbacks ---- */

static coil_ret enter_again(void *context)
{
    return coil_context_run(context, give, NULL);
}

COIL_TEST(contexts_are_entered_once_and_tokens_used_once)
{
    static const coil_contextvar var = COIL_CONTEXTVAR("var", NULL);
    coil_contextvar_token token;
    coil_context *context = coil_context_new();
    REFUSED(COIL_ERUNNING, coil_context_run(context, enter_again, context));
    REFUSED(-EINVAL, coil_context_run(context, NULL, NULL));
    REFUSED(-EINVAL, coil_context_run(NULL, give, NULL));
    assert_int_equal(coil_contextvar_set(&var, context, &token), 0);
    assert_int_equal(coil_contextvar_reset(&token), 0);
    REFUSED(COIL_EINVALIDSTATE, coil_contextvar_reset(&token));
    memset(&token, 0, sizeof token);
    REFUSED(COIL_EINVALIDSTATE, coil_contextvar_reset(&token));
    coil_context_unref(context);
}

COIL_TEST(a_callback_needs_a_function)
{
    REFUSED(-EINVAL, coil_loop_call_soon(NULL, NULL, NULL, NULL));
    REFUSED(-EINVAL, coil_loop_call_soon_threadsafe(NULL, NULL, NULL, NULL));
    REFUSED(-EINVAL, coil_loop_call_later(NULL, 1, NULL, NULL, NULL));
    REFUSED(-EINVAL, coil_loop_call_at(NULL, 1, NULL, NULL, NULL));
    REFUSED_FUTURE(-EINVAL, coil_create_task(NULL, NULL));
    REFUSED_FUTURE(-EINVAL, coil_create_task_with(give, NULL, 8));
}

static coil_exception_context heard;

static void hear(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    heard = *context;
}

COIL_TEST(a_report_of_nothing_is_a_report)
{
    coil_loop_set_exception_handler(NULL, hear, NULL);
    coil_loop_call_exception_handler(NULL, NULL);
    assert_null(heard.message);
    assert_int_equal(heard.fd, -1);
    assert_int_equal(heard.size, sizeof heard);
}

/* ---- endings ---- */

COIL_TEST_PLAIN(every_ending_accepts_nothing)
{
    coil_unref(NULL);
    coil_loop_free(NULL);
    coil_handle_cancel(NULL);
    coil_handle_unref(NULL);
    coil_coro_free(NULL);
    coil_coro_close(NULL);
    coil_context_unref(NULL);
    coil_gen_unref(NULL);
    assert_null(coil_gen_ref(NULL));
    assert_int_equal(coil_gen_close(NULL), 0);
    assert_int_equal(coil_gen_state(NULL), COIL_GEN_CLOSED);
    coil_executor_unref(NULL);
    assert_int_equal(coil_executor_shutdown(NULL, true, true), 0);
    assert_int_equal(coil_executor_shutdown_within(NULL, 1, true), 0);
    coil_thread_future_unref(NULL);
    assert_int_equal(coil_queue_fini(NULL), 0);
    coil_sock_close(NULL);
    coil_sock_unref(NULL);
    coil_reader_unref(NULL);
    coil_writer_unref(NULL);
    coil_writer_close(NULL);
    coil_writer_abort(NULL);
    assert_int_equal(coil_writer_finish(NULL), 0);
    coil_server_close(NULL);
    coil_server_free(NULL);
    coil_freeaddrinfo(NULL);
    coil_sync_scope nothing = {NULL, NULL};
    coil_sync_leave(&nothing);
    coil_as_completed it = {{NULL}};
    coil_as_completed_close(&it);
}

COIL_TEST_MAIN()
