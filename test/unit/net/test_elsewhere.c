/* SPDX-License-Identifier: MIT
 *
 * test_elsewhere.c: sockets and what stands on them, used where they do not belong: in another loop, (debug mode) in
 * another thread, or while a task waits on them. Whoever does is told, and has changed nothing. */
#include "wire.h"

#include "elsewhere.h"

#include <coil/datagram.h>
#include <coil/transport.h>

#define DEBUG(name) COIL_TEST_WITH(name, .debug = true, .virtual_time = true)

static const coil_protocol mute = {.size = sizeof mute};
static const coil_datagram_protocol deaf = {.size = sizeof deaf};

static coil_ret make_mute(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &mute;
    *out_arg = arg;
    return 0;
}

static coil_reader *reader;
static coil_sock *sock, *other_end;
static coil_transport *transport;
static coil_datagram_transport *endpoint;
static coil_server *server;

static int feed_data(void)
{
    return coil_reader_feed_data(reader, "x", 1);
}

static int feed_eof(void)
{
    return coil_reader_feed_eof(reader);
}

static int set_exception(void)
{
    return coil_reader_set_exception(reader, -EIO);
}

DEBUG(reader_is_fed_in_the_thread_of_its_loop)
{
    must(coil_reader_new(NULL, 0, &reader));
    assert_int_equal(elsewhere(feed_data), COIL_EWRONGTHREAD);
    assert_int_equal(elsewhere(feed_eof), COIL_EWRONGTHREAD);
    assert_int_equal(elsewhere(set_exception), COIL_EWRONGTHREAD);
    assert_int_equal(coil_reader_buffered(reader), 0);
    assert_int_equal(feed_data(), 0);
    char byte;
    assert_int_equal(coil_reader_read(reader, &byte, 1), 1);
    coil_reader_unref(reader);
}

static int open_transport(void)
{
    return coil_transport_open(sock, &mute, NULL, NULL);
}

static int write_to_transport(void)
{
    return coil_transport_write(transport, "x", 1);
}

DEBUG(transport_is_opened_and_written_to_in_the_thread_of_its_loop)
{
    char byte;
    must(wire_try_pair(&sock, &other_end));
    assert_int_equal(elsewhere(open_transport), COIL_EWRONGTHREAD);
    assert_int_equal(coil_transport_open(sock, &mute, NULL, &transport), 0);
    assert_int_equal(elsewhere(write_to_transport), COIL_EWRONGTHREAD);
    assert_int_equal(write_to_transport(), 0);
    assert_int_equal(must(coil_sock_recv(other_end, &byte, 1)), 1);
    coil_transport_abort(transport);
    coil_transport_unref(transport);
    coil_sock_unref(other_end);
    assert_int_equal(coil_sleep(0), 0);
}

static int open_endpoint(void)
{
    return coil_datagram_transport_open(sock, &deaf, NULL, NULL);
}

static int send_datagram(void)
{
    coil_address to;
    int err = coil_address_parse("127.0.0.1", "9", &to);
    return err < 0 ? err : coil_datagram_transport_sendto(endpoint, "x", 1, &to);
}

DEBUG(endpoint_is_opened_and_sends_in_the_thread_of_its_loop)
{
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
    assert_int_equal(elsewhere(open_endpoint), COIL_EWRONGTHREAD);
    assert_int_equal(coil_datagram_transport_open(sock, &deaf, NULL, &endpoint), 0);
    assert_int_equal(elsewhere(send_datagram), COIL_EWRONGTHREAD);
    assert_int_equal(send_datagram(), 0);
    coil_datagram_transport_abort(endpoint);
    coil_datagram_transport_unref(endpoint);
    assert_int_equal(coil_sleep(0), 0);
}

static int start_serving(void)
{
    return coil_server_start_serving(server);
}

static int serve_sock(void)
{
    return coil_loop_create_server_sock(NULL, make_mute, NULL, sock, NULL, &server);
}

DEBUG(server_begins_in_the_thread_of_its_loop)
{
    sock = wire_listen(1);
    assert_int_equal(elsewhere(serve_sock), COIL_EWRONGTHREAD);
    assert_int_equal(serve_sock(), 0);
    assert_int_equal(elsewhere(start_serving), COIL_EWRONGTHREAD);
    assert_int_equal(start_serving(), 0);
    must(coil_server_finish(server));
}

