/* SPDX-License-Identifier: MIT
 *
 * readiness.c: turns "this descriptor is ready" into "this op is done", for epoll, poll and io_uring.
 *
 *     submit --> [ watch: ops in order ] --ready, and the call succeeds--> b->finished --> reap
 *                       ^         |
 *                       +-EAGAIN--+
 *
 * Two kinds of descriptors, two ways to wait:
 *   - raw: the kernel is told the union of what the ops want, before each sleep if it changed or if one
 *     more came (the number may have been closed and reused meanwhile: `fresh`). With no op nothing
 *     is watched, or at most one more report can come, so a hang-up cannot make the loop spin.
 *   - owned, where edges come: registered once, both directions, at the first EAGAIN. From then on
 *     every change brings an edge, so `blocked` (EAGAIN seen, no edge since) may be trusted:
 *
 *         EAGAIN --> blocked --edge, in wait()--> not blocked --submit--> tried before the next sleep
 *
 *     An edge that comes between the EAGAIN and the submit clears the flag, and the submit sees that;
 *     one that has not been reaped yet is still in the kernel's queue and ends the next sleep.
 *
 * Always true:
 *   - an op is in exactly one of: its watch's list, the list of finished ones, nobody's;
 *   - an owned watch with an op whose direction is not blocked is in `touched`;
 *   - one wait finishes at most BATCH ops of one descriptor; the rest is served in the next;
 *   - the table grows only for descriptors that are open, so the process's limit bounds it.
 *
 * Runs on the loop's thread; calls nobody back. Elsewhere: the calls themselves (direct.c), telling the
 * kernel (epoll.c, poll.c). */
#include "io/readiness.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/sys.h"

#include <coil/error.h>
#include <netinet/in.h>

#define BATCH       16
#define DOUBT_WAITS 64      /* so many waits with events, and a watch in doubt is looked at */
#define DOUBT_NS    1000000 /* or when nothing came for so long */
#define BOTH        ((unsigned)(OP_IN | OP_OUT))

static struct readiness *readiness_of(struct backend *b)
{
    return container_of(b, struct readiness, b);
}

void coil__readiness_init(struct readiness *r, const struct backend_class *cls,
                          const struct poller *poller, const struct backend_opts *opts)
{
    *r = (struct readiness){.b = {.cls = cls, .clock = opts->clock, .kernel_fd = -1},
                            .poller = poller,
                            .wake_fd = opts->wake_fd};
    list_init(&r->b.finished);
    list_init(&r->touched);
    list_init(&r->doubts);
    r->finished = &r->b.finished;
}

void coil__readiness_redirect(struct backend *b, struct list *finished)
{
    readiness_of(b)->finished = finished;
}

void coil__readiness_fini(struct readiness *r)
{
    COIL_CHECK(r->b.pending == 0);
    for (size_t i = 0; i < r->pages_n; i++)
        coil__free(r->pages[i].memory);
    coil__free(r->pages);
}

/* ---- the table ---- */

static int make_page(struct readiness *r, size_t page)
{
    if (page >= r->pages_n) {
        size_t n = r->pages_n ? r->pages_n : 4;
        while (n <= page)
            n *= 2;
        struct watch_page *pages = coil__realloc(r->pages, n * sizeof *pages);
        if (!pages)
            return -ENOMEM;
        for (size_t i = r->pages_n; i < n; i++)
            pages[i] = (struct watch_page){NULL, NULL};
        r->pages = pages;
        r->pages_n = n;
    }
    void *memory = coil__zalloc(WATCHES_PER_PAGE * sizeof(struct watch) + _Alignof(struct watch));
    if (!memory)
        return -ENOMEM;
    size_t past = (uintptr_t)memory % _Alignof(struct watch);
    struct watch *w = (struct watch *)(void *)((char *)memory + _Alignof(struct watch) - past);
    for (size_t i = 0; i < WATCHES_PER_PAGE; i++) {
        list_init(&w[i].ops);
        list_init(&w[i].touched);
        list_init(&w[i].doubt);
        w[i].fd = (int)(page * WATCHES_PER_PAGE + i);
    }
    r->pages[page] = (struct watch_page){w, memory};
    return 0;
}

