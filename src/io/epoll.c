/* SPDX-License-Identifier: MIT
 *
 * epoll.c: readiness on Linux.
 *
 * What the kernel knows of each descriptor:
 *   - owned: IN, RDHUP and PRI, edge-triggered, from the first EAGAIN until close; OUT, too, once there was no room: a
 *     unix socket reports room each time that its peer has read something;
 *   - raw, waited for by ops: the union of what they want, for one report (ONESHOT), renewed by each park.
 *     A leftover can thus report at most once more, whatever became of the number meanwhile;
 *   - raw, with a level op among them: until told otherwise; taken out at once when the op is cancelled.
 *
 * Always true:
 *   - each event carries the generation its watch had; one of another generation is dropped;
 *   - a raw number may mean another file after nobody waited for it: MOD answers ENOENT then, and ADD follows.
 *
 * Runs on the loop's thread. Elsewhere: which ops an event finishes (readiness.c). */
#include "base/check.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/readiness.h"

#include <limits.h>

#define EVENTS_MAX 256 /* a wait; the kernel goes round-robin over the rest */
#define WAKE_TAG   UINT64_MAX

struct epoll_backend {
    struct readiness r; /* first */
    int ep;
    bool no_pwait2; /* the kernel, or a filter, refused epoll_pwait2 */
    struct epoll_event events[EVENTS_MAX];
};

static struct epoll_backend *epoll_of(struct readiness *r)
{
    return container_of(r, struct epoll_backend, r);
}

static int control(struct epoll_backend *e, struct watch *w, int how, uint32_t events)
{
    struct epoll_event ev = {.events = events,
                             .data.u64 = (uint64_t)w->generation << 32 | (uint32_t)w->fd};
    return sys_epoll_ctl(e->ep, how, w->fd, &ev);
}

/* ADD or MOD, whichever is right for the file now behind the number. */
static int put(struct epoll_backend *e, struct watch *w, uint32_t events)
{
    int rc;
    if (w->added) {
        rc = control(e, w, EPOLL_CTL_MOD, events);
        if (rc != -ENOENT)
            goto out;
        w->generation++; /* a new file; a copy of the old one elsewhere may still report */
    }
    rc = control(e, w, EPOLL_CTL_ADD, events);
    if (rc == -EEXIST)
        rc = control(e, w, EPOLL_CTL_MOD, events);
out:
    w->added = rc == 0;
    return rc;
}

static int epoll_arm(struct readiness *r, struct watch *w, unsigned want)
{
    struct epoll_backend *e = epoll_of(r);
    if (w->owned) {
        int rc = put(e, w,
                     EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET |
                         (want & OP_OUT ? (uint32_t)EPOLLOUT : 0));
        w->armed = rc == 0 ? (uint8_t)(OP_IN | want) : 0;
        return rc;
    }
    if (want == 0) {
        if (w->armed & OP_LEVEL) {
            (void)control(e, w, EPOLL_CTL_DEL, 0);
            w->added = false;
            w->armed = 0;
        }
        return 0;
    }
    if (w->added && w->armed == want && !w->fresh)
        return 0;
    int rc = put(e, w,
                 (want & OP_IN ? EPOLLIN | EPOLLRDHUP : 0) |
                     (want & OP_OUT ? (uint32_t)EPOLLOUT : 0) |
                     (want & OP_LEVEL ? 0 : (uint32_t)EPOLLONESHOT));
    w->armed = rc == 0 ? (uint8_t)want : 0;
    return rc;
}

static void epoll_disarm(struct readiness *r, struct watch *w)
{
    if (w->added)
        (void)control(epoll_of(r), w, EPOLL_CTL_DEL, 0); /* the file may be gone already */
    w->added = false;
    w->armed = 0;
}

static const struct poller epoll_poller = {.edges = true, .arm = epoll_arm, .disarm = epoll_disarm};

static int epoll_open(struct backend **out, const struct backend_opts *opts)
{
    struct epoll_backend *e = coil__zalloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    coil__readiness_init(&e->r, &coil__backend_epoll, &epoll_poller, opts);

    int err = e->ep = sys_epoll_create1(EPOLL_CLOEXEC);
    if (err < 0)
        goto undo_alloc;
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = WAKE_TAG};
    err = sys_epoll_ctl(e->ep, EPOLL_CTL_ADD, opts->wake_fd, &ev);
    if (err < 0)
        goto undo_epoll;
    e->r.b.kernel_fd = e->ep;
    *out = &e->r.b;
    return 0;
