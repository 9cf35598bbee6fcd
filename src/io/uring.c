/* SPDX-License-Identifier: MIT
 *
 * uring.c: io_uring.
 *
 * It stands on readiness.c as epoll.c does, and adds what only io_uring can: of owned stream sockets the kernel
 * receives by itself into buffers of ours, of owned listeners it accepts by itself, if they say so.
 *
 *     owned stream   RECV: one request brings many buffers --> held --> taken by recv (for an OP_RECV, or OP_AHEAD)
 *     owned listener ACCEPT, OP_AHEAD: one request brings many connections --> accepted --> taken by accept
 *     owned others, and writing: POLL that reports every change, then the plain call
 *     raw            POLL that reports once, for each direction that an op wants
 *
 * So a user's memory does not belong to the kernel: an op on a descriptor can be taken back at any time, as with
 * epoll, and what arrived meanwhile is held for the next one. decisions/0011 says why. Ops on files are the
 * exception: they are requests of their own, and their memory is the kernel's until the last word.
 *
 * A request under way keeps its file open, whatever becomes of the number. So one that nobody wants any more
 * is cancelled before the descriptor closes, and the kernel is entered at once to let go of it.
 *
 * Always true:
 *   - each request names descriptor, generation and purpose (`tag`); completions of another generation
 *     only give back what they bring;
 *   - an owned watch is armed for a direction while exactly one request of it is under way;
 *   - a recv goes to the kernel directly only while no RECV is under way, after all that is held: bytes keep
 *     their order;
 *   - what is held without a reader is bounded: RECV is stopped at HELD_MAX buffers, ACCEPT at ACCEPTED_MAX;
 *   - the ring is the turning thread's; when another thread turns the loop it is made anew.
 *
 * Runs on the loop's thread. Elsewhere: ops on files (uring_file.c), the rings (ring.c), the buffers (provided.c),
 * which ops an event finishes (readiness.c). */
#include "io/uring.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/memcheck.h"
#include "base/sys.h"

#include <coil/error.h>

#include <string.h>

#if COIL_HAVE_URING

#define BOTH ((unsigned)(OP_IN | OP_OUT))
#define CAME (1u << 7) /* in watch.came: something did, even if it says nothing */

enum {
    HELD_MAX = 4,      /* buffers a socket that nobody reads may hold */
    ACCEPTED_MAX = 64, /* connections a listener that nobody asks may hold */
    ENTERS_MAX = 256,  /* at one close */
    BULK_AFTER = 8,    /* full buffers in a row: large plain calls are cheaper */
    SMALL_AFTER = 16,  /* small receives in a row: buffers are cheaper again */
    SMALL_MAX = PROVIDED_SIZE / 2,
};

struct accepted {
    uint32_t n, room;
    int fds[];
};

static struct uring *uring_of(struct readiness *r)
{
    return container_of(r, struct uring, r);
}

/* ---- requests and their names ---- */

enum { REFUSALS_MAX = 100 }; /* see may_be_asked_again */

#define GENERATION_MASK UINT32_C(0x1fffffff)

static uint64_t tag(const struct watch *w, enum purpose purpose)
{
    return (uint64_t)(uint32_t)w->fd << 32 | (uint64_t)(w->generation & GENERATION_MASK) << 3 |
           (uint64_t)purpose;
}

static int poll_for(struct uring *u, struct watch *w, unsigned direction, bool again)
{
    struct io_uring_sqe *sqe = coil__ring_sqe(&u->ring);
    if (!sqe)
        return -EBUSY;
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = w->fd;
    sqe->poll32_events = direction == OP_OUT ? POLLOUT
                         : again             ? POLLIN | POLLRDHUP | POLLPRI
                                             : POLLIN | POLLRDHUP;
    sqe->len = again ? IORING_POLL_ADD_MULTI : 0;
    sqe->user_data = tag(w, direction == OP_OUT ? FOR_OUT : FOR_IN);
    w->armed |= (uint8_t)direction;
    if (direction == OP_IN)
        w->in = IN_POLL;
    return 0;
}

/* A RECV that got data does not look again, and misses an end that had come with it (the kernel knows of a TCP
 * peer's FIN, but not of a reset, nor of a unix peer's close). So the end is polled for beside it. */
static int watch_for_end(struct uring *u, struct watch *w)
{
    struct io_uring_sqe *sqe = w->hup ? NULL : coil__ring_sqe(&u->ring);
    if (!sqe)
        return w->hup ? 0 : -EBUSY;
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = w->fd;
    sqe->poll32_events = POLLRDHUP; /* HUP and ERR are always reported */
    sqe->user_data = tag(w, FOR_HUP);
    w->hup = true;
    return 0;
}

