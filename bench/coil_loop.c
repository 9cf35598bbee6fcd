/* SPDX-License-Identifier: MIT
 *
 * coil_loop.c: callbacks, timers, empty turns and wake-ups from other threads; modes of coil_micro.c. */
#include "coil_micro.h"
#include "wake_peer.h"

#include <coil.h>

static void ignore(void *arg)
{
    (void)arg;
}

static void call_soon(long n, long size)
{
    for (long i = 0; i < n; i += 1000) {
        for (int k = 0; k < 1000; k++)
            coil_loop_call_soon(NULL, ignore, NULL, NULL);
        coil_ignore(coil_sleep(0));
    }
}

static void grow_soon(long n, long size)
{
    for (long i = 0; i < n; i += size) {
        for (long k = 0; k < size; k++)
            coil_loop_call_soon(NULL, ignore, NULL, NULL);
        coil_ignore(coil_sleep(0));
    }
}

/* ---- turns with nothing to do: what a host that embeds a loop pays for looking ---- */

static void idle(long n, long size)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_loop_iterate(loop);
    micro_start();
    for (long i = 0; i < n; i++)
        coil_loop_iterate(loop);
    micro_stop();
    coil_loop_free(loop);
}

/* ---- timers ---- */

static void timer_pair(long n, long size)
{
    for (long i = 0; i < n; i++) {
        coil_handle *handle;
        coil_loop_call_later(NULL, 1000, ignore, NULL, &handle);
        coil_handle_cancel(handle);
        coil_handle_unref(handle);
    }
}

/* All of n at once; measured is putting them in, or taking them out again. */
static void fill_and_empty(long n, bool measure_filling)
{
    coil_handle **handles = calloc((size_t)n, sizeof(coil_handle *));
    micro_start();
    for (long i = 0; i < n; i++)
        coil_loop_call_later(NULL, 1000 + (double)micro_scattered(i, n) * 1e-6, ignore, NULL,
                             &handles[i]);
    if (measure_filling)
        micro_stop();
    else
        micro_start();
    for (long i = 0; i < n; i++) {
        coil_handle_cancel(handles[i]);
        coil_handle_unref(handles[i]);
    }
    micro_stop();
    free(handles);
}

static void timer_insert(long n, long size)
{
    fill_and_empty(n, true);
}

static void timer_cancel(long n, long size)
{
    fill_and_empty(n, false);
}

static void expire(long n)
{
    for (long i = 0; i < n; i++)
        coil_loop_call_later(NULL, (double)micro_scattered(i, n) * 1e-9, ignore, NULL, NULL);
    coil_ignore(coil_sleep((double)n * 1e-9));
}

static void timer_expire(long n, long size)
{
    expire(n);
}

static void grow_timers(long n, long size)
{
    expire(size);
    micro_start();
    for (long i = 0; i < n; i += size)
        expire(size);
}

/* ---- a wake-up from another thread ---- */

static coil_loop *main_loop;
static coil_future *over;
static long left;

static void woken(void *arg)
{
    if (--left > 0)
        wake_thread();
    else
        coil_future_set_result(over, 0);
}

static void wake_loop(void)
{
    coil_loop_call_soon_threadsafe(main_loop, woken, NULL, NULL);
}

static void wake(long n, long size)
{
    main_loop = coil_get_running_loop();
    over = coil_loop_create_future(NULL);
    left = n;
    wake_peer_start(n, wake_loop);
    wake_thread();
    coil_ignore(coil_join(over));
    micro_stop();
    wake_peer_end();
}

const struct micro_mode coil_loop_modes[] = {
    {"call_soon", call_soon},
    {"grow_soon", grow_soon},
    {"timer_pair", timer_pair},
    {"timer_insert", timer_insert},
    {"timer_cancel", timer_cancel},
    {"timer_expire", timer_expire},
    {"grow_timers", grow_timers},
    {"wake", wake},
    {NULL, NULL},
};

const struct micro_mode coil_host_modes[] = {{"idle", idle}, {NULL, NULL}};
