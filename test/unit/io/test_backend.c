/* SPDX-License-Identifier: MIT
 *
 * test_backend.c: the contract of backend.h, the same on every backend. */
#include "world.h"

#include "pass.h"

#include "scarcity.h"

#include "base/thread.h"
#include "io/sim/sim.h"

#include <coil/error.h>

#include <stdlib.h>
#include <time.h>

#define WORLD                        \
    struct world world, *w = &world; \
    world_open(w)

static int64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* ---- bytes ---- */

static void recv_completes_when_data_comes(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        char buf[8];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        assert_int_equal(w->b->pending, 1);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, fd[1], "hello", 5), 5);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 5);
        assert_memory_equal(buf, "hello", 5);
        assert_int_equal(r.op.state, OP_IDLE);
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void data_between_eagain_and_submit_is_not_lost(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        char buf[8];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        for (int round = 0; round < 3; round++) {
            assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
            assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
            if (round == 1)
                look_once(w); /* the edge is reaped while nobody waits for it */
            struct test_op r = recv_op(fd[0], buf, sizeof buf);
            submit(w, &r);
            run_until(w, &r, 1);
            assert_int_equal(r.op.result, 1);
        }
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void data_that_was_there_before_owning_is_found(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_pair(w, fd);
    assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void end_of_stream_comes_after_the_data(void **state)
{
    WORLD;
    for (int tcp = 0; tcp < 2; tcp++) {
        int fd[2];
        char buf[8];
        if (tcp)
            make_tcp(w, fd);
        else
            make_pair(w, fd);
        own(w, fd[0]);
        assert_int_equal(w->calls->send(w->b, fd[1], "tail", 4), 4);
        close_fd(w, fd[1]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 4);
        for (int i = 0; i < 3; i++) {
            struct test_op end = recv_op(fd[0], buf, sizeof buf);
            submit(w, &end);
            run_until(w, &end, 1);
            assert_int_equal(end.op.result, 0);
        }
        close_fd(w, fd[0]);
    }
    world_close(w);
}

/* A short recv on an owned TCP socket is taken for "empty"; the end must come through all the same. */
static void end_of_stream_right_after_a_short_recv_is_seen(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    make_tcp(w, fd);
    own(w, fd[0]);
    for (int i = 0; i < 3; i++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, fd[1], "abc", 3), 3);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 3);
    }
    assert_int_equal(w->calls->shutdown(w->b, fd[1], SHUT_WR), 0);
    struct test_op end = recv_op(fd[0], buf, sizeof buf);
    submit(w, &end);
    run_until(w, &end, 1);
    assert_int_equal(end.op.result, 0);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* The kernel stops a recv at descriptors that were passed along: a short one is no proof then. */
