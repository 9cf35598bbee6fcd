/* SPDX-License-Identifier: MIT
 *
 * bad_input_net.c: what addresses, names, sockets, readers, writers and servers refuse, with the error that the
 * headers name; what they do not take stays the caller's, and the connection goes on. */
#include "../unit/net/wire.h"
#include "refuse.h"

#include <fcntl.h>
#include <netdb.h>
#include <sys/un.h>
#include <unistd.h>

static const char *const untouched = "untouched";

/* ---- addresses ---- */

COIL_TEST(what_is_no_address_is_refused_and_leaves_the_old_one)
{
    static const struct {
        const char *host, *port;
    } wrong[] = {
        {NULL, "1"},
        {"", "1"},
        {"localhost", "1"},
        {"127.0.0.1 ", "1"},
        {" 127.0.0.1", "1"},
        {"127.0.0", "1"},
        {"127.0.0.256", "1"},
        {"127.0.0.1.1", "1"},
        {"::1::", "1"},
        {"[::1]", "1"},
        {"::1%", "1"},
        {"::1%4294967296", "1"},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999", "1"},
        {"1111:2222:3333:4444:5555:6666:7777:8888:and so on, far beyond what any address needs",
         "1"},
        {"127.0.0.1", "65536"},
        {"127.0.0.1", "99999999999999999999"},
        {"127.0.0.1", "-1"},
        {"127.0.0.1", "+1"},
        {"127.0.0.1", " 1"},
        {"127.0.0.1", "1 "},
        {"127.0.0.1", "0x50"},
        {"127.0.0.1", "http"},
    };
    coil_address address;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memset(&address, 0x5a, sizeof address);
        coil_address before = address;
        REFUSED(-EINVAL, coil_address_parse(wrong[i].host, wrong[i].port, &address));
        assert_memory_equal(&address, &before, sizeof address);
    }
}

COIL_TEST(an_address_as_text_is_cut_at_its_room_and_tells_its_length)
{
    coil_address address;
    char text[COIL_ADDRESS_TEXT_MAX] = "";
    assert_int_equal(coil_address_parse("127.0.0.1", "80", &address), 0);
    assert_int_equal(coil_address_format(&address, NULL, 0), 12);
    assert_int_equal(coil_address_format(&address, text, 5), 12);
    assert_string_equal(text, "127.");

    /* a path that fills its place has no end of its own, and a length may lie */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memset(un.sun_path, 'p', sizeof un.sun_path);
    memcpy(&address.storage, &un, sizeof un);
    address.len = sizeof un;
    assert_int_equal(coil_address_format(&address, text, sizeof text), sizeof un.sun_path);
    address.len = 4711;
    assert_int_equal(coil_address_format(&address, text, sizeof text), sizeof un.sun_path);
    address.len = 0;
    assert_int_equal(coil_address_format(&address, text, sizeof text), 4);
    REFUSED(-EAFNOSUPPORT, coil_address_port(&address));
}

static coil_ret nobody(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader, (void)writer, (void)arg;
    return 0;
}

/* ---- names ---- */

COIL_TEST(names_that_are_too_long_are_refused_and_never_cut)
{
    char host[300], port[200];
    coil_addrinfo *list = (coil_addrinfo *)(uintptr_t)untouched;
    memset(host, 'a', sizeof host);
    for (size_t i = 50; i < sizeof host; i += 50)
        host[i] = '.';
    host[256] = 0;
    REFUSED(-ENAMETOOLONG, coil_getaddrinfo(host, "80", NULL, &list));
    memset(port, 'p', sizeof port);
    port[sizeof port - 1] = 0;
    REFUSED(-ENAMETOOLONG, coil_getaddrinfo("127.0.0.1", port, NULL, &list));

    /* a label of 64 bytes is too much for any name server, and nobody makes it 63 */
    memset(host, 'a', 64);
    memcpy(host + 64, ".test", 6);
    REFUSED(COIL_EGAI, coil_getaddrinfo(host, "80", NULL, &list));

    coil_reader *reader;
    coil_writer *writer;
    coil_server *server;
    memset(host, '1', sizeof host);
    host[256] = 0;
    REFUSED(-ENAMETOOLONG, coil_open_connection(host, "80", &reader, &writer));
    REFUSED(-ENAMETOOLONG, coil_start_server(nobody, NULL, host, "80", &server));
    assert_ptr_equal(list, untouched);
}

