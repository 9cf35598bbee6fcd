/* SPDX-License-Identifier: MIT
 *
 * test_pool_world.c: what zygotes and workers have of their parent, and how pools go with loops. */
#include "jobs.h"
#include "leave.h"

#include "base/sys.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- what a worker has of its parent ---- */

/* The open descriptors of a process, as a bit each; those far up are a tool's that we run under. */
static coil_ret descriptors_in(const char *path, bool own)
{
    coil_ret bits = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        int fd = e->d_name[0] != '.' ? atoi(e->d_name) : 1000;
        if (fd < 1000 && !(own && fd == dirfd(dir)))
            bits |= (coil_ret)1 << (fd < 62 ? fd : 62);
    }
    if (dir)
        closedir(dir);
    return bits;
}

static coil_ret descriptors(void *arg)
{
    (void)arg;
    return descriptors_in("/proc/self/fd", true);
}

/* The same of the zygote; it must be one of us to look. */
static coil_ret descriptors_of_zygote(void *arg)
{
    char path[32];
    (void)arg;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)getppid());
    return descriptors_in(path, false);
}

static bool before_5_3(void)
{
    int fd = sys_pidfd_open(getpid(), 0);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

COIL_TEST_PLAIN(process_pool_takes_no_descriptor_along)
{
    int before[2], after[2];
    assert_int_equal(pipe(before), 0); /* not even close-on-exec */
    int high = dup2(before[0], 50);
    coil_executor *other = new_pool(1), *pool = new_pool(1);
    assert_int_equal(pipe(after), 0);
    assert_int_equal(call(pool, descriptors, NULL, 0), 15); /* 0, 1, 2 and its socket */
    /* The zygote has the pidfd of its parent, where there are such, and its worker's socket. */
    assert_int_equal(call(pool, descriptors_of_zygote, NULL, 0), before_5_3() ? 31 : 63);
    /* So the end of a pipe is an end, whatever pools there are. */
    char c;
    close(before[1]);
    close(after[1]);
    assert_int_equal(read(before[0], &c, 1), 0);
    assert_int_equal(read(after[0], &c, 1), 0);
    close(before[0]);
    close(after[0]);
    close(high);
    coil_executor_unref(other);
    end_pool(pool);
}

static int no_close_range(unsigned first, unsigned last, unsigned flags)
{
    (void)first, (void)last, (void)flags;
    return -ENOSYS;
}

static int no_pidfd(pid_t pid, unsigned flags)
{
    (void)pid, (void)flags;
    return -ENOSYS;
}

COIL_TEST_PLAIN(process_pool_works_and_ends_without_pidfds)
{
    coil__sys.pidfd_open = no_pidfd;
    coil_executor *pool = new_pool(2);
    coil__sys = coil__sys_real;
    for (int i = 0; i < 3; i++) {
        assert_true(call(pool, pid_of_worker, NULL, 0) > 0);
        assert_int_equal(call(pool, kill_self, NULL, 0), COIL_EBROKENPOOL);
        expect_words("was killed by signal 9");
    }
    end_pool(pool);
}

COIL_TEST_PLAIN(process_pool_takes_no_descriptor_along_on_older_kernels)
{
    int ends[2], high;
    assert_int_equal(pipe(ends), 0);
    assert_true((high = dup2(ends[0], 50)) == 50);
    coil__sys.close_range = no_close_range; /* in the children as well */
    coil_executor *pool = new_pool(1);
    coil_ret bits = call(pool, descriptors, NULL, 0);
    coil__sys = coil__sys_real;
    assert_int_equal(bits, 15);
    close(ends[0]);
    close(ends[1]);
    close(high);
    end_pool(pool);
}

static coil_ret standard_input(void *arg)
{
    char c;
    (void)arg;
    return read(0, &c, 1);
}

COIL_TEST_PLAIN(process_pool_worker_reads_nothing_from_its_parents_input)
{
    int ends[2], saved = dup(0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "secret", 6), 6);
    dup2(ends[0], 0);
    coil_executor *pool = new_pool(1);
    assert_int_equal(call(pool, standard_input, NULL, 0), 0);
    end_pool(pool);
    dup2(saved, 0);
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

static coil_ret command(void *arg)
{
    return system(arg);
}

COIL_TEST_PLAIN(process_pool_of_a_program_without_input_gives_its_programs_one)
{
    int saved = fcntl(0, F_DUPFD_CLOEXEC, 20);
    close(0);
    coil_executor *pool = new_pool(1);
    dup2(saved, 0);
    close(saved);
    static const char look[] = "[ /proc/self/fd/0 -ef /dev/null ]";
    assert_int_equal(call(pool, command, look, sizeof look), 0);
    end_pool(pool);
}

static coil_ret print(void *arg)
{
    return printf("%s", (const char *)arg) > 0 ? 0 : -EIO; /* no newline: it stays in a buffer */
}

/* Each once: what the parent had not written yet is the parent's to write. */
COIL_TEST_PLAIN(process_pool_workers_write_to_their_parents_output)
{
    char text[64] = "";
    int ends[2];
    fflush(stdout);
    int saved = dup(1);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    dup2(ends[1], 1);
    printf("parent;");
    coil_executor *pool = new_pool(1);
    coil_ret rc = call(pool, print, "worker;", 8);
    if (rc == 0)
        rc = call(pool, print, "again;", 7);
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    close(ends[1]);
    assert_int_equal(rc, 0);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], text + n, sizeof text - 1 - n)) > 0;) {
        n += (size_t)got;
        if (n >= 20)
            break; /* the worker still has the other end */
    }
    assert_string_equal(text, "worker;again;parent;");
    close(ends[0]);
    end_pool(pool);
}

