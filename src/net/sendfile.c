/* SPDX-License-Identifier: MIT
 *
 * sendfile.c: a file goes out through a stream socket, without passing through the program where that can be.
 *
 *     check --> sendfile(2) --part sent--> sendfile(2) ... 0: the end of the file
 *                  |   ^
 *                  |   +-- EAGAIN: wait until there is room
 *                  +-- refused at the first call --> pread, send, pread, send ...
 *
 * The socket is coil's or anybody's number; what differs stands in `struct way`. Reading a file waits for the
 * disk where the page cache does not have it; a part is at most half a megabyte, and others get their turns between
 * parts.
 *
 * Always true: `sent` is what the kernel took for the socket, whatever ends the transfer.
 *
 * Runs on the loop's thread. Elsewhere: the call itself and its signal (io/direct.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "net/raw.h"
#include "net/socket.h"

#include <string.h>

enum {
    PART_MAX = 512 * 1024,   /* of one sendfile(2) */
    BUFFER_MAX = 256 * 1024, /* of the other way */
};

static const struct wait_class sock_class = SOCK_WAIT_CLASS("sendfile");
static const struct wait_class raw_class = OP_WAIT_CLASS("sendfile");

struct transfer {
    struct net_part *part;
    struct coil_sock *sock; /* NULL: a plain descriptor */
    int fd;                 /* that one; a sock's is asked for each time */
    int file;
    int64_t offset; /* of the first byte */
    int64_t count;  /* how many at most; INT64_MAX: to the end */
    int64_t sent;
};

/* ---- the socket's side ---- */

/* Let others in, then: is it still what it was? */
static coil_ret breathe(struct transfer *t)
{
    return t->sock ? sock_breathe(t->sock, &t->sock->sending) : coil__raw_breathe(t->part, t->fd);
}

static coil_ret wait_for_room(struct transfer *t)
{
    if (!t->sock) {
        struct op_wait ow = {.op = {.kind = OP_POLL, .fd = t->fd, .events = OP_OUT}};
        return coil__raw_wait(t->part, &ow, &raw_class);
    }
    struct sock_wait w = {.wait = WAIT_INIT(&sock_class),
                          .op = {.kind = OP_POLL, .events = OP_OUT}};
    return coil__sock_park(t->sock, &t->sock->sending, &w);
}

static coil_ret send_some(struct transfer *t, const char *p, size_t n)
{
    return t->sock ? coil__sock_send(t->sock, p, n) : coil__raw_send(t->part, t->fd, p, n);
}

/* ---- both ways ---- */

/* How much of the next part is still wanted. */
static size_t wanted(const struct transfer *t, size_t most)
{
    int64_t left = t->count - t->sent;
    return left < (int64_t)most ? (size_t)left : most;
}

