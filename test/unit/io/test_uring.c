/* SPDX-License-Identifier: MIT
 *
 * test_uring.c: what only io_uring does: buffers and connections that nobody asked for yet, requests that keep
 * files open, a ring that belongs to a thread, kernels that lack something. Elsewhere: the contract of every
 * backend (test_backend.c). */
#include "world.h"

#include "base/thread.h"
#include "coro/tooling.h"
#include "io/uring.h"

#include <coil/error.h>

#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define WORLD                        \
    struct world world, *w = &world; \
    must_open(w)

/* Its own backend, whatever COIL_BACKEND says; the old kernel's where the name asks for it. */
static void must_open(struct world *w)
{
    const char *name = getenv("COIL_BACKEND");
    bool old = name && strcmp(name, "uring-5.15") == 0;
    int err = world_try_open(w, old ? &coil__backend_uring_5_15 : &coil__backend_uring, 0);
    if (err == -ENOSYS || err == -EPERM) {
        print_message("io_uring is not to be had here\n");
        skip();
    }
    assert_int_equal(err, 0);
}

static bool is_old(const struct world *w)
{
    return w->cls == &coil__backend_uring_5_15;
}

static int restore(void **state)
{
    coil__sys = coil__sys_real;
    return 0;
}

/* ---- counting and refusing ---- */

static int recvs, enters, polls;

static ssize_t counted_recv(int fd, void *p, size_t n, int flags)
{
    recvs++;
    return coil__sys_real.recv(fd, p, n, flags);
}

static int counted_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    polls++;
    return coil__sys_real.ppoll(p, n, t, m);
}

static int counted_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                         size_t arg_n)
{
    enters++;
    return coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
}

static void count_calls(void)
{
    recvs = enters = polls = 0;
    coil__sys.recv = counted_recv;
    coil__sys.ppoll = counted_ppoll;
    coil__sys.io_uring_enter = counted_enter;
}

/* ---- receiving by itself ---- */

static void expect_recv(struct world *w, int fd, const char *text)
{
    char buf[64];
    ssize_t got = w->calls->recv(w->b, fd, buf, sizeof buf, 0);
    if (got == -EAGAIN) {
        struct test_op r = recv_op(fd, buf, sizeof buf);
        submit(w, &r);
        run_until(w, &r, 1);
        got = (ssize_t)r.op.result;
    }
    assert_int_equal(got, strlen(text));
    assert_memory_equal(buf, text, (size_t)got);
}

static void small_messages_need_no_receive_call(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    make_tcp(w, fd);
    own(w, fd[0]);
    count_calls();
    for (int i = 0; i < 100; i++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        if (w->calls->recv(w->b, fd[0], buf, sizeof buf, 0) != -EAGAIN)
            fail();
        submit(w, &r);
        assert_int_equal(turn(w, 0), 0);
        assert_int_equal(w->calls->send(w->b, fd[1], "hello", 5), 5);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 5);
    }
    if (is_old(w))
        assert_true(recvs >= 100);
    else
        assert_true(recvs <= 1); /* the first look */
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* As transports do: one op waits for something to be there, and then it is received. */
static void who_polls_and_says_that_it_will_receive_needs_no_call_either(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    make_tcp(w, fd);
    own(w, fd[0]);
    count_calls();
    for (int i = 0; i < 100; i++) {
        struct test_op p = poll_op(fd[0], OP_IN, OP_AHEAD);
        submit(w, &p);
        assert_int_equal(turn(w, 0), 0);
        assert_int_equal(w->calls->send(w->b, fd[1], "hello", 5), 5);
        run_until(w, &p, 1);
        assert_int_equal(p.op.result, OP_IN);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 5);
    }
    if (is_old(w)) {
        assert_true(recvs >= 100);
    } else {
        assert_int_equal(recvs, 0);
        assert_true(polls <= 1); /* the first look */
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void who_only_polls_gets_nothing_by_itself(void **state)
{
    WORLD;
    int fd[2];
    char c = 0;
    make_tcp(w, fd);
    own(w, fd[0]);
    struct test_op p = poll_op(fd[0], OP_IN, 0);
    submit(w, &p);
    look_once(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
    run_until(w, &p, 1);
    assert_int_equal(recv(fd[0], &c, 1, MSG_DONTWAIT), 1); /* it is still the kernel's */
    assert_int_equal(c, 'x');
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_look_without_anything_to_do_enters_no_kernel(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    look_once(w);
    count_calls();
    for (int i = 0; i < 10; i++)
        assert_int_equal(look_once(w), 0);
    assert_int_equal(enters, is_old(w) ? 10 : 0);
    assert_int_equal(cancel(w, &r), 0);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void bytes_that_came_for_a_cancelled_op_are_kept(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    look_once(w);
    assert_int_equal(cancel(w, &r), 0);
    assert_int_equal(w->calls->send(w->b, fd[1], "one", 3), 3);
    turn(w, NS_PER_MS);
    assert_int_equal(r.done, 0);
    expect_recv(w, fd[0], "one");
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_peek_takes_nothing(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 1);
    submit(w, &r);
    look_once(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "abcd", 4), 4);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, MSG_PEEK), 3);
        assert_memory_equal(buf, "bcd", 3);
    }
    expect_recv(w, fd[0], "bcd");
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_peek_of_less_than_is_held_stops_in_time(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 1);
    submit(w, &r);
    for (int i = 0; i < 3; i++) { /* a buffer each */
        look_once(w);
        assert_int_equal(w->calls->send(w->b, fd[1], "ab", 2), 2);
    }
    run_until(w, &r, 1);
    look_once(w);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, 1, MSG_PEEK), 1);
    assert_int_equal(buf[0], 'b');
    char all[8];
    size_t n = 0;
    while (n < 5) {
        ssize_t got = w->calls->recv(w->b, fd[0], all + n, sizeof all - n, 0);
        if (got == -EAGAIN)
            look_once(w);
        else
            n += (size_t)got;
    }
    assert_memory_equal(all, "babab", 5);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* The end was received by itself, and is no answer to an accept. */
