/* SPDX-License-Identifier: MIT
 *
 * test_raw.c: waiting calls on descriptors that are not coil's: they wait and lose nothing as those of coil_sock
 * do, and a number may be closed and mean another socket at any time. */
#include "wire.h"

static const struct io_calls *calls(void)
{
    return &coil_get_running_loop()->backend->cls->calls;
}

static struct backend *backend(void)
{
    return coil_get_running_loop()->backend;
}

static void raw_close(int fd)
{
    coil_loop_forget_fd(NULL, fd);
    must(calls()->close(backend(), fd));
}

static void raw_pair(int out[2])
{
    must(calls()->socketpair(backend(), AF_UNIX, SOCK_STREAM, out));
}

/* Of the real kernel, on every backend, made without a word to coil. */
static void real_pair(int out[2])
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out));
}

static int raw_bound(int type, coil_address *out_name)
{
    coil_address any;
    must(coil_address_parse("127.0.0.1", "0", &any));
    int fd = (int)must(calls()->socket(backend(), AF_INET, type, 0));
    must(calls()->bind(backend(), fd, (struct sockaddr *)&any.storage, any.len));
    out_name->len = sizeof out_name->storage;
    must(
        calls()->getsockname(backend(), fd, (struct sockaddr *)&out_name->storage, &out_name->len));
    return fd;
}

static int raw_listener(coil_address *out_name)
{
    int fd = raw_bound(SOCK_STREAM, out_name);
    must(calls()->listen(backend(), fd, 5));
    return fd;
}

static void raw_say(int fd, const char *text)
{
    must(coil_loop_sock_sendall(NULL, fd, text, strlen(text), NULL));
}

static void raw_expect(int fd, const char *text)
{
    char buf[64] = {0};
    assert_int_equal(must(coil_loop_sock_recv(NULL, fd, buf, sizeof buf - 1)), strlen(text));
    assert_string_equal(buf, text);
}

struct reading {
    int fd;
    char buf[64];
    coil_ret result;
};

static coil_ret read_once(void *arg)
{
    struct reading *r = arg;
    return r->result = coil_loop_sock_recv(NULL, r->fd, r->buf, sizeof r->buf);
}

/* ---- the plain way ---- */

COIL_TEST(raw_bytes_arrive)
{
    int fd[2];
    raw_pair(fd);
    raw_say(fd[0], "hello");
    raw_expect(fd[1], "hello");
    char c = 0;
    assert_int_equal(must(coil_loop_sock_recv(coil_get_running_loop(), fd[1], &c, 0)), 0);
    must(calls()->shutdown(backend(), fd[0], SHUT_WR));
    assert_int_equal(must(coil_loop_sock_recv(NULL, fd[1], &c, 1)), 0);
    raw_close(fd[0]);
    raw_close(fd[1]);
}

COIL_TEST(raw_recv_waits)
{
    int fd[2];
    raw_pair(fd);
    struct reading r[2] = {{.fd = fd[0]}, {.fd = fd[0]}};
    coil_task *first = coil_create_task(read_once, &r[0]),
              *second = coil_create_task(read_once, &r[1]);
    must(coil_sleep(1));
    assert_string_equal(coil_task_waiting_on(first), "recv");
    raw_say(fd[1], "for the first");
    assert_int_equal(coil_join(first), 13);
    raw_say(fd[1], "and the second");
    assert_int_equal(coil_join(second), 14);
    raw_close(fd[0]);
    raw_close(fd[1]);
}

struct sending {
    int fd;
    const char *data;
    size_t n, sent;
};

static coil_ret send_all(void *arg)
{
    struct sending *s = arg;
    return coil_loop_sock_sendall(NULL, s->fd, s->data, s->n, &s->sent);
}

COIL_TEST(raw_sendall_of_megabytes)
{
    enum { N = 3 << 20 };
    int fd[2];
    raw_pair(fd);
    char *data = malloc(N), *got = malloc(N);
    for (size_t i = 0; i < N; i++)
        data[i] = (char)(i * 7 + i / 251);
    struct sending s = {.fd = fd[0], .data = data, .n = N};
    coil_task *task = coil_create_task(send_all, &s);
    size_t have = 0;
    while (have < N)
        have += (size_t)must(coil_loop_sock_recv(NULL, fd[1], got + have, N - have));
    assert_int_equal(coil_join(task), 0);
    assert_int_equal(s.sent, N);
    assert_memory_equal(data, got, N);
    free(data);
    free(got);
    raw_close(fd[0]);
    raw_close(fd[1]);
}

