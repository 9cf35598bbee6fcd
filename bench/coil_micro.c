/* SPDX-License-Identifier: MIT
 *
 * coil_micro.c: what one operation of the loop costs: coil_micro MODE N
 *
 * Prints nanoseconds of CPU for each operation. bench.py runs it beside its peers and compares. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static long n;

/* Our own, and that of children that were waited for. */
static double cpu_s(void)
{
    struct timespec ts;
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9 + (double)children.ru_utime.tv_sec +
           (double)children.ru_stime.tv_sec + (double)children.ru_utime.tv_usec * 1e-6 +
           (double)children.ru_stime.tv_usec * 1e-6;
}

static coil_ret nothing(void *arg)
{
    return (coil_ret)arg;
}

static void ignore(void *arg)
{
    (void)arg;
}

static coil_ret yielder(void *arg)
{
    for (long i = (long)(intptr_t)arg; i > 0; i--)
        coil_ignore(coil_sleep(0));
    return 0;
}

static void yields(long tasks_n)
{
    coil_task *tasks[1000];
    for (long i = 0; i < tasks_n; i++)
        tasks[i] = coil_create_task(yielder, (void *)(intptr_t)(n / tasks_n));
    coil_ignore(coil_gather(tasks, (size_t)tasks_n, NULL, COIL_UNREF));
}

static void switch2(void)
{
    yields(2);
}

static void switch1000(void)
{
    yields(1000);
}

static void spawn(void)
{
    for (long i = 0; i < n; i++)
        coil_ignore(coil_join(coil_create_task(nothing, NULL)));
}

static void spawn_batch(void)
{
    coil_task *tasks[1000];
    for (long i = 0; i < n; i += 1000) {
        for (int k = 0; k < 1000; k++)
            tasks[k] = coil_create_task(nothing, NULL);
        for (int k = 0; k < 1000; k++)
            coil_ignore(coil_join(tasks[k]));
    }
}

static void call_soon(void)
{
    for (long i = 0; i < n; i += 1000) {
        for (int k = 0; k < 1000; k++)
            coil_loop_call_soon(NULL, ignore, NULL, NULL);
        coil_ignore(coil_sleep(0));
    }
}

static void timer_cancel(void)
{
    for (long i = 0; i < n; i++) {
        coil_handle *handle;
        coil_loop_call_later(NULL, 1000, ignore, NULL, &handle);
        coil_handle_cancel(handle);
        coil_handle_unref(handle);
    }
}

static void timer_expire(void)
{
    for (long i = 0; i < n; i++)
        coil_loop_call_later(NULL, (double)(i * 7919 % n) * 1e-9, ignore, NULL, NULL);
    coil_ignore(coil_sleep((double)n * 1e-9));
}

/* 4 KiB that the kernel has in memory: this program's own first page. */
static void file_read(void)
{
    static char page[4096];
    coil_file *file;
    if (coil_file_open("/proc/self/exe", O_RDONLY, 0, &file) < 0)
        return;
    for (long i = 0; i < n; i++)
        coil_ignore(coil_file_pread(file, page, sizeof page, 0));
    coil_ignore(coil_file_close(file));
}

/* Depth 64: as many tasks, each with a page of its own. */
static coil_ret read_pages(void *file)
{
    char page[4096];
    for (long i = 0; i < n / 64; i++)
        coil_ignore(coil_file_pread(file, page, sizeof page, 0));
    return 0;
}

static void file_read64(void)
{
    coil_task *tasks[64];
    coil_file *file;
    if (coil_file_open("/proc/self/exe", O_RDONLY, 0, &file) < 0)
        return;
    for (int i = 0; i < 64; i++)
        tasks[i] = coil_create_task(read_pages, file);
    coil_ignore(coil_gather(tasks, 64, NULL, COIL_UNREF));
    coil_ignore(coil_file_close(file));
}

static void file_stat(void)
{
    struct stat st;
    for (long i = 0; i < n; i++)
        coil_ignore(coil_stat("/", &st));
}

static void child(void)
{
    const char *const argv[] = {"/bin/true", NULL};
    for (long i = 0; i < n; i++) {
        coil_process *process;
        if (coil_create_subprocess_exec(argv, NULL, &process) < 0)
            exit(1);
        coil_ignore(coil_process_wait(process, NULL));
        coil_process_unref(process);
    }
}

/* The same with pipes for all three. */
static void child_pipes(void)
{
    const char *const argv[] = {"/bin/true", NULL};
    const coil_subprocess_opts opts = {
        .size = sizeof opts, .in = COIL_PIPE, .out = COIL_PIPE, .err = COIL_PIPE};
    for (long i = 0; i < n; i++) {
        coil_process *process;
        if (coil_create_subprocess_exec(argv, &opts, &process) < 0)
            exit(1);
        coil_ignore(coil_process_communicate(process, NULL, 0, NULL));
        coil_process_unref(process);
    }
}

static coil_ret nothing_to_do(void *arg)
{
    return (coil_ret)arg;
}

static void thread_job(void)
{
    for (long i = 0; i < n; i++)
        coil_ignore(coil_to_thread(nothing_to_do, NULL));
}

/* Its worker's time is counted, too: that of a child once it has been waited for. */
static void process_job(void)
{
    coil_executor *pool = coil_process_pool_executor_new(NULL);
    for (long i = 0; pool && i < n; i++)
        coil_ignore(coil_join(coil_loop_run_in_executor(NULL, pool, nothing_to_do, NULL, 0)));
    coil_executor_shutdown(pool, true, false);
    coil_executor_unref(pool);
}

static const struct {
    const char *name;
    void (*fn)(void);
} modes[] = {{"switch2", switch2},
             {"switch1000", switch1000},
             {"spawn", spawn},
             {"spawn_batch", spawn_batch},
             {"call_soon", call_soon},
             {"timer_cancel", timer_cancel},
             {"timer_expire", timer_expire},
             {"file_read", file_read},
             {"file_read64", file_read64},
             {"file_stat", file_stat},
             {"child", child},
             {"child_pipes", child_pipes},
             {"thread_job", thread_job},
             {"process_job", process_job}};

static coil_ret main_task(void *arg)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(modes[i].name, arg) != 0)
            continue;
        double before = cpu_s();
        modes[i].fn();
        printf("%.2f\n", (cpu_s() - before) / (double)n * 1e9);
        return 0;
    }
    return coil_fail(-EINVAL, "no such mode: %s", (char *)arg);
}

int main(int argc, char **argv)
{
    if (argc != 3 || (n = atol(argv[2])) < 1000) {
        fprintf(stderr, "usage: coil_micro MODE N\n");
        return 2;
    }
    return coil_report(coil_run(main_task, argv[1]));
}
