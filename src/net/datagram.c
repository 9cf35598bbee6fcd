/* SPDX-License-Identifier: MIT
 *
 * datagram.c: a datagram endpoint: callbacks for what comes, a queue for what cannot go at once.
 *
 *     op IN  --ready--> slot: receive up to a bound --> datagram_received, error_received --> op IN again
 *     sendto --at once--> kernel
 *        |                  ^
 *        +--EAGAIN--> [ datagram ][ datagram ] --op OUT, or a timer--> slot: send up to a bound
 *
 *     OPEN --close--> CLOSING --all is sent--> LOST: connection_lost was called, the socket is closed
 *       +----abort, and nothing is left to send-----^
 *
 * Both ops only wait; the calls are made in the slot, so one buffer serves all endpoints of a loop. A user's code runs in
 * the slot, but for pause_writing; whatever it does to the transport is looked at when it returns.
 *
 * Always true:
 *   - `buffered` is the sum of `cost` of what is queued; sendto goes past the queue only when that is empty, so order is
 *     kept;
 *   - while datagrams are queued, either the op OUT is at the backend, or the timer runs (message.h says for whom), or the
 *     slot is on the ready ring;
 *   - references: those of users, one until LOST, one for the slot while it is queued, one for each op at the backend.
 *
 * Runs on the loop's thread. Elsewhere: from names to an endpoint (endpoint.c). */
#include "net/datagram.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "net/marks.h"
#include "net/message.h"

#include <stdio.h>
#include <string.h>

enum {
    RECEIVE_MAX = 32,        /* datagrams a turn, so that a storm of them leaves room for others */
    RECEIVE_BYTES = 1 << 19, /* and bytes */
    SEND_MAX = 64,           /* a turn */
    ERRORS_MAX = 8,          /* of sendto, told in the next turn */
};

struct datagram {
    struct list link;
    size_t n;
    socklen_t to_len; /* 0: to the peer */
    uint8_t bytes[];  /* the address, then the data */
};

struct coil_datagram_transport {
    struct list link; /* net_part.endpoints, until LOST */
    coil_loop *loop;  /* NULL once LOST or closed; until then, one room in its ring is held */
    struct net_part *part;
    coil_sock *sock;
    const coil_datagram_protocol *protocol; /* as it was given */
    coil_datagram_protocol calls;           /* as far as its program knew it */
    void *arg;
    struct context_map *map; /* the context variables of who made it */
    uint32_t refs;
    bool made;      /* connection_made was called */
    bool closing;   /* close or abort was called, or it is over */
    bool lost;      /* connection_lost was called, or the loop closed */
    bool queued;    /* its slot is on the ready ring */
    bool running;   /* its slot runs, and looks at everything before it ends */
    bool readable;  /* something may be there: try */
    bool writable;  /* there may be room: try */
    bool paused;    /* the high mark was passed, the low one not reached since */
    bool connected; /* the kernel knows to whom it sends */
    bool has_remote;
    coil_ret error; /* what connection_made returned: connection_lost gets it */
    struct error_record *why;
    coil_address remote; /* with has_remote: the only one it sends to */
    struct op in, out;
    struct timer timer;
    int64_t pause_ns; /* of the timer, the next time */
    struct list queue;
    size_t buffered;
    struct marks marks;
    int errors[ERRORS_MAX]; /* of sendto, not told yet */
    uint8_t errors_n;
    char *names; /* "peername", "sockname": COIL_ADDRESS_TEXT_MAX bytes each; NULL: nobody asked */
};

static struct backend *backend_of(const struct coil_datagram_transport *t)
{
    return t->loop->backend;
}

/* ---- life ---- */

/* One buffer a loop, from the first endpoint to the loop's end: those that live for one question would else ask the system
 * for memory each time. What was never received into it costs none. */
static int need_buffer(struct net_part *part)
{
    if (!part->datagram)
        part->datagram = coil__alloc(COIL_DATAGRAM_MAX);
    return part->datagram ? 0 : -ENOMEM;
}

