/* SPDX-License-Identifier: MIT
 *
 * test_call.c: coroutines started in a loop from another thread. */
#include "gate.h"

#include "base/mem.h"
#include "loop/loop.h"
#include "work/work.h"

#include <stdatomic.h>

/* A thread of the test's own, next to the loop that the test runs in. */
struct caller {
    struct thread thread;
    coil_loop *loop;
    void (*body)(struct caller *caller);
    coil_thread_future *over; /* finished when the body has returned */
    int n;
};

static void caller_main(void *arg)
{
    struct caller *caller = arg;
    caller->body(caller);
    coil_thread_future_set_result(caller->over, 0);
}

/* Runs the body on a thread while this task waits. */
static void call_from_outside(void (*body)(struct caller *caller), int n)
{
    struct caller caller = {.loop = coil_get_running_loop(), .body = body, .n = n};
    caller.over = coil_thread_future_new();
    assert_int_equal(coil__thread_start(&caller.thread, "caller", caller_main, &caller), 0);
    assert_int_equal(coil_join(coil_wrap_future(caller.over, NULL)), 0);
    coil__thread_join(&caller.thread);
    coil_thread_future_unref(caller.over);
}

/* cmocka's assertions belong to the main thread: others keep score. */
static _Atomic int wrong;
#define OUTSIDE(cond)                                                           \
    (void)((cond) ? 0                                                           \
                  : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond), \
                     atomic_fetch_add(&wrong, 1)))

static coil_ret result_of(coil_thread_future *f)
{
    coil_ret rc = coil_thread_future_result(f, COIL_FOREVER);
    coil_thread_future_unref(f);
    return rc;
}

/* ---- results ---- */

static coil_ret nap_and_add_one(void *arg)
{
    coil_ret rc = coil_sleep(0.001);
    return coil_iserr(rc) ? rc : (coil_ret)(intptr_t)arg + 1;
}

static coil_ret nap_and_fail(void *arg)
{
    coil_ret rc = coil_sleep(0.001);
    return coil_iserr(rc) ? rc
                          : coil_fail(COIL_EUSER, "in %s", coil_task_get_name(coil_current_task()));
}

static void results(struct caller *caller)
{
    OUTSIDE(result_of(coil_run_coroutine_threadsafe(caller->loop, nap_and_add_one, number(4))) ==
            5);
    coil_thread_future *f = coil_run_coroutine_threadsafe(caller->loop, nap_and_fail, NULL);
    OUTSIDE(coil_thread_future_result(f, COIL_FOREVER) == COIL_EUSER);
    OUTSIDE(strncmp(coil_last_error()->message, "in Task-", 8) == 0);
    OUTSIDE(strncmp(coil_last_error()->task, "Task-", 5) == 0);
    coil_thread_future_unref(f);
    OUTSIDE(result_of(coil_run_coroutine_threadsafe(caller->loop, NULL, NULL)) == -EINVAL);
    OUTSIDE(result_of(coil_run_coroutine_threadsafe(NULL, return_arg, NULL)) == COIL_ENOLOOP);
}

COIL_TEST(call_brings_results_and_errors_to_the_other_thread)
{
    wrong = 0;
    call_from_outside(results, 0);
    assert_int_equal(wrong, 0);
}

static coil_ret sum(void *arg)
{
    coil_ret rc = coil_sleep(0.002);
    const int *n = arg;
    return coil_iserr(rc) ? rc : n[0] + n[1];
}

static void copied_arguments(struct caller *caller)
{
    int n[2] = {30, 4};
    coil_thread_future *f = coil_run_coroutine_threadsafe_with(caller->loop, sum, n, sizeof n);
    n[0] = n[1] = 0;
    OUTSIDE(result_of(f) == 34);
}

COIL_TEST(call_copies_its_arguments_when_told)
{
    wrong = 0;
    call_from_outside(copied_arguments, 0);
    assert_int_equal(wrong, 0);
}

static char nobody[] = "nobody", caller_name[] = "caller";
static coil_contextvar who = COIL_CONTEXTVAR("who", nobody);

static coil_ret look_who(void *arg)
{
    *(char **)arg = coil_contextvar_get(&who);
    return coil_contextvar_set(&who, nobody, NULL);
}

static void context(struct caller *caller)
{
    char *seen = NULL;
    OUTSIDE(coil_contextvar_set(&who, caller_name, NULL) == 0);
    OUTSIDE(result_of(coil_run_coroutine_threadsafe(caller->loop, look_who, &seen)) == 0);
    OUTSIDE(seen == caller_name);
    OUTSIDE(coil_contextvar_get(&who) == caller_name);
}

