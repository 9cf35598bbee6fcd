/* SPDX-License-Identifier: MIT
 *
 * test_start_tls.c: a connection that stands begins to speak TLS. */
#include "stage.h"

#include <math.h>
#include <unistd.h>

/* ---- streams ---- */

/* "STARTTLS" is answered by "go"; then TLS, and an echo of lines. */
struct upgrade {
    coil_tls_context *server_tls, *client_tls;
    coil_server *server;
    char port[8];
    coil_ret server_end; /* what the server's start_tls said */
    const char *seen;    /* what its reader got afterwards */
    char buf[64];
};

static coil_ret upgrade_client(coil_reader *r, coil_writer *w, void *arg)
{
    struct upgrade *u = arg;
    const char *line;
    coil_ret rc = coil_reader_readline(r, &line, NULL);
    if (rc < 0 || strcmp(line, "STARTTLS\n") != 0)
        return 0; /* it went away, or began at once */
    assert_int_equal(coil_writer_write(w, "go\n", 3), 0);
    u->server_end = coil_writer_start_tls(w, u->server_tls, NULL);
    if (u->server_end < 0)
        return 0;
    rc = coil_reader_readline(r, &line, NULL);
    if (rc > 0) {
        snprintf(u->buf, sizeof u->buf, "%s", line);
        u->seen = u->buf;
        coil_writer_write(w, line, (size_t)rc);
    }
    return rc < 0 ? rc : 0;
}

static void begin_upgrade(struct upgrade *u)
{
    u->server_tls = server_context(NULL);
    u->client_tls = client_context(0);
    assert_int_equal(coil_start_server(upgrade_client, u, "127.0.0.1", "0", &u->server), 0);
    snprintf(u->port, sizeof u->port, "%d", coil_server_port(u->server));
}

static void end_upgrade(struct upgrade *u)
{
    assert_int_equal(coil_server_finish(u->server), 0);
    coil_tls_context_unref(u->server_tls);
    coil_tls_context_unref(u->client_tls);
}

static const coil_start_tls_opts to_localhost = {.size = sizeof to_localhost,
                                                 .server_hostname = "localhost"};

COIL_TEST(start_tls_of_a_stream)
{
    struct upgrade u = {0};
    coil_reader *r;
    coil_writer *w;
    const char *line;
    begin_upgrade(&u);
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    assert_null(coil_writer_tls(w));
    assert_int_equal(coil_writer_write(w, "STARTTLS\n", 9), 0);
    assert_int_equal(coil_reader_readline(r, &line, NULL), 3);
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &to_localhost), 0);
    assert_string_equal(coil_tls_server_name(coil_writer_tls(w)), "localhost");
    assert_int_equal(coil_writer_write(w, "secret\n", 7), 0);
    assert_int_equal(coil_reader_readline(r, &line, NULL), 7);
    assert_string_equal(line, "secret\n");
    assert_int_equal(coil_writer_finish(w), 0);
    end_upgrade(&u);
    assert_int_equal(u.server_end, 0);
    assert_string_equal(u.seen, "secret\n");
}

/* The ClientHello comes right behind the request, in one packet: it is in the reader when start_tls is called. */
struct hasty {
    struct upgrade *u;
    coil_reader *r;
    coil_writer *w;
};

static coil_ret hasty_relay(coil_reader *r, coil_writer *w, void *arg)
{
    struct upgrade *u = arg;
    coil_reader *to_r;
    coil_writer *to_w;
    char buf[4096];
    coil_ret rc = coil_open_connection("127.0.0.1", u->port, &to_r, &to_w);
    if (rc < 0)
        return rc;
    /* What our client says goes on in one piece with what it should have waited with. */
    coil_ret n = coil_reader_read(r, buf + 9, sizeof buf - 9);
    memcpy(buf, "STARTTLS\n", 9);
    assert_true(n > 0);
    coil_writer_write(to_w, buf, (size_t)n + 9);
    assert_int_equal(coil_reader_readexactly(to_r, buf, 3, NULL),
                     3); /* "go": nobody waits for it */
    while ((n = coil_reader_read(to_r, buf, sizeof buf)) > 0) {
        coil_writer_write(w, buf, (size_t)n);
        if ((n = coil_reader_read(r, buf, sizeof buf)) <= 0)
            break;
        coil_writer_write(to_w, buf, (size_t)n);
    }
    return coil_writer_finish(to_w);
}

