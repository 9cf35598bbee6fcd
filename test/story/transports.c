/* SPDX-License-Identifier: MIT
 *
 * transports.c: clients and servers made of protocols: factories, who is told of what, servers that wait for their
 * connections, many at once without a stack, and bytes counted under storms. */
#include "../unit/net/ear.h"

#include "base/random.h"
#include "io/sim/sim.h"

#include <coil/combine.h>

#include <unistd.h>

/* ---- helpers ---- */

static const char *port_of(coil_server *server)
{
    static char text[8];
    snprintf(text, sizeof text, "%u", (unsigned)must(coil_server_port(server)) & 0xffff);
    return text;
}

static coil_server *serve(coil_protocol_factory_fn factory, void *arg)
{
    coil_server *server;
    must(coil_loop_create_server(NULL, factory, arg, "127.0.0.1", "0", NULL, &server));
    return server;
}

static void end(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

static coil_ret echo_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    return coil_transport_write(t, data, n);
}

/* The echo's own flow control, as a protocol has it: who cannot write does not read. */
static void echo_pause(coil_transport *t, void *arg)
{
    coil_transport_pause_reading(t);
}

static void echo_resume(coil_transport *t, void *arg)
{
    coil_transport_resume_reading(t);
}

static void echo_lost(coil_transport *t, coil_ret error, void *arg)
{
    if (arg)
        ++*(int *)arg;
}

static const coil_protocol echo = {.size = sizeof echo,
                                   .data_received = echo_data,
                                   .pause_writing = echo_pause,
                                   .resume_writing = echo_resume,
                                   .connection_lost = echo_lost};

static coil_ret make_echo(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &echo;
    *out_arg = arg;
    return 0;
}

/* ---- connections ---- */

COIL_TEST(create_connection_returns_transport_and_protocol)
{
    struct ear ear = {0};
    void *protocol_arg = NULL;
    coil_transport *t;
    coil_server *server = serve(make_echo, NULL);
    must(coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port_of(server), NULL,
                                     &t, &protocol_arg));
    assert_ptr_equal(protocol_arg, &ear);
    assert_ptr_equal(ear.t, t);
    assert_string_equal(ear.log, "made");
    must(coil_transport_write(t, "hello", 5));
    ear_until(&ear, "made data:hello");
    must(coil_transport_write_eof(t)); /* the echo closes then */
    ear_until(&ear, "made data:hello eof lost:0");
    coil_transport_unref(t);
    end(server);
}

COIL_TEST(create_connection_hands_nothing_out_unless_asked)
{
    struct ear ear = {0};
    coil_server *server = serve(make_echo, NULL);
    must(coil_loop_create_connection(coil_get_running_loop(), ear_factory, &ear, "127.0.0.1",
                                     port_of(server), NULL, NULL, NULL));
    coil_transport_close(ear.t); /* the loop's reference holds it */
    ear_until(&ear, "made lost:0");
    end(server);
}

COIL_TEST(create_connection_takes_a_socket)
{
    struct ear a = {0}, b = {0};
    coil_sock *x, *y, *z;
    coil_transport *t, *u;
    wire_pair(&x, &y);
    must(coil_loop_create_connection_sock(NULL, ear_factory, &a, x, &t, NULL));
    must(coil_loop_connect_accepted_socket(NULL, ear_factory, &b, y, &u, NULL));
    must(coil_transport_write(t, "hello", 5));
    ear_until(&b, "made data:hello");
    coil_transport_close(u);
    ear_until(&a, "made eof lost:0");
    /* Whatever happens, the reference is taken. */
    assert_int_equal(
        coil_loop_create_connection_sock(NULL, ear_factory, &b, coil_sock_ref(y), &t, NULL),
        -EBADF);
    wire_pair(&x, &z);
    assert_int_equal(coil_loop_create_connection_sock(NULL, NULL, &b, x, &t, NULL), -EINVAL);
    wire_expect_end(z);
    coil_sock_unref(z);
    coil_transport_unref(t);
    coil_transport_unref(u);
}

static coil_ret make_nothing(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    return 0;
}

static coil_ret refuse(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    return coil_fail(COIL_EUSER, "no more protocols");
}