/* What the loop knows of it. */
static void forget_loop(struct coil_datagram_transport *t)
{
    list_remove(&t->link);
    loop_release(t->loop, 1);
    t->loop = NULL;
}

static void transport_unref(struct coil_datagram_transport *t)
{
    if (--t->refs > 0)
        return;
    COIL_CHECK(t->lost && !t->loop && list_empty(&t->queue));
    coil__context_map_unref(t->map);
    coil__error_unref(t->why);
    coil__free(t->names);
    coil_sock_unref(t->sock);
    coil__free(t);
}

static void run(void *arg);

/* Let its slot run in the next turn: what is due there is found by looking. */
static void kick(struct coil_datagram_transport *t)
{
    if (t->queued || t->running || t->lost)
        return;
    t->queued = true;
    t->refs++;
    loop_push(t->loop, run, t, t->map ? coil__context_map_ref(t->map) : NULL);
}

/* ---- waiting without a task ---- */

static void in_done(struct op *op)
{
    struct coil_datagram_transport *t = container_of(op, struct coil_datagram_transport, in);
    t->readable = true; /* also after an error of the op: the call will say what it is */
    kick(t);
    transport_unref(t);
}

static void out_done(struct op *op)
{
    struct coil_datagram_transport *t = container_of(op, struct coil_datagram_transport, out);
    t->writable = true;
    kick(t);
    transport_unref(t);
}

static void timer_due(struct timer *timer)
{
    struct coil_datagram_transport *t = container_of(timer, struct coil_datagram_transport, timer);
    t->writable = true;
    kick(t);
}

static void arm(struct coil_datagram_transport *t, struct op *op)
{
    if (op->state != OP_IDLE)
        return;
    t->refs++;
    op->fd = t->sock->fd;
    backend_of(t)->cls->submit(backend_of(t), op);
}

static void disarm(struct coil_datagram_transport *t, struct op *op)
{
    if (op->state != OP_IDLE && backend_of(t)->cls->cancel(backend_of(t), op) == 0)
        transport_unref(t); /* else done() comes */
}

/* ---- what users are told ---- */

static const coil_datagram_protocol no_protocol;

static void take_protocol(struct coil_datagram_transport *t, const coil_datagram_protocol *protocol,
                          void *arg)
{
    coil_datagram_protocol own;
    t->protocol = protocol ? protocol : &no_protocol;
    t->calls = *OPTS_READ(t->protocol, own);
    t->arg = arg;
}

/* It is recorded. */
static void tell_error(struct coil_datagram_transport *t, coil_ret error)
{
    if (t->calls.error_received)
        t->calls.error_received(t, error, t->arg);
}

static void report_callback(struct coil_datagram_transport *t, const char *message, coil_ret code)
{
    const coil_error *error = coil_last_error();
    coil_exception_context context = {
        .size = sizeof context,
        .message = message,
        .code = code,
        .error = error && error->code == code ? error : NULL,
        .protocol = (void *)(uintptr_t)t->protocol,
        .transport = t,
        .fd = coil_sock_fileno(t->sock),
        .kind = "protocol-error",
    };
    coil_loop_call_exception_handler(t->loop, &context);
}

static void make_connection(struct coil_datagram_transport *t)
{
    t->made = true;
    coil_ret rc = t->calls.connection_made ? t->calls.connection_made(t, t->arg) : 0;
    if (rc >= 0)
        return;
    t->error = rc;
    t->why = coil__error_capture(rc);
    coil_datagram_transport_abort(t);
}

/* Of sendto; an abort forgets the rest. */
static void tell_errors(struct coil_datagram_transport *t)
{
    for (unsigned i = 0; i < t->errors_n; i++)
        tell_error(t, coil__fail_plain(t->errors[i]));
    t->errors_n = 0;
}

/* ---- receiving ---- */