COIL_TEST(call_shows_the_callers_context)
{
    wrong = 0;
    call_from_outside(context, 0);
    assert_int_equal(wrong, 0);
    assert_ptr_equal(coil_contextvar_get(&who), nobody);
}

/* ---- cancel ---- */

struct sleeper {
    _Atomic int begun;
    _Atomic coil_ret got;
    _Atomic int over;
};

static coil_ret sleep_long(void *arg)
{
    struct sleeper *sleeper = arg;
    atomic_store(&sleeper->begun, 1);
    coil_ret rc = coil_sleep(1e6);
    atomic_store(&sleeper->got, rc);
    atomic_store(&sleeper->over, 1);
    return rc;
}

static void nap(void)
{
    coil_thread_future *never = coil_thread_future_new();
    OUTSIDE(coil_thread_future_result(never, 0.0005) == -ETIMEDOUT);
    coil_thread_future_unref(never);
}

static void await_flag(_Atomic int *flag)
{
    while (!atomic_load(flag))
        nap();
}

static void cancel_running(struct caller *caller)
{
    struct sleeper sleeper = {0};
    coil_thread_future *f = coil_run_coroutine_threadsafe(caller->loop, sleep_long, &sleeper);
    await_flag(&sleeper.begun);
    OUTSIDE(coil_thread_future_state(f) == COIL_THREAD_PENDING);
    OUTSIDE(coil_thread_future_cancel(f));
    OUTSIDE(coil_thread_future_cancelled(f));
    OUTSIDE(coil_thread_future_result(f, COIL_FOREVER) == -ECANCELED);
    await_flag(&sleeper.over);
    OUTSIDE(atomic_load(&sleeper.got) == -ECANCELED);
    coil_thread_future_unref(f);
}

COIL_TEST(call_cancelled_from_outside_cancels_the_task)
{
    wrong = 0;
    call_from_outside(cancel_running, 0);
    assert_int_equal(wrong, 0);
}

static void timeout(struct caller *caller)
{
    struct sleeper sleeper = {0};
    coil_thread_future *f = coil_run_coroutine_threadsafe(caller->loop, sleep_long, &sleeper);
    await_flag(&sleeper.begun);
    OUTSIDE(coil_thread_future_result(f, 0.001) == -ETIMEDOUT);
    OUTSIDE(!coil_thread_future_done(f));
    OUTSIDE(!atomic_load(&sleeper.over));
    OUTSIDE(coil_thread_future_cancel(f));
    coil_thread_future_unref(f); /* the loop still holds it */
    await_flag(&sleeper.over);
}

COIL_TEST(call_outlives_the_callers_timeout)
{
    wrong = 0;
    call_from_outside(timeout, 0);
    assert_int_equal(wrong, 0);
}

COIL_TEST(call_cancelled_before_it_began_never_begins)
{
    struct sleeper sleeper = {0};
    coil_thread_future *f = coil_run_coroutine_threadsafe(coil_get_running_loop(), sleep_long,
                                                          &sleeper);
    assert_true(coil_thread_future_cancel(f));
    for (int i = 0; i < 4; i++)
        assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(sleeper.begun, 0);
    assert_int_equal(coil_thread_future_state(f), COIL_THREAD_CANCELLED_AND_NOTIFIED);
    coil_thread_future_unref(f);
}

static coil_ret cancel_myself(void *arg)
{
    coil_task_cancel(coil_current_task(), NULL);
    coil_ret rc = coil_sleep(1);
    return rc;
}

COIL_TEST(call_whose_task_is_cancelled_is_cancelled)
{
    coil_thread_future *f = coil_run_coroutine_threadsafe(coil_get_running_loop(), cancel_myself,
                                                          NULL);
    assert_int_equal(coil_join(coil_wrap_future(f, NULL)), -ECANCELED);
    assert_true(coil_thread_future_cancelled(f));
    coil_thread_future_unref(f);
}

static coil_ret defy_cancel(void *arg)
{
    coil_ret rc = coil_sleep(1e6);
    return rc == -ECANCELED ? coil_fail(-EIO, "nobody hears this") : rc;
}

COIL_TEST(call_cancelled_from_outside_drops_what_the_task_says_later)
{
    coil_thread_future *f = coil_run_coroutine_threadsafe(coil_get_running_loop(), defy_cancel,
                                                          NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(coil_sleep(0), 0);
    assert_true(coil_thread_future_cancel(f));
    for (int i = 0; i < 6; i++)
        assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_thread_future_result(f, 0), -ECANCELED);
    coil_thread_future_unref(
        f); /* and its error counts as seen: the harness would tell of a report */
}

/* ---- failures ---- */

static uintptr_t done_on;
static void note_thread(coil_thread_future *f, void *arg)
{
    done_on = coil__thread_self();
}

