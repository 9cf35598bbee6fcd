/* SPDX-License-Identifier: MIT
 *
 * uv_micro.c: the peer of coil_micro.c on libuv: uv_micro MODE N */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

static long n, left;

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

static void on_timer(uv_timer_t *timer)
{
    (void)timer;
}

/* libuv has no call_soon; its idle handles are its cheapest callback on every pass of the loop. */
static void on_idle(uv_idle_t *idle)
{
    if (--left <= 0)
        uv_idle_stop(idle);
}

static void call_soon(uv_loop_t *loop)
{
    uv_idle_t *idles = calloc(1000, sizeof *idles);
    left = n;
    for (int i = 0; i < 1000; i++) {
        uv_idle_init(loop, &idles[i]);
        uv_idle_start(&idles[i], on_idle);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    free(idles);
}

static void timer_cancel(uv_loop_t *loop)
{
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    for (long i = 0; i < n; i++) {
        uv_timer_start(&timer, on_timer, 1000000, 0);
        uv_timer_stop(&timer);
    }
}

static void timer_expire(uv_loop_t *loop)
{
    uv_timer_t *timers = calloc((size_t)n, sizeof *timers);
    for (long i = 0; i < n; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_timer_start(&timers[i], on_timer, (uint64_t)(i * 7919 % n) / 1000000, 0);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    free(timers);
}

static uv_file page_file;
static char page[4096];

static void on_read(uv_fs_t *req)
{
    uv_buf_t buf = uv_buf_init(page, sizeof page);
    uv_loop_t *loop = req->loop;
    uv_fs_req_cleanup(req);
    if (--left > 0)
        uv_fs_read(loop, req, page_file, &buf, 1, 0, on_read);
}

static void file_read(uv_loop_t *loop)
{
    uv_fs_t req;
    uv_buf_t buf = uv_buf_init(page, sizeof page);
    page_file = uv_fs_open(loop, &req, "/proc/self/exe", UV_FS_O_RDONLY, 0, NULL);
    left = n;
    uv_fs_read(loop, &req, page_file, &buf, 1, 0, on_read);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void on_stat(uv_fs_t *req)
{
    uv_loop_t *loop = req->loop;
    uv_fs_req_cleanup(req);
    if (--left > 0)
        uv_fs_stat(loop, req, "/", on_stat);
}

static void file_read64(uv_loop_t *loop)
{
    static uv_fs_t open, reqs[64];
    uv_buf_t buf = uv_buf_init(page, sizeof page);
    page_file = uv_fs_open(loop, &open, "/proc/self/exe", UV_FS_O_RDONLY, 0, NULL);
    left = n;
    for (int i = 0; i < 64; i++)
        uv_fs_read(loop, &reqs[i], page_file, &buf, 1, 0, on_read);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void file_stat(uv_loop_t *loop)
{
    uv_fs_t req;
    left = n;
    uv_fs_stat(loop, &req, "/", on_stat);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void next_child(uv_loop_t *loop);

static void on_child_closed(uv_handle_t *handle)
{
    if (--left > 0)
        next_child(handle->loop);
}

static void on_exit_of_child(uv_process_t *process, int64_t status, int signo)
{
    (void)status, (void)signo;
    uv_close((uv_handle_t *)process, on_child_closed);
}

static void next_child(uv_loop_t *loop)
{
    static uv_process_t process;
    char *args[] = {(char[]){"/bin/true"}, NULL};
    uv_stdio_container_t stdio[3] = {{.flags = UV_INHERIT_FD, .data.fd = 0},
                                     {.flags = UV_INHERIT_FD, .data.fd = 1},
                                     {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t options = {.file = args[0],
                                    .args = args,
                                    .exit_cb = on_exit_of_child,
                                    .stdio = stdio,
                                    .stdio_count = 3};
    if (uv_spawn(loop, &process, &options) != 0)
        exit(1);
}

static void child(uv_loop_t *loop)
{
    left = n;
    next_child(loop);
    uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    if (argc != 3 || (n = atol(argv[2])) < 1000)
        return 2;
    double before = cpu_s();
    if (strcmp(argv[1], "call_soon") == 0)
        call_soon(loop);
    else if (strcmp(argv[1], "timer_cancel") == 0)
        timer_cancel(loop);
    else if (strcmp(argv[1], "timer_expire") == 0)
        timer_expire(loop);
    else if (strcmp(argv[1], "file_read") == 0)
        file_read(loop);
    else if (strcmp(argv[1], "file_read64") == 0)
        file_read64(loop);
    else if (strcmp(argv[1], "file_stat") == 0)
        file_stat(loop);
    else if (strcmp(argv[1], "child") == 0)
        child(loop);
    else
        return 2;
    printf("%.2f\n", (cpu_s() - before) / (double)n * 1e9);
    return 0;
}
