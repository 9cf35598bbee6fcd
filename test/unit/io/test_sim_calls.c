/* SPDX-License-Identifier: MIT
 *
 * test_sim_calls.c: the imaginary kernel answers calls that are wrong as Linux does, and hands what is not its own to the
 * real one. */
#include "world.h"

#include "io/sim/sim.h"

#include <net/if.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORLD                        \
    struct world world, *w = &world; \
    assert_int_equal(world_try_open(w, &coil__backend_sim, 7), 0)

static struct sockaddr_storage ipv4(const char *host, int port)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&s;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    assert_int_equal(inet_pton(AF_INET, host, &in->sin_addr), 1);
    return s;
}

static struct sockaddr_storage ipv6(const char *host, int port)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&s;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    assert_int_equal(inet_pton(AF_INET6, host, &in6->sin6_addr), 1);
    return s;
}

static struct sockaddr_storage path(const char *text)
{
    struct sockaddr_storage s = {0};
    struct sockaddr_un *un = (struct sockaddr_un *)&s;
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof un->sun_path, "%s", text);
    return s;
}

static socklen_t size_of(const struct sockaddr_storage *s)
{
    return s->ss_family == AF_INET    ? sizeof(struct sockaddr_in)
           : s->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                      : sizeof(struct sockaddr_un);
}

static int new_socket(struct world *w, int domain, int type)
{
    int fd = w->calls->socket(w->b, domain, type, 0);
    assert_true(fd >= SIM_FD_BASE);
    return fd;
}

static int bind_to(struct world *w, int fd, struct sockaddr_storage s)
{
    return w->calls->bind(w->b, fd, (struct sockaddr *)&s, size_of(&s));
}

static int64_t connect_to(struct world *w, int fd, struct sockaddr_storage s)
{
    struct test_op c = connect_op(fd, &s, size_of(&s));
    submit(w, &c);
    run_until(w, &c, 1);
    return c.op.result;
}

static struct sockaddr_storage name_of(struct world *w, int fd)
{
    struct sockaddr_storage s = {0};
    socklen_t n = sizeof s;
    assert_int_equal(w->calls->getsockname(w->b, fd, (struct sockaddr *)&s, &n), 0);
    return s;
}

static int port_of(const struct sockaddr_storage *s)
{
    return ntohs(s->ss_family == AF_INET ? ((const struct sockaddr_in *)s)->sin_port
                                         : ((const struct sockaddr_in6 *)s)->sin6_port);
}

/* A listener that has this name; its port is free before. */
static int listener_at(struct world *w, struct sockaddr_storage s)
{
    int fd = new_socket(w, s.ss_family, SOCK_STREAM);
    assert_int_equal(bind_to(w, fd, s), 0);
    assert_int_equal(w->calls->listen(w->b, fd, 4), 0);
    return fd;
}

static void until_readable(struct world *w, int fd)
{
    struct test_op in = poll_op(fd, OP_IN, 0);
    submit(w, &in);
    run_until(w, &in, 1);
}

/* ---- which kernel ---- */

enum { CALLS_OF_SOCKETS = 13, CALLS = 17 };

/* The calls on a descriptor; those that a pipe takes part in come last. */
static ssize_t call(struct world *w, int fd, int which)
{
    char buf[4] = "";
    struct iovec v = {buf, sizeof buf};
    struct msghdr hdr = {.msg_iov = &v, .msg_iovlen = 1};
    struct sockaddr_storage s = ipv4("127.0.0.1", 0);
    socklen_t n = sizeof s;
    int value = 1;
    off_t at = 0;
    switch (which) {
    case 0: return w->calls->bind(w->b, fd, (struct sockaddr *)&s, sizeof(struct sockaddr_in));
    case 1: return w->calls->listen(w->b, fd, 1);
    case 2:
        n = sizeof value;
        return w->calls->getsockopt(w->b, fd, SOL_SOCKET, SO_TYPE, &value, &n);
    case 3: return w->calls->setsockopt(w->b, fd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value);
    case 4: return w->calls->getsockname(w->b, fd, (struct sockaddr *)&s, &n);
    case 5: return w->calls->getpeername(w->b, fd, (struct sockaddr *)&s, &n);
    case 6: return w->calls->shutdown(w->b, fd, SHUT_RD);
    case 7: return w->calls->recv(w->b, fd, buf, sizeof buf, 0);
    case 8: return w->calls->send(w->b, fd, buf, sizeof buf);
    case 9: return w->calls->sendv(w->b, fd, &v, 1);
    case 10: return w->calls->recvmsg(w->b, fd, &hdr, 0);
    case 11: return w->calls->sendmsg(w->b, fd, &hdr);
    case 12: return w->calls->accept(w->b, fd, &s, &n);
    case 13: return w->calls->own(w->b, fd);
    case 14: return w->calls->read(w->b, fd, buf, sizeof buf);
    case 15: return w->calls->write(w->b, fd, buf, sizeof buf);
    default: return w->calls->sendfile(w->b, fd, 0, &at, 1);
    }
}

