/* SPDX-License-Identifier: MIT
 *
 * poll.c: readiness anywhere, by poll(2).
 *
 * The array given to the kernel is kept in step with the watches: place 0 is the wake fd, every other
 * place belongs to the watch whose `slot` names it. A watch nobody waits on has no place, so what
 * happens to its descriptor cannot wake us. There are no edges: owned descriptors are treated like raw ones.
 *
 * Runs on the loop's thread. Elsewhere: which ops an event finishes (readiness.c). */
#include "base/check.h"
#include "base/mem.h"
#include "base/sys.h"
#include "io/readiness.h"

struct poll_backend {
    struct readiness r; /* first */
    struct pollfd *fds;
    uint32_t fds_n, fds_room;
};

static struct poll_backend *poll_of(struct readiness *r)
{
    return container_of(r, struct poll_backend, r);
}

static void poll_disarm(struct readiness *r, struct watch *w)
{
    struct poll_backend *p = poll_of(r);
    if (w->slot == 0)
        return;
    /* The last one moves into the hole. */
    struct pollfd last = p->fds[--p->fds_n];
    if (w->slot != p->fds_n) {
        p->fds[w->slot] = last;
        readiness_find(r, last.fd)->slot = w->slot;
    }
    w->slot = 0;
}

static int poll_arm(struct readiness *r, struct watch *w, unsigned want)
{
    struct poll_backend *p = poll_of(r);
    if (want == 0) {
        poll_disarm(r, w);
        return 0;
    }
    if (w->slot == 0) {
        if (p->fds_n == p->fds_room) {
            uint32_t room = p->fds_room * 2;
            struct pollfd *fds = coil__realloc(p->fds, room * sizeof *fds);
            if (!fds)
                return -ENOMEM;
            p->fds = fds;
            p->fds_room = room;
        }
        w->slot = p->fds_n++;
        p->fds[w->slot].fd = w->fd;
    }
    p->fds[w->slot].events = (short)((want & OP_IN ? POLLIN | POLLRDHUP : 0) |
                                     (want & OP_OUT ? POLLOUT : 0));
    p->fds[w->slot].revents = 0;
    return 0;
}

static const struct poller poll_poller = {.arm = poll_arm, .disarm = poll_disarm};

static int poll_open(struct backend **out, const struct backend_opts *opts)
{
    struct poll_backend *p = coil__zalloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    coil__readiness_init(&p->r, &coil__backend_poll, &poll_poller, opts);

    int err = -ENOMEM;
    p->fds_room = 16;
    p->fds = coil__alloc(p->fds_room * sizeof *p->fds);
    if (!p->fds)
        goto undo_alloc;
    p->fds[0] = (struct pollfd){.fd = opts->wake_fd, .events = POLLIN};
    p->fds_n = 1;
    *out = &p->r.b;
    return 0;
undo_alloc:
    coil__free(p);
    return err;
}

static void poll_close(struct backend *b)
{
    if (!b)
        return;
    struct poll_backend *p = container_of(b, struct poll_backend, r.b);
    coil__readiness_fini(&p->r);
    coil__free(p->fds);
    coil__free(p);
}

static void dispatch(struct readiness *r, int fd, short events)
{
    struct watch *w = readiness_find(r, fd);
    unsigned ready = 0;
    if (events & POLLNVAL) {
        coil__readiness_fail(r, w, -EBADF); /* closed while ops waited on it */
        coil__readiness_event(r, w, 0);
        return;
    }
    if (events & (POLLIN | POLLRDHUP))
        ready |= OP_IN;
    if (events & POLLOUT)
        ready |= OP_OUT;
    if (events & (POLLHUP | POLLERR))
        ready |= OP_IN | OP_OUT | READY_BROKEN;
    coil__readiness_event(r, w, ready);
}

static int poll_wait(struct backend *b, int64_t timeout_ns)
{
    struct poll_backend *p = container_of(b, struct poll_backend, r.b);
    if (!coil__readiness_prepare(&p->r))
        timeout_ns = 0;
    struct timespec ts = {.tv_sec = (time_t)(timeout_ns / NS_PER_S),
                          .tv_nsec = (long)(timeout_ns % NS_PER_S)};
    int n = sys_ppoll(p->fds, p->fds_n, timeout_ns < 0 ? NULL : &ts, NULL);
    if (n < 0)
        return n == -EINTR ? 0 : n;
    if (n > 0 && p->fds[0].revents) {
        coil__readiness_drain_wake(&p->r);
        n--;
    }
    /* Serving only marks watches; the array changes at the next prepare. */
    for (uint32_t i = 1; i < p->fds_n && n > 0; i++) {
        if (p->fds[i].revents) {
            dispatch(&p->r, p->fds[i].fd, p->fds[i].revents);
            n--;
        }
    }
    return 0;
}

static int poll_poll_fd(struct backend *b)
{
    return -ENOTSUP; /* there is nothing in the kernel to poll */
}

const struct backend_class coil__backend_poll = {
    .name = "poll",
    .by_readiness = true,
    .open = poll_open,
    .close = poll_close,
    .submit = coil__readiness_submit,
    .cancel = coil__readiness_cancel,
    .wait = poll_wait,
    .poll_fd = poll_poll_fd,
    .rearm = coil__readiness_rearm,
    .next_event_ns = coil__readiness_next_event_ns,
    .calls = READINESS_CALLS,
};
