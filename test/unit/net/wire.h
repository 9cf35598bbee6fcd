/* SPDX-License-Identifier: MIT
 *
 * wire.h: two connected ends for the tests of this floor, made through coil alone, so that the imaginary
 * kernel serves as well as the real one. */
#ifndef TEST_NET_WIRE_H
#define TEST_NET_WIRE_H

#include "test.h"

#include "base/mem.h"
#include "base/sys.h"
#include "net/socket.h"
#include "net/stream.h"

#include <coil/stream.h>
#include <coil/timeout.h>

#include <netinet/in.h>
#include <stdlib.h>

/* An error of a waiting call ends the test and says what it was. */
#define must(call)                                                         \
    __extension__({                                                        \
        coil_ret rc_ = (call);                                             \
        if (coil_iserr(rc_))                                               \
            fail_msg("%s: %s (%s)", #call, coil_errname(rc_),              \
                     coil_last_error() ? coil_last_error()->message : ""); \
        rc_;                                                               \
    })

/* The imaginary kernel has every address there is. */
static inline bool wire_is_imaginary(void)
{
    return strcmp(coil_loop_backend(NULL), "sim") == 0;
}

static inline coil_sock *wire_listen(int backlog)
{
    coil_address any;
    coil_sock *sock;
    must(coil_address_parse("127.0.0.1", "0", &any));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    must(coil_sock_bind(sock, &any));
    must(coil_sock_listen(sock, backlog));
    return sock;
}

/* Two ends of one TCP connection, or nothing: for tests that let allocations fail. */
static inline coil_ret wire_try_pair(coil_sock **out_a, coil_sock **out_b)
{
    coil_sock *listener = NULL;
    coil_address at;
    *out_a = *out_b = NULL;
    coil_ret rc = coil_address_parse("127.0.0.1", "0", &at);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &listener);
    if (rc == 0)
        rc = coil_sock_bind(listener, &at);
    if (rc == 0)
        rc = coil_sock_listen(listener, 1);
    if (rc == 0)
        rc = coil_sock_getsockname(listener, &at);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, out_a);
    if (rc == 0)
        rc = coil_sock_connect(*out_a, &at);
    if (rc == 0)
        rc = coil_sock_accept(listener, out_b, NULL);
    coil_sock_unref(listener);
    if (rc < 0) {
        coil_sock_unref(*out_a);
        *out_a = NULL;
    }
    return rc;
}

static inline void wire_pair(coil_sock **out_a, coil_sock **out_b)
{
    must(wire_try_pair(out_a, out_b));
}

/* A stream at one end, a bare socket at the other: the test plays the peer byte by byte. */
static inline coil_sock *wire_stream(size_t limit, coil_reader **out_reader,
                                     coil_writer **out_writer)
{
    coil_sock *ours, *peer;
    wire_pair(&ours, &peer);
    must(coil_open_connection_sock(ours, limit, out_reader, out_writer));
    return peer;
}

static inline coil_ret wire_try_stream(size_t limit, coil_reader **out_reader,
                                       coil_writer **out_writer, coil_sock **out_peer)
{
    coil_sock *ours;
    coil_ret rc = wire_try_pair(&ours, out_peer);
    if (rc == 0 && (rc = coil_open_connection_sock(ours, limit, out_reader, out_writer)) < 0) {
        coil_sock_unref(ours);
        coil_sock_unref(*out_peer);
    }
    return rc;
}

/* Without memory it is tried again. */
static inline void wire_send(coil_sock *sock, const void *p, size_t n)
{
    size_t sent;
    coil_ret rc;
    do {
        rc = coil_sock_sendall(sock, p, n, &sent);
        p = (const char *)p + sent;
        n -= sent;
    } while (rc == -ENOMEM);
    must(rc);
}

static inline void wire_say(coil_sock *sock, const char *text)
{
    wire_send(sock, text, strlen(text));
}

/* Receive exactly so much. */
static inline void wire_expect(coil_sock *sock, const char *text)
{
    size_t n = strlen(text), got = 0;
    char *buf = calloc(1, n + 1);
    while (got < n) {
        coil_ret rc = must(coil_sock_recv(sock, buf + got, n - got));
        if (rc == 0)
            break;
        got += (size_t)rc;
    }
    assert_string_equal(buf, text);
    free(buf);
}

static inline void wire_expect_end(coil_sock *sock)
{
    char byte;
    assert_int_equal(must(coil_sock_recv(sock, &byte, 1)), 0);
}

/* A close that sends a reset: the peer's next calls fail. */
static inline void wire_reset(coil_sock *sock)
{
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    must(coil_sock_setsockopt(sock, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    coil_sock_unref(sock);
}

/* A small send buffer, so that the kernel takes little at a time. (A small receive buffer as well would make
 * TCP crawl: it waits for room worth an announcement.) */
static inline void wire_narrow(coil_sock *sock)
{
    static const int small = 4096;
    must(coil_sock_setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
}

/* Give everybody else `n` turns, and the kernel's loopback its moment. */
static inline void wire_turns(int n)
{
    while (n-- > 0)
        must(coil_sleep(0.001));
}

static inline void wire_hear_nothing(coil_loop *loop, const coil_exception_context *context,
                                     void *arg)
{
    (void)loop, (void)context, (void)arg;
}

/* Run fn(arg) in a loop of its own, that is gone afterwards: for sweeps, since nothing stays behind. */
static inline coil_ret wire_run(coil_fn fn, void *arg)
{
    coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
    coil_loop *loop = coil_new_event_loop(&opts);
    if (!loop)
        return coil_last_error()->code;
    coil_loop_set_exception_handler(loop, wire_hear_nothing, NULL);
    coil_set_event_loop(loop);
    coil_task *task = coil_create_task(fn, arg);
    coil_ret rc = coil_loop_run_until_complete(loop, task);
    coil_unref(task);
    coil_loop_free(loop);
    return rc;
}

/* What the exception handler was told last. */
struct wire_reports {
    int n;
    coil_ret code;
    char kind[24], message[160];
};
static inline void wire_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    struct wire_reports *reports = arg;
    reports->n++;
    reports->code = context->code;
    snprintf(reports->kind, sizeof reports->kind, "%s", context->kind ? context->kind : "");
    snprintf(reports->message, sizeof reports->message, "%s", context->message);
}
static inline void wire_listen_to_reports(struct wire_reports *reports)
{
    *reports = (struct wire_reports){0};
    coil_loop_set_exception_handler(NULL, wire_report, reports);
}

#endif