static void bytes_behind_a_passed_descriptor_are_found(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    if (is_sim(w)) {
        world_close(w);
        return;
    }
    make_pair(w, fd);
    own(w, fd[0]);
    for (int round = 0; round < 4; round++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        assert_quiet(w);
        if (round % 2 == 0) {
            assert_int_equal(w->calls->send(w->b, fd[1], "plain", 5), 5);
            run_until(w, &r, 1);
            assert_int_equal(r.op.result, 5);
            continue;
        }
        assert_int_equal(w->calls->send(w->b, fd[1], "ab", 2), 2);
        pass_along(fd[1], "cd", fd[1]);
        assert_int_equal(w->calls->send(w->b, fd[1], "ef", 2), 2);
        run_until(w, &r, 1);
        size_t got = (size_t)r.op.result;
        while (got < 6) {
            struct test_op next = recv_op(fd[0], buf + got, sizeof buf - got);
            submit(w, &next);
            run_until(w, &next, 1);
            assert_true(next.op.result > 0);
            got += (size_t)next.op.result;
        }
        assert_memory_equal(buf, "abcdef", 6);
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* Unread input would make the close a reset; also such as came since the last look. */
static void what_is_discarded_before_a_close_spares_the_peer_a_reset(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    assert_quiet(w);
    assert_int_equal(cancel(w, &r), 0);
    assert_int_equal(w->calls->send(w->b, fd[1], "late", 4), 4);
    if (is_sim(w))
        assert_quiet(w); /* it takes its time there */
    assert_int_equal(w->calls->send(w->b, fd[0], "bye", 3), 3);
    w->calls->discard(w->b, fd[0], 4096);
    close_fd(w, fd[0]);
    for (int64_t want = 3; want >= 0; want -= 3) {
        struct test_op p = recv_op(fd[1], buf, sizeof buf);
        submit(w, &p);
        run_until(w, &p, 1);
        assert_int_equal(p.op.result, want);
    }
    close_fd(w, fd[1]);
    world_close(w);
}

static void half_close_leaves_the_other_direction(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    own(w, fd[0]);
    own(w, fd[1]);
    assert_int_equal(w->calls->shutdown(w->b, fd[0], SHUT_WR), 0);
    assert_int_equal(w->calls->send(w->b, fd[0], "x", 1), -EPIPE);
    struct test_op r = recv_op(fd[1], buf, sizeof buf);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 0);
    assert_int_equal(w->calls->send(w->b, fd[1], "back", 4), 4);
    struct test_op back = recv_op(fd[0], buf, sizeof buf);
    submit(w, &back);
    run_until(w, &back, 1);
    assert_int_equal(back.op.result, 4);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_write_error_never_hides_readable_data(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    own(w, fd[0]);
    assert_int_equal(w->calls->send(w->b, fd[0], "unread", 6), 6);
    struct test_op there = poll_op(fd[1], OP_IN, 0);
    submit(w, &there);
    run_until(w, &there, 1);
    assert_int_equal(w->calls->send(w->b, fd[1], "last", 4), 4);
    close_fd(w, fd[1]); /* with something unread: a reset */
    int idle = 0;
    ssize_t rc;
    while ((rc = w->calls->send(w->b, fd[0], "x", 1)) >= 0 && idle++ < 1000)
        turn(w, NS_PER_MS);
    assert_true(rc == -EPIPE || rc == -ECONNRESET);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 4);
    assert_memory_equal(buf, "last", 4);
    struct test_op after = recv_op(fd[0], buf, sizeof buf);
    submit(w, &after);
    run_until(w, &after, 1);
    assert_true(after.op.result <= 0);
    close_fd(w, fd[0]);
    world_close(w);
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

static void a_partial_send_is_resumed(void **state)
{
    WORLD;
    enum { TOTAL = 1 << 20 };
    static uint8_t out[TOTAL], in[4096];
    for (size_t i = 0; i < TOTAL; i++)
        out[i] = pattern(i);
    for (int tcp = 0; tcp < 2; tcp++) {
        int fd[2];
        if (tcp)
            make_tcp(w, fd);
        else
            make_pair(w, fd);
        own(w, fd[0]);
        own(w, fd[1]);
        size_t sent = 0, got = 0;
        struct test_op s = send_op(fd[0], out, TOTAL), r = recv_op(fd[1], in, sizeof in);
        submit(w, &s);
        submit(w, &r);
        int idle = 0;
        bool partial = false;
        while (got < TOTAL) {
            idle = turn(w, NS_PER_S) ? 0 : idle + 1;
            assert_true(idle < 1000);
            if (s.done) {
                assert_true(s.op.result > 0);
                sent += (size_t)s.op.result;
                partial |= sent < TOTAL;
                if (sent < TOTAL) {
                    s = send_op(fd[0], out + sent, TOTAL - sent);
                    submit(w, &s);
                } else {
                    s.done = 0;
                }
            }
            if (r.done) {
                assert_true(r.op.result > 0);
                for (int64_t i = 0; i < r.op.result; i++)
                    assert_int_equal(in[i], pattern(got + (size_t)i));
                got += (size_t)r.op.result;
                r = recv_op(fd[1], in, sizeof in);
                if (got < TOTAL)
                    submit(w, &r);
            }
        }
        assert_int_equal(sent, TOTAL);
        assert_true(partial || tcp);
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void a_vector_is_sent_in_order(void **state)
{
    WORLD;
    int fd[2];
    char buf[16];
    make_pair(w, fd);
    struct iovec v[3] = {{(char[]){'a', 'b'}, 2}, {NULL, 0}, {(char[]){'c', 'd', 'e'}, 3}};
    struct test_op s = {.op = {.done = on_done, .fd = fd[0], .kind = OP_SENDV, .vec = {v, 3}}};
    submit(w, &s);
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, 5);
    assert_int_equal(w->calls->sendv(w->b, fd[0], v, 3), 5);
    assert_int_equal(w->calls->recv(w->b, fd[1], buf, sizeof buf, 0), 10);
    assert_memory_equal(buf, "abcdeabcde", 10);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void several_receives_are_served_in_order(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        enum { N = 40 };
        int fd[2];
        char buf[N] = {0};
        struct test_op r[N];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        for (int i = 0; i < N; i++) {
            r[i] = recv_op(fd[0], &buf[i], 1);
            submit(w, &r[i]);
        }
        assert_int_equal(w->b->pending, N);
        char data[N];
        for (int i = 0; i < N; i++)
            data[i] = (char)('0' + i);
        assert_int_equal(w->calls->send(w->b, fd[1], data, N), N);
        completions = 0;
        /* No wait serves one descriptor for ever, and what it leaves needs no new edge. */
        assert_true(turn(w, NS_PER_S) < N);
        run_until(w, &r[N - 1], 1);
        for (int i = 0; i < N; i++) {
            assert_int_equal(r[i].order, i + 1);
            assert_int_equal(buf[i], data[i]);
        }
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void both_directions_wait_side_by_side(void **state)
{
    WORLD;
    int fd[2];
    static char fill[65536];
    char buf[8];
    make_pair(w, fd);
    own(w, fd[0]);
    while (w->calls->send(w->b, fd[0], fill, sizeof fill) > 0)
        ;
    struct test_op r = recv_op(fd[0], buf, sizeof buf), s = send_op(fd[0], "x", 1);
    submit(w, &s);
    submit(w, &r);
    assert_quiet(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "y", 1), 1);
    run_until(w, &r, 1);
    assert_int_equal(s.done, 0);
    while (w->calls->recv(w->b, fd[1], fill, sizeof fill, 0) > 0)
        ;
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_recv_of_nothing_is_no_end_of_stream(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    struct test_op nothing = recv_op(fd[0], buf, 0);
    submit(w, &nothing);
    run_until(w, &nothing, 1);
    assert_int_equal(nothing.op.result, 0);
    assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void pipes_read_and_write(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    assert_int_equal(w->calls->pipe(w->b, fd), 0);
    struct test_op r = {
        .op = {.done = on_done, .fd = fd[0], .kind = OP_READ, .buf = {buf, sizeof buf, 0}}};
    struct test_op wr = {
        .op = {.done = on_done, .fd = fd[1], .kind = OP_WRITE, .buf = {(char[]){'p'}, 1, 0}}};
    submit(w, &r);
    assert_quiet(w);
    submit(w, &wr);
    run_until(w, &wr, 1);
    if (!r.done)
        run_until(w, &r, 1);
    assert_int_equal(r.op.result, 1);
    close_fd(w, fd[1]);
    submit(w, &r);
    run_until(w, &r, 2);
    assert_int_equal(r.op.result, 0);
    close_fd(w, fd[0]);
    world_close(w);
}

static void owned_pipes_are_tried_and_remember_eagain(void **state)
{
    WORLD;
    int fd[2];
    static char big[4096];
    char buf[8];
    assert_int_equal(w->calls->pipe(w->b, fd), 0);
    own(w, fd[0]);
    own(w, fd[1]);
    assert_int_equal(w->calls->read(w->b, fd[0], buf, sizeof buf), -EAGAIN);
    struct test_op r = {.op = {.done = on_done, .fd = fd[0], .kind = OP_POLL, .events = OP_IN}};
    submit(w, &r);
    assert_quiet(w);
    assert_int_equal(w->calls->write(w->b, fd[1], "hello", 5), 5);
    run_until(w, &r, 1);
    assert_int_equal(w->calls->read(w->b, fd[0], buf, sizeof buf), 5);
    assert_int_equal(w->calls->read(w->b, fd[0], buf, sizeof buf), -EAGAIN);
    ssize_t n, total = 0;
    while ((n = w->calls->write(w->b, fd[1], big, sizeof big)) > 0)
        total += n;
    assert_int_equal(n, -EAGAIN);
    struct test_op wr = {
        .op = {.done = on_done, .fd = fd[1], .kind = OP_WRITE, .buf = {big, sizeof big, 0}}};
    submit(w, &wr);
    assert_quiet(w);
    for (ssize_t got = 0; got < total; got += n) {
        n = w->calls->read(w->b, fd[0], big, sizeof big);
        assert_true(n > 0);
    }
    run_until(w, &wr, 1);
    assert_true(wr.op.result > 0);
    close_fd(w, fd[1]);
    while ((n = w->calls->read(w->b, fd[0], big, sizeof big)) > 0)
        ;
    assert_int_equal(n, 0);
    close_fd(w, fd[0]);
    world_close(w);
}

static volatile sig_atomic_t sigpipes;

static void on_sigpipe(int signo)
{
    sigpipes++;
}

/* A pipe without a reader, written to in both ways. */
static void write_in_vain(struct world *w)
{
    int fd[2];
    assert_int_equal(w->calls->pipe(w->b, fd), 0);
    close_fd(w, fd[0]);
    assert_int_equal(w->calls->write(w->b, fd[1], "x", 1), -EPIPE);
    struct test_op wr = {
        .op = {.done = on_done, .fd = fd[1], .kind = OP_WRITE, .buf = {(char[]){'p'}, 1, 0}}};
    submit(w, &wr);
    run_until(w, &wr, 1);
    assert_int_equal(wr.op.result, -EPIPE);
    close_fd(w, fd[1]);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static ssize_t knows_no_flags(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    return -EOPNOTSUPP;
}
#endif

static void a_pipe_without_a_reader_raises_no_signal(void **state)
{
    WORLD;
    struct sigaction mine = {.sa_handler = on_sigpipe}, before;
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigaction(SIGPIPE, &mine, &before);
    sigpipes = 0;
    write_in_vain(w);
    assert_int_equal(sigpipes, 0);
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys.pwritev2 = knows_no_flags; /* Linux before 6.18 */
    write_in_vain(w);
    assert_int_equal(sigpipes, 0);
    /* One that was raised by others is theirs. */
    sigprocmask(SIG_BLOCK, &set, &old);
    write_in_vain(w);
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    raise(SIGPIPE);
    write_in_vain(w);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGPIPE));
    sigprocmask(SIG_SETMASK, &old, NULL);
    assert_int_equal(sigpipes, 1);
    coil__sys = coil__sys_real;
#endif
    sigaction(SIGPIPE, &before, NULL);
    world_close(w);
}

static void datagrams_keep_their_edges_and_their_sender(void **state)
{
    WORLD;
    int a = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0),
        c = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage to, from, me;
    socklen_t n = sizeof to;
    assert_int_equal(w->calls->bind(w->b, a, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(w->calls->bind(w->b, c, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(w->calls->getsockname(w->b, a, (struct sockaddr *)&to, &n), 0);
    own(w, a);
    char buf[16];
    struct iovec in_v = {buf, sizeof buf}, out_v = {(char[]){'h', 'i'}, 2};
    struct msghdr in_h = {
        .msg_iov = &in_v, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from};
    struct msghdr out_h = {.msg_iov = &out_v, .msg_iovlen = 1, .msg_name = &to, .msg_namelen = n};
    struct test_op r = {.op = {.done = on_done, .fd = a, .kind = OP_RECVMSG, .msg = {&in_h, 0}}};
    struct test_op s = {.op = {.done = on_done, .fd = c, .kind = OP_SENDMSG, .msg = {&out_h, 0}}};
    submit(w, &r);
    submit(w, &s);
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, 2);
    out_v.iov_len = 0;
    submit(w, &s);
    run_until(w, &s, 2);
    assert_int_equal(s.op.result, 0);
    while (r.done < 1)
        turn(w, NS_PER_S);
    assert_int_equal(r.op.result, 2);
    assert_memory_equal(buf, "hi", 2);
    n = sizeof me;
    assert_int_equal(w->calls->getsockname(w->b, c, (struct sockaddr *)&me, &n), 0);
    assert_memory_equal(&from, &me, sizeof(struct sockaddr_in));
    submit(w, &r); /* an empty one is a message like any other */
    run_until(w, &r, 2);
    assert_int_equal(r.op.result, 0);
    close_fd(w, a);
    close_fd(w, c);
    world_close(w);
}

/* A unix datagram socket with a name that the kernel chose. */
static int named_unix(struct world *w, struct sockaddr_storage *name, socklen_t *n)
{
    int fd = w->calls->socket(w->b, AF_UNIX, SOCK_DGRAM, 0);
    assert_true(fd >= 0);
    struct sockaddr un = {.sa_family = AF_UNIX};
    assert_int_equal(w->calls->bind(w->b, fd, &un, sizeof un.sa_family), 0);
    *n = sizeof *name;
    assert_int_equal(w->calls->getsockname(w->b, fd, (struct sockaddr *)name, n), 0);
    return fd;
}

/* A datagram that stays the caller's; the one iovec is a static, for one use at a time. */
static struct msghdr message(void *p, size_t n, struct sockaddr_storage *name, socklen_t name_n)
{
    static struct iovec v;
    v = (struct iovec){p, n};
    return (struct msghdr){.msg_iov = &v, .msg_iovlen = 1, .msg_name = name, .msg_namelen = name_n};
}

static void a_datagram_is_tried_before_it_is_waited_for(void **state)
{
    WORLD;
    for (int owned = 0; owned <= 1; owned++) {
        struct sockaddr_storage a_name, c_name, from;
        socklen_t a_n, c_n;
        char buf[16];
        int a = named_unix(w, &a_name, &a_n), c = named_unix(w, &c_name, &c_n);
        assert_false(w->calls->owns(w->b, a));
        if (owned)
            own(w, a);
        assert_int_equal(w->calls->owns(w->b, a), owned);
        for (int i = 0; i < 3; i++) {
            struct msghdr in = message(buf, sizeof buf, &from, sizeof from);
            assert_int_equal(w->calls->recvmsg(w->b, a, &in, 0), -EAGAIN);
            struct test_op r = {
                .op = {.done = on_done, .fd = a, .kind = OP_RECVMSG, .msg = {&in, MSG_TRUNC}}};
            submit(w, &r);
            char words[] = "seventeen letters";
            struct iovec v = {words, 17};
            struct msghdr out = {
                .msg_iov = &v, .msg_iovlen = 1, .msg_name = &a_name, .msg_namelen = a_n};
            assert_int_equal(w->calls->sendmsg(w->b, c, &out), 17);
            run_until(w, &r, 1);
            assert_int_equal(r.op.result, 17); /* and what was received of it is in the buffer */
            assert_true(in.msg_flags & MSG_TRUNC);
            assert_memory_equal(&from, &c_name, c_n);
            assert_int_equal(w->calls->sendmsg(w->b, c, &out), 17);
            in = message(buf, sizeof buf, NULL, 0);
            assert_int_equal(w->calls->recvmsg(w->b, a, &in, 0), 16);
        }
        close_fd(w, a);
        assert_false(w->calls->owns(w->b, a));
        close_fd(w, c);
    }
    struct msghdr nothing = message(NULL, 0, NULL, 0);
    assert_int_equal(w->calls->recvmsg(w->b, -1, &nothing, 0), -EBADF);
    assert_int_equal(w->calls->sendmsg(w->b, -1, &nothing), -EBADF);
    assert_false(w->calls->owns(w->b, -1));
    world_close(w);
}

/* No edge tells of room in somebody else's queue, so an EAGAIN must not be remembered as one of ours. */
static void a_unix_receiver_by_name_is_tried_each_time(void **state)
{
    WORLD;
    struct sockaddr_storage to, from;
    socklen_t to_n, from_n;
    static char buf[4096];
    int receiver = named_unix(w, &to, &to_n), sender = named_unix(w, &from, &from_n);
    own(w, sender);
    struct msghdr out = message(buf, sizeof buf, &to, to_n);
    ssize_t rc;
    while ((rc = w->calls->sendmsg(w->b, sender, &out)) > 0)
        ;
    assert_int_equal(rc, -EAGAIN);
    while (w->calls->recv(w->b, receiver, buf, sizeof buf, 0) > 0)
        ;
    assert_int_equal(w->calls->sendmsg(w->b, sender, &out), sizeof buf);
    close_fd(w, receiver);
    close_fd(w, sender);
    world_close(w);
}

/* Until its queue is full; how many. */
static int fill(struct world *w, int fd, size_t size)
{
    static char data[4096];
    int n = 0;
    ssize_t rc;
    while ((rc = w->calls->send(w->b, fd, data, size)) == (ssize_t)size)
        n++;
    assert_int_equal(rc, -EAGAIN);
    return n;
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int send_calls;

static ssize_t counted_send(int fd, const void *p, size_t n, int flags)
{
    send_calls++;
    return coil__sys_real.send(fd, p, n, flags);
}

/* A failing send frees what it had made, and wakes whoever waits for room in its own socket. */
static void a_send_that_finds_no_room_does_not_wake_itself(void **state)
{
    WORLD;
    struct sockaddr_storage to, from;
    socklen_t n, from_n;
    char buf[64]; /* small: the receiver's queue is full before the sender's own room is used up */
    int receiver = named_unix(w, &to, &n), sender = named_unix(w, &from, &from_n);
    own(w, sender);
    struct test_op c = connect_op(sender, &to, n);
    submit(w, &c);
    run_until(w, &c, 1);
    fill(w, sender, sizeof buf);
    struct test_op p = poll_op(sender, OP_OUT, 0), s = send_op(sender, buf, sizeof buf);
    submit(w, &p);
    assert_quiet(w);
    for (int round = 0; round < 3; round++) {
        while (w->calls->recv(w->b, receiver, buf, sizeof buf, 0) > 0)
            ;
        run_until(w, &p, round + 1);
        fill(w, sender, sizeof buf);
        submit(w, &p);
        assert_quiet(w);
        assert_int_equal(p.done, round + 1);
    }
    cancel(w, &p);
    coil__sys.send = counted_send;
    send_calls = 0;
    submit(w, &s);
    for (int i = 0; i < 50; i++)
        assert_int_equal(turn(w, NS_PER_MS / 4), 0);
    assert_true(send_calls <= 2);
    coil__sys.send = coil__sys_real.send;
    cancel(w, &s);
    close_fd(w, receiver);
    close_fd(w, sender);
    world_close(w);
}
#endif

static void a_full_unix_receiver_makes_its_connected_sender_wait(void **state)
{
    WORLD;
    for (int i = 0; i < 4; i++) {
        bool owned = i & 1, polls = i & 2;
        struct sockaddr_storage to, from;
        socklen_t n, from_n;
        char buf[4096];
        int receiver = named_unix(w, &to, &n), sender = named_unix(w, &from, &from_n);
        if (owned)
            own(w, sender);
        struct test_op c = connect_op(sender, &to, n);
        submit(w, &c);
        run_until(w, &c, 1);
        assert_int_equal(c.op.result, 0);
        assert_true(fill(w, sender, sizeof buf) >= 2);
        struct test_op s = polls ? poll_op(sender, OP_OUT, 0) : send_op(sender, "more", 4);
        submit(w, &s);
        assert_quiet(w);
        assert_int_equal(s.done, 0);
        while (w->calls->recv(w->b, receiver, buf, sizeof buf, 0) > 0)
            ;
        run_until(w, &s, 1);
        assert_int_equal(s.op.result, polls ? OP_OUT : 4);
        /* And it learns when nobody is left to make room. */
        fill(w, sender, sizeof buf);
        s = send_op(sender, "more", 4);
        submit(w, &s);
        assert_quiet(w);
        close_fd(w, receiver);
        run_until(w, &s, 1);
        assert_int_equal(s.op.result, -ECONNREFUSED);
        close_fd(w, sender);
    }
    world_close(w);
}

static void a_connected_datagram_socket_hears_its_peer_alone(void **state)
{
    WORLD;
    int a = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0),
        c = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0),
        stranger = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage a_name, c_name;
    socklen_t n = sizeof a_name;
    char buf[16];
    assert_int_equal(w->calls->bind(w->b, a, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(w->calls->bind(w->b, c, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(w->calls->getsockname(w->b, a, (struct sockaddr *)&a_name, &n), 0);
    assert_int_equal(w->calls->getsockname(w->b, c, (struct sockaddr *)&c_name, &n), 0);
    struct test_op x = connect_op(a, &c_name, n), y = connect_op(c, &a_name, n),
                   z = connect_op(stranger, &a_name, n), r = recv_op(a, buf, sizeof buf),
                   refused = recv_op(stranger, buf, sizeof buf);
    submit(w, &x);
    submit(w, &y);
    submit(w, &z);
    run_until(w, &x, 1);
    assert_true(y.done && z.done);
    assert_int_equal(w->calls->send(w->b, stranger, "spam", 4), 4);
    submit(w, &refused);
    run_until(w, &refused, 1);
    assert_int_equal(refused.op.result, -ECONNREFUSED);
    assert_int_equal(w->calls->send(w->b, c, "hello", 5), 5);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 5);
    assert_memory_equal(buf, "hello", 5);
    close_fd(w, a);
    close_fd(w, c);
    close_fd(w, stranger);
    world_close(w);
}

/* ---- files ---- */

static void a_file_is_sent_in_parts_until_there_is_no_room(void **state)
{
    WORLD;
    enum { N = 1 << 20 };
    static char data[N], got[N];
    for (size_t i = 0; i < N; i++)
        data[i] = (char)(i * 7 + i / 251);
    int file = memfd_create("file", MFD_CLOEXEC);
    assert_int_equal(write(file, data, N), N);
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        off_t at = 5;
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        if (is_sim(w)) {
            assert_int_equal(w->calls->sendfile(w->b, fd[0], file, &at, N), -EINVAL);
            assert_int_equal(at, 5);
            close_fd(w, fd[0]);
            close_fd(w, fd[1]);
            continue;
        }
        size_t have = 5;
        for (;;) {
            ssize_t rc = w->calls->sendfile(w->b, fd[0], file, &at, N);
            if (rc == 0)
                break;
            if (rc == -EAGAIN) {
                struct test_op p = poll_op(fd[0], OP_OUT, 0);
                submit(w, &p);
                while ((rc = w->calls->recv(w->b, fd[1], got + have, N - have, 0)) > 0)
                    have += (size_t)rc;
                run_until(w, &p, 1);
            }
            assert_true(rc > 0 || rc == -EAGAIN);
        }
        assert_int_equal(at, N);
        ssize_t rc;
        while ((rc = w->calls->recv(w->b, fd[1], got + have, N - have, 0)) > 0)
            have += (size_t)rc;
        assert_int_equal(have, N);
        assert_memory_equal(got + 5, data + 5, N - 5);
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    close(file);
    off_t at = 0;
    assert_int_equal(w->calls->sendfile(w->b, -1, file, &at, 1), -EBADF);
    world_close(w);
}

/* Whose default would kill this test. */
static void a_file_sent_to_nobody_raises_no_signal(void **state)
{
    WORLD;
    int file = memfd_create("file", MFD_CLOEXEC), fd[2];
    assert_int_equal(write(file, "x", 1), 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    close(fd[1]);
    sigset_t only, old, now;
    sigemptyset(&only);
    sigaddset(&only, SIGPIPE);
    off_t at = 0;
    assert_int_equal(w->calls->sendfile(w->b, fd[0], file, &at, 1), -EPIPE);
    sigprocmask(SIG_SETMASK, NULL, &now);
    assert_false(sigismember(&now, SIGPIPE));
    /* One that waits to be taken stays, and none is added. */
    sigprocmask(SIG_BLOCK, &only, &old);
    assert_int_equal(w->calls->sendfile(w->b, fd[0], file, &at, 1), -EPIPE);
    sigpending(&now);
    assert_false(sigismember(&now, SIGPIPE));
    raise(SIGPIPE);
    assert_int_equal(w->calls->sendfile(w->b, fd[0], file, &at, 1), -EPIPE);
    sigpending(&now);
    assert_true(sigismember(&now, SIGPIPE));
    sigprocmask(SIG_SETMASK, NULL, &now);
    assert_true(sigismember(&now, SIGPIPE));
    assert_int_equal(sigwaitinfo(&only, NULL), SIGPIPE);
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(fd[0]);
    close(file);
    world_close(w);
}

/* ---- connections ---- */

static void connect_meets_accept(void **state)
{
    WORLD;
    struct sockaddr_storage addr, peer, mine;
    socklen_t len, n;
    int listener = make_listener(w, &addr, &len, 8);
    own(w, listener);
    assert_int_equal(w->calls->accept(w->b, listener, NULL, NULL), -EAGAIN);
    int client = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    own(w, client);
    struct test_op a = accept_op(listener), c = connect_op(client, &addr, len);
    a.op.to.addr = &peer;
    submit(w, &a);
    submit(w, &c);
    run_until(w, &c, 1);
    assert_int_equal(c.op.result, 0);
    if (!a.done)
        run_until(w, &a, 1);
    int served = (int)a.op.result;
    assert_true(served >= 0);
    n = sizeof mine;
    assert_int_equal(w->calls->getsockname(w->b, client, (struct sockaddr *)&mine, &n), 0);
    assert_int_equal(n, a.op.to.len);
    assert_memory_equal(&mine, &peer, n);
    n = sizeof mine;
    assert_int_equal(w->calls->getpeername(w->b, client, (struct sockaddr *)&mine, &n), 0);
    assert_memory_equal(&mine, &addr, n);
    int err = -1;
    n = sizeof err;
    assert_int_equal(w->calls->getsockopt(w->b, client, SOL_SOCKET, SO_ERROR, &err, &n), 0);
    assert_int_equal(err, 0);
    if (!is_sim(w)) {
        assert_true(fcntl(served, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(served, F_GETFD) & FD_CLOEXEC);
    }
    close_fd(w, client);
    close_fd(w, served);
    close_fd(w, listener);
    world_close(w);
}

static void connect_is_refused_where_nobody_listens(void **state)
{
    WORLD;
    struct sockaddr_storage addr;
    socklen_t len;
    close_fd(w, make_listener(w, &addr, &len, 8));
    for (int owned = 0; owned < 2; owned++) {
        int client = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
        if (owned)
            own(w, client);
        struct test_op c = connect_op(client, &addr, len);
        submit(w, &c);
        run_until(w, &c, 1);
        assert_int_equal(c.op.result, -ECONNREFUSED);
        close_fd(w, client);
    }
    world_close(w);
}

static void unix_sockets_meet_by_an_abstract_name(void **state)
{
    WORLD;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path + 1, 60, "coil-test-%ld", (long)getpid());
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                                strlen(un.sun_path + 1));
    struct sockaddr_storage addr = {0};
    memcpy(&addr, &un, sizeof un);
    int listener = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(w->calls->bind(w->b, listener, (struct sockaddr *)&un, len), 0);
    assert_int_equal(w->calls->listen(w->b, listener, 4), 0);
    int client = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0);
    struct test_op c = connect_op(client, &addr, len), a = accept_op(listener);
    submit(w, &c);
    submit(w, &a);
    run_until(w, &a, 1);
    assert_int_equal(c.op.result, 0);
    assert_true(a.op.result >= 0);
    close_fd(w, (int)a.op.result);
    close_fd(w, client);
    close_fd(w, listener);
    world_close(w);
}

/* What keeps a socket's file from being open too wide for even a moment. */
static void unix_file_is_born_as_fchmod_says(void **state)
{
    WORLD;
    char dir[] = "/tmp/coil-test-XXXXXX";
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_non_null(mkdtemp(dir));
    snprintf(un.sun_path, sizeof un.sun_path, "%s/socket", dir);
    mode_t umask_before = umask(022);
    int fd = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0),
        second = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0);
    struct stat st;
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &st), -ENOENT);
    assert_int_equal(w->calls->fchmod(w->b, fd, 0660), 0);
    assert_int_equal(w->calls->bind(w->b, fd, (struct sockaddr *)&un, sizeof un), 0);
    umask(umask_before);
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0640);
    assert_int_equal(w->calls->chmod(w->b, un.sun_path, 0606), 0);
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0606);
    close_fd(w, fd);
    assert_int_equal(w->calls->bind(w->b, second, (struct sockaddr *)&un, sizeof un), -EADDRINUSE);
    assert_int_equal(w->calls->unlink(w->b, un.sun_path), 0);
    assert_int_equal(w->calls->unlink(w->b, un.sun_path), -ENOENT);
    close_fd(w, second);
    assert_int_equal(rmdir(dir), 0);
    world_close(w);
}

static void a_storm_of_connections_is_accepted_whole(void **state)
{
    WORLD;
    enum { N = 50 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 2 * N);
    own(w, listener);
    struct test_op c[N], a = accept_op(listener);
    for (int i = 0; i < N; i++) {
        int fd = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
        c[i] = connect_op(fd, &addr, len);
        submit(w, &c[i]);
    }
    int accepted[N], n = 0, idle = 0;
    while (n < N) {
        int fd = w->calls->accept(w->b, listener, NULL, NULL);
        if (fd == -EAGAIN) {
            a.done = 0;
            submit(w, &a);
            while (!a.done) {
                turn(w, NS_PER_S);
                assert_true(++idle < 1000);
            }
            fd = (int)a.op.result;
        }
        assert_true(fd >= 0);
        accepted[n++] = fd;
    }
    for (int i = 0; i < N; i++) {
        if (!c[i].done)
            run_until(w, &c[i], 1);
        assert_int_equal(c[i].op.result, 0);
        close_fd(w, c[i].op.fd);
        close_fd(w, accepted[i]);
    }
    close_fd(w, listener);
    world_close(w);
}

static void accept_tells_when_descriptors_run_out(void **state)
{
    WORLD;
    if (!descriptors_can_run_out(w->cls->name)) {
        world_close(w);
        skip();
    }
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 8);
    own(w, listener);
    int client = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    struct test_op c = connect_op(client, &addr, len), a = accept_op(listener);
    submit(w, &c);
    run_until(w, &c, 1);

    if (is_sim(w))
        coil__sim_limit_files(w->b, 2);
    else
        assert_true(descriptors_run_out());
    submit(w, &a);
    run_until(w, &a, 1);
    assert_int_equal(a.op.result, -EMFILE);
    /* The connection is still there; and with nobody waiting for it nothing spins. */
    assert_quiet(w);
    if (is_sim(w))
        coil__sim_limit_files(w->b, 100);
    else
        assert_true(descriptors_are_back());
    submit(w, &a);
    run_until(w, &a, 2);
    assert_true(a.op.result >= 0);
    close_fd(w, (int)a.op.result);
    close_fd(w, client);
    close_fd(w, listener);
    world_close(w);
}

/* ---- cancel and close ---- */

static void cancel_before_completion_takes_the_op_back(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        char buf[4];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        assert_int_equal(cancel(w, &r), -ENOENT);
        for (int i = 0; i < 2; i++) {
            submit(w, &r);
            if (i)
                assert_quiet(w);
            assert_int_equal(cancel(w, &r), 0);
            assert_int_equal(r.op.state, OP_IDLE);
            assert_int_equal(w->b->pending, 0);
        }
        assert_int_equal(w->calls->send(w->b, fd[1], "keep", 4), 4);
        assert_quiet(w);
        assert_int_equal(r.done, 0);
        submit(w, &r);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 4);
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void a_finished_op_beats_the_cancel(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
    for (int i = 0; r.op.state != OP_FINISHED && i < 10; i++)
        assert_int_equal(w->cls->wait(w->b, 0), 0);
    assert_int_equal(r.op.state, OP_FINISHED);
    assert_int_equal(cancel(w, &r), -EINPROGRESS);
    reap(w);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.op.result, 1);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void cancel_leaves_the_others_of_the_same_descriptor(void **state)
{
    WORLD;
    int fd[2];
    char buf[2];
    make_pair(w, fd);
    struct test_op a = recv_op(fd[0], &buf[0], 1), b = recv_op(fd[0], &buf[1], 1);
    submit(w, &a);
    submit(w, &b);
    assert_quiet(w);
    assert_int_equal(cancel(w, &a), 0);
    assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
    run_until(w, &b, 1);
    assert_int_equal(a.done, 0);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void close_ends_pending_ops_as_cancelled(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        char buf[4];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        struct test_op r = recv_op(fd[0], buf, sizeof buf), l = poll_op(fd[0], OP_IN, OP_LEVEL);
        submit(w, &r);
        submit(w, &l);
        if (owned)
            assert_quiet(w);
        close_fd(w, fd[0]);
        reap(w);
        assert_int_equal(r.done, 1);
        assert_int_equal(r.op.result, -ECANCELED);
        assert_int_equal(l.done, 1);
        assert_int_equal(l.op.result, -ECANCELED);
        assert_int_equal(l.op.state, OP_IDLE);
        assert_int_equal(w->b->pending, 0);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void close_keeps_the_result_that_was_there(void **state)
{
    WORLD;
    int fd[2];
    char buf[1];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 1), l = poll_op(fd[0], OP_IN, OP_LEVEL);
    submit(w, &l);
    submit(w, &r);
    assert_int_equal(w->calls->send(w->b, fd[1], "xy", 2), 2);
    for (int i = 0; r.op.state != OP_FINISHED && i < 10; i++)
        assert_int_equal(w->cls->wait(w->b, 0), 0);
    close_fd(w, fd[0]);
    reap(w);
    assert_int_equal(r.op.result, 1);
    assert_int_equal(l.op.result, -ECANCELED);
    assert_int_equal(l.op.state, OP_IDLE);
    close_fd(w, fd[1]);
    world_close(w);
}

/* ---- polls ---- */

static void a_level_poll_fires_every_wait_while_readable(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        char buf[4];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        struct test_op l = poll_op(fd[0], OP_IN, OP_LEVEL);
        submit(w, &l);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
        for (int i = 1; i <= 5; i++) {
            assert_int_equal(turn(w, NS_PER_S), 1);
            assert_int_equal(l.done, i);
            assert_int_equal(l.op.result, OP_IN);
            assert_int_equal(w->b->pending, 1);
        }
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 1);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
        assert_int_equal(turn(w, NS_PER_S), 1);
        assert_int_equal(cancel(w, &l), 0);
        assert_int_equal(w->b->pending, 0);
        assert_quiet(w);
        /* It may also go between firing and being reaped. */
        l.done = 0;
        submit(w, &l);
        for (int i = 0; l.op.state != OP_FINISHED && i < 10; i++)
            assert_int_equal(w->cls->wait(w->b, 0), 0);
        assert_int_equal(cancel(w, &l), 0);
        reap(w);
        assert_int_equal(l.done, 0);
        assert_quiet(w);
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

static void level_polls_of_both_directions_are_apart(void **state)
{
    WORLD;
    int fd[2];
    make_pair(w, fd);
    struct test_op in = poll_op(fd[0], OP_IN, OP_LEVEL), out = poll_op(fd[0], OP_OUT, OP_LEVEL);
    submit(w, &in);
    submit(w, &out);
    assert_int_equal(turn(w, NS_PER_S), 1);
    assert_int_equal(out.done, 1);
    assert_int_equal(cancel(w, &out), 0);
    assert_quiet(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), 1);
    assert_int_equal(turn(w, NS_PER_S), 1);
    assert_int_equal(in.done, 1);
    assert_int_equal(cancel(w, &in), 0);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_poll_tells_which_direction_holds(void **state)
{
    WORLD;
    for (int owned = 0; owned < 2; owned++) {
        int fd[2];
        make_pair(w, fd);
        if (owned)
            own(w, fd[0]);
        struct test_op p = poll_op(fd[0], OP_IN | OP_OUT, 0);
        submit(w, &p);
        run_until(w, &p, 1);
        assert_int_equal(p.op.result, OP_OUT);
        struct test_op q = poll_op(fd[0], OP_IN, 0);
        submit(w, &q);
        assert_quiet(w);
        close_fd(w, fd[1]);
        run_until(w, &q, 1);
        assert_int_equal(q.op.result, OP_IN);
        struct test_op none = poll_op(fd[0], 0, 0);
        submit(w, &none);
        run_until(w, &none, 1);
        assert_int_equal(none.op.result, -EINVAL);
        close_fd(w, fd[0]);
    }
    world_close(w);
}

/* ---- numbers that are used again ---- */

static void a_raw_number_may_mean_another_file(void **state)
{
    WORLD;
    for (int watched = 0; watched < 2; watched++) {
        int a[2], b[2];
        make_pair(w, a);
        struct test_op l = poll_op(a[0], OP_IN, OP_LEVEL);
        submit(w, &l);
        if (watched)
            assert_quiet(w);
        assert_int_equal(cancel(w, &l), 0);
        /* Closed without a word to the backend, as anybody may do with his own descriptor. */
        if (is_sim(w))
            close_fd(w, a[0]);
        else
            close(a[0]);
        make_pair(w, b);
        int fresh = b[0] == a[0] ? 0 : 1;
        assert_int_equal(b[fresh], a[0]);
        submit(w, &l);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, b[!fresh], "x", 1), 1);
        assert_int_equal(turn(w, NS_PER_S), 1);
        assert_int_equal(l.done, 1);
        assert_int_equal(cancel(w, &l), 0);
        l.done = 0;
        close_fd(w, a[1]);
        close_fd(w, b[0]);
        close_fd(w, b[1]);
    }
    world_close(w);
}