COIL_TEST(create_connection_meets_the_factorys_error)
{
    coil_transport *t;
    coil_sock *x, *y;
    wire_pair(&x, &y);
    assert_int_equal(coil_loop_create_connection_sock(NULL, refuse, NULL, x, &t, NULL), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "no more protocols");
    wire_expect_end(y);
    coil_sock_unref(y);
    wire_pair(&x, &y);
    assert_int_equal(coil_loop_create_connection_sock(NULL, make_nothing, NULL, x, &t, NULL),
                     -EINVAL);
    wire_expect_end(y);
    coil_sock_unref(y);
    assert_int_equal(
        coil_loop_create_connection(NULL, ear_factory, NULL, "127.0.0.1", "70000", NULL, &t, NULL),
        -EINVAL);
}

static void fail_with_words(struct ear *ear)
{
    coil_fail(COIL_EUSER, "not today");
}

/* The harness fails a test whose loop reports anything: who is told by the call needs no report. */
COIL_TEST(create_connection_meets_the_error_of_connection_made)
{
    struct ear ear = {.on_made = fail_with_words, .made_says = COIL_EUSER};
    coil_transport *t;
    coil_sock *x, *y;
    wire_pair(&x, &y);
    assert_int_equal(coil_loop_create_connection_sock(NULL, ear_factory, &ear, x, &t, NULL),
                     COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "not today");
    ear_until(&ear, "made lost:COIL_EUSER");
    wire_expect_end(y);
    coil_sock_unref(y);
}

COIL_TEST(connections_are_made_of_stream_sockets_only)
{
    struct ear ear = {0};
    coil_transport *t;
    coil_reader *reader;
    coil_writer *writer;
    coil_sock *sock;
    must(coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock));
    assert_int_equal(coil_transport_open(sock, &ear_protocol, &ear, &t), -EINVAL);
    assert_int_equal(coil_open_connection_sock(sock, 0, &reader, &writer), -EINVAL);
    assert_int_equal(coil_transport_open(sock, NULL, &ear, &t), -EINVAL);
    assert_int_equal(coil_loop_create_connection_sock(NULL, ear_factory, &ear, sock, &t, NULL),
                     -EINVAL); /* it took the socket, all the same */
    assert_string_equal(coil_last_error()->message, "A stream socket was expected");
    assert_string_equal(ear.log, "");
}

static void cancel_more(struct ear *ear)
{
    coil_task_cancel(ear->more, NULL);
}

COIL_TEST(create_connection_cancelled_closes)
{
    struct ear ear = {.on_made = cancel_more, .more = coil_current_task()};
    coil_transport *t;
    coil_sock *x, *y;
    wire_pair(&x, &y);
    assert_int_equal(coil_loop_create_connection_sock(NULL, ear_factory, &ear, x, &t, NULL),
                     -ECANCELED);
    ear_until(&ear, "made lost:0");
    wire_expect_end(y);
    coil_sock_unref(y);
    wire_pair(&x, &y);
    coil_task_cancel(coil_current_task(), NULL);
    ear = (struct ear){0};
    assert_int_equal(coil_loop_create_connection_sock(NULL, ear_factory, &ear, x, &t, NULL),
                     -ECANCELED);
    ear_until(&ear, "made lost:0");
    coil_sock_unref(y);
    while (coil_task_cancelling(coil_current_task()) > 0)
        coil_task_uncancel(coil_current_task());
}

static void try_in_a_callback(void *arg)
{
    coil_server *server;
    coil_transport *t;
    coil_sock *x;
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &x));
    assert_int_equal(coil_loop_create_connection_sock(NULL, make_echo, NULL, x, &t, NULL),
                     COIL_ENOTASK);
    assert_int_equal(coil_loop_create_server(NULL, make_echo, NULL, NULL, "0", NULL, &server),
                     COIL_ENOTASK);
    ++*(int *)arg;
}