undo_epoll:
    sys_close(e->ep);
undo_alloc:
    coil__free(e);
    return err;
}

static void epoll_close(struct backend *b)
{
    if (!b)
        return;
    struct epoll_backend *e = container_of(b, struct epoll_backend, r.b);
    coil__readiness_fini(&e->r);
    sys_close(e->ep);
    coil__free(e);
}

/* Never wakes early: where only milliseconds are to be had they are rounded up. */
static int sleep_on(struct epoll_backend *e, int64_t timeout_ns)
{
    if (timeout_ns > 0 && !e->no_pwait2) {
        int rc = sys_epoll_pwait2(e->ep, e->events, EVENTS_MAX, timeout_ns);
        if (rc != -ENOSYS && rc != -EPERM)
            return rc;
        e->no_pwait2 = true;
    }
    int64_t ms = timeout_ns < 0 ? -1 : timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
    return sys_epoll_wait(e->ep, e->events, EVENTS_MAX, ms > INT_MAX ? INT_MAX : (int)ms);
}

static void dispatch(struct readiness *r, uint64_t tag, uint32_t events)
{
    if (tag == WAKE_TAG) {
        coil__readiness_drain_wake(r);
        return;
    }
    struct watch *w = readiness_find(r, (int)(uint32_t)tag);
    if (!w || w->generation != (uint32_t)(tag >> 32))
        return; /* of a file that used to have this number */
    if (!w->owned && !(w->armed & OP_LEVEL))
        w->armed = 0; /* that was its one report */
    unsigned ready = 0;
    if (events & (EPOLLIN | EPOLLRDHUP))
        ready |= OP_IN;
    if (events & EPOLLOUT)
        ready |= OP_OUT;
    if (events & (EPOLLHUP | EPOLLERR))
        ready |= OP_IN | OP_OUT | READY_BROKEN;
    if (events & (EPOLLRDHUP | EPOLLPRI))
        ready |= OP_IN | READY_INEXACT;
    coil__readiness_event(r, w, ready);
}

/* The first op of the next event: it stands in a frame, or with a connection, that is cold by now, and the system call
 * before it hides the wait. */
static void fetch_ahead(struct readiness *r, uint64_t tag)
{
    const struct watch *w = readiness_find(r, (int)(uint32_t)tag);
    if (w)
        __builtin_prefetch(w->ops.next);
}

static int epoll_wait_ops(struct backend *b, int64_t timeout_ns)
{
    struct epoll_backend *e = container_of(b, struct epoll_backend, r.b);
    if (!coil__readiness_prepare(&e->r))
        timeout_ns = 0;
    timeout_ns = coil__readiness_nap(&e->r, timeout_ns);
    int n = sleep_on(e, timeout_ns);
    if (n < 0)
        return n == -EINTR ? 0 : n;
    for (int i = 0; i < n; i++) {
        if (i + 1 < n)
            fetch_ahead(&e->r, e->events[i + 1].data.u64);
        dispatch(&e->r, e->events[i].data.u64, e->events[i].events);
    }
    /* Without a timeout it was only a look between two batches, unless time jumps when nothing comes. */
    coil__readiness_waited(&e->r, n == 0 && (timeout_ns > 0 || b->clock->is_virtual));
    return 0;
}

static int epoll_poll_fd(struct backend *b)
{
    struct epoll_backend *e = container_of(b, struct epoll_backend, r.b);
    coil__readiness_waited(&e->r, true); /* nobody but this sleep would look at what is in doubt */
    if (!coil__readiness_prepare(&e->r)) {
        uint64_t one = 1; /* what is ready already shows as a ring of the wake fd */
        (void)sys_write(e->r.wake_fd, &one, sizeof one);
    }
    return e->ep;
}

const struct backend_class coil__backend_epoll = {
    .name = "epoll",
    .by_readiness = true,
    .open = epoll_open,
    .close = epoll_close,
    .submit = coil__readiness_submit,
    .cancel = coil__readiness_cancel,
    .wait = epoll_wait_ops,
    .poll_fd = epoll_poll_fd,
    .rearm = coil__readiness_rearm,
    .next_event_ns = coil__readiness_next_event_ns,
    .calls = READINESS_CALLS,
};