COIL_TEST(raw_sendall_cancelled_says_how_far)
{
    enum { N = 64 << 20 };
    int fd[2];
    raw_pair(fd);
    char *data = calloc(1, N);
    struct sending s = {.fd = fd[0], .data = data, .n = N};
    coil_task *task = coil_create_task(send_all, &s);
    must(coil_sleep(0.1));
    assert_string_equal(coil_task_waiting_on(task), "send");
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    assert_true(s.sent > 0 && s.sent < N);
    raw_close(fd[0]);
    size_t got = 0;
    for (coil_ret rc; (rc = must(coil_loop_sock_recv(NULL, fd[1], data, N))) > 0;)
        got += (size_t)rc;
    assert_int_equal(got, s.sent);
    free(data);
    raw_close(fd[1]);
}

COIL_TEST(raw_datagrams)
{
    coil_address a_name, b_name, from;
    int a = raw_bound(SOCK_DGRAM, &a_name), b = raw_bound(SOCK_DGRAM, &b_name);
    char buf[8];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(must(coil_loop_sock_sendto(NULL, a, "hi", i ? 0 : 2, &b_name)), i ? 0 : 2);
        assert_int_equal(must(coil_loop_sock_recvfrom(NULL, b, buf, sizeof buf, &from)), i ? 0 : 2);
        assert_int_equal(coil_address_port(&from), coil_address_port(&a_name));
    }
    must(coil_loop_sock_sendto(NULL, a, "seventeen letters", 17, &b_name));
    assert_int_equal(coil_loop_sock_recv(NULL, b, buf, sizeof buf), -EMSGSIZE);
    assert_string_equal(coil_last_error()->message,
                        "a datagram came that is larger than the room for it, 8");
    must(coil_loop_sock_sendto(NULL, a, "x", 1, &b_name));
    assert_int_equal(coil_loop_sock_recv(NULL, b, buf, 0), -EMSGSIZE);
    must(coil_loop_sock_connect(NULL, a, &b_name));
    must(coil_loop_sock_sendall(NULL, a, "", 0, NULL)); /* an empty one */
    assert_int_equal(must(coil_loop_sock_recv(NULL, b, buf, 0)), 0);
    raw_close(a);
    raw_close(b);
}

struct filling {
    int fd, sent;
    const coil_address *to;
};

static coil_ret fill(void *arg)
{
    struct filling *f = arg;
    static char data[4096];
    for (;; f->sent++) {
        coil_ret rc = coil_loop_sock_sendto(NULL, f->fd, data, sizeof data, f->to);
        if (rc < 0)
            return rc;
    }
}

COIL_TEST(raw_sendto_waits_for_a_full_receiver)
{
    for (int connected = 0; connected < 2; connected++) {
        coil_address name = {.storage.ss_family = AF_UNIX, .len = sizeof(sa_family_t)};
        int a = (int)must(calls()->socket(backend(), AF_UNIX, SOCK_DGRAM, 0)),
            b = (int)must(calls()->socket(backend(), AF_UNIX, SOCK_DGRAM, 0));
        must(calls()->bind(backend(), b, (struct sockaddr *)&name.storage, name.len));
        name.len = sizeof name.storage;
        must(calls()->getsockname(backend(), b, (struct sockaddr *)&name.storage, &name.len));
        if (connected)
            must(coil_loop_sock_connect(NULL, a, &name));
        struct filling f = {.fd = a, .to = connected ? NULL : &name};
        coil_task *task = coil_create_task(fill, &f);
        must(coil_sleep(0.1));
        assert_true(f.sent > 0);
        static char buf[4096];
        for (int i = 0; i < 1000; i++)
            assert_int_equal(must(coil_loop_sock_recv(NULL, b, buf, sizeof buf)), sizeof buf);
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        assert_true(f.sent >= 1000);
        raw_close(a);
        raw_close(b);
    }
}