static int receive_for(struct uring *u, struct watch *w)
{
    int rc = watch_for_end(u, w);
    struct io_uring_sqe *sqe = rc < 0 ? NULL : coil__ring_sqe(&u->ring);
    if (!sqe)
        return -EBUSY;
    sqe->opcode = IORING_OP_RECV;
    sqe->fd = w->fd;
    /* It was just found empty: trying first would be for nothing. */
    sqe->ioprio = IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST;
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = PROVIDED_GROUP;
    sqe->user_data = tag(w, FOR_RECV);
    w->armed |= OP_IN;
    w->in = IN_RECV;
    return 0;
}

static int accept_for(struct uring *u, struct watch *w)
{
    struct io_uring_sqe *sqe = coil__ring_sqe(&u->ring);
    if (!sqe)
        return -EBUSY;
    sqe->opcode = IORING_OP_ACCEPT;
    sqe->fd = w->fd;
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    sqe->user_data = tag(w, FOR_ACCEPT);
    w->armed |= OP_IN;
    w->in = IN_ACCEPT;
    return 0;
}

static bool owe_cancel(struct uring *u, uint64_t user_data)
{
    if (u->owed_n == u->owed_room) {
        uint32_t room = u->owed_room ? u->owed_room * 2 : 64;
        uint64_t *owed = coil__realloc(u->owed, room * sizeof *owed);
        if (!owed)
            return false;
        u->owed = owed;
        u->owed_room = room;
    }
    u->owed[u->owed_n++] = user_data;
    return true;
}

void coil__uring_forget_owed(struct uring *u, uint64_t user_data)
{
    for (uint32_t i = 0; i < u->owed_n;) {
        if (u->owed[i] == user_data)
            u->owed[i] = u->owed[--u->owed_n];
        else
            i++;
    }
}

static bool ask_to_cancel(struct uring *u, uint64_t user_data)
{
    struct io_uring_sqe *sqe = coil__ring_sqe(&u->ring);
    if (!sqe)
        return false;
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = user_data;
    sqe->user_data = FOR_CANCEL;
    if (u->ring.skips)
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    return true;
}

/* A request that nobody will ever hear of again keeps its file open, and the peer never learns that it was closed: so
 * it is not left at that when the ring is full and the kernel takes nothing. */
bool coil__uring_cancel(struct uring *u, uint64_t user_data)
{
    return ask_to_cancel(u, user_data) || owe_cancel(u, user_data);
}

static void ask_what_is_owed(struct uring *u)
{
    while (u->owed_n && ask_to_cancel(u, u->owed[u->owed_n - 1]))
        u->owed_n--;
}

static uint64_t tag_of_in(const struct watch *w)
{
    return tag(w, w->in == IN_RECV ? FOR_RECV : w->in == IN_ACCEPT ? FOR_ACCEPT : FOR_IN);
}

/* Ask that what reports IN ends; until its last word it stays armed. */
static void stop_in(struct uring *u, struct watch *w)
{
    if (w->stopping || !(w->armed & OP_IN))
        return;
    w->stopping = coil__uring_cancel(u, tag_of_in(w));
    w->asked_at = u->looks;
}

/* It said MORE. A cancel does not find a request that has work waiting (liburing issue 1375), so one that goes on after
 * it was asked to end is asked again. */
static void goes_on(struct uring *u, struct watch *w)
{
    if (!w->stopping || w->asked_at == u->looks)
        return;
    w->stopping = false;
    stop_in(u, w);
}

/* ---- what was handed over and not taken ---- */

static void hold_buffer(struct uring *u, struct watch *w, uint16_t id)
{
    if (w->held++) {
        u->provided.buffers[w->last].next = id;
    } else {
        w->first = id;
        u->holders++;
    }
    w->last = id;
}

static void drop_first(struct uring *u, struct watch *w)
{
    uint16_t id = w->first;
    w->first = u->provided.buffers[id].next;
    if (--w->held == 0)
        u->holders--;
    coil__provided_back(&u->provided, id);
}

static size_t take_held(struct uring *u, struct watch *w, char *p, size_t n)
{
    size_t got = 0;
    while (w->held && got < n) {
        struct provided_buffer *buffer = &u->provided.buffers[w->first];
        size_t part = buffer->n - buffer->at;
        if (part > n - got)
            part = n - got;
        memcpy(p + got, coil__provided_memory(&u->provided, w->first) + buffer->at, part);
        got += part;
        buffer->at = (uint16_t)(buffer->at + part);
        if (buffer->at == buffer->n)
            drop_first(u, w);
    }
    return got;
}

