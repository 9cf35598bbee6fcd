/* SPDX-License-Identifier: MIT
 *
 * uv_micro.c: the peer of coil_micro.c on libuv: uv_micro MODE N */
#include "wake_peer.h"

#include <uv.h>

static uv_loop_t *loop;
static long left;

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

static void call_soon(long n, long size)
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

static void on_async(uv_async_t *async)
{
    (void)async;
}

/* Something must be watched, or a turn does not look. */
static void idle(long n, long size)
{
    static uv_async_t async;
    uv_async_init(loop, &async, on_async);
    uv_run(loop, UV_RUN_NOWAIT);
    micro_start();
    for (long i = 0; i < n; i++)
        uv_run(loop, UV_RUN_NOWAIT);
    micro_stop();
}

/* ---- timers ---- */

static void timer_pair(long n, long size)
{
    uv_timer_t timer;
    uv_timer_init(loop, &timer);
    for (long i = 0; i < n; i++) {
        uv_timer_start(&timer, on_timer, 1000000, 0);
        uv_timer_stop(&timer);
    }
}

static uv_timer_t *filled(long n)
{
    uv_timer_t *timers = calloc((size_t)n, sizeof *timers);
    micro_start();
    for (long i = 0; i < n; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_timer_start(&timers[i], on_timer, 1000000 + (uint64_t)micro_scattered(i, n) / 1000, 0);
    }
    return timers;
}

static void timer_insert(long n, long size)
{
    filled(n);
}

static void timer_cancel(long n, long size)
{
    uv_timer_t *timers = filled(n);
    micro_start();
    for (long i = 0; i < n; i++)
        uv_timer_stop(&timers[i]);
}

/* Its clock counts milliseconds. */
static void timer_expire(long n, long size)
{
    uv_timer_t *timers = calloc((size_t)n, sizeof *timers);
    micro_start();
    for (long i = 0; i < n; i++) {
        uv_timer_init(loop, &timers[i]);
        uv_timer_start(&timers[i], on_timer, (uint64_t)micro_scattered(i, n) / 1000000, 0);
    }
    uv_run(loop, UV_RUN_DEFAULT);
}

/* ---- a wake-up from another thread ---- */

static uv_async_t woken;

static void on_woken(uv_async_t *async)
{
    if (--left > 0)
        wake_thread();
    else
        uv_close((uv_handle_t *)async, NULL);
}

static void wake_loop(void)
{
    uv_async_send(&woken);
}

static void wake(long n, long size)
{
    uv_async_init(loop, &woken, on_woken);
    left = n;
    wake_peer_start(n, wake_loop);
    wake_thread();
    uv_run(loop, UV_RUN_DEFAULT);
    micro_stop();
    wake_peer_end();
}

/* ---- jobs on its threads, `depth` at a time ---- */

static void nothing_to_do(uv_work_t *work)
{
    (void)work;
}

static void on_job_done(uv_work_t *work, int status)
{
    (void)status;
    if (left > 0) {
        left--;
        uv_queue_work(loop, work, nothing_to_do, on_job_done);
    }
}

static void jobs(long n, int depth)
{
    static uv_work_t works[64];
    left = n - depth;
    for (int i = 0; i < depth; i++)
        uv_queue_work(loop, &works[i], nothing_to_do, on_job_done);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void executor(long n, long size)
{
    jobs(n, 1);
}

static void executor64(long n, long size)
{
    jobs(n, 64);
}

/* ---- files ---- */

static uv_file page_file;

static void on_read(uv_fs_t *req)
{
    uv_buf_t buf = uv_buf_init(req->data, 4096);
    if (req->result != 4096)
        micro_fail("the file cannot be read");
    uv_fs_req_cleanup(req);
    if (left > 0) {
        left--;
        uv_fs_read(loop, req, page_file, &buf, 1, 0, on_read);
    }
}

/* 4 KiB that the kernel has in memory, each request into a page of its own. */
static void reads(long n, int depth)
{
    static uv_fs_t open, reqs[64];
    static char pages[64][4096];
    page_file = uv_fs_open(loop, &open, "/proc/self/exe", UV_FS_O_RDONLY, 0, NULL);
    left = n - depth;
    for (int i = 0; i < depth; i++) {
        uv_buf_t buf = uv_buf_init(pages[i], sizeof pages[i]);
        reqs[i].data = pages[i];
        uv_fs_read(loop, &reqs[i], page_file, &buf, 1, 0, on_read);
    }
    uv_run(loop, UV_RUN_DEFAULT);
}

static void file_read(long n, long size)
{
    reads(n, 1);
}

static void file_read64(long n, long size)
{
    reads(n, 64);
}

static void on_stat(uv_fs_t *req)
{
    uv_fs_req_cleanup(req);
    if (--left > 0)
        uv_fs_stat(loop, req, "/", on_stat);
}

static void file_stat(long n, long size)
{
    uv_fs_t req;
    left = n;
    uv_fs_stat(loop, &req, "/", on_stat);
    uv_run(loop, UV_RUN_DEFAULT);
}

/* ---- children ---- */

static void next_child(void);

static void on_child_closed(uv_handle_t *handle)
{
    (void)handle;
    if (--left > 0)
        next_child();
}

static void on_exit_of_child(uv_process_t *process, int64_t status, int signo)
{
    (void)status, (void)signo;
    uv_close((uv_handle_t *)process, on_child_closed);
}

static void next_child(void)
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
        micro_fail("the child cannot be started");
}

static void child(long n, long size)
{
    left = n;
    next_child();
    uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    static const struct micro_mode modes[] = {
        {"call_soon", call_soon},
        {"idle", idle},
        {"timer_pair", timer_pair},
        {"timer_insert", timer_insert},
        {"timer_cancel", timer_cancel},
        {"timer_expire", timer_expire},
        {"wake", wake},
        {"executor", executor},
        {"executor64", executor64},
        {"file_read", file_read},
        {"file_read64", file_read64},
        {"file_stat", file_stat},
        {"child", child},
        {NULL, NULL},
    };
    long n;
    if (argc < 3 || (n = atol(argv[2])) < 1)
        return 2;
    loop = uv_default_loop();
    return micro_run(modes, argv[1], n, 0);
}