COIL_TEST(questions_that_make_no_sense_are_refused)
{
    coil_addrinfo *list = (coil_addrinfo *)(uintptr_t)untouched;
    coil_getaddrinfo_opts opts = {.size = sizeof opts, .family = 4711};
    REFUSED(-EINVAL, coil_getaddrinfo("127.0.0.1", "65536", NULL, &list));
    REFUSED(COIL_EGAI, coil_getaddrinfo("127.0.0.1", "no such service", NULL, &list));
    REFUSED(COIL_EGAI, coil_getaddrinfo("127.0.0.1", "1", &opts, &list));
    opts.family = AF_INET6;
    REFUSED(COIL_EGAI, coil_getaddrinfo("127.0.0.1", "1", &opts, &list));
    opts = (coil_getaddrinfo_opts){.size = sizeof opts, .flags = AI_NUMERICHOST};
    REFUSED(COIL_EGAI, coil_getaddrinfo("no.address", "1", &opts, &list));
    REFUSED(COIL_EGAI, coil_getaddrinfo("two words", "1", &opts, &list));
    assert_ptr_equal(list, untouched);

    char host[64] = "host", port[64] = "port";
    const int numeric = NI_NUMERICHOST | NI_NUMERICSERV;
    coil_address address;
    assert_int_equal(coil_address_parse("127.0.0.1", "80", &address), 0);
    REFUSED(-ENOSPC, coil_getnameinfo(&address, numeric, host, 9, port, sizeof port));
    REFUSED(-ENOSPC, coil_getnameinfo(&address, numeric, host, sizeof host, port, 2));
    address.storage.ss_family = 4711;
    REFUSED(COIL_EGAI, coil_getnameinfo(&address, numeric, host, sizeof host, port, sizeof port));
    assert_string_equal(host, "host");
    assert_string_equal(port, "port");
}

/* ---- sockets ---- */

COIL_TEST(a_socket_of_no_kind_cannot_be_made)
{
    coil_sock *sock = (coil_sock *)(uintptr_t)untouched;
    REFUSED(-EAFNOSUPPORT, coil_sock_new(4711, SOCK_STREAM, 0, &sock));
    assert_true(coil_sock_new(AF_INET, 13, 0, &sock) < 0); /* which error, kernels disagree */
    assert_ptr_equal(sock, untouched);
}

COIL_TEST(what_cannot_be_adopted_stays_the_callers)
{
    coil_sock *sock = (coil_sock *)(uintptr_t)untouched;
    REFUSED(-EBADF, coil_sock_adopt(NULL, -1, &sock));
    REFUSED(-EBADF, coil_sock_adopt(NULL, 1 << 20, &sock));
    if (!wire_is_imaginary()) {
        int file = open("/dev/null", O_RDWR | O_CLOEXEC), pair[2];
        REFUSED(-ENOTSOCK, coil_sock_adopt(NULL, file, &sock));
        assert_int_equal(close(file), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                         0);
        assert_int_equal(coil_loop_add_reader(NULL, pair[0], no_callback, NULL), 0);
        REFUSED(-EBUSY, coil_sock_adopt(NULL, pair[0], &sock));
        assert_int_equal(coil_loop_remove_reader(NULL, pair[0]), 1);
        assert_int_equal(close(pair[0]), 0);
        assert_int_equal(close(pair[1]), 0);
    }
    assert_ptr_equal(sock, untouched);
}