static void a_one_time_wait_survives_the_reuse_of_its_number(void **state)
{
    WORLD;
    for (int round = 0; round < 4; round++) {
        int a[2];
        char buf[4];
        make_pair(w, a);
        struct test_op p = poll_op(a[0], OP_IN, 0);
        submit(w, &p);
        assert_int_equal(w->calls->send(w->b, a[1], "x", 1), 1);
        run_until(w, &p, 1);
        if (round & 1) { /* left in the kernel, armed */
            assert_int_equal(w->calls->recv(w->b, a[0], buf, 4, 0), 1);
            submit(w, &p);
            assert_quiet(w);
            assert_int_equal(cancel(w, &p), 0);
        }
        if (is_sim(w)) {
            close_fd(w, a[0]);
            close_fd(w, a[1]);
        } else {
            close(a[0]);
            close(a[1]);
        }
    }
    world_close(w);
}

static void a_copy_of_a_closed_descriptor_cannot_make_it_spin(void **state)
{
    WORLD;
    if (is_sim(w)) { /* it has no dup */
        world_close(w);
        return;
    }
    for (int level = 0; level < 2; level++) {
        int a[2];
        make_pair(w, a);
        struct test_op p = poll_op(a[0], OP_IN, level ? OP_LEVEL : 0);
        submit(w, &p);
        assert_quiet(w);
        assert_int_equal(cancel(w, &p), 0);
        int copy = dup(a[0]);
        close(a[0]);
        assert_int_equal(w->calls->send(w->b, a[1], "x", 1), 1);
        int early = 0;
        for (int i = 0; i < 5; i++) {
            int64_t start = coil__clock_real_ns();
            assert_int_equal(turn(w, 2 * NS_PER_MS), 0);
            early += coil__clock_real_ns() - start < 2 * NS_PER_MS;
        }
        assert_true(early <= 1);
        close(copy);
        close(a[1]);
    }
    world_close(w);
}

