/* SPDX-License-Identifier: MIT
 *
 * test_workers.c: loops on several threads, which live and end together. */
#include "crew.h"

#include "base/sys.h"
#include "base/thread.h"

#include <signal.h>
#include <unistd.h>

/* ---- beginning and end ---- */

struct seen {
    const coil_loop *loops[MAX];
    uintptr_t threads[MAX];
    atomic_int n;
};

static coil_ret notes_where_it_runs(void *arg)
{
    struct seen *seen = arg;
    int me = coil_worker_index();
    seen->loops[me] = coil_get_running_loop();
    seen->threads[me] = coil__thread_self();
    atomic_fetch_add(&seen->n, 1);
    coil_ret rc = 0;
    while (rc == 0 && seen->n < coil_worker_count()) /* so the loops are there at a time */
        rc = coil_sleep(0);
    return rc ? rc : 10 + me;
}

WORKERS_TEST(workers_have_a_loop_and_a_thread_each)
{
    struct seen seen = {.n = 0};
    coil_ret results[3] = {0};
    assert_int_equal(run_with(3, notes_where_it_runs, &seen, results, 0), 0);
    assert_int_equal(seen.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i], 10 + i);
        for (int j = 0; j < i; j++) {
            assert_ptr_not_equal(seen.loops[i], seen.loops[j]);
            assert_int_not_equal(seen.threads[i], seen.threads[j]);
        }
    }
    assert_int_equal(seen.threads[0], coil__thread_self());
    assert_null(coil_get_running_loop());
}

WORKERS_TEST(workers_may_be_one)
{
    struct seen seen = {.n = 0};
    coil_ret result = 0;
    assert_int_equal(run_with(1, notes_where_it_runs, &seen, &result, 0), 0);
    assert_int_equal(result, 10);
}

static coil_ret counts(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    EXPECT(coil_worker_count() == (int)coil__thread_cpus());
    return 0;
}

WORKERS_TEST(workers_without_a_number_are_as_many_as_processors)
{
    atomic_int n = 0;
    assert_int_equal(coil_workers(0, counts, &n), 0);
    assert_int_equal(n, coil__thread_cpus());
}

static int cpus_of_this_thread(void)
{
    struct thread_cpus cpus;
    return coil__thread_cpus_get(&cpus) == 0 ? CPU_COUNT(&cpus.set) : -1;
}

static coil_ret counts_cpus(void *arg)
{
    (void)arg;
    return cpus_of_this_thread();
}

static coil_ret is_pinned(void *arg)
{
    EXPECT(cpus_of_this_thread() == 1);
    /* What it starts runs where the program may. */
    EXPECT(coil_to_thread(counts_cpus, NULL) == *(int *)arg);
    EXPECT((int)coil__thread_cpus() == *(int *)arg);
    return 0;
}

WORKERS_TEST(workers_are_pinned_on_request)
{
    int before = cpus_of_this_thread();
    coil_workers_opts opts = {.size = sizeof opts, .pin = true};
    assert_int_equal(coil_workers_with(3, is_pinned, &before, &opts), 0);
    assert_int_equal(cpus_of_this_thread(), before);
}

static coil_ret starts_workers(void *arg)
{
    (void)arg;
    EXPECT(coil_workers(2, notes_where_it_runs, NULL) == COIL_ERUNNING);
    EXPECT(last_code() == COIL_ERUNNING);
    return 0;
}

WORKERS_TEST(workers_do_not_nest)
{
    assert_int_equal(coil_workers(2, starts_workers, NULL), 0);
    assert_int_equal(coil_run(starts_workers, NULL), 0);
}

WORKERS_TEST(workers_refuse_what_makes_no_sense)
{
    assert_int_equal(coil_workers(2, NULL, NULL), -EINVAL);
    assert_int_equal(coil_workers(COIL_WORKERS_MAX + 1, counts, NULL), -EINVAL);
    coil_workers_opts opts = {.size = sizeof opts, .results_n = 2};
    assert_int_equal(coil_workers_with(2, counts, NULL, &opts), -EINVAL);
    coil_run_opts run = {.size = sizeof run, .backend = "none such"};
    opts = (coil_workers_opts){.size = sizeof opts, .run = &run};
    assert_int_equal(coil_workers_with(2, counts, NULL, &opts), -EINVAL);
    assert_int_equal(last_code(), -EINVAL);
}

