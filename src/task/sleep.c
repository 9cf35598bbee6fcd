/* SPDX-License-Identifier: MIT
 *
 * sleep.c: waiting for a time, as asyncio does it: the timer queues a callback, the callback queues
 * the task. One turn more than needed, and then events come in asyncio's order.
 *
 * Runs on the loop's thread. */
#include "task/task.h"

#include <stdio.h>

struct sleep_wait {
    struct wait w;
    struct timer timer;
    uint64_t position; /* in the ring, once fired */
    bool fired;
    int64_t when_ns;
};

static void sleep_over(void *arg)
{
    struct sleep_wait *sw = arg;
    if (!sw->w.woken)
        coil__wake(&sw->w, 0);
}

static void sleep_due(struct timer *timer)
{
    struct sleep_wait *sw = container_of(timer, struct sleep_wait, timer);
    coil_loop *loop = sw->w.task->loop;
    loop_push(loop, sleep_over, sw, NULL);
    sw->position = loop_last_position(loop);
    sw->fired = true;
}

static int describe_sleep(const struct wait *w, char *out, size_t n)
{
    const struct sleep_wait *sw = (const struct sleep_wait *)w;
    return snprintf(out, n, "until %.6f", clock_to_seconds(sw->when_ns));
}

static const struct wait_class sleep_class = {.what = "sleep",
                                              .cancel = coil__wait_cancel_plain,
                                              .describe = describe_sleep,
                                              .shows = SHOWS_WHEN,
                                              .at = offsetof(struct sleep_wait, when_ns)};

/* Apart, so that sleep(0), which is only a yield, does not set up this frame. */
__attribute__((noinline)) static coil_ret sleep_for(double delay)
{
    int err = coil__can_wait();
    if (err)
        return err;
    coil_loop *loop = coil__running_loop;
    struct sleep_wait sw = {.w = WAIT_INIT(&sleep_class)};
    timer_init(&sw.timer, sleep_due);
    err = coil__deadline_after(loop, delay, &sw.when_ns);
    if (err)
        return err;
    err = coil__timer_start(loop, &sw.timer, sw.when_ns);
    if (err)
        return coil__fail_plain(err);
    coil_ret rc = coil__park(&sw.w);
    /* Cancelled: the timer may be armed still, or its slot queued behind our step. */
    coil__timer_stop(loop, &sw.timer);
    if (sw.fired)
        coil__loop_unpush(loop, sw.position);
    return rc;
}

coil_ret coil_sleep(double delay)
{
    return delay <= 0 ? coil__yield() : sleep_for(delay);
}