static void an_owned_number_starts_afresh(void **state)
{
    WORLD;
    char buf[4];
    for (int round = 0; round < 5; round++) {
        int a[2];
        make_pair(w, a);
        own(w, a[0]);
        assert_int_equal(w->calls->recv(w->b, a[0], buf, sizeof buf, 0), -EAGAIN);
        struct test_op r = recv_op(a[0], buf, sizeof buf);
        submit(w, &r);
        assert_quiet(w);
        if (round & 1) /* an edge nobody reaps */
            assert_int_equal(w->calls->send(w->b, a[1], "x", 1), 1);
        close_fd(w, a[0]);
        reap(w);
        assert_int_equal(r.op.result, -ECANCELED);
        close_fd(w, a[1]);
    }
    assert_int_equal(w->b->fds, 0);
    world_close(w);
}

static void owning_needs_an_idle_open_descriptor(void **state)
{
    WORLD;
    int a[2];
    char buf[4];
    make_pair(w, a);
    struct test_op r = recv_op(a[0], buf, sizeof buf);
    submit(w, &r);
    assert_int_equal(w->calls->own(w->b, a[0]), -EBUSY);
    assert_int_equal(cancel(w, &r), 0);
    assert_int_equal(w->calls->own(w->b, a[0]), 0);
    assert_int_equal(w->calls->own(w->b, -1), -EBADF);
    close_fd(w, a[0]);
    close_fd(w, a[1]);
    world_close(w);
}

