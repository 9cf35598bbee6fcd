/* SPDX-License-Identifier: MIT
 *
 * test_epoll.c: what epoll asks of the kernel and how often, and a kernel that refuses. */
#include "world.h"

#include "pass.h"

#include <limits.h>
#include <stdlib.h>

#define WORLD                        \
    struct world world, *w = &world; \
    assert_int_equal(world_try_open(w, &coil__backend_epoll, 0), 0)

static int ctl_calls, ctl_fail, recv_calls, accept_calls, accept_fail[8], events_n;
static struct epoll_event events[8];

static int restore(void **state)
{
    coil__sys = coil__sys_real;
    ctl_calls = ctl_fail = recv_calls = accept_calls = events_n = 0;
    memset(accept_fail, 0, sizeof accept_fail);
    return 0;
}

static int ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    ctl_calls++;
    return ctl_fail && op != EPOLL_CTL_DEL ? ctl_fail : coil__sys_real.epoll_ctl(ep, op, fd, ev);
}

static ssize_t counted_recv(int fd, void *p, size_t n, int flags)
{
    recv_calls++;
    return coil__sys_real.recv(fd, p, n, flags);
}

static void an_owned_descriptor_is_registered_once(void **state)
{
    WORLD;
    coil__sys.epoll_ctl = ctl;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    own(w, fd[0]);
    for (int i = 0; i < 10; i++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        look_once(w);
        w->calls->send(w->b, fd[1], "x", 1);
        run_until(w, &r, 1);
    }
    assert_int_equal(ctl_calls, 1);
    close_fd(w, fd[0]);
    assert_int_equal(ctl_calls, 2);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_raw_descriptor_costs_one_call_a_park_and_none_a_level_event(void **state)
{
    WORLD;
    coil__sys.epoll_ctl = ctl;
    int fd[2];
    make_pair(w, fd);
    for (int i = 1; i <= 5; i++) {
        struct test_op p = poll_op(fd[0], OP_OUT, 0);
        submit(w, &p);
        run_until(w, &p, 1);
        assert_int_equal(ctl_calls, i);
    }
    struct test_op l = poll_op(fd[0], OP_OUT, OP_LEVEL);
    submit(w, &l);
    for (int i = 1; i <= 5; i++)
        run_until(w, &l, i);
    assert_int_equal(ctl_calls, 6);
    cancel(w, &l);
    assert_int_equal(ctl_calls, 7);
    /* What comes and goes within a turn costs nothing. */
    for (int i = 0; i < 5; i++) {
        submit(w, &l);
        cancel(w, &l);
    }
    look_once(w);
    assert_int_equal(ctl_calls, 7);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_remembered_eagain_costs_no_call(void **state)
{
    WORLD;
    coil__sys.recv = counted_recv;
    int fd[2];
    char buf[64];
    make_tcp(w, fd);
    own(w, fd[0]);
    for (int i = 0; i < 5; i++)
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
    assert_int_equal(recv_calls, 1);
    recv_calls = 0;
    /* And a short recv from TCP is remembered as one: a request costs one call. */
    for (int i = 0; i < 5; i++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        submit(w, &r);
        w->calls->send(w->b, fd[1], "abc", 3);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 3);
    }
    assert_int_equal(recv_calls, 5);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static ssize_t counted_recvmsg(int fd, struct msghdr *hdr, int flags)
{
    recv_calls++;
    return coil__sys_real.recvmsg(fd, hdr, flags);
}

/* So is one from a unix stream, once it is known as one. */
static void a_short_recv_from_a_unix_stream_is_remembered(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    make_pair(w, fd);
    own(w, fd[0]);
    coil__sys.recv = counted_recv;
    coil__sys.recvmsg = counted_recvmsg;
    for (int i = 0; i < 6; i++) {
        if (i == 1)
            recv_calls = 0;
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        submit(w, &r);
        w->calls->send(w->b, fd[1], "abc", 3);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 3);
    }
    assert_true(recv_calls <= 6); /* the first time it asked once more */
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* recv(2) stops before an urgent byte, so a short one is no proof. */
static void urgent_data_does_not_hide_what_follows(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    make_tcp(w, fd);
    own(w, fd[0]);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        assert_int_equal(w->calls->send(w->b, fd[1], "ab", 2), 2);
        assert_int_equal(send(fd[1], "!", 1, MSG_OOB), 1);
        assert_int_equal(w->calls->send(w->b, fd[1], "cd", 2), 2);
        int got = 0;
        while (got < 4) {
            ssize_t n = w->calls->recv(w->b, fd[0], buf + got, sizeof buf - (size_t)got, 0);
            if (n == -EAGAIN) {
                struct test_op r = recv_op(fd[0], buf + got, sizeof buf - (size_t)got);
                submit(w, &r);
                run_until(w, &r, 1);
                n = r.op.result;
            }
            assert_true(n > 0);
            got += (int)n;
        }
        assert_memory_equal(buf, "abcd", 4);
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* recv(2) from a unix socket also stops after bytes that came with a descriptor. */
static void a_passed_descriptor_does_not_hide_what_follows(void **state)
{
    WORLD;
    int fd[2];
    char buf[64];
    make_pair(w, fd);
    own(w, fd[0]);
    for (int i = 0; i < 2; i++) {
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        submit(w, &r);
        pass_along(fd[1], "a", fd[1]);
        assert_int_equal(w->calls->send(w->b, fd[1], "b", 1), 1);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 1);
        submit(w, &r);
        run_until(w, &r, 2);
        assert_int_equal(r.op.result, 1);
        assert_int_equal(buf[0], 'b');
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_refused_registration_is_the_ops_result(void **state)
{
    WORLD;
    coil__sys.epoll_ctl = ctl;
    int errors[] = {-ENOSPC, -ENOMEM, -EPERM, -EBADF};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        for (int owned = 0; owned < 2; owned++) {
            int fd[2];
            char buf[4];
            make_pair(w, fd);
            if (owned)
                own(w, fd[0]);
            ctl_fail = errors[i];
            assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
            struct test_op r = recv_op(fd[0], buf, sizeof buf), l = poll_op(fd[0], OP_IN, OP_LEVEL);
            submit(w, &r);
            submit(w, &l);
            run_until(w, &r, 1);
            assert_int_equal(r.op.result, errors[i]);
            assert_int_equal(l.op.result, errors[i]);
            assert_int_equal(l.op.state, OP_IDLE);
            ctl_fail = 0;
            /* It was the kernel's moment of weakness, not the end of the descriptor. */
            w->calls->send(w->b, fd[1], "x", 1);
            submit(w, &r);
            run_until(w, &r, 2);
            assert_int_equal(r.op.result, 1);
            close_fd(w, fd[0]);
            close_fd(w, fd[1]);
        }
    }
    world_close(w);
}

/* What fits into the pipe between them; returns how much that was. */
static size_t fill(struct world *w, int fd)
{
    static char block[65536];
    size_t all = 0;
    ssize_t n;
    while ((n = w->calls->send(w->b, fd, block, sizeof block)) > 0)
        all += (size_t)n;
    assert_int_equal(n, -EAGAIN);
    return all;
}

static int kernel_has_an_event(struct world *w)
{
    struct pollfd p = {.fd = w->b->kernel_fd, .events = POLLIN};
    return poll(&p, 1, 0);
}

/* A unix socket says that there is room each time that its peer has read something. */
static void who_never_lacked_room_is_not_woken_by_it(void **state)
{
    WORLD;
    coil__sys.epoll_ctl = ctl;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    look_once(w);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w->calls->send(w->b, fd[0], "x", 1), 1);
        assert_int_equal(w->calls->recv(w->b, fd[1], buf, sizeof buf, 0), 1);
        assert_int_equal(kernel_has_an_event(w), 0);
    }
    assert_int_equal(ctl_calls, 1);
    /* Once it lacked some it is told of it, by one more call. */
    size_t left = fill(w, fd[0]);
    struct test_op s = send_op(fd[0], "last", 4);
    submit(w, &s);
    look_once(w);
    assert_int_equal(s.done, 0);
    while (left > 0) {
        static char block[65536];
        left -= (size_t)w->calls->recv(w->b, fd[1], block, sizeof block, 0);
    }
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, 4);
    assert_int_equal(ctl_calls, 2);
    /* And what waited for bytes still waits. */
    assert_int_equal(r.done, 0);
    assert_int_equal(w->calls->send(w->b, fd[1], "in", 2), 2);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void refused_news_of_room_are_the_result_of_all_that_waits(void **state)
{
    WORLD;
    coil__sys.epoll_ctl = ctl;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, sizeof buf), s = send_op(fd[0], "last", 4);
    submit(w, &r);
    look_once(w);
    assert_int_equal(ctl_calls, 1);
    ctl_fail = -ENOMEM;
    fill(w, fd[0]);
    submit(w, &s);
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, -ENOMEM);
    assert_int_equal(r.op.result, -ENOMEM);
    ctl_fail = 0;
    submit(w, &r);
    look_once(w);
    assert_int_equal(w->calls->send(w->b, fd[1], "in", 2), 2);
    run_until(w, &r, 2);
    assert_int_equal(r.op.result, 2);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_regular_file_cannot_be_watched(void **state)
{
    WORLD;
    char path[] = "/tmp/coil-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    struct test_op p = poll_op(fd, OP_IN, OP_LEVEL);
    submit(w, &p);
    run_until(w, &p, 1);
    assert_int_equal(p.op.result, -EPERM);
    close(fd);
    world_close(w);
}