COIL_TEST_PLAIN(without_a_loop_no_socket_can_be_made)
{
    coil_sock *sock;
    coil_reader *reader;
    REFUSED(COIL_ENOLOOP, coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    REFUSED(COIL_ENOLOOP, coil_sock_adopt(NULL, 0, &sock));
    REFUSED(COIL_ENOLOOP, coil_reader_new(NULL, 0, &reader));
    coil_loop *loop = new_virtual_loop(false);
    assert_int_equal(coil_loop_close(loop), 0);
    REFUSED(COIL_ECLOSED, coil_sock_adopt(loop, 0, &sock));
    REFUSED(COIL_ECLOSED, coil_reader_new(loop, 0, &reader));
    coil_loop_free(loop);
}

COIL_TEST(what_a_socket_is_not_made_for_is_the_kernels_error)
{
    coil_sock *sock, *taken, *a, *b;
    coil_address at;
    char byte;
    int value = 1;
    socklen_t n = sizeof value;
    wire_pair(&a, &b);
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    REFUSED(-ENOTCONN, coil_sock_getpeername(sock, &at));
    REFUSED(-ENOTCONN, coil_sock_recv(sock, &byte, 1));
    REFUSED(-ENOTCONN, coil_sock_shutdown(sock, SHUT_RDWR));
    REFUSED(-EINVAL, coil_sock_accept(sock, &taken, NULL));
    REFUSED(-EINVAL, coil_sock_shutdown(a, 4711));
    REFUSED(-ENOPROTOOPT, coil_sock_setsockopt(sock, SOL_SOCKET, SO_TYPE, &value, n));
    if (!wire_is_imaginary()) /* which remembers whatever it does not know */
        REFUSED(-ENOPROTOOPT, coil_sock_getsockopt(sock, SOL_SOCKET, 4711, &value, &n));
    must(coil_address_parse("127.0.0.1", "0", &at));
    for (socklen_t wrong = 0; wrong < 3; wrong++) {
        coil_address cut = at;
        cut.len = wrong == 2 ? 4711 : wrong;
        REFUSED(-EINVAL, coil_sock_bind(sock, &cut));
        REFUSED(-EINVAL, coil_sock_connect(sock, &cut));
    }
    must(coil_sock_bind(sock, &at));
    REFUSED(-EINVAL, coil_sock_bind(sock, &at));
    must(coil_sock_getsockname(sock, &at));
    coil_sock *second;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &second));
    REFUSED(-EADDRINUSE, coil_sock_bind(second, &at));
    coil_sock_unref(second);

    assert_int_equal(coil_sock_recv(a, NULL, 0), 0);
    assert_int_equal(coil_sock_send(a, NULL, 0), 0);
    assert_int_equal(coil_sock_sendall(a, NULL, 0, NULL), 0);
    wire_say(a, "it goes on");
    wire_expect(b, "it goes on");
    coil_sock_unref(sock);
    coil_sock_unref(a);
    coil_sock_unref(b);
}

COIL_TEST(a_closed_socket_says_so_to_every_call)
{
    coil_sock *a, *b, *taken;
    coil_address at;
    coil_reader *reader;
    coil_writer *writer;
    char byte;
    int value = 0;
    size_t sent = 7;
    socklen_t n = sizeof value;
    wire_pair(&a, &b);
    must(coil_sock_getsockname(b, &at));
    coil_sock_close(a);
    coil_sock_close(a);
    assert_true(coil_sock_is_closed(a));
    assert_int_equal(coil_sock_fileno(a), -1);
    REFUSED(-EBADF, coil_sock_getsockname(a, &at));
    REFUSED(-EBADF, coil_sock_getpeername(a, &at));
    REFUSED(-EBADF, coil_sock_setsockopt(a, SOL_SOCKET, SO_KEEPALIVE, &value, n));
    REFUSED(-EBADF, coil_sock_getsockopt(a, SOL_SOCKET, SO_KEEPALIVE, &value, &n));
    REFUSED(-EBADF, coil_sock_bind(a, &at));
    REFUSED(-EBADF, coil_sock_listen(a, 1));
    REFUSED(-EBADF, coil_sock_shutdown(a, SHUT_RDWR));
    REFUSED(-EBADF, coil_sock_recv(a, &byte, 1));
    REFUSED(-EBADF, coil_sock_recv(a, &byte, 0));
    REFUSED(-EBADF, coil_sock_send(a, "x", 1));
    REFUSED(-EBADF, coil_sock_sendall(a, "x", 1, &sent));
    assert_int_equal(sent, 0);
    REFUSED(-EBADF, coil_sock_accept(a, &taken, NULL));
    REFUSED(-EBADF, coil_sock_connect(a, &at));
    REFUSED(-EBADF, coil_open_connection_sock(a, 0, &reader, &writer));
    coil_sock_unref(a);
    wire_expect_end(b);
    coil_sock_unref(b);
}

static coil_ret receive_one(void *sock)
{
    char byte;
    return coil_sock_recv(sock, &byte, 1);
}

