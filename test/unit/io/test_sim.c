/* SPDX-License-Identifier: MIT
 *
 * test_sim.c: the imaginary kernel: what it imitates, and that a seed is a whole story. */
#include "world.h"

#include "io/sim/sim.h"

#include <stdlib.h>

#define WORLD                        \
    struct world world, *w = &world; \
    assert_int_equal(world_try_open(w, &coil__backend_sim, 7), 0)

static struct sockaddr_in ipv4(const char *host, int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &in.sin_addr);
    return in;
}

static struct sockaddr_storage stored(const void *addr, size_t n)
{
    struct sockaddr_storage s = {0};
    memcpy(&s, addr, n);
    return s;
}

static int bind_to(struct world *w, int fd, const char *host, int port)
{
    struct sockaddr_in in = ipv4(host, port);
    return w->calls->bind(w->b, fd, (struct sockaddr *)&in, sizeof in);
}

static int stream(struct world *w)
{
    int fd = w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= SIM_FD_BASE);
    return fd;
}

static void set_int(struct world *w, int fd, int level, int name, int value)
{
    assert_int_equal(w->calls->setsockopt(w->b, fd, level, name, &value, sizeof value), 0);
}

static int get_int(struct world *w, int fd, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    assert_int_equal(w->calls->getsockopt(w->b, fd, level, name, &value, &n), 0);
    return value;
}

/* ---- a seed is a whole story ---- */

/* Clients that connect, send and leave at times and in sizes the seed says, with faults or without;
 * every byte is accounted for. The hash of all that happened. */
static uint64_t storm(uint64_t seed, bool faults)
{
    enum { CLIENTS = 12, PER_CLIENT = 3000 };
    struct world world, *w = &world;
    assert_int_equal(world_try_open(w, &coil__backend_sim, seed), 0);
    if (faults)
        coil__sim_set_fault(w->b, SIM_SHORT_IO, 20000);
    struct random random = {seed};
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 3);
    static struct {
        struct test_op op;
        int fd;
        size_t n;
    } clients[CLIENTS], servers[CLIENTS];
    static char out[PER_CLIENT], in[CLIENTS][512];
    memset(clients, 0, sizeof clients);
    memset(servers, 0, sizeof servers);
    struct test_op a = accept_op(listener);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].fd = stream(w);
        clients[i].op = connect_op(clients[i].fd, &addr, len);
        submit(w, &clients[i].op);
    }
    submit(w, &a);
    int accepted = 0, ended = 0, idle = 0;
    while (ended < CLIENTS) {
        idle = turn(w, NS_PER_S) ? 0 : idle + 1;
        assert_true(idle < 1000);
        if (a.done) {
            assert_true(a.op.result >= 0);
            servers[accepted].fd = (int)a.op.result;
            servers[accepted].op = recv_op((int)a.op.result, in[accepted], sizeof in[0]);
            submit(w, &servers[accepted++].op);
            a = accept_op(listener);
            submit(w, &a);
        }
        for (int i = 0; i < CLIENTS; i++) {
            if (clients[i].op.done) {
                assert_true(clients[i].op.op.result >= 0);
                clients[i].n += clients[i].op.op.kind == OP_SEND ? (size_t)clients[i].op.op.result
                                                                 : 0;
                clients[i].op.done = 0;
                size_t n = 1 + random_below(&random, 900);
                if (n > PER_CLIENT - clients[i].n)
                    n = PER_CLIENT - clients[i].n;
                if (n > 0) {
                    clients[i].op = send_op(clients[i].fd, out, n);
                    submit(w, &clients[i].op);
                } else {
                    close_fd(w, clients[i].fd);
                }
            }
            if (servers[i].op.done) {
                assert_true(servers[i].op.op.result >= 0);
                servers[i].n += (size_t)servers[i].op.op.result;
                servers[i].op.done = 0;
                if (servers[i].op.op.result > 0) {
                    submit(w, &servers[i].op);
                } else {
                    assert_int_equal(servers[i].n, PER_CLIENT);
                    close_fd(w, servers[i].fd);
                    ended++;
                }
            }
        }
    }
    assert_int_equal(cancel(w, &a), 0);
    close_fd(w, listener);
    uint64_t trace = coil__sim_trace(w->b);
    world_close(w);
    return trace;
}