/* Only open descriptors may make the table grow. */
__attribute__((noinline)) static int make_watch(struct readiness *r, int fd)
{
    int rc = sys_fcntl(fd, F_GETFD, 0);
    return rc < 0 ? rc : make_page(r, (size_t)fd / WATCHES_PER_PAGE);
}

/* The watch of a number is there, made if need be. */
static inline int need_watch(struct readiness *r, int fd)
{
    return coil_likely(readiness_find(r, fd) != NULL) ? 0 : make_watch(r, fd);
}

static void touch(struct readiness *r, struct watch *w)
{
    if (!list_linked(&w->touched))
        list_push(&r->touched, &w->touched);
}

/* Keeps backend.fds exact; after each change of what it depends on. */
void coil__readiness_count(struct readiness *r, struct watch *w)
{
    bool counts = w->ops_n > 0 || (w->on_edges && w->armed);
    if (counts && !w->counted)
        r->b.fds++;
    else if (!counts && w->counted)
        r->b.fds--;
    w->counted = counts;
}

static void more(struct readiness *r, struct watch *w)
{
    r->b.pending++;
    r->b.real_pending++;
    w->ops_n++;
    if (!w->counted)
        coil__readiness_count(r, w);
}

static void fewer(struct readiness *r, struct watch *w)
{
    COIL_DCHECK(w->ops_n > 0 && r->b.pending > 0);
    r->b.pending--;
    r->b.real_pending--;
    w->ops_n--;
    if (w->ops_n == 0 && !(w->on_edges && w->armed))
        coil__readiness_count(r, w);
}

/* ---- an op ends ---- */

/* The op is not in a watch's list. */
static void finished(struct readiness *r, struct op *op, int64_t result)
{
    op->result = result;
    op->state = OP_FINISHED;
    list_push(r->finished, &op->link);
}

static void finish(struct readiness *r, struct watch *w, struct op *op, int64_t result)
{
    list_remove(&op->link);
    finished(r, op, result);
    if (!op_continues(op))
        fewer(r, w);
}

void coil__readiness_fail(struct readiness *r, struct watch *w, int err)
{
    LIST_FOREACH(l, &w->ops)
        finish(r, w, container_of(l, struct op, link), err);
    if (w->ops_n == 0)
        return;
    /* What is left are level ops that fired and were not reaped. */
    LIST_FOREACH(l, r->finished) {
        struct op *op = container_of(l, struct op, link);
        if (op->fd == w->fd && op_continues(op)) {
            op->result = err;
            fewer(r, w);
        }
    }
    COIL_CHECK(w->ops_n == 0);
}

/* ---- trying ---- */

static int arm_owned(struct readiness *r, struct watch *w, unsigned directions)
{
    int rc = r->poller->arm(r, w, directions);
    coil__readiness_count(r, w);
    return rc;
}

/* EAGAIN was seen: from now on wait for the edge, which only an armed descriptor gets. One that is armed late
 * remembers nothing until an op waits. */
static int remember_eagain(struct readiness *r, struct watch *w, unsigned direction)
{
    if (direction & ~(unsigned)w->armed) {
        if (r->poller->late)
            return 0;
        int rc = arm_owned(r, w, w->armed | direction);
        if (rc < 0)
            return rc;
    }
    w->blocked |= (uint8_t)direction;
    return 0;
}

