/* SPDX-License-Identifier: MIT
 *
 * message.c: datagrams on an owned socket, one at a time.
 *
 *     coil_sock_recvfrom --calls->recvmsg--> one is there: returned
 *                               |
 *                               +-EAGAIN--> op in this frame, as in socket.c
 *
 * Always true:
 *   - a datagram is returned whole, or its size and loss are an error: nothing is cut in silence;
 *   - the kernel writes into this frame only; the caller's address is written once the call has succeeded.
 *
 * Runs on the loop's thread. Elsewhere: waiting and its end (socket.c), endpoints with callbacks (datagram.c). */
#include "net/message.h"

#include "base/error.h"
#include "net/socket.h"

static const struct wait_class recvfrom_class = SOCK_WAIT_CLASS("recvfrom");
static const struct wait_class sendto_class = SOCK_WAIT_CLASS("sendto");

/* ---- in ---- */

static coil_ret receive(struct coil_sock *sock, struct msghdr *hdr)
{
    /* The size it had, not what was left of it. A stream takes the flag for an order to throw bytes away. */
    int flags = sock->type == SOCK_STREAM ? 0 : MSG_TRUNC;
    coil_ret rc = sock_breathe(sock, &sock->receiving);
    if (coil_unlikely(rc < 0))
        return rc;
    rc = sock_calls(sock)->recvmsg(sock_backend(sock), sock->fd, hdr, flags);
    if (rc != -EAGAIN) {
        net_effort(sock->part, rc > 0 ? (size_t)rc : 0);
        return rc;
    }
    struct sock_wait w = {.wait = WAIT_INIT(&recvfrom_class),
                          .op = {.kind = OP_RECVMSG, .msg = {.hdr = hdr, .flags = flags}}};
    return coil__sock_park(sock, &sock->receiving, &w);
}

static void tell_peer(int family, const struct msghdr *hdr, coil_address *peer, coil_address *out)
{
    peer->len = hdr->msg_namelen;
    if (peer->len == 0)
        peer->storage.ss_family = (sa_family_t)family;
    *out = *peer;
}

coil_ret coil_sock_recvfrom(coil_sock *sock, void *buf, size_t n, coil_address *out_peer)
{
    int err = sock_may_wait(sock, &sock->receiving);
    if (err < 0)
        return err;
    int family = sock->family;
    bool stream = sock->type == SOCK_STREAM;
    coil_address peer;
    struct iovec v = {buf, n};
    struct msghdr hdr = message_from(&v, out_peer ? &peer : NULL);
    coil_ret rc = stream && n == 0 ? 0 : receive(sock, &hdr);
    if (rc < 0)
        return coil__sock_told(rc);
    if (out_peer)
        tell_peer(family, &hdr, &peer, out_peer);
    if (coil_unlikely(!stream && ((size_t)rc > n || (hdr.msg_flags & MSG_TRUNC))))
        return coil__fail(-EMSGSIZE, "a datagram of %zd bytes came, with room for %zu", (ssize_t)rc,
                          n);
    return rc;
}

/* ---- out ---- */

static coil_ret attempt(struct coil_sock *sock, const struct msghdr *hdr)
{
    if (coil_unlikely(sock->fd < 0))
        return -EBADF;
    return sock_calls(sock)->sendmsg(sock_backend(sock), sock->fd, hdr);
}

static coil_ret send_at_intervals(struct coil_sock *sock, const struct msghdr *hdr)
{
    coil_ret rc = -EAGAIN;
    coil_sock_ref(sock);
    sock->sending_all = true; /* nobody comes between */
    for (int64_t pause_ns = MESSAGE_FIRST_PAUSE_NS; rc == -EAGAIN;
         pause_ns = message_next_pause(pause_ns)) {
        rc = coil_sleep(clock_to_seconds(pause_ns));
        if (rc == 0)
            rc = attempt(sock, hdr);
    }
    sock->sending_all = false;
    coil_sock_unref(sock);
    return rc;
}

static coil_ret transmit(struct coil_sock *sock, struct msghdr *hdr, size_t n)
{
    coil_ret rc = sock_breathe(sock, &sock->sending);
    if (coil_unlikely(rc < 0))
        return rc;
    rc = attempt(sock, hdr);
    if (rc != -EAGAIN) {
        if (rc >= 0)
            net_effort(sock->part, n);
        return rc;
    }
    if (message_untold(hdr))
        return send_at_intervals(sock, hdr);
    struct sock_wait w = {.wait = WAIT_INIT(&sendto_class),
                          .op = {.kind = OP_SENDMSG, .msg = {.hdr = hdr}}};
    return coil__sock_park(sock, &sock->sending, &w);
}

coil_ret coil_sock_sendto(coil_sock *sock, const void *buf, size_t n, const coil_address *address)
{
    int err = sock_may_wait(sock, &sock->sending);
    if (err < 0)
        return err;
    struct iovec v = {(void *)(uintptr_t)buf, n};
    struct msghdr hdr = message_to(&v, address);
    return coil__sock_told(transmit(sock, &hdr, n));
}