/* ---- a cancel that comes as the task is made ---- */

static coil_thread_future *as_it_is_made; /* cancelled then, by... */
static void (*cancels)(coil_thread_future *f);

static coil_task *cancelling_factory(coil_loop *loop, const coil_task_recipe *recipe,
                                     const coil_task_opts *opts, void *arg)
{
    coil_task *task = coil_eager_task_factory(loop, recipe, opts, arg);
    if (cancels)
        cancels(as_it_is_made);
    cancels = NULL;
    return task;
}

static void cancel_it(coil_thread_future *f)
{
    assert_true(coil_thread_future_cancel(f));
}

/* What coil_thread_future_cancel does first; its thread is held up before it looks for a task to tell. */
static void begin_to_cancel(coil_thread_future *f)
{
    f->state = COIL_THREAD_CANCELLED;
}

static coil_ret goes_on_after_a_cancel(void *arg)
{
    coil_ret *heard = arg;
    heard[0] = coil_sleep(1);
    coil_task_uncancel(coil_current_task());
    heard[1] = coil_sleep(1);
    return 7;
}

static void cancelled_as_it_is_made(void (*how)(coil_thread_future *f))
{
    coil_ret heard[2] = {1, 1};
    as_it_is_made = coil_run_coroutine_threadsafe(coil_get_running_loop(), goes_on_after_a_cancel,
                                                  heard);
    cancels = how;
    assert_int_equal(coil_loop_set_task_factory(NULL, cancelling_factory, NULL), 0);
    while (cancels)
        assert_int_equal(coil_sleep(0), 0);
    if (how == begin_to_cancel)
        as_it_is_made->cls->cancelled(as_it_is_made); /* and here it goes on */
    assert_int_equal(coil_sleep(3), 0);
    assert_int_equal(heard[0], -ECANCELED);
    assert_int_equal(heard[1], 0); /* one cancel is one */
    assert_true(coil_thread_future_cancelled(as_it_is_made));
    coil_thread_future_unref(as_it_is_made);
    assert_int_equal(coil_loop_set_task_factory(NULL, NULL, NULL), 0);
}

COIL_TEST(call_cancelled_as_its_task_is_made_is_told_to_the_task)
{
    cancelled_as_it_is_made(cancel_it);
}

COIL_TEST(call_cancelled_as_its_task_is_made_is_told_once)
{
    cancelled_as_it_is_made(begin_to_cancel);
}

COIL_TEST(call_calls_back_on_the_loops_thread)
{
    coil_thread_future *f = coil_run_coroutine_threadsafe(coil_get_running_loop(), return_arg,
                                                          number(1));
    done_on = 0;
    assert_int_equal(coil_thread_future_add_done_callback(f, note_thread, NULL), 0);
    assert_int_equal(coil_join(coil_wrap_future(f, NULL)), 1);
    assert_true(done_on == coil__thread_self());
    coil_thread_future_unref(f);
}

COIL_TEST_PLAIN(call_into_a_closed_loop_is_refused)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_close(loop), 0);
    coil_thread_future *f = coil_run_coroutine_threadsafe(loop, return_arg, NULL);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), COIL_ECLOSED);
    coil_thread_future_unref(f);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(call_in_the_inbox_when_the_loop_closes_is_told)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_thread_future *f = coil_run_coroutine_threadsafe_with(loop, return_arg, "text", 5);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), COIL_ECLOSED);
    coil_thread_future_unref(f);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(call_on_the_ring_when_the_loop_closes_is_told)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_thread_future *f = coil_run_coroutine_threadsafe(loop, return_arg, NULL);
    assert_int_equal(coil_loop_collect(loop, 0), 0);
    coil__loop_leave(loop); /* a host that stops between the two halves */
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), COIL_ECLOSED);
    coil_thread_future_unref(f);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(call_running_when_the_loop_closes_ends_cancelled_and_unwound)
{
    struct sleeper sleeper = {0};
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_loop_set_exception_handler(loop, ignore_report, NULL);
    coil_thread_future *f = coil_run_coroutine_threadsafe(loop, sleep_long, &sleeper);
    while (!sleeper.begun)
        assert_true(coil_loop_iterate(loop) >= 0);
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(sleeper.got, COIL_EEXIT);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), -ECANCELED);
    coil_thread_future_unref(f);
    coil_loop_free(loop);
}

COIL_TEST_PLAIN(call_ended_when_the_loop_closes_keeps_its_result)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_thread_future *f = coil_run_coroutine_threadsafe(loop, return_arg, number(3));
    assert_int_equal(coil_loop_iterate(loop), 1); /* made the task */
    assert_int_equal(coil_loop_iterate(loop), 1); /* which ended */
    assert_false(coil_thread_future_done(f));
    assert_int_equal(coil_loop_close(loop), 0);
    assert_int_equal(coil_thread_future_result(f, COIL_FOREVER), 3);
    coil_thread_future_unref(f);
    coil_loop_free(loop);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