static int fake_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    memcpy(ev, events, sizeof events);
    return events_n;
}

static void an_event_of_an_earlier_file_is_dropped(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op r = recv_op(fd[0], buf, 1), next = recv_op(fd[0], buf + 1, 1);
    submit(w, &r);
    submit(w, &next);
    look_once(w);
    coil__sys.epoll_wait = fake_wait;
    coil__sys.recv = counted_recv;
    /* Generations start at 0 and owning has made it 1: this one is of the file before. */
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.u64 = (uint32_t)fd[0]};
    /* And these have never been heard of. */
    events[1] = (struct epoll_event){.events = EPOLLIN, .data.u64 = 5000};
    events[2] = (struct epoll_event){.events = EPOLLIN, .data.u64 = (uint64_t)9 << 32 | 1};
    events_n = 3;
    look_once(w);
    assert_int_equal(recv_calls, 0);
    /* A wake-up for nothing costs one call and ends nothing; nor does the next op jump the queue. */
    events[0].data.u64 |= (uint64_t)1 << 32;
    look_once(w);
    assert_int_equal(recv_calls, 1);
    assert_int_equal(r.done, 0);
    coil__sys = coil__sys_real;
    w->calls->send(w->b, fd[1], "x", 1);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 1);
    assert_int_equal(next.done, 0);
    assert_int_equal(cancel(w, &next), 0);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static int interrupted_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    return -EINTR;
}

