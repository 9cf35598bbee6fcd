/* SPDX-License-Identifier: MIT
 *
 * net_faults.c: whole conversations, again and again: the first system call fails, the second, ... with each of
 * the errors a kernel may give. Whatever comes of it, it ends, and everything is given back.
 *
 * EAGAIN is not among them: a kernel that says so and means nothing by it would owe an edge. */
#include "../unit/net/ear.h"
#include "faulty.h"

#include <coil/combine.h>
#include <coil/datagram.h>

#include <sys/mman.h>

FAILING(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
FAILING(ssize_t, sendfile, (int out, int in, off_t *at, size_t n), (out, in, at, n))
FAILING(ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
FAILING(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence))
FAILING(int, fstat, (int fd, struct stat *st), (fd, st))
FAILING(int, fcntl, (int fd, int cmd, intptr_t arg), (fd, cmd, arg))
FAILING(int, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
FAILING(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), (how, set, old))

static void arm_all(long n, int error)
{
    arm(n, error);
    coil__sys.recvmsg = failing_recvmsg;
    coil__sys.sendfile = failing_sendfile;
    coil__sys.pread = failing_pread;
    coil__sys.lseek = failing_lseek;
    coil__sys.fstat = failing_fstat;
    coil__sys.fcntl = failing_fcntl;
    coil__sys.getsockname = failing_getsockname;
    coil__sys.sigprocmask = failing_sigprocmask;
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

/* ---- datagrams: an endpoint, an owned socket, a plain one ---- */

static coil_ret echo(coil_datagram_transport *transport, const void *data, size_t n,
                     const coil_address *from, void *arg)
{
    return coil_datagram_transport_sendto(transport, data, n, from);
}

static void count_lost(coil_datagram_transport *transport, coil_ret error, void *arg)
{
    ++*(int *)arg;
}

static const coil_datagram_protocol echoing = {
    .size = sizeof echoing, .datagram_received = echo, .connection_lost = count_lost};

struct question {
    coil_sock *sock;
    int fd;
    const coil_address *to;
};

/* Datagrams may be lost, so whoever waits for one asks again; but not for ever. */
static coil_ret hear(void *arg)
{
    struct question *q = arg;
    char answer[32];
    coil_address from;
    coil_ret rc = q->sock ? coil_sock_recvfrom(q->sock, answer, sizeof answer, &from)
                          : coil_loop_sock_recvfrom(NULL, q->fd, answer, sizeof answer, &from);
    if (rc >= 0)
        assert_memory_equal(answer, "is anybody there?", 17);
    return rc;
}

static coil_ret ask_for(struct question *q)
{
    coil_ret rc = -ETIMEDOUT;
    for (int i = 0; i < 3 && rc == -ETIMEDOUT; i++) {
        rc = q->sock ? coil_sock_sendto(q->sock, "is anybody there?", 17, q->to)
                     : coil_loop_sock_sendto(NULL, q->fd, "is anybody there?", 17, q->to);
        if (rc == 17)
            rc = coil_wait_for_call(hear, q, 0.02);
    }
    return rc == -ETIMEDOUT ? -ENODATA : rc;
}

static coil_ret ask_both_ways(const coil_address *server)
{
    struct question owned = {.to = server}, plain = {.to = server};
    struct backend *b = coil_get_running_loop()->backend;
    coil_ret rc = coil_sock_new(AF_INET, SOCK_DGRAM, 0, &owned.sock);
    if (rc < 0)
        return rc;
    rc = ask_for(&owned);
    plain.fd = b->cls->calls.socket(b, AF_INET, SOCK_DGRAM, 0);
    if (plain.fd >= 0) {
        coil_ret other = ask_for(&plain);
        rc = rc < 0 ? rc : other;
        b->cls->calls.close(b, plain.fd);
    } else {
        rc = plain.fd;
    }
    coil_sock_unref(owned.sock);
    return rc;
}

static coil_ret exchange_datagrams(void *arg)
{
    int lost = 0;
    coil_address server;
    coil_datagram_opts opts = {.size = sizeof opts, .local_host = "127.0.0.1"};
    coil_datagram_transport *t;
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &echoing, &lost, &opts, &t);
    if (rc < 0)
        return rc;
    rc = coil_sock_getsockname(coil_datagram_transport_sock(t), &server);
    if (rc == 0)
        rc = ask_both_ways(&server);
    coil_datagram_transport_close(t);
    while (!lost)
        coil_ignore(coil_sleep(0));
    coil_datagram_transport_unref(t);
    assert_int_equal(lost, 1);
    return rc;
}

/* ---- a file ---- */

struct delivery {
    coil_sock *from;
    int file;
    int64_t sent;
};

static coil_ret send_and_close(void *arg)
{
    struct delivery *d = arg;
    coil_ret rc = coil_sock_sendfile(d->from, d->file, 10, 0, 0, &d->sent);
    assert_true(rc < 0 || rc == d->sent);
    coil_sock_close(d->from);
    return rc;
}

static coil_ret send_a_file(void *arg)
{
    enum { N = 100000 };
    static char data[N];
    struct delivery d = {.sent = 0, .file = memfd_create("file", MFD_CLOEXEC)};
    coil_sock *to;
    assert_int_equal(write(d.file, data, N), N);
    coil_ret rc = wire_try_pair(&d.from, &to);
    if (rc == 0) {
        coil_task *task = coil_create_task(send_and_close, &d);
        int64_t got = 0;
        while ((rc = coil_sock_recv(to, data, N)) > 0)
            got += rc;
        coil_ret sent = coil_join(task);
        if (rc == 0)
            assert_int_equal(got, d.sent);
        rc = rc < 0 ? rc : sent;
        coil_sock_unref(d.from);
        coil_sock_unref(to);
    }
    close(d.file);
    return rc;
}

/* ---- a conversation by protocols ---- */

static coil_ret answer_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    char head[] = "you said ";
    struct iovec v[2] = {{head, 9}, {(void *)(uintptr_t)data, n}};
    coil_ret rc = coil_transport_writelines(t, v, 2);
    return rc < 0 ? rc : coil_transport_write_eof(t);
}