COIL_TEST(two_cannot_wait_for_the_same_direction)
{
    coil_sock *a, *b, *taken;
    coil_reader *reader;
    coil_writer *writer;
    char byte;
    wire_pair(&a, &b);
    coil_task *first = coil_create_task(receive_one, a);
    must(coil_sleep(0));
    REFUSED(COIL_ERUNNING, coil_sock_recv(a, &byte, 1));
    REFUSED(COIL_ERUNNING, coil_sock_accept(a, &taken, NULL));
    REFUSED(COIL_ERUNNING, coil_open_connection_sock(a, 0, &reader, &writer));
    wire_say(a, "the other direction is free");
    wire_expect(b, "the other direction is free");
    wire_say(b, "x");
    assert_int_equal(coil_join(first), 1);

    must(coil_open_connection_sock(a, 0, &reader, &writer));
    REFUSED(COIL_ERUNNING, coil_sock_recv(a, &byte, 1)); /* the stream's now */
    REFUSED(COIL_ERUNNING, coil_sock_send(a, "x", 1));
    coil_sock_unref(b);
    must(coil_writer_finish(writer));
}

/* ---- readers ---- */

static coil_ret read_one(void *reader)
{
    char byte;
    return coil_reader_read(reader, &byte, 1);
}

COIL_TEST(readers_refuse_what_cannot_be_looked_for)
{
    coil_reader *reader;
    coil_writer *writer;
    coil_sock *peer = wire_stream(0, &reader, &writer);
    const char *view = untouched;
    char bytes[8];
    size_t n = 7;
    struct iovec some[2] = {{(void *)(uintptr_t) "x", 1}, {(void *)(uintptr_t) "", 0}};
    wire_say(peer, "all this stays\n");
    REFUSED(-EINVAL, coil_reader_readuntil(reader, "", 0, &view, &n));
    REFUSED(-EINVAL, coil_reader_readuntil_any(reader, some, 2, &view, &n));
    REFUSED(-EINVAL, coil_reader_readuntil_any(reader, some, 0, &view, &n));
    REFUSED(-EINVAL, coil_reader_readuntil_any(reader, NULL, 0, &view, &n));
    REFUSED(-EINVAL, coil_reader_readexactly(reader, bytes, SIZE_MAX, NULL));
    REFUSED(-EINVAL, coil_reader_set_exception(reader, 0));
    REFUSED(-EINVAL, coil_reader_set_exception(reader, 5));
    REFUSED(COIL_EINVALIDSTATE, coil_reader_feed_data(reader, "x", 1));
    REFUSED(COIL_EINVALIDSTATE, coil_reader_feed_eof(reader));
    assert_ptr_equal(view, untouched);
    assert_int_equal(n, 7);
    assert_int_equal(coil_reader_read(reader, NULL, 0), 0);
    assert_int_equal(coil_reader_readexactly(reader, NULL, 0, &n), 0);
    assert_int_equal(n, 0);
    assert_null(coil_reader_exception(reader));

    assert_int_equal(coil_reader_readline(reader, &view, NULL), 15);
    assert_string_equal(view, "all this stays\n");
    coil_task *first = coil_create_task(read_one, reader);
    must(coil_sleep(0));
    REFUSED(COIL_ERUNNING, coil_reader_read(reader, bytes, 1));
    REFUSED(COIL_ERUNNING, coil_reader_read_all(reader, 0, &view, &n));
    REFUSED(COIL_ERUNNING, coil_reader_readexactly(reader, bytes, 1, NULL));
    REFUSED(COIL_ERUNNING, coil_reader_readline(reader, &view, &n));
    REFUSED(COIL_ERUNNING, coil_reader_readuntil(reader, "\n", 1, &view, &n));
    wire_say(peer, "x");
    assert_int_equal(coil_join(first), 1);
    coil_sock_unref(peer);
    must(coil_writer_finish(writer));
}