/* ---- another loop ---- */

static coil_loop *new_loop(void)
{
    coil_run_opts opts = {.size = sizeof opts};
    return coil_new_event_loop(&opts);
}

/* A real socket: a descriptor of one imaginary kernel means nothing in another. */
static coil_sock *sock_of(coil_loop *loop, int type)
{
    coil_sock *s;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    must(coil_sock_adopt(loop, fd, &s));
    return s;
}

COIL_TEST(what_is_made_on_a_socket_belongs_to_its_loop)
{
    coil_loop *other = new_loop();
    coil_sock *s = sock_of(other, SOCK_STREAM), *d = sock_of(other, SOCK_DGRAM);
    coil_datagram_opts opts = {.size = sizeof opts, .sock = coil_sock_ref(d)};
    assert_int_equal(coil_loop_create_datagram_endpoint(NULL, &deaf, NULL, &opts, &endpoint),
                     COIL_EWRONGLOOP);
    assert_int_equal(
        coil_loop_create_connection_sock(NULL, make_mute, NULL, coil_sock_ref(s), NULL, NULL),
        COIL_EWRONGLOOP);
    coil_sock_unref(s);
    coil_sock_unref(d);
    coil_loop_free(other);
}

COIL_TEST(servers_are_made_in_the_loop_that_runs)
{
    coil_loop *other = new_loop();
    assert_int_equal(
        coil_loop_create_unix_server(other, make_mute, NULL, "/nowhere/at/all", NULL, &server),
        COIL_EWRONGLOOP);
    assert_int_equal(
        coil_loop_create_server(other, make_mute, NULL, "127.0.0.1", "0", NULL, &server),
        COIL_EWRONGLOOP);
    coil_loop_free(other);
}

/* ---- a task that waits on it ---- */

static coil_ret receive_one(void *arg)
{
    char byte;
    return coil_sock_recv(arg, &byte, 1);
}

static char much[1 << 20];

static coil_ret send_on(void *arg)
{
    coil_ret rc;
    while ((rc = coil_sock_send(arg, much, sizeof much)) > 0)
        ;
    return rc;
}

static coil_ret send_all(void *arg)
{
    coil_ret rc;
    while ((rc = coil_sock_sendall(arg, much, sizeof much, NULL)) == 0)
        ;
    return rc;
}

static coil_ret accept_one(void *arg)
{
    coil_sock *client;
    coil_ret rc = coil_sock_accept(arg, &client, NULL);
    if (rc == 0)
        coil_sock_unref(client);
    return rc;
}

/* The task waits in fn on this socket: the call is refused, and the task does not notice. */
static void is_in_use(coil_ret (*fn)(void *arg), coil_sock *used, int (*call)(void))
{
    coil_task *t = coil_create_task(fn, used);
    must(coil_sleep(1));
    sock = used;
    assert_int_equal(call(), COIL_ERUNNING);
    must(coil_sleep(1));
    assert_false(coil_future_done(t));
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
}

COIL_TEST(transport_does_not_take_a_socket_that_a_task_uses)
{
    coil_ret (*const ways[])(void *) = {receive_one, send_on, send_all};
    for (int i = 0; i < 3; i++) {
        coil_sock *ours;
        wire_pair(&ours, &other_end);
        is_in_use(ways[i], ours, open_transport);
        coil_sock_unref(ours);
        coil_sock_unref(other_end);
    }
}

COIL_TEST(endpoint_does_not_take_a_socket_that_a_task_uses)
{
    coil_sock *s;
    coil_address any;
    must(coil_address_parse("127.0.0.1", "0", &any));
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &s));
    must(coil_sock_bind(s, &any));
    is_in_use(receive_one, s, open_endpoint);
    coil_sock_unref(s);
}

COIL_TEST(server_does_not_take_a_socket_that_a_task_uses)
{
    coil_sock *s = wire_listen(1);
    is_in_use(accept_one, s, serve_sock);
    coil_sock_unref(s);
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
    assert_int_equal(serve_sock(), -EINVAL);
    coil_sock_unref(sock);
}

COIL_TEST_MAIN()
