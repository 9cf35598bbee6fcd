/* SPDX-License-Identifier: MIT
 *
 * transport_file.c: a file goes out through a transport.
 *
 *     wait until the outbox is idle --> the file, from the caller's task --> read on
 *
 * Meanwhile nothing is received and no write comes between. The task drives the socket itself here, the one place where
 * a transport has one.
 *
 * Over TLS the kernel cannot do it: the file is read, piece by piece, and each is written like any other bytes.
 *
 * Runs on the loop's thread. Elsewhere: how a file is sent (sendfile.c). */
#include "base/error.h"
#include "base/mem.h"
#include "net/transport.h"

static const struct wait_class empty_class = {.what = "sendfile, what was written before",
                                              .cancel = coil__waiter_cancel};

static coil_ret lost(struct coil_transport *t)
{
    if (t->error)
        return coil__error_restore(t->words, t->error);
    return coil__fail(-ECONNRESET, "Connection lost");
}

static coil_ret wait_empty(struct coil_transport *t)
{
    coil_ret rc = 0;
    while (rc == 0 && !outbox_idle(&t->out)) {
        struct waiter waiter;
        rc = coil__waiters_wait(&t->emptiers, &waiter, &empty_class);
    }
    return rc == 0 && (t->error || t->lost || (t->closing && !t->friendly)) ? lost(t) : rc;
}

/* ---- over TLS ---- */

enum { FILE_PIECE = 16384 }; /* asyncio's */

/* Once it is written it goes out, whatever the wait for room ends with. */
static coil_ret write_piece(struct coil_transport *t, const char *p, size_t n, int64_t *sent)
{
    coil_ret rc = coil__outbox_write(&t->out, p, n);
    if (rc == 0)
        *sent += (int64_t)n;
    if (rc == 0 && t->out.buffered > t->out.marks.low)
        return wait_empty(t);
    if (rc == 0)
        rc = sock_breathe(t->sock, &t->sock->sending);
    return rc == 0 && (t->error || t->lost) ? lost(t) : rc;
}

static coil_ret write_pieces(struct coil_transport *t, int file, int64_t offset, int64_t count,
                             int64_t *sent)
{
    char *buf = coil__alloc(FILE_PIECE);
    if (!buf)
        return coil__fail_plain(-ENOMEM);
    coil_ret rc = 0;
    while (rc == 0 && (count == 0 || *sent < count)) {
        size_t want = count && count - *sent < FILE_PIECE ? (size_t)(count - *sent) : FILE_PIECE;
        ssize_t n = coil__sendfile_read(file, buf, want, offset + *sent);
        if (n <= 0) {
            rc = n < 0 ? coil__fail_plain(n) : 0;
            break;
        }
        net_effort(t->part, (size_t)n);
        rc = write_piece(t, buf, (size_t)n, sent);
    }
    coil__free(buf);
    if (rc == 0)
        rc = wait_empty(t);
    if (*sent > 0)
        coil__sendfile_sent(file, offset + *sent);
    return rc < 0 ? rc : (coil_ret)*sent;
}

static coil_ret send_written(struct coil_transport *t, int file, int64_t offset, int64_t count,
                             unsigned flags, int64_t *sent)
{
    coil_ret rc = coil__sendfile_check(file, offset, count, flags);
    if (rc == 0 && (flags & COIL_SENDFILE_NO_FALLBACK))
        rc = coil__fail(-EOPNOTSUPP, "the kernel cannot send files over TLS");
    return rc < 0 ? rc : write_pieces(t, file, offset, count, sent);
}

/* ---- the whole ---- */

/* Of the connection, and not of the file. It was told here, so nobody else would learn of it. */
static bool breaks(coil_ret error)
{
    return error == -EPIPE || error == -ECONNRESET || error == -ECONNABORTED ||
           error == -ETIMEDOUT || error == -ENOTCONN || error == -EHOSTUNREACH ||
           error == -ENETUNREACH || error == -ENETDOWN;
}

static coil_ret may_send_file(coil_loop *loop, struct coil_transport *t)
{
    int err = coil__transport_may_write(t);
    if (err < 0)
        return err;
    err = coil__net_can_wait(t->loop);
    if (err < 0)
        return err;
    if (loop && loop != t->loop)
        return coil__fail(COIL_EWRONGLOOP, "this transport belongs to a different event loop");
    if (sock_is_pipe(t->sock))
        return coil__fail(-EOPNOTSUPP, "files are sent through sockets, not through pipes");
    return 0;
}

coil_ret coil_loop_sendfile(coil_loop *loop, coil_transport *transport, int file, int64_t offset,
                            int64_t count, unsigned flags, int64_t *out_sent)
{
    int64_t sent = 0;
    coil_ret rc = may_send_file(loop, transport);
    if (rc == 0) {
        transport_ref(transport);
        transport->sending_file = true;
        rc = wait_empty(transport);
        if (rc == 0 && transport->filter)
            rc = send_written(transport, file, offset, count, flags, &sent);
        else if (rc == 0)
            rc = coil__sock_sendfile(transport->sock, file, offset, count, flags, &sent);
        transport->sending_file = false;
        if (rc == -EBADF && transport->lost) /* aborted, or the connection failed otherwise */
            rc = lost(transport);
        else if (breaks(rc))
            coil__transport_send_failed(transport, rc);
        if (transport->closing && !transport->lost)
            coil__transport_kick(transport);
        else
            coil__transport_read_on(transport);
        coil_transport_unref(transport);
    }
    if (out_sent)
        *out_sent = sent;
    return rc;
}