struct accepting {
    int listener;
    coil_ret got;
    coil_address peer;
};

static coil_ret accept_once(void *arg)
{
    struct accepting *x = arg;
    return x->got = coil_loop_sock_accept(NULL, x->listener, &x->peer);
}

COIL_TEST(raw_connect_meets_accept)
{
    coil_address at, own = {.len = sizeof own.storage};
    struct accepting x = {.listener = raw_listener(&at)};
    coil_task *task = coil_create_task(accept_once, &x);
    int client = (int)must(calls()->socket(backend(), AF_INET, SOCK_STREAM, 0));
    must(coil_loop_sock_connect(NULL, client, &at));
    int served = (int)must(coil_join(task));
    must(calls()->getsockname(backend(), client, (struct sockaddr *)&own.storage, &own.len));
    assert_int_equal(coil_address_port(&own), coil_address_port(&x.peer));
    if (!wire_is_imaginary()) {
        assert_true(fcntl(served, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(served, F_GETFD) & FD_CLOEXEC);
    }
    raw_say(client, "in");
    raw_expect(served, "in");
    raw_close(client);
    raw_close(served);
    raw_close(x.listener);
    client = (int)must(calls()->socket(backend(), AF_INET, SOCK_STREAM, 0));
    assert_int_equal(coil_loop_sock_connect(NULL, client, &at), -ECONNREFUSED);
    assert_non_null(strstr(coil_last_error()->message, "Connect call failed 127.0.0.1:"));
    raw_close(client);
}

/* ---- cancelling ---- */

COIL_TEST(raw_accept_cancelled_leaves_the_client)
{
    coil_address at;
    struct accepting x = {.listener = raw_listener(&at), .got = 0};
    coil_task *task = coil_create_task(accept_once, &x);
    must(coil_sleep(0.1));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    int client = (int)must(calls()->socket(backend(), AF_INET, SOCK_STREAM, 0));
    must(coil_loop_sock_connect(NULL, client, &at));
    int served = (int)must(coil_loop_sock_accept(NULL, x.listener, NULL));
    raw_say(client, "in");
    raw_expect(served, "in");
    raw_close(client);
    raw_close(served);
    raw_close(x.listener);
}

static coil_ret read_then_sleep(void *arg)
{
    coil_ret rc = read_once(arg);
    return rc < 0 ? rc : coil_sleep(100);
}

COIL_TEST(raw_recv_cancelled_at_any_turn_loses_nothing)
{
    for (int turns = 0; turns < 8; turns++) {
        int fd[2];
        raw_pair(fd);
        struct reading r = {.fd = fd[0]};
        coil_task *task = coil_create_task(read_then_sleep, &r);
        must(coil_sleep(turns & 1 ? 0.1 : 0));
        raw_say(fd[1], "race");
        for (int i = 0; i < turns / 2; i++)
            must(coil_sleep(0));
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        if (r.result != 4)
            raw_expect(fd[0], "race");
        raw_close(fd[0]);
        raw_close(fd[1]);
    }
}

/* ---- what is refused ---- */

COIL_TEST(raw_calls_refuse_what_coil_owns)
{
    coil_sock *a, *b;
    coil_address to;
    char c = 0;
    wire_pair(&a, &b);
    must(coil_sock_getsockname(b, &to));
    int fd = coil_sock_fileno(a);
    assert_int_equal(coil_loop_sock_recv(NULL, fd, &c, 1), COIL_EINVALIDSTATE);
    assert_non_null(strstr(coil_last_error()->message, "belongs to a coil socket"));
    assert_int_equal(coil_loop_sock_recvfrom(NULL, fd, &c, 1, NULL), COIL_EINVALIDSTATE);
    assert_int_equal(coil_loop_sock_sendto(NULL, fd, &c, 1, &to), COIL_EINVALIDSTATE);
    assert_int_equal(coil_loop_sock_sendall(NULL, fd, &c, 1, NULL), COIL_EINVALIDSTATE);
    assert_int_equal(coil_loop_sock_accept(NULL, fd, NULL), COIL_EINVALIDSTATE);
    assert_int_equal(coil_loop_sock_connect(NULL, fd, &to), COIL_EINVALIDSTATE);
    wire_say(a, "unharmed");
    wire_expect(b, "unharmed");
    coil_sock_unref(a);
    coil_sock_unref(b);
}

static coil_ret expect_refusal_of_blocking(void *arg)
{
    int fd[2];
    char c = 0;
    coil_address to;
    must(coil_address_parse("127.0.0.1", "9", &to));
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
    /* These would block: refused always. */
    assert_int_equal(coil_loop_sock_accept(NULL, fd[0], NULL), -EINVAL);
    assert_int_equal(coil_loop_sock_connect(NULL, fd[0], &to), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "must be non-blocking"));
    coil_loop_set_debug(NULL, true);
    assert_int_equal(coil_loop_sock_recv(NULL, fd[0], &c, 1), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "must be non-blocking"));
    assert_int_equal(coil_loop_sock_sendall(NULL, fd[0], &c, 1, NULL), -EINVAL);
    assert_int_equal(coil_loop_sock_recvfrom(NULL, fd[0], &c, 1, NULL), -EINVAL);
    assert_int_equal(coil_loop_sock_sendto(NULL, fd[0], &c, 1, NULL), -EINVAL);
    coil_loop_set_debug(NULL, false);
    /* These do not block, whatever the flags say. */
    struct reading r = {.fd = fd[0]};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.01));
    raw_say(fd[1], "no matter");
    assert_int_equal(coil_join(task), 9);
    close(fd[0]);
    close(fd[1]);
    return 0;
}