static bool is_unix_stream(const struct watch *w)
{
    int domain = 0, type = 0;
    socklen_t n = sizeof domain;
    return sys_getsockopt(w->fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_UNIX &&
           sys_getsockopt(w->fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

/* A recv got less than it asked for: is there nothing behind it? */
__attribute__((noinline)) static enum exact short_means_empty(struct watch *w)
{
    int proto = 0;
    socklen_t n = sizeof proto;
    int rc = sys_getsockopt(w->fd, SOL_SOCKET, SO_PROTOCOL, &proto, &n);
    w->exact = rc == 0 && proto == IPPROTO_TCP ? EXACT_YES
               : is_unix_stream(w)             ? EXACT_LIKELY
                                               : EXACT_NO;
    return w->exact;
}

static inline void after_short_recv(struct readiness *r, struct watch *w)
{
    enum exact exact = w->exact == EXACT_UNKNOWN ? short_means_empty(w) : (enum exact)w->exact;
    if (exact == EXACT_NO)
        return;
    w->blocked |= OP_IN;
    if (exact == EXACT_LIKELY) {
        w->doubt_since = r->waits;
        if (!w->in_doubt) {
            w->in_doubt = true;
            list_push(&r->doubts, &w->doubt);
        }
    }
}

/* The next try asks the kernel; if an op waits, that is before the next sleep. */
static void end_doubt(struct readiness *r, struct watch *w)
{
    list_remove(&w->doubt);
    w->in_doubt = false;
    w->blocked &= (uint8_t)~OP_IN;
    if (w->ops_n > 0)
        touch(r, w);
}

int64_t coil__readiness_nap(const struct readiness *r, int64_t timeout_ns)
{
    bool longer = timeout_ns < 0 || timeout_ns > DOUBT_NS;
    return longer && !list_empty(&r->doubts) ? DOUBT_NS : timeout_ns;
}

void coil__readiness_waited(struct readiness *r, bool idle)
{
    r->waits++;
    if (coil_likely(list_empty(&r->doubts)))
        return;
    if (idle) {
        while (!list_empty(&r->doubts))
            end_doubt(r, container_of(list_first(&r->doubts), struct watch, doubt));
        (void)coil__readiness_prepare(
            r); /* whoever asked what came must be told of these as well */
        return;
    }
    /* One a wait, in a circle: those that are busy dispel the doubt by themselves. */
    struct watch *w = container_of(list_first(&r->doubts), struct watch, doubt);
    if (r->waits - w->doubt_since >= DOUBT_WAITS) {
        end_doubt(r, w);
    } else {
        list_remove(&w->doubt);
        list_push(&r->doubts, &w->doubt);
    }
}

static void forget(struct readiness *r, struct watch *w, int err);

static inline ssize_t try_recv(struct readiness *r, struct watch *w, void *p, size_t n, int flags)
{
    if (r->poller->recv && w->owned)
        return r->poller->recv(r, w, p, n, flags);
    ssize_t got = direct_recv(w->fd, p, n, flags);
    if (got > 0 && (size_t)got < n && flags == 0 && (w->armed & OP_IN) && w->exact != EXACT_NO &&
        w->on_edges)
        after_short_recv(r, w);
    return got;
}

/* The kernel has just made this descriptor. Whatever was waiting on its number waited for a file that was
 * closed behind our back. */
int coil__readiness_born(struct readiness *r, int fd)
{
    struct watch *w = readiness_find(r, fd);
    if (w && (w->ops_n > 0 || w->owned))
        forget(r, w, -EBADF);
    return fd;
}

/* Does what was received stand here, and not with the kernel? */
static bool handed_over(struct readiness *r, struct watch *w)
{
    return r->poller->holds && w->owned && (w->in == IN_RECV || r->poller->holds(w));
}

static ssize_t try_recvmsg(struct readiness *r, struct watch *w, struct msghdr *hdr, int flags)
{
    if (!handed_over(r, w))
        return coil__direct_recvmsg(w->fd, hdr, flags);
    ssize_t total = 0;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen; i++) {
        const struct iovec *v = &hdr->msg_iov[i];
        ssize_t got = try_recv(r, w, v->iov_base, v->iov_len, flags);
        if (got < 0) {
            COIL_DCHECK(total == 0); /* what follows stands here */
            return got;
        }
        total += got;
        /* What follows may be an error, which is told once; and a second peek would see the same again. */
        if ((size_t)got < v->iov_len || !w->held || (flags & MSG_PEEK))
            break;
    }
    hdr->msg_namelen = 0;
    hdr->msg_controllen = 0;
    hdr->msg_flags = 0;
    return total;
}

static int try_accept(struct readiness *r, struct watch *w, struct sockaddr_storage *addr,
                      socklen_t *len)
{
    if (r->poller->accept && w->owned)
        return r->poller->accept(r, w, addr, len);
    return coil__readiness_born(r, coil__direct_accept(w->fd, addr, len));
}

/* One try; -EAGAIN: stays pending. Apart, so that the usual op, a poll, does not pay for its many ways. */
__attribute__((noinline)) static int64_t attempt(struct readiness *r, struct watch *w,
                                                 struct op *op, unsigned ready)
{
    COIL_DCHECK(op->kind != OP_POLL && !op_is_file(op)); /* files' were not taken */
    switch ((enum op_kind)op->kind) {
    case OP_RECV: return try_recv(r, w, op->buf.p, op->buf.n, op->buf.flags);
    case OP_SEND: return direct_send(op->fd, op->buf.p, op->buf.n, op->buf.flags);
    case OP_SENDV: return coil__direct_sendv(op->fd, op->vec.v, op->vec.n);
    case OP_RECVMSG: return try_recvmsg(r, w, op->msg.hdr, op->msg.flags);
    case OP_SENDMSG: return coil__direct_sendmsg(op->fd, op->msg.hdr, op->msg.flags);
    case OP_READ:
        return handed_over(r, w) ? try_recv(r, w, op->buf.p, op->buf.n, 0)
                                 : coil__direct_read(op->fd, op->buf.p, op->buf.n);
    case OP_WRITE: return coil__direct_write(op->fd, op->buf.p, op->buf.n);
    case OP_ACCEPT: return try_accept(r, w, op->to.addr, &op->to.len);
    default: return coil__direct_connected(op->fd, ready & READY_BROKEN); /* OP_CONNECT */
    }
}

/* A second try of these might block on a raw descriptor that was left in blocking mode. */
static bool may_block(const struct op *op)
{
    return op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_ACCEPT;
}

static void serve(struct readiness *r, struct watch *w, unsigned ready)
{
    unsigned live = ready & BOTH;
    int left = BATCH;
    LIST_FOREACH(l, &w->ops) {
        struct op *op = container_of(l, struct op, link);
        unsigned want = op_directions(op) & live;
        if (!want)
            continue;
        if (left-- == 0) {
            touch(r, w);
            break;
        }
        int64_t rc = op->kind == OP_POLL ? op->events & want
                                         : attempt(r, w, op, want | (ready & READY_BROKEN));
        if (rc != -EAGAIN) {
            finish(r, w, op, rc);
            if (!w->owned && may_block(op))
                live &= ~want;
            live &= ~(unsigned)w->blocked;
        } else {
            if (w->on_edges)
                (void)remember_eagain(r, w, want); /* armed already, or late: that cannot fail */
            if (w->on_edges && (want & ~(unsigned)w->blocked))
                touch(r, w);
            live &= ~want;
        }
        if (!live)
            break;
    }
}

unsigned coil__readiness_look(struct readiness *r, struct watch *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN | POLLOUT};
    struct timespec now = {0, 0};
    int rc;
    do
        rc = sys_ppoll(&p, 1, &now, NULL);
    while (rc == -EINTR);
    unsigned ready = r->poller->holds ? r->poller->holds(w) : 0;
    if (rc < 0) /* not to be known: who tries in vain is told so, who never tries is not */
        ready |= BOTH;
    if (p.revents & POLLIN)
        ready |= OP_IN;
    if (p.revents & POLLOUT)
        ready |= OP_OUT;
    if (p.revents & (POLLHUP | POLLERR | POLLNVAL))
        ready |= BOTH | READY_BROKEN;
    return ready;
}

static unsigned wanted(struct watch *w)
{
    unsigned want = 0;
    LIST_FOREACH(l, &w->ops) {
        struct op *op = container_of(l, struct op, link);
        want |= op_directions(op) | (op->flags & OP_LEVEL);
    }
    return want;
}

/* An owned descriptor with ops that no edge may come for: try them now. */
static void serve_unblocked(struct readiness *r, struct watch *w)
{
    unsigned want = wanted(w) & BOTH;
    if ((want & ~(unsigned)w->armed) && !r->poller->late) {
        int rc = arm_owned(r, w, w->armed | want);
        if (rc < 0) {
            coil__readiness_fail(r, w, rc);
            return;
        }
    }
    unsigned ready = BOTH & ~(unsigned)w->blocked;
    LIST_FOREACH(l, &w->ops) {
        /* A poll makes no call that could tell EAGAIN, so it asks. */
        if (container_of(l, struct op, link)->kind == OP_POLL) {
            ready = coil__readiness_look(r, w);
            w->blocked = (uint8_t)(w->armed & BOTH & ~ready);
            break;
        }
    }
    serve(r, w, ready);
}

/* Is there an op that could be tried without waiting for an edge? */
static bool has_unblocked(struct watch *w)
{
    LIST_FOREACH(l, &w->ops)
        if (op_directions(container_of(l, struct op, link)) & ~(unsigned)w->blocked)
            return true;
    return false;
}

/* Ops wait on an owned one that is armed late: the kernel will tell, from what holds now on. */
static void arm_what_waits(struct readiness *r, struct watch *w)
{
    unsigned missing = wanted(w) & BOTH & ~(unsigned)w->armed & ~r->poller->holds(w);
    if (!missing)
        return;
    int rc = arm_owned(r, w, missing);
    COIL_DCHECK(rc == 0 || rc == -EBUSY); /* what the kernel says of it comes later */
    w->blocked |= (uint8_t)(missing & w->armed);
    if (rc < 0)
        touch(r, w); /* not now, but at the next turn */
}

bool coil__readiness_prepare(struct readiness *r)
{
    struct list todo;
    list_init(&todo);
    list_splice(&todo, &r->touched);
    struct list *l;
    while ((l = list_pop(&todo))) {
        struct watch *w = container_of(l, struct watch, touched);
        if (!w->on_edges) {
            int rc = r->poller->arm(r, w, wanted(w));
            w->fresh = false;
            if (rc == -EBUSY)
                touch(r, w);
            else if (rc < 0)
                coil__readiness_fail(r, w, rc);
        } else {
            if (r->poller->late)
                arm_what_waits(r, w);
            if (has_unblocked(w))
                serve_unblocked(r, w);
        }
    }
    return list_empty(r->finished) && list_empty(&r->touched);
}

void coil__readiness_event(struct readiness *r, struct watch *w, unsigned ready)
{
    if (w->on_edges) {
        w->blocked &= (uint8_t)~ready;
        if (ready & (READY_INEXACT | READY_BROKEN))
            w->exact = EXACT_NO;
        serve(r, w, ready);
    } else {
        serve(r, w, ready);
        touch(r, w); /* what is wanted of it may have changed */
    }
}

void coil__readiness_drain_wake(struct readiness *r)
{
    uint64_t rings;
    (void)sys_read(r->wake_fd, &rings, sizeof rings); /* EAGAIN: somebody else drained it */
}

/* ---- the contract ---- */

void coil__readiness_submit(struct backend *b, struct op *op)
{
    struct readiness *r = readiness_of(b);
    unsigned directions = op_directions(op);
    COIL_DCHECK(op->state == OP_IDLE);

    int64_t rc = -EOPNOTSUPP;
    if (op_is_file(op))
        goto done;
    rc = need_watch(r, op->fd);
    if (rc < 0)
        goto done;
    struct watch *w = readiness_find(r, op->fd);
    /* Level triggering is for polls; on anything else it would repeat the transfer. */
    rc = -EINVAL;
    if (directions == 0 || ((op->flags & OP_LEVEL) && op->kind != OP_POLL))
        goto done;
    rc = 0;
    if ((op->kind == OP_RECV || op->kind == OP_READ) && op->buf.n == 0)
        goto done; /* some kinds of descriptors would wait for data here, others not */
    if (op->kind == OP_CONNECT) {
        rc = coil__direct_connect(op->fd, op->to.addr, op->to.len);
        if (rc != -EINPROGRESS)
            goto done;
        if (w->on_edges && (rc = remember_eagain(r, w, OP_OUT)) < 0)
            goto done;
    }

    op->state = OP_PENDING;
    list_push(&w->ops, &op->link);
    if (!w->owned)
        w->fresh = true;
    more(r, w);
    if (!w->on_edges || (directions & ~(unsigned)w->blocked))
        touch(r, w);
    return;
done:
    finished(r, op, rc);
}

int coil__readiness_cancel(struct backend *b, struct op *op)
{
    struct readiness *r = readiness_of(b);
    if (op->state == OP_IDLE)
        return -ENOENT;
    if (op->state == OP_FINISHED && !op_continues(op))
        return -EINPROGRESS;
    struct watch *w = readiness_find(r, op->fd);
    COIL_CHECK(w);
    list_remove(&op->link);
    op->state = OP_IDLE;
    fewer(r, w);
    if (w->on_edges) {
        if (r->poller->unwanted)
            r->poller->unwanted(r, w);
        return 0;
    }
    /* A level registration goes at once: the caller may close the number next, and while a copy of
     * the descriptor lives elsewhere the kernel would report it to us for ever. */
    if (w->ops_n == 0 && (w->armed & OP_LEVEL))
        r->poller->disarm(r, w);
    touch(r, w);
    return 0;
}

void coil__readiness_rearm(struct backend *b, struct op *op)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = readiness_find(r, op->fd);
    COIL_CHECK(w);
    op->state = OP_PENDING;
    list_push(&w->ops, &op->link);
    touch(r, w);
}