static void a_number_that_is_nobodys_is_a_bad_descriptor(void **state)
{
    WORLD;
    (void)state;
    for (int which = 0; which < CALLS; which++)
        assert_int_equal(call(w, SIM_FD_BASE + 99, which), -EBADF);
    assert_int_equal(w->calls->fchmod(w->b, SIM_FD_BASE + 99, 0600), -EBADF);
    assert_int_equal(w->calls->watchable(w->b, SIM_FD_BASE + 99), -EBADF);
    assert_false(w->calls->owns(w->b, SIM_FD_BASE + 99));
    w->calls->forget(w->b, SIM_FD_BASE + 99);
    world_close(w);
}

static void a_pipe_is_no_socket(void **state)
{
    WORLD;
    (void)state;
    int fd[2];
    assert_int_equal(w->calls->pipe(w->b, fd), 0);
    for (int which = 0; which < CALLS_OF_SOCKETS; which++)
        assert_int_equal(call(w, fd[0], which), -ENOTSOCK);
    assert_int_equal(w->calls->fchmod(w->b, fd[0], 0600), -ENOTSOCK);
    assert_int_equal(connect_to(w, fd[0], ipv4("127.0.0.1", 1)), -ENOTSOCK);
    struct test_op r = recv_op(fd[0], (char[4]){0}, 4);
    assert_int_equal(w->calls->write(w->b, fd[1], "x", 1), 1);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, -ENOTSOCK);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* Sockets that others made, and a file: their numbers are small. */
static void what_is_real_is_asked_of_the_real_kernel(void **state)
{
    WORLD;
    (void)state;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), pair[2];
    struct sockaddr_storage name;
    socklen_t n = sizeof name;
    int type = 0;
    char buf[4];
    assert_true(s >= 0 && s < SIM_FD_BASE);
    assert_int_equal(bind_to(w, s, ipv4("127.0.0.1", 0)), 0);
    assert_int_equal(w->calls->listen(w->b, s, 1), 0);
    assert_true(getsockname(s, (struct sockaddr *)&name, &n) == 0 && port_of(&name) > 0);
    assert_int_equal(w->calls->getpeername(w->b, s, (struct sockaddr *)&name, &n), -ENOTCONN);
    assert_int_equal(w->calls->setsockopt(w->b, s, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, 4), 0);
    n = sizeof type;
    assert_true(getsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &type, &n) == 0 && type == 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(w->calls->own(w->b, pair[0]), 0);
    assert_true(w->calls->owns(w->b, pair[0]));
    assert_int_equal(w->calls->sendv(w->b, pair[0], &(struct iovec){(char[]){'x'}, 1}, 1), 1);
    assert_int_equal(w->calls->recv(w->b, pair[1], buf, sizeof buf, 0), 1);
    assert_int_equal(w->calls->shutdown(w->b, pair[0], SHUT_WR), 0);
    assert_int_equal(w->calls->recv(w->b, pair[1], buf, sizeof buf, 0), 0);
    assert_int_equal(w->calls->fchmod(w->b, pair[0], 0600), 0);
    close_fd(w, s);
    close_fd(w, pair[0]);
    close_fd(w, pair[1]);
    world_close(w);
}