static void the_same_seed_is_the_same_story(void **state)
{
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        for (int faults = 0; faults < 2; faults++) {
            uint64_t first = storm(seed, faults), second = storm(seed, faults);
            assert_true(first == second);
            assert_true(first != before);
            before = first;
        }
    }
}

static void the_network_takes_its_time_and_keeps_the_order(void **state)
{
    WORLD;
    int fd[2];
    char buf[32] = {0};
    make_tcp(w, fd);
    int64_t start = w->clock.virtual_ns;
    for (char c = 'a'; c <= 'z'; c++)
        assert_int_equal(w->calls->send(w->b, fd[0], &c, 1), 1);
    assert_int_equal(w->calls->recv(w->b, fd[1], buf, sizeof buf, 0), -EAGAIN);
    int64_t next = w->cls->next_event_ns(w->b);
    assert_true(next >= start + 10 * NS_PER_US && next <= start + 200 * NS_PER_US);
    size_t got = 0;
    while (got < 26) {
        struct test_op r = recv_op(fd[1], buf + got, sizeof buf - got);
        submit(w, &r);
        run_until(w, &r, 1);
        got += (size_t)r.op.result;
    }
    assert_memory_equal(buf, "abcdefghijklmnopqrstuvwxyz", 26);
    assert_true(w->cls->next_event_ns(w->b) == CLOCK_FOREVER);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

/* ---- sockets ---- */

static void a_full_backlog_makes_clients_wait_and_time_out(void **state)
{
    WORLD;
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = make_listener(w, &addr, &len, 0);
    int a = stream(w), b = stream(w);
    struct test_op first = connect_op(a, &addr, len), second = connect_op(b, &addr, len);
    submit(w, &first);
    run_until(w, &first, 1);
    submit(w, &second);
    int64_t start = w->clock.virtual_ns;
    turn(w, 100 * NS_PER_MS);
    turn(w, 100 * NS_PER_MS);
    assert_int_equal(second.done, 0);
    int served = w->calls->accept(w->b, listener, NULL, NULL);
    assert_true(served >= 0);
    run_until(w, &second, 1);
    assert_int_equal(second.op.result, 0);
    assert_true(w->clock.virtual_ns - start >= NS_PER_S);
    close_fd(w, served);

    struct test_op third = connect_op(stream(w), &addr, len);
    submit(w, &third);
    run_until(w, &third, 1);
    assert_int_equal(third.op.result, -ETIMEDOUT);
    close_fd(w, third.op.fd);
    close_fd(w, a);
    close_fd(w, b);
    close_fd(w, listener);
    world_close(w);
}

static void documentation_addresses_never_answer(void **state)
{
    WORLD;
    int fd = stream(w);
    assert_int_equal(bind_to(w, fd, "192.0.2.1", 80), -EADDRNOTAVAIL);
    struct sockaddr_in in = ipv4("192.0.2.1", 80);
    struct sockaddr_storage addr = stored(&in, sizeof in);
    struct test_op c = connect_op(fd, &addr, sizeof in);
    int64_t start = w->clock.virtual_ns;
    submit(w, &c);
    run_until(w, &c, 1);
    assert_int_equal(c.op.result, -ETIMEDOUT);
    assert_true(w->clock.virtual_ns - start > 60 * NS_PER_S);
    /* And one may give up before. */
    submit(w, &c);
    turn(w, NS_PER_S);
    assert_int_equal(cancel(w, &c), 0);
    close_fd(w, fd);
    assert_true(w->cls->next_event_ns(w->b) == CLOCK_FOREVER);
    world_close(w);
}

static void a_name_is_had_by_one_at_a_time(void **state)
{
    WORLD;
    int a = stream(w), b = stream(w), c = stream(w);
    assert_int_equal(bind_to(w, a, "127.0.0.1", 8080), 0);
    assert_int_equal(bind_to(w, a, "127.0.0.1", 8081), -EINVAL);
    assert_int_equal(bind_to(w, b, "127.0.0.1", 8080), -EADDRINUSE);
    assert_int_equal(bind_to(w, b, "0.0.0.0", 8080), -EADDRINUSE);
    assert_int_equal(bind_to(w, b, "127.0.0.2", 8080), 0);
    assert_int_equal(w->calls->listen(w->b, a, 1), 0);
    set_int(w, c, SOL_SOCKET, SO_REUSEADDR, 1);
    assert_int_equal(bind_to(w, c, "127.0.0.1", 8080), -EADDRINUSE);
    close_fd(w, a);
    assert_int_equal(bind_to(w, c, "127.0.0.1", 8080), 0);
    int d = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0); /* ports of udp are others */
    assert_int_equal(bind_to(w, d, "127.0.0.1", 8080), 0);
    close_fd(w, b);
    close_fd(w, c);
    close_fd(w, d);
    world_close(w);
}