COIL_TEST(client_hello_that_was_buffered_goes_to_tls)
{
    struct upgrade u = {0};
    coil_server *relay;
    coil_reader *r;
    coil_writer *w;
    const char *line;
    char port[8];
    begin_upgrade(&u);
    assert_int_equal(coil_start_server(hasty_relay, &u, "127.0.0.1", "0", &relay), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(relay));
    coil_connect_opts opts = {
        .size = sizeof opts, .tls = u.client_tls, .server_hostname = "localhost"};
    assert_int_equal(coil_open_connection_with("127.0.0.1", port, &opts, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "hello\n", 6), 0);
    assert_int_equal(coil_reader_readline(r, &line, NULL), 6);
    coil_writer_abort(w);
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_server_finish(relay), 0);
    end_upgrade(&u);
    assert_int_equal(u.server_end, 0);
    assert_string_equal(u.seen, "hello\n");
}

/* Somebody in between puts a command behind STARTTLS, in the clear, for the server to obey once it believes that TLS
 * protects it. */
COIL_TEST(plaintext_put_in_before_start_tls_is_refused_by_the_server)
{
    struct upgrade u = {0};
    coil_reader *r;
    coil_writer *w;
    const char *line;
    begin_upgrade(&u);
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "STARTTLS\nMAIL FROM:<mallory@example.org>\n", 41), 0);
    assert_int_equal(coil_reader_readline(r, &line, NULL), 3);
    assert_true(coil_writer_start_tls(w, u.client_tls, &to_localhost) < 0);
    coil_ignore(coil_writer_finish(w));
    end_upgrade(&u);
    assert_int_equal(u.server_end, COIL_ETLS);
    assert_null(u.seen);
}

static coil_ret inject_answer(coil_reader *r, coil_writer *w, void *arg)
{
    struct upgrade *u = arg;
    const char *line;
    coil_ret rc = coil_reader_readline(r, &line, NULL);
    if (rc < 0)
        return rc;
    coil_writer_write(w, "go\n250 whatever you like\n", 25);
    coil_ignore(coil_writer_start_tls(w, u->server_tls, NULL));
    return 0;
}

COIL_TEST(plaintext_put_in_before_start_tls_is_refused_by_the_client)
{
    struct upgrade u = {.server_tls = server_context(NULL), .client_tls = client_context(0)};
    coil_reader *r;
    coil_writer *w;
    const char *line;
    char byte;
    assert_int_equal(coil_start_server(inject_answer, &u, "127.0.0.1", "0", &u.server), 0);
    snprintf(u.port, sizeof u.port, "%d", coil_server_port(u.server));
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "STARTTLS\n", 9), 0);
    assert_int_equal(coil_reader_readline(r, &line, NULL), 3);
    assert_true(coil_reader_buffered(r) > 0);
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &to_localhost), COIL_ETLS);
    assert_non_null(strstr(coil_last_error()->message, "does not speak TLS"));
    assert_int_equal(coil_reader_buffered(r), 0);
    assert_int_equal(coil_reader_read(r, &byte, 1), COIL_ETLS); /* never what was put in */
    coil_ignore(coil_writer_finish(w));
    end_upgrade(&u);
}

COIL_TEST(start_tls_is_refused_where_it_makes_no_sense)
{
    struct upgrade u = {0};
    coil_reader *r;
    coil_writer *w;
    begin_upgrade(&u);
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    assert_int_equal(coil_writer_start_tls(w, NULL, &to_localhost), -EINVAL);
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, NULL), -EINVAL);
    assert_non_null(strstr(coil_last_error()->message, "server_hostname"));
    coil_start_tls_opts odd = {
        .size = sizeof odd, .server_hostname = "localhost", .handshake_timeout = -1};
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &odd), -EINVAL);
    coil_start_tls_opts nan = {
        .size = sizeof nan, .server_hostname = "localhost", .shutdown_timeout = NAN};
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &nan), -EINVAL);
    assert_int_equal(coil_writer_write_eof(w), 0); /* it stands, and is plain */
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &to_localhost), COIL_EINVALIDSTATE);
    assert_int_equal(coil_writer_finish(w), 0);
    end_upgrade(&u);
}

