/* SPDX-License-Identifier: MIT
 *
 * test_pool.c: functions in processes of their own, by CPython's test_concurrent_futures and beyond. */
#include "jobs.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/memcheck.h"
#include "base/sys.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- submit ---- */

COIL_TEST_PLAIN(process_pool_test_submit)
{
    coil_executor *pool = new_pool(2);
    coil_ret pid = call(pool, pid_of_worker, NULL, 0);
    assert_true(pid > 0 && pid != getpid());
    assert_int_equal(call(pool, add, (int[]){40, 2}, 2 * sizeof(int)), 42);
    end_pool(pool);
}

static coil_ret fail_with_words(void *arg)
{
    return coil_fail(COIL_EUSER - 5, "disk %d is full", *(int *)arg);
}

COIL_TEST_PLAIN(process_pool_test_traceback)
{
    coil_executor *pool = new_pool(1);
    assert_int_equal(CALL_WITH(pool, fail_with_words, 3), COIL_EUSER - 5);
    assert_string_equal(coil_last_error()->message, "disk 3 is full");
    /* The words of one job are not those of the next. */
    assert_int_equal(call(pool, add, (int[]){COIL_EUSER - 6, 1}, 2 * sizeof(int)), COIL_EUSER - 5);
    assert_string_equal(coil_last_error()->message, coil_strerror(COIL_EUSER - 5));
    assert_int_equal(workers_of(pool), 1);
    end_pool(pool);
}

static coil_bytes *reversed(coil_executor *pool, const void *in, size_t n, size_t room)
{
    coil_ret rc = result_of(coil_executor_submit_bytes(pool, reverse, in, n, room));
    assert_false(coil_iserr(rc));
    return (coil_bytes *)rc;
}

static coil_ret claim(void *in, size_t n, void *out, size_t room)
{
    (void)n, (void)out, (void)room;
    return *(int *)in;
}

COIL_TEST_PLAIN(process_pool_bytes_go_in_and_come_out)
{
    enum { LARGE = 3 << 20 };
    coil_executor *pool = new_pool(1);
    coil_bytes *b = reversed(pool, "stressed", 8, 100);
    assert_int_equal(b->n, 8);
    assert_memory_equal(b->data, "desserts", 8);
    coil_bytes_free(b);
    b = reversed(pool, NULL, 0, 0);
    assert_int_equal(b->n, 0);
    coil_bytes_free(b);

    char *large = malloc(LARGE);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * 31 >> 3);
    b = reversed(pool, large, LARGE, LARGE);
    assert_int_equal(b->n, LARGE);
    for (size_t i = 0; i < LARGE; i++)
        if (((char *)b->data)[i] != large[LARGE - 1 - i])
            fail_msg("byte %zu", i);
    coil_bytes_free(b);
    free(large);

    assert_int_equal(result_of(coil_executor_submit_bytes(pool, reverse, "four", 4, 3)),
                     COIL_ELIMIT);
    assert_string_equal(coil_last_error()->message, "4 bytes do not fit");
    assert_int_equal(result_of(coil_executor_submit_bytes(pool, claim, &(int){9}, sizeof(int), 8)),
                     -EMSGSIZE);
    end_pool(pool);
}

static coil_ret square(void *item)
{
    int n = *(int *)item;
    return n < 0 ? coil_fail(COIL_EUSER - 7, "%d is below zero", n) : n * n;
}