static ssize_t receive_one(struct coil_datagram_transport *t, coil_address *from)
{
    struct iovec v = {t->part->datagram, COIL_DATAGRAM_MAX};
    struct msghdr hdr = message_from(&v, from);
    struct backend *b = backend_of(t);
    ssize_t n = b->cls->calls.recvmsg(b, t->sock->fd, &hdr, MSG_TRUNC);
    if (n < 0)
        return n == -EAGAIN ? n : coil__fail_plain(n);
    from->len = hdr.msg_namelen;
    if (from->len == 0)
        from->storage.ss_family = (sa_family_t)t->sock->family;
    if (n > COIL_DATAGRAM_MAX || (hdr.msg_flags & MSG_TRUNC))
        return coil__fail(-EMSGSIZE, "a datagram of %zd bytes came, with room for %d", n,
                          COIL_DATAGRAM_MAX);
    return n;
}

static void receive(struct coil_datagram_transport *t)
{
    ssize_t bytes = 0;
    for (int i = 0; i < RECEIVE_MAX && bytes < RECEIVE_BYTES && !t->closing; i++) {
        coil_address from;
        ssize_t n = receive_one(t, &from);
        if (n == -EAGAIN) {
            t->readable = false;
            return;
        }
        if (n < 0) {
            tell_error(t, n);
            return; /* the next one in the next turn */
        }
        bytes += n;
        coil_ret rc = t->calls.datagram_received
                          ? t->calls.datagram_received(t, t->part->datagram, (size_t)n, &from,
                                                       t->arg)
                          : 0;
        if (rc < 0)
            report_callback(t, "Exception in datagram_received", rc);
    }
}

/* ---- sending ---- */

static size_t cost(const struct datagram *d)
{
    return sizeof *d + d->to_len + d->n;
}

static void drop(struct coil_datagram_transport *t, struct datagram *d)
{
    t->buffered -= cost(d);
    list_remove(&d->link);
    coil__free(d);
}

static void drop_all(struct coil_datagram_transport *t)
{
    while (!list_empty(&t->queue))
        drop(t, container_of(list_first(&t->queue), struct datagram, link));
}

static ssize_t send_one(struct coil_datagram_transport *t, const void *data, size_t n,
                        const void *to, socklen_t to_len, bool *out_untold)
{
    struct iovec v = {(void *)(uintptr_t)data, n};
    struct msghdr hdr = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_name = (void *)(uintptr_t)to, .msg_namelen = to_len};
    struct backend *b = backend_of(t);
    ssize_t rc = b->cls->calls.sendmsg(b, t->sock->fd, &hdr);
    *out_untold = rc == -EAGAIN && message_untold(&hdr);
    return rc;
}

/* There is no room now: be told, or ask again. */
static void wait_for_room(struct coil_datagram_transport *t, bool untold)
{
    t->writable = false;
    if (!untold) {
        arm(t, &t->out);
        return;
    }
    int64_t when_ns = clock_add(loop_now_ns(t->loop), t->pause_ns);
    t->pause_ns = message_next_pause(t->pause_ns);
    if (coil__timer_start(t->loop, &t->timer, when_ns) < 0) {
        t->writable = true; /* not even memory for a timer: no pause */
        kick(t);
    }
}

static void flush(struct coil_datagram_transport *t)
{
    for (int i = 0; i < SEND_MAX && !list_empty(&t->queue); i++) {
        struct datagram *d = container_of(list_first(&t->queue), struct datagram, link);
        bool untold;
        ssize_t rc = send_one(t, d->bytes + d->to_len, d->n, d->to_len ? d->bytes : NULL, d->to_len,
                              &untold);
        if (rc == -EAGAIN) {
            wait_for_room(t, untold);
            return;
        }
        t->pause_ns = MESSAGE_FIRST_PAUSE_NS;
        drop(t, d);
        if (rc < 0)
            tell_error(t, coil__fail_plain(rc));
    }
}

static void maybe_resume(struct coil_datagram_transport *t)
{
    if (!t->paused || t->buffered > t->marks.low)
        return;
    t->paused = false;
    if (t->calls.resume_writing)
        t->calls.resume_writing(t, t->arg);
}

static void maybe_pause(struct coil_datagram_transport *t)
{
    if (!t->made || t->paused || t->buffered <= t->marks.high) /* connection_made comes first */
        return;
    t->paused = true;
    if (t->calls.pause_writing)
        t->calls.pause_writing(t, t->arg);
}