static coil_ret read_a_byte(void *arg)
{
    char byte;
    return coil_reader_read(arg, &byte, 1);
}

COIL_TEST(start_tls_is_refused_while_a_coroutine_reads)
{
    struct upgrade u = {0};
    coil_reader *r;
    coil_writer *w;
    begin_upgrade(&u);
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    coil_task *t = coil_create_task(read_a_byte, r);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &to_localhost), COIL_ERUNNING);
    coil_writer_close(w);
    assert_int_equal(coil_join(t), 0);
    assert_int_equal(coil_writer_finish(w), 0);
    end_upgrade(&u);
}

COIL_TEST(start_tls_of_a_stream_that_was_closed_says_so)
{
    struct upgrade u = {0};
    coil_reader *r;
    coil_writer *w;
    begin_upgrade(&u);
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    coil_writer_close(w);
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &to_localhost), -ECONNRESET);
    assert_int_equal(coil_writer_finish(w), 0);
    end_upgrade(&u);
}

COIL_TEST(start_tls_of_a_stream_whose_reader_has_an_error_returns_that)
{
    struct upgrade u = {0};
    coil_reader *r;
    coil_writer *w;
    begin_upgrade(&u);
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &r, &w), 0);
    assert_int_equal(coil_reader_set_exception(r, coil_fail(-EPROTO, "no line")), 0);
    assert_int_equal(coil_writer_start_tls(w, u.client_tls, &to_localhost), -EPROTO);
    assert_string_equal(coil_last_error()->message, "no line");
    coil_writer_abort(w);
    coil_ignore(coil_writer_finish(w));
    end_upgrade(&u);
}

static coil_ret starting(void *arg)
{
    struct hasty *h = arg;
    return coil_writer_start_tls(h->w, h->u->client_tls, &to_localhost);
}

static coil_ret say_nothing(coil_reader *r, coil_writer *w, void *unused)
{
    char buf[4096];
    (void)w, (void)unused;
    while (coil_reader_read(r, buf, sizeof buf) > 0)
        ;
    return 0;
}

/* test_sslproto::SelectorStartTLSTests::test_start_tls_slow_client_cancel: the peer never answers. */
COIL_TEST(test_start_tls_slow_client_cancel)
{
    struct upgrade u = {0};
    struct hasty h = {.u = &u};
    begin_upgrade(&u);
    assert_int_equal(coil_server_finish(u.server), 0);
    assert_int_equal(coil_start_server(say_nothing, NULL, "127.0.0.1", "0", &u.server), 0);
    snprintf(u.port, sizeof u.port, "%d", coil_server_port(u.server));
    assert_int_equal(coil_open_connection("127.0.0.1", u.port, &h.r, &h.w), 0);
    coil_task *t = coil_create_task(starting, &h);
    assert_int_equal(coil_sleep(1), 0);
    assert_int_equal(starting(&h), COIL_ERUNNING); /* one at a time */
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_true(coil_writer_is_closing(h.w));
    assert_int_equal(coil_writer_finish(h.w), 0);
    end_upgrade(&u);
}

/* ---- TLS within TLS ---- */

static coil_ret inner_echo(coil_reader *r, coil_writer *w, void *arg)
{
    coil_ret rc = coil_writer_start_tls(w, arg, NULL);
    return rc < 0 ? 0 : echo(r, w, NULL);
}

COIL_TEST(tls_within_tls)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    struct identity *inner = issue(test_ca(), &(struct wish){.name = "inner", .sans = "DNS:inner"});
    coil_tls_context *inner_tls = server_context(inner);
    coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = "inner"};
    static char block[200000], got[200000];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i % 251);
    set_stage(&s, inner_echo, inner_tls);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_string_equal(coil_tls_peer_name(coil_writer_tls(w)), "CN=localhost");
    assert_int_equal(coil_writer_start_tls(w, s.client_tls, &opts), 0);
    assert_string_equal(coil_tls_peer_name(coil_writer_tls(w)), "CN=inner");
    speaks(r, w, "hello within");
    assert_int_equal(coil_writer_write(w, block, sizeof block), 0);
    assert_int_equal(coil_reader_readexactly(r, got, sizeof got, NULL), sizeof got);
    assert_memory_equal(block, got, sizeof got);
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
    coil_tls_context_unref(inner_tls);
}