static void an_accept_on_a_stream_that_has_ended_is_invalid(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 1);
    submit(w, &r);
    look_once(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "ab", 2), 2);
    close_fd(w, fd[1]);
    run_until(w, &r, 1);
    for (int i = 0; i < 3; i++)
        look_once(w);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 1);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 0);
    assert_int_equal(w->calls->accept(w->b, fd[0], NULL, NULL), -EINVAL);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 0);
    close_fd(w, fd[0]);
    world_close(w);
}

static void a_descriptor_that_is_closed_before_the_kernel_hears_of_it_is_told(void **state)
{
    WORLD;
    int fd[2];
    make_pair(w, fd);
    struct test_op p = poll_op(fd[0], OP_IN, 0);
    submit(w, &p);
    close(fd[0]); /* and not by us */
    run_until(w, &p, 1);
    assert_int_equal(p.op.result, -EBADF);
    close_fd(w, fd[1]);
    world_close(w);
}

/* An end that comes together with data: the kernel's RECV gets the data and does not look again. */
static void an_end_that_came_with_data_is_seen(void **state)
{
    WORLD;
    for (int how = 0; how < 4; how++) {
        int fd[2];
        char buf[16];
        if (how < 2)
            make_pair(w, fd);
        else
            make_tcp(w, fd);
        own(w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        look_once(w);
        if (how % 2) { /* unread input: the close is a reset */
            assert_int_equal(w->calls->send(w->b, fd[0], "unread", 6), 6);
            struct test_op there = poll_op(fd[1], OP_IN, 0);
            submit(w, &there);
            run_until(w, &there, 1);
        }
        assert_int_equal(w->calls->send(w->b, fd[1], "last", 4), 4);
        close_fd(w, fd[1]);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 4);
        struct test_op end = recv_op(fd[0], buf, sizeof buf);
        submit(w, &end);
        run_until(w, &end, 1);
        assert_true(end.op.result == 0 || end.op.result == -ECONNRESET);
        close_fd(w, fd[0]);
    }
    world_close(w);
}

enum { MANY = 400 };

static void more_sockets_than_buffers_all_get_theirs(void **state)
{
    WORLD;
    static int fds[MANY][2];
    static char bufs[MANY][16];
    static struct test_op ops[MANY];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            if (round == 0) {
                make_pair(w, fds[i]);
                own(w, fds[i][0]);
            }
            ops[i] = recv_op(fds[i][0], bufs[i], sizeof bufs[i]);
            submit(w, &ops[i]);
        }
        look_once(w);
        for (int i = 0; i < MANY; i++) {
            char text[16];
            int n = snprintf(text, sizeof text, "%d/%d", i, round);
            assert_int_equal(w->calls->send(w->b, fds[i][1], text, (size_t)n), n);
        }
        for (int i = 0; i < MANY; i++) {
            char text[16];
            int n = snprintf(text, sizeof text, "%d/%d", i, round);
            run_until(w, &ops[i], 1);
            assert_int_equal(ops[i].op.result, n);
            assert_memory_equal(bufs[i], text, (size_t)n);
        }
    }
    for (int i = 0; i < MANY; i++) {
        close_fd(w, fds[i][0]);
        close_fd(w, fds[i][1]);
    }
    world_close(w);
}