static int interrupted_wait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    return -EINTR;
}

static void a_signal_ends_the_sleep_and_is_no_error(void **state)
{
    WORLD;
    coil__sys.epoll_wait = interrupted_wait;
    coil__sys.epoll_pwait2 = interrupted_wait2;
    assert_int_equal(w->cls->wait(w->b, 0), 0);
    assert_int_equal(w->cls->wait(w->b, -1), 0);
    assert_int_equal(w->cls->wait(w->b, NS_PER_S), 0);
    coil__sys = coil__sys_real;
    world_close(w);
}

static int refusal;
static int refused_wait2(int ep, struct epoll_event *ev, int n, int64_t timeout_ns)
{
    ctl_calls++;
    return refusal;
}

static void old_kernels_sleep_in_whole_milliseconds_rounded_up(void **state)
{
    refusal = -ENOSYS;
    for (int i = 0; i < 2; i++) {
        WORLD;
        coil__sys.epoll_pwait2 = refused_wait2;
        ctl_calls = 0;
        for (int k = 0; k < 3; k++) {
            int64_t start = coil__clock_real_ns();
            assert_int_equal(w->cls->wait(w->b, 1), 0);
            assert_true(coil__clock_real_ns() - start >= NS_PER_MS);
        }
        assert_int_equal(ctl_calls, 1); /* asked once */
        world_close(w);
        coil__sys = coil__sys_real;
        refusal = -EPERM; /* as a seccomp filter has it */
    }
}

static int slept_ms;

static int note_wait(int ep, struct epoll_event *ev, int n, int ms)
{
    (void)ep, (void)ev, (void)n;
    slept_ms = ms;
    return 0;
}

static void old_kernels_sleep_no_longer_than_they_can_count(void **state)
{
    WORLD;
    refusal = -ENOSYS;
    coil__sys.epoll_pwait2 = refused_wait2;
    coil__sys.epoll_wait = note_wait;
    assert_int_equal(w->cls->wait(w->b, 30 * 24 * 3600 * NS_PER_S), 0);
    assert_int_equal(slept_ms, INT_MAX); /* not quite 25 days */
    assert_int_equal(w->cls->wait(w->b, -1), 0);
    assert_int_equal(slept_ms, -1);
    coil__sys = coil__sys_real;
    world_close(w);
}

