/* SPDX-License-Identifier: MIT
 *
 * test_calls.c: the calls on a descriptor that a backend owns: when there is no room, when nothing is there, and when what
 * came was handed over before anybody asked. */
#include "world.h"

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

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
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
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
        cmocka_unit_test(a_pair_that_the_kernel_refuses_is_an_error),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
