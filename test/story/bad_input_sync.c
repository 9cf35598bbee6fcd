/* SPDX-License-Identifier: MIT
 *
 * bad_input_sync.c: what locks, queues, combinators, groups and timeouts refuse, with the error that the headers
 * name; nothing is lost by it. */
#include "refuse.h"

/* ---- locks, queues ---- */

COIL_TEST(what_is_not_held_cannot_be_released)
{
    coil_lock lock = COIL_LOCK;
    REFUSED(COIL_EINVALIDSTATE, coil_lock_release(&lock));
    assert_int_equal(coil_lock_acquire(&lock), 0);
    assert_int_equal(coil_lock_release(&lock), 0);
    REFUSED(COIL_EINVALIDSTATE, coil_lock_release(&lock));

    coil_condition condition = {0};
    REFUSED(COIL_EINVALIDSTATE, coil_condition_release(&condition));
    REFUSED(COIL_EINVALIDSTATE, coil_condition_wait(&condition));
    REFUSED(COIL_EINVALIDSTATE, coil_condition_wait_for(&condition, give, NULL));
    REFUSED(COIL_EINVALIDSTATE, coil_condition_notify(&condition, 1));
    REFUSED(COIL_EINVALIDSTATE, coil_condition_notify_all(&condition));
    REFUSED(-EINVAL, coil_condition_wait_for(&condition, NULL, NULL));

    coil_semaphore bounded = COIL_BOUNDED_SEMAPHORE(1);
    REFUSED(-EINVAL, coil_semaphore_release(&bounded));
    assert_int_equal(coil_semaphore_acquire(&bounded), 0);
    assert_int_equal(coil_semaphore_release(&bounded), 0);
    REFUSED(-EINVAL, coil_semaphore_release(&bounded));
    coil_semaphore full = COIL_SEMAPHORE(INTPTR_MAX);
    REFUSED(-EOVERFLOW, coil_semaphore_release(&full));
}

COIL_TEST(numbers_that_make_no_sense_are_refused_at_the_first_use)
{
    coil_semaphore negative = COIL_SEMAPHORE(-1), least = COIL_BOUNDED_SEMAPHORE(INTPTR_MIN);
    coil_ret rc;
    REFUSED(-EINVAL, coil_semaphore_acquire(&negative));
    REFUSED(-EINVAL, coil_semaphore_release(&negative));
    REFUSED(-EINVAL, coil_semaphore_acquire(&least));
    coil_with_semaphore(rc, &negative) fail();
    assert_int_equal(rc, -EINVAL);
    for (int parties = 0; parties >= -1; parties--) {
        coil_barrier barrier = COIL_BARRIER(parties);
        REFUSED(-EINVAL, coil_barrier_wait(&barrier));
        REFUSED(-EINVAL, coil_barrier_reset(&barrier));
        REFUSED(-EINVAL, coil_barrier_abort(&barrier));
        assert_int_equal(coil_barrier_parties(&barrier), 0);
    }
    coil_barrier broken = COIL_BARRIER(2);
    assert_int_equal(coil_barrier_abort(&broken), 0);
    REFUSED(COIL_EBROKENBARRIER, coil_barrier_wait(&broken));
}

COIL_TEST(queues_refuse_what_is_too_much)
{
    coil_queue queue = COIL_QUEUE(1), ordered = COIL_PRIORITY_QUEUE(0, NULL);
    void *item;
    REFUSED(-EINVAL, coil_queue_task_done(&queue));
    REFUSED(COIL_EQUEUEEMPTY, coil_queue_get_nowait(&queue, &item));
    assert_int_equal(coil_queue_put_nowait(&queue, &queue), 0);
    REFUSED(COIL_EQUEUEFULL, coil_queue_put_nowait(&queue, &queue));
    assert_int_equal(coil_queue_get_nowait(&queue, NULL), 0);
    assert_int_equal(coil_queue_task_done(&queue), 0);
    REFUSED(-EINVAL, coil_queue_task_done(&queue));
    REFUSED(-EINVAL, coil_queue_put_nowait(&ordered, &queue));
    REFUSED(-EINVAL, coil_queue_put(&ordered, &queue));
    assert_int_equal(coil_queue_shutdown(&queue, false), 0);
    assert_int_equal(coil_queue_shutdown(&queue, true), 0);
    REFUSED(COIL_ESHUTDOWN, coil_queue_put(&queue, &queue));
    REFUSED(COIL_ESHUTDOWN, coil_queue_put_nowait(&queue, &queue));
    REFUSED(COIL_ESHUTDOWN, coil_queue_get(&queue, &item));
    REFUSED(COIL_ESHUTDOWN, coil_queue_get_nowait(&queue, &item));
    assert_int_equal(coil_queue_fini(&queue), 0);
    assert_int_equal(coil_queue_fini(&queue), 0);
    assert_int_equal(coil_queue_fini(&ordered), 0);
}