static size_t peek_held(struct uring *u, const struct watch *w, char *p, size_t n)
{
    size_t got = 0;
    uint16_t id = w->first;
    for (unsigned i = 0; i < w->held && got < n; i++) {
        const struct provided_buffer *buffer = &u->provided.buffers[id];
        size_t part = buffer->n - buffer->at;
        if (part > n - got)
            part = n - got;
        memcpy(p + got, coil__provided_memory(&u->provided, id) + buffer->at, part);
        got += part;
        id = buffer->next;
    }
    return got;
}

static unsigned uring_holds(const struct watch *w)
{
    return w->held || w->end || (w->accepted && w->accepted->n) ? OP_IN : 0;
}

static void drop_all_held(struct uring *u, struct watch *w)
{
    while (w->held)
        drop_first(u, w);
    for (uint32_t i = 0; w->accepted && i < w->accepted->n; i++)
        sys_close(w->accepted->fds[i]);
    coil__free(w->accepted);
    w->accepted = NULL;
    w->end = 0;
}

static void hold_accepted(struct watch *w, int fd)
{
    struct accepted *a = w->accepted;
    if (!a || a->n == a->room) {
        uint32_t room = a ? a->room * 2 : 16;
        struct accepted *more = coil__realloc(a, sizeof *more + room * sizeof(int));
        if (!more) {
            sys_close(fd); /* short of memory: this client has to come again */
            return;
        }
        if (!a)
            more->n = 0;
        more->room = room;
        w->accepted = a = more;
    }
    a->fds[a->n++] = fd;
}

/* The op that waits for IN, and has for the longest time; NULL: none does. */
static const struct op *first_for_in(const struct watch *w)
{
    LIST_FOREACH(l, &w->ops)
        if (op_directions(container_of(l, struct op, link)) & OP_IN)
            return container_of(l, struct op, link);
    return NULL;
}

static bool in_is_wanted(const struct watch *w)
{
    return first_for_in(w) != NULL;
}

/* ---- the calls ---- */

static int end_of(struct watch *w)
{
    int end = w->end;
    if (end > 0)
        return 0;
    w->end = 0; /* an error is told once, as the kernel does */
    return end;
}

/* Received by a plain call: small pieces, one after the other, are cheaper by RECV. */
static void judge_bulk(struct uring *u, struct watch *w, ssize_t got)
{
    if (got <= 0)
        return;
    w->streak = got <= SMALL_MAX ? (uint8_t)(w->streak + 1) : 0;
    if (w->streak < SMALL_AFTER)
        return;
    w->bulk = false;
    w->streak = 0;
    stop_in(u, w);
}

static ssize_t uring_recv(struct readiness *r, struct watch *w, void *p, size_t n, int flags)
{
    struct uring *u = uring_of(r);
    if (w->held && (flags & MSG_PEEK))
        return (ssize_t)peek_held(u, w, p, n);
    if (w->held) {
        size_t taken = take_held(u, w, p, n);
        /* As after an EAGAIN: who asks whether more is there need not ask the kernel. */
        if (w->in == IN_RECV && !w->held) {
            COIL_DCHECK(!w->end); /* which ends the request, and none is made before it is told */
            w->blocked |= OP_IN;
        }
        return (ssize_t)taken;
    }
    if (w->end)
        return end_of(w);
    if (w->in == IN_RECV)
        return -EAGAIN;
    ssize_t got = direct_recv(w->fd, p, n, flags);
    if (w->bulk)
        judge_bulk(u, w, got);
    return got;
}

static int uring_accept(struct readiness *r, struct watch *w, struct sockaddr_storage *addr,
                        socklen_t *len)
{
    if (w->accepted && w->accepted->n) {
        struct accepted *a = w->accepted;
        int fd = a->fds[0];
        memmove(a->fds, a->fds + 1, --a->n * sizeof(int));
        /* One that is gone already has no name; its reader will learn the rest. */
        socklen_t n = sizeof *addr;
        if (addr && sys_getpeername(fd, (struct sockaddr *)addr, &n) < 0) {
            addr->ss_family = AF_UNSPEC;
            n = sizeof addr->ss_family;
        }
        if (addr)
            *len = n;
        return coil__readiness_born(r, fd);
    }
    if (w->in == IN_ACCEPT)
        return -EAGAIN;
    return coil__readiness_born(r, coil__direct_accept(w->fd, addr, len));
}