static int enqueue(struct coil_datagram_transport *t, const void *data, size_t n,
                   const coil_address *to)
{
    socklen_t to_len = to ? to->len : 0;
    struct datagram *d = coil__alloc(sizeof *d + to_len + n);
    if (!d)
        return (int)coil__fail_plain(-ENOMEM);
    list_init(&d->link);
    d->n = n;
    d->to_len = to_len;
    if (to_len)
        memcpy(d->bytes, &to->storage, to_len);
    if (n)
        memcpy(d->bytes + to_len, data, n);
    list_push(&t->queue, &d->link);
    t->buffered += cost(d);
    return 0;
}

/* It goes to error_received, in the next turn. */
static int note_error(struct coil_datagram_transport *t, int error)
{
    if (t->errors_n == ERRORS_MAX)
        return (int)coil__fail_plain(error);
    t->errors[t->errors_n++] = error;
    kick(t);
    return 0;
}

static int check_address(const struct coil_datagram_transport *t, const coil_address *address)
{
    if (!address && !t->connected && !t->has_remote)
        return (int)coil__fail(-EDESTADDRREQ, "a datagram needs an address to go to");
    if (!address || !t->has_remote ||
        (address->len == t->remote.len &&
         memcmp(&address->storage, &t->remote.storage, address->len) == 0))
        return 0;
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(&t->remote, text, sizeof text);
    return (int)coil__fail(-EINVAL, "Invalid address: must be NULL or %s", text);
}

int coil_datagram_transport_sendto(coil_datagram_transport *t, const void *data, size_t n,
                                   const coil_address *address)
{
    if (t->closing)
        return (int)coil__fail(COIL_EINVALIDSTATE, "this endpoint is closing");
    if (!coil__loop_use(t->loop))
        return (int)coil_last_error()->code;
    int err = check_address(t, address);
    if (err < 0)
        return err;
    const coil_address *to = t->connected ? NULL : t->has_remote ? &t->remote : address;
    if (!list_empty(&t->queue)) {
        err = enqueue(t, data, n, to);
    } else {
        bool untold;
        ssize_t rc = send_one(t, data, n, to ? &to->storage : NULL, to ? to->len : 0, &untold);
        if (rc >= 0)
            return 0;
        if (rc != -EAGAIN)
            return note_error(t, (int)rc);
        err = enqueue(t, data, n, to);
        if (err == 0)
            wait_for_room(t, untold);
    }
    if (err == 0)
        maybe_pause(t);
    return err;
}

/* ---- the end ---- */

static void stop_waiting(struct coil_datagram_transport *t)
{
    coil__timer_stop(t->loop, &t->timer);
    disarm(t, &t->in);
    disarm(t, &t->out);
}

void coil_datagram_transport_close(coil_datagram_transport *t)
{
    if (t->closing)
        return;
    t->closing = true;
    disarm(t, &t->in);
    if (list_empty(&t->queue))
        kick(t);
}

void coil_datagram_transport_abort(coil_datagram_transport *t)
{
    if (t->lost)
        return;
    t->closing = true;
    t->errors_n = 0;
    drop_all(t);
    stop_waiting(t);
    kick(t);
}

/* Nothing is left to send. */
static void end(struct coil_datagram_transport *t)
{
    t->lost = true;
    t->paused = false;
    stop_waiting(t);
    if (t->calls.connection_lost) {
        if (t->error)
            coil__error_restore(t->why, t->error);
        t->calls.connection_lost(t, t->error, t->arg);
    }
    coil_sock_close(t->sock);
    forget_loop(t);
    transport_unref(t);
}

/* ---- the slot ---- */

/* What is due, each at most so often: others come between. */
static void do_what_is_due(struct coil_datagram_transport *t)
{
    if (!t->made) {
        make_connection(t);
        maybe_pause(t);
    }
    if (t->sock->fd < 0 &&
        !t->closing) { /* closed behind its back: every call would fail, in every turn */
        t->error = -EBADF;
        coil_datagram_transport_abort(t);
    }
    tell_errors(t);
    if (t->readable && !t->closing)
        receive(t);
    if (t->writable)
        flush(t);
    if (!t->closing)
        maybe_resume(t);
}

