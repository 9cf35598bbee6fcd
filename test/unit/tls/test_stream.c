/* SPDX-License-Identifier: MIT
 *
 * test_stream.c: TLS over streams, both ends in one process. */
#include "stage.h"

#include "base/sys.h"

#include <unistd.h>

/* ---- it works ---- */

COIL_TEST(echo_over_tls)
{
    struct stage s = {0};
    set_stage(&s, echo, NULL);
    one_echo(&s);
    strike_stage(&s);
}

COIL_TEST(tls_1_2_and_1_3_are_spoken_and_told)
{
    for (int version = COIL_TLS_1_2; version <= COIL_TLS_1_3; version++) {
        struct stage s = {.client_tls = client_context(0)};
        coil_reader *r;
        coil_writer *w;
        assert_int_equal(coil_tls_context_set_versions(s.client_tls, version, version), 0);
        set_stage(&s, echo, NULL);
        assert_int_equal(connect_to(&s, &r, &w), 0);
        speaks(r, w, "hello");
        const char *name = version == COIL_TLS_1_2 ? "TLSv1.2" : "TLSv1.3";
        assert_string_equal(coil_tls_version(coil_writer_tls(w)), name);
        assert_string_equal(coil_writer_get_extra_info(w, "version"), name);
        assert_non_null(strstr(there(coil_writer_get_extra_info(w, "cipher")), "TLS_"));
        assert_string_equal(coil_writer_get_extra_info(w, "peer_name"), "CN=localhost");
        assert_null(coil_writer_get_extra_info(w, "alpn"));
        assert_null(coil_writer_get_extra_info(w, "nothing"));
        assert_int_equal(coil_writer_finish(w), 0);
        strike_stage(&s);
    }
}

static coil_ret pour(void *arg)
{
    static char block[60000];
    coil_writer *w = arg;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7 + i / 251);
    coil_ret rc = 0;
    for (int i = 0; rc == 0 && i < 100; i++) {
        rc = coil_writer_write(w, block, sizeof block);
        if (rc == 0)
            rc = coil_writer_drain(w);
    }
    return rc;
}

COIL_TEST(megabytes_go_both_ways_at_once)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    static char block[60000];
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_task *pouring = coil_create_task(pour, w);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(coil_reader_readexactly(r, block, sizeof block, NULL), sizeof block);
        for (size_t k = 0; k < sizeof block; k++)
            if (block[k] != (char)(k * 7 + k / 251))
                fail_msg("block %d differs at %zu", i, k);
    }
    assert_int_equal(coil_join(pouring), 0);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST(over_a_unix_socket)
{
    coil_tls_context *server_tls = server_context(NULL), *client_tls = client_context(0);
    coil_server_opts opts = {.size = sizeof opts, .tls = server_tls};
    coil_connect_opts connect = {.size = sizeof connect, .tls = client_tls};
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char name[64];
    snprintf(name, sizeof name, "@coil-tls-%d", (int)getpid());
    assert_int_equal(coil_start_unix_server(echo, NULL, name, &opts, &server), 0);
    /* Nobody can guess whom the certificate of a path should name. */
    assert_int_equal(coil_open_unix_connection(name, &connect, &r, &w), -EINVAL);
    connect.server_hostname = "localhost";
    assert_int_equal(coil_open_unix_connection(name, &connect, &r, &w), 0);
    speaks(r, w, "hello");
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(server_tls);
    coil_tls_context_unref(client_tls);
}

COIL_TEST(with_happy_eyeballs)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    coil_connect_opts opts = {
        .size = sizeof opts, .tls = s.client_tls, .happy_eyeballs_delay = 0.25};
    assert_int_equal(coil_open_connection_with("127.0.0.1", s.port, &opts, &r, &w), 0);
    speaks(r, w, "hello");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

/* ---- bytes in small pieces ---- */

struct relay {
    const char *port; /* of the server */
    size_t piece;
};

struct half {
    coil_reader *r;
    coil_writer *w;
    size_t piece;
};

static coil_ret pass(void *arg)
{
    struct half *h = arg;
    char buf[64];
    coil_ret n;
    while ((n = coil_reader_read(h->r, buf, h->piece)) > 0) {
        coil_ret rc = coil_writer_write(h->w, buf, (size_t)n);
        if (rc == 0)
            rc = coil_sleep(0);
        if (rc < 0)
            return rc;
    }
    return n < 0 ? n : coil_writer_write_eof(h->w);
}