static coil_ret make_answer(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    static const coil_protocol answers = {.size = sizeof answers, .data_received = answer_data};
    *out_protocol = &answers;
    return 0;
}

static coil_ret ask_as_protocol(coil_server *server)
{
    struct ear ear = {.keep = true};
    char port[8];
    coil_transport *t;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    coil_ret rc = coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port, NULL, &t,
                                              NULL);
    bool connected = rc == 0;
    if (connected && (rc = coil_transport_write(t, "hello\n", 6)) < 0)
        coil_transport_close(t);
    coil_ret slept = 0;
    while (slept == 0 && *ear.log && !ear.lost)
        slept = coil_sleep(0.5);
    if (rc == 0)
        rc = slept < 0 ? slept : ear.error ? ear.error : (coil_ret)ear.n;
    if (connected) {
        coil_transport_abort(t);
        coil_transport_unref(t);
    }
    free(ear.bytes);
    return rc;
}

static coil_ret converse_as_protocols(void *arg)
{
    coil_server *server;
    coil_ret rc = coil_loop_create_server(NULL, make_answer, NULL, "127.0.0.1", "0", NULL, &server);
    if (rc < 0)
        return rc;
    rc = ask_as_protocol(server);
    coil_server_close(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
    return rc;
}

/* ---- each of them ---- */

static coil_ret in_time(void *fn)
{
    return coil_wait_for_call(*(coil_fn *)fn, NULL, 60.0);
}

static void with_error(coil_fn fn, coil_ret expected, int error)
{
    int64_t live = coil__mem_live();
    for (long n = 1;; n++) {
        arm_all(n, error);
        coil_ret rc = wire_run(in_time, &fn);
        coil__sys = coil__sys_real;
        if (coil__mem_live() != live)
            fail_msg("%s from call %ld: %ld blocks are not given back", coil_errname(-error), n,
                     (long)(coil__mem_live() - live));
        if (!kernel.failed) {
            assert_int_equal(rc, expected);
            return;
        }
        if (rc == -ETIMEDOUT && error != ETIMEDOUT)
            fail_msg("%s from call %ld: it hangs", coil_errname(-error), n);
    }
}

static void with_each_error(coil_fn fn, coil_ret expected)
{
    static const int errors[] = {EINTR,  ENOMEM,       ENOBUFS, EMFILE,      ENFILE,
                                 ENOSPC, ECONNRESET,   EPIPE,   EINVAL,      EBADF,
                                 EIO,    ECONNABORTED, EPERM,   ENETUNREACH, ETIMEDOUT};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        with_error(fn, expected, errors[i]);
}

COIL_TEST_PLAIN(each_system_call_fails_once)
{
    with_each_error(converse, 15);
}

COIL_TEST_PLAIN(each_system_call_of_protocols_fails_once)
{
    with_each_error(converse_as_protocols, 15);
}

COIL_TEST_PLAIN(each_system_call_of_an_exchange_of_datagrams_fails_once)
{
    with_each_error(exchange_datagrams, 17);
}

COIL_TEST_PLAIN(each_system_call_of_sending_a_file_fails_once)
{
    with_each_error(send_a_file, 100000 - 10);
}

COIL_TEST_MAIN()