int64_t coil__readiness_next_event_ns(struct backend *b)
{
    return CLOCK_FOREVER;
}

/* What is known of the number ends; whatever waits on it ends with this error. */
static void forget(struct readiness *r, struct watch *w, int err)
{
    coil__readiness_fail(r, w, err);
    r->poller->disarm(r, w);
    list_remove(&w->touched);
    list_remove(&w->doubt);
    w->in_doubt = false;
    w->owned = w->on_edges = false;
    w->blocked = 0;
    w->exact = EXACT_UNKNOWN;
    w->room = ROOM_UNKNOWN;
    w->generation++;
    coil__readiness_count(r, w);
}

int coil__readiness_own(struct backend *b, int fd)
{
    struct readiness *r = readiness_of(b);
    int rc = need_watch(r, fd);
    if (rc < 0)
        return rc;
    struct watch *w = readiness_find(r, fd);
    if (!w->owned && w->ops_n > 0)
        return -EBUSY;
    forget(r, w, -EBADF); /* of an owned one, too: somebody must have closed it behind our back */
    w->owned = true;
    w->on_edges = r->poller->edges;
    return 0;
}

int coil__readiness_watchable(struct backend *b, int fd)
{
    const struct watch *w = readiness_find(readiness_of(b), fd);
    struct stat st;
    if (w && w->owned)
        return COIL_EINVALIDSTATE;
    int rc = sys_fstat(fd, &st);
    if (rc < 0)
        return rc;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? -EPERM : 0;
}