/* The inner handshake fails, and says so within the outer layer. */
COIL_TEST(tls_within_tls_checks_the_inner_certificate)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    coil_tls_context *inner_tls = server_context(NULL);
    coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = "inner"};
    set_stage(&s, inner_echo, inner_tls);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_start_tls(w, s.client_tls, &opts), COIL_ETLSCERT);
    assert_int_equal(coil_writer_finish(w), COIL_ETLSCERT);
    strike_stage(&s);
    coil_tls_context_unref(inner_tls);
}

/* ---- transports ---- */

struct party {
    coil_transport *t;
    coil_tls_context *tls;
    char got[256];
    size_t got_n;
    int made, lost, eof;
    coil_ret error, upgraded;
    coil_event changed;
};

static coil_ret party_made(coil_transport *t, void *arg)
{
    struct party *p = arg;
    p->t = coil_transport_ref(t);
    p->made++;
    return 0;
}

static void party_lost(coil_transport *t, coil_ret error, void *arg)
{
    struct party *p = arg;
    (void)t;
    p->lost++;
    p->error = error;
    coil_event_set(&p->changed);
}

static coil_ret party_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    struct party *p = arg;
    (void)t;
    assert_true(p->got_n + n < sizeof p->got);
    memcpy(p->got + p->got_n, data, n);
    p->got_n += n;
    coil_event_set(&p->changed);
    return 0;
}

static coil_ret party_eof(coil_transport *t, void *arg)
{
    (void)t;
    ((struct party *)arg)->eof++;
    return 1; /* which has no effect over TLS */
}

static const coil_protocol party_protocol = {.size = sizeof party_protocol,
                                             .connection_made = party_made,
                                             .connection_lost = party_lost,
                                             .data_received = party_data,
                                             .eof_received = party_eof};

static coil_ret make_party(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &party_protocol;
    *out_arg = arg;
    return 0;
}

static void until_got(struct party *p, const char *text)
{
    while (p->got_n < strlen(text) && !p->lost) {
        coil_event_clear(&p->changed);
        assert_int_equal(coil_event_wait(&p->changed), 0);
    }
    assert_int_equal(p->got_n, strlen(text));
    assert_memory_equal(p->got, text, p->got_n);
    p->got_n = 0;
}

static void until_lost(struct party *p)
{
    while (!p->lost) {
        coil_event_clear(&p->changed);
        assert_int_equal(coil_event_wait(&p->changed), 0);
    }
    assert_int_equal(p->lost, 1);
}

static coil_ret server_side(void *arg)
{
    struct party *p = arg;
    until_got(p, "STARTTLS\n");
    assert_int_equal(coil_transport_write(p->t, "go", 2), 0);
    p->upgraded = coil_loop_start_tls(NULL, p->t, NULL, NULL, p->tls, NULL);
    return 0;
}

