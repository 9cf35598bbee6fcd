/* SPDX-License-Identifier: MIT
 *
 * test_to_thread.c: waiting in place for a function on a thread. */
#include "gate.h"

#include "base/mem.h"
#include "loop/loop.h"

#include <coil/timeout.h>
#include <stdatomic.h>

static size_t jobs(void)
{
    coil_loop_stats_t stats;
    coil_loop_stats(NULL, &stats);
    return stats.jobs;
}

/* ---- results ---- */

static coil_ret thread_number(void *arg)
{
    *(uintptr_t *)arg = coil__thread_self();
    return 11;
}

COIL_TEST(to_thread_returns_what_the_function_returns)
{
    uintptr_t there = 0;
    assert_int_equal(coil_to_thread(thread_number, &there), 11);
    assert_true(there != 0 && there != coil__thread_self());
    assert_int_equal(jobs(), 0);
}

COIL_TEST(to_thread_brings_the_error_home)
{
    assert_int_equal(coil_to_thread(fail_with_words, number(8)), COIL_EUSER - 5);
    assert_int_equal(last_code(), COIL_EUSER - 5);
    assert_string_equal(coil_last_error()->message, "disk 8 is full");
    assert_string_equal(coil_last_error()->task, coil_task_get_name(coil_current_task()));

    coil_fail(-EIO, "an older one");
    assert_int_equal(coil_to_thread(return_arg, number(-EIO)), -EIO);
    assert_string_equal(coil_last_error()->message, coil_strerror(-EIO));
}

static coil_ret fail_with_cause(void *arg)
{
    coil_fail(-EIO, "the cable");
    return coil_fail_from(COIL_EUSER, "the disk");
}

COIL_TEST(to_thread_brings_the_cause_home)
{
    assert_int_equal(coil_to_thread(fail_with_cause, NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "the disk");
    assert_string_equal(there(coil_last_error()->cause)->message, "the cable");
}

static char nobody[] = "nobody";
static coil_contextvar who = COIL_CONTEXTVAR("who", nobody);

static coil_ret swap_who(void *arg)
{
    const char **seen = arg;
    *seen = coil_contextvar_get(&who);
    return coil_contextvar_set(&who, number(1), NULL);
}

COIL_TEST(to_thread_shows_the_context_and_keeps_its_changes)
{
    char me[] = "me";
    const char *seen = NULL;
    assert_int_equal(coil_contextvar_set(&who, me, NULL), 0);
    assert_int_equal(coil_to_thread(swap_who, &seen), 0);
    assert_ptr_equal(seen, me);
    assert_ptr_equal(coil_contextvar_get(&who), me);
    /* The next job on that thread sees nothing of it. */
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, NULL, swap_who, &seen, 0)), 0);
    assert_string_equal(seen, "nobody");
}

COIL_TEST(to_thread_lets_the_loop_go_on)
{
    struct gate gate = GATE_INIT;
    assert_int_equal(coil_loop_call_later(NULL, 0.001, gate_open_callback, &gate, NULL), 0);
    assert_int_equal(coil_to_thread(pass_gate, &gate), 7);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
COIL_TEST(to_thread_allocates_nothing_once_a_thread_waits)
{
    /* One thread: a second may be started while the first is not quite idle again. */
    coil_executor *one = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(coil_loop_set_default_executor(NULL, one), 0);
    coil_executor_unref(one);
    assert_int_equal(coil_to_thread(return_arg, number(1)), 1);
    int64_t before = coil__mem_tried();
    for (int i = 1; i < 20; i++)
        assert_int_equal(coil_to_thread(return_arg, number(i)), i);
    assert_int_equal(coil__mem_tried(), before);
}
#endif

/* ---- who may ---- */

COIL_TEST_PLAIN(to_thread_outside_a_task_is_refused)
{
    coil_ret rc = coil_to_thread(return_arg, NULL);
    assert_int_equal(rc, COIL_ENOTASK);
    rc = coil_to_thread_copy(return_arg, NULL, 0);
    assert_int_equal(rc, COIL_ENOTASK);
}

COIL_TEST(to_thread_after_the_shutdown_is_refused)
{
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, COIL_FOREVER), 0);
    assert_int_equal(coil_to_thread(return_arg, NULL), COIL_ESHUTDOWN);
    assert_int_equal(last_code(), COIL_ESHUTDOWN);
    assert_int_equal(coil_to_thread_copy(return_arg, "x", 1), COIL_ESHUTDOWN);

    assert_int_equal(jobs(), 0);
}