/* Sends until the kernel takes no more; byte k of the stream is k * 7. */
static size_t fill(struct world *w, int fd, size_t from, size_t most)
{
    static char chunk[65536];
    size_t sent = 0;
    while (sent < most) {
        size_t n = most - sent < sizeof chunk ? most - sent : sizeof chunk;
        for (size_t i = 0; i < n; i++)
            chunk[i] = (char)((from + sent + i) * 7);
        ssize_t rc = w->calls->send(w->b, fd, chunk, n);
        if (rc == -EAGAIN)
            break;
        assert_true(rc > 0);
        sent += (size_t)rc;
    }
    return sent;
}

static size_t drain(struct world *w, int fd, size_t from, size_t want)
{
    static char chunk[65536];
    size_t got = 0;
    while (got < want) {
        ssize_t rc = w->calls->recv(w->b, fd, chunk, sizeof chunk, 0);
        if (rc == -EAGAIN) {
            struct test_op r = recv_op(fd, chunk, sizeof chunk);
            submit(w, &r);
            run_until(w, &r, 1);
            rc = (ssize_t)r.op.result;
        }
        assert_true(rc > 0);
        for (ssize_t i = 0; i < rc; i++)
            if (chunk[i] != (char)((from + got + (size_t)i) * 7))
                fail_msg("byte %zu is not what was sent", from + got + (size_t)i);
        got += (size_t)rc;
    }
    return got;
}