COIL_TEST_PLAIN(process_pool_test_map_chunksize)
{
    enum { N = 20 };
    int items[N];
    coil_executor *pool = new_pool(2);
    for (int i = 0; i < N; i++)
        items[i] = i;
    for (size_t chunk = 0; chunk < 2 * N; chunk += 7) {
        coil_executor_map_opts opts = {.size = sizeof opts, .chunksize = chunk};
        coil_executor_map_results it;
        coil_ret value;
        assert_int_equal(coil_executor_map(&it, pool, square, items, N, sizeof items[0], &opts), 0);
        for (int i = 0; i < N; i++) {
            assert_int_equal(coil_executor_map_next(&it, &value), 1);
            assert_int_equal(value, i * i);
        }
        assert_int_equal(coil_executor_map_next(&it, &value), 0);
    }
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_map_exception)
{
    int items[] = {2, -3, 4};
    coil_executor *pool = new_pool(2);
    coil_executor_map_opts opts = {.size = sizeof opts, .chunksize = 3};
    coil_executor_map_results it;
    coil_ret value;
    assert_int_equal(coil_executor_map(&it, pool, square, items, 3, sizeof items[0], &opts), 0);
    assert_int_equal(coil_executor_map_next(&it, &value), 1);
    assert_int_equal(coil_executor_map_next(&it, &value), COIL_EUSER - 7);
    assert_string_equal(coil_last_error()->message, "-3 is below zero");
    end_pool(pool);
}

/* ---- workers ---- */

COIL_TEST_PLAIN(process_pool_test_idle_process_reuse_one)
{
    coil_executor *pool = new_pool(4);
    assert_int_equal(workers_of(pool), 0); /* none before there is work */
    coil_ret pid = call(pool, pid_of_worker, NULL, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(call(pool, pid_of_worker, NULL, 0), pid);
    pid_t pids[2];
    assert_int_equal(coil_process_pool_pids(pool, pids, 2), 1);
    assert_int_equal(pids[0], pid);
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_saturation)
{
    enum { N = 3, JOBS = 9 };
    coil_executor *pool = new_pool(N);
    struct fifo fifos[N];
    coil_thread_future *held[N], *more[JOBS];
    int ends[N];
    for (int i = 0; i < N; i++) {
        fifos[i] = new_fifo();
        held[i] = coil_executor_submit(pool, pass_fifo, &fifos[i], sizeof fifos[i]);
    }
    for (int i = 0; i < JOBS; i++)
        more[i] = coil_executor_submit(pool, add, (int[]){i, i}, 2 * sizeof(int));
    for (int i = 0; i < N; i++)
        ends[i] = meet(&fifos[i]);
    coil_executor_stats_t stats;
    coil_executor_stats(pool, &stats);
    assert_string_equal(stats.kind, "processes");
    assert_int_equal(stats.threads, N);
    assert_int_equal(stats.threads_max, N);
    assert_int_equal(stats.idle, 0);
    assert_int_equal(stats.running, N);
    assert_int_equal(stats.queued, JOBS);
    for (int i = 0; i < N; i++)
        close(ends[i]);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(result_of(more[i]), 2 * i);
    for (int i = 0; i < N; i++) {
        assert_int_equal(result_of(held[i]), 7);
        remove_fifo(&fifos[i]);
    }
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_max_tasks_per_child)
{
    coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 1, .max_tasks_per_child = 3};
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    coil_ret pids[7];
    for (int i = 0; i < 7; i++)
        pids[i] = call(pool, pid_of_worker, NULL, 0);
    assert_true(pids[0] == pids[1] && pids[1] == pids[2]);
    assert_true(pids[2] != pids[3] && pids[3] == pids[4] && pids[4] == pids[5]);
    assert_true(pids[5] != pids[6]);
    end_pool(pool);
}

static int initialised;

static coil_ret initialise(void *arg)
{
    initialised = *(int *)arg;
    return initialised < 0 ? coil_fail(COIL_EUSER - 1, "no licence %d", initialised) : 0;
}

static coil_ret what_was_initialised(void *arg)
{
    (void)arg;
    return initialised;
}

static coil_executor *new_initialised_pool(int n)
{
    coil_process_pool_opts opts = {.size = sizeof opts,
                                   .max_workers = 1,
                                   .initializer = initialise,
                                   .initargs = &n,
                                   .initargs_n = sizeof n};
    return coil_process_pool_executor_new(&opts);
}