COIL_TEST(create_is_for_tasks_of_the_running_loop)
{
    int tried = 0;
    coil_server *server;
    must(coil_loop_call_soon(NULL, try_in_a_callback, &tried, NULL));
    must(coil_sleep(0.01));
    assert_int_equal(tried, 1);
    coil_loop *other = coil_new_event_loop(NULL);
    assert_int_equal(
        coil_loop_create_server(other, make_echo, NULL, "127.0.0.1", "0", NULL, &server),
        COIL_EWRONGLOOP);
    coil_loop_free(other);
}

/* How many bytes come until the end. */
static coil_ret check_zeroes(void *arg)
{
    coil_sock *sock = arg;
    char piece[8192];
    size_t done = 0;
    coil_ret rc;
    while ((rc = coil_sock_recv(sock, piece, sizeof piece)) > 0)
        done += (size_t)rc;
    return rc < 0 ? rc : (coil_ret)done;
}

/* ---- servers ---- */

COIL_TEST(server_of_protocols_closes_and_aborts_its_clients)
{
    int lost = 0;
    coil_server *server = serve(make_echo, &lost);
    struct ear a = {0}, b = {0};
    coil_transport *ta, *tb;
    const char *port = port_of(server);
    must(coil_loop_create_connection(NULL, ear_factory, &a, "127.0.0.1", port, NULL, &ta, NULL));
    must(coil_transport_write(ta, "a", 1));
    ear_until(&a, "made data:a");
    assert_int_equal(coil_server_connections(server), 1);
    coil_server_close_clients(server);
    ear_until(&a, "made data:a eof lost:0");
    while (coil_server_connections(server) > 0)
        must(coil_sleep(0.001));
    assert_int_equal(lost, 1);

    must(coil_loop_create_connection(NULL, ear_factory, &b, "127.0.0.1", port, NULL, &tb, NULL));
    must(coil_transport_write(tb, "b", 1));
    ear_until(&b, "made data:b");
    coil_server_close(server);
    assert_int_equal(coil_wait_for_call((coil_fn)(void *)coil_server_wait_closed, server, 0.05),
                     -ETIMEDOUT);
    coil_server_abort_clients(server);
    must(coil_server_wait_closed(server));
    assert_int_equal(lost, 2); /* connection_lost comes before */
    ear_until_lost(&b);
    coil_server_free(server);
    coil_transport_unref(ta);
    coil_transport_unref(tb);
}

COIL_TEST(unix_sockets_carry_protocols)
{
    char name[40];
    struct ear ear = {0};
    coil_server *server;
    coil_transport *t;
    int lost = 0;
    snprintf(name, sizeof name, "@coil-transports-%d", (int)getpid());
    must(coil_loop_create_unix_server(NULL, make_echo, &lost, name, NULL, &server));
    must(coil_loop_create_unix_connection(NULL, ear_factory, &ear, name, &t, NULL));
    must(coil_transport_write(t, "hello", 5));
    ear_until(&ear, "made data:hello");
    assert_string_equal(coil_transport_get_extra_info(t, "peername"), name);
    coil_transport_close(t);
    must(coil_server_finish(server));
    assert_int_equal(lost, 1);
    ear_until(&ear, "made data:hello lost:0");
    coil_transport_unref(t);
    assert_int_equal(coil_loop_create_unix_connection(NULL, ear_factory, &ear, name, &t, NULL),
                     -ECONNREFUSED);
    assert_int_equal(coil_loop_create_unix_server(NULL, NULL, NULL, name, NULL, &server), -EINVAL);
}

COIL_TEST(server_of_protocols_takes_a_socket)
{
    struct ear ear = {0};
    coil_server *server;
    coil_transport *t;
    coil_sock *sock = wire_listen(5);
    coil_loop *other = coil_new_event_loop(NULL);
    assert_int_equal(coil_loop_create_server_sock(other, make_echo, NULL, sock, NULL, &server),
                     COIL_EWRONGLOOP);
    coil_loop_free(other);
    must(coil_loop_create_server_sock(NULL, make_echo, NULL, sock, NULL, &server));
    must(coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port_of(server), NULL,
                                     &t, NULL));
    must(coil_transport_write(t, "hello", 5));
    ear_until(&ear, "made data:hello");
    coil_transport_close(t);
    must(coil_server_finish(server));
    ear_until(&ear, "made data:hello lost:0");
    coil_transport_unref(t);
}