static void what_nobody_reads_is_bounded_and_in_order(void **state)
{
    WORLD;
    int fd[2];
    char buf[1];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 1);
    submit(w, &r);
    look_once(w);
    size_t sent = fill(w, fd[1], 0, 1);
    run_until(w, &r, 1);
    int64_t before = coil__mem_live();
    for (int i = 0; i < 200; i++) {
        sent += fill(w, fd[1], sent, 64 << 20);
        turn(w, NS_PER_MS);
    }
    assert_true(sent < 4 << 20);                 /* the socket's own buffers, and a few of ours */
    assert_true(coil__mem_live() <= before + 1); /* the stock may have grown once */
    drain(w, fd[0], 1, sent - 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_flood_is_received_by_large_calls_and_a_trickle_by_none(void **state)
{
    WORLD;
    int fd[2];
    make_pair(w, fd);
    own(w, fd[0]);
    size_t at = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t end = at + (8 << 20); at < end;) {
            size_t sent = fill(w, fd[1], at, 256 << 10);
            at += drain(w, fd[0], at, sent);
        }
        for (int i = 0; i < 100; i++) {
            if (i == 80)
                count_calls();
            char buf[64];
            struct test_op r = recv_op(fd[0], buf, sizeof buf);
            submit(w, &r);
            look_once(w);
            assert_int_equal(fill(w, fd[1], at, 10), 10);
            run_until(w, &r, 1);
            assert_int_equal(r.op.result, 10);
            assert_int_equal(buf[0], (char)(at * 7));
            at += 10;
        }
        if (!is_old(w))
            assert_true(recvs <= 1);
        coil__sys = coil__sys_real;
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* ---- letting go ---- */

/* A request keeps its file open; the peer must not have to wait for our next turn to hear of a close. */
static void a_peer_hears_of_a_close_at_once(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        char buf[8];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        look_once(w);
        assert_int_equal(recv(fd[1], buf, sizeof buf, MSG_DONTWAIT), -1);
        assert_int_equal(cancel(w, &r), 0);
        if (owned)
            close_fd(w, fd[0]);
        else
            assert_int_equal(close(fd[0]), 0);
        assert_int_equal(recv(fd[1], buf, sizeof buf, MSG_DONTWAIT), 0);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

/* The kernel does its pending work a few pieces at a time, and a cancel stands last. */
static void a_close_among_many_that_have_news_is_heard_at_once(void **state)
{
    enum { NOISY = 100 };
    WORLD;
    int fd[2], noisy[NOISY][2];
    char buf[8], bufs[NOISY];
    static struct test_op ops[NOISY];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    for (int i = 0; i < NOISY; i++) {
        make_pair(w, noisy[i]);
        own(w, noisy[i][0]);
        ops[i] = recv_op(noisy[i][0], &bufs[i], 1);
        submit(w, &ops[i]);
    }
    look_once(w);
    for (int i = 0; i < NOISY; i++)
        assert_int_equal(w->calls->send(w->b, noisy[i][1], "x", 1), 1);
    assert_int_equal(cancel(w, &r), 0);
    close_fd(w, fd[0]);
    assert_int_equal(recv(fd[1], buf, sizeof buf, MSG_DONTWAIT), 0);
    close_fd(w, fd[1]);
    for (int i = 0; i < NOISY; i++) {
        run_until(w, &ops[i], 1);
        close_fd(w, noisy[i][0]);
        close_fd(w, noisy[i][1]);
    }
    world_close(w);
}

/* What is held, and then a reset: two pieces get the first, and the reset is told to the next call. */
static void a_receive_in_pieces_leaves_the_error_to_the_next(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 2);
    submit(w, &r);
    look_once(w);
    assert_int_equal(w->calls->send(w->b, fd[0], "unread", 6), 6);
    struct test_op there = poll_op(fd[1], OP_IN, 0);
    submit(w, &there);
    run_until(w, &there, 1);
    assert_int_equal(w->calls->send(w->b, fd[1], "abcd", 4), 4);
    run_until(w, &r, 1);
    close_fd(w, fd[1]); /* a reset */
    for (int i = 0; i < 20; i++)
        turn(w, NS_PER_MS);
    struct iovec v[2] = {{buf, 2}, {buf + 2, 2}};
    struct msghdr hdr = {.msg_iov = v, .msg_iovlen = 2};
    struct test_op m = {.op = {.done = on_done, .fd = fd[0], .kind = OP_RECVMSG, .msg = {&hdr, 0}}};
    submit(w, &m);
    run_until(w, &m, 1);
    assert_int_equal(m.op.result, 2);
    assert_memory_equal(buf, "cd", 2);
    struct test_op end = recv_op(fd[0], buf, sizeof buf);
    submit(w, &end);
    run_until(w, &end, 1);
    assert_int_equal(end.op.result, -ECONNRESET);
    close_fd(w, fd[0]);
    world_close(w);
}

static void connections_nobody_took_close_with_their_listener(void **state)
{
    WORLD;
    struct sockaddr_storage addr;
    socklen_t len;
    char buf[8];
    int listener = make_listener(w, &addr, &len, 8), client[3];
    own(w, listener);
    struct test_op a = accept_op(listener), c[3];
    a.op.flags = OP_AHEAD;
    submit(w, &a);
    look_once(w);
    for (int i = 0; i < 3; i++) {
        client[i] = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
        c[i] = connect_op(client[i], &addr, len);
        submit(w, &c[i]);
    }
    for (int i = 0; i < 3; i++)
        run_until(w, &c[i], 1);
    while (!a.done)
        turn(w, NS_PER_S);
    assert_true(a.op.result >= 0);
    close_fd(w, (int)a.op.result);
    close_fd(w, listener);
    for (int i = 0; i < 3; i++) {
        ssize_t rc;
        while ((rc = recv(client[i], buf, sizeof buf, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
            turn(w, NS_PER_MS);
        assert_true(rc == 0 || errno == ECONNRESET);
        close_fd(w, client[i]);
    }
    world_close(w);
}

/* ---- the ring fills up ---- */

enum { READY = 5000 };

static void more_completions_than_the_ring_holds_all_come(void **state)
{
    WORLD;
    static struct test_op ops[READY];
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(fd >= 0);
    static int copies[READY];
    for (int i = 0; i < READY; i++) {
        copies[i] = dup(fd);
        assert_true(copies[i] >= 0);
        ops[i] = poll_op(copies[i], OP_IN, 0);
        submit(w, &ops[i]);
    }
    for (int i = 0; i < READY; i++) {
        run_until(w, &ops[i], 1);
        assert_int_equal(ops[i].op.result, OP_IN);
        close(copies[i]);
    }
    close(fd);
    world_close(w);
}

static int refusals, refusal;

static int refusing_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                          size_t arg_n)
{
    if (refusals > 0) {
        refusals--;
        return refusal;
    }
    return coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
}

static void a_kernel_that_takes_nothing_now_takes_it_later(void **state)
{
    WORLD;
    static const int errors[] = {-EAGAIN, -EBUSY, -EINTR};
    for (int k = 0; k < 3; k++) {
        int fd[2];
        char buf[8];
        make_pair(w, fd);
        own(w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf), p = poll_op(fd[1], OP_IN, 0);
        submit(w, &r);
        submit(w, &p);
        refusals = 5;
        refusal = errors[k];
        coil__sys.io_uring_enter = refusing_enter;
        for (int i = 0; i < 5; i++)
            assert_int_equal(w->cls->wait(w->b, NS_PER_MS), 0);
        assert_int_equal(refusals, 0);
        assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
        assert_int_equal(w->calls->send(w->b, fd[0], "y", 1), 1);
        run_until(w, &r, 1);
        run_until(w, &p, 1);
        coil__sys = coil__sys_real;
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

/* ---- kernels that lack something ---- */

static unsigned refused_flags, granted_flags;

static int picky_setup(unsigned entries, struct io_uring_params *params)
{
    if (params && (params->flags & refused_flags))
        return -EINVAL;
    granted_flags = params ? params->flags : 0;
    return coil__sys_real.io_uring_setup(entries, params);
}

static bool no_stock;

static int picky_register(int fd, unsigned what, void *arg, unsigned n)
{
    if (no_stock && what == IORING_REGISTER_PBUF_RING)
        return -EINVAL;
    return coil__sys_real.io_uring_register(fd, what, arg, n);
}

static void play(struct world *w)
{
    int fd[2];
    char buf[16];
    make_tcp(w, fd);
    own(w, fd[0]);
    own(w, fd[1]);
    for (int i = 0; i < 10; i++) {
        struct test_op r = recv_op(fd[i % 2], buf, sizeof buf);
        submit(w, &r);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, fd[1 - i % 2], "ping", 4), 4);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 4);
    }
    close_fd(w, fd[0]);
    struct test_op end = recv_op(fd[1], buf, sizeof buf);
    submit(w, &end);
    run_until(w, &end, 1);
    assert_int_equal(end.op.result, 0);
    close_fd(w, fd[1]);
}

static void flags_are_given_up_one_by_one(void **state)
{
    static const unsigned refused[] = {0, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
                                       IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
                                       IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                                           IORING_SETUP_SUBMIT_ALL};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        refused_flags = refused[i];
        coil__sys.io_uring_setup = picky_setup;
        WORLD;
        assert_int_equal(granted_flags & refused[i], 0);
        if (!is_old(w) && refused[i] == IORING_SETUP_DEFER_TASKRUN)
            assert_true(granted_flags & IORING_SETUP_COOP_TASKRUN);
        play(w);
        world_close(w);
        coil__sys = coil__sys_real;
    }
}

static void without_a_stock_of_buffers_it_polls(void **state)
{
    no_stock = true;
    coil__sys.io_uring_register = picky_register;
    WORLD;
    play(w);
    world_close(w);
    no_stock = false;
}

static int no_setup(unsigned entries, struct io_uring_params *params)
{
    return -EPERM;
}

static int setup_that_knows_no_flag(unsigned entries, struct io_uring_params *params)
{
    (void)entries, (void)params;
    return -EINVAL;
}

static int setup_that_lacks_features(unsigned entries, struct io_uring_params *params)
{
    int fd = coil__sys_real.io_uring_setup(entries, params);
    if (params)
        params->features = 0;
    return fd;
}

static void refuses_to_open(int (*setup)(unsigned entries, struct io_uring_params *params),
                            int error)
{
    struct world world;
    coil__sys.io_uring_setup = setup;
    assert_int_equal(world_try_open(&world, &coil__backend_uring, 0), error);
    assert_int_equal(coil__mem_live(), world.live);
    assert_int_equal(count_fds(), world.open_fds);
}

static void a_kernel_that_says_no_leaves_nothing_behind(void **state)
{
    refuses_to_open(no_setup, -EPERM);
    refuses_to_open(setup_that_knows_no_flag, -EINVAL);
}

static void a_kernel_that_lacks_what_is_needed_leaves_nothing_behind(void **state)
{
    WORLD; /* there is one */
    world_close(w);
    refuses_to_open(setup_that_lacks_features, -ENOSYS);
}

static struct ring *spoiled;

/* Requests to receive by itself carry a flag that no kernel knows. */
static int spoiling_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                          size_t arg_n)
{
    for (uint32_t at = spoiled->tail - submit; at != spoiled->tail; at++) {
        struct io_uring_sqe *sqe = &spoiled->sqes[at & spoiled->sq_mask];
        if (sqe->opcode == IORING_OP_RECV)
            sqe->ioprio |= 1 << 15;
    }
    return coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
}

