/* SPDX-License-Identifier: MIT
 *
 * test_calls.c: the calls on a descriptor that a backend owns: when there is no room, when nothing is there, and when what
 * came was handed over before anybody asked. */
#include "world.h"

#include "io/direct.h"

#include <limits.h>
#include <signal.h>

static void pair_of(struct world *w, int fd[2])
{
    assert_int_equal(w->calls->socketpair(w->b, AF_UNIX, SOCK_STREAM, fd), 0);
    assert_int_equal(w->calls->own(w->b, fd[0]), 0);
    assert_int_equal(w->calls->own(w->b, fd[0]), 0); /* again is as if it were new */
}

static void close_both(struct world *w, const int fd[2])
{
    w->calls->close(w->b, fd[0]);
    w->calls->close(w->b, fd[1]);
    world_close(w);
}

static void without_room_every_way_of_sending_says_so(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    static char much[65536];
    world_open(&w);
    pair_of(&w, fd);
    while (w.calls->send(w.b, fd[0], much, sizeof much) > 0)
        continue;
    struct iovec v = {much, 100};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    for (int again = 0; again < 2; again++) {
        assert_int_equal(w.calls->send(w.b, fd[0], much, 100), -EAGAIN);
        assert_int_equal(w.calls->sendv(w.b, fd[0], &v, 1), -EAGAIN);
        assert_int_equal(w.calls->sendmsg(w.b, fd[0], &hdr), -EAGAIN);
        assert_int_equal(w.calls->write(w.b, fd[0], much, 100), -EAGAIN);
        if (!is_sim(&w)) {
            off_t at = 0;
            FILE *file = tmpfile();
            assert_int_equal(fwrite(much, 1, 4096, file), 4096);
            fflush(file);
            assert_int_equal(w.calls->sendfile(w.b, fd[0], fileno(file), &at, 4096), -EAGAIN);
            fclose(file);
        }
    }
    close_both(&w, fd);
}

/* Each of them is the first that finds it out. */
static void each_way_of_sending_finds_that_there_is_no_room(void **state)
{
    (void)state;
    static char much[65536];
    for (int way = 0; way < 4; way++) {
        struct world w;
        int fd[2];
        world_open(&w);
        pair_of(&w, fd);
        struct iovec v = {much, sizeof much};
        struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
        ssize_t rc;
        do
            rc = way == 0   ? w.calls->sendv(w.b, fd[0], &v, 1)
                 : way == 1 ? w.calls->sendmsg(w.b, fd[0], &hdr)
                 : way == 2 ? w.calls->write(w.b, fd[0], much, sizeof much)
                            : w.calls->send(w.b, fd[0], much, sizeof much);
        while (rc > 0);
        assert_int_equal(rc, -EAGAIN);
        struct test_op s = send_op(fd[0], "x", 1);
        submit(&w, &s);
        assert_int_equal(look_once(&w), 0);
        while (w.calls->recv(w.b, fd[1], much, sizeof much, 0) > 0)
            continue;
        run_until(&w, &s, 1);
        assert_int_equal(s.op.result, 1);
        close_both(&w, fd);
    }
}

static void where_nothing_is_every_way_of_receiving_says_so(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    char buf[8];
    world_open(&w);
    pair_of(&w, fd);
    struct iovec v = {buf, sizeof buf};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    for (int again = 0; again < 2; again++) {
        assert_int_equal(w.calls->read(w.b, fd[0], buf, sizeof buf), -EAGAIN);
        assert_int_equal(w.calls->recv(w.b, fd[0], buf, sizeof buf, 0), -EAGAIN);
        assert_int_equal(w.calls->recvmsg(w.b, fd[0], &hdr, 0), -EAGAIN);
    }
    close_both(&w, fd);
}

static ssize_t receive_in_two(struct world *w, int fd, char *first, size_t n, char *second,
                              size_t m, int flags)
{
    struct iovec v[2] = {{first, n}, {second, m}};
    struct msghdr hdr = {.msg_iov = v, .msg_iovlen = 2};
    return w->calls->recvmsg(w->b, fd, &hdr, flags);
}