COIL_TEST(a_queue_in_which_somebody_waits_cannot_be_given_back)
{
    coil_queue queue = COIL_QUEUE(0);
    coil_task *getter = coil_create_task(get_one, &queue);
    assert_int_equal(coil_sleep(0), 0);
    REFUSED(COIL_EINVALIDSTATE, coil_queue_fini(&queue));
    assert_int_equal(coil_queue_put_nowait(&queue, &queue), 0);
    assert_int_equal(coil_join(getter), 0);
    assert_int_equal(coil_queue_fini(&queue), 0);
}

/* ---- several at once ---- */

COIL_TEST(empty_sets_are_told_from_missing_ones)
{
    coil_future *none[1] = {NULL}, *next;
    coil_as_completed it;
    assert_int_equal(coil_gather(NULL, 0, NULL, 0), 0);
    assert_int_equal(coil_gather(NULL, 0, NULL, COIL_UNREF), 0);
    REFUSED(-EINVAL, coil_wait(NULL, 0, 1, COIL_ALL_COMPLETED, NULL));
    assert_int_equal(coil_as_completed_init(&it, NULL, 0, 1), 0);
    assert_int_equal(coil_as_completed_next(&it, &next), 0);
    coil_as_completed_close(&it);
    coil_as_completed_close(&it);
    assert_int_equal(coil_as_completed_next(&it, &next), 0);

    REFUSED(-EINVAL, coil_gather(none, 1, NULL, 0));
    REFUSED(-EINVAL, coil_gather(none, 1, NULL, COIL_UNREF));
    REFUSED(-EINVAL, coil_gather(NULL, 1, NULL, 0));
    REFUSED(-EINVAL, coil_gather(NULL, 1, NULL, COIL_UNREF));
    REFUSED_FUTURE(-EINVAL, coil_gather_future(none, 1, 0));
    REFUSED_FUTURE(-EINVAL, coil_gather_future(NULL, 1, COIL_UNREF));
    REFUSED(-EINVAL, coil_wait(none, 1, 1, COIL_ALL_COMPLETED, NULL));
    REFUSED(-EINVAL, coil_wait(NULL, 1, 1, COIL_ALL_COMPLETED, NULL));
    REFUSED(-EINVAL, coil_as_completed_init(&it, none, 1, 1));
    REFUSED(-EINVAL, coil_as_completed_init(&it, NULL, 1, 1));
    REFUSED(-EINVAL, coil_wait_for(NULL, 1));
    REFUSED(-EINVAL, coil_wait_for_call(NULL, NULL, 1));
    REFUSED(-EINVAL, coil_wait_for_call(NULL, NULL, 0));
    REFUSED(-EINVAL, coil_shield(NULL));
    REFUSED_FUTURE(-EINVAL, coil_shield_future(NULL));
    REFUSED_FUTURE(-EINVAL, coil_ensure_future((coil_future *)NULL));
    REFUSED(-EINVAL, coil_await((coil_future *)NULL));
    REFUSED(-EINVAL, coil_join(NULL));
}

COIL_TEST(unknown_flags_and_events_are_refused)
{
    coil_future *f = coil_loop_create_future(NULL);
    REFUSED(-EINVAL, coil_gather(&f, 1, NULL, 1u << 7));
    REFUSED_FUTURE(-EINVAL, coil_gather_future(&f, 1, ~0u & ~(unsigned)COIL_UNREF));
    REFUSED(-EINVAL, coil_wait(&f, 1, 1, (enum coil_when)17, NULL));
    REFUSED(-EINVAL, coil_wait_fd(0, 0));
    REFUSED(-EINVAL, coil_wait_fd(0, 1u << 9));
    REFUSED(-EBADF, coil_wait_fd(-1, COIL_READ));
    REFUSED(-EBADF, coil_loop_add_reader(NULL, -1, no_callback, NULL));
    REFUSED(-EBADF, coil_loop_add_writer(NULL, 1 << 20, no_callback, NULL));
    REFUSED(-EINVAL, coil_loop_add_reader(NULL, 0, NULL, NULL));
    REFUSED(-EINVAL, coil_fail(0, "zero is no error"));
    REFUSED(-EINVAL, coil_fail(5, "nor is a number"));
    REFUSED(-EINVAL, coil_fail(-4096, "nor what lies beyond"));
    assert_string_equal(coil_errname(-4096), coil_errname(5));
    assert_true(strlen(coil_strerror(INTPTR_MIN)) > 0);
    assert_false(coil_future_done(f));
    coil_unref(f);
}