COIL_TEST(a_reader_fed_by_hand_refuses_what_comes_after_the_end)
{
    coil_reader *reader;
    must(coil_reader_new(NULL, 0, &reader));
    must(coil_reader_feed_data(reader, "ab", 2));
    must(coil_reader_feed_data(reader, NULL, 0));
    must(coil_reader_feed_eof(reader));
    must(coil_reader_feed_eof(reader));
    REFUSED(COIL_EINVALIDSTATE, coil_reader_feed_data(reader, "c", 1));
    const char *all;
    assert_int_equal(coil_reader_read_all(reader, 0, &all, NULL), 2);
    assert_string_equal(all, "ab");
    must(coil_reader_set_exception(reader, -EIO));
    char byte;
    REFUSED(-EIO, coil_reader_read(reader, &byte, 1));
    coil_reader_unref(reader);

    must(coil_reader_new(NULL, 0, &reader));
    REFUSED(-ENOMEM, coil_reader_feed_data(reader, "c", SIZE_MAX));
    REFUSED(-ENOMEM, coil_reader_feed_data(reader, "c", SIZE_MAX / 2));
    must(coil_reader_feed_data(reader, "c", 1));
    assert_int_equal(coil_reader_buffered(reader), 1);
    coil_reader_unref(reader);
}

/* ---- writers ---- */

static void never(void *cookie)
{
    (void)cookie;
    fail();
}

COIL_TEST(writers_refuse_what_no_memory_holds_and_send_nothing_of_it)
{
    coil_reader *reader;
    coil_writer *writer;
    coil_sock *peer = wire_stream(0, &reader, &writer);
    struct iovec pieces[2] = {{(void *)(uintptr_t) "x", 1}, {(void *)(uintptr_t) "y", SIZE_MAX}};
    REFUSED(-ENOMEM, coil_writer_write(writer, "x", SIZE_MAX));
    REFUSED(-ENOMEM, coil_writer_write(writer, "x", SIZE_MAX / 2));
    REFUSED(-EINVAL, coil_writer_writelines(writer, pieces, 2));
    pieces[1].iov_len = SIZE_MAX / 2;
    REFUSED(-EINVAL, coil_writer_writelines(writer, pieces, 2));
    REFUSED(-EINVAL, coil_writer_write_owned(writer, "x", 1, NULL, NULL));
    must(coil_writer_write(writer, NULL, 0));
    must(coil_writer_writelines(writer, NULL, 0));

    size_t high, low;
    REFUSED(-EINVAL, coil_writer_set_write_buffer_limits(writer, 1, 2));
    REFUSED(-EINVAL, coil_writer_set_write_buffer_limits(writer, -5, COIL_DEFAULT));
    REFUSED(-EINVAL, coil_writer_set_write_buffer_limits(writer, COIL_DEFAULT, -5));
    REFUSED(-EINVAL, coil_writer_set_write_buffer_limits(writer, COIL_DEFAULT, SSIZE_MAX));
    coil_writer_get_write_buffer_limits(writer, &high, &low);
    assert_int_equal(high, 65536);
    assert_int_equal(low, 16384);
    assert_null(coil_writer_get_extra_info(writer, "no such thing"));

    must(coil_writer_write(writer, "it goes on", 10));
    wire_expect(peer, "it goes on");
    must(coil_writer_write_eof(writer));
    must(coil_writer_write_eof(writer));
    REFUSED(COIL_EINVALIDSTATE, coil_writer_write(writer, "x", 1));
    REFUSED(COIL_EINVALIDSTATE, coil_writer_writelines(writer, pieces, 1));
    REFUSED(COIL_EINVALIDSTATE, coil_writer_write_owned(writer, "x", 1, never, NULL));
    wire_expect_end(peer);
    coil_sock_unref(peer);
    must(coil_writer_finish(writer));
}

COIL_TEST(a_closed_writer_says_that_the_connection_is_lost)
{
    coil_reader *reader;
    coil_writer *writer;
    coil_sock *peer = wire_stream(0, &reader, &writer);
    struct iovec piece = {(void *)(uintptr_t) "x", 1};
    char byte;
    coil_writer_close(writer);
    coil_writer_close(writer);
    REFUSED(-ECONNRESET, coil_writer_write(writer, "x", 1));
    REFUSED(-ECONNRESET, coil_writer_writelines(writer, &piece, 1));
    REFUSED(-ECONNRESET, coil_writer_write_owned(writer, "x", 1, never, NULL));
    REFUSED(-ECONNRESET, coil_writer_write_eof(writer));
    must(coil_writer_wait_closed(writer));
    REFUSED(-ECONNRESET, coil_writer_drain(writer));
    coil_writer_abort(writer);
    must(coil_writer_wait_closed(writer));
    assert_int_equal(coil_reader_read(reader, &byte, 1), 0);
    assert_true(coil_sock_is_closed(coil_writer_sock(writer)));
    wire_expect_end(peer);
    coil_sock_unref(peer);
    must(coil_writer_finish(writer));
}