/* Messages have ends: a short one says nothing of the next. Nor does a peek. */
static void a_short_message_does_not_hide_the_next(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    assert_int_equal(w->calls->socketpair(w->b, AF_UNIX, SOCK_SEQPACKET, fd), 0);
    own(w, fd[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        struct test_op r = recv_op(fd[0], buf, sizeof buf);
        submit(w, &r);
        assert_int_equal(look_once(w), 0);
        assert_int_equal(w->calls->send(w->b, fd[1], "ab", 2), 2);
        assert_int_equal(w->calls->send(w->b, fd[1], "cd", 2), 2);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 2);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, MSG_PEEK), 2);
        assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 2);
        assert_memory_equal(buf, "cd", 2);
    }
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* Both are done and not reaped when one of the descriptors is forgotten. */
static void forgetting_one_leaves_what_another_has_to_tell(void **state)
{
    WORLD;
    int a[2], b[2];
    make_pair(w, a);
    make_pair(w, b);
    struct test_op level = poll_op(a[0], OP_IN, OP_LEVEL), other = poll_op(b[0], OP_IN, OP_LEVEL);
    submit(w, &other);
    submit(w, &level);
    assert_int_equal(look_once(w), 0);
    assert_int_equal(w->calls->send(w->b, a[1], "x", 1), 1);
    assert_int_equal(w->calls->send(w->b, b[1], "x", 1), 1);
    assert_int_equal(w->cls->wait(w->b, 0), 0);
    w->calls->forget(w->b, a[0]);
    reap(w);
    assert_int_equal(level.done, 1);
    assert_true(level.op.result < 0);
    assert_true(other.done >= 1);
    assert_true(other.op.result > 0);
    (void)cancel(w, &other);
    reap(w);
    close_fd(w, a[0]);
    close_fd(w, a[1]);
    close_fd(w, b[0]);
    close_fd(w, b[1]);
    world_close(w);
}

/* close(2), and not ours; the kernel gives its number to the next. */
static void a_number_that_comes_again_is_a_new_descriptor(void **state)
{
    WORLD;
    int old[2], new[2];
    make_pair(w, old);
    own(w, old[0]);
    close(old[0]);
    assert_int_equal(w->calls->socketpair(w->b, AF_UNIX, SOCK_STREAM, new), 0);
    assert_int_equal(new[0], old[0]);
    assert_false(w->calls->owns(w->b, new[0]));
    close_fd(w, new[0]);
    close_fd(w, new[1]);
    close_fd(w, old[1]);
    world_close(w);
}

static int scripted_accept(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    int err = accept_calls < 8 ? accept_fail[accept_calls] : 0;
    accept_calls++;
    return err ? err : coil__sys_real.accept4(fd, a, n, flags);
}

static void connections_that_died_waiting_are_passed_over(void **state)
{
    WORLD;
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 4);
    own(w, listener);
    int client = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    struct test_op c = connect_op(client, &addr, len), a = accept_op(listener);
    coil__sys.accept4 = scripted_accept;
    memcpy(accept_fail,
           (int[]){-ECONNABORTED, -EPROTO, -EPERM, -ENETDOWN, -EINTR, -EHOSTUNREACH, 0, 0},
           sizeof accept_fail);
    submit(w, &a);
    submit(w, &c);
    run_until(w, &a, 1);
    assert_true(a.op.result >= 0);
    if (!c.done)
        run_until(w, &c, 1);
    close_fd(w, (int)a.op.result);

    /* What the listener itself lacks is told. */
    int told[] = {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM, -EINVAL};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        accept_calls = 0;
        accept_fail[0] = told[i];
        a = accept_op(listener);
        assert_int_equal(w->calls->accept(w->b, listener, NULL, NULL), told[i]);
    }
    close_fd(w, client);
    close_fd(w, listener);
    world_close(w);
}

static int always_eperm(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    accept_calls++;
    return -EPERM;
}

static void an_accept_that_never_works_is_told_in_the_end(void **state)
{
    WORLD;
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 4);
    coil__sys.accept4 = always_eperm;
    assert_int_equal(w->calls->accept(w->b, listener, NULL, NULL), -EPERM);
    assert_true(accept_calls < 1000);
    coil__sys = coil__sys_real;
    close_fd(w, listener);
    world_close(w);
}

static ssize_t nervous_recv(int fd, void *p, size_t n, int flags)
{
    return recv_calls++ % 2 ? coil__sys_real.recv(fd, p, 1, flags) : -EINTR;
}

