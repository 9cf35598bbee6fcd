/* SPDX-License-Identifier: MIT
 *
 * socket.c: sockets that belong to coil, and how a task waits on one.
 *
 *     coil_sock_recv --calls->recv--> it is there: returned
 *                          |
 *                          +-EAGAIN--> op in this frame --submit, park--> done: woken
 *                                                              |
 *                                                              +-- cancel: the kernel's last word first
 *
 * Always true:
 *   - an op stands in the frame that waits for it, and that frame goes on only after the op's terminal
 *     completion, cancelled or not: the kernel never touches a frame that is gone;
 *   - at most one task receives and one sends;
 *   - what the kernel did before a cancel reached it is returned, never lost.
 *
 * Runs on the loop's thread. Elsewhere: readiness and EAGAIN (io/), lines and buffers (reader.c, writer.c),
 * connecting to a name (connect.c), datagrams (message.c). */
#include "net/socket.h"

#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "base/sys.h"
#include "net/address.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

enum {
    /* Unread input makes the kernel answer a close with a reset, which may destroy what the peer has
     * not read yet. So this much is read and thrown away before; more is the peer's own fault. */
    DISCARD_MAX = 128 * 1024,
};

/* ---- life ---- */

int coil__sock_wrap(struct net_part *part, int fd, int family, int type, struct coil_sock **out)
{
    struct coil_sock *sock = coil__zalloc(sizeof *sock);
    if (!sock)
        return (int)coil__fail_plain(-ENOMEM);
    struct backend *b = part->loop->backend;
    int err = b->cls->calls.own(b, fd);
    if (err < 0) {
        coil__free(sock);
        return (int)coil__fail_plain(err);
    }
    sock->part = part;
    sock->loop = part->loop;
    sock->fd = fd;
    sock->refs = 1;
    sock->family = family;
    sock->type = type;
    list_push(&part->socks, &sock->link);
    *out = sock;
    return 0;
}

static int usable_part(coil_loop *loop, struct net_part **out)
{
    loop = coil__loop_use(loop);
    if (!loop)
        return (int)coil_last_error()->code;
    int err = coil__loop_open_backend(loop);
    return err < 0 ? err : coil__net_part(loop, out);
}

int coil_sock_new(int family, int type, int protocol, coil_sock **out_sock)
{
    struct net_part *part;
    int err = usable_part(NULL, &part);
    if (err < 0)
        return err;
    struct backend *b = part->loop->backend;
    int fd = b->cls->calls.socket(b, family, type, protocol);
    if (fd < 0)
        return (int)coil__fail_plain(fd);
    err = coil__sock_wrap(part, fd, family, type, out_sock);
    if (err < 0) {
        b->cls->calls.close(b, fd);
        return err;
    }
    coil__sock_nodelay(*out_sock);
    return 0;
}