static void kinds_of_sockets_that_it_lacks_are_refused(void **state)
{
    WORLD;
    (void)state;
    int fd[2];
    assert_int_equal(w->calls->socket(w->b, AF_UNIX, SOCK_SEQPACKET, 0), -EPROTONOSUPPORT);
    assert_int_equal(w->calls->socketpair(w->b, AF_UNIX, SOCK_DGRAM, fd), -EPROTONOSUPPORT);
    make_pair(w, fd);
    off_t at = 0;
    assert_int_equal(w->calls->sendfile(w->b, fd[0], 0, &at, 1), -EINVAL);
    char control[32];
    struct iovec v = {(char[]){'x'}, 1};
    struct msghdr hdr = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    assert_int_equal(w->calls->sendmsg(w->b, fd[0], &hdr), -EOPNOTSUPP);
    struct test_op p = {.op = {.done = on_done, .fd = fd[0], .kind = OP_PREAD}};
    submit(w, &p);
    run_until(w, &p, 1);
    assert_int_equal(p.op.result, -EOPNOTSUPP);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* ---- names ---- */

static void addresses_that_are_none_are_refused(void **state)
{
    WORLD;
    (void)state;
    struct sockaddr_storage four = ipv4("127.0.0.1", 0), six = ipv6("::1", 0), un = path("/x");
    const struct {
        struct sockaddr_storage *s;
        socklen_t n;
        int err;
    } wrong[] = {{&four, 1, -EINVAL},
                 {&four, sizeof(struct sockaddr_in) - 1, -EINVAL},
                 {&four, sizeof four + 1, -EINVAL},
                 {&six, sizeof(struct sockaddr_in), -EINVAL},
                 {&un, sizeof(struct sockaddr_un) + 1, -EINVAL}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int fd = new_socket(w, wrong[i].s->ss_family, SOCK_STREAM);
        struct test_op c = connect_op(fd, wrong[i].s, wrong[i].n);
        assert_int_equal(w->calls->bind(w->b, fd, (struct sockaddr *)wrong[i].s, wrong[i].n),
                         wrong[i].err);
        submit(w, &c);
        run_until(w, &c, 1);
        assert_int_equal(c.op.result, wrong[i].err);
        close_fd(w, fd);
    }
    int d = new_socket(w, AF_INET, SOCK_DGRAM);
    assert_int_equal(bind_to(w, d, ipv4("192.0.2.1", 1)), -EADDRNOTAVAIL);
    assert_int_equal(connect_to(w, d, six), -EAFNOSUPPORT);
    close_fd(w, d);
    int s = new_socket(w, AF_INET6, SOCK_DGRAM);
    assert_int_equal(bind_to(w, s, ipv6("2001:db8::1", 1)), -EADDRNOTAVAIL);
    close_fd(w, s);
    world_close(w);
}

static void who_was_not_bound_has_the_name_of_nobody(void **state)
{
    WORLD;
    (void)state;
    static const int domains[] = {AF_INET, AF_INET6, AF_UNIX};
    for (int i = 0; i < 3; i++) {
        struct sockaddr_storage s, nobody = {.ss_family = (sa_family_t)domains[i]};
        socklen_t n = sizeof s;
        int fd = new_socket(w, domains[i], SOCK_STREAM);
        memset(&s, 0, sizeof s);
        assert_int_equal(w->calls->getsockname(w->b, fd, (struct sockaddr *)&s, &n), 0);
        assert_int_equal(n, i < 2 ? size_of(&nobody) : sizeof(sa_family_t));
        assert_memory_equal(&s, &nobody, n);
        close_fd(w, fd);
    }
    world_close(w);
}

/* 0.0.0.0 and :: as a destination are this machine, and the peer has its true name. */
static void nowhere_in_particular_is_this_machine(void **state)
{
    WORLD;
    (void)state;
    for (int six = 0; six < 2; six++) {
        struct sockaddr_storage here = six ? ipv6("::1", 8080) : ipv4("127.0.0.1", 8080),
                                nowhere = six ? ipv6("::", 8080) : ipv4("0.0.0.0", 8080), peer;
        socklen_t n = sizeof peer;
        char buf[8];
        int l = listener_at(w, here), c = new_socket(w, here.ss_family, SOCK_STREAM);
        assert_int_equal(connect_to(w, c, nowhere), 0);
        memset(&peer, 0, sizeof peer);
        assert_int_equal(w->calls->getpeername(w->b, c, (struct sockaddr *)&peer, &n), 0);
        assert_memory_equal(&peer, &here, n);
        close_fd(w, c);
        close_fd(w, l);

        int server = new_socket(w, here.ss_family, SOCK_DGRAM),
            client = new_socket(w, here.ss_family, SOCK_DGRAM);
        assert_int_equal(bind_to(w, server, here), 0);
        assert_int_equal(connect_to(w, client, nowhere), 0);
        assert_int_equal(w->calls->send(w->b, client, "asked", 5), 5);
        until_readable(w, server);
        assert_int_equal(w->calls->recv(w->b, server, buf, sizeof buf, 0), 5);
        assert_int_equal(connect_to(w, server, name_of(w, client)), 0);
        assert_int_equal(w->calls->send(w->b, server, "answer", 6), 6);
        until_readable(w, client);
        assert_int_equal(w->calls->recv(w->b, client, buf, sizeof buf, 0), 6);
        close_fd(w, server);
        close_fd(w, client);
    }
    world_close(w);
}

/* What is bound to every address answers from the one that was asked. */
static void an_answer_comes_from_the_address_that_was_asked(void **state)
{
    WORLD;
    (void)state;
    for (int six = 0; six < 2; six++) {
        struct sockaddr_storage asked = six ? ipv6("::1", 5353) : ipv4("127.0.0.1", 5353), from;
        char buf[8];
        int server = new_socket(w, asked.ss_family, SOCK_DGRAM),
            client = new_socket(w, asked.ss_family, SOCK_DGRAM);
        assert_int_equal(bind_to(w, server, six ? ipv6("::", 5353) : ipv4("0.0.0.0", 5353)), 0);
        assert_int_equal(connect_to(w, client, asked), 0);
        assert_int_equal(w->calls->send(w->b, client, "asked", 5), 5);
        until_readable(w, server);
        memset(&from, 0, sizeof from);
        struct iovec v = {buf, sizeof buf};
        struct msghdr hdr = {
            .msg_iov = &v, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from};
        assert_int_equal(w->calls->recvmsg(w->b, server, &hdr, 0), 5);
        v = (struct iovec){(char[]){"answer"}, 6};
        assert_int_equal(w->calls->sendmsg(w->b, server, &hdr), 6);
        struct test_op r = recv_op(client, buf, sizeof buf);
        submit(w, &r);
        for (int i = 0; i < 100 && !r.done; i++)
            turn(w, NS_PER_S);
        assert_int_equal(r.done, 1);
        assert_int_equal(r.op.result, 6);
        close_fd(w, server);
        close_fd(w, client);
    }
    world_close(w);
}

/* ::ffff:127.0.0.1 is 127.0.0.1, shown to a socket of IPv6 in its own form. */
static void an_ipv4_name_inside_ipv6_is_plain_ipv4(void **state)
{
    WORLD;
    (void)state;
    struct sockaddr_storage mapped = ipv6("::ffff:127.0.0.1", 8080), four = ipv4("127.0.0.1", 8080),
                            name;
    int l = listener_at(w, mapped), c = new_socket(w, AF_INET, SOCK_STREAM),
        taken = new_socket(w, AF_INET, SOCK_STREAM);
    assert_int_equal(bind_to(w, taken, four), -EADDRINUSE);
    name = name_of(w, l);
    assert_memory_equal(&name, &mapped, sizeof(struct sockaddr_in6));
    assert_int_equal(connect_to(w, c, four), 0);
    close_fd(w, c);
    close_fd(w, l);
    l = listener_at(w, four);
    c = new_socket(w, AF_INET6, SOCK_STREAM);
    assert_int_equal(connect_to(w, c, mapped), 0);
    socklen_t n = sizeof name;
    assert_int_equal(w->calls->getpeername(w->b, c, (struct sockaddr *)&name, &n), 0);
    assert_memory_equal(&name, &mapped, sizeof(struct sockaddr_in6));
    close_fd(w, c);
    close_fd(w, l);
    close_fd(w, taken);
    world_close(w);
}

static void an_address_may_be_used_again_before_anybody_listens(void **state)
{
    WORLD;
    (void)state;
    int fd[3];
    for (int i = 0; i < 3; i++)
        fd[i] = new_socket(w, AF_INET, SOCK_STREAM);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            w->calls->setsockopt(w->b, fd[i], SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
    assert_int_equal(bind_to(w, fd[0], ipv4("127.0.0.1", 80)), 0);
    assert_int_equal(bind_to(w, fd[2], ipv4("127.0.0.1", 80)), -EADDRINUSE); /* it did not ask */
    assert_int_equal(bind_to(w, fd[1], ipv4("127.0.0.1", 80)), 0);
    for (int i = 0; i < 3; i++)
        close_fd(w, fd[i]);
    world_close(w);
}

static void a_free_port_is_one_that_nobody_has(void **state)
{
    WORLD;
    (void)state;
    int first = new_socket(w, AF_INET, SOCK_STREAM), next = new_socket(w, AF_INET, SOCK_STREAM),
        any = new_socket(w, AF_INET, SOCK_STREAM);
    assert_int_equal(bind_to(w, first, ipv4("127.0.0.1", 0)), 0);
    struct sockaddr_storage name = name_of(w, first);
    int port = port_of(&name);
    assert_int_equal(bind_to(w, next, ipv4("127.0.0.1", port + 1)), 0);
    assert_int_equal(bind_to(w, any, ipv4("127.0.0.1", 0)), 0);
    assert_int_equal(bind_to(w, any, ipv4("127.0.0.1", 0)), -EINVAL); /* it has a name */
    name = name_of(w, any);
    assert_true(port_of(&name) != port && port_of(&name) != port + 1);
    close_fd(w, first);
    close_fd(w, next);
    close_fd(w, any);
    world_close(w);
}

/* There are fewer ports than clients in a long life. */
static void ports_begin_again_when_all_were_used(void **state)
{
    WORLD;
    (void)state;
    enum { PORTS = 60999 - 32768 + 1 };
    int first = 0, lowest = 65535, highest = 0;
    for (int i = 0; i <= PORTS; i++) {
        int fd = new_socket(w, AF_INET, i % 2 ? SOCK_DGRAM : SOCK_STREAM);
        if (i % 2)
            assert_int_equal(bind_to(w, fd, ipv4("127.0.0.1", 0)), 0);
        else
            assert_int_equal(connect_to(w, fd, ipv4("127.0.0.1", 1)), -ECONNREFUSED);
        struct sockaddr_storage name = name_of(w, fd);
        int port = port_of(&name);
        first = i == 0 ? port : first;
        lowest = port < lowest ? port : lowest;
        highest = port > highest ? port : highest;
        if (i == PORTS)
            assert_int_equal(port, first);
        close_fd(w, fd);
    }
    assert_int_equal(lowest, 32768);
    assert_int_equal(highest, 60999);
    world_close(w);
}

/* ---- states ---- */

static void a_listener_neither_sends_nor_receives(void **state)
{
    WORLD;
    (void)state;
    struct sockaddr_storage s = ipv4("127.0.0.1", 8080);
    int l = listener_at(w, s);
    for (int which = 7; which <= 11; which++)
        assert_int_equal(call(w, l, which), -ENOTCONN);
    assert_int_equal(connect_to(w, l, s), -EISCONN);
    assert_int_equal(w->calls->listen(w->b, l, -1), 0); /* with another backlog */
    close_fd(w, l);
    world_close(w);
}

static void only_a_fresh_stream_socket_listens(void **state)
{
    WORLD;
    (void)state;
    int fd[2], d = new_socket(w, AF_INET, SOCK_DGRAM), s = new_socket(w, AF_INET, SOCK_STREAM),
               u = new_socket(w, AF_UNIX, SOCK_STREAM);
    make_tcp(w, fd);
    assert_int_equal(w->calls->listen(w->b, d, 1), -EOPNOTSUPP);
    assert_int_equal(w->calls->accept(w->b, d, NULL, NULL), -EOPNOTSUPP);
    assert_int_equal(w->calls->listen(w->b, fd[0], 1), -EINVAL);
    assert_int_equal(w->calls->listen(w->b, u, 1), -EINVAL); /* it has no path */
    assert_int_equal(w->calls->listen(w->b, s, 1), 0);
    struct sockaddr_storage name = name_of(w, s);
    assert_true(port_of(&name) > 0); /* it got one */
    close_fd(w, s);
    close_fd(w, d);
    close_fd(w, u);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void a_socket_connects_once(void **state)
{
    WORLD;
    (void)state;
    int fd[2];
    make_tcp(w, fd);
    assert_int_equal(connect_to(w, fd[0], ipv4("127.0.0.1", 1)), -EISCONN);
    struct sockaddr_storage nobody = ipv4("127.0.0.1", 1);
    int s = new_socket(w, AF_INET, SOCK_STREAM);
    struct test_op c = connect_op(s, &nobody, sizeof(struct sockaddr_in)), again = c;
    submit(w, &c);
    assert_int_equal(cancel(w, &c), 0);
    submit(w, &again); /* the first attempt goes on, and its end is what this one hears */
    run_until(w, &again, 1);
    assert_int_equal(again.op.result, -ECONNREFUSED);
    close_fd(w, s);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void an_end_is_of_one_direction_or_of_both(void **state)
{
    WORLD;
    (void)state;
    for (int how = SHUT_RD; how <= SHUT_RDWR; how++) {
        int fd[2];
        char byte;
        make_pair(w, fd);
        assert_int_equal(w->calls->shutdown(w->b, fd[0], 9), -EINVAL);
        for (int again = 0; again < 2; again++)
            assert_int_equal(w->calls->shutdown(w->b, fd[0], how), 0);
        bool in = how != SHUT_WR, out = how != SHUT_RD;
        assert_int_equal(w->calls->recv(w->b, fd[0], &byte, 1, 0), in ? 0 : -EAGAIN);
        assert_int_equal(w->calls->send(w->b, fd[1], "x", 1), in ? -EPIPE : 1);
        assert_int_equal(w->calls->send(w->b, fd[0], "x", 1), out ? -EPIPE : 1);
        assert_int_equal(w->calls->recv(w->b, fd[1], &byte, 1, 0), out ? 0 : 1);
        close_fd(w, fd[0]);
        close_fd(w, fd[1]);
    }
    world_close(w);
}

/* ---- options ---- */

static int get(struct world *w, int fd, int level, int name, int *out)
{
    struct {
        int value, more[3];
    } room = {-1, {0}};
    socklen_t n = sizeof room;
    int err = w->calls->getsockopt(w->b, fd, level, name, &room, &n);
    assert_true(err < 0 || n == sizeof(int));
    *out = room.value;
    return err;
}

static void the_protocol_follows_from_domain_and_type(void **state)
{
    WORLD;
    (void)state;
    const struct {
        int domain, type, protocol;
    } kinds[] = {{AF_INET, SOCK_STREAM, IPPROTO_TCP},
                 {AF_INET6, SOCK_DGRAM, IPPROTO_UDP},
                 {AF_UNIX, SOCK_STREAM, 0}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int fd = new_socket(w, kinds[i].domain, kinds[i].type), value;
        assert_int_equal(get(w, fd, SOL_SOCKET, SO_PROTOCOL, &value), 0);
        assert_int_equal(value, kinds[i].protocol);
        static const int fixed[] = {SO_ERROR, SO_TYPE, SO_DOMAIN, SO_PROTOCOL};
        for (int k = 0; k < 4; k++)
            assert_int_equal(
                w->calls->setsockopt(w->b, fd, SOL_SOCKET, fixed[k], &value, sizeof value),
                -ENOPROTOOPT);
        close_fd(w, fd);
    }
    world_close(w);
}

static void options_of_other_protocols_are_refused_and_sizes_checked(void **state)
{
    WORLD;
    (void)state;
    int u = new_socket(w, AF_UNIX, SOCK_STREAM), s = new_socket(w, AF_INET, SOCK_STREAM), value = 1;
    static const char much[64];
    assert_int_equal(w->calls->setsockopt(w->b, u, IPPROTO_TCP, TCP_NODELAY, &value, 4),
                     -EOPNOTSUPP);
    assert_int_equal(get(w, u, IPPROTO_TCP, TCP_NODELAY, &value), -EOPNOTSUPP);
    assert_int_equal(w->calls->setsockopt(w->b, s, IPPROTO_TCP, TCP_NODELAY, much, sizeof much),
                     -EINVAL);
    assert_int_equal(get(w, s, SOL_SOCKET, SO_RCVBUF, &value), 0);
    assert_int_equal(value, 128 * 1024);
    assert_int_equal(w->calls->setsockopt(w->b, s, SOL_SOCKET, SO_RCVBUF, &(int){5000}, 4), 0);
    assert_int_equal(get(w, s, SOL_SOCKET, SO_RCVBUF, &value), 0);
    assert_int_equal(value, 10000); /* doubled, as Linux does */
    /* There is room for so many, and for no more. */
    int name = 1000, err = 0;
    while (name < 1100 && err == 0)
        err = w->calls->setsockopt(w->b, s, IPPROTO_IP, name++, &value, sizeof value);
    assert_int_equal(err, -ENOBUFS);
    assert_int_equal(w->calls->setsockopt(w->b, s, IPPROTO_IP, 1000, &value, sizeof value), 0);
    close_fd(w, u);
    close_fd(w, s);
    world_close(w);
}

/* ---- datagrams ---- */

static void a_unix_datagram_needs_a_receiver_of_its_kind(void **state)
{
    WORLD;
    (void)state;
    int l = listener_at(w, path("/stream")), a = new_socket(w, AF_UNIX, SOCK_DGRAM),
        b = new_socket(w, AF_UNIX, SOCK_DGRAM), c = new_socket(w, AF_UNIX, SOCK_DGRAM);
    assert_int_equal(connect_to(w, a, path("/nobody")), -ENOENT);
    struct sockaddr_storage nobody = path("/nobody");
    struct msghdr hdr = {.msg_name = &nobody, .msg_namelen = sizeof(struct sockaddr_un)};
    assert_int_equal(w->calls->sendmsg(w->b, a, &hdr), -ENOENT);
    assert_int_equal(connect_to(w, a, path("/stream")), -EPROTOTYPE);
    assert_int_equal(bind_to(w, b, path("/b")), 0);
    assert_int_equal(bind_to(w, c, path("/c")), 0);
    assert_int_equal(connect_to(w, a, path("/b")), 0);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    assert_int_equal(connect_to(w, b, path("/c")), 0); /* from now on it listens to one alone */
    assert_int_equal(w->calls->send(w->b, a, "x", 1), -EPERM);
    close_fd(w, b);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), -ECONNREFUSED);
    close_fd(w, a);
    close_fd(w, c);
    close_fd(w, l);
    world_close(w);
}

static void a_datagram_socket_that_was_shut_down_neither_sends_nor_receives(void **state)
{
    WORLD;
    (void)state;
    int a = new_socket(w, AF_INET, SOCK_DGRAM), b = new_socket(w, AF_INET, SOCK_DGRAM);
    char buf[4];
    assert_int_equal(bind_to(w, b, ipv4("127.0.0.1", 53)), 0);
    assert_int_equal(w->calls->shutdown(w->b, a, SHUT_RDWR), -ENOTCONN);
    assert_int_equal(connect_to(w, a, ipv4("127.0.0.1", 53)), 0);
    assert_int_equal(connect_to(w, b, name_of(w, a)), 0);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    until_readable(w, b);
    assert_int_equal(w->calls->recv(w->b, b, buf, sizeof buf, MSG_PEEK), 1);
    assert_int_equal(w->calls->recv(w->b, b, buf, sizeof buf, 0), 1);
    assert_int_equal(w->calls->shutdown(w->b, b, SHUT_RD), 0);
    assert_int_equal(w->calls->send(w->b, a, "lost", 4), 4);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, b, buf, sizeof buf, 0), 0);
    assert_int_equal(w->calls->shutdown(w->b, a, SHUT_WR), 0);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), -EPIPE);
    close_fd(w, a);
    close_fd(w, b);
    world_close(w);
}