COIL_TEST(server_goes_on_after_a_factory_failed)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_server *server = serve(refuse, NULL);
    for (int i = 0; i < 2; i++) {
        struct ear ear = {0};
        coil_transport *t;
        must(coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port_of(server),
                                         NULL, &t, NULL));
        ear_until(&ear, "made eof lost:0");
        coil_transport_unref(t);
    }
    assert_int_equal(reports.n, 2);
    assert_int_equal(reports.code, COIL_EUSER);
    assert_string_equal(reports.kind, "client-error");
    assert_string_equal(reports.message, "Error on transport creation for incoming connection");
    assert_int_equal(coil_server_connections(server), 0);
    end(server);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

static coil_ret close_server(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    coil_server_close(*(coil_server **)arg);
    *out_protocol = &echo;
    return 0;
}

COIL_TEST(server_closed_in_its_factory_keeps_that_client)
{
    coil_server *server = NULL;
    struct ear ear = {0};
    coil_transport *t;
    server = serve(close_server, &server);
    must(coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port_of(server), NULL,
                                     &t, NULL));
    must(coil_transport_write(t, "hello", 5));
    ear_until(&ear, "made data:hello");
    assert_int_equal(coil_server_connections(server), 1);
    coil_transport_close(t);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
    coil_transport_unref(t);
}

static coil_ret close_clients_and_fail(const coil_protocol **out_protocol, void **out_arg,
                                       void *arg)
{
    coil_server_close_clients(*(coil_server **)arg);
    return COIL_EUSER;
}

static coil_ret abort_clients_and_fail(const coil_protocol **out_protocol, void **out_arg,
                                       void *arg)
{
    coil_server_abort_clients(*(coil_server **)arg);
    return COIL_EUSER;
}

/* The client that it was asked for is among them, and has no protocol to be told by. */
COIL_TEST(server_factory_may_end_all_clients_and_fail)
{
    static const coil_protocol_factory_fn factories[] = {close_clients_and_fail,
                                                         abort_clients_and_fail};
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    for (int i = 0; i < 2; i++) {
        coil_server *server = NULL;
        struct ear ear = {0};
        coil_transport *t;
        server = serve(factories[i], &server);
        must(coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port_of(server),
                                         NULL, &t, NULL));
        ear_until(&ear, "made eof lost:0");
        assert_int_equal(coil_server_connections(server), 0);
        coil_transport_unref(t);
        end(server);
    }
    assert_int_equal(reports.n, 2);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

/* ---- a table of ends: however a peer goes, what it sent comes first ---- */

enum going { CLOSES, HALF_CLOSES, RESETS };

static void peer_goes(enum going how, bool says, bool paused, bool writing)
{
    enum { MUCH = 1 << 20 };
    struct ear ear = {0};
    coil_transport *t;
    char *data = calloc(1, MUCH);
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &t);
    wire_turns(2);
    if (paused)
        coil_transport_pause_reading(t);
    if (writing) {
        wire_narrow(coil_transport_sock(t));
        must(coil_transport_write(t, data, MUCH)); /* to be met by a reset, unless the peer reads */
    }
    if (says)
        wire_say(peer, "bye");
    if (how == HALF_CLOSES)
        must(coil_sock_shutdown(peer, SHUT_WR));
    else if (how == RESETS)
        wire_reset(peer);
    else
        coil_sock_unref(peer);
    wire_turns(3);
    if (paused && !ear.lost)
        assert_string_equal(ear.log, "made");
    coil_transport_resume_reading(t);
    if (how == HALF_CLOSES) {
        coil_task *taker = coil_create_task(check_zeroes, peer);
        assert_int_equal(must(coil_join(taker)), writing ? MUCH : 0);
        coil_sock_unref(peer);
    }
    ear_until_lost(&ear);
    /* One that is paused, and cannot send, is lost with what nobody wanted to read. */
    bool hidden = paused && writing && how != HALF_CLOSES;
    const char *heard = says && !hidden ? "made data:bye" : "made";
    if (strncmp(ear.log, heard, strlen(heard)) != 0)
        fail_msg("%d %d %d %d: heard \"%s\"", how, says, paused, writing, ear.log);
    bool broken = how == RESETS || (how == CLOSES && writing);
    assert_int_equal(broken, ear.error != 0);
    assert_true(!broken || ear.error == -ECONNRESET || ear.error == -EPIPE);
    coil_transport_unref(t);
    free(data);
}