bool coil__readiness_owns(struct backend *b, int fd)
{
    const struct watch *w = readiness_find(readiness_of(b), fd);
    return w && w->owned;
}

void coil__readiness_forget(struct backend *b, int fd)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = readiness_find(r, fd);
    if (w && !w->owned)
        forget(r, w, -ECANCELED);
}

int coil__readiness_close(struct backend *b, int fd)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = readiness_find(r, fd);
    if (w)
        forget(r, w, -ECANCELED); /* before the number is free for others */
    return coil__direct_close(fd);
}

/* The watch if `fd` is owned, on a backend with edges, and NULL otherwise: no memory of EAGAIN. */
static inline struct watch *edge_watch(struct readiness *r, int fd)
{
    struct watch *w = readiness_find(r, fd);
    return w && w->on_edges ? w : NULL;
}

__attribute__((noinline)) static ssize_t recv_now(struct readiness *r, struct watch *w, void *p,
                                                  size_t n, int flags)
{
    ssize_t rc = try_recv(r, w, p, n, flags);
    if (rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_IN); /* a failure is met again, and told, by the submit */
    return rc;
}

ssize_t coil__readiness_recv(struct backend *b, int fd, void *p, size_t n, int flags)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (coil_unlikely(!w))
        return direct_recv(fd, p, n, flags);
    return w->blocked & OP_IN ? -EAGAIN : recv_now(r, w, p, n, flags);
}