static void listeners_may_share_a_port_when_both_say_so(void **state)
{
    WORLD;
    int l[2], n[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        l[i] = stream(w);
        set_int(w, l[i], SOL_SOCKET, SO_REUSEPORT, 1);
        assert_int_equal(bind_to(w, l[i], "127.0.0.1", 8080), 0);
        assert_int_equal(w->calls->listen(w->b, l[i], 100), 0);
    }
    struct sockaddr_in in = ipv4("127.0.0.1", 8080);
    struct sockaddr_storage addr = stored(&in, sizeof in);
    for (int i = 0; i < 40; i++) {
        struct test_op c = connect_op(stream(w), &addr, sizeof in);
        submit(w, &c);
        run_until(w, &c, 1);
        assert_int_equal(c.op.result, 0);
        close_fd(w, c.op.fd);
    }
    for (int i = 0; i < 2; i++) {
        int fd;
        while ((fd = w->calls->accept(w->b, l[i], NULL, NULL)) >= 0) {
            close_fd(w, fd);
            n[i]++;
        }
        close_fd(w, l[i]);
    }
    assert_int_equal(n[0] + n[1], 40);
    assert_true(n[0] > 0 && n[1] > 0);
    world_close(w);
}

static void ipv6_any_serves_ipv4_unless_told_not_to(void **state)
{
    WORLD;
    for (int only = 0; only < 2; only++) {
        int l = w->calls->socket(w->b, AF_INET6, SOCK_STREAM, 0);
        set_int(w, l, IPPROTO_IPV6, IPV6_V6ONLY, only);
        struct sockaddr_in6 any = {.sin6_family = AF_INET6};
        assert_int_equal(w->calls->bind(w->b, l, (struct sockaddr *)&any, sizeof any), 0);
        assert_int_equal(w->calls->listen(w->b, l, 4), 0);
        struct sockaddr_in6 name;
        socklen_t n = sizeof name;
        assert_int_equal(w->calls->getsockname(w->b, l, (struct sockaddr *)&name, &n), 0);
        assert_int_equal(n, sizeof name);
        int port = ntohs(name.sin6_port);
        assert_true(port > 0);
        struct sockaddr_in in = ipv4("127.0.0.1", port);
        struct sockaddr_storage addr = stored(&in, sizeof in);
        struct test_op c = connect_op(stream(w), &addr, sizeof in);
        submit(w, &c);
        run_until(w, &c, 1);
        assert_int_equal(c.op.result, only ? -ECONNREFUSED : 0);
        if (!only) {
            struct sockaddr_storage peer;
            n = sizeof peer;
            int fd = w->calls->accept(w->b, l, &peer, &n);
            assert_true(fd >= 0);
            assert_int_equal(peer.ss_family, AF_INET6);
            assert_true(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&peer)->sin6_addr));
            close_fd(w, fd);
        }
        name.sin6_addr = in6addr_loopback;
        addr = stored(&name, sizeof name);
        struct test_op d = connect_op(w->calls->socket(w->b, AF_INET6, SOCK_STREAM, 0), &addr,
                                      sizeof name);
        submit(w, &d);
        run_until(w, &d, 1);
        assert_int_equal(d.op.result, 0);
        close_fd(w, c.op.fd);
        close_fd(w, d.op.fd);
        close_fd(w, l);
    }
    world_close(w);
}

