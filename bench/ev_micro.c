/* SPDX-License-Identifier: MIT
 *
 * ev_micro.c: the peer of coil_micro.c on libev: ev_micro MODE N */
#include "wake_peer.h"

#include <ev.h>

static struct ev_loop *loop;
static long left;

/* ---- call_soon: libev's idle watchers, its cheapest callback on every turn ---- */

static void on_idle(EV_P_ ev_idle *idle, int events)
{
    (void)events;
    if (--left <= 0)
        ev_idle_stop(EV_A_ idle);
}

static void call_soon(long n, long size)
{
    ev_idle *idles = calloc(1000, sizeof *idles);
    left = n;
    for (int i = 0; i < 1000; i++) {
        ev_idle_init(&idles[i], on_idle);
        ev_idle_start(loop, &idles[i]);
    }
    ev_run(loop, 0);
    free(idles);
}

static void on_async(EV_P_ ev_async *async, int events)
{
    (void)loop, (void)async, (void)events;
}

/* Something must be watched, or a turn does not look. */
static void idle(long n, long size)
{
    ev_async async;
    ev_async_init(&async, on_async);
    ev_async_start(loop, &async);
    for (long i = 0; i < n; i++)
        ev_run(loop, EVRUN_NOWAIT);
    ev_async_stop(loop, &async);
}

/* ---- timers ---- */

static void on_timer(EV_P_ ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
}

static void timer_pair(long n, long size)
{
    ev_timer timer;
    for (long i = 0; i < n; i++) {
        ev_timer_init(&timer, on_timer, 1000, 0);
        ev_timer_start(loop, &timer);
        ev_timer_stop(loop, &timer);
    }
}

static ev_timer *filled(long n)
{
    ev_timer *timers = calloc((size_t)n, sizeof *timers);
    micro_start();
    for (long i = 0; i < n; i++) {
        ev_timer_init(&timers[i], on_timer, 1000 + (double)micro_scattered(i, n) * 1e-6, 0);
        ev_timer_start(loop, &timers[i]);
    }
    return timers;
}

static void timer_insert(long n, long size)
{
    free(filled(n));
}

static void timer_cancel(long n, long size)
{
    ev_timer *timers = filled(n);
    micro_start();
    for (long i = 0; i < n; i++)
        ev_timer_stop(loop, &timers[i]);
    micro_stop();
    free(timers);
}

static void timer_expire(long n, long size)
{
    ev_timer *timers = calloc((size_t)n, sizeof *timers);
    micro_start();
    for (long i = 0; i < n; i++) {
        ev_timer_init(&timers[i], on_timer, (double)micro_scattered(i, n) * 1e-9, 0);
        ev_timer_start(loop, &timers[i]);
    }
    ev_run(loop, 0);
    micro_stop();
    free(timers);
}

/* ---- a wake-up from another thread ---- */

static ev_async woken;

static void on_woken(EV_P_ ev_async *async, int events)
{
    (void)events;
    if (--left > 0)
        wake_thread();
    else
        ev_async_stop(EV_A_ async);
}

static void wake_loop(void)
{
    ev_async_send(loop, &woken);
}

static void wake(long n, long size)
{
    ev_async_init(&woken, on_woken);
    ev_async_start(loop, &woken);
    left = n;
    wake_peer_start(n, wake_loop);
    wake_thread();
    ev_run(loop, 0);
    micro_stop();
    wake_peer_end();
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
        {NULL, NULL},
    };
    long n;
    if (argc < 3 || (n = atol(argv[2])) < 1)
        return 2;
    loop = ev_default_loop(0);
    return micro_run(modes, argv[1], n, 0);
}