/* On io_uring the kernel has received it before it is asked for: the call is served from that. */
static void what_was_handed_over_is_received_by_every_call(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    char a[8] = {0}, b[8] = {0};
    world_open(&w);
    pair_of(&w, fd);
    struct test_op r = recv_op(fd[0], a, 1);
    submit(&w, &r);
    assert_int_equal(look_once(&w), 0); /* the kernel is told by now */
    assert_int_equal(w.calls->send(w.b, fd[1], "01234", 5), 5);
    run_until(&w, &r, 1);
    assert_int_equal(a[0], '0');
    assert_int_equal(w.calls->recv(w.b, fd[0], a, 2, MSG_PEEK), 2);
    assert_memory_equal(a, "12", 2);
    ssize_t seen = receive_in_two(&w, fd[0], a, 1, b, 1, MSG_PEEK);
    assert_true(seen == 1 || seen == 2); /* a peek may show less than there is */
    assert_int_equal(a[0], '1');
    assert_int_equal(receive_in_two(&w, fd[0], a, 1, b, 1, 0), 2);
    assert_int_equal(a[0], '1');
    assert_int_equal(b[0], '2');
    assert_int_equal(w.calls->read(w.b, fd[0], a, 1), 1);
    assert_int_equal(a[0], '3');
    assert_int_equal(receive_in_two(&w, fd[0], a, 1, b, 8, 0), 1);
    assert_int_equal(a[0], '4');
    assert_int_equal(w.calls->read(w.b, fd[0], a, 8), -EAGAIN);
    close_both(&w, fd);
}

/* The end comes behind the data, and is told once the data is gone. */
static void an_end_behind_what_was_handed_over_comes_after_it(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    char a[8] = {0}, b[8] = {0};
    world_open(&w);
    pair_of(&w, fd);
    struct test_op r = recv_op(fd[0], a, 1);
    submit(&w, &r);
    assert_int_equal(look_once(&w), 0);
    assert_int_equal(w.calls->send(w.b, fd[1], "012", 3), 3);
    w.calls->close(w.b, fd[1]);
    run_until(&w, &r, 1);
    for (int i = 0; i < 3; i++)
        (void)look_once(&w);
    assert_int_equal(receive_in_two(&w, fd[0], a, 1, b, 8, 0), 2);
    assert_int_equal(receive_in_two(&w, fd[0], a, 1, b, 8, 0), 0);
    assert_int_equal(w.calls->read(w.b, fd[0], a, 8), 0);
    w.calls->close(w.b, fd[0]);
    world_close(&w);
}

/* Also on io_uring, where the kernel was told to receive by itself. */
static void receiving_beside_an_op_that_waits_takes_nothing_from_it(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    char a[8] = {0}, b[8] = {0};
    world_open(&w);
    pair_of(&w, fd);
    struct test_op r = recv_op(fd[0], a, 1);
    submit(&w, &r);
    assert_int_equal(look_once(&w), 0);
    assert_int_equal(receive_in_two(&w, fd[0], b, 1, b, 1, 0), -EAGAIN);
    assert_int_equal(w.calls->send(w.b, fd[1], "012", 3), 3);
    run_until(&w, &r, 1);
    assert_int_equal(a[0], '0');
    if (!is_sim(&w)) { /* which reads no sockets */
        struct test_op again = {
            .op = {.kind = OP_READ, .fd = fd[0], .done = on_done, .buf = {.p = b, .n = sizeof b}}};
        submit(&w, &again);
        run_until(&w, &again, 1);
        assert_int_equal(again.op.result, 2);
        assert_memory_equal(b, "12", 2);
    }
    close_both(&w, fd);
}

static void a_message_to_no_name_goes_to_the_other_end(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    char a[8] = "abc";
    world_open(&w);
    pair_of(&w, fd);
    struct sockaddr_storage nobody = {.ss_family = AF_UNIX};
    struct iovec v = {a, 3};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &nobody};
    assert_int_equal(w.calls->sendmsg(w.b, fd[0], &hdr), 3);
    assert_int_equal(w.calls->recv(w.b, fd[1], a, sizeof a, 0), 3);
    close_both(&w, fd);
}

/* ---- calls on whatever descriptor ---- */