void coil__readiness_discard(struct backend *b, int fd, size_t n)
{
    char bin[4096];
    ssize_t got;
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && r->poller->late)
        r->poller->disarm(r, w); /* what the kernel would still hand over is received below */
    if (w)
        w->blocked = 0; /* what came since the last wait is to go, too */
    for (size_t left = n; left > 0; left -= (size_t)got) {
        got = coil__readiness_recv(b, fd, bin, left < sizeof bin ? left : sizeof bin, 0);
        if (got <= 0)
            break;
    }
}

ssize_t coil__readiness_send(struct backend *b, int fd, const void *p, size_t n)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_OUT))
        return -EAGAIN;
    ssize_t rc = direct_send(fd, p, n, 0);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_OUT);
    return rc;
}

ssize_t coil__readiness_sendv(struct backend *b, int fd, const struct iovec *v, int n)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_OUT))
        return -EAGAIN;
    ssize_t rc = coil__direct_sendv(fd, v, n);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_OUT);
    return rc;
}

ssize_t coil__readiness_recvmsg(struct backend *b, int fd, struct msghdr *hdr, int flags)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_IN))
        return -EAGAIN;
    ssize_t rc = w ? try_recvmsg(r, w, hdr, flags) : coil__direct_recvmsg(fd, hdr, flags);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_IN);
    return rc;
}