COIL_TEST(raw_blocking_descriptor_never_blocks_the_loop)
{
    must(expect_refusal_of_blocking(NULL));
}

COIL_TEST(raw_calls_know_bad_descriptors)
{
    char c = 0;
    coil_address to;
    must(coil_address_parse("127.0.0.1", "9", &to));
    int fds[2];
    must(calls()->pipe(backend(), fds));
    assert_int_equal(coil_loop_sock_recv(NULL, -1, &c, 1), -EBADF);
    assert_int_equal(coil_loop_sock_recv(NULL, -1, &c, 0), -EBADF);
    assert_int_equal(coil_loop_sock_sendall(NULL, 999999, &c, 1, NULL), -EBADF);
    assert_int_equal(coil_loop_sock_accept(NULL, -1, NULL), -EBADF);
    assert_int_equal(coil_loop_sock_connect(NULL, -1, &to), -EBADF);
    assert_int_equal(coil_loop_sock_recv(NULL, fds[0], &c, 1), -ENOTSOCK);
    assert_int_equal(coil_loop_sock_sendto(NULL, fds[1], &c, 1, &to), -ENOTSOCK);
    raw_close(fds[0]);
    raw_close(fds[1]);
}

struct outside {
    coil_ret rc;
    coil_future *over;
};

static void call_outside(void *arg)
{
    struct outside *o = arg;
    char c = 0;
    o->rc = coil_loop_sock_recv(NULL, 0, &c, 1);
    coil_future_set_result(o->over, 0);
}

COIL_TEST(raw_calls_need_a_task_of_that_loop)
{
    struct outside o = {.over = coil_loop_create_future(NULL)};
    must(coil_loop_call_soon(NULL, call_outside, &o, NULL));
    must(coil_join(o.over));
    assert_int_equal(o.rc, COIL_ENOTASK);
    coil_run_opts opts = {.size = sizeof opts};
    coil_loop *other = coil_new_event_loop(&opts);
    char c = 0;
    assert_int_equal(coil_loop_sock_recv(other, 0, &c, 1), COIL_EWRONGLOOP);
    coil_loop_free(other);
}

/* ---- numbers that are closed and mean another socket ---- */

/* On every backend these are real: nobody else reuses numbers behind coil's back. */
static void reopen(int number, int out[2])
{
    real_pair(out);
    if (out[0] != number) {
        must(dup2(out[0], number));
        close(out[0]);
        out[0] = number;
    }
}

