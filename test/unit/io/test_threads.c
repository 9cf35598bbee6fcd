/* SPDX-License-Identifier: MIT
 *
 * test_threads.c: the pool of threads: order, cancelling, ending, and threads that cannot be had. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/thread.h"
#include "coro/tooling.h"
#include "io/threads.h"

#include <coil/error.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A place where threads wait until a test opens it, and where it counts what came through. */
struct gate {
    struct mutex lock;
    struct cond changed;
    bool open;
    int waiting, done, dropped;
    int order[16];
};

static struct gate gate;

struct test_job {
    struct job job;
    int number;
};

static int setup(void **state)
{
    memset(&gate, 0, sizeof gate);
    coil__mutex_init(&gate.lock);
    coil__cond_init(&gate.changed);
    return 0;
}

static int teardown(void **state)
{
    coil__mutex_fini(&gate.lock);
    coil__cond_fini(&gate.changed);
    return 0;
}

static void run_nothing(struct job *job)
{
}

static void run_wait(struct job *job)
{
    coil__mutex_lock(&gate.lock);
    gate.waiting++;
    coil__cond_broadcast(&gate.changed);
    while (!gate.open)
        coil__cond_wait(&gate.changed, &gate.lock);
    gate.waiting--;
    coil__mutex_unlock(&gate.lock);
}

static void finish_count(struct job *job)
{
    struct test_job *t = container_of(job, struct test_job, job);
    coil__mutex_lock(&gate.lock);
    if (gate.done < 16)
        gate.order[gate.done] = t->number;
    gate.done++;
    coil__cond_broadcast(&gate.changed);
    coil__mutex_unlock(&gate.lock);
}

static void dropped(struct job *job)
{
    gate.dropped++;
}

static void open_gate(void)
{
    coil__mutex_lock(&gate.lock);
    gate.open = true;
    coil__cond_broadcast(&gate.changed);
    coil__mutex_unlock(&gate.lock);
}

static void wait_done(int n)
{
    coil__mutex_lock(&gate.lock);
    while (gate.done < n)
        coil__cond_wait(&gate.changed, &gate.lock);
    coil__mutex_unlock(&gate.lock);
}

static void wait_waiting(int n)
{
    coil__mutex_lock(&gate.lock);
    while (gate.waiting < n)
        coil__cond_wait(&gate.changed, &gate.lock);
    coil__mutex_unlock(&gate.lock);
}

static struct pool *make_pool(unsigned max)
{
    struct pool *pool;
    assert_int_equal(coil__pool_new(&pool, "test", max), 0);
    return pool;
}

static void end_pool(struct pool *pool)
{
    coil__pool_shutdown(pool, false, NULL);
    assert_true(coil__pool_join(pool, CLOCK_FOREVER));
    coil__pool_free(pool);
}

static void jobs_a_thousand_on_four_threads(void **state)
{
    static struct test_job jobs[1000];
    struct pool *pool = make_pool(4);
    for (int i = 0; i < 1000; i++) {
        jobs[i] = (struct test_job){.job = {.run = run_nothing, .finish = finish_count}};
        assert_int_equal(coil__pool_submit(pool, &jobs[i].job), 0);
    }
    wait_done(1000);
    struct pool_stats stats;
    coil__pool_stats(pool, &stats);
    assert_true(stats.threads <= 4);
    assert_int_equal(stats.queued, 0);
    end_pool(pool);
    assert_int_equal(gate.done, 1000);
}

static void no_thread_before_the_first_job_and_none_more_than_needed(void **state)
{
    struct pool *pool = make_pool(8);
    struct pool_stats stats;
    coil__pool_stats(pool, &stats);
    assert_int_equal(stats.threads, 0);
    struct test_job a = {.job = {.run = run_nothing, .finish = finish_count}};
    for (int i = 0; i < 20; i++) {
        assert_int_equal(coil__pool_submit(pool, &a.job), 0);
        wait_done(i + 1);
        do
            coil__pool_stats(pool, &stats);
        while (stats.idle < stats.threads);
    }
    assert_int_equal(stats.threads, 1);
    assert_int_equal(stats.finished, 20);
    end_pool(pool);
}