void coil__sock_nonblocking(int fd)
{
    int flags = sys_fcntl(fd, F_GETFL, 0);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        (void)sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int coil_sock_adopt(coil_loop *loop, int fd, coil_sock **out_sock)
{
    struct net_part *part;
    int err = usable_part(loop, &part);
    if (err < 0)
        return err;
    struct backend *b = part->loop->backend;
    coil_address own = {.len = sizeof own.storage};
    err = b->cls->calls.getsockname(b, fd, (struct sockaddr *)&own.storage, &own.len);
    if (err < 0)
        return (int)coil__fail_plain(err);
    int type = 0;
    socklen_t n = sizeof type;
    err = b->cls->calls.getsockopt(b, fd, SOL_SOCKET, SO_TYPE, &type, &n);
    if (err < 0)
        return (int)coil__fail_plain(err);
    coil__sock_nonblocking(fd);
    err = coil__sock_wrap(part, fd, own.storage.ss_family, type, out_sock);
    if (err < 0)
        return err;
    coil__sock_nodelay(*out_sock);
    return 0;
}

coil_sock *coil_sock_ref(coil_sock *sock)
{
    sock->refs++;
    return sock;
}

void coil_sock_unref(coil_sock *sock)
{
    if (!sock || --sock->refs > 0)
        return;
    coil_sock_close(sock);
    coil__free(sock);
}

void coil_sock_close(coil_sock *sock)
{
    if (!sock || sock->fd < 0)
        return;
    int fd = sock->fd;
    sock->fd = -1;
    list_remove(&sock->link);
    sock_calls(sock)->close(sock_backend(sock), fd);
}

bool coil_sock_is_closed(const coil_sock *sock)
{
    return sock->fd < 0;
}

int coil_sock_fileno(const coil_sock *sock)
{
    return sock->fd;
}

/* ---- what needs no waiting ---- */

void coil__sock_nodelay(struct coil_sock *sock)
{
    static const int yes = 1;
    if (sock->type == SOCK_STREAM && (sock->family == AF_INET || sock->family == AF_INET6))
        (void)sock_calls(sock)->setsockopt(sock_backend(sock), sock->fd, IPPROTO_TCP, TCP_NODELAY,
                                           &yes, sizeof yes);
}

void coil__sock_keep_peer(struct coil_sock *sock, const coil_address *peer)
{
    bool inet = peer->storage.ss_family == AF_INET || peer->storage.ss_family == AF_INET6;
    sock->peer_len = 0; /* not an earlier one's */
    if (!inet || peer->len > sizeof sock->peer)
        return;
    memcpy(&sock->peer, &peer->storage, peer->len);
    sock->peer_len = peer->len;
}

int coil__sock_peer(struct coil_sock *sock, coil_address *out)
{
    *out = (coil_address){.len = sizeof out->storage};
    if (sock->peer_len) {
        out->len = sock->peer_len;
        memcpy(&out->storage, &sock->peer, sock->peer_len);
        return 0;
    }
    if (sock->fd < 0)
        return -EBADF;
    return sock_calls(sock)->getpeername(sock_backend(sock), sock->fd,
                                         (struct sockaddr *)&out->storage, &out->len);
}

static bool format_own(struct coil_sock *sock, char *out)
{
    coil_address own = {.len = sizeof own.storage};
    if (sock->fd < 0)
        return false;
    if (sock_calls(sock)->getsockname(sock_backend(sock), sock->fd, (struct sockaddr *)&own.storage,
                                      &own.len) < 0)
        return false;
    coil_address_format(&own, out, COIL_ADDRESS_TEXT_MAX);
    return true;
}

static bool format_peer(struct coil_sock *sock, char *out)
{
    coil_address peer;
    if (coil__sock_peer(sock, &peer) < 0)
        return false;
    coil_address_format(&peer, out, COIL_ADDRESS_TEXT_MAX);
    return true;
}

const char *coil__sock_extra_info(struct coil_sock *sock, const char *name, char **names)
{
    bool peer = strcmp(name, "peername") == 0;
    if (!peer && strcmp(name, "sockname") != 0)
        return NULL;
    if (!*names) {
        *names = coil__zalloc(2 * COIL_ADDRESS_TEXT_MAX);
        if (!*names) {
            coil__fail_plain(-ENOMEM);
            return NULL;
        }
    }
    char *text = *names + (peer ? 0 : COIL_ADDRESS_TEXT_MAX);
    if (!*text && !(peer ? format_peer(sock, text) : format_own(sock, text)))
        return NULL;
    return text;
}

void coil__sock_discard(struct coil_sock *sock)
{
    if (sock_is_pipe(sock))
        return; /* nobody is told of what was not read */
    sock_calls(sock)->discard(sock_backend(sock), sock->fd, DISCARD_MAX);
}

static int recorded(int rc)
{
    return rc < 0 ? (int)coil__fail_plain(rc) : rc;
}

/* Open, and the caller in the right thread? */
static int usable(const struct coil_sock *sock)
{
    if (sock->fd < 0)
        return recorded(-EBADF);
    return coil_likely(coil__loop_use(sock->loop) != NULL) ? 0 : (int)coil_last_error()->code;
}

int coil_sock_getsockname(coil_sock *sock, coil_address *out_address)
{
    int err = usable(sock);
    if (err < 0)
        return err;
    coil_address own = {.len = sizeof own.storage};
    int rc = sock_calls(sock)->getsockname(sock_backend(sock), sock->fd,
                                           (struct sockaddr *)&own.storage, &own.len);
    if (rc == 0)
        *out_address = own;
    return recorded(rc);
}

int coil_sock_getpeername(coil_sock *sock, coil_address *out_address)
{
    coil_address peer;
    int err = usable(sock);
    if (err < 0)
        return err;
    err = coil__sock_peer(sock, &peer);
    if (err == 0)
        *out_address = peer;
    return recorded(err);
}

int coil_sock_setsockopt(coil_sock *sock, int level, int name, const void *value, socklen_t n)
{
    int err = usable(sock);
    return err < 0 ? err
                   : recorded(sock_calls(sock)->setsockopt(sock_backend(sock), sock->fd, level,
                                                           name, value, n));
}

int coil_sock_getsockopt(coil_sock *sock, int level, int name, void *out_value, socklen_t *n)
{
    int err = usable(sock);
    return err < 0 ? err
                   : recorded(sock_calls(sock)->getsockopt(sock_backend(sock), sock->fd, level,
                                                           name, out_value, n));
}

int coil_sock_bind(coil_sock *sock, const coil_address *address)
{
    int err = usable(sock);
    const struct sockaddr *addr = (const struct sockaddr *)&address->storage;
    return err < 0
               ? err
               : recorded(sock_calls(sock)->bind(sock_backend(sock), sock->fd, addr, address->len));
}

int coil_sock_listen(coil_sock *sock, int backlog)
{
    int err = usable(sock);
    return err < 0 ? err
                   : recorded(sock_calls(sock)->listen(sock_backend(sock), sock->fd, backlog));
}

int coil_sock_shutdown(coil_sock *sock, int how)
{
    int err = usable(sock);
    return err < 0 ? err : recorded(sock_calls(sock)->shutdown(sock_backend(sock), sock->fd, how));
}

/* ---- waiting ---- */

static struct sock_wait *sock_wait_of(const struct wait *wait)
{
    return container_of((uintptr_t)wait, struct sock_wait, wait);
}

static void op_done(struct op *op)
{
    struct sock_wait *w = container_of(op, struct sock_wait, op);
    coil_ret rc = (coil_ret)op->result;
    if (rc == -ECANCELED && !w->cancelled)
        rc = w->interrupted ? -EINTR
                            : -EBADF; /* nobody asked for the end of it: the socket was closed */
    coil__wake(&w->wait, rc);
}

static void op_done_unheard(struct op *op)
{
    (void)op;
}

bool coil__sock_wait_cancel(struct wait *wait, const char *message)
{
    struct sock_wait *w = sock_wait_of(wait);
    struct backend *b = sock_backend(w->sock);
    w->cancelled = true;
    if (b->cls->cancel(b, &w->op) == 0)
        return coil__wait_cancel_plain(wait, message);
    return true; /* done() comes, with -ECANCELED or with what was quicker */
}

/* The frame is being unwound: wait for the kernel's last word. */
void coil__sock_wait_abandon(struct wait *wait)
{
    struct sock_wait *w = sock_wait_of(wait);
    struct backend *b = sock_backend(w->sock);
    w->op.done = op_done_unheard;
    COIL_PROBE("a task is unwound while the kernel has its request");
    if (b->cls->cancel(b, &w->op) == -EINPROGRESS)
        coil__loop_settle_op(w->sock->loop, &w->op);
}

int coil__sock_describe(struct coil_sock *sock, char *out, size_t n)
{
    coil_address peer;
    char text[COIL_ADDRESS_TEXT_MAX];
    if (coil__sock_peer(sock, &peer) < 0)
        return snprintf(out, n, "fd %d", sock->fd);
    coil_address_format(&peer, text, sizeof text);
    return snprintf(out, n, "fd %d, peer %s", sock->fd, text);
}

int coil__sock_wait_describe(const struct wait *wait, char *out, size_t n)
{
    return coil__sock_describe(sock_wait_of(wait)->sock, out, n);
}

static const struct wait_class recv_class = SOCK_WAIT_CLASS("recv");
static const struct wait_class send_class = SOCK_WAIT_CLASS("send");
static const struct wait_class accept_class = SOCK_WAIT_CLASS("accept");
static const struct wait_class connect_class = SOCK_WAIT_CLASS("connect");

/* The caller sees to it that the socket outlives the wait. */
static inline coil_ret park(struct coil_sock *sock, struct sock_wait **place, struct sock_wait *w)
{
    COIL_CHECK(!*place); /* asked at first, and after each pause */
    struct backend *b = sock_backend(sock);
    w->sock = sock;
    w->op.fd = sock->fd;
    w->op.done = op_done;
    w->op.result = -ECANCELED; /* stands, if it is cancelled at once */
    *place = w;
    sock->part->busy = NULL; /* it gives up its turn: whatever it did before does not count */
    backend_submit(b, &w->op);
    coil_ret rc = coil__park(&w->wait);
    COIL_DCHECK(w->op.state == OP_IDLE);
    *place = NULL;
    return rc;
}

coil_ret coil__sock_park(struct coil_sock *sock, struct sock_wait **place, struct sock_wait *w)
{
    sock->refs++; /* its user may give it up between the kernel's word and our turn */
    struct backend *b = sock_backend(sock);
    coil_ret rc = park(sock, place, w);
    if (coil_unlikely(rc < 0 && w->op.kind == OP_ACCEPT && w->op.result >= 0))
        b->cls->calls.close(b, (int)w->op.result); /* being unwound: nobody will take it */
    sock_unref(sock);
    return rc;
}

void coil__sock_interrupt(struct coil_sock *sock)
{
    struct sock_wait *w = sock->receiving;
    struct backend *b = sock_backend(sock);
    if (!w || w->cancelled)
        return;
    w->interrupted = true;
    if (w->wait.woken)
        return; /* it looks, and goes on if there is nothing */
    if (b->cls->cancel(b, &w->op) == 0)
        coil__wake(&w->wait, -EINTR);
}

/* ---- what waits ---- */

/* Who does the same, or drives all of it, as of now: another one is not let in between. */
static bool is_taken(const struct coil_sock *sock, struct sock_wait *const *place)
{
    return *place || sock->lent || (place == &sock->sending && sock->sending_all);
}

coil_ret coil__sock_pause(struct coil_sock *sock, struct sock_wait *const *place)
{
    bool ours = is_taken(sock, place); /* or we had been refused */
    coil_sock_ref(sock);
    coil_ret rc = coil__net_pause(sock->part);
    if (rc == 0 && (sock->fd < 0 || sock->refs == 1)) /* closed, or about to be by our own unref */
        rc = -EBADF;
    else if (rc == 0 && !ours && is_taken(sock, place))
        rc = coil__fail(COIL_ERUNNING, "another coroutine has begun to use this socket");
    coil_sock_unref(sock);
    return rc;
}

int coil__sock_cannot_wait(const struct coil_sock *sock, struct sock_wait *const *place)
{
    if (sock->fd < 0) {
        int err = coil__can_wait();
        return err < 0 ? err : recorded(-EBADF);
    }
    int err = coil__net_can_wait(sock->loop);
    if (err < 0)
        return err;
    if (is_taken(sock, place))
        return (int)coil__fail(COIL_ERUNNING,
                               sock->lent ? "this socket belongs to a stream, transport or server"
                                          : "another coroutine is already waiting on this socket");
    return 0;
}

coil_ret coil__sock_told(coil_ret rc)
{
    if (coil_likely(rc >= 0) || rc == -ECANCELED || rc == COIL_EEXIT || rc == COIL_ERUNNING)
        return rc;
    return coil__fail_plain(rc);
}

static inline coil_ret told(coil_ret rc)
{
    return coil_likely(rc >= 0) ? rc : coil__sock_told(rc);
}

static inline coil_ret try_receive(struct coil_sock *sock, void *p, size_t n)
{
    return sock_is_pipe(sock) ? sock_calls(sock)->read(sock_backend(sock), sock->fd, p, n)
                              : sock_calls(sock)->recv(sock_backend(sock), sock->fd, p, n, 0);
}

/* There was nothing. See backend_class.by_readiness. */
__attribute__((noinline)) static coil_ret receive_later(struct coil_sock *sock, void *p, size_t n)
{
    bool poll = sock_backend(sock)->cls->by_readiness;
    coil_ret rc;
    sock->refs++; /* its user may give it up between the kernel's word and our turn */
    do {
        struct sock_wait w; /* no initializer: much of it is of no use to a poll */
        w.wait = (struct wait)WAIT_INIT(&recv_class);
        w.cancelled = w.interrupted = false;
        w.op.kind = poll ? OP_POLL : sock_is_pipe(sock) ? OP_READ : OP_RECV;
        w.op.state = OP_IDLE;
        w.op.flags = 0;
        w.op.events = OP_IN;
        if (!poll) {
            w.op.buf.p = p;
            w.op.buf.n = n;
            w.op.buf.flags = 0;
        }
        rc = park(sock, &sock->receiving, &w);
        if (rc < 0 || !poll)
            break;
        rc = sock->fd < 0 ? -EBADF : try_receive(sock, p, n);
        if (rc == -EAGAIN && w.interrupted)
            rc = -EINTR;
    } while (rc == -EAGAIN);
    sock_unref(sock);
    return rc;
}

__attribute__((always_inline)) static inline coil_ret receive(struct coil_sock *sock, void *p,
                                                              size_t n)
{
    coil_ret rc = sock_breathe(sock, &sock->receiving);
    if (coil_unlikely(rc < 0))
        return rc;
    rc = try_receive(sock, p, n);
    if (rc == -EAGAIN)
        return receive_later(sock, p, n);
    net_effort(sock->part, n);
    return rc;
}

coil_ret coil__sock_receive(struct coil_sock *sock, void *p, size_t n)
{
    return receive(sock, p, n);
}

coil_ret coil_sock_recv(coil_sock *sock, void *buf, size_t n)
{
    if (coil_unlikely(sock->type != SOCK_STREAM))
        return coil_sock_recvfrom(sock, buf, n, NULL);
    int err = sock_may_wait(sock, &sock->receiving);
    if (err < 0)
        return err;
    return n == 0 ? 0 : told(receive(sock, buf, n));
}

static inline coil_ret send_some(struct coil_sock *sock, const void *p, size_t n)
{
    coil_ret rc = sock_breathe(sock, &sock->sending);
    if (coil_unlikely(rc < 0))
        return rc;
    rc = sock_calls(sock)->send(sock_backend(sock), sock->fd, p, n);
    if (rc != -EAGAIN) {
        net_effort(sock->part, n);
        return rc;
    }
    struct sock_wait w = {.wait = WAIT_INIT(&send_class),
                          .op = {.kind = OP_SEND, .buf = {.p = (void *)(uintptr_t)p, .n = n}}};
    return coil__sock_park(sock, &sock->sending, &w);
}

coil_ret coil__sock_send(struct coil_sock *sock, const void *p, size_t n)
{
    return send_some(sock, p, n);
}

coil_ret coil_sock_send(coil_sock *sock, const void *buf, size_t n)
{
    if (coil_unlikely(sock->type != SOCK_STREAM))
        return coil_sock_sendto(sock, buf, n, NULL);
    int err = sock_may_wait(sock, &sock->sending);
    if (err < 0)
        return err;
    return n == 0 ? 0 : told(send_some(sock, buf, n));
}

coil_ret coil_sock_sendall(coil_sock *sock, const void *buf, size_t n, size_t *out_sent)
{
    size_t sent = 0;
    coil_ret rc;
    if (coil_unlikely(sock->type != SOCK_STREAM)) {
        rc = coil_sock_sendto(sock, buf, n, NULL); /* whole or not at all */
        sent = rc < 0 ? 0 : n;
    } else if ((rc = sock_may_wait(sock, &sock->sending)) == 0) {
        sock->refs++;
        sock->sending_all = true;
        while (rc >= 0 && sent < n) {
            rc = told(send_some(sock, (const char *)buf + sent, n - sent));
            if (rc > 0)
                sent += (size_t)rc;
        }
        sock->sending_all = false;
        sock_unref(sock);
    }
    if (out_sent)
        *out_sent = sent;
    return rc < 0 ? rc : 0;
}

static coil_ret accept_fd(struct coil_sock *sock, coil_address *peer)
{
    coil_ret rc = sock_breathe(sock, &sock->receiving);
    if (rc < 0)
        return rc;
    rc = sock_calls(sock)->accept(sock_backend(sock), sock->fd, &peer->storage, &peer->len);
    if (rc != -EAGAIN) {
        net_effort(sock->part, 0);
        return rc;
    }
    struct sock_wait w = {.wait = WAIT_INIT(&accept_class),
                          .op = {.kind = OP_ACCEPT, .to = {.addr = &peer->storage}}};
    rc = coil__sock_park(sock, &sock->receiving, &w);
    peer->len = w.op.to.len;
    return rc;
}

coil_ret coil_sock_accept(coil_sock *sock, coil_sock **out_sock, coil_address *out_peer)
{
    int err = sock_may_wait(sock, &sock->receiving);
    if (err < 0)
        return err;
    coil_address peer = {.len = 0};
    struct net_part *part = sock->part;
    int family = sock->family, type = sock->type;
    coil_ret fd = coil__sock_told(accept_fd(sock, &peer));
    if (fd < 0)
        return fd;
    err = coil__sock_wrap(part, (int)fd, family, type, out_sock);
    if (err < 0) {
        part->loop->backend->cls->calls.close(part->loop->backend, (int)fd);
        return err;
    }
    coil__sock_nodelay(*out_sock);
    coil__sock_keep_peer(*out_sock, &peer);
    if (out_peer)
        *out_peer = peer;
    return 0;
}

coil_ret coil__sock_connect_failed(const coil_address *to, coil_ret rc)
{
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_address_format(to, text, sizeof text);
    return coil__fail(rc, "Connect call failed %s: %s", text, coil_strerror(rc));
}

coil_ret coil_sock_connect(coil_sock *sock, const coil_address *address)
{
    int err = sock_may_wait(sock, &sock->sending);
    if (err < 0)
        return err;
    coil_address to =
        *address; /* the kernel's until the op is done, whatever becomes of the caller's */
    struct sock_wait w = {.wait = WAIT_INIT(&connect_class),
                          .op = {.kind = OP_CONNECT, .to = {.addr = &to.storage, .len = to.len}}};
    coil_sock_ref(sock); /* its user may give it up between the kernel's word and our turn */
    coil_ret rc = coil__sock_park(sock, &sock->sending, &w);
    if (rc == 0)
        coil__sock_keep_peer(sock, &to);
    coil_sock_unref(sock);
    if (rc >= 0 || rc == -ECANCELED || rc == COIL_EEXIT || rc == COIL_ERUNNING)
        return rc;
    return coil__sock_connect_failed(&to, rc);
}

/* ---- the end ---- */

/* The tasks are gone, and so is every op in a frame. Who still holds one of these finds it closed. */
void coil__net_close_socks(struct net_part *part)
{
    while (!list_empty(&part->socks))
        coil_sock_close(container_of(list_first(&part->socks), struct coil_sock, link));
}