static void a_bad_descriptor_is_the_ops_result(void **state)
{
    WORLD;
    char buf[4];
    int bad[] = {-1, 1 << 20, (1 << 24) + 5, INT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct test_op r = recv_op(bad[i], buf, sizeof buf);
        submit(w, &r);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, -EBADF);
        assert_true(w->calls->close(w->b, bad[i]) == -EBADF);
    }
    int closed = dup(0);
    close(closed);
    struct test_op p = poll_op(closed, OP_IN, OP_LEVEL);
    submit(w, &p);
    run_until(w, &p, 1);
    assert_int_equal(p.op.result, -EBADF);
    assert_int_equal(p.op.state, OP_IDLE);
    world_close(w);
}

static void a_number_closed_behind_our_back_ends_what_waited_on_it(void **state)
{
    WORLD;
    if (is_sim(w)) { /* only calls->close closes there */
        world_close(w);
        return;
    }
    for (int owned = 0; owned < 2; owned++) {
        int a[2], b[2];
        char buf[4];
        make_pair(w, a);
        if (owned)
            own(w, a[0]);
        struct test_op r = recv_op(a[0], buf, 4), l = poll_op(a[0], OP_IN, OP_LEVEL);
        submit(w, &r);
        submit(w, &l);
        assert_quiet(w);
        close(a[0]);
        make_pair(w, b); /* the number is born again */
        assert_int_equal(b[0], a[0]);
        own(w, b[0]);
        reap(w);
        assert_int_equal(r.op.result, -EBADF);
        assert_int_equal(l.op.result, -EBADF);
        submit(w, &r);
        assert_int_equal(w->calls->send(w->b, b[1], "x", 1), 1);
        run_until(w, &r, 2);
        assert_int_equal(r.op.result, 1);
        close_fd(w, a[1]);
        close_fd(w, b[0]);
        close_fd(w, b[1]);
    }
    world_close(w);
}