WORKERS_TEST(workers_calls_elsewhere_are_refused)
{
    coil_message m;
    assert_int_equal(coil_worker_index(), COIL_EINVALIDSTATE);
    assert_int_equal(coil_worker_count(), COIL_EINVALIDSTATE);
    assert_int_equal(coil_workers_cancel(), COIL_EINVALIDSTATE);
    assert_int_equal(coil_worker_send_nowait(0, NULL), COIL_EINVALIDSTATE);
    assert_int_equal(coil_worker_receive_nowait(&m, 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_worker_send(0, NULL), COIL_ENOTASK);
    assert_int_equal(coil_worker_receive(&m, 1), COIL_ENOTASK);
}

static coil_ret is_no_worker(void *arg)
{
    (void)arg;
    coil_message m;
    assert_int_equal(coil_worker_index(), COIL_EINVALIDSTATE);
    assert_int_equal(coil_worker_send(0, NULL), COIL_EINVALIDSTATE);
    assert_int_equal(coil_worker_receive(&m, 1), COIL_EINVALIDSTATE);
    return 0;
}

WORKERS_TEST(workers_calls_in_a_plain_run_are_refused)
{
    assert_int_equal(coil_run(is_no_worker, NULL), 0);
    assert_int_equal(coil_workers(2, notes_where_it_runs, &(struct seen){.n = 0}), 0);
    assert_int_equal(coil_run(is_no_worker, NULL), 0);
}

/* ---- failing and cancelling ---- */

static coil_ret one_fails(void *arg)
{
    if (coil_worker_index() != *(int *)arg)
        return waits_for_ever();
    coil_ret rc = coil_sleep(0);
    return rc ? rc : coil_fail(COIL_EUSER, "worker %d is tired", coil_worker_index());
}

static void check_that_one_fails(int which)
{
    coil_ret results[3] = {0};
    assert_int_equal(run_with(3, one_fails, &which, results, 0), COIL_EUSER);
    const coil_error *error = coil_last_error();
    assert_int_equal(error->code, COIL_EUSER);
    assert_int_equal(error->members_n, 1);
    char words[32];
    snprintf(words, sizeof words, "worker %d is tired", which);
    assert_string_equal(error->members[0]->message, words);
    for (int i = 0; i < 3; i++)
        assert_int_equal(results[i], i == which ? COIL_EUSER : -ECANCELED);
}

WORKERS_TEST(workers_end_with_the_first_that_fails)
{
    check_that_one_fails(0);
    check_that_one_fails(1);
    check_that_one_fails(2);
}

static coil_ret fails_when_cancelled(void *arg)
{
    (void)arg;
    atomic_fetch_add(&waiting, 1);
    coil_ret rc = coil_worker_index() == 1 ? wait_until_waiting(3) : waits_for_ever();
    if (rc == 0)
        return coil_fail(COIL_EUSER, "first");
    return rc == -ECANCELED ? coil_fail(COIL_EUSER - 1, "in spite of it") : rc;
}

WORKERS_TEST(workers_errors_are_all_told)
{
    waiting = 0;
    assert_int_equal(coil_workers(3, fails_when_cancelled, NULL), COIL_EUSER);
    const coil_error *error = coil_last_error();
    assert_int_equal(error->members_n, 3);
    assert_string_equal(error->members[0]->message, "first");
    assert_int_equal(error->members[1]->code, COIL_EUSER - 1);
    assert_int_equal(error->members[2]->code, COIL_EUSER - 1);
}

static coil_ret is_cancelled_alone(void *arg)
{
    (void)arg;
    if (coil_worker_index() == 0) {
        coil_task_cancel(coil_current_task(), NULL);
        return coil_sleep(0);
    }
    return coil_sleep(0.001);
}

WORKERS_TEST(workers_of_whom_one_was_cancelled_have_not_failed)
{
    coil_ret results[2] = {1, 1};
    assert_int_equal(run_with(2, is_cancelled_alone, NULL, results, 0), 0);
    assert_int_equal(results[0], -ECANCELED);
    assert_int_equal(results[1], 0);
}

static coil_ret one_cancels_all(void *arg)
{
    if (coil_worker_index() == *(int *)arg) {
        EXPECT(coil_workers_cancel() == 0);
        EXPECT(coil_workers_cancel() == 0);
    }
    coil_ret rc = waits_for_ever();
    EXPECT(coil_task_cancelling(coil_current_task()) == 1);
    return rc;
}

WORKERS_TEST(workers_are_cancelled_by_any_of_them)
{
    for (int who = 0; who < 2; who++) {
        coil_ret results[2] = {0};
        assert_int_equal(run_with(2, one_cancels_all, &who, results, 0), 0);
        assert_int_equal(results[0], -ECANCELED);
        assert_int_equal(results[1], -ECANCELED);
    }
}

/* Worker 1 presses the keys when both are there; the signal comes to the main thread, which alone has it open. */
static coil_ret is_interrupted(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    if (coil_worker_index() == 1) {
        EXPECT(wait_until_waiting(2) == 0);
        kill(getpid(), SIGINT);
    }
    coil_ret rc = waits_for_ever();
    EXPECT(rc == -ECANCELED);
    return *(bool *)arg ? 5 : rc;
}

static coil_ret interrupted_run(bool goes_on, coil_ret *results)
{
    struct sigaction act = {.sa_handler = SIG_DFL}, before;
    sigaction(SIGINT, &act, &before);
    waiting = 0;
    coil_ret rc = run_with(2, is_interrupted, &goes_on, results, 0);
    sigaction(SIGINT, &before, NULL);
    return rc;
}

WORKERS_TEST(workers_are_cancelled_by_ctrl_c)
{
    coil_ret results[2] = {0};
    assert_int_equal(interrupted_run(false, results), COIL_EINTERRUPTED);
    assert_int_equal(results[0], -ECANCELED);
    assert_int_equal(results[1], -ECANCELED);
}

WORKERS_TEST(workers_that_return_values_after_ctrl_c_were_interrupted_all_the_same)
{
    coil_ret results[2] = {0};
    assert_int_equal(interrupted_run(true, results), COIL_EINTERRUPTED);
    assert_int_equal(results[0], 5);
    assert_int_equal(results[1], 5);
}

static coil_ret refuses_to_end(void *arg)
{
    atomic_fetch_add(&waiting, 1);
    if (coil_worker_index() == 1) {
        EXPECT(wait_until_waiting(2) == 0);
        kill(getpid(), SIGINT);
        EXPECT(waits_for_ever() == -ECANCELED);
        kill(getpid(), SIGINT);
    } else {
        EXPECT(waits_for_ever() == -ECANCELED);
    }
    (void)arg;
    coil_ret rc =
        waits_for_ever(); /* the second one ends the run, and what is left is cancelled again */
    return rc;
}

WORKERS_TEST(workers_that_refuse_are_ended_by_a_second_ctrl_c)
{
    struct sigaction act = {.sa_handler = SIG_DFL}, before;
    sigaction(SIGINT, &act, &before);
    waiting = 0;
    assert_int_equal(coil_workers(2, refuses_to_end, NULL), COIL_EINTERRUPTED);
    sigaction(SIGINT, &before, NULL);
}

static coil_ret leaves_a_task(void *arg)
{
    (void)arg;
    coil_message m;
    coil_ret rc = coil_worker_receive(&m, 1);
    EXPECT(rc == COIL_ECLOSED);
    atomic_fetch_add(&waiting, 1);
    return rc == COIL_ECLOSED ? 0 : rc;
}

static coil_ret has_leftovers(void *arg)
{
    coil_unref(coil_create_task(leaves_a_task, arg));
    return coil_sleep(0);
}

WORKERS_TEST(workers_leftover_tasks_find_the_mailbox_closed)
{
    waiting = 0;
    assert_int_equal(coil_workers(3, has_leftovers, NULL), 0);
    assert_int_equal(waiting, 3);
}

static coil_ret waits_in_vain(void *arg)
{
    (void)arg;
    coil_message m;
    return coil_worker_receive(&m, 1);
}

WORKERS_TEST(workers_alone_find_a_deadlock)
{
    if (!deadlocks_are_certain())
        skip();
    assert_int_equal(coil_workers(1, waits_in_vain, NULL), COIL_EDEADLOCK);
}

static int refused_from, starts;
static int refuse_threads(void)
{
    return starts++ >= refused_from ? -EAGAIN : 0;
}

WORKERS_TEST(workers_whose_thread_cannot_be_had_end)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    int nobody = -1;
    for (refused_from = 0; refused_from < 2; refused_from++) {
        starts = 0;
        coil__thread_hook = refuse_threads;
        coil_ret rc = coil_workers(3, one_fails, &nobody);
        coil__thread_hook = NULL;
        assert_int_equal(rc, -EAGAIN);
        assert_int_equal(last_code(), -EAGAIN);
    }
#else
    skip();
#endif
}

COIL_TEST_MAIN()