COIL_TEST(numbers_that_no_memory_can_hold_are_refused)
{
    coil_future *f = coil_loop_create_future(NULL);
    coil_as_completed it;
    coil_executor *executor = coil_thread_pool_executor_new(UINT32_MAX, "many");
    REFUSED(-ENOMEM, coil_gather(&f, SIZE_MAX, NULL, 0));
    REFUSED(-ENOMEM, coil_gather(&f, SIZE_MAX / 8, NULL, COIL_UNREF));
    REFUSED_FUTURE(-ENOMEM, coil_gather_future(&f, SIZE_MAX, 0));
    REFUSED(-ENOMEM, coil_wait(&f, SIZE_MAX, 1, COIL_ALL_COMPLETED, NULL));
    REFUSED(-ENOMEM, coil_as_completed_init(&it, &f, SIZE_MAX, 1));
    REFUSED_FUTURE(-EINVAL, coil_create_task_with(give, "", SIZE_MAX));
    REFUSED_FUTURE(-EINVAL, coil_create_task_with(give, "", SIZE_MAX / 2));
    REFUSED(-ENOMEM, coil_to_thread_copy(give, "", SIZE_MAX));
    REFUSED_FUTURE(-ENOMEM, coil_loop_run_in_executor(NULL, executor, give, "", SIZE_MAX));
    REFUSED_THREAD_FUTURE(-ENOMEM, coil_executor_submit(executor, give, "", SIZE_MAX));
    REFUSED_THREAD_FUTURE(-ENOMEM, coil_run_coroutine_threadsafe_with(NULL, give, "", SIZE_MAX));
    coil_executor_unref(executor);
    coil_unref(f);
}

COIL_TEST_PLAIN(absurd_stack_sizes_are_refused)
{
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 50};
    for (size_t i = 0; i < 3; i++) {
        coil_run_opts run_opts = {.size = sizeof run_opts, .stack_size = sizes[i]};
        REFUSED(-EINVAL, coil_run_with(give, NULL, &run_opts));
        coil_loop *loop = new_virtual_loop(false);
        coil_task_opts opts = {.size = sizeof opts, .stack_size = sizes[i], .loop = loop};
        REFUSED_FUTURE(-EINVAL, coil_create_task_opts(give, NULL, &opts));
        coil_gen_opts gen_opts = {.size = sizeof gen_opts, .stack_size = sizes[i]};
        coil_gen *gen = coil_gen_new_opts(count_down, NULL, &gen_opts);
        REFUSED(-EINVAL, coil_gen_next(gen, NULL));
        coil_gen_unref(gen);
        coil_loop_free(loop);
    }
    coil_run_opts small = {.size = sizeof small, .stack_size = 1}; /* a small one is rounded up */
    assert_int_equal(coil_run_with(give, (void *)3, &small), 3);
}

/* ---- groups and timeouts ---- */

static coil_ret leave_anothers_group(void *group)
{
    return coil_group_exit(group, 0);
}

COIL_TEST(a_group_is_left_once_by_who_began_it)
{
    coil_group group = coil_group_begin();
    coil_task *other = coil_create_task(leave_anothers_group, &group);
    REFUSED(COIL_EINVALIDSTATE, coil_join(other));
    assert_int_equal(coil_group_exit(&group, 7), 7);
    REFUSED(COIL_EINVALIDSTATE, coil_group_exit(&group, 0));
    REFUSED_FUTURE(COIL_EINVALIDSTATE, coil_group_create_task(&group, give, NULL));
    REFUSED_FUTURE(COIL_EINVALIDSTATE,
                   coil_group_create_task_coro(&group, coil_coro_new(give, NULL)));
    coil_group_cancel(&group);
    coil_group_leave(&group);

    coil_group cancelled = coil_group_begin();
    coil_group_cancel(&cancelled);
    coil_group_cancel(&cancelled);
    REFUSED_FUTURE(COIL_ESHUTDOWN, coil_group_create_task(&cancelled, give, NULL));
    assert_int_equal(coil_group_exit(&cancelled, coil_sleep(1)), 0);

    coil_group without = coil_group_begin();
    REFUSED_FUTURE(-EINVAL, coil_group_create_task(&without, NULL, NULL));
    REFUSED(-EINVAL, coil_group_exit(&without, 0));
    coil_group no_object = coil_group_begin();
    REFUSED_FUTURE(-EINVAL, coil_group_create_task_coro(&no_object, NULL));
    REFUSED(-EINVAL, coil_group_exit(&no_object, 0));
    assert_int_equal(coil_task_cancelling(coil_current_task()), 0);
}

COIL_TEST(a_timeout_that_was_left_is_over_until_it_is_entered_again)
{
    coil_timeout_scope scope;
    assert_int_equal(coil_timeout_enter(&scope, 1), 0);
    assert_int_equal(coil_timeout_exit(&scope, 5), 5);
    assert_int_equal(coil_timeout_exit(&scope, 6), 6); /* twice does nothing */
    REFUSED(COIL_EINVALIDSTATE, coil_timeout_reschedule(&scope, 1));
    coil_timeout_leave(&scope);
    assert_int_equal(coil_sleep(2), 0); /* its time does not come */
    assert_int_equal(coil_timeout_enter(&scope, 1), 0);
    REFUSED(-ETIMEDOUT, coil_timeout_exit(&scope, coil_sleep(2)));
    REFUSED(COIL_EINVALIDSTATE, coil_timeout_reschedule(&scope, 1));
    assert_true(coil_timeout_expired(&scope));
    assert_int_equal(coil_task_cancelling(coil_current_task()), 0);
}

COIL_TEST_MAIN()