/* Nobody can tell the first one; but it keeps nobody from being told. */
static void a_number_reused_behind_the_back_of_a_waiter_wakes_the_next(void **state)
{
    WORLD;
    if (is_sim(w)) { /* only calls->close closes there */
        world_close(w);
        return;
    }
    for (int copied = 0; copied < 2; copied++) {
        int a[2], b[2];
        char buf[4], more[4];
        make_pair(w, a);
        struct test_op stale = recv_op(a[0], buf, 4), r = recv_op(a[0], more, 4);
        submit(w, &stale);
        assert_quiet(w);
        int copy = copied ? dup(a[0]) : -1; /* the old file lives on elsewhere */
        close(a[0]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b), 0);
        assert_int_equal(b[0], a[0]);
        submit(w, &r);
        assert_quiet(w);
        if (copied)
            assert_int_equal(write(a[1], "old", 3), 3);
        assert_int_equal(write(b[1], "abcdef", 6), 6);
        run_until(w, &r, 1);
        assert_int_equal(stale.op.result + r.op.result, 6);
        assert_memory_equal(buf, "abcd", 4);
        assert_memory_equal(more, "ef", 2);
        if (copied)
            close(copy);
        close_fd(w, a[1]);
        close_fd(w, b[0]);
        close_fd(w, b[1]);
    }
    world_close(w);
}

static void forgetting_a_raw_descriptor_ends_what_waits_on_it(void **state)
{
    WORLD;
    int a[2];
    char buf[4];
    make_pair(w, a);
    assert_int_equal(w->calls->watchable(w->b, a[0]), 0);
    struct test_op r = recv_op(a[0], buf, 4), l = poll_op(a[0], OP_IN, OP_LEVEL);
    submit(w, &r);
    submit(w, &l);
    assert_quiet(w);
    w->calls->forget(w->b, a[0]);
    reap(w);
    assert_int_equal(r.op.result, -ECANCELED);
    assert_int_equal(l.op.result, -ECANCELED);
    assert_int_equal(w->b->pending, 0);
    assert_int_equal(w->b->fds, 0);
    own(w, a[0]);
    assert_int_equal(w->calls->watchable(w->b, a[0]), COIL_EINVALIDSTATE);
    submit(w, &r);
    w->calls->forget(w->b, a[0]); /* not of an owned one */
    assert_int_equal(w->b->pending, 1);
    close_fd(w, a[0]);
    close_fd(w, a[1]);
    reap(w);
    assert_int_equal(w->calls->watchable(w->b, a[0]), -EBADF);
    world_close(w);
}

static void poll_tells_of_a_number_closed_behind_our_back(void **state)
{
    struct world world, *w = &world;
    assert_int_equal(world_try_open(w, &coil__backend_poll, 0), 0);
    int a[2];
    char buf[4];
    make_pair(w, a);
    struct test_op r = recv_op(a[0], buf, 4), l = poll_op(a[0], OP_IN, OP_LEVEL),
                   again = recv_op(a[0], buf, 4);
    submit(w, &r);
    submit(w, &l);
    assert_quiet(w);
    close(a[0]);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, -EBADF);
    assert_int_equal(l.op.result, -EBADF);
    submit(w, &again);
    run_until(w, &again, 1);
    assert_int_equal(again.op.result, -EBADF);
    assert_quiet(w);
    close_fd(w, a[1]);
    world_close(w);
}

static void many_descriptors_come_and_go(void **state)
{
    WORLD;
    enum { N = 60 };
    static int fd[N][2];
    static struct test_op op[N];
    for (int i = 0; i < N; i++) {
        make_pair(w, fd[i]);
        op[i] = poll_op(fd[i][0], OP_IN, 0);
        submit(w, &op[i]);
    }
    assert_quiet(w);
    for (int i = 0; i < N; i += 2)
        assert_int_equal(cancel(w, &op[i]), 0);
    assert_quiet(w);
    assert_int_equal(w->b->fds, N / 2);
    for (int i = 0; i < N; i++)
        w->calls->send(w->b, fd[i][1], "x", 1);
    for (int i = 1; i < N; i += 2) {
        if (!op[i].done)
            run_until(w, &op[i], 1);
        assert_int_equal(op[i].op.result, OP_IN);
    }
    for (int i = 0; i < N; i += 2)
        assert_int_equal(op[i].done, 0);
    for (int i = 0; i < N; i++) {
        close_fd(w, fd[i][0]);
        close_fd(w, fd[i][1]);
    }
    world_close(w);
}

/* ---- a storm ---- */

struct lane {
    int fd[2]; /* bytes go from 1 to 0 */
    struct test_op send, recv, level, in, out;
    uint8_t out_buf[700], in_buf[500];
    size_t sent, got;
};

static void lane_open(struct world *w, struct random *random, struct lane *lane)
{
    int tcp = random_below(random, 4) == 0;
    if (tcp)
        make_tcp(w, lane->fd);
    else
        make_pair(w, lane->fd);
    for (int i = 0; i < 2; i++)
        if (random_below(random, 3))
            own(w, lane->fd[i]);
    lane->sent = lane->got = 0;
    lane->send.op.state = lane->recv.op.state = lane->level.op.state = lane->in.op.state =
        lane->out.op.state = OP_IDLE;
}

static void lane_settle(struct lane *lane)
{
    if (lane->send.done) {
        assert_int_equal(lane->send.done, 1);
        assert_true(lane->send.op.result > 0 || lane->send.op.result == -ECANCELED);
        if (lane->send.op.result > 0)
            lane->sent += (size_t)lane->send.op.result;
        lane->send.done = 0;
    }
    if (lane->recv.done) {
        assert_int_equal(lane->recv.done, 1);
        assert_true(lane->recv.op.result > 0 || lane->recv.op.result == -ECANCELED);
        for (int64_t i = 0; i < lane->recv.op.result; i++)
            assert_int_equal(lane->in_buf[i], pattern(lane->got + (size_t)i));
        if (lane->recv.op.result > 0)
            lane->got += (size_t)lane->recv.op.result;
        lane->recv.done = 0;
    }
}

static void lane_send(struct world *w, struct random *random, struct lane *lane)
{
    size_t n = 1 + random_below(random, sizeof lane->out_buf);
    for (size_t i = 0; i < n; i++)
        lane->out_buf[i] = pattern(lane->sent + i);
    if (random_below(random, 2)) {
        ssize_t rc = w->calls->send(w->b, lane->fd[1], lane->out_buf, n);
        assert_true(rc > 0 || rc == -EAGAIN);
        if (rc > 0) {
            lane->sent += (size_t)rc;
            return;
        }
    }
    lane->send = send_op(lane->fd[1], lane->out_buf, n);
    submit(w, &lane->send);
}

static void lane_recv(struct world *w, struct random *random, struct lane *lane)
{
    size_t n = 1 + random_below(random, sizeof lane->in_buf);
    if (random_below(random, 2)) {
        ssize_t rc = w->calls->recv(w->b, lane->fd[0], lane->in_buf, n, 0);
        if (rc > 0) {
            for (ssize_t i = 0; i < rc; i++)
                assert_int_equal(lane->in_buf[i], pattern(lane->got + (size_t)i));
            lane->got += (size_t)rc;
            return;
        }
        assert_int_equal(rc, -EAGAIN);
    }
    lane->recv = recv_op(lane->fd[0], lane->in_buf, n);
    submit(w, &lane->recv);
}

static void toggle(struct world *w, struct test_op *t, struct test_op made)
{
    if (t->op.state == OP_IDLE) {
        *t = made;
        submit(w, t);
    } else {
        (void)cancel(w, t);
    }
}

static void lane_close(struct world *w, struct lane *lane)
{
    close_fd(w, lane->fd[0]);
    close_fd(w, lane->fd[1]);
    reap(w);
    struct test_op *all[] = {&lane->send, &lane->recv, &lane->level, &lane->in, &lane->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(all[i]->op.state, OP_IDLE);
    lane->send.done = lane->recv.done = 0;
}

/* Whatever order things come in, each byte arrives once and in order, and each op ends once. */
static void storm(uint64_t seed)
{
    enum { LANES = 6 };
    static struct lane lanes[LANES];
    struct random random = {seed};
    WORLD;
    for (int i = 0; i < LANES; i++)
        lane_open(w, &random, &lanes[i]);
    for (int step = 0; step < 1500; step++) {
        struct lane *lane = &lanes[random_below(&random, LANES)];
        switch (random_below(&random, 12)) {
        case 0:
        case 1:
        case 2:
            if (lane->send.op.state == OP_IDLE)
                lane_send(w, &random, lane);
            break;
        case 3:
        case 4:
        case 5:
            if (lane->recv.op.state == OP_IDLE)
                lane_recv(w, &random, lane);
            break;
        case 6: (void)cancel(w, random_below(&random, 2) ? &lane->send : &lane->recv); break;
        case 7: toggle(w, &lane->level, poll_op(lane->fd[0], OP_IN, OP_LEVEL)); break;
        case 8: toggle(w, &lane->in, poll_op(lane->fd[0], OP_IN, 0)); break;
        case 9: toggle(w, &lane->out, poll_op(lane->fd[1], OP_OUT | OP_IN, 0)); break;
        case 10:
            if (random_below(&random, 20) == 0) {
                reap(w);
                lane_close(w, lane);
                lane_open(w, &random, lane);
            }
            break;
        default: turn(w, 1); break;
        }
        /* Sometimes ops are finished and not reaped while other things happen. */
        if (random_below(&random, 3))
            reap(w);
        for (int i = 0; i < LANES; i++)
            lane_settle(&lanes[i]);
    }
    /* Calm: everything sent arrives. */
    reap(w);
    for (int i = 0; i < LANES; i++) {
        struct lane *lane = &lanes[i];
        lane_settle(lane);
        (void)cancel(w, &lane->send);
        int64_t give_up = coil__clock_real_ns() + 20 * NS_PER_S;
        while (lane->got < lane->sent) {
            if (lane->recv.op.state == OP_IDLE)
                lane_recv(w, &random, lane);
            if (lane->recv.op.state != OP_IDLE)
                turn(w, NS_PER_S);
            for (int k = 0; k < LANES; k++)
                lane_settle(&lanes[k]);
            assert_true(coil__clock_real_ns() < give_up);
        }
    }
    for (int i = 0; i < LANES; i++)
        lane_close(w, &lanes[i]);
    world_close(w);
}

static uint64_t storm_seed; /* of the one that runs */

static void a_storm_loses_no_byte_and_ends_each_op_once(void **state)
{
    const char *one = getenv("STORM_SEED");
    uint64_t first = one ? strtoull(one, NULL, 0) : 1, last = one ? first : 60;
    for (storm_seed = first; storm_seed <= last; storm_seed++)
        storm(storm_seed);
    storm_seed = 0;
}

static int tell_storm_seed(void **state)
{
    if (storm_seed)
        print_message("# STORM_SEED=%llu repeats it\n", (unsigned long long)storm_seed);
    return 0;
}

static void a_call_for_another_kind_of_file_is_an_error(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    assert_int_equal(w->calls->pipe(w->b, fd), 0);
    struct test_op s = send_op(fd[1], "x", 1);
    submit(w, &s);
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, -ENOTSOCK);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, 4, 0), -ENOTSOCK);
    struct test_op level = recv_op(fd[0], buf, 4);
    level.op.flags = OP_LEVEL;
    submit(w, &level);
    run_until(w, &level, 1);
    assert_int_equal(level.op.result, -EINVAL);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* ---- sleeping ---- */