static void uring_unwanted(struct readiness *r, struct watch *w)
{
    /* Clients should wait in the backlog, where others can see them, and not here. */
    if (w->in == IN_ACCEPT && !in_is_wanted(w))
        stop_in(uring_of(r), w);
}

/* ---- arming ---- */

static bool is_stream(const struct watch *w)
{
    int type = 0;
    socklen_t n = sizeof type;
    return sys_getsockopt(w->fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

/* Is it content with bytes that the kernel received by itself? */
static bool may_receive(const struct op *op)
{
    return (op->kind == OP_RECV && !op->buf.flags) ||
           (op->kind == OP_POLL && (op->flags & OP_AHEAD));
}

/* How IN of an owned one is best reported, by the first op that waits for it. */
static enum in best_in(struct uring *u, struct watch *w)
{
    const struct op *op = first_for_in(w);
    COIL_CHECK(op != NULL); /* or it would not be armed */
    if (op->kind == OP_ACCEPT)
        return (op->flags & OP_AHEAD) && !u->no_accept ? IN_ACCEPT : IN_POLL;
    if (!may_receive(op) || u->no_recv || w->bulk)
        return IN_POLL;
    if (w->exact == EXACT_UNKNOWN) /* asked once; EXACT_YES: a stream */
        w->exact = is_stream(w) ? EXACT_YES : EXACT_NO;
    return w->exact == EXACT_YES ? IN_RECV : IN_POLL;
}

static int arm_in(struct uring *u, struct watch *w)
{
    w->stopping = false;
    switch (best_in(u, w)) {
    case IN_RECV: return receive_for(u, w);
    case IN_ACCEPT: return accept_for(u, w);
    default: return poll_for(u, w, OP_IN, true);
    }
}

static void give_up(struct uring *u, struct watch *w)
{
    if (w->armed & OP_IN)
        coil__uring_cancel(u, tag_of_in(w));
    if (w->armed & OP_OUT)
        coil__uring_cancel(u, tag(w, FOR_OUT));
    if (w->hup)
        coil__uring_cancel(u, tag(w, FOR_HUP));
    w->armed = 0;
    w->hup = false;
    w->in = IN_NONE;
    w->came = 0;
    w->stopping = false;
    w->generation++; /* what still comes of them concerns nobody */
}

static int arm_raw(struct uring *u, struct watch *w, unsigned want)
{
    unsigned now = w->armed & BOTH;
    if (now && (w->fresh || (now & ~want))) {
        give_up(
            u,
            w); /* another file may stand behind the number, or a direction is not wanted any more */
        now = 0;
    }
    int rc = 0;
    if (want & OP_IN & ~now)
        rc = poll_for(u, w, OP_IN, false);
    if (rc == 0 && (want & OP_OUT & ~now))
        rc = poll_for(u, w, OP_OUT, false);
    w->armed = (uint8_t)(w->armed & BOTH ? w->armed | OP_LEVEL : 0);
    return rc;
}

static int uring_arm(struct readiness *r, struct watch *w, unsigned want)
{
    struct uring *u = uring_of(r);
    if (!w->owned)
        return arm_raw(u, w, want);
    int rc = 0;
    if (want & OP_IN & ~(unsigned)w->armed)
        rc = arm_in(u, w);
    if (rc == 0 && (want & OP_OUT & ~(unsigned)w->armed))
        rc = poll_for(u, w, OP_OUT, true);
    return rc;
}

static void uring_disarm(struct readiness *r, struct watch *w)
{
    struct uring *u = uring_of(r);
    bool armed = (w->armed & BOTH) || w->hup;
    give_up(u, w);
    drop_all_held(u, w);
    w->bulk = false;
    w->streak = 0;
    /* The requests let go of the file. The kernel does a few pieces of work at a time (6.13). */
    if (armed && uring_may_enter(u))
        for (int i = 0;
             coil__ring_enter(&u->ring, false, 0) == 0 && ring_has_work(&u->ring) && i < ENTERS_MAX;
             i++)
            ;
}

static const struct poller uring_poller = {
    .edges = true,
    .late = true,
    .arm = uring_arm,
    .disarm = uring_disarm,
    .holds = uring_holds,
    .recv = uring_recv,
    .accept = uring_accept,
    .unwanted = uring_unwanted,
};

/* ---- completions ---- */

static void came(struct uring *u, struct watch *w, unsigned ready)
{
    w->came |= (uint8_t)(ready | CAME);
    if (!list_linked(&w->touched))
        list_push(&u->r.touched, &w->touched);
}

/* The request ended: the direction is not armed, and has to be tried again. */
static void not_armed(struct uring *u, struct watch *w, unsigned direction)
{
    w->armed &= (uint8_t)~direction;
    w->blocked &= (uint8_t)~direction;
    if (!(w->armed & BOTH))
        w->armed = 0;
    if (direction == OP_IN) {
        w->in = IN_NONE;
        w->stopping = false;
    }
    coil__readiness_count(&u->r, w);
}

/* A completion takes the waker's word for it; epoll looks again. */
static bool has_room(struct uring *u, struct watch *w)
{
    if (!w->owned)
        return true;
    if (w->room == ROOM_UNKNOWN) /* asked once */
        w->room = is_stream(w) ? ROOM_TRUE : ROOM_ASKED;
    return w->room == ROOM_TRUE || (coil__readiness_look(&u->r, w) & OP_OUT);
}

/* A poll that was woken for nothing begins anew inside the kernel, and finds the second of a terminal's two queues
 * taken, by itself: EINVAL. (Changing the terminal's mode wakes so.) Asked again it waits. What the kernel really cannot poll
 * it refuses each time. */
static bool may_be_asked_again(struct watch *w, int error)
{
    w->refused = error == -EINVAL ? (uint8_t)(w->refused + 1) : 0;
    return error == -ECANCELED || error == -ENOMEM ||
           (error == -EINVAL && w->refused < REFUSALS_MAX);
}

static void polled(struct uring *u, struct watch *w, unsigned direction,
                   const struct io_uring_cqe *cqe)
{
    unsigned ready = 0;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        not_armed(u, w, direction);
    else if (direction == OP_IN)
        goes_on(u, w);
    bool again = may_be_asked_again(w, cqe->res);
    if (cqe->res < 0 && !again) {
        /* This file cannot be polled, now or later; or it was closed while ops waited on it. */
        coil__readiness_fail(&u->r, w, cqe->res);
    } else if (cqe->res > 0) {
        unsigned events = (unsigned)cqe->res;
        if (events & (POLLIN | POLLRDHUP | POLLPRI))
            ready |= OP_IN;
        if (events & (POLLHUP | POLLERR | POLLNVAL))
            ready |= BOTH | READY_BROKEN;
        else if ((events & POLLOUT) && has_room(u, w))
            ready |= OP_OUT;
    }
    came(u, w, ready);
}

static bool passes(int error)
{
    return error == -ECANCELED || error == -ENOBUFS || error == -EAGAIN || error == -EINTR ||
           error == -EINVAL || error == -EOPNOTSUPP || error == -ENOMEM;
}

static void received(struct uring *u, struct watch *w, const struct io_uring_cqe *cqe)
{
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        coil__provided_came(&u->provided, id, cqe->res > 0 ? (uint32_t)cqe->res : 0);
        if (cqe->res > 0)
            hold_buffer(u, w, id);
        else
            coil__provided_back(&u->provided, id);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        not_armed(u, w, OP_IN);
        if (cqe->res == 0)
            w->end = 1;
        else if (cqe->res < 0 && !passes(cqe->res))
            w->end = cqe->res;
        if (cqe->res == -ENOBUFS) {
            u->short_of_buffers = true;
            u->starved += !w->held;
        }
        if (cqe->res == -EINVAL || cqe->res == -EOPNOTSUPP)
            u->no_recv = true;
    } else {
        goes_on(u, w);
    }
    w->streak = cqe->res == PROVIDED_SIZE ? (uint8_t)(w->streak + 1) : 0;
    if (w->streak >= BULK_AFTER) {
        w->bulk = true;
        w->streak = 0;
        stop_in(u, w);
    } else if (w->held >= HELD_MAX && !in_is_wanted(w)) {
        stop_in(u, w);
    }
    came(u, w, OP_IN);
}

static void accepted(struct uring *u, struct watch *w, const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0)
        hold_accepted(w, cqe->res);
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        not_armed(u, w, OP_IN);
        if (cqe->res == -EINVAL)
            u->no_accept = true;
    } else {
        goes_on(u, w);
    }
    if (w->accepted && w->accepted->n >= ACCEPTED_MAX && !in_is_wanted(w))
        stop_in(u, w);
    came(u, w, OP_IN); /* an error is met again by the plain call, which knows what to make of it */
}