static void a_kernel_that_receives_nothing_by_itself_is_polled(void **state)
{
    WORLD;
    spoiled = &uring_of_backend(w->b)->ring;
    coil__sys.io_uring_enter = spoiling_enter;
    play(w);
    assert_true(uring_of_backend(w->b)->no_recv);
    coil__sys = coil__sys_real;
    world_close(w);
}

/* ---- completions with errors that are rare ---- */

static struct {
    struct ring *ring;
    uint64_t tag;   /* the low three bits of those it is about; FOR_OP: all of the op's address */
    bool last_only; /* those that say that no more will come */
    int32_t res;    /* what they say instead */
    int times;
} edit;

static bool is_meant(const struct io_uring_cqe *cqe)
{
    uint64_t mask = edit.tag > 7 ? UINT64_MAX : 7;
    return (cqe->user_data & mask) == edit.tag &&
           !(edit.last_only && (cqe->flags & IORING_CQE_F_MORE));
}

/* What the kernel has just completed is what it says; whatever it had completed before was read already. */
static int editing_enter(int fd, unsigned submit, unsigned want, unsigned flags, const void *arg,
                         size_t arg_n)
{
    int rc = coil__sys_real.io_uring_enter(fd, submit, want, flags, arg, arg_n);
    uint32_t end = __atomic_load_n(edit.ring->cq_tail, __ATOMIC_ACQUIRE);
    for (uint32_t at = *edit.ring->cq_head; at != end && edit.times > 0; at++) {
        struct io_uring_cqe *cqe = &edit.ring->cqes[at & edit.ring->cq_mask];
        if (!is_meant(cqe) || cqe->res == edit.res)
            continue;
        cqe->res = edit.res;
        edit.times--;
    }
    return rc;
}