COIL_TEST_PLAIN(process_pool_test_initializer)
{
    coil_executor *pool = new_initialised_pool(1234);
    assert_int_equal(call(pool, what_was_initialised, NULL, 0), 1234);
    assert_int_equal(initialised, 0); /* there, not here */
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_failing_initializer)
{
    coil_executor *pool = new_initialised_pool(-4);
    coil_thread_future *two[] = {coil_executor_submit(pool, what_was_initialised, NULL, 0),
                                 coil_executor_submit(pool, what_was_initialised, NULL, 0)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(result_of(two[i]), COIL_EBROKENPOOL);
        expect_words("no licence -4");
    }
    assert_int_equal(call(pool, what_was_initialised, NULL, 0), COIL_EBROKENPOOL);
    expect_words("no licence -4");
    assert_int_equal(workers_of(pool), 0);
    end_pool(pool);
}

/* ---- what happens to workers ---- */

COIL_TEST_PLAIN(process_pool_test_killed_child)
{
    coil_executor *pool = new_pool(1);
    coil_ret before = call(pool, pid_of_worker, NULL, 0);
    coil_thread_future *dies = coil_executor_submit(pool, kill_self, NULL, 0);
    coil_thread_future *next = coil_executor_submit(pool, pid_of_worker, NULL, 0);
    assert_int_equal(result_of(dies), COIL_EBROKENPOOL);
    expect_words("was killed by signal 9 while it ran the job");
    coil_ret after = result_of(next); /* the pool goes on */
    assert_true(after > 0 && after != before);
    assert_int_equal(workers_of(pool), 1);
    end_pool(pool);
}

static coil_ret leave(void *arg)
{
    _exit(*(int *)arg);
}

static coil_ret crash(void *arg)
{
    (void)arg;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 0;
}

COIL_TEST_PLAIN(process_pool_job_that_ends_its_process_fails_by_name)
{
    coil_executor *pool = new_pool(1);
    assert_int_equal(CALL_WITH(pool, leave, 3), COIL_EBROKENPOOL);
    /* Valgrind, which sees leaks wherever a process ends, has a status of its own for that. */
    expect_words(memcheck_watches() ? "exited with status"
                                    : "exited with status 3 while it ran the job");
    assert_int_equal(call(pool, crash, NULL, 0), COIL_EBROKENPOOL);
    expect_words("was killed by signal 11");
    assert_int_equal(call(pool, add, (int[]){1, 2}, 2 * sizeof(int)), 3);
    end_pool(pool);
}

static void await_death(pid_t pid)
{
    while (kill(pid, 0) == 0)
        sched_yield();
}

/* Its child has all descriptors it had. */
static coil_ret leave_a_child_and_die(void *fifo)
{
    if (fork() == 0)
        _exit((int)pass_fifo(fifo));
    return kill_self(NULL);
}

COIL_TEST_PLAIN(process_pool_hears_of_a_death_though_a_child_of_the_worker_lives)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    assert_int_equal(call(pool, leave_a_child_and_die, &fifo, sizeof fifo), COIL_EBROKENPOOL);
    expect_words("was killed by signal 9");
    close(meet(&fifo)); /* and so does the child */
    remove_fifo(&fifo);
    end_pool(pool);
}

static coil_ret is_closed_on_exec(void *arg)
{
    (void)arg;
    return fcntl(3, F_GETFD);
}

COIL_TEST_PLAIN(process_pool_socket_is_not_for_programs_that_a_job_starts)
{
    coil_executor *pool = new_pool(1);
    assert_int_equal(call(pool, is_closed_on_exec, NULL, 0), FD_CLOEXEC);
    end_pool(pool);
}