/* The end has come, or is near: what is left is received by plain calls, which do not miss it. */
static void end_seen(struct uring *u, struct watch *w)
{
    w->hup = false;
    w->exact = EXACT_NO;
    if (w->in == IN_RECV)
        stop_in(u, w);
}

/* Of a file that used to have this number: nobody waits for it any more. */
static void came_too_late(struct uring *u, const struct io_uring_cqe *cqe, enum purpose purpose)
{
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        coil__provided_came(&u->provided, id, 0);
        coil__provided_back(&u->provided, id);
    }
    if (purpose == FOR_ACCEPT && cqe->res >= 0)
        sys_close(cqe->res);
    if (cqe->flags & IORING_CQE_F_MORE)
        coil__uring_cancel(u, cqe->user_data);
}

static void wake_rang(struct uring *u, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        u->wake_armed = false;
    coil__readiness_drain_wake(&u->r);
}

static void completed(struct uring *u, const struct io_uring_cqe *cqe)
{
    enum purpose purpose = (enum purpose)(cqe->user_data & 7);
    if (purpose == FOR_OP) {
        coil__uring_file_done(u, (struct op *)(uintptr_t)cqe->user_data, cqe->res);
        return;
    }
    if (purpose == FOR_CANCEL)
        return;
    if (purpose == FOR_WAKE) {
        wake_rang(u, cqe);
        return;
    }
    struct watch *w = readiness_find(&u->r, (int)(cqe->user_data >> 32));
    COIL_CHECK(w != NULL); /* who has had a watch has its page for good */
    if ((w->generation & GENERATION_MASK) != ((uint32_t)cqe->user_data >> 3 & GENERATION_MASK)) {
        came_too_late(u, cqe, purpose);
        return;
    }
    switch (purpose) {
    case FOR_IN: polled(u, w, OP_IN, cqe); break;
    case FOR_OUT: polled(u, w, OP_OUT, cqe); break;
    case FOR_RECV: received(u, w, cqe); break;
    case FOR_ACCEPT: accepted(u, w, cqe); break;
    default: end_seen(u, w); break; /* FOR_HUP: the others are gone from here */
    }
}