static void one_thread_keeps_the_order(void **state)
{
    struct test_job jobs[8];
    struct pool *pool = make_pool(1);
    for (int i = 0; i < 8; i++) {
        jobs[i] = (struct test_job){.number = i,
                                    .job = {.run = run_nothing, .finish = finish_count}};
        assert_int_equal(coil__pool_submit(pool, &jobs[i].job), 0);
    }
    wait_done(8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(gate.order[i], i);
    end_pool(pool);
}

static void cancel_takes_out_a_queued_job_only(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job a = {.number = 1, .job = {.run = run_wait, .finish = finish_count}};
    struct test_job b = {.number = 2, .job = {.run = run_wait, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    wait_waiting(1);
    assert_int_equal(coil__pool_submit(pool, &b.job), 0);
    assert_false(coil__pool_cancel(pool, &a.job));
    assert_true(coil__pool_cancel(pool, &b.job));
    assert_false(coil__pool_cancel(pool, &b.job));
    open_gate();
    wait_done(1);
    assert_int_equal(gate.order[0], 1);
    end_pool(pool);
    assert_int_equal(gate.done, 1);
}

static void a_cancelled_job_may_be_submitted_again(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job a = {.job = {.run = run_wait, .finish = finish_count}};
    struct test_job b = {.number = 7, .job = {.run = run_nothing, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    assert_int_equal(coil__pool_submit(pool, &b.job), 0);
    assert_true(coil__pool_cancel(pool, &b.job));
    assert_int_equal(coil__pool_submit(pool, &b.job), 0);
    open_gate();
    wait_done(2);
    assert_int_equal(gate.order[1], 7);
    end_pool(pool);
}

static void shutdown_refuses_new_jobs_and_runs_the_queued(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = (struct test_job){.job = {.run = run_wait, .finish = finish_count}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(coil__pool_submit(pool, &jobs[i].job), 0);
    coil__pool_shutdown(pool, false, NULL);
    assert_int_equal(coil__pool_submit(pool, &jobs[3].job), COIL_ESHUTDOWN);
    open_gate();
    assert_true(coil__pool_join(pool, CLOCK_FOREVER));
    assert_int_equal(gate.done, 3);
    coil__pool_free(pool);
}

static void shutdown_drops_the_queued_when_told(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job jobs[3];
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct test_job){.job = {.run = run_wait, .finish = finish_count}};
        assert_int_equal(coil__pool_submit(pool, &jobs[i].job), 0);
    }
    wait_waiting(1);
    coil__pool_shutdown(pool, true, dropped);
    assert_int_equal(gate.dropped, 2);
    assert_false(coil__pool_cancel(pool, &jobs[1].job));
    open_gate();
    assert_true(coil__pool_join(pool, CLOCK_FOREVER));
    assert_int_equal(gate.done, 1);
    coil__pool_free(pool);
}

static void join_gives_up_at_the_deadline(void **state)
{
    struct pool *pool = make_pool(2);
    struct test_job a = {.job = {.run = run_wait, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    wait_waiting(1);
    coil__pool_shutdown(pool, true, NULL);
    int64_t deadline = coil__clock_real_ns() + 5 * NS_PER_MS;
    assert_false(coil__pool_join(pool, deadline));
    assert_true(coil__clock_real_ns() >= deadline);
    open_gate();
    assert_true(coil__pool_join(pool, CLOCK_FOREVER));
    coil__pool_free(pool);
}

static void free_while_a_thread_runs_leaves_it_to_the_thread(void **state)
{
    int64_t live = coil__mem_live();
    unsigned threads = coil__thread_count();
    struct pool *pool = make_pool(2);
    struct test_job a = {.job = {.run = run_wait, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    wait_waiting(1);
    coil__pool_free(pool);
    assert_int_equal(gate.done, 0);
    open_gate();
    wait_done(1);
    while (coil__thread_count() > threads)
        sched_yield();
    assert_int_equal(coil__mem_live(), live);
}

static struct pool *own_pool;
static bool own_join;

static void run_end_own_pool(struct job *job)
{
    coil__pool_shutdown(own_pool, false, NULL);
    own_join = coil__pool_join(own_pool, CLOCK_FOREVER);
    coil__pool_free(own_pool);
}

static void a_job_may_end_its_own_pool(void **state)
{
    unsigned threads = coil__thread_count();
    own_pool = make_pool(1);
    own_join = true;
    struct test_job a = {.job = {.run = run_end_own_pool, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(own_pool, &a.job), 0);
    wait_done(1);
    assert_false(own_join);
    while (coil__thread_count() > threads)
        sched_yield();
}

static void run_look_at_signals(struct job *job)
{
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    coil__mutex_lock(&gate.lock);
    gate.order[1] = sigismember(&now, SIGINT) && sigismember(&now, SIGTERM) &&
                    sigismember(&now, SIGCHLD);
    coil__mutex_unlock(&gate.lock);
}

static void signals_stay_out_of_the_threads(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job a = {.job = {.run = run_look_at_signals, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    wait_done(1);
    assert_int_equal(gate.order[1], 1);
    end_pool(pool);
}

static void no_memory_is_an_error_and_loses_nothing(void **state)
{
    int64_t live = coil__mem_live();
    struct pool *pool;
    coil__mem_fail_at(1, 1);
    assert_int_equal(coil__pool_new(&pool, "test", 1), -ENOMEM);
    coil__mem_fail_at(0, 0);

    /* The pool, then the worker, then what starts its thread. */
    for (int n = 1; n <= 2; n++) {
        pool = make_pool(2);
        struct test_job a = {.job = {.run = run_wait, .finish = finish_count}};
        struct test_job b = a;
        coil__mem_fail_at(n, 1);
        assert_int_equal(coil__pool_submit(pool, &a.job), -ENOMEM);
        coil__mem_fail_at(0, 0);
        assert_false(coil__pool_cancel(pool, &a.job));

        /* With a thread there already, one that cannot be had is no error. */
        assert_int_equal(coil__pool_submit(pool, &a.job), 0);
        wait_waiting(1);
        coil__mem_fail_at(n, 1);
        assert_int_equal(coil__pool_submit(pool, &b.job), 0);
        coil__mem_fail_at(0, 0);
        open_gate();
        end_pool(pool);
        assert_int_equal(gate.done, 2);
        gate.open = false;
        gate.done = 0;
    }
    assert_int_equal(coil__mem_live(), live);
}

#if defined(__GLIBC__) && !SYS_UNDER_TSAN
/* Ours comes before the C library's, so that it may be short of memory. (ThreadSanitizer asks it before it is ready.) */
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);
static bool no_memory_for_forks;

int pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return no_memory_for_forks ? ENOMEM : __register_atfork(prepare, parent, child, NULL);
}

/* The first of all: whoever is told of forks once is told for good. */
static void a_pool_that_would_not_hear_of_forks_is_not_made(void **state)
{
    struct pool *pool;
    no_memory_for_forks = true;
    assert_int_equal(coil__pool_new(&pool, "test", 1), -ENOMEM);
    no_memory_for_forks = false;
    end_pool(make_pool(1));
}
#endif

static void a_pool_of_no_threads_has_one(void **state)
{
    struct pool_stats stats;
    struct pool *pool = make_pool(0);
    coil__pool_stats(pool, &stats);
    assert_int_equal(stats.threads_max, 1);
    end_pool(pool);
}

static void shutdown_may_drop_the_queued_without_a_word(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job a = {.job = {.run = run_wait, .finish = finish_count}};
    struct test_job b = {.job = {.run = run_nothing, .finish = finish_count}};
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    wait_waiting(1);
    assert_int_equal(coil__pool_submit(pool, &b.job), 0);
    coil__pool_shutdown(pool, true, NULL);
    assert_int_equal(b.job.state, JOB_IDLE);
    open_gate();
    end_pool(pool);
    assert_int_equal(gate.done, 1);
}

/* What a child of fork does with the pool of its parent: 0, or which answer was wrong. */
static int use_inherited(struct pool *pool, struct job *queued)
{
    struct pool_stats stats;
    struct test_job c = {.job = {.run = run_nothing, .finish = finish_count}};
    if (coil__pool_cancel(pool, queued))
        return 1;
    coil__pool_stats(pool, &stats);
    if (stats.threads_max != 1 || stats.threads || stats.queued || stats.running)
        return 2;
    if (coil__pool_submit(pool, &c.job) >= 0)
        return 3;
    coil__pool_shutdown(pool, true, NULL);
    if (!coil__pool_join(pool, CLOCK_FOREVER))
        return 4;
    coil__pool_free(pool);
    return queued->state == JOB_QUEUED ? 0 : 5;
}

static void a_child_of_fork_leaves_the_pool_alone(void **state)
{
    struct pool *pool = make_pool(1);
    struct test_job a = {.job = {.run = run_wait, .finish = finish_count}};
    struct test_job b = {.job = {.run = run_nothing, .finish = finish_count}};
    int status;
    assert_int_equal(coil__pool_submit(pool, &a.job), 0);
    wait_waiting(1);
    assert_int_equal(coil__pool_submit(pool, &b.job), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(use_inherited(pool, &b.job));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    open_gate();
    end_pool(pool);
    assert_int_equal(gate.done, 2);
}

struct submitter {
    struct thread thread;
    struct pool *pool;
    struct test_job jobs[200];
    int cancelled;
};

static void submit_and_cancel(void *arg)
{
    struct submitter *s = arg;
    for (int i = 0; i < 200; i++) {
        s->jobs[i] = (struct test_job){.job = {.run = run_nothing, .finish = finish_count}};
        COIL_CHECK(coil__pool_submit(s->pool, &s->jobs[i].job) == 0);
        if (i % 3 == 0 && coil__pool_cancel(s->pool, &s->jobs[i].job))
            s->cancelled++;
    }
}

static void many_threads_submit_and_cancel(void **state)
{
    static struct submitter submitters[4];
    struct pool *pool = make_pool(3);
    for (int i = 0; i < 4; i++) {
        submitters[i].pool = pool;
        assert_int_equal(
            coil__thread_start(&submitters[i].thread, "submit", submit_and_cancel, &submitters[i]),
            0);
    }
    int cancelled = 0;
    for (int i = 0; i < 4; i++) {
        coil__thread_join(&submitters[i].thread);
        cancelled += submitters[i].cancelled;
    }
    end_pool(pool);
    assert_int_equal(gate.done + cancelled, 800);
}

/* ---- a thread that looks on ---- */

struct noting_job {
    struct job job;
    pid_t thread;
};

static void run_note(struct job *job)
{
    container_of(job, struct noting_job, job)->thread = sys_gettid();
    run_wait(job);
}

static void finish_note(struct job *job)
{
    coil__mutex_lock(&gate.lock);
    gate.done++;
    coil__cond_broadcast(&gate.changed);
    coil__mutex_unlock(&gate.lock);
}

static bool computes(pid_t thread)
{
    char path[64], text[8] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) {
        print_message("where threads stand is not told here\n");
        skip();
    }
    close(fd);
    return strncmp(text, "running", 7) == 0;
}

/* Which of the two computes, once that is so for good. */
static int who_looks_on(const struct noting_job *two)
{
    for (int same = 0, who = -1, now;;) {
        bool first = computes(two[0].thread), second = computes(two[1].thread);
        now = first == second ? -1 : first ? 0 : 1;
        same = now == who && now >= 0 ? same + 1 : 0;
        who = now;
        if (same == 100)
            return who;
    }
}

static void a_job_is_taken_by_the_thread_that_looks_on_and_no_other_is_woken(void **state)
{
    if (tool_on_valgrind()) {
        print_message("only one of its threads computes at a time\n");
        skip();
    }
    struct pool *pool = make_pool(2);
    struct noting_job two[2];
    coil__pool_set_spin(pool, coil__clock_ticks_in(INT64_C(60) * NS_PER_S));
    for (int i = 0; i < 2; i++) {
        two[i].job = (struct job){.run = run_note, .finish = finish_note};
        assert_int_equal(coil__pool_submit(pool, &two[i].job), 0);
    }
    wait_waiting(2);
    open_gate();
    wait_done(2); /* and one of them looks for more; one is enough */
    pid_t looks_on = two[who_looks_on(two)].thread;
    assert_int_equal(coil__pool_submit(pool, &two[0].job), 0);
    wait_done(3);
    assert_int_equal(two[0].thread, looks_on);
    end_pool(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__GLIBC__) && !SYS_UNDER_TSAN
        cmocka_unit_test_setup_teardown(a_pool_that_would_not_hear_of_forks_is_not_made, setup,
                                        teardown),
#endif
        cmocka_unit_test_setup_teardown(a_pool_of_no_threads_has_one, setup, teardown),
        cmocka_unit_test_setup_teardown(shutdown_may_drop_the_queued_without_a_word, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_child_of_fork_leaves_the_pool_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(jobs_a_thousand_on_four_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(no_thread_before_the_first_job_and_none_more_than_needed,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(one_thread_keeps_the_order, setup, teardown),
        cmocka_unit_test_setup_teardown(cancel_takes_out_a_queued_job_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cancelled_job_may_be_submitted_again, setup, teardown),
        cmocka_unit_test_setup_teardown(shutdown_refuses_new_jobs_and_runs_the_queued, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(shutdown_drops_the_queued_when_told, setup, teardown),
        cmocka_unit_test_setup_teardown(join_gives_up_at_the_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(free_while_a_thread_runs_leaves_it_to_the_thread, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_job_may_end_its_own_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_stay_out_of_the_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory_is_an_error_and_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(many_threads_submit_and_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_is_taken_by_the_thread_that_looks_on_and_no_other_is_woken, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
