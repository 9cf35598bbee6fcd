/* SPDX-License-Identifier: MIT
 *
 * jobs.h: jobs for process pools, and a job that stays until the test lets it go. */
#ifndef TEST_PROC_JOBS_H
#define TEST_PROC_JOBS_H

#include "test.h"

#include <coil.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static inline coil_ret pid_of_worker(void *arg)
{
    (void)arg;
    return getpid();
}

static inline coil_ret add(void *arg)
{
    const int *n = arg;
    return n[0] + n[1];
}

static inline coil_ret reverse(void *in, size_t n, void *out, size_t room)
{
    if (n > room)
        return coil_fail(COIL_ELIMIT, "%zu bytes do not fit", n);
    for (size_t i = 0; i < n; i++)
        ((char *)out)[i] = ((char *)in)[n - 1 - i];
    return (coil_ret)n;
}

static inline coil_ret kill_self(void *arg)
{
    (void)arg;
    kill(getpid(), SIGKILL);
    return 0;
}

/* ---- a job that stays: it opens a fifo, and goes on when who opened the other end has closed it ---- */

struct fifo {
    char path[64];
};

static inline struct fifo new_fifo(void)
{
    struct fifo fifo = {"/tmp/coil-pool-XXXXXX"};
    assert_non_null(mkdtemp(fifo.path));
    strcat(fifo.path, "/fifo");
    assert_int_equal(mkfifo(fifo.path, 0600), 0);
    return fifo;
}

static inline void remove_fifo(struct fifo *fifo)
{
    unlink(fifo->path);
    *strrchr(fifo->path, '/') = 0;
    rmdir(fifo->path);
}

static inline coil_ret pass_fifo(void *arg)
{
    char c;
    int fd = open(((struct fifo *)arg)->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    coil_ret rc = read(fd, &c, 1) == 0 ? 7 : -EIO;
    close(fd);
    return rc;
}

/* Returns once a job is in it; closing what it returns lets the job out. */
static inline int meet(const struct fifo *fifo)
{
    int fd = open(fifo->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* ---- the pool of a test ---- */

/* Where children have it, too: Valgrind looks there for leaks, and not on their parent's stack. */
static coil_executor *newest_pool;

static inline coil_executor *new_pool(unsigned workers)
{
    coil_process_pool_opts opts = {.size = sizeof opts, .max_workers = workers};
    coil_executor *pool = coil_process_pool_executor_new(&opts);
    if (!pool)
        fail_msg("%s", coil_last_error()->message);
    return newest_pool = pool;
}

/* This process has no child, not even a zombie. */
static inline void expect_no_child(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static inline void end_pool(coil_executor *pool)
{
    assert_int_equal(coil_executor_shutdown(pool, true, false), 0);
    coil_executor_unref(pool);
    expect_no_child();
}

static inline coil_ret result_of(coil_thread_future *f)
{
    coil_ret rc = coil_thread_future_result(f, COIL_FOREVER);
    coil_thread_future_unref(f);
    return rc;
}

static inline coil_ret call(coil_executor *pool, coil_fn fn, const void *args, size_t n)
{
    return result_of(coil_executor_submit(pool, fn, args, n));
}

#define CALL_WITH(pool, fn, value) call((pool), (fn), &(int){value}, sizeof(int))

static inline void expect_words(const char *words)
{
    if (!strstr(coil_last_error()->message, words))
        fail_msg("\"%s\" is not in \"%s\"", words, coil_last_error()->message);
}

static inline size_t workers_of(coil_executor *pool)
{
    return (size_t)coil_process_pool_pids(pool, NULL, 0);
}

#endif