/* First all completions are taken, then each watch is served once: an op gets all that came for it. */
static void take_completions(struct uring *u)
{
    const struct io_uring_cqe *next;
    u->looks++;
    while ((next = ring_peek(&u->ring))) {
        struct io_uring_cqe cqe = *next;
        ring_next(&u->ring);
        completed(u, &cqe);
    }
}

/* Those, too, that found no room: with the ring they would be gone, and with them the bytes and connections they bring. */
static void take_all(struct uring *u)
{
    take_completions(u);
    while (ring_overflown(&u->ring) && coil__ring_flush(&u->ring) == 0)
        take_completions(u);
}

static void serve_what_came(struct uring *u)
{
    struct list todo;
    list_init(&todo);
    list_splice(&todo, &u->r.touched);
    struct list *l;
    while ((l = list_pop(&todo))) {
        struct watch *w = container_of(l, struct watch, touched);
        unsigned ready = w->came & ~(unsigned)CAME;
        if (!w->came || !w->owned)
            list_push(&u->r.touched, &w->touched); /* to be looked at by the next prepare */
        if (w->came) {
            w->came = 0;
            coil__readiness_event(&u->r, w, ready);
        }
        /* What was served and still waits needs arming. */
        if (w->ops_n && w->owned && !list_linked(&w->touched))
            list_push(&u->r.touched, &w->touched);
    }
}

/* ---- the ring and its thread ---- */

static int open_ring(struct uring *u, enum ring_level level, bool pollable)
{
    struct ring ring;
    int err = coil__ring_open(&ring, level, pollable);
    if (err < 0)
        return err;
    coil__provided_detach(&u->provided);
    if (u->ring.fd >= 0)
        take_all(u); /* what the other thread received until just now */
    serve_what_came(u);
    coil__ring_close(&u->ring);
    u->ring = ring;
    u->owner = coil__thread_self();
    u->wake_armed = u->short_of_buffers = false;
    u->starved = 0;
    u->owed_n = 0; /* it went with the ring */
    u->no_recv = u->no_accept = level == RING_LINUX_5_15;
    if (!u->no_recv && coil__provided_attach(&u->provided, ring.fd) < 0)
        u->no_recv = true;
    u->r.b.kernel_fd = ring.fd;
    return 0;
}