static void never(int signo)
{
    (void)signo;
    _exit(99);
}

/* 1: default, 2: ignored, 3: a handler; 4 more if it is blocked. */
static coil_ret signal_state(void *arg)
{
    int signo = *(int *)arg;
    struct sigaction now;
    sigset_t blocked;
    sigaction(signo, NULL, &now);
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    int state = now.sa_handler == SIG_DFL ? 1 : now.sa_handler == SIG_IGN ? 2 : 3;
    return state + (sigismember(&blocked, signo) ? 4 : 0);
}

COIL_TEST_PLAIN(process_pool_workers_have_no_handler_of_their_parent)
{
    struct sigaction handler = {.sa_handler = never}, ignore = {.sa_handler = SIG_IGN}, usr1, usr2,
                     pipe_before;
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigaction(SIGUSR1, &handler, &usr1);
    sigaction(SIGUSR2, &handler, &usr2);
    sigaction(SIGPIPE, &ignore, &pipe_before);
    sigprocmask(SIG_BLOCK, &block, &before);
    coil_executor *pool = new_pool(1);
    assert_int_equal(CALL_WITH(pool, signal_state, SIGUSR1), 1);
    assert_int_equal(CALL_WITH(pool, signal_state, SIGUSR2), 1);
    assert_int_equal(CALL_WITH(pool, signal_state, SIGPIPE), 2);
    assert_int_equal(CALL_WITH(pool, signal_state, SIGTERM), 1);
    assert_int_equal(CALL_WITH(pool, signal_state, SIGCHLD), 1);
    assert_int_equal(CALL_WITH(pool, signal_state, SIGINT), 2); /* Ctrl-C is the parent's to see */
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    assert_true(sigismember(&now, SIGUSR1)); /* the parent's own are as they were */
    assert_false(sigismember(&now, SIGUSR2));
    sigprocmask(SIG_SETMASK, &before, NULL);
    sigaction(SIGUSR1, &usr1, NULL);
    sigaction(SIGUSR2, &usr2, NULL);
    sigaction(SIGPIPE, &pipe_before, NULL);
    end_pool(pool);
}

static int after_creation = 1;

static coil_ret what_it_saw(void *arg)
{
    (void)arg;
    return after_creation;
}

/* Also a worker that is forked later is the program as it was when the pool was made. */
COIL_TEST_PLAIN(process_pool_workers_are_the_program_of_its_making)
{
    coil_executor *pool = new_pool(1);
    after_creation = 2;
    assert_int_equal(call(pool, what_it_saw, NULL, 0), 1);
    assert_int_equal(call(pool, kill_self, NULL, 0), COIL_EBROKENPOOL);
    assert_int_equal(call(pool, what_it_saw, NULL, 0), 1);
    after_creation = 1;
    end_pool(pool);
}

/* A parent that is killed takes along a worker that is busy, though another child of it holds copies of its
 * descriptors. */
COIL_TEST_PLAIN(process_pool_dies_with_its_parent)
{
    if (before_5_3()) {
        print_message(
            "no pidfds here: the zygote waits for the end of its socket, which a copy holds\n");
        skip();
    }
    struct fifo fifo = new_fifo(), child_fifo = new_fifo();
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 1};
        coil_executor *pool = coil_process_pool_executor_new(&opts);
        (void)coil_executor_submit(pool, pass_fifo, &fifo, sizeof fifo);
        pid_t copy = fork();
        if (copy == 0)
            leave_child((int)pass_fifo(&child_fifo));
        for (;;)
            pause();
    }
    int end = meet(&fifo), child_end = meet(&child_fifo); /* all of them are there */
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    struct pollfd gone = {.fd = end};
    assert_int_equal(poll(&gone, 1, 10000), 1); /* the worker's end is closed: it is no more */
    assert_true(gone.revents & POLLERR);
    close(end);
    close(child_end);
    remove_fifo(&fifo);
    remove_fifo(&child_fifo);
}