/* An idle one that is killed has no job to lose: the next job gets another, and learns of nothing. */
COIL_TEST_PLAIN(process_pool_worker_killed_while_idle_is_replaced)
{
    coil_executor *pool = new_pool(1);
    pid_t pid = (pid_t)call(pool, pid_of_worker, NULL, 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    await_death(pid); /* so it is no zombie: the zygote reaps it without being asked */
    coil_ret after = call(pool, pid_of_worker, NULL, 0);
    assert_true(after > 0 && after != pid);
    end_pool(pool);
}

/* A worker's socket happens to be its descriptor 3. */
static coil_ret scribble(void *arg)
{
    (void)arg;
    char junk[64];
    memset(junk, 'x', sizeof junk);
    return write(3, junk, sizeof junk);
}

COIL_TEST_PLAIN(process_pool_worker_that_talks_nonsense_is_ended)
{
    coil_executor *pool = new_pool(1);
    assert_int_equal(call(pool, scribble, NULL, 0), COIL_EBROKENPOOL);
    expect_words("what is no answer");
    assert_int_equal(call(pool, add, (int[]){1, 2}, 2 * sizeof(int)), 3);
    end_pool(pool);
}

static coil_ret parent_of_worker(void *arg)
{
    (void)arg;
    return getppid();
}

COIL_TEST_PLAIN(process_pool_whose_zygote_is_killed_is_broken)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    pid_t zygote = (pid_t)call(pool, parent_of_worker, NULL, 0);
    assert_int_not_equal(zygote, getpid());
    coil_thread_future *held = coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
    int end = meet(&fifo);
    assert_int_equal(kill(zygote, SIGKILL), 0);
    assert_int_equal(result_of(held), COIL_EBROKENPOOL); /* the worker went with it */
    expect_words("the zygote of the process pool was killed");
    assert_int_equal(call(pool, pid_of_worker, NULL, 0), COIL_EBROKENPOOL);
    expect_words("the zygote of the process pool was killed");
    close(end);
    remove_fifo(&fifo);
    end_pool(pool);
}

/* ---- cancelling, ending ---- */

COIL_TEST_PLAIN(process_pool_queued_job_is_taken_out_by_a_cancel)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    coil_thread_future *held = coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
    coil_thread_future *queued = coil_executor_submit(pool, pid_of_worker, NULL, 0);
    int end = meet(&fifo);
    assert_true(coil_thread_future_cancel(queued));
    assert_false(coil_thread_future_cancel(held));
    assert_int_equal(result_of(queued), -ECANCELED);
    close(end);
    assert_int_equal(result_of(held), 7);
    remove_fifo(&fifo);
    end_pool(pool);
}

static void ends_by(int (*end)(coil_executor *pool), const char *words)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    coil_thread_future *held = coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
    coil_thread_future *queued = coil_executor_submit(pool, pid_of_worker, NULL, 0);
    int fd = meet(&fifo);
    assert_int_equal(end(pool), 0);
    assert_int_equal(result_of(queued), -ECANCELED);
    assert_int_equal(result_of(held), COIL_EBROKENPOOL);
    expect_words(words);
    assert_int_equal(call(pool, pid_of_worker, NULL, 0), COIL_ESHUTDOWN);
    close(fd);
    remove_fifo(&fifo);
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_kill_workers)
{
    ends_by(coil_process_pool_kill_workers, "killed by signal 9");
}

COIL_TEST_PLAIN(process_pool_test_terminate_workers)
{
    ends_by(coil_process_pool_terminate_workers, "killed by signal 15");
}

static coil_executor *to_be_ended;

/* Where a worker's socket is made, its pool's workers are ended. */
static int end_all_first(int domain, int type, int proto, int out[2])
{
    coil__sys = coil__sys_real;
    assert_int_equal(coil_process_pool_kill_workers(to_be_ended), 0);
    return sys_socketpair(domain, type, proto, out);
}