COIL_TEST(raw_number_closed_and_reused_between_two_calls)
{
    int old[2], now[2];
    real_pair(old);
    for (int i = 0; i < 5; i++) {
        struct reading r = {.fd = old[0]};
        coil_task *task = coil_create_task(read_once, &r);
        must(coil_sleep(0.01));
        raw_say(old[1], "x");
        assert_int_equal(coil_join(task), 1);
        int copy = i & 1 ? dup(old[0]) : -1; /* sometimes the old file lives on */
        close(old[0]);
        reopen(old[0], now);
        if (copy >= 0) {
            raw_say(old[1], "nobody reads this");
            close(copy);
        }
        close(old[1]);
        memcpy(old, now, sizeof old);
    }
    close(old[0]);
    close(old[1]);
}

COIL_TEST(raw_number_closed_and_reused_after_a_cancel)
{
    for (int copied = 0; copied < 2; copied++) {
        int old[2], now[2];
        real_pair(old);
        struct reading r = {.fd = old[0]};
        coil_task *task = coil_create_task(read_once, &r);
        must(coil_sleep(0.01));
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        int copy = copied ? dup(old[0]) : -1;
        close(old[0]);
        reopen(old[0], now);
        r = (struct reading){.fd = now[0]};
        task = coil_create_task(read_once, &r);
        if (copied)
            raw_say(old[1], "for the old one");
        must(coil_sleep(0.01));
        assert_false(coil_future_done(task));
        raw_say(now[1], "for the new one");
        assert_int_equal(coil_join(task), 15);
        assert_memory_equal(r.buf, "for the new one", 15);
        if (copied)
            close(copy);
        close(old[1]);
        close(now[0]);
        close(now[1]);
    }
}

COIL_TEST(raw_number_forgotten_while_somebody_waits)
{
    int old[2], now[2];
    real_pair(old);
    struct reading r = {.fd = old[0]}, s = {.fd = old[0]};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.01));
    coil_loop_forget_fd(NULL, old[0]);
    close(old[0]);
    reopen(old[0], now);
    coil_task *second = coil_create_task(read_once, &s);
    assert_int_equal(coil_join(task), -EBADF); /* and is not cancelled */
    must(coil_sleep(0.01));
    raw_say(now[1], "new");
    assert_int_equal(coil_join(second), 3);
    close(old[1]);
    close(now[0]);
    close(now[1]);
}

/* The worst order: nobody said a word. Nobody sleeps for ever, nothing is lost. */
COIL_TEST(raw_number_closed_and_reused_while_somebody_waits)
{
    int old[2], now[2];
    real_pair(old);
    struct reading r = {.fd = old[0]}, s = {.fd = old[0]};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.01));
    close(old[0]);
    reopen(old[0], now);
    coil_task *second = coil_create_task(read_once, &s);
    must(coil_sleep(0.01));
    raw_say(now[1], "one");
    while (r.result == 0 && s.result == 0)
        must(coil_sleep(0.001));
    raw_say(now[1], "two");
    assert_int_equal(coil_join(task), 3);
    assert_int_equal(coil_join(second), 3);
    close(old[1]);
    close(now[0]);
    close(now[1]);
}

COIL_TEST(raw_number_that_becomes_coils_ends_the_wait)
{
    int old[2];
    raw_pair(old);
    struct reading r = {.fd = old[0]};
    coil_task *task = coil_create_task(read_once, &r);
    must(coil_sleep(0.01));
    coil_sock *sock;
    assert_int_equal(coil_sock_adopt(NULL, old[0], &sock), -EBUSY);
    if (!wire_is_imaginary()) {
        close(old[0]); /* behind coil's back */
        must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
        assert_int_equal(coil_sock_fileno(sock), old[0]);
        assert_int_equal(coil_join(task), -EBADF);
    } else {
        coil_task_cancel(task, NULL);
        assert_int_equal(coil_join(task), -ECANCELED);
        must(coil_sock_adopt(NULL, old[0], &sock));
    }
    assert_int_equal(coil_loop_sock_recv(NULL, old[0], r.buf, 1), COIL_EINVALIDSTATE);
    coil_sock_unref(sock);
    raw_close(old[1]);
    /* And back: the number is anybody's again. */
    int now[2];
    raw_pair(now);
    assert_true(now[0] == old[0] || now[1] == old[0]);
    raw_say(now[0], "x");
    raw_expect(now[1], "x");
    raw_say(now[1], "y");
    raw_expect(now[0], "y");
    raw_close(now[0]);
    raw_close(now[1]);
}

