/* SPDX-License-Identifier: MIT
 *
 * test_listen.c: from hosts to the sockets of a server: several hosts, each address once, all or none; options. */
#include "net/listen.h"

#include "wire.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

/* ---- helpers ---- */

static coil_ret greet(coil_reader *reader, coil_writer *writer, void *arg)
{
    return coil_writer_write(writer, "hello\n", 6);
}

static void end_server(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

static void port_text(const coil_address *at, char out[8])
{
    snprintf(out, 8, "%u", (unsigned)coil_address_port(at) & 0xffff);
}

static void is_greeted(const char *host, const char *port)
{
    coil_reader *r;
    coil_writer *w;
    const char *line;
    must(coil_open_connection(host, port, &r, &w));
    must(coil_reader_readline(r, &line, NULL));
    assert_string_equal(line, "hello\n");
    coil_ignore(coil_writer_finish(w));
}

/* A port that was free a moment ago on 127.0.0.1. */
static void free_port(char out[8])
{
    coil_sock *sock = wire_listen(1);
    coil_address at;
    must(coil_sock_getsockname(sock, &at));
    port_text(&at, out);
    coil_sock_unref(sock);
}

static int lowest_free_number(void)
{
    coil_sock *sock;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    int fd = coil_sock_fileno(sock);
    coil_sock_unref(sock);
    return fd;
}

static coil_ret start(const char *const *hosts, size_t n, const char *port, coil_server **out)
{
    coil_server_opts opts = {.size = sizeof opts, .hosts = hosts, .hosts_n = n};
    return coil_start_server_with(greet, NULL, NULL, port, &opts, out);
}

/* ---- several hosts ---- */

COIL_TEST(server_on_several_hosts)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    coil_server *server;
    char port[8];
    free_port(port);
    must(start(hosts, 3, port, &server));
    assert_int_equal(coil_server_sockets(server), 3);
    for (size_t i = 0; i < 3; i++) {
        coil_address at, expected;
        char own[8];
        must(coil_server_sockname(server, i, &at));
        must(coil_address_parse(hosts[i], port, &expected));
        port_text(&at, own);
        assert_string_equal(own, port);
        assert_memory_equal(&at.storage, &expected.storage, sizeof(struct sockaddr_in));
        is_greeted(hosts[i], port);
    }
    end_server(server);
}

COIL_TEST(server_on_a_host_named_twice_has_it_once)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"};
    coil_server *server;
    char port[8];
    free_port(port);
    must(start(hosts, 4, port, &server));
    assert_int_equal(coil_server_sockets(server), 2);
    end_server(server);
}

COIL_TEST(server_on_the_empty_host_is_on_every_address)
{
    static const char *const hosts[] = {""};
    coil_server *server;
    must(start(hosts, 1, "0", &server));
    coil_address at;
    char port[8], text[COIL_ADDRESS_TEXT_MAX];
    must(coil_server_sockname(server, 0, &at));
    port_text(&at, port);
    coil_address_format(&at, text, sizeof text);
    assert_int_equal(strncmp(text, "0.0.0.0:", 8), 0);
    is_greeted("127.0.0.4", port);
    end_server(server);
}

/* The second, or the third, cannot be had: the others are closed. */
COIL_TEST(server_on_several_hosts_is_all_or_none)
{
    char port[8], long_name[300];
    free_port(port);
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    coil_address at;
    coil_sock *taken;
    must(coil_address_parse("127.0.0.2", port, &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &taken));
    must(coil_sock_bind(taken, &at));
    must(coil_sock_listen(taken, 1));
    const struct {
        const char *hosts[3];
        coil_ret expected;
    } cases[] = {
        {{"127.0.0.1", "127.0.0.2", "127.0.0.3"}, -EADDRINUSE},
        {{"127.0.0.1", "127.0.0.3", "127.0.0.2"}, -EADDRINUSE},
        {{"127.0.0.1", "127.0.0.3", long_name}, -ENAMETOOLONG},
    };
    int lowest = lowest_free_number();
    for (size_t i = 0; i < 3; i++) {
        coil_server *server;
        assert_int_equal(start(cases[i].hosts, 3, port, &server), cases[i].expected);
        assert_int_equal(lowest_free_number(), lowest);
    }
    coil_sock_unref(taken);
}