COIL_TEST(whatever_the_peer_does_its_bytes_come_first)
{
    for (int i = 0; i < 24; i++)
        peer_goes((enum going)(i / 8), i & 1, i & 2, i & 4);
}

/* ---- many ---- */

COIL_TEST(many_connections_cost_no_task_and_no_stack)
{
    enum { MANY = 300 };
    coil_loop_stats_t before = {.size = sizeof before}, now = {.size = sizeof now};
    coil_server *server = serve(make_echo, NULL);
    struct ear *ears = calloc(MANY, sizeof *ears);
    coil_transport *t[MANY];
    coil_loop_stats(NULL, &before);
    for (int i = 0; i < MANY; i++)
        must(coil_loop_create_connection(NULL, ear_factory, &ears[i], "127.0.0.1", port_of(server),
                                         NULL, &t[i], NULL));
    for (int i = 0; i < MANY; i++)
        must(coil_transport_write(t[i], "hello", 5));
    for (int i = 0; i < MANY; i++)
        ear_until(&ears[i], "made data:hello");
    coil_loop_stats(NULL, &now);
    assert_int_equal(now.tasks, before.tasks);
    assert_int_equal(now.stacks, before.stacks);
    for (int i = 0; i < MANY; i++) {
        coil_transport_close(t[i]);
        coil_transport_unref(t[i]);
    }
    end(server);
    for (int i = 0; i < MANY; i++)
        ear_until_lost(&ears[i]);
    free(ears);
}

/* ---- a proxy: one transport writes what the other reads, and each pauses the other ---- */

struct half {
    coil_transport *t, *other;
    struct half *peer;
};

static coil_ret proxy_made(coil_transport *t, void *arg)
{
    struct half *half = arg;
    half->t = t;
    half->peer->other = t;
    return 0;
}

static coil_ret proxy_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    struct half *half = arg;
    return half->other ? coil_transport_write(half->other, data, n) : 0;
}

static coil_ret proxy_eof(coil_transport *t, void *arg)
{
    struct half *half = arg;
    if (half->other)
        coil_ignore(coil_transport_write_eof(half->other));
    return 1;
}

static void proxy_pause(coil_transport *t, void *arg)
{
    struct half *half = arg;
    if (half->other)
        coil_transport_pause_reading(half->other);
}

static void proxy_resume(coil_transport *t, void *arg)
{
    struct half *half = arg;
    if (half->other)
        coil_transport_resume_reading(half->other);
}

static void proxy_lost(coil_transport *t, coil_ret error, void *arg)
{
    struct half *half = arg;
    half->t = half->peer->other = NULL;
    if (half->other)
        coil_transport_close(half->other);
}

static const coil_protocol proxy = {
    .size = sizeof proxy,
    .connection_made = proxy_made,
    .data_received = proxy_data,
    .eof_received = proxy_eof,
    .pause_writing = proxy_pause,
    .resume_writing = proxy_resume,
    .connection_lost = proxy_lost,
};

/* Sends a pattern and its end. */
struct sending {
    coil_sock *sock;
    size_t n;
};

static coil_ret send_pattern(void *arg)
{
    struct sending *s = arg;
    char piece[8192];
    for (size_t done = 0; done < s->n;) {
        size_t n = s->n - done < sizeof piece ? s->n - done : sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)((done + i) % 251);
        coil_ret rc = coil_sock_sendall(s->sock, piece, n, NULL);
        if (rc < 0)
            return rc;
        done += n;
    }
    return coil_sock_shutdown(s->sock, SHUT_WR);
}