COIL_TEST_PLAIN(process_pool_worker_that_begins_when_all_are_ended_is_ended)
{
    struct fifo fifo = new_fifo();
    to_be_ended = new_pool(1);
    coil__sys.socketpair = end_all_first;
    assert_int_equal(call(to_be_ended, pass_fifo, &fifo, sizeof fifo), COIL_EBROKENPOOL);
    expect_words("was killed by signal 9 ");
    remove_fifo(&fifo);
    end_pool(to_be_ended);
}

COIL_TEST_PLAIN(process_pool_that_is_shut_down_keeps_no_idle_worker)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    coil_thread_future *held = coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
    int end = meet(&fifo);
    assert_int_equal(coil_executor_shutdown(pool, false, false), 0);
    assert_int_equal(workers_of(pool), 1);
    close(end);
    assert_int_equal(result_of(held), 7);
    assert_int_equal(workers_of(pool), 0); /* ended by the thread that minded it */
    remove_fifo(&fifo);
    end_pool(pool);
    pool = new_pool(1);
    assert_true(call(pool, pid_of_worker, NULL, 0) > 0);
    assert_int_equal(coil_executor_shutdown(pool, false, false), 0);
    assert_int_equal(workers_of(pool), 0); /* ended by the shutdown */
    end_pool(pool);
}

static _Atomic bool waits_to_close, has_begun;

/* The end of an idle worker takes its time, if somebody begins a worker meanwhile. */
static int slow_close(int fd)
{
    const int64_t end = coil__clock_real_ns() + 2 * NS_PER_MS;
    if (atomic_exchange(&waits_to_close, false))
        while (!atomic_load(&has_begun) && coil__clock_real_ns() < end)
            sched_yield();
    return coil__sys_real.close(fd);
}

static int begins_a_worker(int domain, int type, int proto, int out[2])
{
    int rc = coil__sys_real.socketpair(domain, type, proto, out);
    atomic_store(&has_begun, true);
    return rc;
}

/* Its worker is ended by the shutdown at the moment in which a thread comes with the last job: that one gets another,
 * though the first is not reaped. The moment is short, so that it is looked for more than once, but not for long. */
COIL_TEST_PLAIN(process_pool_that_is_shut_down_has_a_worker_for_the_last_job)
{
    const int64_t end = coil__clock_real_ns() + 2 * NS_PER_S;
    for (int i = 0; i < 200 && coil__clock_real_ns() < end; i++) {
        coil_executor *pool = new_pool(1);
        assert_true(call(pool, pid_of_worker, NULL, 0) > 0);
        atomic_store(&has_begun, false);
        coil__sys.close = slow_close;
        coil__sys.socketpair = begins_a_worker;
        coil_thread_future *last = coil_executor_submit(pool, add, (int[]){5, 6}, 2 * sizeof(int));
        coil_executor_stats_t stats;
        do
            coil_executor_stats(pool, &stats);
        while (stats.queued > 0);
        atomic_store(&waits_to_close, true);
        assert_int_equal(coil_executor_shutdown(pool, false, false), 0);
        coil_ret rc = result_of(last);
        atomic_store(&waits_to_close, false);
        coil__sys = coil__sys_real;
        assert_int_equal(rc, 11);
        end_pool(pool);
    }
}

