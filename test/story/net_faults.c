/* SPDX-License-Identifier: MIT
 *
 * net_faults.c: one whole conversation, again and again: its first system call fails, its second, ... with each of
 * the errors a kernel may give. Whatever comes of it, it ends, and everything is given back.
 *
 * EAGAIN is not among them: a kernel that says so and means nothing by it would owe an edge. */
#include "../unit/net/wire.h"

#include <coil/combine.h>

/* ---- a kernel that fails once ---- */

static struct {
    long calls, fails_at;
    int error;
    bool failed;
} kernel;

static bool must_fail(void)
{
    if (++kernel.calls != kernel.fails_at)
        return false;
    kernel.failed = true;
    return true;
}

#define FAILING(type, name, params, args)                              \
    static type failing_##name params                                  \
    {                                                                  \
        return must_fail() ? -kernel.error : coil__sys_real.name args; \
    }
FAILING(int, socket, (int domain, int type, int proto), (domain, type, proto))
FAILING(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILING(int, listen, (int fd, int backlog), (fd, backlog))
FAILING(int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
FAILING(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
FAILING(int, getsockopt, (int fd, int level, int name, void *v, socklen_t *n),
        (fd, level, name, v, n))
FAILING(int, setsockopt, (int fd, int level, int name, const void *v, socklen_t n),
        (fd, level, name, v, n))
FAILING(ssize_t, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
FAILING(ssize_t, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
FAILING(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
FAILING(int, shutdown, (int fd, int how), (fd, how))
FAILING(int, getpeername, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
FAILING(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev))

static void arm(long n, int error)
{
    kernel.calls = 0;
    kernel.fails_at = n;
    kernel.error = error;
    kernel.failed = false;
    coil__sys.socket = failing_socket;
    coil__sys.bind = failing_bind;
    coil__sys.listen = failing_listen;
    coil__sys.accept4 = failing_accept4;
    coil__sys.connect = failing_connect;
    coil__sys.getsockopt = failing_getsockopt;
    coil__sys.setsockopt = failing_setsockopt;
    coil__sys.recv = failing_recv;
    coil__sys.send = failing_send;
    coil__sys.sendmsg = failing_sendmsg;
    coil__sys.shutdown = failing_shutdown;
    coil__sys.epoll_ctl = failing_epoll_ctl;
    coil__sys.getpeername = failing_getpeername;
}

/* ---- the conversation ---- */

static coil_ret answer(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    if (rc <= 0)
        return rc;
    char head[] = "you said ";
    struct iovec v[2] = {{head, 9}, {(void *)(uintptr_t)line, (size_t)rc}};
    rc = coil_writer_writelines(writer, v, 2);
    return rc < 0 ? rc : coil_writer_write_eof(writer);
}

static coil_ret ask(coil_server *server)
{
    char port[8];
    coil_reader *r;
    coil_writer *w;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    coil_ret rc = coil_open_connection("127.0.0.1", port, &r, &w);
    if (rc < 0)
        return rc;
    const char *data;
    rc = coil_writer_write(w, "hello\n", 6);
    if (rc == 0)
        rc = coil_reader_read_all(r, 0, &data, NULL);
    if (rc > 0) {
        assert_int_equal(rc, 15);
        assert_string_equal(data, "you said hello\n");
    }
    coil_ignore(coil_writer_finish(w));
    return rc;
}

static coil_ret converse(void *arg)
{
    coil_server *server;
    coil_ret rc = coil_start_server(answer, NULL, "127.0.0.1", "0", &server);
    if (rc < 0)
        return rc;
    rc = ask(server);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
    return rc;
}

static coil_ret converse_in_time(void *arg)
{
    return coil_wait_for_call(converse, arg, 60.0);
}

static void with_error(int error)
{
    int64_t live = coil__mem_live();
    for (long n = 1;; n++) {
        arm(n, error);
        coil_ret rc = wire_run(converse_in_time, NULL);
        coil__sys = coil__sys_real;
        if (coil__mem_live() != live)
            fail_msg("%s from call %ld: %ld blocks are not given back", coil_errname(-error), n,
                     (long)(coil__mem_live() - live));
        if (!kernel.failed) {
            assert_int_equal(rc, 15);
            return;
        }
        if (rc == -ETIMEDOUT && error != ETIMEDOUT)
            fail_msg("%s from call %ld: it hangs", coil_errname(-error), n);
    }
}

COIL_TEST_PLAIN(each_system_call_fails_once)
{
    static const int errors[] = {EINTR,  ENOMEM,       ENOBUFS, EMFILE,      ENFILE,
                                 ENOSPC, ECONNRESET,   EPIPE,   EINVAL,      EBADF,
                                 EIO,    ECONNABORTED, EPERM,   ENETUNREACH, ETIMEDOUT};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        with_error(errors[i]);
}

COIL_TEST_MAIN()