/* How much of the pattern comes, until the end; COIL_EUSER for a wrong byte. */
static coil_ret check_pattern(void *arg)
{
    coil_sock *sock = arg;
    unsigned char piece[8192];
    size_t done = 0;
    for (;;) {
        coil_ret rc = coil_sock_recv(sock, piece, sizeof piece);
        if (rc <= 0)
            return rc < 0 ? rc : (coil_ret)done;
        for (coil_ret i = 0; i < rc; i++)
            if (piece[i] != (done + (size_t)i) % 251)
                return COIL_EUSER;
        done += (size_t)rc;
    }
}

static void proxied(size_t n)
{
    coil_sock *left, *inner_left, *right, *inner_right;
    struct half a = {0}, b = {.peer = &a};
    a.peer = &b;
    wire_pair(&left, &inner_left);
    wire_pair(&right, &inner_right);
    wire_narrow(inner_left);
    wire_narrow(inner_right);
    must(coil_transport_open(inner_left, &proxy, &a, NULL));
    must(coil_transport_open(inner_right, &proxy, &b, NULL));
    struct sending s1 = {left, n}, s2 = {right, n / 2};
    coil_task *senders[2] = {coil_create_task(send_pattern, &s1),
                             coil_create_task(send_pattern, &s2)};
    coil_task *takers[2] = {coil_create_task(check_pattern, right),
                            coil_create_task(check_pattern, left)};
    for (int i = 0; i < 2; i++)
        assert_int_equal(must(coil_join(senders[i])), 0);
    assert_int_equal(must(coil_join(takers[0])), n);
    assert_int_equal(must(coil_join(takers[1])), n / 2);
    coil_transport_close(a.t);
    while (a.t || b.t)
        must(coil_sleep(0.001));
    coil_sock_unref(left);
    coil_sock_unref(right);
}

COIL_TEST(proxy_loses_no_byte_either_way)
{
    proxied(wire_is_imaginary() ? 2 << 20 : 300000);
}

/* ---- storms: the imaginary kernel cuts every transfer short and runs out of buffers ---- */

static coil_ret storm(void *arg)
{
    (void)arg;
    coil__sim_set_fault(coil__running_loop->backend, SIM_SHORT_IO, 30000);
    coil__sim_set_fault(coil__running_loop->backend, SIM_NO_BUFFER, 3000);
    coil_sock *x, *y;
    wire_pair(&x, &y);
    must(coil_transport_open(x, &echo, NULL, NULL));
    struct sending s = {y, 100000};
    coil_task *sender = coil_create_task(send_pattern, &s),
              *taker = coil_create_task(check_pattern, y);
    coil_ret sent;
    sent = coil_join(sender);
    if (sent == -ENOBUFS) /* the bare socket met it, not the transport */
        coil_sock_close(y);
    coil_ret got = coil_join(taker);
    coil_sock_unref(y);
    return sent < 0 ? 0 : got;
}

COIL_TEST_PLAIN(storms_of_short_transfers_lose_no_byte)
{
    int whole = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        coil_run_opts opts = {
            .size = sizeof opts, .backend = "sim", .virtual_time = true, .seed = seed};
        coil_loop *loop = coil_new_event_loop(&opts);
        coil_set_event_loop(loop);
        coil_task *task = coil_create_task(storm, NULL);
        coil_ret rc = coil_loop_run_until_complete(loop, task);
        if (rc != 0 && rc != 100000)
            fail_msg("seed %lu: %ld", (unsigned long)seed, (long)rc);
        whole += rc == 100000;
        coil_unref(task);
        coil_loop_free(loop);
    }
    assert_true(whole >= 1);
}

