/* SPDX-License-Identifier: MIT
 *
 * wires.c: sockets under faults: datagram endpoints, transports and protocols, servers on several addresses, eyeballs, unix
 * sockets, files through sockets. */
#include "body.h"

#include <coil/datagram.h>
#include <coil/transport.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

static void write_port(char *port, size_t n, const coil_server *server)
{
    snprintf(port, n, "%u", (unsigned)coil_server_port(server) & 0xffff);
}

/* ---- datagram endpoints ---- */

struct ear {
    coil_event heard;
    int made, lost, n;
    char text[16];
};

static coil_ret ear_made(coil_datagram_transport *t, void *arg)
{
    (void)t;
    ((struct ear *)arg)->made++;
    return 0;
}

static coil_ret ear_hears(coil_datagram_transport *t, const void *data, size_t n,
                          const coil_address *from, void *arg)
{
    struct ear *ear = arg;
    (void)t, (void)from;
    ear->n++;
    snprintf(ear->text, sizeof ear->text, "%.*s", (int)n, (const char *)data);
    coil_event_set(&ear->heard);
    return 0;
}

static void ear_is_lost(coil_datagram_transport *t, coil_ret error, void *arg)
{
    (void)t, (void)error;
    ((struct ear *)arg)->lost++;
}

static const coil_datagram_protocol ear_protocol = {.size = sizeof ear_protocol,
                                                    .connection_made = ear_made,
                                                    .datagram_received = ear_hears,
                                                    .connection_lost = ear_is_lost};

static coil_ret speak_to(coil_datagram_transport *listener, struct ear *ear)
{
    const coil_datagram_opts opts = {.size = sizeof opts, .family = AF_INET};
    coil_datagram_transport *speaker;
    struct ear other = {.heard = COIL_EVENT};
    coil_address at;
    leave_on_error(coil_sock_getsockname(coil_datagram_transport_sock(listener), &at));
    leave_on_error(
        coil_loop_create_datagram_endpoint(NULL, &ear_protocol, &other, &opts, &speaker));
    coil_ret rc = coil_datagram_transport_sendto(speaker, "hello", 5, &at);
    coil_timeout_scope scope;
    if (rc == 0) { /* datagrams may be lost */
        coil_ret entered = coil_timeout_enter(&scope, 1);
        rc = coil_timeout_exit(&scope, entered < 0 ? entered : coil_event_wait(&ear->heard));
        if (rc == 0)
            assert_string_equal(ear->text, "hello");
    }
    coil_datagram_transport_close(speaker);
    coil_datagram_transport_unref(speaker);
    coil_ignore(coil_sleep(0.001));
    return rc;
}

static coil_ret endpoints(void)
{
    const coil_datagram_opts opts = {
        .size = sizeof opts, .local_host = "127.0.0.1", .local_port = "0"};
    static struct ear ear; /* a callback may come after a cancelled wait for the end */
    coil_datagram_transport *t;
    ear = (struct ear){.heard = COIL_EVENT};
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &ear_protocol, &ear, &opts, &t);
    if (rc == 0) {
        rc = speak_to(t, &ear);
        coil_datagram_transport_close(t);
        coil_datagram_transport_unref(t);
        coil_ignore(coil_sleep(0.001));
        coil_ignore(coil_sleep(0.001));
    }
    assert_int_equal(ear.made, ear.lost); /* every one that was made is lost once */
    return rc;
}

COIL_TEST(endpoints_under_faults)
{
    play(endpoints);
}

/* ---- transports ---- */

struct line {
    coil_event over;
    char text[64];
    size_t n;
    int made, lost;
};

static coil_ret line_made(coil_transport *t, void *arg)
{
    struct line *line = arg;
    line->made++;
    return coil_transport_write(t, "around the corner", 17);
}

static coil_ret line_received(coil_transport *t, const void *data, size_t n, void *arg)
{
    struct line *line = arg;
    assert_true(line->n + n <= 17);
    memcpy(line->text + line->n, data, n);
    line->n += n;
    if (line->n == 17)
        coil_transport_close(t);
    return 0;
}

static void line_lost(coil_transport *t, coil_ret error, void *arg)
{
    struct line *line = arg;
    (void)t, (void)error;
    line->lost++;
    coil_event_set(&line->over);
}

static coil_ret echo_received(coil_transport *t, const void *data, size_t n, void *arg)
{
    (void)arg;
    return coil_transport_write(t, data, n);
}

static coil_ret make_line(const coil_protocol **out, void **out_arg, void *arg)
{
    static const coil_protocol protocol = {.size = sizeof protocol,
                                           .connection_made = line_made,
                                           .data_received = line_received,
                                           .connection_lost = line_lost};
    *out = &protocol;
    *out_arg = arg;
    return 0;
}

static coil_ret make_echo(const coil_protocol **out, void **out_arg, void *arg)
{
    static const coil_protocol protocol = {.size = sizeof protocol, .data_received = echo_received};
    (void)out_arg, (void)arg;
    *out = &protocol;
    return 0;
}