/* Hands on what it gets, piece by piece, and does not know what it is. */
static coil_ret relay(coil_reader *r, coil_writer *w, void *arg)
{
    struct relay *relay = arg;
    coil_reader *to_r;
    coil_writer *to_w;
    coil_ret rc = coil_open_connection("127.0.0.1", relay->port, &to_r, &to_w);
    if (rc < 0)
        return rc;
    struct half there = {r, to_w, relay->piece}, back = {to_r, w, relay->piece};
    coil_task *task = coil_create_task(pass, &back);
    coil_ignore(pass(&there));
    coil_ignore(coil_join(task));
    return coil_writer_finish(to_w);
}

COIL_TEST(records_that_come_byte_by_byte)
{
    struct stage s = {0};
    coil_server *between;
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    struct relay by_one = {.port = s.port, .piece = 1};
    assert_int_equal(coil_start_server(relay, &by_one, "127.0.0.1", "0", &between), 0);
    char server_port[8];
    memcpy(server_port, s.port, sizeof server_port);
    by_one.port = server_port;
    snprintf(s.port, sizeof s.port, "%d", coil_server_port(between));
    assert_int_equal(connect_to(&s, &r, &w), 0);
    speaks(r, w, "one byte at a time, and yet it is understood");
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_server_finish(between), 0);
    strike_stage(&s);
}

/* ---- the end ---- */

static coil_ret greet_and_close(coil_reader *r, coil_writer *w, void *unused)
{
    (void)r, (void)unused;
    return coil_writer_write(w, "bye", 3);
}

COIL_TEST(close_notify_is_a_clean_end)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    char buf[8];
    set_stage(&s, greet_and_close, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_reader_readexactly(r, buf, 3, NULL), 3);
    assert_int_equal(coil_reader_read(r, buf, sizeof buf), 0);
    assert_true(coil_reader_at_eof(r));
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

static coil_ret greet_and_cut(coil_reader *r, coil_writer *w, void *unused)
{
    (void)r, (void)unused;
    coil_ret rc = coil_writer_write(w, "bye", 3);
    if (rc == 0)
        rc = coil_sleep(0.1); /* it is sent */
    if (rc == 0)
        rc = coil_sock_shutdown(coil_writer_sock(w), SHUT_WR);
    return rc == 0 ? coil_sleep(1) : rc;
}

COIL_TEST(an_end_without_close_notify_is_told_as_truncation_after_what_came)
{
    struct stage s = {.timeout = 1};
    coil_reader *r;
    coil_writer *w;
    char buf[8];
    s.opts.tls_shutdown_timeout = 1;
    set_stage(&s, greet_and_cut, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_sleep(0.5), 0);
    assert_int_equal(coil_reader_read(r, buf, sizeof buf), 3);
    assert_int_equal(coil_reader_read(r, buf, sizeof buf), COIL_ETLSEOF);
    assert_non_null(strstr(coil_last_error()->message, "without close_notify"));
    assert_int_equal(coil_reader_read(r, buf, sizeof buf), COIL_ETLSEOF);
    assert_int_equal(there(coil_reader_exception(r))->code, COIL_ETLSEOF);
    assert_int_equal(coil_writer_finish(w), COIL_ETLSEOF);
    strike_stage(&s);
}

static coil_ret never_read(coil_reader *r, coil_writer *w, void *arg)
{
    (void)r, (void)w;
    return coil_event_wait(arg);
}

COIL_TEST(a_peer_that_does_not_answer_close_notify_is_given_up)
{
    struct stage s = {.timeout = 5};
    coil_reader *r;
    coil_writer *w;
    coil_event over = {0};
    set_stage(&s, never_read, &over);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    double begun = coil_loop_time(NULL);
    assert_int_equal(coil_writer_finish(w), -ETIMEDOUT);
    assert_non_null(strstr(coil_last_error()->message, "close_notify within 5 seconds"));
    assert_true(coil_loop_time(NULL) - begun >= 5);
    assert_true(coil_loop_time(NULL) - begun < 6);
    coil_event_set(&over);
    strike_stage(&s);
}

COIL_TEST(shutdown_waits_thirty_seconds_unless_told)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    coil_event over = {0};
    set_stage(&s, never_read, &over);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    double begun = coil_loop_time(NULL);
    assert_int_equal(coil_writer_finish(w), -ETIMEDOUT);
    assert_true(coil_loop_time(NULL) - begun >= 30);
    assert_true(coil_loop_time(NULL) - begun < 31);
    coil_event_set(&over);
    strike_stage(&s);
}