/* A receiver that reads nothing holds so much, and what comes then is lost. */
static void datagrams_that_nobody_reads_are_lost_at_last(void **state)
{
    WORLD;
    (void)state;
    enum { SENT = 300, SIZE = 1000 };
    int a = new_socket(w, AF_INET, SOCK_DGRAM), b = new_socket(w, AF_INET, SOCK_DGRAM), got = 0;
    static char block[SIZE];
    assert_int_equal(bind_to(w, b, ipv4("127.0.0.1", 53)), 0);
    assert_int_equal(connect_to(w, a, ipv4("127.0.0.1", 53)), 0);
    for (int i = 0; i < SENT; i++)
        assert_int_equal(w->calls->send(w->b, a, block, SIZE), SIZE);
    while (w->cls->next_event_ns(w->b) != CLOCK_FOREVER)
        turn(w, NS_PER_S);
    while (w->calls->recv(w->b, b, block, SIZE, 0) == SIZE)
        got++;
    assert_true(got > 100 && got < SENT);
    close_fd(w, a);
    close_fd(w, b);
    world_close(w);
}

static void a_datagram_for_an_address_of_documentation_is_lost(void **state)
{
    WORLD;
    (void)state;
    int a = new_socket(w, AF_INET, SOCK_DGRAM);
    char buf[4];
    assert_int_equal(connect_to(w, a, ipv4("192.0.2.1", 53)), 0);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    assert_true(w->cls->next_event_ns(w->b) == CLOCK_FOREVER);
    assert_int_equal(w->calls->recv(w->b, a, buf, sizeof buf, 0), -EAGAIN); /* no refusal */
    close_fd(w, a);
    world_close(w);
}