static coil_ret use_inherited(coil_executor *pool)
{
    coil_thread_future *f = coil_executor_submit(pool, pid_of_worker, NULL, 0);
    coil_ret rc = coil_thread_future_result(f, 0);
    coil_thread_future_unref(f);
    bool refused = rc == COIL_EWRONGTHREAD &&
                   coil_process_pool_kill_workers(pool) == COIL_EWRONGTHREAD &&
                   coil_executor_shutdown(pool, true, true) == 0;
    coil_executor_unref(pool);
    return refused ? 0 : 1;
}

COIL_TEST_PLAIN(process_pool_of_a_parent_is_refused_to_its_child)
{
    coil_executor *pool = new_pool(1);
    assert_true(call(pool, pid_of_worker, NULL, 0) > 0);
    int status;
    pid_t child = fork();
    if (child == 0)
        leave_child((int)use_inherited(pool));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(call(pool, pid_of_worker, NULL, 0) > 0); /* no harm was done */
    end_pool(pool);
}

/* A copy of the parent has a copy of the zygote's socket, which is no reason to wait for it. */
COIL_TEST_PLAIN(process_pool_ends_though_a_copy_of_its_parent_lives)
{
    struct fifo fifo = new_fifo();
    coil_executor *pool = new_pool(1);
    assert_true(call(pool, pid_of_worker, NULL, 0) > 0);
    pid_t copy = fork();
    assert_true(copy >= 0);
    if (copy == 0)
        leave_child((int)pass_fifo(&fifo));
    int end = meet(&fifo), status;
    assert_int_equal(coil_executor_shutdown(pool, true, false), 0);
    coil_executor_unref(pool);
    close(end);
    assert_int_equal(waitpid(copy, &status, 0), copy);
    assert_int_equal(WEXITSTATUS(status), 7);
    expect_no_child();
    remove_fifo(&fifo);
}

/* ---- with loops ---- */

COIL_TEST(process_pool_in_a_task)
{
    char out[8];
    coil_executor *pool = new_pool(2); /* forked from the stack of a task */
    assert_int_equal(coil_to_executor(pool, reverse, "live", 4, out, sizeof out), 4);
    assert_memory_equal(out, "evil", 4);
    int n[] = {20, 3};
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, add, n, sizeof n)), 23);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, add, n, 0)), -EINVAL);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, kill_self, NULL, 0)),
                     COIL_EBROKENPOOL);
    expect_words("was killed by signal 9");
    assert_int_equal(coil_loop_set_default_executor(NULL, pool), COIL_ETYPE);
    end_pool(pool);
}

static coil_executor *shared;
static _Atomic int ended;

static coil_ret ask_for_sum(void *arg)
{
    int n[] = {(int)(intptr_t)arg, 1};
    coil_ret rc = coil_join(coil_loop_run_in_executor(NULL, shared, add, n, sizeof n));
    ended++;
    return rc;
}

COIL_TEST(process_pool_serves_many_tasks)
{
    enum { N = 200 };
    shared = new_pool(3);
    coil_task *tasks[N];
    ended = 0;
    for (intptr_t i = 0; i < N; i++)
        tasks[i] = coil_create_task(ask_for_sum, (void *)i);
    for (int i = 0; i < N; i++)
        assert_int_equal(coil_join(tasks[i]), i + 1);
    assert_int_equal(ended, N);
    assert_in_range(workers_of(shared), 1, 3);
    end_pool(shared);
}

static struct fifo the_fifo;

static coil_ret stay(void *arg)
{
    (void)arg;
    return coil_join(
        coil_loop_run_in_executor(NULL, shared, pass_fifo, &the_fifo, sizeof the_fifo));
}