/* ---- fairness and the end ---- */

static coil_ret pump(void *arg)
{
    char c = 0;
    coil_ret rc = 1;
    for (int i = 0; rc == 1 && i < 10000; i++)
        rc = coil_loop_sock_recv(NULL, *(int *)arg, &c, 1);
    return rc;
}

static coil_ret count_turns(void *arg)
{
    for (int *n = arg;; ++*n) {
        coil_ret rc = coil_sleep(0);
        if (rc < 0)
            return rc;
    }
}

COIL_TEST(raw_socket_always_ready_is_no_monopoly)
{
    static const char data[10000];
    int fd[2], turns = 0;
    raw_pair(fd);
    must(coil_loop_sock_sendall(NULL, fd[1], data, sizeof data, NULL));
    coil_task *counter = coil_create_task(count_turns, &turns);
    assert_int_equal(must(coil_join(coil_create_task(pump, &fd[0]))), 1);
    assert_true(turns > 10000 / NET_BURST_MAX / 2);
    coil_task_cancel(counter, NULL);
    coil_ignore(coil_join(counter));
    raw_close(fd[0]);
    raw_close(fd[1]);
}

static int left_other_end;
static struct accepting left_accept;
static struct reading left_read;

static coil_ret leave_waiting(void *arg)
{
    coil_address at;
    int fd[2];
    left_accept.listener = raw_listener(&at);
    raw_pair(fd);
    left_read.fd = fd[0];
    left_other_end = fd[1];
    coil_unref(coil_create_task(accept_once, &left_accept));
    coil_unref(coil_create_task(read_once, &left_read));
    must(coil_sleep(0.01));
    if (arg) { /* a connection is on its way to the accept while that is unwound */
        int client = (int)must(calls()->socket(backend(), AF_INET, SOCK_STREAM, 0));
        must(coil_loop_sock_connect(NULL, client, &at));
        must(calls()->close(backend(), client));
    }
    return 0;
}

COIL_TEST_PLAIN(raw_waits_are_unwound_with_their_loop)
{
    for (int i = 0; i < 2; i++) {
        left_accept.got = left_read.result = 1;
        assert_int_equal(wire_run(leave_waiting, i ? &left_read : NULL), 0);
        assert_int_equal(left_read.result, COIL_EEXIT);
        assert_true(left_accept.got == COIL_EEXIT || left_accept.got >= 0);
        if (left_accept.listener < 1 << 24) { /* a real one */
            close(left_accept.listener);
            close(left_read.fd);
            close(left_other_end);
            if (left_accept.got >= 0)
                close((int)left_accept.got);
        }
    }
}

/* ---- memory ---- */

static void exchange_or_not(void *arg)
{
    int *made = arg, fd[2];
    if (calls()->socketpair(backend(), AF_UNIX, SOCK_STREAM, fd) < 0)
        return;
    struct reading r = {.fd = fd[0]};
    coil_task *task = coil_create_task(read_once, &r);
    coil_ret rc = coil_sleep(0);
    if (rc == 0) {
        do
            rc = coil_loop_sock_sendall(NULL, fd[1], "x", 1, NULL);
        while (rc == -ENOMEM);
        must(rc);
    }
    if (!coil_future_done(task) && rc < 0)
        coil_task_cancel(task, NULL);
    rc = coil_join(task);
    assert_true(rc == 1 || rc == -ENOMEM || rc == -ECANCELED);
    *made += rc == 1;
    must(calls()->close(backend(), fd[0]));
    must(calls()->close(backend(), fd[1]));
}

COIL_TEST(raw_calls_survive_failing_allocations)
{
    int made = 0;
    exchange_or_not(&made);
    sweep_allocations(exchange_or_not, &made);
    assert_true(made >= 2);
}

COIL_TEST_MAIN()