static void edit_completions(struct world *w, uint64_t tag, bool last_only, int32_t res, int times)
{
    edit.ring = &uring_of_backend(w->b)->ring;
    edit.tag = tag;
    edit.last_only = last_only;
    edit.res = res;
    edit.times = times;
    coil__sys.io_uring_enter = editing_enter;
}

/* Under Valgrind sleeps are a poll's, and completions come in behind our back. */
static void skip_where_completions_cannot_be_edited(void)
{
    if (tool_on_valgrind())
        skip();
}

/* As a terminal does whose mode was changed. */
static void a_poll_that_is_refused_once_is_asked_again(void **state)
{
    static const int errors[] = {-EINVAL, -ECANCELED, -ENOMEM};
    skip_where_completions_cannot_be_edited();
    WORLD;
    int fd[2];
    make_pair(w, fd);
    for (int i = 0; i < 3; i++) {
        struct test_op p = poll_op(fd[0], OP_IN, 0);
        edit_completions(w, FOR_IN, false, errors[i], 1);
        submit(w, &p);
        look_once(w);
        assert_int_equal(send(fd[1], "x", 1, 0), 1);
        run_until(w, &p, 1);
        assert_int_equal(edit.times, 0);
        assert_int_equal(p.op.result, OP_IN);
        coil__sys = coil__sys_real;
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_poll_that_is_refused_each_time_is_an_error(void **state)
{
    static const int errors[] = {-EINVAL, -EPERM};
    skip_where_completions_cannot_be_edited();
    for (int i = 0; i < 2; i++) {
        WORLD;
        int fd[2];
        make_pair(w, fd);
        struct test_op p = poll_op(fd[0], OP_IN, 0);
        edit_completions(w, FOR_IN, false, errors[i], 1000);
        submit(w, &p);
        look_once(w);
        assert_int_equal(send(fd[1], "x", 1, 0), 1);
        run_until(w, &p, 1);
        assert_int_equal(p.op.result, errors[i]);
        coil__sys = coil__sys_real;
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
        world_close(w);
    }
}

/* A request that receives ends for a reason that is none of the stream's: the end is heard all the same, after it. */
static void a_receive_that_ends_by_itself_is_no_end_of_the_stream(void **state)
{
    static const int errors[] = {-ECANCELED, -EAGAIN, -EINTR, -ENOMEM, -EINVAL, -EOPNOTSUPP};
    skip_where_completions_cannot_be_edited();
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        WORLD;
        int fd[2];
        char buf[8];
        make_pair(w, fd);
        own(w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        edit_completions(w, FOR_RECV, true, errors[i], 1);
        submit(w, &r);
        look_once(w);
        close_fd(w, fd[1]);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 0);
        if (!is_old(w)) /* which receives nothing by itself */
            assert_int_equal(edit.times, 0);
        coil__sys = coil__sys_real;
        close_fd(w, fd[0]);
        world_close(w);
    }
}

/* ---- operations on files ---- */

static struct test_op file_op(enum op_kind kind, int fd, void *p, size_t n)
{
    return (struct test_op){
        .op = {.kind = kind, .done = on_done, .fd = fd, .at = {.p = p, .n = n, .offset = -1}}};
}

static void an_operation_that_is_not_under_way_cannot_be_cancelled(void **state)
{
    WORLD;
    int ends[2];
    char buf[4];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct test_op r = file_op(OP_PREAD, ends[0], buf, sizeof buf);
    assert_int_equal(cancel(w, &r), -ENOENT);
    assert_int_equal(write(ends[1], "ab", 2), 2);
    submit(w, &r);
    for (int i = 0; i < 1000 && r.op.state == OP_PENDING; i++)
        assert_int_equal(w->cls->wait(w->b, NS_PER_S), 0);
    assert_int_equal(r.op.state, OP_FINISHED);
    assert_int_equal(cancel(w, &r), -EINPROGRESS); /* done, and still to be told */
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    close(ends[0]);
    close(ends[1]);
    world_close(w);
}

/* The number may be another file's by now, so it is not closed again. */
static void a_close_that_is_interrupted_was_made(void **state)
{
    WORLD;
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct test_op c = file_op(OP_CLOSE, zero, NULL, 0);
    edit_completions(w, (uint64_t)(uintptr_t)&c.op, false, -EINTR, 1);
    submit(w, &c);
    run_until(w, &c, 1);
    assert_int_equal(edit.times, 0);
    assert_int_equal(c.op.result, 0);
    assert_int_equal(fcntl(zero, F_GETFD), -1);
    coil__sys = coil__sys_real;
    world_close(w);
}

/* A request says how much in 32 bits. */
static void a_read_of_four_gigabytes_and_one_is_not_a_read_of_one(void **state)
{
    WORLD;
    int ends[2];
    static char buf[8]; /* for the two bytes that there are */
    if (sizeof(size_t) < 8)
        skip();
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "ab", 2), 2);
    struct test_op r = file_op(OP_PREAD, ends[0], buf, (size_t)(UINT64_C(1) << 32) + 1);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    close(ends[0]);
    close(ends[1]);
    world_close(w);
}