COIL_TEST(to_thread_in_a_pool_that_was_shut_down_is_refused)
{
    coil_executor *executor = coil_thread_pool_executor_new(1, NULL);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    assert_int_equal(coil_executor_shutdown(executor, true, false), 0);
    assert_int_equal(coil_to_thread(return_arg, NULL), COIL_ESHUTDOWN);
    assert_int_equal(jobs(), 0);
    coil_executor_unref(executor);
}

/* ---- cancelled ---- */

struct pass {
    struct gate *gate;
    coil_ret first, second; /* what the job's wait returned, and the one after */
    coil_timeout_scope *scope;
    bool over;
};

static coil_ret pass_and_sleep(void *arg)
{
    struct pass *pass = arg;
    pass->first = coil_to_thread(pass_gate, pass->gate);
    pass->second = coil_sleep(1000);
    pass->over = true;
    return pass->second;
}

COIL_TEST(to_thread_cancelled_while_queued_was_never_called)
{
    struct gate holding = GATE_INIT, gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&holding, &held);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    struct pass pass = {.gate = &gate};
    coil_task *task = coil_create_task(pass_and_sleep, &pass);
    assert_int_equal(coil_sleep(0), 0);
    assert_string_equal(coil_task_waiting_on(task), "thread");
    assert_int_equal(jobs(), 1);
    assert_true(coil_task_cancel(task, "no more"));
    assert_int_equal(jobs(), 0);
    assert_int_equal(coil_task_uncancel(task), 0);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(pass.first, -ECANCELED);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    end_pool(executor, &holding, held);
    assert_int_equal(gate.entered, 0);
}

static coil_ret cancelled_with_words(void *arg)
{
    coil_ret rc = coil_to_thread(return_arg, NULL);
    assert_int_equal(rc, -ECANCELED);
    assert_string_equal(coil_last_error()->message, arg);
    return rc;
}

COIL_TEST(to_thread_cancelled_while_queued_keeps_the_words)
{
    struct gate holding = GATE_INIT;
    coil_thread_future *held;
    char words[] = "the user went away";
    coil_executor *executor = held_pool(&holding, &held);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    coil_task *task = coil_create_task(cancelled_with_words, words);
    assert_int_equal(coil_sleep(0), 0);
    coil_task_cancel(task, words);
    assert_int_equal(coil_join(task), -ECANCELED);
    end_pool(executor, &holding, held);
}

COIL_TEST(to_thread_cancelled_while_running_keeps_its_frame_and_its_result)
{
    struct gate gate = GATE_INIT;
    struct pass pass = {.gate = &gate};
    coil_task *task = coil_create_task(pass_and_sleep, &pass);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&gate, 1);
    assert_true(coil_task_cancel(task, NULL));
    for (int i = 0; i < 5; i++)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_false(coil_future_done(task));
    assert_int_equal(pass.first, 0);
    gate_open(&gate);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(pass.first, 7);
    assert_int_equal(pass.second, -ECANCELED);
    assert_int_equal(gate_left(&gate), 1);
}

COIL_TEST(to_thread_finished_beats_a_cancel_that_comes_before_the_step)
{
    struct gate gate = GATE_INIT;
    struct pass pass = {.gate = &gate};
    gate_open(&gate);
    coil_task *task = coil_create_task(pass_and_sleep, &pass);
    assert_int_equal(coil_sleep(0), 0);
    /* The result is in the inbox, on the ring or taken: in each case the cancel comes after it. */
    gate_await(&gate, 1);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(pass.first, 7);
}