static bool something_is_due(const struct coil_datagram_transport *t)
{
    return t->errors_n || (t->readable && !t->closing) || (t->writable && !list_empty(&t->queue)) ||
           (t->paused && t->buffered <= t->marks.low && !t->closing);
}

static void run(void *arg)
{
    struct coil_datagram_transport *t = arg;
    t->queued = false;
    t->running = true;
    do_what_is_due(t);
    t->running = false;
    if (t->closing && list_empty(&t->queue) && !t->errors_n)
        end(t);
    else if (something_is_due(t))
        kick(t);
    else if (!t->closing)
        arm(t, &t->in);
    transport_unref(t);
}

/* ---- making one ---- */

static int usable(const coil_sock *sock)
{
    if (sock->fd < 0)
        return (int)coil__fail_plain(-EBADF);
    if (!coil__loop_use(sock->loop))
        return (int)coil_last_error()->code;
    if (sock->type == SOCK_STREAM)
        return (int)coil__fail(-EINVAL, "A datagram socket was expected");
    if (sock->lent || sock->receiving || sock->sending || sock->sending_all)
        return (int)coil__fail(COIL_ERUNNING, "this socket is in use already");
    return 0;
}

/* Of a connected socket, to whom; of others what was given. */
static void set_remote(struct coil_datagram_transport *t, const coil_address *remote)
{
    coil_address peer;
    t->connected = coil__sock_peer(t->sock, &peer) == 0;
    if (!t->connected && !remote)
        return;
    t->has_remote = true;
    t->remote = t->connected ? peer : *remote;
}

static void set_up(struct coil_datagram_transport *t, coil_sock *sock, const coil_address *remote,
                   const coil_datagram_protocol *protocol, void *arg)
{
    t->loop = sock->loop;
    t->part = sock->part;
    t->sock = sock;
    take_protocol(t, protocol, arg);
    t->map = context_capture();
    t->refs = 2; /* the caller's, and being open */
    t->readable = true;
    t->marks = (struct marks){MARKS_HIGH, MARKS_LOW};
    t->pause_ns = MESSAGE_FIRST_PAUSE_NS;
    t->in = (struct op){.kind = OP_POLL, .events = OP_IN, .done = in_done};
    t->out = (struct op){.kind = OP_POLL, .events = OP_OUT, .done = out_done};
    list_init(&t->in.link);
    list_init(&t->out.link);
    list_init(&t->queue);
    timer_init(&t->timer, timer_due);
    set_remote(t, remote);
    list_push(&t->part->endpoints, &t->link);
    sock->lent = true;
}

int coil__datagram_open(coil_sock *sock, const coil_address *remote,
                        const coil_datagram_protocol *protocol, void *arg,
                        coil_datagram_transport **out)
{
    int err = usable(sock);
    if (err < 0)
        return err;
    struct coil_datagram_transport *t = coil__zalloc(sizeof *t);
    if (!t)
        return (int)coil__fail_plain(-ENOMEM);
    err = need_buffer(sock->part);
    if (err == 0)
        err = coil__loop_hold(sock->loop, 1);
    if (err < 0) {
        coil__free(t);
        return (int)coil__fail_plain(err);
    }
    set_up(t, sock, remote, protocol, arg);
    kick(t);
    *out = t;
    return 0;
}

int coil_datagram_transport_open(coil_sock *sock, const coil_datagram_protocol *protocol, void *arg,
                                 coil_datagram_transport **out_transport)
{
    coil_datagram_transport *t;
    int err = coil__datagram_open(sock, NULL, protocol, arg, &t);
    if (err < 0)
        return err;
    if (out_transport)
        *out_transport = t;
    else
        transport_unref(t);
    return 0;
}

bool coil__datagram_is_made(const coil_datagram_transport *t)
{
    return t->made;
}