COIL_TEST_PLAIN(process_pool_test_processes_terminate)
{
    coil_executor *pool = new_pool(2);
    pid_t worker = (pid_t)call(pool, pid_of_worker, NULL, 0);
    pid_t zygote = (pid_t)call(pool, parent_of_worker, NULL, 0);
    assert_int_equal(coil_executor_shutdown(pool, true, false), 0);
    assert_int_equal(kill(worker, 0), -1);
    assert_int_equal(kill(zygote, 0), -1);
    assert_int_equal(call(pool, pid_of_worker, NULL, 0), COIL_ESHUTDOWN);
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_shutdown_no_wait)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    coil_thread_future *held = coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
    coil_thread_future *queued = coil_executor_submit(pool, add, (int[]){5, 6}, 2 * sizeof(int));
    int end = meet(&fifo);
    assert_int_equal(coil_executor_shutdown(pool, false, false), 0);
    assert_int_equal(coil_executor_shutdown_within(pool, 0, false), -ETIMEDOUT);
    close(end);
    assert_int_equal(result_of(held), 7);
    assert_int_equal(result_of(queued), 11); /* what was queued still runs */
    remove_fifo(&fifo);
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_test_cancel_futures)
{
    coil_executor *pool = new_pool(1);
    struct fifo fifo = new_fifo();
    coil_thread_future *held = coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
    coil_thread_future *queued = coil_executor_submit(pool, pid_of_worker, NULL, 0);
    int end = meet(&fifo);
    assert_int_equal(coil_executor_shutdown(pool, false, true), 0);
    assert_int_equal(result_of(queued), -ECANCELED);
    close(end);
    assert_int_equal(result_of(held), 7);
    remove_fifo(&fifo);
    end_pool(pool);
}

/* Nobody shuts it down: the last reference does. */
COIL_TEST_PLAIN(process_pool_test_del_shutdown)
{
    coil_executor *pool = new_pool(1);
    coil_executor_unref(pool);
    expect_no_child();
    pool = new_pool(1);
    assert_int_equal(call(pool, add, (int[]){1, 1}, 2 * sizeof(int)), 2);
    coil_executor_unref(pool);
    while (waitpid(-1, NULL, WNOHANG) == 0) /* the last may have been the job's own */
        sched_yield();
    assert_int_equal(errno, ECHILD);
}

/* ---- what it refuses ---- */

COIL_TEST_PLAIN(process_pool_refuses_what_another_process_cannot_do)
{
    coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 1, .job_max = 100};
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    int local[32] = {1, 2};
    coil_fn no_function = (coil_fn)(uintptr_t)local;
    assert_int_equal(call(pool, add, local, 0), -EINVAL);
    expect_words("a pointer means nothing in another process");
    assert_int_equal(call(pool, no_function, NULL, 0), -EINVAL);
    expect_words("no function of the program");
    assert_int_equal(call(pool, add, local, 101), -EMSGSIZE);
    expect_words("job_max is 100");
    assert_int_equal(call(pool, add, local, 100), 3);
    assert_int_equal(result_of(coil_executor_submit_bytes(pool, reverse, "a", 1, 101)), -EMSGSIZE);
    coil_executor_map_results it;
    assert_int_equal(coil_executor_map(&it, pool, no_function, local, 1, sizeof(int), NULL),
                     -EINVAL);
    assert_int_equal(workers_of(pool), 1);
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_queue_holds_no_more_than_told)
{
    coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 1, .queued_max = 2};
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    struct fifo fifo = new_fifo();
    coil_thread_future *jobs[3] = {coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo)};
    for (int i = 1; i < 3; i++)
        jobs[i] = coil_executor_submit(pool, add, (int[]){i, i}, 2 * sizeof(int));
    assert_int_equal(call(pool, pid_of_worker, NULL, 0), COIL_EQUEUEFULL);
    assert_int_equal(last_code(), COIL_EQUEUEFULL);
    close(meet(&fifo));
    assert_int_equal(result_of(jobs[0]), 7);
    for (int i = 1; i < 3; i++)
        assert_int_equal(result_of(jobs[i]), 2 * i);
    remove_fifo(&fifo);
    end_pool(pool);
}

static void expect_no_pool(const coil_process_pool_opts *opts, coil_ret error)
{
    assert_null(coil_process_pool_executor_new(opts));
    assert_int_equal(last_code(), error);
}