/* Random acts on both ends, with resets thrown in: whatever happens, made and lost come once each. */
static coil_ret chaos(void *arg)
{
    struct random random = {.state = *(uint64_t *)arg};
    coil__sim_set_fault(coil__running_loop->backend, SIM_SHORT_IO, 20000);
    coil__sim_set_fault(coil__running_loop->backend, SIM_RESET,
                        (uint16_t)random_below(&random, 2000));
    static char bytes[200000];
    struct ear ears[2] = {{.keep = true, .keep_open = 1}, {.keep = true}};
    coil_sock *x, *y;
    coil_transport *t[2];
    wire_pair(&x, &y);
    t[0] = ear_on(x, &ear_protocol, &ears[0]);
    t[1] = ear_on(y, &ear_protocol, &ears[1]);
    size_t wrote[2] = {0};
    for (int i = 0; i < 60; i++) {
        unsigned k = random_below(&random, 2);
        size_t n = random_below(&random, sizeof bytes);
        switch (random_below(&random, 10)) {
        case 0:
        case 1:
        case 2:
            if (coil_transport_write(t[k], bytes, n) == 0)
                wrote[k] += n;
            break;
        case 3: coil_transport_pause_reading(t[k]); break;
        case 4:
        case 5: coil_transport_resume_reading(t[k]); break;
        case 6:
            if (i > 30)
                coil_ignore(coil_transport_write_eof(t[k]));
            break;
        case 7:
            if (i > 40)
                coil_transport_close(t[k]);
            break;
        case 8:
            if (i > 55)
                coil_transport_abort(t[k]);
            break;
        default: coil_ignore(coil_sleep(0.0001 * random_below(&random, 50)));
        }
    }
    bool kind = true;
    for (int k = 0; k < 2; k++) {
        coil_transport_resume_reading(t[k]);
        coil_transport_close(t[k]);
    }
    coil_ignore(coil_sleep(1));
    for (int k = 0; k < 2; k++) {
        coil_transport_abort(
            t[k]); /* two who both close, and so read no more, may never be done sending */
        ear_until_lost(&ears[k]);
        assert_int_equal(ears[k].lost, 1);
        assert_memory_equal(ears[k].log, "made", 4);
        assert_true(ears[k].n <= wrote[!k]);
        kind = kind && !ears[k].error;
        coil_transport_unref(t[k]);
        free(ears[k].bytes);
    }
    return kind;
}

COIL_TEST_PLAIN(chaos_ends_every_transport_once)
{
    int kind = 0, rude = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        coil_run_opts opts = {
            .size = sizeof opts, .backend = "sim", .virtual_time = true, .seed = seed};
        coil_loop *loop = coil_new_event_loop(&opts);
        coil_set_event_loop(loop);
        coil_task *task = coil_create_task(chaos, &seed);
        coil_ret rc = coil_loop_run_until_complete(loop, task);
        if (coil_iserr(rc))
            fail_msg("seed %lu: %s", (unsigned long)seed, coil_errname(rc));
        kind += rc == 1;
        rude += rc == 0;
        coil_unref(task);
        coil_loop_free(loop);
    }
    assert_true(kind > 0 && rude > 0);
}

/* ---- memory and system calls fail ---- */

static coil_ret converse(void *arg)
{
    struct ear ear = {.on_data = NULL};
    coil_server *server;
    coil_transport *t;
    char port[8];
    coil_ret rc = coil_loop_create_server(NULL, make_echo, NULL, "127.0.0.1", "0", NULL, &server);
    if (rc < 0)
        return rc;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    rc = coil_loop_create_connection(NULL, ear_factory, &ear, "127.0.0.1", port, NULL, &t, NULL);
    if (rc == 0) {
        rc = coil_transport_write(t, "hello", 5);
        if (rc == 0)
            rc = coil_transport_write_eof(t);
        for (int i = 0; rc == 0 && !ear.lost && i < 5000; i++)
            rc = coil_sleep(0.001);
        coil_transport_close(t);
        coil_transport_unref(t);
    }
    for (int i = 0; *ear.log && !ear.lost && i < 5000; i++)
        coil_ignore(coil_sleep(0.001));
    assert_true(!*ear.log || ear.lost == 1);
    coil_server_close(server);
    coil_server_abort_clients(server);
    coil_ignore(coil_server_wait_closed(server));
    coil_server_free(server);
    if (rc == 0 && strcmp(ear.log, "made data:hello eof lost:0") == 0)
        return 1;
    return rc;
}

static void converse_or_not(void *arg)
{
    coil_ret rc = wire_run(converse, NULL);
    if (rc == 1)
        ++*(int *)arg;
}

COIL_TEST_PLAIN(conversation_survives_failing_allocations)
{
    int whole = 0;
    converse_or_not(&whole);
    assert_int_equal(whole, 1);
    assert_true(sweep_allocations(converse_or_not, &whole) > 10);
}

COIL_TEST_MAIN()
