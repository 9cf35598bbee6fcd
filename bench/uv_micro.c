/* SPDX-License-Identifier: MIT
 *
 * uv_micro.c: the peer of coil_micro.c on libuv: uv_micro MODE N */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

static long n, left;

static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
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
    else
        return 2;
    printf("%.2f\n", (cpu_s() - before) / (double)n * 1e9);
    return 0;
}