/* What the old ring has brought is taken; what was under way in it ends with it, and is asked for again. */
static int change_ring(struct uring *u, bool pollable)
{
    take_all(u);
    serve_what_came(u);
    int err = open_ring(u, u->ring.level, pollable);
    if (err < 0)
        return err;
    /* The old ring's ACCEPT stands in the listener's queue until the kernel has torn it down, and a connection
     * wakes only the first that stands there. A POLL is woken beside it. */
    u->no_accept = true;
    for (size_t i = 0; i < u->r.pages_n * WATCHES_PER_PAGE; i++) {
        struct watch *w = readiness_find(&u->r, (int)i);
        if (!w || (!w->armed && !w->hup && !w->ops_n))
            continue;
        w->armed = w->blocked = 0;
        w->in = IN_NONE;
        w->stopping = w->hup = false;
        w->generation++;
        coil__readiness_count(&u->r, w);
        if (!list_linked(&w->touched))
            list_push(&u->r.touched, &w->touched);
    }
    return 0;
}

int coil__uring_change_thread(struct uring *u)
{
    take_all(u);
    serve_what_came(u);
    if (u->file_ops)
        return COIL_EWRONGTHREAD; /* the kernel would still write to their memory */
    return change_ring(u, u->ring.pollable);
}

/* Somebody will sleep on its descriptor. */
static int make_pollable(struct uring *u)
{
    int err = 0;
    if (u->ring.pollable)
        return 0;
    while (u->file_ops &&
           (err >= 0 || err == -EAGAIN || err == -EBUSY)) { /* they end by themselves */
        bool all_sent = coil__uring_file_send(u);
        err = coil__ring_enter(&u->ring, all_sent && !ring_peek(&u->ring), -1);
        take_completions(u);
        serve_what_came(u);
    }
    return err < 0 ? err : change_ring(u, true);
}

static void uring_submit(struct backend *b, struct op *op)
{
    if (op_is_file(op))
        coil__uring_file_submit(uring_of_backend(b), op);
    else
        coil__readiness_submit(b, op);
}

static int uring_cancel(struct backend *b, struct op *op)
{
    return op_is_file(op) ? coil__uring_file_cancel(uring_of_backend(b), op)
                          : coil__readiness_cancel(b, op);
}

static void arm_wake(struct uring *u)
{
    struct io_uring_sqe *sqe = u->wake_armed ? NULL : coil__ring_sqe(&u->ring);
    if (!sqe)
        return;
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->fd = u->r.wake_fd;
    sqe->poll32_events = POLLIN;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->user_data = FOR_WAKE;
    u->wake_armed = true;
}

/* What is not an op of a watch. False: the ring had no room for all of it. */
static bool tell_the_rest(struct uring *u)
{
    arm_wake(u);
    ask_what_is_owed(u);
    return coil__uring_file_send(u) && u->wake_armed && !u->owed_n;
}

/* Everything that the kernel should know is in the ring. False: something is done already, or the ring had no room for
 * all: then a sleep might miss what it was to wake for. */
static bool prepare(struct uring *u)
{
    bool all_told = tell_the_rest(u);
    return coil__readiness_prepare(&u->r) && all_told;
}

/* Valgrind lets no other thread run while one sleeps in io_uring_enter (3.19); it knows that a poll sleeps. */
static int sleep_in_poll(struct uring *u, int64_t timeout_ns)
{
    int err = coil__ring_enter(&u->ring, false, 0);
    if (err < 0 || ring_peek(&u->ring))
        return err;
    struct pollfd p = {.fd = u->ring.fd, .events = POLLIN};
    struct timespec ts = {(time_t)(timeout_ns / NS_PER_S), (long)(timeout_ns % NS_PER_S)};
    (void)sys_ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL);
    return coil__ring_enter(&u->ring, false, 0);
}

static int enter(struct uring *u, bool sleep, int64_t timeout_ns)
{
    if (coil_unlikely(sleep && memcheck_watches()))
        return sleep_in_poll(u, timeout_ns);
    return coil__ring_enter(&u->ring, sleep, timeout_ns);
}

/* The stock is sized to the sockets that are busy, HELD_MAX for each: one that is flooded takes what there is,
 * and takes its turn; it does not make the loop's memory grow. Once, however many sockets met the lack. */
static void grow_stock(struct uring *u)
{
    if ((uint64_t)(u->holders + u->starved) * HELD_MAX > u->provided.n)
        (void)coil__provided_grow(&u->provided);
    u->short_of_buffers = false;
    u->starved = 0;
}