/* ---- files ---- */

/* What the op comes to where the backend does its kind; elsewhere it is refused, and `call` says the result. */
static int64_t file_op(struct world *w, struct op op, int64_t (*call)(const struct op *op))
{
    struct test_op t = {.op = op};
    t.op.done = on_done;
    submit(w, &t);
    run_until(w, &t, 1);
    assert_int_equal(t.op.state, OP_IDLE);
    assert_int_equal(w->b->pending, 0);
    if (backend_does_files(w->b))
        return t.op.result;
    assert_int_equal(t.op.result, -EOPNOTSUPP);
    return call(&op);
}

static int64_t call_open(const struct op *op)
{
    return sys_openat(op->fd, op->open.path, op->open.flags | O_CLOEXEC, op->open.mode);
}

static int64_t call_read(const struct op *op)
{
    struct iovec v = {op->at.p, op->at.n};
    return sys_preadv2(op->fd, &v, 1, op->at.offset, 0);
}

static int64_t call_write(const struct op *op)
{
    struct iovec v = {op->at.p, op->at.n};
    return sys_pwritev2(op->fd, &v, 1, op->at.offset, 0);
}

static int64_t call_sync(const struct op *op)
{
    return op->flags & OP_DATASYNC ? sys_fdatasync(op->fd) : sys_fsync(op->fd);
}

static int64_t call_close(const struct op *op)
{
    return sys_close(op->fd);
}

static void files_are_opened_read_and_written_or_the_op_is_refused(void **state)
{
    WORLD;
    char name[] = "/tmp/coil-backend-XXXXXX", buf[16] = {0}, text[] = "hello, file";
    int made = mkstemp(name);
    assert_true(made >= 0);
    int64_t fd = file_op(
        w, (struct op){.kind = OP_OPENAT, .fd = AT_FDCWD, .open = {.path = name, .flags = O_RDWR}},
        call_open);
    assert_true(fd >= 0);
    assert_true(fcntl((int)fd, F_GETFD) & FD_CLOEXEC);
    struct op write = {.kind = OP_PWRITE, .fd = (int)fd, .at = {text, 11, -1}};
    assert_int_equal(file_op(w, write, call_write), 11);
    write.at.offset = 20; /* does not move the position */
    assert_int_equal(file_op(w, write, call_write), 11);
    struct op read = {.kind = OP_PREAD, .fd = (int)fd, .at = {buf, 5, 22}};
    assert_int_equal(file_op(w, read, call_read), 5);
    assert_memory_equal(buf, "llo, ", 5);
    read.at.offset = -1;
    assert_int_equal(file_op(w, read, call_read), 5);
    assert_memory_equal(buf, "\0\0\0\0\0", 5);
    read.at.offset = 100;
    assert_int_equal(file_op(w, read, call_read), 0);
    struct op sync = {.kind = OP_FSYNC, .fd = (int)fd};
    assert_int_equal(file_op(w, sync, call_sync), 0);
    sync.flags = OP_DATASYNC;
    assert_int_equal(file_op(w, sync, call_sync), 0);
    assert_int_equal(file_op(w, (struct op){.kind = OP_CLOSE, .fd = (int)fd}, call_close), 0);
    assert_int_equal(fcntl((int)fd, F_GETFD), -1);

    assert_int_equal(close(made), 0);
    assert_int_equal(unlink(name), 0);
    world_close(w);
}

static void errors_of_files_are_the_results_of_their_ops(void **state)
{
    WORLD;
    char byte = 0;
    struct op open = {.kind = OP_OPENAT, .fd = AT_FDCWD, .open = {.path = "/nowhere/to/be/found"}};
    assert_int_equal(file_op(w, open, call_open), -ENOENT);
    int fd = sys_openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    assert_int_equal(
        file_op(w, (struct op){.kind = OP_PREAD, .fd = fd, .at = {&byte, 1, 0}}, call_read),
        -EISDIR);
    assert_int_equal(
        file_op(w, (struct op){.kind = OP_PWRITE, .fd = fd, .at = {&byte, 1, 0}}, call_write),
        -EBADF);
    assert_int_equal(sys_close(fd), 0);
    assert_int_equal(file_op(w, (struct op){.kind = OP_CLOSE, .fd = fd}, call_close), -EBADF);
    assert_int_equal(file_op(w, (struct op){.kind = OP_FSYNC, .fd = fd}, call_sync), -EBADF);
    world_close(w);
}

static void a_cancelled_read_of_a_file_ends_once_and_tells_what_it_did(void **state)
{
    WORLD;
    static char big[1 << 20];
    char name[] = "/tmp/coil-backend-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(unlink(name), 0);
    memset(big, 'x', sizeof big);
    assert_int_equal(write(fd, big, sizeof big), sizeof big);
    for (int i = 0; i < 20; i++) {
        memset(big, 0, sizeof big);
        struct test_op t = {
            .op = {.done = on_done, .kind = OP_PREAD, .fd = fd, .at = {big, sizeof big, 0}}};
        submit(w, &t);
        if (i % 2)
            look_once(w);
        int rc = t.done ? -ENOENT : cancel(w, &t);
        if (rc == -EINPROGRESS)
            run_until(w, &t, 1);
        assert_int_equal(t.op.state, OP_IDLE);
        assert_int_equal(t.done, rc == 0 ? 0 : 1);
        size_t came = 0;
        while (came < sizeof big && big[came] == 'x')
            came++;
        if (rc == 0 || t.op.result < 0) {
            assert_int_equal(came, 0);
            if (rc != 0)
                assert_int_equal(t.op.result, backend_does_files(w->b) ? -ECANCELED : -EOPNOTSUPP);
        } else {
            assert_int_equal(came, t.op.result);
        }
    }
    assert_int_equal(close(fd), 0);
    world_close(w);
}

static void a_hangup_nobody_waits_for_does_not_spin(void **state)
{
    WORLD;
    for (int how = 0; how < 3; how++) { /* raw once waited for, raw after a level poll, owned */
        int fd[2];
        char buf[4];
        make_tcp(w, fd);
        if (how == 2)
            own(w, fd[0]);
        struct test_op p = poll_op(fd[0], OP_IN, how == 1 ? OP_LEVEL : 0);
        submit(w, &p);
        assert_quiet(w);
        assert_int_equal(w->calls->send(w->b, fd[0], "unread", 6), 6);
        turn(w, NS_PER_MS);
        close_fd(w, fd[1]); /* a reset */
        if (!p.done)
            run_until(w, &p, 1);
        cancel(w, &p);
        int64_t start = cpu_ns();
        int early = 0;
        for (int i = 0; i < 10 && !is_sim(w); i++) {
            int64_t before = coil__clock_real_ns();
            assert_int_equal(turn(w, 2 * NS_PER_MS), 0);
            early += coil__clock_real_ns() - before < 2 * NS_PER_MS;
        }
        assert_true(early <= 2);
        assert_true(cpu_ns() - start < 15 * NS_PER_MS);
        assert_quiet(w);
        ssize_t rc = w->calls->recv(w->b, fd[0], buf, sizeof buf, 0);
        assert_true(rc == 0 || rc == -ECONNRESET);
        close_fd(w, fd[0]);
    }
    world_close(w);
}

static void timeouts_are_never_early(void **state)
{
    WORLD;
    if (is_sim(w))
        w->clock.is_virtual =
            false; /* its sleep, when the loop has nothing imaginary to wait for */
    int64_t lengths[] = {1, 1000, 100 * NS_PER_US, NS_PER_MS + 1, 3 * NS_PER_MS};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int64_t start = coil__clock_real_ns();
        assert_int_equal(w->cls->wait(w->b, lengths[i]), 0);
        assert_true(coil__clock_real_ns() - start >= lengths[i]);
    }
    world_close(w);
}

static void ring(void *arg)
{
    struct inbox *inbox = arg;
    usleep(2000);
    coil__inbox_ring(inbox);
}

static void a_ring_ends_the_sleep(void **state)
{
    WORLD;
    for (int i = 0; i < 3; i++) {
        struct thread thread;
        assert_int_equal(coil__thread_start(&thread, "ring", ring, w->inbox), 0);
        assert_int_equal(w->cls->wait(w->b, -1), 0);
        coil__thread_join(&thread);
        assert_int_equal(reap(w), 0);
    }
    /* Rings are drained: the next sleep lasts. */
    coil__inbox_ring(w->inbox);
    coil__inbox_ring(w->inbox);
    assert_int_equal(w->cls->wait(w->b, -1), 0);
    int64_t start = coil__clock_real_ns();
    assert_int_equal(w->cls->wait(w->b, 2 * NS_PER_MS), 0);
    assert_true(coil__clock_real_ns() - start >= 2 * NS_PER_MS);
    world_close(w);
}