/* Until the end, or an error. The first call's error is the kernel's opinion of this file and this socket. */
static coil_ret send_in_kernel(struct transfer *t)
{
    struct backend *b = t->part->loop->backend;
    off_t at = (off_t)t->offset;
    while (wanted(t, PART_MAX) > 0) {
        coil_ret rc = breathe(t);
        if (rc < 0)
            return rc;
        /* A socket that was closed after the wait was over has no number; its old one may be another file's. */
        int fd = t->sock ? t->sock->fd : t->fd;
        rc = b->cls->calls.sendfile(b, fd, t->file, &at, wanted(t, PART_MAX));
        if (rc > 0) {
            t->sent += rc;
            net_effort(t->part, (size_t)rc);
        } else if (rc == -EAGAIN) {
            rc = wait_for_room(t);
        } else if (rc == 0) {
            return 0;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

ssize_t coil__sendfile_read(int file, char *buf, size_t n, int64_t offset)
{
    ssize_t rc;
    do
        rc = sys_pread(file, buf, n, (off_t)offset);
    while (rc == -EINTR);
    return rc;
}

static coil_ret send_part(struct transfer *t, const char *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        coil_ret rc = send_some(t, p + done, n - done);
        if (rc < 0)
            return rc;
        done += (size_t)rc;
        t->sent += rc;
    }
    return 0;
}

static coil_ret read_and_send(struct transfer *t)
{
    char *buf = coil__alloc(wanted(t, BUFFER_MAX));
    if (!buf)
        return -ENOMEM;
    coil_ret rc = 0;
    size_t n;
    while (rc >= 0 && (n = wanted(t, BUFFER_MAX)) > 0) {
        rc = coil__sendfile_read(t->file, buf, n, t->offset + t->sent);
        if (rc == 0)
            break;
        if (rc > 0)
            rc = send_part(t, buf, (size_t)rc);
    }
    coil__free(buf);
    return rc;
}

/* ---- the whole ---- */

int coil__sendfile_check(int file, int64_t offset, int64_t count, unsigned flags)
{
    struct stat st;
    if (flags & ~(unsigned)COIL_SENDFILE_NO_FALLBACK)
        return (int)coil__fail(-EINVAL, "sendfile knows no such flag (%#x)", flags);
    if (offset < 0)
        return (int)coil__fail(-EINVAL, "offset must be 0 or more, not %lld", (long long)offset);
    if (count < 0)
        return (int)coil__fail(-EINVAL, "count must be 0 (to the end) or more, not %lld",
                               (long long)count);
    if (count > INT64_MAX - offset)
        return (int)coil__fail(-EOVERFLOW, "offset and count go beyond any file");
    int err = sys_fstat(file, &st);
    if (err < 0)
        return (int)coil__fail(err, "the file (descriptor %d): %s", file, coil_strerror(err));
    if (!S_ISREG(st.st_mode))
        return (int)coil__fail(-EINVAL, "sendfile needs a regular file (descriptor %d)", file);
    return 0;
}

static bool refused(coil_ret rc)
{
    return rc == -EINVAL || rc == -ENOSYS || rc == -EOPNOTSUPP || rc == -EPERM;
}

void coil__sendfile_sent(int file, int64_t to)
{
    (void)sys_lseek(file, (off_t)to, SEEK_SET);
}

/* The file is where asyncio leaves it: behind what was sent, also after an error. */
static coil_ret transfer(struct transfer *t, unsigned flags)
{
    coil_ret rc = send_in_kernel(t);
    if (refused(rc) && t->sent == 0) {
        if (flags & COIL_SENDFILE_NO_FALLBACK)
            return coil__fail(-EOPNOTSUPP, "the kernel cannot send this file to this socket: %s",
                              coil_strerror(rc));
        rc = read_and_send(t);
    }
    if (t->sent > 0)
        coil__sendfile_sent(t->file, t->offset + t->sent);
    return coil__sock_told(rc);
}

static coil_ret finish(const struct transfer *t, coil_ret rc, int64_t *out_sent)
{
    if (out_sent)
        *out_sent = t->sent;
    return rc < 0 ? rc : (coil_ret)t->sent;
}

static coil_ret not_a_stream(void)
{
    return coil__fail(-EINVAL, "only SOCK_STREAM type sockets are supported");
}

coil_ret coil__sock_sendfile(coil_sock *sock, int file, int64_t offset, int64_t count,
                             unsigned flags, int64_t *out_sent)
{
    struct transfer t = {.part = sock->part,
                         .sock = sock,
                         .file = file,
                         .offset = offset,
                         .count = count ? count : INT64_MAX - (offset > 0 ? offset : 0)};
    coil_ret rc = coil__sendfile_check(file, offset, count, flags);
    if (rc == 0 && sock->type != SOCK_STREAM)
        rc = not_a_stream();
    if (rc == 0) {
        coil_sock_ref(sock);
        sock->sending_all = true; /* nobody comes between */
        rc = transfer(&t, flags);
        sock->sending_all = false;
        coil_sock_unref(sock);
    }
    return finish(&t, rc, out_sent);
}

coil_ret coil_sock_sendfile(coil_sock *sock, int file, int64_t offset, int64_t count,
                            unsigned flags, int64_t *out_sent)
{
    coil_ret rc = sock_may_wait(sock, &sock->sending);
    if (rc == 0)
        return coil__sock_sendfile(sock, file, offset, count, flags, out_sent);
    if (out_sent)
        *out_sent = 0;
    return rc;
}

coil_ret coil_loop_sock_sendfile(coil_loop *loop, int fd, int file, int64_t offset, int64_t count,
                                 unsigned flags, int64_t *out_sent)
{
    struct transfer t = {.fd = fd,
                         .file = file,
                         .offset = offset,
                         .count = count ? count : INT64_MAX - (offset > 0 ? offset : 0)};
    coil_ret rc = coil__raw_enter(loop, fd, true, &t.part);
    if (rc == 0)
        rc = coil__sendfile_check(file, offset, count, flags);
    if (rc == 0 && (rc = coil__raw_told(coil__raw_is_stream(t.part, fd))) >= 0)
        rc = rc ? 0 : not_a_stream();
    if (rc == 0)
        rc = transfer(&t, flags);
    return finish(&t, rc, out_sent);
}