/* Its queue may be full, which is no state of ours: the kernel calls our end writable, and no edge follows. */
static bool to_unix_by_name(const struct msghdr *hdr)
{
    const struct sockaddr *to = hdr->msg_name;
    return to && hdr->msg_namelen >= sizeof to->sa_family && to->sa_family == AF_UNIX;
}

ssize_t coil__readiness_sendmsg(struct backend *b, int fd, const struct msghdr *hdr)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = to_unix_by_name(hdr) ? NULL : edge_watch(r, fd);
    if (w && (w->blocked & OP_OUT))
        return -EAGAIN;
    ssize_t rc = coil__direct_sendmsg(fd, hdr, 0);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_OUT);
    return rc;
}

ssize_t coil__readiness_sendfile(struct backend *b, int fd, int file, off_t *at, size_t n)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_OUT))
        return -EAGAIN;
    ssize_t rc = coil__direct_sendfile(fd, file, at, n);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_OUT);
    return rc;
}

ssize_t coil__readiness_read(struct backend *b, int fd, void *p, size_t n)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_IN))
        return -EAGAIN;
    ssize_t rc = w && handed_over(r, w) ? try_recv(r, w, p, n, 0) : coil__direct_read(fd, p, n);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_IN);
    return rc;
}

ssize_t coil__readiness_write(struct backend *b, int fd, const void *p, size_t n)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_OUT))
        return -EAGAIN;
    ssize_t rc = coil__direct_write(fd, p, n);
    if (w && rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_OUT);
    return rc;
}

int coil__readiness_accept(struct backend *b, int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    struct readiness *r = readiness_of(b);
    struct watch *w = edge_watch(r, fd);
    if (w && (w->blocked & OP_IN))
        return -EAGAIN;
    if (!w)
        return coil__readiness_born(r, coil__direct_accept(fd, addr, len));
    int rc = try_accept(r, w, addr, len);
    if (rc == -EAGAIN)
        (void)remember_eagain(r, w, OP_IN);
    return rc;
}

int coil__readiness_socket(struct backend *b, int domain, int type, int proto)
{
    return coil__readiness_born(readiness_of(b), coil__direct_socket(b, domain, type, proto));
}

static int both_born(struct backend *b, int rc, const int fds[2])
{
    if (rc == 0) {
        coil__readiness_born(readiness_of(b), fds[0]);
        coil__readiness_born(readiness_of(b), fds[1]);
    }
    return rc;
}

int coil__readiness_socketpair(struct backend *b, int domain, int type, int out_fds[2])
{
    return both_born(b, coil__direct_socketpair(b, domain, type, out_fds), out_fds);
}

int coil__readiness_pipe(struct backend *b, int out_fds[2])
{
    return both_born(b, coil__direct_pipe(b, out_fds), out_fds);
}