static ssize_t nervous_send(int fd, const void *p, size_t n, int flags)
{
    return recv_calls++ % 2 ? coil__sys_real.send(fd, p, 1, flags) : -EINTR;
}

static void one_byte_at_a_time_with_signals_between_loses_nothing(void **state)
{
    WORLD;
    int fd[2];
    char in[64];
    make_tcp(w, fd);
    own(w, fd[0]);
    own(w, fd[1]);
    coil__sys.recv = nervous_recv;
    coil__sys.send = nervous_send;
    for (int i = 0; i < 50; i++) {
        char c = (char)i;
        struct test_op r = recv_op(fd[1], in, sizeof in), s = send_op(fd[0], &c, 1);
        submit(w, &r);
        submit(w, &s);
        run_until(w, &r, 1);
        assert_int_equal(r.op.result, 1);
        assert_int_equal(in[0], i);
        assert_int_equal(s.done, 1);
    }
    coil__sys = coil__sys_real;
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static ssize_t nervous_read(int fd, void *p, size_t n)
{
    return recv_calls++ % 2 ? coil__sys_real.read(fd, p, n) : -EINTR;
}

static void a_read_that_a_signal_interrupts_is_made_again(void **state)
{
    WORLD;
    int ends[2];
    char in[4];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    own(w, ends[0]);
    coil__sys.read = nervous_read;
    struct test_op r = recv_op(ends[0], in, sizeof in);
    r.op.kind = OP_READ;
    submit(w, &r);
    assert_int_equal(write(ends[1], "ab", 2), 2);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, 2);
    assert_true(recv_calls >= 2);
    coil__sys = coil__sys_real;
    close_fd(w, ends[0]);
    close(ends[1]);
    world_close(w);
}

/* While another file stood behind the number its poll ended, so the kernel was not asked to forget this one. */
static void a_file_that_comes_back_to_its_number_is_watched_again(void **state)
{
    WORLD;
    int fd[2], other[2];
    make_pair(w, fd);
    make_pair(w, other);
    struct test_op p = poll_op(fd[0], OP_IN, 0);
    submit(w, &p);
    look_once(w);
    int kept = dup(fd[0]);
    assert_int_equal(dup2(other[0], fd[0]), fd[0]);
    assert_int_equal(cancel(w, &p), 0);
    look_once(w);
    assert_int_equal(dup2(kept, fd[0]), fd[0]);
    assert_int_equal(close(kept), 0);
    submit(w, &p);
    look_once(w);
    assert_int_equal(p.done, 0);
    assert_int_equal(write(fd[1], "x", 1), 1);
    run_until(w, &p, 1);
    assert_int_equal(p.op.result, OP_IN);
    for (int i = 0; i < 2; i++) {
        close_fd(w, fd[i]);
        close_fd(w, other[i]);
    }
    world_close(w);
}

static int failing_ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *m)
{
    (void)p, (void)n, (void)t, (void)m;
    return -ENOMEM;
}

/* To say that it is ready costs a call that says EAGAIN; to say nothing could cost the wait its end. */
static void what_the_kernel_cannot_tell_of_is_taken_for_ready(void **state)
{
    WORLD;
    int fd[2];
    make_pair(w, fd);
    own(w, fd[0]);
    struct test_op p = poll_op(fd[0], OP_IN, 0);
    coil__sys.ppoll = failing_ppoll;
    submit(w, &p);
    run_until(w, &p, 1);
    assert_int_equal(p.op.result, OP_IN);
    coil__sys = coil__sys_real;
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void a_foreign_loop_can_sleep_on_it(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    make_pair(w, fd);
    int ep = w->cls->poll_fd(w->b);
    assert_true(ep >= 0);
    assert_false(readable(ep));
    struct test_op r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &r);
    assert_int_equal(w->cls->poll_fd(w->b), ep); /* hands the op over */
    assert_false(readable(ep));
    w->calls->send(w->b, fd[1], "x", 1);
    assert_true(readable(ep));
    look_once(w);
    assert_int_equal(r.done, 1);
    w->cls->poll_fd(w->b);
    assert_false(readable(ep));

    /* An op that finishes without the kernel shows as well. */
    own(w, fd[0]);
    w->calls->send(w->b, fd[1], "x", 1);
    submit(w, &r);
    w->cls->poll_fd(w->b);
    assert_true(readable(ep));
    look_once(w);
    assert_int_equal(r.done, 2);
    coil__inbox_ring(w->inbox);
    assert_true(readable(ep));
    look_once(w);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static int spurious_getsockopt(int fd, int level, int name, void *v, socklen_t *n)
{
    if (name == SO_ERROR)
        ctl_calls++;
    return coil__sys_real.getsockopt(fd, level, name, v, n);
}

static void a_connect_is_not_done_before_it_is(void **state)
{
    WORLD;
    /* A wake-up for nothing, while the answer of a host that never answers is awaited. */
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 0);
    int fill[8];
    struct test_op c[8];
    for (int i = 0; i < 8; i++) { /* the backlog is full; the last of them wait */
        fill[i] = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
        own(w, fill[i]);
        c[i] = connect_op(fill[i], &addr, len);
        submit(w, &c[i]);
    }
    for (int i = 0; i < 3; i++)
        turn(w, NS_PER_MS);
    assert_int_equal(c[7].done, 0);
    coil__sys.getsockopt = spurious_getsockopt;
    coil__sys.epoll_wait = fake_wait;
    events[0] = (struct epoll_event){.events = EPOLLOUT,
                                     .data.u64 = (uint64_t)1 << 32 | (uint32_t)fill[7]};
    events_n = 1;
    look_once(w);
    assert_int_equal(ctl_calls, 1);
    assert_int_equal(c[7].done, 0);
    coil__sys = coil__sys_real;
    for (int i = 0; i < 8; i++) {
        close_fd(w, fill[i]);
        if (!c[i].done)
            reap(w);
    }
    close_fd(w, listener);
    world_close(w);
}

