/* SPDX-License-Identifier: MIT
 *
 * waiters.c: the fair, cancellable queue under everything else here.
 *
 * waiters.h has the picture. Runs on the loop's thread. Elsewhere: what is waited for and who is woken
 * when (lock.c, event.c, ...), how a task is parked and cancelled (task/task.c). */
#include "sync/waiters.h"

#include "base/thread.h"

#include <stdio.h>

static struct waiter *next_of(const struct waiter *w)
{
    return container_of(w->link.next, struct waiter, link);
}

/* The pending one is not pending any more: find the next. */
static void advance(struct waiters *line)
{
    struct waiter *w = line->pending;
    do {
        w = next_of(w);
        if (w == line->first) {
            line->pending = NULL;
            return;
        }
    } while (w->state != WAITER_PENDING);
    line->pending = w;
}

/* The one place where a waiter changes its state. */
static void settle(struct waiter *w, enum waiter_state state)
{
    COIL_DCHECK(w->state == WAITER_PENDING && state != WAITER_PENDING);
    w->state = state;
    if (state == WAITER_CANCELLED)
        w->line->cancelled_n++;
    if (w->line->pending == w)
        advance(w->line);
}

static void enter(struct waiters *line, struct waiter *w)
{
    list_init(&w->link);
    if (line->first)
        list_push(&line->first->link, &w->link);
    else
        line->first = w;
    if (!line->pending)
        line->pending = w;
    line->n++;
}

static void leave(struct waiters *line, struct waiter *w)
{
    if (line->pending == w)
        advance(line);
    if (line->first == w)
        line->first = list_linked(&w->link) ? next_of(w) : NULL;
    list_remove(&w->link);
    line->n--;
    if (w->state == WAITER_CANCELLED)
        line->cancelled_n--;
}

bool coil__waiter_cancel(struct wait *wait, const char *message)
{
    struct waiter *w = container_of(wait, struct waiter, wait);
    settle(w, WAITER_CANCELLED);
    return coil__wait_cancel_plain(wait, message);
}

int coil__waiters_bind(struct waiters *line, const char *what)
{
    coil_loop *loop = coil__running_loop;
    if (!line->loop)
        line->loop = loop;
    if (line->loop != loop)
        return (int)coil__fail(COIL_EWRONGLOOP, "this %s is bound to a different event loop", what);
    return 0;
}

coil_ret coil__waiters_wait(struct waiters *line, struct waiter *w, const struct wait_class *cls)
{
    int err = coil__waiters_bind(line, cls->what);
    if (err < 0)
        return err;
    *w = (struct waiter){.wait = WAIT_INIT(cls), .line = line, .state = WAITER_PENDING};
    enter(line, w);
    coil_ret rc = coil__park(&w->wait);
    leave(line, w);
    return rc;
}

bool coil__waiters_wake(struct waiters *line)
{
    struct waiter *w = line->pending;
    if (!w || line->loop->closing)
        return false;
    settle(w, WAITER_GRANTED);
    coil__wake(&w->wait, 0);
    return true;
}

int coil__waiters_check_thread(const struct waiters *line)
{
    if (coil_likely(!line->pending) || coil_likely(!line->loop->debug))
        return 0;
    if (line->loop->thread == coil__thread_self())
        return 0;
    return (int)coil__fail(COIL_EWRONGTHREAD,
                           "a task of another thread's loop waits here: use call_soon_threadsafe");
}

unsigned coil__waiters_pending_n(const struct waiters *line)
{
    unsigned n = 0;
    if (!line->pending)
        return n;
    const struct waiter *w = line->pending;
    do {
        n += w->state == WAITER_PENDING;
        w = next_of(w);
    } while (w != line->first);
    return n;
}

int coil__waiters_repr(const struct waiters *line, const char *kind, const char *state, char *out,
                       size_t n)
{
    if (!line->n)
        return snprintf(out, n, "%s [%s]", kind, state);
    return snprintf(out, n, "%s [%s, waiters:%u]", kind, state, line->n);
}