static coil_ret pass_with_timeout(void *arg)
{
    struct pass *pass = arg;
    coil_timeout(tm, COIL_FOREVER);
    pass->scope = &tm;
    pass->first = coil_to_thread(pass_gate, pass->gate);
    pass->second = coil_timeout_exit(&tm, pass->first);
    return pass->second;
}

COIL_TEST(to_thread_outlives_a_timeout_and_keeps_the_result)
{
    struct gate gate = GATE_INIT;
    struct pass pass = {.gate = &gate};
    coil_task *task = coil_create_task(pass_with_timeout, &pass);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&gate, 1);
    assert_int_equal(coil_timeout_reschedule(pass.scope, coil_loop_time(NULL)), 0);
    while (coil_task_cancelling(task) == 0)
        assert_int_equal(coil_sleep(0.001), 0);
    assert_false(coil_future_done(task));
    gate_open(&gate);
    assert_int_equal(coil_await(task), 7);
    assert_int_equal(coil_task_cancelling(task), 0);
    coil_unref(task);
}

static coil_ret cancelled_before_it_starts(void *arg)
{
    coil_task_cancel(coil_current_task(), NULL);
    coil_ret rc = coil_to_thread(pass_gate, arg);
    return rc == -ECANCELED ? 1 : rc;
}

COIL_TEST(to_thread_with_a_cancel_outstanding_is_not_called)
{
    struct gate holding = GATE_INIT, gate = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&holding, &held);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    assert_int_equal(coil_join(coil_create_task(cancelled_before_it_starts, &gate)), 1);
    end_pool(executor, &holding, held);
    assert_int_equal(gate.entered, 0);
}

static coil_ret note_dropped(void *arg)
{
    coil_ret *out = arg;
    *out = coil_to_thread(return_arg, number(1));
    return 0;
}

COIL_TEST(to_thread_dropped_by_a_shutdown_is_cancelled)
{
    struct gate holding = GATE_INIT;
    coil_thread_future *held;
    coil_executor *executor = held_pool(&holding, &held);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    coil_ret got = 0;
    coil_task *task = coil_create_task(note_dropped, &got);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_executor_shutdown(executor, false, true), 0);
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(got, -ECANCELED);
    end_pool(executor, &holding, held);
}

/* ---- the copying form ---- */

static coil_ret pass_copied(void *arg)
{
    struct gate *gate = arg;
    return coil_to_thread_copy(pass_gate_at, &gate, sizeof gate);
}

COIL_TEST(to_thread_copy_is_abandoned_by_a_cancel)
{
    static struct gate gate = GATE_INIT;
    coil_task *task = coil_create_task(pass_copied, &gate);
    assert_int_equal(coil_sleep(0), 0);
    gate_await(&gate, 1);
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_int_equal(gate_left(&gate), 0);
    assert_int_equal(jobs(), 0);
    gate_open(&gate);
    assert_int_equal(coil_loop_shutdown_default_executor(NULL, COIL_FOREVER), 0);
    assert_int_equal(gate_left(&gate), 1);
}

static coil_ret swap_who_at(void *arg)
{
    return swap_who(*(const char ***)arg);
}

COIL_TEST(to_thread_copy_shows_the_context)
{
    char me[] = "me";
    const char *seen = NULL, **at = &seen;
    assert_int_equal(coil_contextvar_set(&who, me, NULL), 0);
    assert_int_equal(coil_to_thread_copy(swap_who_at, &at, sizeof at), 0);
    assert_ptr_equal(seen, me);
    assert_ptr_equal(coil_contextvar_get(&who), me);
}

/* ---- the loop closes ---- */

struct closing {
    struct gate gate;
    coil_ret got;
    char frame[64];
};

static coil_ret mark_frame(void *arg)
{
    char *frame = arg;
    memset(frame, 'j', 63); /* the frame is whole as long as this runs */
    return 1;
}