COIL_TEST(start_tls_of_a_transport)
{
    struct party here = {.tls = client_context(0)}, there = {.tls = server_context(NULL)};
    coil_server *server;
    char port[8];
    assert_int_equal(
        coil_loop_create_server(NULL, make_party, &there, "127.0.0.1", "0", NULL, &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(
        coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", port, NULL, NULL, NULL),
        0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_task *t = coil_create_task(server_side, &there);
    assert_int_equal(coil_transport_write(here.t, "STARTTLS\n", 9), 0);
    until_got(&here, "go");
    assert_int_equal(coil_loop_start_tls(NULL, here.t, NULL, NULL, here.tls, &to_localhost), 0);
    assert_int_equal(coil_join(t), 0);
    assert_int_equal(there.upgraded, 0);
    assert_int_equal(here.made, 1); /* not again */
    assert_true(coil_transport_can_write_eof(here.t));
    assert_string_equal(coil_transport_get_extra_info(here.t, "server_name"), "localhost");
    assert_int_equal(coil_transport_write(here.t, "secret", 6), 0);
    until_got(&there, "secret");
    assert_int_equal(coil_transport_write(there.t, "answer", 6), 0);
    until_got(&here, "answer");
    coil_transport_close(here.t);
    until_lost(&here);
    until_lost(&there);
    assert_int_equal(here.error, 0);
    assert_int_equal(there.error, 0);
    assert_int_equal(there.eof, 1);
    coil_transport_unref(here.t);
    coil_transport_unref(there.t);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(here.tls);
    coil_tls_context_unref(there.tls);
}

COIL_TEST(start_tls_of_a_transport_that_fails_loses_the_connection_once)
{
    struct party here = {.tls = client_context(0)}, there = {.tls = server_context(NULL)};
    coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = "example.org"};
    coil_server *server;
    char port[8];
    assert_int_equal(
        coil_loop_create_server(NULL, make_party, &there, "127.0.0.1", "0", NULL, &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(
        coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", port, NULL, NULL, NULL),
        0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_task *t = coil_create_task(server_side, &there);
    assert_int_equal(coil_transport_write(here.t, "STARTTLS\n", 9), 0);
    until_got(&here, "go");
    assert_int_equal(coil_loop_start_tls(NULL, here.t, NULL, NULL, here.tls, &opts), COIL_ETLSCERT);
    assert_non_null(strstr(coil_last_error()->message, "not for example.org"));
    assert_int_equal(coil_join(t), 0);
    until_lost(&here);
    until_lost(&there);
    assert_int_equal(here.error, COIL_ETLSCERT);
    assert_int_equal(there.error, COIL_ETLS);
    coil_transport_unref(here.t);
    coil_transport_unref(there.t);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(here.tls);
    coil_tls_context_unref(there.tls);
}

static coil_ret start_again(void *arg)
{
    struct party *p = arg;
    return coil_loop_start_tls(NULL, p->t, NULL, NULL, p->tls, &to_localhost);
}

/* The peer reads nothing: start_tls waits until what was written before is gone, and for a handshake that nobody answers. */
COIL_TEST(start_tls_of_a_transport_waits_its_turn)
{
    struct party here = {.tls = client_context(0)}, there = {0};
    coil_server *server;
    char port[8];
    static char much[4 << 20];
    assert_int_equal(
        coil_loop_create_server(NULL, make_party, &there, "127.0.0.1", "0", NULL, &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(
        coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", port, NULL, NULL, NULL),
        0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_transport_pause_reading(there.t);
    assert_int_equal(coil_transport_write(here.t, much, sizeof much), 0);
    coil_task *t = coil_create_task(start_again, &here);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_null(coil_transport_tls(here.t));
    coil_transport_abort(here.t);
    assert_int_equal(coil_join(t), -ECONNRESET);
    assert_int_equal(start_again(&here), -ECONNRESET);
    until_lost(&here);
    coil_transport_abort(there.t);
    until_lost(&there);
    coil_transport_unref(here.t);
    coil_transport_unref(there.t);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(here.tls);
}

COIL_TEST(start_tls_of_a_transport_is_of_its_loop_and_once_at_a_time)
{
    struct party here = {.tls = client_context(0)}, there = {0};
    coil_run_opts opts = {.size = sizeof opts};
    coil_loop *other = coil_new_event_loop(&opts);
    coil_server *server;
    char port[8];
    assert_int_equal(
        coil_loop_create_server(NULL, make_party, &there, "127.0.0.1", "0", NULL, &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(
        coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", port, NULL, NULL, NULL),
        0);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_transport_pause_reading(there.t); /* the handshake gets no answer */
    assert_int_equal(coil_loop_start_tls(other, here.t, NULL, NULL, here.tls, &to_localhost),
                     COIL_EWRONGLOOP);
    coil_task *t = coil_create_task(start_again, &here);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(start_again(&here), COIL_ERUNNING);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    until_lost(&here);
    coil_transport_abort(there.t);
    until_lost(&there);
    coil_transport_unref(here.t);
    coil_transport_unref(there.t);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(here.tls);
    coil_loop_free(other);
}

COIL_TEST(pipes_speak_no_tls)
{
    struct party p = {.tls = client_context(0)};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(coil_loop_connect_read_pipe(NULL, make_party, &p, fds[0], NULL, NULL), 0);
    assert_int_equal(coil_loop_start_tls(NULL, p.t, NULL, NULL, p.tls, &to_localhost), -ENOTSUP);
    close(fds[1]);
    until_lost(&p);
    coil_transport_unref(p.t);
    coil_tls_context_unref(p.tls);
}

COIL_TEST_MAIN()