static void a_vector_that_is_too_long_is_sent_in_part(void **state)
{
    (void)state;
    static struct iovec v[IOV_MAX + 10];
    static char byte = 'x';
    int fd[2];
    for (int i = 0; i < IOV_MAX + 10; i++)
        v[i] = (struct iovec){&byte, 1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_int_equal(coil__direct_sendv(fd[0], v, IOV_MAX + 10), IOV_MAX);
    close(fd[0]);
    close(fd[1]);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int interrupts, refused_flag;
static bool mask_fails;

static bool is_interrupted(void)
{
    return interrupts > 0 && interrupts-- > 0;
}

static ssize_t write_interrupted(int fd, const void *p, size_t n)
{
    return is_interrupted() ? -EINTR : coil__sys_real.write(fd, p, n);
}

static ssize_t pwritev2_refused(int fd, const struct iovec *v, int n, off_t at, int flags)
{
    (void)fd, (void)v, (void)n, (void)at, (void)flags;
    return is_interrupted() ? -EINTR : refused_flag;
}

static int mask_refused(int how, const sigset_t *set, sigset_t *old)
{
    return mask_fails ? -EINVAL : coil__sys_real.sigprocmask(how, set, old);
}

static int pending_refused(sigset_t *set)
{
    (void)set;
    return -EFAULT;
}

static bool sigpipe_is_pending(void)
{
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

/* Where the kernel knows no flag against SIGPIPE, or knows it not for this kind of file. */
static void a_write_without_the_flag_against_sigpipe_raises_none(void **state)
{
    (void)state;
    static const int refusals[] = {-EINVAL, -ENOSYS, -EOPNOTSUPP}; /* the last two for ever */
    sigset_t sigpipe, before;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    coil__sys.pwritev2 = pwritev2_refused;
    coil__sys.write = write_interrupted;
    coil__sys.sigprocmask = mask_refused;
    for (int i = 0; i < 3; i++) {
        int ends[2];
        char c;
        assert_int_equal(pipe(ends), 0);
        refused_flag = refusals[i];
        interrupts = 2;
        assert_int_equal(coil__direct_write(ends[1], "x", 1), 1);
        assert_int_equal(read(ends[0], &c, 1), 1);
        mask_fails = true;
        assert_int_equal(coil__direct_write(ends[1], "x", 1), -EINVAL);
        mask_fails = false;
        close(ends[0]);
        assert_int_equal(coil__direct_write(ends[1], "x", 1), -EPIPE);
        /* Blocked by the program, and the kernel does not tell what is pending: it is taken for ours. */
        sigprocmask(SIG_BLOCK, &sigpipe, &before);
        coil__sys.sigpending = pending_refused;
        assert_int_equal(coil__direct_write(ends[1], "x", 1), -EPIPE);
        coil__sys.sigpending = coil__sys_real.sigpending;
        assert_false(sigpipe_is_pending());
        raise(SIGPIPE); /* the program's own stays pending */
        assert_int_equal(coil__direct_write(ends[1], "x", 1), -EPIPE);
        assert_true(sigpipe_is_pending());
        signal(SIGPIPE, SIG_IGN);
        sigprocmask(SIG_SETMASK, &before, NULL);
        signal(SIGPIPE, SIG_DFL);
        close(ends[1]);
    }
    coil__sys = coil__sys_real;
}

static int connect_says;

static int connect_script(int fd, const struct sockaddr *addr, socklen_t len)
{
    (void)fd, (void)addr, (void)len;
    return connect_says;
}

static void a_connect_that_goes_on_by_itself_is_in_progress(void **state)
{
    (void)state;
    struct sockaddr_storage to = {.ss_family = AF_INET};
    coil__sys.connect = connect_script;
    static const int goes_on[] = {-EINTR, -EALREADY, -EINPROGRESS};
    for (int i = 0; i < 3; i++) {
        connect_says = goes_on[i];
        assert_int_equal(coil__direct_connect(0, &to, sizeof to), -EINPROGRESS);
    }
    connect_says = -ECONNREFUSED;
    assert_int_equal(coil__direct_connect(0, &to, sizeof to), -ECONNREFUSED);
    coil__sys = coil__sys_real;
}

static int no_socketpair(int domain, int type, int proto, int fds[2])
{
    (void)domain, (void)type, (void)proto, (void)fds;
    return -EMFILE;
}

static void a_pair_that_the_kernel_refuses_is_an_error(void **state)
{
    (void)state;
    struct world w;
    int fd[2];
    world_open(&w);
    coil__sys.socketpair = no_socketpair;
    int rc = w.calls->socketpair(w.b, AF_UNIX, SOCK_STREAM, fd);
    coil__sys.socketpair = coil__sys_real.socketpair;
    if (is_sim(&w)) { /* which asks no kernel */
        assert_int_equal(rc, 0);
        w.calls->close(w.b, fd[0]);
        w.calls->close(w.b, fd[1]);
    } else {
        assert_int_equal(rc, -EMFILE);
    }
    w.cls->close(NULL);
    world_close(&w);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_room_every_way_of_sending_says_so),
        cmocka_unit_test(each_way_of_sending_finds_that_there_is_no_room),
        cmocka_unit_test(where_nothing_is_every_way_of_receiving_says_so),
        cmocka_unit_test(what_was_handed_over_is_received_by_every_call),
        cmocka_unit_test(an_end_behind_what_was_handed_over_comes_after_it),
        cmocka_unit_test(receiving_beside_an_op_that_waits_takes_nothing_from_it),
        cmocka_unit_test(a_message_to_no_name_goes_to_the_other_end),
        cmocka_unit_test(a_vector_that_is_too_long_is_sent_in_part),
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
        cmocka_unit_test(a_write_without_the_flag_against_sigpipe_raises_none),
        cmocka_unit_test(a_connect_that_goes_on_by_itself_is_in_progress),
        cmocka_unit_test(a_pair_that_the_kernel_refuses_is_an_error),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