static int uring_wait(struct backend *b, int64_t timeout_ns)
{
    struct uring *u = uring_of_backend(b);
    int err = uring_may_enter(u) ? 0 : coil__uring_change_thread(u);
    if (err < 0)
        return err;
    bool sleep = prepare(u) && timeout_ns != 0 && !ring_peek(&u->ring);
    /* Without the flag that says so there may always be work that only an enter does. */
    if (sleep || ring_needs_enter(&u->ring) || !(u->ring.flags & IORING_SETUP_TASKRUN_FLAG))
        err = enter(u, sleep, timeout_ns);
    take_all(u);
    if (u->short_of_buffers)
        grow_stock(u);
    serve_what_came(u);
    /* Short of memory for requests, or completions first: there was work for this turn, and the next tries
     * again. */
    return err == -EAGAIN || err == -EBUSY ? 0 : err;
}

/* Who sleeps on the descriptor takes no second look: what the kernel refuses is offered again at once. While it says EBUSY
 * there are completions to be taken, and the descriptor shows them. */
static int hand_over(struct uring *u, bool *out_idle)
{
    int err = 0;
    for (int i = 0; i < ENTERS_MAX; i++) {
        bool all_told = tell_the_rest(u);
        *out_idle = coil__readiness_prepare(&u->r);
        err = coil__ring_enter(&u->ring, false, 0);
        if ((err == 0 && all_told && ring_filled(&u->ring) == 0) ||
            (err < 0 && err != -EAGAIN && err != -EBUSY))
            break;
    }
    return err;
}

static int uring_poll_fd(struct backend *b)
{
    struct uring *u = uring_of_backend(b);
    int err = uring_may_enter(u) ? 0 : coil__uring_change_thread(u);
    if (err == 0)
        err = make_pollable(u);
    if (err < 0)
        return err;
    bool idle = true;
    err = hand_over(u, &idle);
    if (!idle) {
        uint64_t one = 1; /* what is ready already shows as a ring of the wake fd */
        (void)sys_write(u->r.wake_fd, &one, sizeof one);
        err = coil__ring_enter(&u->ring, false, 0);
    }
    return err < 0 && err != -EBUSY ? err : u->ring.fd;
}

/* ---- life ---- */

static int open_level(struct backend **out, const struct backend_class *cls,
                      const struct backend_opts *opts, enum ring_level level)
{
    struct uring *u = coil__zalloc(sizeof *u);
    if (!u)
        return -ENOMEM;
    coil__readiness_init(&u->r, cls, &uring_poller, opts);
    u->ring.fd = -1;
    list_init(&u->unsent);
    int err = open_ring(u, level, memcheck_watches());
    if (err < 0) {
        coil__free(u);
        return err;
    }
    *out = &u->r.b;
    return 0;
}

static int uring_open(struct backend **out, const struct backend_opts *opts)
{
    return open_level(out, &coil__backend_uring, opts, RING_LINUX_6_1);
}

static int uring_open_old(struct backend **out, const struct backend_opts *opts)
{
    return open_level(out, &coil__backend_uring_5_15, opts, RING_LINUX_5_15);
}

static void uring_close(struct backend *b)
{
    if (!b)
        return;
    struct uring *u = uring_of_backend(b);
    take_all(u);
    for (size_t i = 0; i < u->r.pages_n * WATCHES_PER_PAGE; i++) {
        struct watch *w = readiness_find(&u->r, (int)i);
        if (w)
            drop_all_held(u, w);
    }
    coil__provided_close(&u->provided);
    coil__ring_close(&u->ring);
    coil__readiness_fini(&u->r);
    coil__free(u->owed);
    coil__free(u);
}

#else

static int uring_open(struct backend **out, const struct backend_opts *opts)
{
    (void)out, (void)opts;
    return -ENOSYS; /* the headers it was built with know no io_uring */
}

#define uring_open_old uring_open
#define uring_close    NULL
#define uring_submit   NULL
#define uring_cancel   NULL
#define uring_wait     NULL
#define uring_poll_fd  NULL

#endif

#define URING_CLASS(word, how)                                                       \
    {                                                                                \
        .name = (word), .open = (how), .close = uring_close, .submit = uring_submit, \
        .cancel = uring_cancel, .wait = uring_wait, .poll_fd = uring_poll_fd,        \
        .rearm = coil__readiness_rearm, .does_files = COIL_HAVE_URING,               \
        .next_event_ns = coil__readiness_next_event_ns, .calls = READINESS_CALLS     \
    }

const struct backend_class coil__backend_uring = URING_CLASS("uring", uring_open);
const struct backend_class coil__backend_uring_5_15 = URING_CLASS("uring-5.15", uring_open_old);