COIL_TEST(call_whose_task_cannot_be_made_is_told)
{
    coil_loop *loop = coil_get_running_loop();
    coil_thread_future *f = coil_run_coroutine_threadsafe(loop, return_arg, NULL);
    coil__mem_fail_at(1, 1);
    coil_ret rc = coil_sleep(0), rc2 = coil_sleep(0);
    coil__mem_fail_at(0, 0);
    (void)rc, (void)rc2;
    rc = coil_join(coil_wrap_future(f, NULL));
    assert_true(rc == -ENOMEM || rc == 0); /* 0: everything it took was there already */
    coil_thread_future_unref(f);
}
#endif

/* ---- many at once ---- */

enum { CALLS = 100 };

static void many_calls(struct caller *caller)
{
    for (int i = 0; i < CALLS; i++) {
        coil_thread_future *f = coil_run_coroutine_threadsafe(caller->loop, nap_and_add_one,
                                                              number(i));
        bool cancelled = i % 5 == 0 && coil_thread_future_cancel(f);
        coil_ret rc = result_of(f);
        OUTSIDE(rc == (cancelled ? -ECANCELED : i + 1));
    }
}

COIL_TEST_WITH(calls_from_many_threads_are_all_answered, .virtual_time = false)
{
    enum { THREADS = 4 };
    struct caller callers[THREADS];
    wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.loop = coil_get_running_loop(), .body = many_calls};
        callers[i].over = coil_thread_future_new();
        assert_int_equal(coil__thread_start(&callers[i].thread, "caller", caller_main, &callers[i]),
                         0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(coil_join(coil_wrap_future(callers[i].over, NULL)), 0);
        coil__thread_join(&callers[i].thread);
        coil_thread_future_unref(callers[i].over);
    }
    assert_int_equal(wrong, 0);
    for (int i = 0; i < 5; i++) /* cancelled ones are still to end */
        assert_int_equal(coil_sleep(0.002), 0);
}

static void calls_until_closed(struct caller *caller)
{
    int answers[3] = {0};
    for (;;) {
        coil_thread_future *f = coil_run_coroutine_threadsafe(caller->loop, nap_and_add_one,
                                                              number(1));
        if (caller->n++ % 7 == 0)
            coil_thread_future_cancel(f);
        coil_ret rc = result_of(f);
        OUTSIDE(rc == 2 || rc == -ECANCELED || rc == COIL_ECLOSED);
        if (rc == COIL_ECLOSED)
            break;
        answers[rc == 2]++;
    }
}

COIL_TEST_PLAIN(calls_to_a_loop_that_closes_are_all_answered)
{
    wrong = 0;
    for (int round = 0; round < 20; round++) {
        coil_loop *loop = coil_new_event_loop(NULL);
        coil_loop_set_exception_handler(loop, ignore_report, NULL);
        struct caller callers[2];
        for (int i = 0; i < 2; i++) {
            callers[i] = (struct caller){.loop = loop, .body = calls_until_closed};
            callers[i].over = coil_thread_future_new();
            assert_int_equal(
                coil__thread_start(&callers[i].thread, "caller", caller_main, &callers[i]), 0);
        }
        for (int i = 0; i < round * 3; i++)
            assert_true(coil_loop_iterate(loop) >= 0);
        assert_int_equal(coil_loop_close(loop), 0);
        for (int i = 0; i < 2; i++) {
            coil__thread_join(&callers[i].thread);
            coil_thread_future_unref(callers[i].over);
        }
        coil_loop_free(loop);
    }
    assert_int_equal(wrong, 0);
}

static coil_ret use_call(void *arg)
{
    coil_thread_future *f = coil_run_coroutine_threadsafe_with(coil_get_running_loop(),
                                                               nap_and_fail, "x", 2);
    coil_future *w = coil_wrap_future(f, NULL);
    coil_ret rc = coil_join(w);
    for (int i = 0; i < 10 && !coil_thread_future_done(f); i++)
        coil_ignore(coil_sleep(0.001));
    coil_thread_future_unref(f);
    return rc == COIL_EUSER ? 0 : rc;
}

static void run_call(void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true, .no_signals = true};
    coil_ret rc = coil_run_with(use_call, NULL, &opts);
    assert_true(rc == 0 || rc == -ENOMEM);
}

COIL_TEST_PLAIN(call_survives_each_failing_allocation)
{
    (void)sweep_allocations(run_call, NULL);
}

COIL_TEST_MAIN()