COIL_TEST(server_has_one_host_or_several)
{
    static const char *const hosts[] = {"127.0.0.1"};
    coil_server_opts opts = {.size = sizeof opts, .hosts = hosts, .hosts_n = 1};
    coil_server *server;
    assert_int_equal(coil_start_server_with(greet, NULL, "127.0.0.1", "0", &opts, &server),
                     -EINVAL);
}

static coil_ret start_or_not(void *arg)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", ""};
    coil_server *server;
    coil_ret rc = start(hosts, 3, "0", &server);
    if (rc < 0)
        return rc;
    ++*(int *)arg;
    coil_server_free(server);
    return 0;
}

static void one_start(void *arg)
{
    (void)wire_run(start_or_not, arg);
}

COIL_TEST_PLAIN(server_on_several_hosts_survives_failing_allocations)
{
    int done = 0;
    sweep_allocations(one_start, &done);
    assert_true(done >= 1);
}

/* ---- a socket of one's own ---- */

static coil_sock *bound_sock(coil_address *at)
{
    coil_sock *sock;
    must(coil_address_parse("127.0.0.1", "0", at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    must(coil_sock_bind(sock, at));
    must(coil_sock_getsockname(sock, at));
    return sock;
}

COIL_TEST(server_on_a_socket_of_ones_own)
{
    for (int listens = 0; listens < 2; listens++) {
        coil_address at;
        coil_sock *sock = bound_sock(&at), *mine = coil_sock_ref(sock);
        char port[8];
        port_text(&at, port);
        if (listens)
            must(coil_sock_listen(sock, 1));
        coil_server *server;
        must(coil_start_server_sock(greet, NULL, sock, NULL, &server));
        is_greeted("127.0.0.1", port);
        coil_sock *nobody;
        assert_int_equal(coil_sock_accept(mine, &nobody, NULL), COIL_ERUNNING);
        assert_int_equal(coil_server_port(server), coil_address_port(&at));
        end_server(server);
        assert_true(coil_sock_is_closed(mine));
        coil_sock_unref(mine);
    }
}

COIL_TEST(server_on_a_unix_socket_of_ones_own_leaves_its_file)
{
    char dir[] = "/tmp/coil-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    coil_address at;
    coil_sock *sock;
    must(coil_address_unix(path, strlen(path), &at));
    must(coil_sock_new(AF_UNIX, SOCK_STREAM, 0, &sock));
    must(coil_sock_bind(sock, &at));
    coil_server *server;
    must(coil_start_server_sock(greet, NULL, sock, NULL, &server));
    coil_reader *r;
    coil_writer *w;
    const char *line;
    must(coil_open_unix_connection(path, NULL, &r, &w));
    must(coil_reader_readline(r, &line, NULL));
    assert_string_equal(line, "hello\n");
    coil_ignore(coil_writer_finish(w));
    end_server(server);
    struct backend *b = coil_get_running_loop()->backend;
    assert_int_equal(b->cls->calls.unlink(b, path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static coil_ret accept_one(void *arg)
{
    coil_sock *peer;
    coil_ret rc = coil_sock_accept(arg, &peer, NULL);
    if (rc == 0)
        coil_sock_unref(peer);
    return rc;
}

COIL_TEST(server_on_a_socket_that_will_not_do_leaves_it)
{
    coil_address at;
    coil_server *server;
    coil_sock *datagrams, *unbound, *sock = bound_sock(&at);
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &datagrams));
    assert_int_equal(coil_start_server_sock(greet, NULL, datagrams, NULL, &server), -EINVAL);
    coil_sock_unref(datagrams);

    /* Without a name it cannot listen, which is found out late; it is open all the same. */
    must(coil_sock_new(AF_UNIX, SOCK_STREAM, 0, &unbound));
    assert_int_equal(coil_start_server_sock(greet, NULL, unbound, NULL, &server), -EINVAL);
    assert_false(coil_sock_is_closed(unbound));
    char name[64];
    snprintf(name, sizeof name, "@coil-test-%ld", (long)getpid());
    must(coil_address_parse(name, NULL, &at));
    must(coil_sock_bind(unbound, &at));
    must(coil_start_server_sock(greet, NULL, unbound, NULL, &server));
    end_server(server);

    assert_int_equal(coil_start_server_sock(NULL, NULL, sock, NULL, &server), -EINVAL);
    must(coil_sock_listen(sock, 5));
    coil_task *accepting = coil_create_task(accept_one, sock);
    wire_turns(1);
    assert_int_equal(coil_start_server_sock(greet, NULL, sock, NULL, &server), COIL_ERUNNING);
    coil_task_cancel(accepting, NULL);
    assert_int_equal(coil_join(accepting), -ECANCELED);
    coil_sock_close(sock);
    assert_int_equal(coil_start_server_sock(greet, NULL, sock, NULL, &server), -EBADF);
    coil_sock_unref(sock);
}

/* Its other owner closes it under the server: told once, and no more. */
COIL_TEST(server_whose_socket_was_closed_rests_for_good)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_address at;
    coil_sock *sock = bound_sock(&at), *mine = coil_sock_ref(sock);
    char port[8];
    port_text(&at, port);
    coil_server *server;
    must(coil_start_server_sock(greet, NULL, sock, NULL, &server));
    is_greeted("127.0.0.1", port);
    coil_sock_close(mine);
    must(coil_sleep(10));
    assert_int_equal(reports.n, 1);
    assert_int_equal(reports.code, -EBADF);
    end_server(server);
    assert_int_equal(reports.n, 1);
    coil_sock_unref(mine);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

/* A connection that somebody else accepted, as an inherited one. */
COIL_TEST(connection_over_a_socket_accepted_elsewhere)
{
    coil_sock *listener = wire_listen(5), *client, *adopted;
    coil_address at;
    must(coil_sock_getsockname(listener, &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &client));
    must(coil_sock_connect(client, &at));
    struct backend *b = sock_backend(listener);
    int fd = b->cls->calls.accept(b, coil_sock_fileno(listener), NULL, NULL);
    assert_true(fd >= 0);
    must(coil_sock_adopt(NULL, fd, &adopted));
    coil_reader *r;
    coil_writer *w;
    must(coil_open_connection_sock(adopted, 0, &r, &w));
    const char *line;
    wire_say(client, "inherited\n");
    must(coil_reader_readline(r, &line, NULL));
    assert_string_equal(line, "inherited\n");
    assert_int_equal(strncmp(there(coil_writer_get_extra_info(w, "peername")), "127.0.0.1:", 10),
                     0);
    must(coil_writer_write(w, "hello", 5));
    wire_expect(client, "hello");
    must(coil_writer_finish(w));
    wire_expect_end(client);
    coil_sock_unref(client);
    coil_sock_unref(listener);
}

static coil_ret own_socket_or_not(void *arg)
{
    coil_sock *sock;
    coil_server *server;
    coil_address at;
    coil_ret rc = coil_address_parse("127.0.0.1", "0", &at);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock);
    if (rc < 0)
        return rc;
    rc = coil_start_server_sock(greet, NULL, sock, NULL, &server);
    if (rc < 0) {
        assert_false(coil_sock_is_closed(sock));
        coil_sock_unref(sock);
        return rc;
    }
    ++*(int *)arg;
    coil_server_free(server);
    return 0;
}

static void one_own_socket(void *arg)
{
    (void)wire_run(own_socket_or_not, arg);
}

COIL_TEST_PLAIN(server_on_a_socket_of_ones_own_survives_failing_allocations)
{
    int done = 0;
    sweep_allocations(one_own_socket, &done);
    assert_true(done >= 1);
}

/* ---- zones ---- */

/* A link-local address of this machine, with its zone by name and by number. */
static bool link_local(char named[80], char numbered[80])
{
    struct ifaddrs *list;
    char text[INET6_ADDRSTRLEN];
    bool found = false;
    if (wire_is_imaginary()) {
        snprintf(named, 80, "fe80::1%%lo");
        snprintf(numbered, 80, "fe80::1%%%u", if_nametoindex("lo"));
        return true;
    }
    if (getifaddrs(&list) < 0)
        return false;
    for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)i->ifa_addr;
        if (!in6 || in6->sin6_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
            continue;
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        snprintf(named, 80, "%s%%%s", text, i->ifa_name);
        snprintf(numbered, 80, "%s%%%u", text, in6->sin6_scope_id);
        found = true;
    }
    freeifaddrs(list);
    return found;
}

COIL_TEST(server_and_client_in_a_zone)
{
    char named[80], numbered[80], port[8], text[COIL_ADDRESS_TEXT_MAX];
    if (!link_local(named, numbered))
        return; /* a machine without link-local addresses */
    coil_server *server;
    must(coil_start_server(greet, NULL, named, "0", &server));
    coil_address at;
    must(coil_server_sockname(server, 0, &at));
    port_text(&at, port);
    is_greeted(named, port);
    is_greeted(numbered, port);
    coil_address_format(&at, text, sizeof text);
    char expected[100];
    snprintf(expected, sizeof expected, "[%s]:%s", numbered, port);
    assert_string_equal(text, expected);

    coil_connect_opts opts = {.size = sizeof opts, .local_host = named};
    coil_reader *r;
    coil_writer *w;
    must(coil_open_connection_with(numbered, port, &opts, &r, &w));
    const char *own = coil_writer_get_extra_info(w, "sockname");
    assert_int_equal(strncmp(own + 1, numbered, strlen(numbered)), 0);
    coil_ignore(coil_writer_finish(w));
    end_server(server);
}

COIL_TEST(zone_that_does_not_exist_is_an_error_of_its_own)
{
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    coil_connect_opts opts = {.size = sizeof opts, .local_host = "fe80::1%nobody0"};
    assert_int_equal(coil_start_server(greet, NULL, "fe80::1%nobody0", "0", &server), -ENODEV);
    assert_int_equal(coil_open_connection("fe80::1%nobody0", "1", &r, &w), -ENODEV);
    assert_int_equal(coil_open_connection_with("127.0.0.1", "1", &opts, &r, &w), -ENODEV);
    assert_string_equal(coil_last_error()->message, "network interface nobody0: No such device");
}

/* ---- options ---- */

static int option(coil_sock *sock, int level, int name)
{
    int value = -1;
    socklen_t n = sizeof value;
    must(coil_sock_getsockopt(sock, level, name, &value, &n));
    return value;
}

static coil_sock *bound_to(const char *host, const coil_server_opts *opts, struct bound_list *list)
{
    must(coil__bind_hosts(&host, 1, "0", opts, list));
    assert_int_equal(list->n, 1);
    return list->v[0].sock;
}

COIL_TEST(listener_reuses_its_address_unless_told)
{
    coil_server_opts opts = {.size = sizeof opts};
    struct bound_list list;
    coil_sock *sock = bound_to("127.0.0.1", &opts, &list);
    assert_int_equal(option(sock, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(option(sock, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_int_equal(option(sock, SOL_SOCKET, SO_KEEPALIVE), 0);
    coil__bound_free(&list);
    opts.no_reuse_address = true;
    sock = bound_to("127.0.0.1", &opts, &list);
    assert_int_equal(option(sock, SOL_SOCKET, SO_REUSEADDR), 0);
    coil__bound_free(&list);
}

COIL_TEST(listener_of_ipv6_leaves_ipv4_alone)
{
    coil_server_opts opts = {.size = sizeof opts};
    struct bound_list list;
    const char *host = "::1";
    coil_ret rc = coil__bind_hosts(&host, 1, "0", &opts, &list);
    if (rc == -EADDRNOTAVAIL)
        return; /* a machine without IPv6 */
    must(rc);
    assert_int_equal(option(list.v[0].sock, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    coil__bound_free(&list);
}

static coil_ret tell_keep_alive(coil_reader *reader, coil_writer *writer, void *arg)
{
    *(int *)arg = option(coil_writer_sock(writer), SOL_SOCKET, SO_KEEPALIVE);
    return coil_writer_write(writer, "hello\n", 6);
}

COIL_TEST(server_hands_keep_alive_down)
{
    for (int on = 0; on < 2; on++) {
        coil_server_opts opts = {.size = sizeof opts, .keep_alive = on};
        coil_server *server;
        int seen = -1;
        must(coil_start_server_with(tell_keep_alive, &seen, "127.0.0.1", "0", &opts, &server));
        char port[8];
        snprintf(port, sizeof port, "%u", (unsigned)must(coil_server_port(server)) & 0xffff);
        is_greeted("127.0.0.1", port);
        assert_int_equal(seen, on);
        end_server(server);
    }
}

COIL_TEST(servers_share_a_port_if_both_say_so)
{
    coil_server_opts opts = {.size = sizeof opts, .reuse_port = true};
    coil_server *one, *two, *alone;
    must(coil_start_server_with(greet, NULL, "127.0.0.1", "0", &opts, &one));
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)must(coil_server_port(one)) & 0xffff);
    must(coil_start_server_with(greet, NULL, "127.0.0.1", port, &opts, &two));
    assert_int_equal(coil_start_server(greet, NULL, "127.0.0.1", port, &alone), -EADDRINUSE);
    for (int i = 0; i < 4; i++)
        is_greeted("127.0.0.1", port);
    end_server(one);
    is_greeted("127.0.0.1", port);
    end_server(two);
}

COIL_TEST_MAIN()