static void it_opens_whole_or_not_at_all(void **state)
{
    struct world world, *w = &world;
    coil__sys.epoll_ctl = ctl;
    ctl_fail = -ENOSPC;
    int fds = count_fds();
    int64_t live = coil__mem_live();
    assert_int_equal(world_try_open(w, &coil__backend_epoll, 0), -ENOSPC);
    assert_int_equal(count_fds(), fds);
    assert_int_equal(coil__mem_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_owned_descriptor_is_registered_once, restore),
        cmocka_unit_test_teardown(a_raw_descriptor_costs_one_call_a_park_and_none_a_level_event,
                                  restore),
        cmocka_unit_test_teardown(a_remembered_eagain_costs_no_call, restore),
        cmocka_unit_test_teardown(a_short_recv_from_a_unix_stream_is_remembered, restore),
        cmocka_unit_test_teardown(urgent_data_does_not_hide_what_follows, restore),
        cmocka_unit_test_teardown(a_passed_descriptor_does_not_hide_what_follows, restore),
        cmocka_unit_test_teardown(a_refused_registration_is_the_ops_result, restore),
        cmocka_unit_test_teardown(who_never_lacked_room_is_not_woken_by_it, restore),
        cmocka_unit_test_teardown(refused_news_of_room_are_the_result_of_all_that_waits, restore),
        cmocka_unit_test_teardown(a_regular_file_cannot_be_watched, restore),
        cmocka_unit_test_teardown(an_event_of_an_earlier_file_is_dropped, restore),
        cmocka_unit_test_teardown(a_signal_ends_the_sleep_and_is_no_error, restore),
        cmocka_unit_test_teardown(old_kernels_sleep_in_whole_milliseconds_rounded_up, restore),
        cmocka_unit_test_teardown(old_kernels_sleep_no_longer_than_they_can_count, restore),
        cmocka_unit_test_teardown(a_short_message_does_not_hide_the_next, restore),
        cmocka_unit_test_teardown(forgetting_one_leaves_what_another_has_to_tell, restore),
        cmocka_unit_test_teardown(a_number_that_comes_again_is_a_new_descriptor, restore),
        cmocka_unit_test_teardown(connections_that_died_waiting_are_passed_over, restore),
        cmocka_unit_test_teardown(an_accept_that_never_works_is_told_in_the_end, restore),
        cmocka_unit_test_teardown(one_byte_at_a_time_with_signals_between_loses_nothing, restore),
        cmocka_unit_test_teardown(a_read_that_a_signal_interrupts_is_made_again, restore),
        cmocka_unit_test_teardown(a_file_that_comes_back_to_its_number_is_watched_again, restore),
        cmocka_unit_test_teardown(what_the_kernel_cannot_tell_of_is_taken_for_ready, restore),
        cmocka_unit_test_teardown(a_foreign_loop_can_sleep_on_it, restore),
        cmocka_unit_test_teardown(a_connect_is_not_done_before_it_is, restore),
        cmocka_unit_test_teardown(it_opens_whole_or_not_at_all, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