static void link_local_addresses_stand_on_each_link(void **state)
{
    WORLD;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    in6.sin6_addr.s6_addr[0] = 0xfe;
    in6.sin6_addr.s6_addr[1] = 0x80;
    in6.sin6_addr.s6_addr[15] = 1;
    int one = w->calls->socket(w->b, AF_INET6, SOCK_STREAM, 0),
        two = w->calls->socket(w->b, AF_INET6, SOCK_STREAM, 0),
        c = w->calls->socket(w->b, AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(w->calls->bind(w->b, one, (struct sockaddr *)&in6, sizeof in6), -EINVAL);
    in6.sin6_scope_id = 1;
    assert_int_equal(w->calls->bind(w->b, one, (struct sockaddr *)&in6, sizeof in6), 0);
    assert_int_equal(w->calls->listen(w->b, one, 5), 0);
    assert_int_equal(w->calls->bind(w->b, two, (struct sockaddr *)&in6, sizeof in6), -EADDRINUSE);
    in6.sin6_scope_id = 2;
    assert_int_equal(w->calls->bind(w->b, two, (struct sockaddr *)&in6, sizeof in6), 0);
    struct sockaddr_storage addr = stored(&in6, sizeof in6);
    struct test_op op = connect_op(c, &addr, sizeof in6);
    submit(w, &op);
    run_until(w, &op, 1);
    assert_int_equal(op.op.result, -ECONNREFUSED); /* on that link nobody listens */
    ((struct sockaddr_in6 *)&addr)->sin6_scope_id = 1;
    submit(w, &op);
    run_until(w, &op, 2);
    assert_int_equal(op.op.result, 0);
    struct sockaddr_in6 peer;
    socklen_t n = sizeof peer;
    assert_int_equal(w->calls->getpeername(w->b, c, (struct sockaddr *)&peer, &n), 0);
    assert_int_equal(peer.sin6_scope_id, 1);
    close_fd(w, c);
    close_fd(w, two);
    close_fd(w, one);
    world_close(w);
}

static void unix_paths_stay_until_they_are_unlinked(void **state)
{
    WORLD;
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/imaginary/socket"};
    struct sockaddr_storage addr = stored(&un, sizeof un);
    int c = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0),
        l = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0);
    struct test_op op = connect_op(c, &addr, sizeof un);
    submit(w, &op);
    run_until(w, &op, 1);
    assert_int_equal(op.op.result, -ENOENT);
    assert_int_equal(w->calls->listen(w->b, l, 0), -EINVAL);
    assert_int_equal(w->calls->bind(w->b, l, (struct sockaddr *)&un, sizeof un), 0);
    submit(w, &op);
    run_until(w, &op, 2);
    assert_int_equal(op.op.result, -ECONNREFUSED);
    assert_int_equal(w->calls->listen(w->b, l, 0), 0);
    submit(w, &op);
    run_until(w, &op, 3);
    assert_int_equal(op.op.result, 0);
    int d = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0);
    struct test_op full = connect_op(d, &addr, sizeof un);
    submit(w, &full);
    run_until(w, &full, 1);
    assert_int_equal(full.op.result, -EAGAIN);
    socklen_t n = sizeof addr;
    assert_int_equal(w->calls->getsockname(w->b, l, (struct sockaddr *)&addr, &n), 0);
    assert_string_equal(((struct sockaddr_un *)&addr)->sun_path, un.sun_path);
    close_fd(w, l);
    /* Nobody accepted it: the client is reset. */
    struct test_op r = recv_op(c, &n, sizeof n);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, -ECONNRESET);

    /* The file is left behind: in the way, and nobody answers. */
    struct stat st, again;
    assert_int_equal(w->calls->bind(w->b, d, (struct sockaddr *)&un, sizeof un), -EADDRINUSE);
    submit(w, &full);
    run_until(w, &full, 2);
    assert_int_equal(full.op.result, -ECONNREFUSED);
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(w->calls->unlink(w->b, un.sun_path), 0);
    assert_int_equal(w->calls->unlink(w->b, un.sun_path), -ENOENT);
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &st), -ENOENT);
    assert_int_equal(w->calls->chmod(w->b, un.sun_path, 0600), -ENOENT);
    assert_int_equal(w->calls->fchmod(w->b, d, 0606), 0);
    assert_int_equal(w->calls->bind(w->b, d, (struct sockaddr *)&un, sizeof un), 0);
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &again), 0);
    assert_int_not_equal(again.st_ino, st.st_ino);
    assert_int_equal(again.st_mode, S_IFSOCK | 0604);
    assert_int_equal(w->calls->chmod(w->b, un.sun_path, 0622), 0);
    assert_int_equal(w->calls->lstat(w->b, un.sun_path, &again), 0);
    assert_int_equal(again.st_mode, S_IFSOCK | 0622);

    /* Unlinked under its socket: that goes on, but nobody finds it, and the path is free. */
    assert_int_equal(w->calls->listen(w->b, d, 1), 0);
    assert_int_equal(w->calls->unlink(w->b, un.sun_path), 0);
    int e = w->calls->socket(w->b, AF_UNIX, SOCK_STREAM, 0);
    struct test_op lost = connect_op(e, &addr, sizeof un);
    submit(w, &lost);
    run_until(w, &lost, 1);
    assert_int_equal(lost.op.result, -ENOENT);
    assert_int_equal(w->calls->bind(w->b, e, (struct sockaddr *)&un, sizeof un), 0);
    close_fd(w, c);
    close_fd(w, d);
    close_fd(w, e);
    world_close(w);
}