/* test_ssl::TestSSL::test_flush_before_shutdown */
COIL_TEST(test_flush_before_shutdown)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    static char block[300000];
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, block, sizeof block), 0);
    assert_int_equal(coil_writer_finish(w), 0); /* the echo of it is thrown away meanwhile */
    strike_stage(&s);
}

struct count {
    size_t n;
    coil_ret end;
};

static coil_ret count_bytes(coil_reader *r, coil_writer *w, void *arg)
{
    struct count *c = arg;
    char buf[4096];
    coil_ret n;
    (void)w;
    while ((n = coil_reader_read(r, buf, sizeof buf)) > 0)
        c->n += (size_t)n;
    c->end = n;
    return 0;
}

COIL_TEST(all_that_was_written_before_a_close_arrives)
{
    struct stage s = {0};
    struct count c = {0};
    coil_reader *r;
    coil_writer *w;
    static char block[1000000];
    set_stage(&s, count_bytes, &c);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, block, sizeof block), 0);
    coil_writer_close(w);
    assert_int_equal(coil_writer_write(w, "x", 1), -ECONNRESET);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
    assert_int_equal(c.n, sizeof block);
    assert_int_equal(c.end, 0);
}

/* What the peer sent before it saw our end, and after its own end was read, is no error. */
static coil_ret say_late(coil_reader *r, coil_writer *w, void *unused)
{
    char byte;
    (void)unused;
    if (coil_reader_read(r, &byte, 1) != 0)
        return COIL_EUSER;
    return coil_writer_write(w, "late", 4);
}

COIL_TEST(an_answer_to_the_peers_close_notify_is_still_sent)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, say_late, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST(abort_sends_no_close_notify)
{
    struct stage s = {.client_tls = client_context(0)};
    struct count c = {0};
    coil_reader *r;
    coil_writer *w;
    /* Under 1.3 there would be tickets that nobody read, which make a reset of it. */
    assert_int_equal(coil_tls_context_set_versions(s.client_tls, 0, COIL_TLS_1_2), 0);
    set_stage(&s, count_bytes, &c);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "12345", 5), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_writer_abort(w);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
    assert_int_equal(c.n, 5);
    assert_int_equal(c.end, COIL_ETLSEOF);
}

/* Answers at length, once all has come. */
static coil_ret answer_at_the_end(coil_reader *r, coil_writer *w, void *arg)
{
    static char block[100000];
    coil_ret rc = count_bytes(r, w, arg);
    for (int i = 0; rc == 0 && i < 30; i++) {
        rc = coil_writer_write(w, block, sizeof block);
        if (rc == 0)
            rc = coil_writer_drain(w);
    }
    return rc;
}

COIL_TEST(write_eof_ends_one_direction_and_the_other_goes_on)
{
    for (int version = COIL_TLS_1_2; version <= COIL_TLS_1_3; version++) {
        struct stage s = {.client_tls = client_context(0)};
        struct count c = {0};
        coil_reader *r;
        coil_writer *w;
        static char got[3000000];
        char byte;
        assert_int_equal(coil_tls_context_set_versions(s.client_tls, version, version), 0);
        set_stage(&s, answer_at_the_end, &c);
        assert_int_equal(connect_to(&s, &r, &w), 0);
        assert_true(coil_writer_can_write_eof(w));
        assert_int_equal(coil_writer_write(w, got, 1000000), 0);
        assert_int_equal(coil_writer_write_eof(w), 0);
        assert_int_equal(coil_writer_write_eof(w), 0);
        assert_int_equal(coil_writer_write(w, "x", 1), COIL_EINVALIDSTATE);
        assert_int_equal(coil_reader_readexactly(r, got, sizeof got, NULL), sizeof got);
        assert_int_equal(coil_reader_read(r, &byte, 1), 0);
        double begun = coil_loop_time(NULL);
        assert_int_equal(coil_writer_finish(w), 0);
        assert_true(coil_loop_time(NULL) - begun < 1); /* both ends are said */
        strike_stage(&s);
        assert_int_equal(c.n, 1000000);
        assert_int_equal(c.end, 0);
    }
}

COIL_TEST(write_eof_and_a_cut_is_a_truncation)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    coil_event over = {0};
    char byte;
    set_stage(&s, never_read, &over);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write_eof(w), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_server_abort_clients(s.server);
    coil_ret rc = coil_reader_read(r, &byte, 1);
    assert_true(rc == COIL_ETLSEOF || rc == -ECONNRESET);
    coil_event_set(&over);
    assert_int_equal(coil_writer_finish(w), rc);
    strike_stage(&s);
}