/* ---- where there is no task, and in another loop ---- */

static struct {
    coil_sock *listener, *a, *b;
    coil_reader *reader;
    coil_writer *writer;
    coil_server *server;
    coil_address at;
} net;

static coil_ret make_net(void *arg)
{
    (void)arg;
    net.listener = wire_listen(1);
    wire_pair(&net.a, &net.b);
    coil_sock *ours = coil_sock_ref(net.a);
    must(coil_open_connection_sock(ours, 0, &net.reader, &net.writer));
    must(coil_start_server(nobody, NULL, "127.0.0.1", "0", &net.server));
    must(coil_sock_getsockname(net.listener, &net.at));
    return 0;
}

static coil_ret drop_net(void *arg)
{
    (void)arg;
    wire_say(net.b, "nothing was taken");
    char text[32] = "";
    assert_int_equal(coil_reader_readexactly(net.reader, text, 17, NULL), 17);
    assert_string_equal(text, "nothing was taken");
    assert_true(coil_server_is_serving(net.server));
    must(coil_writer_finish(net.writer));
    coil_sock_unref(net.a);
    coil_sock_unref(net.b);
    coil_sock_unref(net.listener);
    coil_server_free(net.server);
    return 0;
}

static void use_net(coil_ret expected)
{
    coil_sock *taken = (coil_sock *)(uintptr_t)untouched;
    const char *view = untouched;
    char byte;
    size_t n = 7;
    REFUSED(expected, coil_sock_recv(net.b, &byte, 1));
    REFUSED(expected, coil_sock_send(net.b, "x", 1));
    REFUSED(expected, coil_sock_sendall(net.b, "x", 1, &n));
    assert_int_equal(n, 0);
    REFUSED(expected, coil_sock_accept(net.listener, &taken, NULL));
    REFUSED(expected, coil_sock_connect(net.listener, &net.at));
    REFUSED(expected, coil_reader_read(net.reader, &byte, 1));
    REFUSED(expected, coil_reader_read(net.reader, &byte, 0));
    REFUSED(expected, coil_reader_read_all(net.reader, 0, &view, NULL));
    REFUSED(expected, coil_reader_readexactly(net.reader, &byte, 1, NULL));
    REFUSED(expected, coil_reader_readline(net.reader, &view, NULL));
    REFUSED(expected, coil_reader_readuntil(net.reader, "x", 1, &view, NULL));
    REFUSED(expected, coil_writer_drain(net.writer));
    REFUSED(expected, coil_writer_wait_closed(net.writer));
    REFUSED(expected, coil_server_wait_closed(net.server));
    REFUSED(expected, coil_server_serve_forever(net.server));
    assert_ptr_equal(taken, untouched);
    assert_ptr_equal(view, untouched);
    assert_true(coil_server_is_serving(net.server));
    assert_false(coil_writer_is_closing(net.writer));
}

static void use_names(void)
{
    coil_addrinfo *list;
    coil_reader *reader;
    coil_writer *writer;
    coil_server *server;
    char text[64];
    REFUSED(COIL_ENOTASK, coil_getaddrinfo("127.0.0.1", "1", NULL, &list));
    REFUSED(COIL_ENOTASK, coil_getnameinfo(&net.at, 0, text, sizeof text, NULL, 0));
    REFUSED(COIL_ENOTASK, coil_open_connection("127.0.0.1", "1", &reader, &writer));
    REFUSED(COIL_ENOTASK, coil_start_server(nobody, NULL, "127.0.0.1", "0", &server));
}

static void use_net_in_callback(void *arg)
{
    (void)arg;
    use_net(COIL_ENOTASK);
    use_names();
}

COIL_TEST(in_a_callback_nothing_of_the_network_can_be_waited_for)
{
    make_net(NULL);
    must(coil_loop_call_soon(NULL, use_net_in_callback, NULL, NULL));
    must(coil_sleep(0));
    drop_net(NULL);
}