COIL_TEST(process_pool_job_that_runs_is_abandoned_by_a_cancel)
{
    shared = new_pool(1);
    the_fifo = new_fifo();
    coil_task *t = coil_create_task(stay, NULL), *queued = coil_create_task(stay, NULL);
    assert_int_equal(coil_sleep(0), 0);
    int end = meet(&the_fifo);
    coil_task_cancel(t, NULL);
    coil_task_cancel(queued, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_int_equal(coil_join(queued), -ECANCELED);
    coil_executor_stats_t stats;
    coil_executor_stats(shared, &stats);
    assert_int_equal(stats.queued, 0);  /* taken out */
    assert_int_equal(stats.running, 1); /* runs on */
    assert_int_equal(coil_process_pool_kill_workers(shared), 0);
    assert_int_equal(coil_executor_shutdown(shared, true, false), 0); /* ended */
    close(end);
    remove_fifo(&the_fifo);
    end_pool(shared);
}

/* Real time passes in a worker, and none on a virtual clock: a timeout waits for the job. */
COIL_TEST(process_pool_job_holds_virtual_time)
{
    shared = new_pool(1);
    int n[] = {1, 2};
    double before = coil_loop_time(NULL);
    coil_future *f = coil_loop_run_in_executor(NULL, shared, add, n, sizeof n);
    assert_int_equal(coil_wait_for(f, 3600), 3);
    assert_true(coil_loop_time(NULL) - before < 3600);
    coil_unref(f);
    end_pool(shared);
}

static coil_loop *parents_loop;

static void no_callback(void *arg)
{
    (void)arg;
}

/* 0, or the number of what went otherwise. */
static coil_ret try_loops(void *arg)
{
    (void)arg;
    if (coil_get_running_loop() || coil_current_task())
        return 1;
    if (coil_sleep(0) != COIL_ENOTASK)
        return 2;
    if (coil_loop_call_soon(parents_loop, no_callback, NULL, NULL) != COIL_EWRONGTHREAD)
        return 3;
    if (coil_loop_call_soon_threadsafe(parents_loop, no_callback, NULL, NULL) != COIL_EWRONGTHREAD)
        return 4;
    if (coil_loop_run_forever(parents_loop) != COIL_EWRONGTHREAD)
        return 5;
    return 0;
}

static coil_ret nap(void *arg)
{
    coil_ret rc = coil_sleep(0.001);
    return rc ? rc : (coil_ret)arg;
}

static coil_ret run_own_loop(void *arg)
{
    (void)arg;
    return coil_run(nap, (void *)77);
}

COIL_TEST(process_pool_job_has_no_loop_but_may_run_one)
{
    parents_loop = coil_get_running_loop();
    coil_executor *pool = new_pool(1);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, try_loops, NULL, 0)), 0);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, run_own_loop, NULL, 0)), 77);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, try_loops, NULL, 0)), 0);
    end_pool(pool);
}

/* More than a task's stack has. */
__attribute__((noinline)) static coil_ret deep(volatile char *above, int more)
{
    volatile char here[65536];
    here[0] = here[sizeof here - 1] = above ? above[0] : 1;
    return more ? deep(here, more - 1) : here[sizeof here - 1];
}

static coil_ret use_much_stack(void *arg)
{
    (void)arg;
    return deep(NULL, 64); /* 4 MiB */
}

COIL_TEST(process_pool_worker_has_the_stack_of_a_thread)
{
    coil_executor *pool = new_pool(1);
    assert_int_equal(coil_join(coil_loop_run_in_executor(NULL, pool, use_much_stack, NULL, 0)), 1);
    end_pool(pool);
}

static coil_ret overflows(void *arg)
{
    (void)arg;
    return deep(NULL, 1 << 20);
}

static coil_ret overflow_in_own_loop(void *arg)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    return coil_run(overflows, arg);
}

static coil_ret make_pool(void *arg)
{
    *(coil_executor **)arg = new_pool(1);
    return 0;
}

/* The report belongs to the run of the worker, whatever its parent was in the middle of. */
COIL_TEST_PLAIN(process_pool_job_that_overflows_the_stack_of_a_task_says_so)
{
    char said[4096] = "";
    int ends[2], saved = dup(2);
    coil_executor *pool;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    dup2(ends[1], 2);
    coil_ret made = coil_run(make_pool, &pool);
    dup2(saved, 2);
    close(saved);
    close(ends[1]);
    assert_int_equal(made, 0);
    assert_int_equal(call(pool, overflow_in_own_loop, NULL, 0), COIL_EBROKENPOOL);
    end_pool(pool);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    close(ends[0]);
    assert_non_null(strstr(said, "stack overflow"));
}

/* ---- many hands ---- */

enum { THREADS = 4, ROUNDS = 25 };

static void *submit_in_thread(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        int n[] = {i, (int)(intptr_t)arg};
        coil_ret rc = i % 5 == 4 ? call(shared, kill_self, NULL, 0)
                                 : call(shared, add, n, sizeof n);
        if (rc != (i % 5 == 4 ? COIL_EBROKENPOOL : n[0] + n[1]))
            return arg ? arg : shared;
    }
    return NULL;
}

COIL_TEST_PLAIN(process_pool_used_by_threads_while_workers_die)
{
    pthread_t threads[THREADS];
    coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = 2, .max_tasks_per_child = 4};
    shared = coil_process_pool_executor_new(&opts);
    for (intptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_in_thread, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    end_pool(shared);
}

COIL_TEST_MAIN()
