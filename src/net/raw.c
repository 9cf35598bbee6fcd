/* SPDX-License-Identifier: MIT
 *
 * raw.c: waiting calls on somebody else's descriptor: loop.sock_recv(sock, n) and its sisters.
 *
 *     coil_loop_sock_recv(loop, fd, ...) --try--> it is there: returned
 *                                          |
 *                                          +-EAGAIN--> op on the raw number, for this one wait
 *
 * Nothing is remembered of a number between two calls, so that it may be closed and mean another file in the
 * next one. What a socket that coil owns needs (one registration, a memory of EAGAIN) is in socket.c.
 *
 * Always true:
 *   - an op stands in the frame that waits for it, and that frame goes on only after the op's terminal
 *     completion;
 *   - no call here can block the loop, whatever the descriptor's flags are: those that the kernel would block
 *     in are refused.
 *
 * Runs on the loop's thread. Elsewhere: what a raw number means at the kernel (io/readiness.c). */
#include "net/raw.h"

#include "base/error.h"
#include "base/sys.h"
#include "net/message.h"
#include "net/socket.h"

#include <coil/net.h>

static const struct wait_class recv_class = OP_WAIT_CLASS("recv");
static const struct wait_class recvfrom_class = OP_WAIT_CLASS("recvfrom");
static const struct wait_class send_class = OP_WAIT_CLASS("send");
static const struct wait_class sendto_class = OP_WAIT_CLASS("sendto");
static const struct wait_class accept_class = OP_WAIT_CLASS("accept");
static const struct wait_class connect_class = OP_WAIT_CLASS("connect");

/* ---- what all of them ask first ---- */

/* An imaginary descriptor is none to fcntl; it never blocks anyhow. */
static bool blocks(int fd)
{
    int flags = sys_fcntl(fd, F_GETFL, 0);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

int coil__raw_enter(coil_loop *loop, int fd, bool must_not_block, struct net_part **out)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    coil_loop *running = coil__running_loop;
    if (loop && loop != running)
        return (int)coil__fail(COIL_EWRONGLOOP, "this is not the loop that runs the calling task");
    struct backend *b = running->backend;
    if (b->cls->calls.owns(b, fd))
        return (int)coil__fail(COIL_EINVALIDSTATE, "descriptor %d belongs to a coil socket", fd);
    if ((must_not_block || running->debug) && blocks(fd))
        return (int)coil__fail(-EINVAL, "the socket must be non-blocking (descriptor %d)", fd);
    return coil__net_part(running, out);
}

coil_ret coil__raw_told(coil_ret rc)
{
    if (coil_likely(rc >= 0) || rc == -ECANCELED || rc == COIL_EEXIT)
        return rc;
    return coil__fail_plain(rc);
}

coil_ret coil__raw_wait(struct net_part *part, struct op_wait *ow, const struct wait_class *cls)
{
    part->busy = NULL; /* it gives up its turn: whatever it did before does not count */
    return coil__op_await(ow, cls);
}

coil_ret coil__raw_breathe(struct net_part *part, int fd)
{
    coil_ret rc = net_breathe(part, coil__current());
    if (coil_unlikely(rc < 0))
        return rc;
    struct backend *b = part->loop->backend;
    return coil_unlikely(b->cls->calls.owns(b, fd)) ? -EBADF : 0;
}

/* ---- receiving ---- */

static coil_ret receive(struct net_part *part, int fd, struct msghdr *hdr,
                        const struct wait_class *cls)
{
    coil_ret rc = coil__raw_breathe(part, fd);
    if (rc < 0)
        return rc;
    struct backend *b = part->loop->backend;
    rc = b->cls->calls.recvmsg(b, fd, hdr, 0);
    if (rc != -EAGAIN) {
        net_effort(part, rc > 0 ? (size_t)rc : 0);
        return rc;
    }
    struct op_wait ow = {.op = {.kind = OP_RECVMSG, .fd = fd, .msg = {.hdr = hdr}}};
    return coil__raw_wait(part, &ow, cls);
}

int coil__raw_is_stream(struct net_part *part, int fd)
{
    int type = 0;
    socklen_t n = sizeof type;
    struct backend *b = part->loop->backend;
    int err = b->cls->calls.getsockopt(b, fd, SOL_SOCKET, SO_TYPE, &type, &n);
    return err < 0 ? err : type == SOCK_STREAM;
}

static coil_ret receive_some(coil_loop *loop, int fd, void *buf, size_t n, coil_address *out_peer,
                             const struct wait_class *cls)
{
    struct net_part *part;
    coil_ret rc = coil__raw_enter(loop, fd, false, &part);
    if (rc < 0)
        return rc;
    /* Of a stream nothing is asked when no byte is wanted: the kernel would wait for some, or not. */
    if (n == 0 && (rc = coil__raw_is_stream(part, fd)) != 0)
        return rc < 0 ? coil__raw_told(rc) : 0;
    coil_address peer;
    struct iovec v = {buf, n};
    struct msghdr hdr = message_from(&v, out_peer ? &peer : NULL);
    rc = receive(part, fd, &hdr, cls);
    if (rc < 0)
        return coil__raw_told(rc);
    if (out_peer) {
        peer.len = hdr.msg_namelen;
        if (peer.len == 0)
            peer.storage.ss_family = AF_UNSPEC;
        *out_peer = peer;
    }
    if (coil_unlikely(hdr.msg_flags & MSG_TRUNC))
        return coil__fail(-EMSGSIZE, "a datagram came that is larger than the room for it, %zu", n);
    return rc;
}

