/* SPDX-License-Identifier: MIT
 *
 * event.c: Event: a flag, and those who wait for it.
 *
 * Always true: who was woken by a set returns 0 even if the flag was cleared before it runs.
 *
 * Runs on the loop's thread. Elsewhere: the line (waiters.c). */
#include "sync/waiters.h"

#include <coil/sync.h>
#include <stdio.h>

struct event {
    struct waiters waiters;
    bool set;
};
_Static_assert(sizeof(struct event) <= sizeof(coil_event), "coil_event is too small");
_Static_assert(_Alignof(struct event) <= _Alignof(coil_event), "coil_event is not aligned");

static const struct wait_class event_wait = {
    .what = "event",
    .cancel = coil__waiter_cancel,
    .shows = SHOWS_OBJECT,
    .at = offsetof(struct waiter, line),
    .then = -(int)offsetof(struct event, waiters),
};

COIL_ASYNC coil_ret coil_event_wait(coil_event *public)
{
    struct event *event = (struct event *)public;
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (event->set)
        return 0;
    struct waiter w;
    return coil__waiters_wait(&event->waiters, &w, &event_wait);
}

int coil_event_set(coil_event *public)
{
    struct event *event = (struct event *)public;
    int err = coil__waiters_check_thread(&event->waiters);
    if (err < 0)
        return err;
    event->set = true;
    while (coil__waiters_wake(&event->waiters)) {}
    return 0;
}

void coil_event_clear(coil_event *event)
{
    ((struct event *)event)->set = false;
}

bool coil_event_is_set(const coil_event *event)
{
    return ((const struct event *)event)->set;
}

int coil_event_repr(const coil_event *public, char *out, size_t n)
{
    const struct event *event = (const struct event *)public;
    return coil__waiters_repr(&event->waiters, "event", event->set ? "set" : "unset", out, n);
}