COIL_TEST_PLAIN(process_pool_refuses_nonsense)
{
    static int data;
    coil_executor *threads = coil_thread_pool_executor_new(1, NULL);
    expect_no_pool(&(coil_process_pool_opts){.max_workers = 1025}, -EINVAL);
    expect_no_pool(&(coil_process_pool_opts){.initargs_n = 4}, -EINVAL);
    expect_no_pool(&(coil_process_pool_opts){.initargs = &data}, -EINVAL);
    expect_no_pool(&(coil_process_pool_opts){.initializer = (coil_fn)(uintptr_t)&data}, -EINVAL);
    assert_int_equal(coil_process_pool_kill_workers(NULL), -EINVAL);
    assert_int_equal(coil_process_pool_kill_workers(threads), COIL_ETYPE);
    assert_int_equal(coil_process_pool_terminate_workers(threads), COIL_ETYPE);
    assert_int_equal(coil_process_pool_pids(threads, NULL, 0), COIL_ETYPE);
    coil_executor_unref(threads);
}

static pid_t no_fork(void)
{
    return -EAGAIN;
}

static int no_pair(int domain, int type, int proto, int out[2])
{
    (void)domain, (void)type, (void)proto, (void)out;
    return -EMFILE;
}

COIL_TEST_PLAIN(process_pool_without_a_process_or_descriptor_says_so)
{
    coil__sys.fork = no_fork;
    expect_no_pool(NULL, -EAGAIN);
    coil__sys = coil__sys_real;
    coil__sys.socketpair = no_pair;
    expect_no_pool(NULL, -EMFILE);
    coil__sys = coil__sys_real;
    coil_executor *pool = new_pool(1);
    coil__sys.socketpair = no_pair;
    assert_int_equal(call(pool, pid_of_worker, NULL, 0), -EMFILE);
    expect_words("no worker process could be started");
    coil__sys = coil__sys_real;
    assert_true(call(pool, pid_of_worker, NULL, 0) > 0); /* and that was not the end of the pool */
    end_pool(pool);
}

static int no_pidfd(pid_t pid, unsigned flags)
{
    (void)pid, (void)flags;
    return -ENOSYS;
}

COIL_TEST_PLAIN(process_pool_whose_zygote_lacks_a_descriptor_says_so)
{
    struct rlimit before, few;
    struct fifo fifo[4];
    coil_thread_future *jobs[4];
    int ends[3];
    if (memcheck_watches()) {
        print_message("Valgrind has a limit of its own\n");
        skip();
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 7; /* 0, 1, 2 and its socket: room for three workers */
    coil__sys.pidfd_open = no_pidfd;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    coil_executor *pool = new_pool(5);
    coil__sys = coil__sys_real;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 3; i++) {
        fifo[i] = new_fifo();
        jobs[i] = coil_executor_submit(pool, pass_fifo, &fifo[i], sizeof fifo[i]);
        ends[i] = meet(&fifo[i]);
    }
    fifo[3] = new_fifo();
    jobs[3] = coil_executor_submit(pool, pass_fifo, &fifo[3], sizeof fifo[3]);
    assert_int_equal(result_of(jobs[3]), -EMFILE);
    for (int i = 0; i < 3; i++) {
        close(ends[i]);
        assert_int_equal(result_of(jobs[i]), 7);
    }
    for (int i = 0; i < 4; i++)
        remove_fifo(&fifo[i]);
    end_pool(pool);
}

static ssize_t recvmsg_once(int fd, struct msghdr *m, int flags)
{
    (void)fd, (void)m, (void)flags;
    coil__sys.recvmsg = coil__sys_real.recvmsg;
    return -EINTR;
}

static ssize_t recv_once(int fd, void *out, size_t n, int flags)
{
    (void)fd, (void)out, (void)n, (void)flags;
    coil__sys.recv = coil__sys_real.recv;
    return -EINTR;
}