static void a_reset_comes_after_the_data_and_once(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    w->calls->send(w->b, fd[0], "unread", 6);
    turn(w, NS_PER_S);
    turn(w, NS_PER_S);
    w->calls->send(w->b, fd[1], "last", 4);
    close_fd(w, fd[1]);
    while (w->cls->next_event_ns(w->b) != CLOCK_FOREVER)
        turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 4);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), -ECONNRESET);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 0);
    assert_int_equal(w->calls->send(w->b, fd[0], "x", 1), -EPIPE);
    close_fd(w, fd[0]);
    world_close(w);
}

static void data_for_a_closed_end_is_answered_by_a_reset(void **state)
{
    WORLD;
    int fd[2];
    char buf[8];
    make_tcp(w, fd);
    close_fd(w, fd[1]);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, fd[0], buf, sizeof buf, 0), 0);
    assert_int_equal(w->calls->send(w->b, fd[0], "x", 1), 1);
    while (w->cls->next_event_ns(w->b) != CLOCK_FOREVER)
        turn(w, NS_PER_S);
    assert_int_equal(w->calls->send(w->b, fd[0], "x", 1), -EPIPE);
    close_fd(w, fd[0]);
    world_close(w);
}

static void a_slow_reader_stops_the_writer(void **state)
{
    WORLD;
    int fd[2];
    static char buf[65536];
    make_tcp(w, fd);
    set_int(w, fd[0], SOL_SOCKET, SO_SNDBUF, 4096);
    assert_int_equal(get_int(w, fd[0], SOL_SOCKET, SO_SNDBUF), 8192);
    assert_int_equal(w->calls->send(w->b, fd[0], buf, sizeof buf), 8192);
    assert_int_equal(w->calls->send(w->b, fd[0], buf, sizeof buf), -EAGAIN);
    struct test_op s = send_op(fd[0], buf, sizeof buf), p = poll_op(fd[0], OP_OUT, 0);
    submit(w, &s);
    submit(w, &p);
    assert_quiet(w);
    /* A byte of room does not wake it; a quarter does. */
    assert_int_equal(w->calls->recv(w->b, fd[1], buf, 1, 0), 1);
    assert_quiet(w);
    assert_int_equal(w->calls->recv(w->b, fd[1], buf, 4096, 0), 4096);
    run_until(w, &s, 1);
    assert_int_equal(s.op.result, 4097);
    assert_int_equal(p.done, 0); /* all room is taken again */
    cancel(w, &p);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void lingering_for_no_time_is_a_reset(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    make_tcp(w, fd);
    struct linger linger = {1, 0};
    assert_int_equal(
        w->calls->setsockopt(w->b, fd[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close_fd(w, fd[0]);
    struct test_op r = recv_op(fd[1], buf, sizeof buf);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, -ECONNRESET);
    close_fd(w, fd[1]);
    world_close(w);
}

static void options_are_remembered(void **state)
{
    WORLD;
    int fd = stream(w), n_fd[2];
    assert_int_equal(get_int(w, fd, IPPROTO_TCP, 1 /* TCP_NODELAY */), 0);
    set_int(w, fd, IPPROTO_TCP, 1, 1);
    assert_int_equal(get_int(w, fd, IPPROTO_TCP, 1), 1);
    assert_int_equal(get_int(w, fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
    assert_int_equal(get_int(w, fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
    assert_int_equal(get_int(w, fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
    assert_int_equal(get_int(w, fd, SOL_SOCKET, SO_ERROR), 0);
    int one = 1;
    assert_int_equal(w->calls->setsockopt(w->b, fd, SOL_SOCKET, SO_TYPE, &one, sizeof one),
                     -ENOPROTOOPT);
    assert_int_equal(w->calls->setsockopt(w->b, fd, SOL_SOCKET, SO_KEEPALIVE, &one, 1), -EINVAL);
    assert_int_equal(w->calls->pipe(w->b, n_fd), 0);
    assert_int_equal(
        w->calls->setsockopt(w->b, n_fd[0], SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one), -ENOTSOCK);
    close_fd(w, n_fd[0]);
    close_fd(w, n_fd[1]);
    close_fd(w, fd);
    world_close(w);
}

static void pipes_end_and_break(void **state)
{
    WORLD;
    int fd[2];
    char buf[4];
    assert_int_equal(w->calls->pipe(w->b, fd), 0);
    struct test_op wr = {
        .op = {.done = on_done, .fd = fd[1], .kind = OP_WRITE, .buf = {(char[]){'x'}, 1, 0}}};
    struct test_op wrong = {
        .op = {.done = on_done, .fd = fd[1], .kind = OP_READ, .buf = {buf, 1, 0}}};
    struct test_op broken = poll_op(fd[1], OP_IN, 0);
    submit(w, &wr);
    run_until(w, &wr, 1);
    close_fd(w, fd[0]);
    submit(w, &wr);
    run_until(w, &wr, 2);
    assert_int_equal(wr.op.result, -EPIPE);
    submit(w, &broken);
    run_until(w, &broken, 1);
    submit(w, &wrong);
    run_until(w, &wrong, 1);
    assert_int_equal(wrong.op.result, -EBADF);
    close_fd(w, fd[1]);
    world_close(w);
}

static void the_lowest_number_is_used_again_at_once(void **state)
{
    WORLD;
    int a = stream(w), b = stream(w), c = stream(w);
    assert_int_equal(a, SIM_FD_BASE);
    close_fd(w, b);
    assert_int_equal(stream(w), b);
    close_fd(w, a);
    close_fd(w, b);
    assert_int_equal(stream(w), a);
    assert_int_equal(stream(w), b);
    coil__sim_limit_files(w->b, 3);
    assert_int_equal(w->calls->socket(w->b, AF_INET, SOCK_STREAM, 0), -EMFILE);
    assert_int_equal(w->calls->close(w->b, c + 1), -EBADF);
    close_fd(w, c);
    /* What is left open goes with the kernel. */
    world_close(w);
}

static void real_descriptors_are_watched_beside(void **state)
{
    WORLD;
    int real[2], fd[2];
    char buf[4];
    assert_int_equal(pipe2(real, O_NONBLOCK | O_CLOEXEC), 0);
    make_pair(w, fd);
    struct test_op l = poll_op(real[0], OP_IN, OP_LEVEL), r = recv_op(fd[0], buf, sizeof buf);
    submit(w, &l);
    submit(w, &r);
    assert_int_equal(w->b->pending, 2);
    assert_int_equal(w->b->real_pending, 1);
    assert_int_equal(w->b->fds, 2);
    assert_quiet(w);
    assert_int_equal(write(real[1], "x", 1), 1);
    for (int i = 1; i <= 3; i++) {
        while (l.done < i)
            turn(w, NS_PER_MS);
        assert_int_equal(w->b->real_pending, 1);
    }
    /* It may be closed between firing and being reaped. */
    l.done = 0;
    while (l.op.state != OP_FINISHED)
        assert_int_equal(w->cls->wait(w->b, 0), 0);
    close_fd(w, real[0]);
    reap(w);
    assert_int_equal(l.op.result, -ECANCELED);
    assert_int_equal(w->b->real_pending, 0);
    close(real[1]);
    assert_int_equal(cancel(w, &r), 0);
    close_fd(w, fd[0]);
    close_fd(w, fd[1]);
    world_close(w);
}

static void datagrams_are_dropped_refused_and_truncated(void **state)
{
    WORLD;
    int a = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0),
        b = w->calls->socket(w->b, AF_INET, SOCK_DGRAM, 0);
    char buf[4];
    assert_int_equal(w->calls->send(w->b, a, "x", 1), -EDESTADDRREQ);
    assert_int_equal(bind_to(w, b, "127.0.0.1", 5353), 0);
    struct sockaddr_in in = ipv4("127.0.0.1", 5353);
    struct sockaddr_storage addr = stored(&in, sizeof in);
    struct test_op c = connect_op(a, &addr, sizeof in);
    submit(w, &c);
    run_until(w, &c, 1);
    assert_int_equal(w->calls->send(w->b, a, "truncated", 9), 9);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, b, buf, 4, 0), 4);
    assert_int_equal(w->calls->recv(w->b, b, buf, 4, 0), -EAGAIN);
    static char big[65536];
    assert_int_equal(w->calls->send(w->b, a, big, sizeof big), -EMSGSIZE);
    coil__sim_set_fault(w->b, SIM_LOSS, 65535);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    turn(w, NS_PER_S);
    assert_int_equal(w->calls->recv(w->b, b, buf, 4, 0), -EAGAIN);
    coil__sim_set_fault(w->b, SIM_LOSS, 0);
    close_fd(w, b);
    assert_int_equal(w->calls->send(w->b, a, "x", 1), 1);
    struct test_op r = recv_op(a, buf, sizeof buf);
    submit(w, &r);
    run_until(w, &r, 1);
    assert_int_equal(r.op.result, -ECONNREFUSED);
    assert_int_equal(w->calls->send(w->b, a, "on its way", 10), 10);
    close_fd(w, a);
    world_close(w);
}

static void what_it_cannot_imagine_it_refuses(void **state)
{
    WORLD;
    int fd[2];
    assert_int_equal(w->calls->socket(w->b, AF_NETLINK, SOCK_STREAM, 0), -EAFNOSUPPORT);
    assert_int_equal(w->calls->socket(w->b, AF_INET, SOCK_RAW, 0), -EPROTONOSUPPORT);
    assert_int_equal(w->calls->socketpair(w->b, AF_INET, SOCK_STREAM, fd), -EOPNOTSUPP);
    assert_int_equal(w->cls->poll_fd(w->b), -ENOTSUP);
    int s = stream(w);
    char buf[4];
    struct sockaddr_storage addr = {.ss_family = AF_INET6};
    socklen_t n = sizeof addr;
    assert_int_equal(w->calls->bind(w->b, s, (struct sockaddr *)&addr, sizeof addr), -EAFNOSUPPORT);
    assert_int_equal(w->calls->recv(w->b, s, buf, 4, 0), -ENOTCONN);
    assert_int_equal(w->calls->send(w->b, s, buf, 4), -ENOTCONN);
    assert_int_equal(w->calls->shutdown(w->b, s, SHUT_WR), -ENOTCONN);
    assert_int_equal(w->calls->getpeername(w->b, s, (struct sockaddr *)&addr, &n), -ENOTCONN);
    assert_int_equal(w->calls->accept(w->b, s, NULL, NULL), -EINVAL);
    close_fd(w, s);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_is_the_same_story),
        cmocka_unit_test(the_network_takes_its_time_and_keeps_the_order),
        cmocka_unit_test(a_full_backlog_makes_clients_wait_and_time_out),
        cmocka_unit_test(documentation_addresses_never_answer),
        cmocka_unit_test(a_name_is_had_by_one_at_a_time),
        cmocka_unit_test(listeners_may_share_a_port_when_both_say_so),
        cmocka_unit_test(ipv6_any_serves_ipv4_unless_told_not_to),
        cmocka_unit_test(link_local_addresses_stand_on_each_link),
        cmocka_unit_test(unix_paths_stay_until_they_are_unlinked),
        cmocka_unit_test(a_reset_comes_after_the_data_and_once),
        cmocka_unit_test(data_for_a_closed_end_is_answered_by_a_reset),
        cmocka_unit_test(a_slow_reader_stops_the_writer),
        cmocka_unit_test(lingering_for_no_time_is_a_reset),
        cmocka_unit_test(options_are_remembered),
        cmocka_unit_test(pipes_end_and_break),
        cmocka_unit_test(the_lowest_number_is_used_again_at_once),
        cmocka_unit_test(real_descriptors_are_watched_beside),
        cmocka_unit_test(datagrams_are_dropped_refused_and_truncated),
        cmocka_unit_test(what_it_cannot_imagine_it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