static coil_ret slow_mark(void *arg)
{
    struct closing *c = *(struct closing **)arg;
    pass_gate(&c->gate);
    return mark_frame((char *)arg + sizeof c);
}

static coil_ret wait_for_slow_mark(void *arg)
{
    struct {
        struct closing *c;
        char text[64];
    } frame = {.c = arg};
    struct closing *c = arg;
    c->got = coil_to_thread(slow_mark, &frame);
    memcpy(c->frame, frame.text, sizeof frame.text);
    return c->got;
}

COIL_TEST_PLAIN(to_thread_running_when_the_loop_closes_holds_the_closing)
{
    struct closing c = {.gate = GATE_INIT};
    coil_loop *loop = begun_loop(NULL, wait_for_slow_mark, &c);
    gate_await(&c.gate, 1);
    struct thread opener;
    assert_int_equal(coil__thread_start(&opener, "opener", open_later, &c.gate), 0);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(gate_left(&c.gate), 1);
    assert_int_equal(c.got, COIL_EEXIT);
    assert_int_equal(c.frame[0], 'j');
    coil__thread_join(&opener);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(to_thread_queued_when_the_loop_closes_is_taken_out)
{
    struct closing c = {.gate = GATE_INIT};
    close_with_queued_job(wait_for_slow_mark, &c);
    assert_int_equal(c.got, COIL_EEXIT);
    assert_int_equal(c.gate.entered, 0);
}

/* ---- many at once ---- */

enum { STORM_TASKS = 20, STORM_ROUNDS = 25 };

static _Atomic int inside; /* jobs that work on a frame just now */

static coil_ret touch(void *arg)
{
    _Atomic int *mine = arg;
    atomic_fetch_add(mine, 1);
    atomic_fetch_add(&inside, 1);
    atomic_fetch_sub(&inside, 1);
    return atomic_load(mine);
}

static coil_ret storm(void *arg)
{
    _Atomic int mine = 0;
    int done = 0;
    for (int i = 0; i < STORM_ROUNDS; i++) {
        coil_ret rc = coil_to_thread(touch, (void *)(uintptr_t)&mine);
        if (rc == -ECANCELED)
            continue;
        assert_int_equal(rc, ++done);
        assert_int_equal(atomic_load(&mine), done);
    }
    return 0;
}

COIL_TEST(to_thread_under_a_storm_of_cancels_never_leaves_a_frame_behind)
{
    coil_executor *executor = coil_thread_pool_executor_new(3, NULL);
    assert_int_equal(coil_loop_set_default_executor(NULL, executor), 0);
    coil_executor_unref(executor);
    coil_task *tasks[STORM_TASKS];
    for (int i = 0; i < STORM_TASKS; i++)
        tasks[i] = coil_create_task(storm, NULL);
    for (int round = 0; round < 400; round++) {
        assert_int_equal(coil_sleep(0), 0);
        coil_task_cancel(tasks[round % STORM_TASKS], NULL);
        coil_task_uncancel(tasks[round % STORM_TASKS]);
    }
    for (int i = 0; i < STORM_TASKS; i++)
        assert_int_equal(coil_join(tasks[i]), 0);
    assert_int_equal(jobs(), 0);
}

static coil_ret text_length(void *arg)
{
    return (coil_ret)strlen(arg);
}

static coil_ret use_to_thread(void *arg)
{
    char me[] = "me";
    const char *seen;
    coil_ret rc = coil_contextvar_set(&who, me, NULL);
    if (!coil_iserr(rc))
        rc = coil_to_thread(swap_who, &seen);
    if (!coil_iserr(rc))
        rc = coil_to_thread_copy(text_length, me, sizeof me);
    if (rc == 2 && (rc = coil_to_thread(fail_with_words, number(1))) == COIL_EUSER - 5)
        rc = 0;
    return rc;
}

static void run_to_thread(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .no_signals = true};
    coil_ret rc = coil_run_with(use_to_thread, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(to_thread_survives_each_failing_allocation)
{
    (void)sweep_allocations(run_to_thread, NULL);
}

COIL_TEST_MAIN()
