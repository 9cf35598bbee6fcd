/* SPDX-License-Identifier: MIT
 *
 * pipe.c: transports on one end of a pipe, or on whatever else is read or written like one.
 *
 * Such an end is a coil_sock that is no socket: owned by the backend, closed through coil, read and written by
 * read(2) and write(2). A socket that is handed in here is received from or sent to, in one direction only.
 *
 * Runs on the loop's thread. Elsewhere: bytes (receive.c, outbox.c), the end of the stream (receive.c). */
#include "base/error.h"
#include "base/sys.h"
#include "net/transport.h"

/* ---- what is it? ---- */

struct pipe_end {
    int family, type; /* of a socket; else 0 */
    bool fifo;
};

static coil_ret refuse(int fd)
{
    return coil__fail(-EPERM, "descriptor %d is neither a pipe nor a socket nor a character device",
                      fd);
}

static coil_ret look_at(struct backend *b, int fd, struct pipe_end *out)
{
    *out = (struct pipe_end){.fifo = false};
    int rc = b->cls->calls.watchable(b, fd);
    if (rc == COIL_EINVALIDSTATE)
        return coil__fail(rc, "descriptor %d belongs to a coil socket", fd);
    if (rc < 0)
        return rc == -EPERM ? refuse(fd) : coil__fail_plain(rc);
    socklen_t n = sizeof out->type;
    rc = b->cls->calls.getsockopt(b, fd, SOL_SOCKET, SO_TYPE, &out->type, &n);
    if (rc == 0) {
        coil_address own = {.len = sizeof own.storage};
        rc = b->cls->calls.getsockname(b, fd, (struct sockaddr *)&own.storage, &own.len);
        out->family = own.storage.ss_family;
        return rc < 0 ? coil__fail_plain(rc) : 0;
    }
    if (rc != -ENOTSOCK)
        return coil__fail_plain(rc);
    out->type = 0;
    struct stat st;
    rc = sys_fstat(fd, &st); /* an imaginary pipe is none to the real kernel */
    out->fifo = rc < 0 || S_ISFIFO(st.st_mode);
    return out->fifo || S_ISCHR(st.st_mode) ? 0 : refuse(fd);
}

/* The writing end of a pipe polls readable only when the reader has gone; one that is open for reading as well has
 * itself for a reader, and a terminal's input says nothing of who reads its output. */
static bool tells_of_its_reader(int fd, const struct pipe_end *end)
{
    int flags = sys_fcntl(fd, F_GETFL, 0);
    return end->type != 0 || (end->fifo && (flags < 0 || (flags & O_ACCMODE) != O_RDWR));
}

/* ---- connecting ---- */

static coil_ret wrap(int fd, const struct pipe_end *end, coil_sock **out)
{
    struct net_part *part;
    int err = coil__net_part(coil__running_loop, &part);
    if (err < 0)
        return err;
    coil__sock_nonblocking(fd);
    return coil__sock_wrap(part, fd, end->family, end->type, out);
}

/* It was to be taken over, and so it is closed. */
static void close_fd(int fd)
{
    struct backend *b = coil__running_loop ? coil__running_loop->backend : NULL;
    if (b)
        b->cls->calls.close(b, fd);
    else
        (void)sys_close(fd);
}

static coil_ret connect_pipe(coil_loop *loop, struct transport_plan *plan, int fd,
                             coil_transport **out_transport, void **out_protocol_arg)
{
    struct pipe_end end;
    coil_sock *sock;
    coil_ret rc = 0;
    if (coil__running_loop)
        rc = look_at(coil__running_loop->backend, fd, &end);
    if (rc < 0)
        return rc; /* not ours to close */
    rc = coil__transport_may_attach(loop, plan->factory);
    if (rc == 0)
        rc = wrap(fd, &end, &sock);
    if (rc == -EBUSY)
        return rc; /* somebody waits for it */
    if (rc < 0) {
        close_fd(fd);
        return rc;
    }
    plan->watched = plan->kind == TRANSPORT_WRITES && tells_of_its_reader(fd, &end);
    return coil__transport_attach(sock, plan, out_transport, out_protocol_arg);
}

coil_ret coil_loop_connect_read_pipe(coil_loop *loop, coil_protocol_factory_fn factory, void *arg,
                                     int fd, coil_transport **out_transport,
                                     void **out_protocol_arg)
{
    struct transport_plan plan = {.factory = factory, .arg = arg, .kind = TRANSPORT_READS};
    return connect_pipe(loop, &plan, fd, out_transport, out_protocol_arg);
}

coil_ret coil_loop_connect_write_pipe(coil_loop *loop, coil_protocol_factory_fn factory, void *arg,
                                      int fd, coil_transport **out_transport,
                                      void **out_protocol_arg)
{
    struct transport_plan plan = {.factory = factory, .arg = arg, .kind = TRANSPORT_WRITES};
    return connect_pipe(loop, &plan, fd, out_transport, out_protocol_arg);
}