/* ---- waiting, and being cancelled ---- */

static coil_ret read_one(void *arg)
{
    char byte;
    return coil_reader_read(arg, &byte, 1);
}

COIL_TEST(a_cancelled_read_loses_no_byte)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_task *t = coil_create_task(read_one, r);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    speaks(r, w, "all of it");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST(set_exception_ends_a_read)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_task *t = coil_create_task(read_one, r);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(coil_reader_set_exception(r, COIL_EUSER), 0);
    assert_int_equal(coil_join(t), COIL_EUSER);
    coil_writer_abort(w);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST(a_close_ends_a_read_with_the_end_of_the_stream)
{
    struct stage s = {.timeout = 5};
    coil_reader *r;
    coil_writer *w;
    coil_event over = {0};
    set_stage(&s, never_read, &over);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_task *t = coil_create_task(read_one, r);
    assert_int_equal(coil_sleep(0.1), 0);
    double begun = coil_loop_time(NULL);
    coil_writer_close(w);
    assert_int_equal(coil_join(t), 0);
    assert_true(coil_loop_time(NULL) - begun < 1); /* not only when the peer answers */
    coil_event_set(&over);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

/* ---- flow control ---- */

COIL_TEST(a_peer_that_does_not_read_pauses_the_writer_at_the_high_mark)
{
    struct stage s = {.timeout = 1};
    coil_reader *r;
    coil_writer *w;
    coil_event over = {0};
    static char block[65536];
    size_t high, low, written = 0;
    set_stage(&s, never_read, &over);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_writer_get_write_buffer_limits(w, &high, &low);
    assert_int_equal(high, 512 * 1024);
    assert_int_equal(low, 128 * 1024);
    for (;;) {
        assert_int_equal(coil_writer_write(w, block, sizeof block), 0);
        written += sizeof block;
        coil_timeout(scope, 1);
        coil_ret rc = coil_timeout_exit(&scope, coil_writer_drain(w));
        if (rc == -ETIMEDOUT)
            break;
        assert_int_equal(rc, 0);
        assert_true(written < 64u << 20);
    }
    assert_true(coil_writer_get_write_buffer_size(w) > low);
    assert_true(coil_writer_get_write_buffer_size(w) <= high + 2 * sizeof block);
    coil_writer_abort(w);
    assert_int_equal(coil_writer_finish(w), 0);
    coil_event_set(&over);
    strike_stage(&s);
}

static coil_ret flood(coil_reader *r, coil_writer *w, void *arg)
{
    static char block[65536];
    size_t *sent = arg;
    coil_ret rc = 0;
    (void)r;
    while (rc == 0 && *sent < 64u << 20) {
        rc = coil_writer_write(w, block, sizeof block);
        if (rc == 0)
            rc = coil_writer_drain(w);
        if (rc == 0)
            *sent += sizeof block;
    }
    return 0;
}

COIL_TEST(who_does_not_read_holds_a_fixed_amount)
{
    struct stage s = {.timeout = 1};
    coil_reader *r;
    coil_writer *w;
    size_t sent = 0, before;
    char byte;
    s.opts.tls_shutdown_timeout = 1;
    set_stage(&s, flood, &sent);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_reader_read(r, &byte, 1), 1);
    assert_int_equal(coil_sleep(2), 0);
    before = sent;
    assert_int_equal(coil_sleep(2), 0);
    assert_int_equal(sent, before); /* it stands */
    assert_true(sent < 32u << 20);
    coil_writer_abort(w);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

static int released;
static void release(void *cookie)
{
    (void)cookie;
    released++;
}

COIL_TEST(lent_bytes_are_released_once)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    static char block[200000];
    char got[100];
    released = 0;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write_owned(w, block, sizeof block, release, NULL), 0);
    assert_int_equal(coil_writer_write_owned(w, block, 0, release, NULL), 0);
    for (size_t n = 0; n < sizeof block; n += sizeof got)
        assert_int_equal(coil_reader_readexactly(r, got, sizeof got, NULL), sizeof got);
    assert_int_equal(released, 2);
    assert_int_equal(coil_writer_write_owned(w, block, sizeof block, release, NULL), 0);
    coil_writer_abort(w); /* dropped, and released all the same */
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(released, 3);
    strike_stage(&s);
}