static coil_ret until_over(struct line *line, coil_transport *t)
{
    coil_ret rc = coil_event_wait(&line->over);
    if (line->n)
        assert_memory_equal(line->text, "around the corner", line->n);
    if (rc < 0)
        coil_transport_abort(t);
    coil_transport_unref(t);
    return rc < 0 ? rc : line->n == 17 ? 0 : -ECONNRESET;
}

static coil_ret transports(void)
{
    static struct line line; /* a callback may come after a cancelled wait for it */
    coil_server *server;
    coil_transport *t;
    char port[8];
    line = (struct line){.over = COIL_EVENT};
    leave_on_error(coil_loop_create_server(NULL, make_echo, NULL, "127.0.0.1", "0", NULL, &server));
    write_port(port, sizeof port, server);
    coil_ret rc = coil_loop_create_connection(NULL, make_line, &line, "127.0.0.1", port, NULL, &t,
                                              NULL);
    if (rc == 0)
        rc = until_over(&line, t);
    coil_server_abort_clients(server);
    rc = first_error(rc, coil_server_finish(server));
    coil_ignore(coil_sleep(0.001));
    coil_ignore(coil_sleep(0.001));
    assert_int_equal(line.made, line.lost);
    return rc;
}

COIL_TEST(transports_under_faults)
{
    play(transports);
}

/* ---- servers, eyeballs, unix sockets ---- */

static coil_ret greet(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader, (void)arg;
    leave_on_error(coil_writer_write(writer, "welcome\n", 8));
    return coil_writer_drain(writer);
}

/* Reads the greeting to its end, and closes. */
static coil_ret be_greeted(coil_reader *reader, coil_writer *writer)
{
    const char *data;
    size_t n;
    coil_ret rc = coil_reader_read_all(reader, 100, &data, &n);
    if (rc >= 0 && n != 8)
        rc = -ECONNRESET;
    if (rc >= 0)
        assert_memory_equal(data, "welcome\n", 8);
    return first_error(rc, coil_writer_finish(writer));
}

static coil_ret eyeballs(void)
{
    const coil_connect_opts opts = {
        .size = sizeof opts, .happy_eyeballs_delay = 0.01, .interleave = 1};
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8];
    leave_on_error(coil_start_server(greet, NULL, "localhost", "0", &server));
    write_port(port, sizeof port, server);
    coil_ret rc = coil_open_connection_with("localhost", port, &opts, &reader, &writer);
    if (rc == 0)
        rc = be_greeted(reader, writer);
    coil_server_close_clients(server);
    coil_server_abort_clients(server);
    return first_error(rc, coil_server_finish(server));
}

COIL_TEST(eyeballs_under_faults)
{
    play(eyeballs);
}

static coil_ret unix_sockets(void)
{
    char path[64];
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    snprintf(path, sizeof path, "/tmp/coil-fault-%d.sock", (int)getpid());
    leave_on_error(coil_start_unix_server(greet, NULL, path, NULL, &server));
    coil_ret rc = coil_open_unix_connection(path, NULL, &reader, &writer);
    if (rc == 0)
        rc = be_greeted(reader, writer);
    coil_server_abort_clients(server);
    rc = first_error(rc, coil_server_finish(server));
    (void)unlink(path);
    return rc;
}

COIL_TEST(unix_sockets_under_faults)
{
    play(unix_sockets);
}

/* ---- a file through a socket ---- */

static coil_ret swallow(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *data;
    (void)writer;
    return coil_reader_read_all(reader, 100000, &data, arg);
}

static coil_ret send_file(coil_server *server, int fd)
{
    coil_sock *sock;
    coil_address at;
    char port[8];
    int64_t sent = 0;
    write_port(port, sizeof port, server);
    leave_on_error(coil_address_parse("127.0.0.1", port, &at));
    leave_on_error(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    coil_ret rc = coil_sock_connect(sock, &at);
    if (rc == 0)
        rc = coil_sock_sendfile(sock, fd, 0, 0, 0, &sent);
    coil_sock_unref(sock);
    if (rc >= 0)
        assert_int_equal(sent, 20000);
    return rc < 0 ? rc : 0;
}

static coil_ret files_through_sockets(void)
{
    static size_t got; /* a server's task may end after its body */
    char path[] = "/tmp/coil-fault-file-XXXXXX";
    coil_server *server;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)unlink(path);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(write(fd, "twenty bytes of text", 20), 20);
    coil_ret rc = coil_start_server(swallow, &got, "127.0.0.1", "0", &server);
    if (rc == 0) {
        got = 0;
        rc = send_file(server, fd);
        if (rc < 0)
            coil_server_abort_clients(server);
        rc = first_error(rc, coil_server_finish(server));
    }
    close(fd);
    return rc < 0 ? rc : got == 20000 ? 0 : -ECONNRESET;
}

COIL_TEST(files_through_sockets_under_faults)
{
    play(files_through_sockets);
}

COIL_TEST_MAIN()