/* ---- counters, memory ---- */

static void counters_are_exact(void **state)
{
    WORLD;
    int a[2], b[2];
    char buf[4];
    make_pair(w, a);
    make_pair(w, b);
    struct test_op r = recv_op(a[0], buf, 4), s = recv_op(a[0], buf, 4),
                   l = poll_op(b[0], OP_IN, OP_LEVEL);
    submit(w, &r);
    submit(w, &s);
    submit(w, &l);
    assert_int_equal(w->b->pending, 3);
    assert_int_equal(w->b->real_pending, is_sim(w) ? 0 : 3);
    assert_int_equal(w->b->fds, 2);
    assert_quiet(w);
    w->calls->send(w->b, a[1], "x", 1);
    run_until(w, &r, 1);
    assert_int_equal(w->b->pending, 2);
    assert_int_equal(w->b->fds, 2);
    cancel(w, &s);
    assert_int_equal(w->b->fds, 1);
    cancel(w, &l);
    assert_int_equal(w->b->pending, 0);
    assert_int_equal(w->b->fds, 0);
    close_fd(w, a[0]);
    close_fd(w, a[1]);
    close_fd(w, b[0]);
    close_fd(w, b[1]);
    world_close(w);
}

/* Everything a small program does; each step may be refused for want of memory, and only for that. */
static bool small_program(struct world *w)
{
    bool whole = true;
    int fd[2];
    char buf[64];
    int rc = w->calls->socketpair(w->b, AF_UNIX, SOCK_STREAM, fd);
    if (rc < 0) {
        assert_int_equal(rc, -ENOMEM);
        return false;
    }
    rc = w->calls->own(w->b, fd[0]);
    assert_true(rc == 0 || rc == -ENOMEM);
    whole &= rc == 0;
    struct test_op r = recv_op(fd[0], buf, sizeof buf), l = poll_op(fd[1], OP_OUT, OP_LEVEL);
    submit(w, &r);
    submit(w, &l);
    turn(w, NS_PER_MS);
    ssize_t sent = w->calls->send(w->b, fd[1], "hello", 5);
    assert_true(sent == 5 || sent == -ENOMEM);
    whole &= sent == 5;
    if (sent == 5 && !r.done)
        run_until(w, &r, 1);
    if (r.done) {
        assert_true(r.op.result == 5 || r.op.result == -ENOMEM);
        whole &= r.op.result == 5;
    }
    if (l.op.state == OP_IDLE) {
        assert_int_equal(l.op.result, -ENOMEM);
        whole = false;
    }
    int many[40][2], n = 0;
    struct test_op polls[40];
    for (; n < 40; n++) {
        if (w->calls->pipe(w->b, many[n]) < 0) {
            whole = false;
            break;
        }
        polls[n] = poll_op(many[n][0], OP_IN, 0);
        submit(w, &polls[n]);
        turn(w, 1);
    }
    for (int i = 0; i < n; i++) {
        if (polls[i].done) {
            assert_int_equal(polls[i].op.result, -ENOMEM);
            whole = false;
        } else {
            assert_int_equal(cancel(w, &polls[i]), 0);
        }
        close_fd(w, many[i][0]);
        close_fd(w, many[i][1]);
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    reap(w);
    return whole;
}

static void every_failed_allocation_is_an_error_and_loses_nothing(void **state)
{
    const struct backend_class *cls;
    assert_int_equal(coil__backend_choose(NULL, &cls), 0);
    for (int all = 0; all < 2; all++) {
        bool whole = false;
        for (int n = 1; !whole; n++) {
            assert_true(n < 1000);
            struct world world, *w = &world;
            int64_t live = coil__mem_live();
            coil__mem_fail_at(n, all);
            int err = world_try_open(w, cls, 0);
            if (err < 0) {
                assert_int_equal(err, -ENOMEM);
                assert_int_equal(coil__mem_live(), live);
                coil__mem_fail_at(0, 0);
                continue;
            }
            whole = small_program(w);
            coil__mem_fail_at(0, 0);
            world_close(w);
        }
    }
}

static void backends_are_chosen_by_name(void **state)
{
    const struct backend_class *cls;
    assert_int_equal(coil__backend_choose("poll", &cls), 0);
    assert_ptr_equal(cls, &coil__backend_poll);
    assert_int_equal(coil__backend_choose("sim", &cls), 0);
    assert_ptr_equal(cls, &coil__backend_sim);
    assert_int_equal(coil__backend_choose("auto", &cls), 0);
    assert_int_equal(coil__backend_choose("kqueue", &cls), -EINVAL);
    assert_ptr_not_equal(cls, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recv_completes_when_data_comes),
        cmocka_unit_test(data_between_eagain_and_submit_is_not_lost),
        cmocka_unit_test(data_that_was_there_before_owning_is_found),
        cmocka_unit_test(end_of_stream_comes_after_the_data),
        cmocka_unit_test(end_of_stream_right_after_a_short_recv_is_seen),
        cmocka_unit_test(bytes_behind_a_passed_descriptor_are_found),
        cmocka_unit_test(what_is_discarded_before_a_close_spares_the_peer_a_reset),
        cmocka_unit_test(half_close_leaves_the_other_direction),
        cmocka_unit_test(a_write_error_never_hides_readable_data),
        cmocka_unit_test(a_partial_send_is_resumed),
        cmocka_unit_test(a_vector_is_sent_in_order),
        cmocka_unit_test(several_receives_are_served_in_order),
        cmocka_unit_test(both_directions_wait_side_by_side),
        cmocka_unit_test(a_recv_of_nothing_is_no_end_of_stream),
        cmocka_unit_test(pipes_read_and_write),
        cmocka_unit_test(owned_pipes_are_tried_and_remember_eagain),
        cmocka_unit_test(a_pipe_without_a_reader_raises_no_signal),
        cmocka_unit_test(datagrams_keep_their_edges_and_their_sender),
        cmocka_unit_test(a_datagram_is_tried_before_it_is_waited_for),
        cmocka_unit_test(a_unix_receiver_by_name_is_tried_each_time),
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
        cmocka_unit_test(a_send_that_finds_no_room_does_not_wake_itself),
#endif
        cmocka_unit_test(a_full_unix_receiver_makes_its_connected_sender_wait),
        cmocka_unit_test(a_connected_datagram_socket_hears_its_peer_alone),
        cmocka_unit_test(a_file_is_sent_in_parts_until_there_is_no_room),
        cmocka_unit_test(a_file_sent_to_nobody_raises_no_signal),
        cmocka_unit_test(connect_meets_accept),
        cmocka_unit_test(connect_is_refused_where_nobody_listens),
        cmocka_unit_test(unix_sockets_meet_by_an_abstract_name),
        cmocka_unit_test(unix_file_is_born_as_fchmod_says),
        cmocka_unit_test(a_storm_of_connections_is_accepted_whole),
        cmocka_unit_test(accept_tells_when_descriptors_run_out),
        cmocka_unit_test(cancel_before_completion_takes_the_op_back),
        cmocka_unit_test(a_finished_op_beats_the_cancel),
        cmocka_unit_test(cancel_leaves_the_others_of_the_same_descriptor),
        cmocka_unit_test(close_ends_pending_ops_as_cancelled),
        cmocka_unit_test(close_keeps_the_result_that_was_there),
        cmocka_unit_test(a_level_poll_fires_every_wait_while_readable),
        cmocka_unit_test(level_polls_of_both_directions_are_apart),
        cmocka_unit_test(a_poll_tells_which_direction_holds),
        cmocka_unit_test(a_raw_number_may_mean_another_file),
        cmocka_unit_test(a_one_time_wait_survives_the_reuse_of_its_number),
        cmocka_unit_test(a_copy_of_a_closed_descriptor_cannot_make_it_spin),
        cmocka_unit_test(an_owned_number_starts_afresh),
        cmocka_unit_test(owning_needs_an_idle_open_descriptor),
        cmocka_unit_test(a_bad_descriptor_is_the_ops_result),
        cmocka_unit_test(a_number_closed_behind_our_back_ends_what_waited_on_it),
        cmocka_unit_test(a_number_reused_behind_the_back_of_a_waiter_wakes_the_next),
        cmocka_unit_test(forgetting_a_raw_descriptor_ends_what_waits_on_it),
        cmocka_unit_test(poll_tells_of_a_number_closed_behind_our_back),
        cmocka_unit_test(many_descriptors_come_and_go),
        cmocka_unit_test_teardown(a_storm_loses_no_byte_and_ends_each_op_once, tell_storm_seed),
        cmocka_unit_test(a_call_for_another_kind_of_file_is_an_error),
        cmocka_unit_test(files_are_opened_read_and_written_or_the_op_is_refused),
        cmocka_unit_test(errors_of_files_are_the_results_of_their_ops),
        cmocka_unit_test(a_cancelled_read_of_a_file_ends_once_and_tells_what_it_did),
        cmocka_unit_test(a_hangup_nobody_waits_for_does_not_spin),
        cmocka_unit_test(timeouts_are_never_early),
        cmocka_unit_test(a_ring_ends_the_sleep),
        cmocka_unit_test(counters_are_exact),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_loses_nothing),
        cmocka_unit_test(backends_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