static coil_ret use_net_elsewhere(void *arg)
{
    (void)arg;
    use_net(COIL_EWRONGLOOP);
    return 0;
}

COIL_TEST_PLAIN(another_loops_sockets_cannot_be_waited_for)
{
    coil_loop *first = new_virtual_loop(false), *second = new_virtual_loop(false);
    assert_int_equal(in_loop(first, make_net, NULL), 0);
    use_net(COIL_ENOTASK);
    use_names();
    assert_int_equal(in_loop(second, use_net_elsewhere, NULL), 0);
    assert_int_equal(in_loop(first, drop_net, NULL), 0);
    coil_loop_free(first);
    coil_loop_free(second);
}

static coil_ret meddle(void *arg)
{
    coil_address at;
    coil_sock *sock;
    coil_reader *reader;
    int value = 1;
    socklen_t n = sizeof value;
    REFUSED(COIL_EWRONGTHREAD, coil_sock_adopt(arg, 0, &sock));
    REFUSED(COIL_EWRONGTHREAD, coil_reader_new(arg, 0, &reader));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_getsockname(net.b, &at));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_getpeername(net.b, &at));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_setsockopt(net.b, SOL_SOCKET, SO_KEEPALIVE, &value, n));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_getsockopt(net.b, SOL_SOCKET, SO_KEEPALIVE, &value, &n));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_bind(net.b, &net.at));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_listen(net.b, 1));
    REFUSED(COIL_EWRONGTHREAD, coil_sock_shutdown(net.b, SHUT_RDWR));
    REFUSED(COIL_EWRONGTHREAD, coil_writer_write(net.writer, "x", 1));
    REFUSED(COIL_EWRONGTHREAD, coil_writer_write_owned(net.writer, "x", 1, never, NULL));
    REFUSED(COIL_EWRONGTHREAD, coil_writer_write_eof(net.writer));
    REFUSED(COIL_EWRONGTHREAD, coil_reader_set_exception(net.reader, -EIO));
    return (coil_ret)11;
}

COIL_TEST_WITH(debug_mode_refuses_sockets_to_a_foreign_thread, .debug = true, .virtual_time = true)
{
    make_net(NULL);
    assert_int_equal(coil_to_thread(meddle, coil_get_running_loop()), 11);
    drop_net(NULL);
}

/* ---- servers ---- */

static coil_ret serve(void *server)
{
    return coil_server_serve_forever(server);
}

COIL_TEST(a_server_is_started_where_it_can_be_and_once)
{
    coil_server *server, *second = (coil_server *)(uintptr_t)untouched;
    char port[8];
    coil_address at;
    REFUSED(-EINVAL, coil_start_server(NULL, NULL, "127.0.0.1", "0", &second));
    REFUSED(-EINVAL, coil_start_server(nobody, NULL, "127.0.0.1", "65536", &second));
    must(coil_start_server(nobody, NULL, "127.0.0.1", "0", &server));
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    REFUSED(-EADDRINUSE, coil_start_server(nobody, NULL, "127.0.0.1", port, &second));
    assert_non_null(
        strstr(coil_last_error()->message, "error while attempting to bind on address"));
    if (!wire_is_imaginary())
        REFUSED(-EADDRNOTAVAIL, coil_start_server(nobody, NULL, "192.0.2.1", "0", &second));
    assert_ptr_equal(second, untouched);
    REFUSED(-EINVAL, coil_server_sockname(server, 1, &at));
    REFUSED(-EINVAL, coil_server_sockname(server, SIZE_MAX, &at));

    coil_task *forever = coil_create_task(serve, server);
    must(coil_sleep(0));
    REFUSED(COIL_ERUNNING, coil_server_serve_forever(server));
    must(coil_server_start_serving(server));
    coil_server_close(server);
    coil_server_close(server);
    assert_int_equal(coil_join(forever), -ECANCELED);
    REFUSED(COIL_EINVALIDSTATE, coil_server_start_serving(server));
    REFUSED(COIL_EINVALIDSTATE, coil_server_serve_forever(server));
    REFUSED(-EINVAL, coil_server_sockname(server, 0, &at));
    REFUSED(-EINVAL, coil_server_port(server));
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

COIL_TEST_MAIN()