struct file_errand {
    struct world *w;
    struct test_op *read, *close;
};

static void ask_elsewhere(void *arg)
{
    struct file_errand *e = arg;
    submit(e->w, e->read);
    submit(e->w, e->close);
}

/* The first thread's operation is under way, and only to that thread will the kernel tell its end. A close is made
 * in any case. */
static void another_thread_may_begin_no_operation_but_may_close(void **state)
{
    WORLD;
    int ends[2], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    char buf[4], other[4];
    struct thread thread;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct test_op r = file_op(OP_PREAD, ends[0], buf, sizeof buf);
    struct test_op there = file_op(OP_PREAD, zero, other, sizeof other);
    struct test_op closing = file_op(OP_CLOSE, zero, NULL, 0);
    submit(w, &r);
    look_once(w);
    struct file_errand e = {w, &there, &closing};
    assert_int_equal(coil__thread_start(&thread, "other", ask_elsewhere, &e), 0);
    coil__thread_join(&thread);
    reap(w);
    assert_int_equal(there.done, 1);
    assert_int_equal(there.op.result, COIL_EWRONGTHREAD);
    assert_int_equal(closing.done, 1);
    assert_int_equal(closing.op.result, 0);
    assert_int_equal(fcntl(zero, F_GETFD), -1);
    assert_int_equal(write(ends[1], "ab", 2), 2);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    close(ends[0]);
    close(ends[1]);
    world_close(w);
}

/* It finds that the operation has to begin again, and cannot tell the kernel so: the ring is not its own, and the first thread
 * may be filling it. */
static void an_operation_that_another_thread_finds_interrupted_waits_for_its_own(void **state)
{
    skip_where_completions_cannot_be_edited();
    WORLD;
    struct uring *u = uring_of_backend(w->b);
    int ends[2];
    char buf[4], other[4];
    struct thread thread;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct test_op r = file_op(OP_PREAD, ends[0], buf, sizeof buf);
    struct test_op there = file_op(OP_PREAD, ends[0], other, sizeof other);
    struct test_op closing = file_op(OP_CLOSE, dup(ends[1]), NULL, 0);
    submit(w, &r);
    look_once(w);
    edit_completions(w, (uint64_t)(uintptr_t)&r.op, false, -EINTR, 1);
    assert_int_equal(write(ends[1], "ab", 2), 2); /* lost: such a read has none */
    for (int i = 0; i < 5000 && edit.times; i++)
        assert_int_equal(coil__ring_enter(&u->ring, true, NS_PER_MS), 0);
    assert_int_equal(edit.times, 0);
    coil__sys = coil__sys_real;

    struct file_errand e = {w, &there, &closing};
    assert_int_equal(coil__thread_start(&thread, "other", ask_elsewhere, &e), 0);
    coil__thread_join(&thread);
    assert_int_equal(ring_filled(&u->ring), 0);
    assert_false(list_empty(&u->unsent));
    reap(w);
    assert_int_equal(there.op.result, COIL_EWRONGTHREAD);
    assert_int_equal(r.done, 0);
    assert_int_equal(write(ends[1], "cd", 2), 2);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    assert_memory_equal(buf, "cd", 2);
    close(ends[0]);
    close(ends[1]);
    world_close(w);
}

/* ---- threads ---- */

struct errand {
    struct world *w;
    struct test_op *op;
};

