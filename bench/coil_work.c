/* SPDX-License-Identifier: MIT
 *
 * coil_work.c: what the kernel, threads and other programs do for a task: files, jobs, children; modes of coil_micro.c. */
#include "coil_micro.h"

#include <coil.h>

/* 4 KiB that the kernel has in memory: this program's own first page. */
static void file_read(long n, long size)
{
    static char page[4096];
    coil_file *file;
    if (coil_file_open("/proc/self/exe", O_RDONLY, 0, &file) < 0)
        micro_fail("the file cannot be opened");
    for (long i = 0; i < n; i++)
        if (coil_file_pread(file, page, sizeof page, 0) != sizeof page)
            micro_fail("the file cannot be read");
    coil_ignore(coil_file_close(file));
}

static long each; /* of 64 tasks */

/* Depth 64: as many tasks, each with a page of its own. */
static coil_ret read_pages(void *file)
{
    char page[4096];
    for (long i = 0; i < each; i++)
        if (coil_file_pread(file, page, sizeof page, 0) != sizeof page)
            micro_fail("the file cannot be read");
    return 0;
}

static void file_read64(long n, long size)
{
    coil_task *tasks[64];
    coil_file *file;
    if (coil_file_open("/proc/self/exe", O_RDONLY, 0, &file) < 0)
        micro_fail("the file cannot be opened");
    each = n / 64;
    for (int i = 0; i < 64; i++)
        tasks[i] = coil_create_task(read_pages, file);
    coil_ignore(coil_gather(tasks, 64, NULL, COIL_UNREF));
    coil_ignore(coil_file_close(file));
}

static void file_stat(long n, long size)
{
    struct stat st;
    for (long i = 0; i < n; i++)
        if (coil_stat("/", &st) != 0)
            micro_fail("stat fails");
}

static void child(long n, long size)
{
    const char *const argv[] = {"/bin/true", NULL};
    for (long i = 0; i < n; i++) {
        coil_process *process;
        if (coil_create_subprocess_exec(argv, NULL, &process) < 0)
            micro_fail("the child cannot be started");
        coil_ignore(coil_process_wait(process, NULL));
        coil_process_unref(process);
    }
}

/* The same with pipes for all three. */
static void child_pipes(long n, long size)
{
    const char *const argv[] = {"/bin/true", NULL};
    const coil_subprocess_opts opts = {
        .size = sizeof opts, .in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE};
    for (long i = 0; i < n; i++) {
        coil_process *process;
        if (coil_create_subprocess_exec(argv, &opts, &process) < 0)
            micro_fail("the child cannot be started");
        coil_ignore(coil_process_communicate(process, NULL, 0, NULL));
        coil_process_unref(process);
    }
}

static coil_ret nothing_to_do(void *arg)
{
    return (coil_ret)arg;
}

static void thread_job(long n, long size)
{
    for (long i = 0; i < n; i++)
        if (coil_to_thread(nothing_to_do, NULL) != 0)
            micro_fail("the job failed");
}

/* ---- run_in_executor, one job at a time and 64 ---- */

static coil_ret run_jobs(void *arg)
{
    for (long i = 0; i < each; i++)
        if (coil_join(coil_loop_run_in_executor(NULL, NULL, nothing_to_do, NULL, 0)) != 0)
            micro_fail("the job failed");
    return 0;
}

static void executor(long n, long size)
{
    each = n;
    coil_ignore(run_jobs(NULL));
}

static void executor64(long n, long size)
{
    coil_task *tasks[64];
    each = n / 64;
    for (int i = 0; i < 64; i++)
        tasks[i] = coil_create_task(run_jobs, NULL);
    coil_ignore(coil_gather(tasks, 64, NULL, COIL_UNREF));
}

/* Its worker's time is counted, too: that of a child once it has been waited for. */
static void process_job(long n, long size)
{
    coil_executor *pool = coil_process_pool_executor_new(NULL);
    for (long i = 0; pool && i < n; i++)
        if (coil_join(coil_loop_run_in_executor(NULL, pool, nothing_to_do, NULL, 0)) != 0)
            micro_fail("the job failed");
    coil_executor_shutdown(pool, true, false);
    coil_executor_unref(pool);
}

const struct micro_mode coil_work_modes[] = {
    {"file_read", file_read},     {"file_read64", file_read64},
    {"file_stat", file_stat},     {"child", child},
    {"child_pipes", child_pipes}, {"thread_job", thread_job},
    {"executor", executor},       {"executor64", executor64},
    {"process_job", process_job}, {NULL, NULL},
};
