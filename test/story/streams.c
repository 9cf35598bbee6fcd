/* SPDX-License-Identifier: MIT
 *
 * streams.c: what asyncio's tests say of connecting, serving and writing (test_streams.py, StreamTests), told
 * again, and what the sources say of sockets that are ready at once.
 *
 * S052, S108, S109, D07, B02. */
#include "../unit/net/wire.h"

#include <netinet/tcp.h>

static const char *port_of(coil_server *server)
{
    static char text[8];
    snprintf(text, sizeof text, "%u", (unsigned)must(coil_server_port(server)) & 0xffff);
    return text;
}

static coil_ret greet(coil_reader *reader, coil_writer *writer, void *greeting)
{
    coil_ret rc = coil_writer_write(writer, greeting, strlen(greeting));
    return rc < 0 ? rc : coil_writer_drain(writer);
}

static coil_server *greeter(void)
{
    static char greeting[] = "hello\n";
    coil_server *server;
    must(coil_start_server(greet, greeting, "127.0.0.1", "0", &server));
    return server;
}

static void end_server(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

COIL_TEST(test_open_connection)
{
    coil_server *server = greeter();
    coil_reader *r;
    coil_writer *w;
    const char *line;
    must(coil_open_connection("127.0.0.1", port_of(server), &r, &w));
    assert_int_equal(must(coil_reader_readline(r, &line, NULL)), 6);
    assert_string_equal(line, "hello\n");
    must(coil_writer_finish(w));
    end_server(server);
}

COIL_TEST(test_open_connection_error)
{
    coil_sock *listener = wire_listen(1);
    coil_address at;
    char port[8];
    coil_reader *r = NULL;
    coil_writer *w = NULL;
    must(coil_sock_getsockname(listener, &at));
    snprintf(port, sizeof port, "%u", (unsigned)coil_address_port(&at) & 0xffff);
    coil_sock_unref(listener); /* nobody listens there any more */
    assert_int_equal(coil_open_connection("127.0.0.1", port, &r, &w), -ECONNREFUSED);
    assert_non_null(strstr(coil_last_error()->message, "Connect call failed 127.0.0.1:"));
    assert_true(!r && !w);
}

COIL_TEST(open_connection_with_options)
{
    coil_server *server = greeter();
    coil_connect_opts opts = {
        .size = sizeof opts, .limit = 3, .family = AF_INET, .local_host = "127.0.0.1"};
    coil_reader *r;
    coil_writer *w;
    const char *line;
    must(coil_open_connection_with("127.0.0.1", port_of(server), &opts, &r, &w));
    assert_memory_equal(coil_writer_get_extra_info(w, "sockname"), "127.0.0.1:", 10);
    assert_int_equal(coil_reader_readline(r, &line, NULL), COIL_ELIMIT); /* the limit is ours */
    must(coil_writer_finish(w));
    end_server(server);
}

/* S108, D07: the call is tried first, and what is there is returned in the same turn. */
COIL_TEST(data_that_is_there_is_received_without_a_turn)
{
    coil_sock *a, *b;
    char buf[8];
    wire_pair(&a, &b);
    wire_say(a, "abc");
    must(coil_sleep(0.1));
    uint64_t before = coil__running_loop->turns;
    assert_int_equal(coil_sock_recv(b, buf, sizeof buf), 3);
    assert_int_equal(coil_sock_send(b, "xyz", 3), 3);
    assert_int_equal(coil__running_loop->turns, before);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(socket_options_are_the_kernels)
{
    coil_sock *sock;
    int value = 0;
    socklen_t n = sizeof value;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    must(coil_sock_getsockopt(sock, SOL_SOCKET, SO_TYPE, &value, &n));
    assert_int_equal(value, SOCK_STREAM);
    value = 0, n = sizeof value;
    must(coil_sock_getsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &value, &n));
    assert_true(value);
    value = 1;
    must(coil_sock_setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    value = 0, n = sizeof value;
    must(coil_sock_getsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &value, &n));
    assert_int_equal(value, 1);
    coil_sock *same = coil_sock_ref(sock);
    assert_ptr_equal(same, sock);
    coil_sock_unref(same);
    coil_sock_close(sock);
    assert_int_equal(coil_sock_getsockopt(sock, SOL_SOCKET, SO_TYPE, &value, &n), -EBADF);
    coil_sock_unref(sock);
}

/* B02: once the connection is lost, writelines says so as write does, and keeps nothing. */
COIL_TEST(writelines_after_the_connection_was_lost)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    char one[] = "one", two[] = "two";
    struct iovec pieces[] = {{one, 3}, {two, 3}};
    wire_reset(peer);
    must(coil_sleep(0.1));
    char c;
    assert_int_equal(coil_reader_read(r, &c, 1), -ECONNRESET);
    assert_int_equal(coil_writer_writelines(w, pieces, 2), -ECONNRESET);
    assert_int_equal(coil_writer_write(w, "three", 5), -ECONNRESET);
    assert_int_equal(coil_writer_get_write_buffer_size(w), 0);
    assert_true(coil_writer_is_closing(w));
    assert_int_equal(coil_writer_finish(w), -ECONNRESET);
}

/* ---- asyncio's constants ---- */

COIL_TEST(test_readline_limit_of_64_kib_unless_told)
{
    enum { N = 65536 };
    coil_reader *r;
    const char *line;
    size_t n;
    char *text = calloc(1, 2 * N);
    must(coil_reader_new(NULL, 0, &r));
    memset(text, 'x', 2 * N);
    text[N] = '\n'; /* exactly the limit before the end of the line */
    must(coil_reader_feed_data(r, text, N + 1));
    assert_int_equal(must(coil_reader_readline(r, &line, &n)), N + 1);
    text[N] = 'x', text[N + 1] = '\n';
    must(coil_reader_feed_data(r, text, N + 2));
    assert_int_equal(coil_reader_readline(r, &line, &n), COIL_ELIMIT);
    coil_reader_unref(r);
    free(text);
}

static int backlog_asked;

static int watched_listen(int fd, int backlog)
{
    backlog_asked = backlog;
    return coil__sys_real.listen(fd, backlog);
}

COIL_TEST(backlog_of_a_hundred_unless_told)
{
    if (strcmp(coil_loop_backend(NULL), "sim") == 0) {
        print_message("the imaginary kernel's sockets ask no real one to listen\n");
        skip();
    }
    coil__sys.listen = watched_listen;
    coil_server *server = greeter();
    coil__sys.listen = coil__sys_real.listen;
    assert_int_equal(backlog_asked, 100);
    end_server(server);
}

COIL_TEST_MAIN()