static void turn_elsewhere(void *arg)
{
    struct errand *e = arg;
    for (int i = 0; i < 5000 && !e->op->done; i++)
        turn(e->w, NS_PER_MS);
}

static void elsewhere(struct world *w, struct test_op *op)
{
    struct errand e = {w, op};
    struct thread thread;
    assert_int_equal(coil__thread_start(&thread, "other", turn_elsewhere, &e), 0);
    coil__thread_join(&thread);
}

static void another_thread_may_turn_it(void **state)
{
    WORLD;
    int fd[2], raw[2];
    char buf[8], all[8];
    make_tcp(w, fd);
    make_pair(w, raw);
    own(w, fd[0]);
    /* Here: the request is under way, and bytes are held that nobody took. */
    struct test_op r = recv_op(fd[0], buf, 1), p = poll_op(raw[0], OP_IN, 0);
    submit(w, &r);
    submit(w, &p);
    look_once(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "abc", 3), 3);
    run_until(w, &r, 1);
    /* There: what was waited for goes on. */
    assert_int_equal(w->calls->send(w->b, raw[1], "x", 1), 1);
    elsewhere(w, &p);
    assert_int_equal(p.done, 1);
    struct test_op rest = recv_op(fd[0], all, sizeof all);
    submit(w, &rest);
    elsewhere(w, &rest);
    assert_int_equal(rest.done, 1);
    assert_int_equal(rest.op.result, 2);
    assert_memory_equal(all, "bc", 2);
    struct test_op next = recv_op(fd[0], buf, sizeof buf);
    submit(w, &next);
    assert_int_equal(w->calls->send(w->b, fd[1], "de", 2), 2);
    elsewhere(w, &next);
    assert_int_equal(next.op.result, 2);
    /* And here again. */
    struct test_op back = recv_op(fd[0], buf, sizeof buf);
    submit(w, &back);
    assert_int_equal(w->calls->send(w->b, fd[1], "f", 1), 1);
    run_until(w, &back, 1);
    assert_int_equal(back.op.result, 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    close_fd(w, raw[0]);
    close_fd(w, raw[1]);
    world_close(w);
}

int main(void)
{
#define CASE(name)                       \
    {                                    \
#name, name, NULL, restore, NULL \
    }
    const struct CMUnitTest tests[] = {
        CASE(small_messages_need_no_receive_call),
        CASE(who_polls_and_says_that_it_will_receive_needs_no_call_either),
        CASE(who_only_polls_gets_nothing_by_itself),
        CASE(a_look_without_anything_to_do_enters_no_kernel),
        CASE(bytes_that_came_for_a_cancelled_op_are_kept),
        CASE(a_peek_takes_nothing),
        CASE(a_peek_of_less_than_is_held_stops_in_time),
        CASE(an_accept_on_a_stream_that_has_ended_is_invalid),
        CASE(a_descriptor_that_is_closed_before_the_kernel_hears_of_it_is_told),
        CASE(an_end_that_came_with_data_is_seen),
        CASE(more_sockets_than_buffers_all_get_theirs),
        CASE(what_nobody_reads_is_bounded_and_in_order),
        CASE(a_flood_is_received_by_large_calls_and_a_trickle_by_none),
        CASE(a_peer_hears_of_a_close_at_once),
        CASE(a_close_among_many_that_have_news_is_heard_at_once),
        CASE(a_receive_in_pieces_leaves_the_error_to_the_next),
        CASE(connections_nobody_took_close_with_their_listener),
        CASE(more_completions_than_the_ring_holds_all_come),
        CASE(a_kernel_that_takes_nothing_now_takes_it_later),
        CASE(flags_are_given_up_one_by_one),
        CASE(without_a_stock_of_buffers_it_polls),
        CASE(a_kernel_that_says_no_leaves_nothing_behind),
        CASE(a_kernel_that_lacks_what_is_needed_leaves_nothing_behind),
        CASE(a_kernel_that_receives_nothing_by_itself_is_polled),
        CASE(a_poll_that_is_refused_once_is_asked_again),
        CASE(a_poll_that_is_refused_each_time_is_an_error),
        CASE(a_receive_that_ends_by_itself_is_no_end_of_the_stream),
        CASE(a_close_that_is_interrupted_was_made),
        CASE(a_read_of_four_gigabytes_and_one_is_not_a_read_of_one),
        CASE(an_operation_that_is_not_under_way_cannot_be_cancelled),
        CASE(another_thread_may_begin_no_operation_but_may_close),
        CASE(an_operation_that_another_thread_finds_interrupted_waits_for_its_own),
        CASE(another_thread_may_turn_it),
    };
    return cmocka_run_group_tests_name("io/uring", tests, NULL, NULL);
}