COIL_TEST(writelines_arrive_in_order)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    char a[] = "one ", b[] = "two ", c[] = "three", got[16];
    struct iovec pieces[] = {{a, 4}, {b, 0}, {b, 4}, {c, 5}};
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_writelines(w, pieces, 4), 0);
    assert_int_equal(coil_reader_readexactly(r, got, 13, NULL), 13);
    assert_memory_equal(got, "one two three", 13);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST(lines_and_views_work_over_tls)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    const char *line;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "first\nsecond\nrest", 17), 0);
    assert_int_equal(coil_reader_readline(r, &line, NULL), 6);
    assert_string_equal(line, "first\n");
    assert_int_equal(coil_reader_readline(r, &line, NULL), 7);
    assert_string_equal(line, "second\n");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

/* ---- keys ---- */

COIL_TEST(keys_are_renewed_in_mid_stream)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(coil_tls_key_update(coil_writer_tls(w)), 0);
        speaks(r, w, "under new keys");
    }
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST(keys_of_tls_1_2_stay)
{
    struct stage s = {.client_tls = client_context(0)};
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(coil_tls_context_set_versions(s.client_tls, 0, COIL_TLS_1_2), 0);
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_tls_key_update(coil_writer_tls(w)), COIL_EINVALIDSTATE);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

/* ---- on small stacks ---- */

/* Uses no more than it must: OpenSSL would not fit in here beside it. */
static coil_ret small_echo(coil_reader *reader, coil_writer *writer, void *unused)
{
    char buf[64];
    coil_ret n;
    (void)unused;
    while ((n = coil_reader_read(reader, buf, sizeof buf)) > 0)
        if (coil_writer_write(writer, buf, (size_t)n) < 0)
            break;
    return n < 0 ? n : 0;
}

COIL_TEST(tls_needs_no_large_stacks)
{
    struct stage s = {.opts = {.client_stack_size = 1}}; /* the smallest there is */
    set_stage(&s, small_echo, NULL);
    for (int i = 0; i < 3; i++)
        one_echo(&s);
    strike_stage(&s);
}

/* ---- without memory ---- */

static void speak_once(const struct stage *s)
{
    coil_reader *r;
    coil_writer *w;
    if (connect_to(s, &r, &w) < 0)
        return;
    if (coil_writer_write(w, "hello", 5) == 0) {
        char buf[8];
        coil_ignore(coil_reader_readexactly(r, buf, 5, NULL));
    }
    coil_writer_abort(w);
    coil_ignore(coil_writer_finish(w));
}

static void try_once(void *arg)
{
    struct stage *s = arg;
    speak_once(s);
    assert_int_equal(coil_sleep(1.5), 0); /* a server that was short of memory rests for a second */
    while (coil_server_connections(s->server) > 0)
        assert_int_equal(coil_sleep(0.1), 0);
}

static void hear_nothing(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
enum { LARGE = 4 << 20 }; /* stacks that no other test has at hand */

static int no_large_maps(size_t n, int prot, int flags, void **out)
{
    return n < LARGE ? coil__sys_real.mmap(n, prot, flags, out) : -ENOMEM;
}

static int not_served;

static void hear_of_the_client(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    assert_string_equal(context->kind, "client-error");
    assert_string_equal(context->message, "Error on serving an incoming connection");
    assert_int_equal(context->code, -ENOMEM);
    not_served++;
}

COIL_TEST(client_without_a_stack_is_told_of_and_lost)
{
    struct stage s = {.opts = {.client_stack_size = LARGE}};
    coil_reader *r;
    coil_writer *w;
    char byte;
    not_served = 0;
    coil_loop_set_exception_handler(NULL, hear_of_the_client, NULL);
    set_stage(&s, echo, NULL);
    coil__sys.mmap = no_large_maps;
    if (connect_to(&s, &r, &w) == 0) { /* our handshake may end before the server's does */
        assert_true(coil_reader_read(r, &byte, 1) <= 0);
        coil_writer_abort(w);
        coil_ignore(coil_writer_finish(w));
    }
    coil__sys.mmap = coil__sys_real.mmap;
    assert_int_equal(not_served, 1);
    one_echo(&s);
    strike_stage(&s);
}
#endif

COIL_TEST(each_allocation_may_fail)
{
    struct stage s = {.timeout = 5};
    coil_loop_set_exception_handler(NULL, hear_nothing, NULL);
    set_stage(&s, echo, NULL);
    try_once(&s); /* what is kept at hand from now on */
    assert_true(sweep_allocations(try_once, &s) != 0);
    one_echo(&s);
    strike_stage(&s);
}

COIL_TEST_MAIN()