bool coil__datagram_is_lost(const coil_datagram_transport *t)
{
    return t->lost;
}

coil_ret coil__datagram_verdict(const coil_datagram_transport *t)
{
    return t->error ? coil__error_restore(t->why, t->error) : 0;
}

/* ---- asking ---- */

coil_datagram_transport *coil_datagram_transport_ref(coil_datagram_transport *t)
{
    t->refs++;
    return t;
}

void coil_datagram_transport_unref(coil_datagram_transport *t)
{
    if (t)
        transport_unref(t);
}

bool coil_datagram_transport_is_closing(const coil_datagram_transport *t)
{
    return t->closing;
}

coil_sock *coil_datagram_transport_sock(coil_datagram_transport *t)
{
    return t->sock;
}

void coil_datagram_transport_set_protocol(coil_datagram_transport *t,
                                          const coil_datagram_protocol *protocol, void *arg)
{
    take_protocol(t, protocol, arg);
}

const coil_datagram_protocol *coil_datagram_transport_get_protocol(const coil_datagram_transport *t,
                                                                   void **out_arg)
{
    if (out_arg)
        *out_arg = t->arg;
    return t->protocol;
}

const char *coil_datagram_transport_get_extra_info(coil_datagram_transport *t, const char *name)
{
    bool peer = strcmp(name, "peername") == 0;
    if ((!peer && strcmp(name, "sockname") != 0) || (peer && !t->connected))
        return NULL;
    if (!t->names && !(t->names = coil__zalloc(2 * COIL_ADDRESS_TEXT_MAX))) {
        coil__fail_plain(-ENOMEM);
        return NULL;
    }
    char *text = t->names + (peer ? 0 : COIL_ADDRESS_TEXT_MAX);
    coil_address own;
    if (!*text && !peer && coil_sock_getsockname(t->sock, &own) < 0)
        return NULL;
    if (!*text)
        coil_address_format(peer ? &t->remote : &own, text, COIL_ADDRESS_TEXT_MAX);
    return text;
}

int coil_datagram_transport_set_write_buffer_limits(coil_datagram_transport *t, ssize_t high,
                                                    ssize_t low)
{
    int err = coil__marks_set(&t->marks, high, low);
    if (err < 0)
        return err;
    if (t->paused && t->buffered <= t->marks.low)
        kick(t); /* resumed from there */
    maybe_pause(t);
    return 0;
}

void coil_datagram_transport_get_write_buffer_limits(const coil_datagram_transport *t,
                                                     size_t *out_high, size_t *out_low)
{
    *out_high = t->marks.high;
    *out_low = t->marks.low;
}

size_t coil_datagram_transport_get_write_buffer_size(const coil_datagram_transport *t)
{
    return t->buffered;
}

/* ---- the loop closes ---- */

static void report_unclosed(struct coil_datagram_transport *t)
{
    const char *own = coil_datagram_transport_get_extra_info(t, "sockname");
    char text[COIL_ADDRESS_TEXT_MAX + 40];
    snprintf(text, sizeof text, "unclosed datagram endpoint %s", own ? own : "?");
    coil__loop_report(t->loop, "unclosed", text, 0, NULL, NULL);
}

/* The tasks are gone, and no slot will run any more. Nobody is told. */
static void take_down(struct coil_datagram_transport *t)
{
    t->refs++;
    if (t->loop->debug && !t->closing)
        report_unclosed(t);
    t->closing = t->lost = true;
    drop_all(t);
    stop_waiting(t);
    coil_sock_close(t->sock);
    coil__loop_settle_op(t->loop, &t->in);
    coil__loop_settle_op(t->loop, &t->out);
    forget_loop(t);
    if (t->queued)
        transport_unref(t);
    transport_unref(t); /* being open */
    transport_unref(t);
}

void coil__net_close_endpoints(struct net_part *part)
{
    while (!list_empty(&part->endpoints))
        take_down(container_of(list_first(&part->endpoints), struct coil_datagram_transport, link));
    coil__free(part->datagram);
    part->datagram = NULL;
}