/* The news that nobody is there is for the socket that sent, not for the next one of that number. */
static void a_refusal_reaches_only_who_is_still_connected_there(void **state)
{
    WORLD;
    (void)state;
    int a = new_socket(w, AF_INET, SOCK_DGRAM);
    char buf[4];
    assert_int_equal(connect_to(w, a, ipv4("127.0.0.1", 53)), 0);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    assert_int_equal(connect_to(w, a, ipv4("127.0.0.1", 54)), 0);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, a, buf, sizeof buf, 0), -EAGAIN);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    close_fd(w, a);
    int s = new_socket(w, AF_INET, SOCK_STREAM);
    assert_int_equal(s, a); /* its number, another socket */
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, s, buf, sizeof buf, 0), -ENOTCONN);
    close_fd(w, s);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_that_is_nobodys_is_a_bad_descriptor),
        cmocka_unit_test(a_pipe_is_no_socket),
        cmocka_unit_test(what_is_real_is_asked_of_the_real_kernel),
        cmocka_unit_test(kinds_of_sockets_that_it_lacks_are_refused),
        cmocka_unit_test(addresses_that_are_none_are_refused),
        cmocka_unit_test(who_was_not_bound_has_the_name_of_nobody),
        cmocka_unit_test(nowhere_in_particular_is_this_machine),
        cmocka_unit_test(an_answer_comes_from_the_address_that_was_asked),
        cmocka_unit_test(an_ipv4_name_inside_ipv6_is_plain_ipv4),
        cmocka_unit_test(an_address_may_be_used_again_before_anybody_listens),
        cmocka_unit_test(a_free_port_is_one_that_nobody_has),
        cmocka_unit_test(ports_begin_again_when_all_were_used),
        cmocka_unit_test(a_listener_neither_sends_nor_receives),
        cmocka_unit_test(only_a_fresh_stream_socket_listens),
        cmocka_unit_test(a_socket_connects_once),
        cmocka_unit_test(an_end_is_of_one_direction_or_of_both),
        cmocka_unit_test(the_protocol_follows_from_domain_and_type),
        cmocka_unit_test(options_of_other_protocols_are_refused_and_sizes_checked),
        cmocka_unit_test(a_unix_datagram_needs_a_receiver_of_its_kind),
        cmocka_unit_test(a_datagram_socket_that_was_shut_down_neither_sends_nor_receives),
        cmocka_unit_test(datagrams_that_nobody_reads_are_lost_at_last),
        cmocka_unit_test(a_datagram_for_an_address_of_documentation_is_lost),
        cmocka_unit_test(a_refusal_reaches_only_who_is_still_connected_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