COIL_TEST_PLAIN(process_pool_goes_on_over_interruptions)
{
    coil__sys.recvmsg = recvmsg_once; /* the zygote's first request */
    coil_executor *pool = new_pool(1);
    coil__sys = coil__sys_real;
    coil_ret pid = call(pool, pid_of_worker, NULL, 0);
    assert_true(pid > 0);
    coil__sys.recv = recv_once; /* the look at the idle worker */
    assert_int_equal(call(pool, pid_of_worker, NULL, 0), pid);
    assert_ptr_equal(coil__sys.recv, coil__sys_real.recv);
    end_pool(pool);
}

static _Atomic unsigned nervous_calls;

static bool is_interrupted(void)
{
    return nervous_calls++ % 2 == 0;
}

/* And what is not interrupted is done in part. */
static ssize_t nervous_sendmsg(int fd, const struct msghdr *m, int flags)
{
    struct iovec v = m->msg_iov[0].iov_len ? m->msg_iov[0] : m->msg_iov[1];
    struct msghdr part = *m;
    if (is_interrupted())
        return -EINTR;
    if (m->msg_control)
        return coil__sys_real.sendmsg(fd, m, flags);
    v.iov_len = (v.iov_len + 1) / 2;
    part.msg_iov = &v;
    part.msg_iovlen = 1;
    return coil__sys_real.sendmsg(fd, &part, flags);
}

static ssize_t nervous_recv(int fd, void *out, size_t n, int flags)
{
    return is_interrupted() ? -EINTR : coil__sys_real.recv(fd, out, (n + 1) / 2, flags);
}

static ssize_t nervous_recvmsg(int fd, struct msghdr *m, int flags)
{
    return is_interrupted() ? -EINTR : coil__sys_real.recvmsg(fd, m, flags);
}

static int nervous_waitid(idtype_t type, id_t id, siginfo_t *info, int flags)
{
    return is_interrupted() ? -EINTR : coil__sys_real.waitid(type, id, info, flags);
}

/* In the pool's threads, its zygote and its workers alike, which all come from here. */
COIL_TEST_PLAIN(process_pool_goes_on_where_every_other_call_is_interrupted_and_the_rest_are_short)
{
    coil__sys.sendmsg = nervous_sendmsg;
    coil__sys.recv = nervous_recv;
    coil__sys.recvmsg = nervous_recvmsg;
    coil__sys.waitid = nervous_waitid;
    coil_executor *pool = new_pool(1);
    coil_bytes *b = reversed(pool, "stressed", 8, 100);
    assert_memory_equal(b->data, "desserts", 8);
    coil_bytes_free(b);
    assert_int_equal(CALL_WITH(pool, fail_with_words, 3), COIL_EUSER - 5);
    assert_string_equal(coil_last_error()->message, "disk 3 is full");
    assert_int_equal(workers_of(pool), 1);
    end_pool(pool);
    coil__sys = coil__sys_real;
}

static void use_pool(void *arg)
{
    (void)arg;
    coil_process_pool_opts opts = {
        .size = sizeof opts, .max_workers = 1, .initargs = "x", .initargs_n = 1};
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    if (!pool) {
        assert_int_equal(last_code(), -ENOMEM);
        return;
    }
    coil_ret rc = result_of(coil_executor_submit_bytes(pool, reverse, "ab", 2, 2));
    if (coil_iserr(rc))
        assert_int_equal(rc, -ENOMEM);
    else
        coil_bytes_free((coil_bytes *)rc);
    assert_int_equal(coil_executor_shutdown(pool, true, false), 0);
    coil_executor_unref(pool);
}

static void spare_children(void)
{
    coil__mem_fail_at(0, 0);
}

COIL_TEST_PLAIN(process_pool_without_memory_loses_nothing)
{
    /* Until the zygote is the one whose allocation fails; then the pool's own, to the last. */
    assert_true(sweep_allocations(use_pool, NULL) >= 4);
    assert_int_equal(pthread_atfork(NULL, NULL, spare_children), 0);
    assert_true(sweep_allocations(use_pool, NULL) > 8);
}

COIL_TEST_MAIN()