coil_ret coil_loop_sock_recv(coil_loop *loop, int fd, void *buf, size_t n)
{
    return receive_some(loop, fd, buf, n, NULL, &recv_class);
}

coil_ret coil_loop_sock_recvfrom(coil_loop *loop, int fd, void *buf, size_t n,
                                 coil_address *out_peer)
{
    return receive_some(loop, fd, buf, n, out_peer, &recvfrom_class);
}

/* ---- sending ---- */

coil_ret coil__raw_send(struct net_part *part, int fd, const void *p, size_t n)
{
    coil_ret rc = coil__raw_breathe(part, fd);
    if (rc < 0)
        return rc;
    struct backend *b = part->loop->backend;
    rc = b->cls->calls.send(b, fd, p, n);
    if (rc != -EAGAIN) {
        net_effort(part, n);
        return rc;
    }
    struct op_wait ow = {
        .op = {.kind = OP_SEND, .fd = fd, .buf = {.p = (void *)(uintptr_t)p, .n = n}}};
    return coil__raw_wait(part, &ow, &send_class);
}

coil_ret coil_loop_sock_sendall(coil_loop *loop, int fd, const void *buf, size_t n,
                                size_t *out_sent)
{
    struct net_part *part;
    size_t sent = 0;
    coil_ret rc = coil__raw_enter(loop, fd, false, &part);
    if (rc == 0) {
        do { /* nothing at all is a datagram, too */
            rc = coil__raw_told(coil__raw_send(part, fd, (const char *)buf + sent, n - sent));
            if (rc > 0)
                sent += (size_t)rc;
        } while (rc >= 0 && sent < n);
    }
    if (out_sent)
        *out_sent = sent;
    return rc < 0 ? rc : 0;
}

static coil_ret send_message(struct net_part *part, int fd, struct msghdr *hdr)
{
    coil_ret rc = coil__raw_breathe(part, fd);
    struct backend *b = part->loop->backend;
    if (rc == 0)
        rc = b->cls->calls.sendmsg(b, fd, hdr);
    int64_t pause_ns = MESSAGE_FIRST_PAUSE_NS;
    while (rc == -EAGAIN && message_untold(hdr)) {
        rc = coil_sleep(clock_to_seconds(pause_ns));
        pause_ns = message_next_pause(pause_ns);
        if (rc == 0)
            rc = b->cls->calls.owns(b, fd) ? -EBADF : b->cls->calls.sendmsg(b, fd, hdr);
    }
    if (rc != -EAGAIN) {
        net_effort(part, rc > 0 ? (size_t)rc : 0);
        return rc;
    }
    struct op_wait ow = {.op = {.kind = OP_SENDMSG, .fd = fd, .msg = {.hdr = hdr}}};
    return coil__raw_wait(part, &ow, &sendto_class);
}

coil_ret coil_loop_sock_sendto(coil_loop *loop, int fd, const void *buf, size_t n,
                               const coil_address *address)
{
    struct net_part *part;
    int err = coil__raw_enter(loop, fd, false, &part);
    if (err < 0)
        return err;
    struct iovec v = {(void *)(uintptr_t)buf, n};
    struct msghdr hdr = message_to(&v, address);
    return coil__raw_told(send_message(part, fd, &hdr));
}

/* ---- connections ---- */

static coil_ret accept_one(struct net_part *part, int fd, coil_address *peer)
{
    coil_ret rc = coil__raw_breathe(part, fd);
    if (rc < 0)
        return rc;
    struct backend *b = part->loop->backend;
    rc = b->cls->calls.accept(b, fd, &peer->storage, &peer->len);
    if (rc != -EAGAIN) {
        net_effort(part, 0);
        return rc;
    }
    struct op_wait ow = {.op = {.kind = OP_ACCEPT,
                                .fd = fd,
                                .result = -ECANCELED, /* stands, if it is cancelled at once */
                                .to = {.addr = &peer->storage}}};
    rc = coil__raw_wait(part, &ow, &accept_class);
    if (coil_unlikely(rc < 0 && ow.op.result >= 0))
        b->cls->calls.close(b, (int)ow.op.result); /* being unwound: nobody will take it */
    peer->len = ow.op.to.len;
    return rc;
}

coil_ret coil_loop_sock_accept(coil_loop *loop, int fd, coil_address *out_peer)
{
    struct net_part *part;
    int err = coil__raw_enter(loop, fd, true, &part);
    if (err < 0)
        return err;
    coil_address peer = {.len = 0};
    coil_ret rc = coil__raw_told(accept_one(part, fd, &peer));
    if (rc >= 0 && out_peer)
        *out_peer = peer;
    return rc;
}

coil_ret coil_loop_sock_connect(coil_loop *loop, int fd, const coil_address *address)
{
    struct net_part *part;
    int err = coil__raw_enter(loop, fd, true, &part);
    if (err < 0)
        return err;
    coil_address to =
        *address; /* the kernel's until the op is done, whatever becomes of the caller's */
    struct op_wait ow = {
        .op = {.kind = OP_CONNECT, .fd = fd, .to = {.addr = &to.storage, .len = to.len}}};
    coil_ret rc = coil__raw_wait(part, &ow, &connect_class);
    if (rc >= 0 || rc == -ECANCELED || rc == COIL_EEXIT)
        return rc;
    return coil__sock_connect_failed(&to, rc);
}
