/* SPDX-License-Identifier: MIT
 *
 * tls_storms.c: many TLS connections at a time, whose ends do at random whatever may be done to one: write, read, drain, renew
 * keys, end a direction, close, abort, begin TLS late, pause, fail in a callback, be cancelled in any of these; and
 * peers that speak no TLS. What arrives is what was sent, byte for byte, up to some point; nothing comes after an end;
 * everybody comes to an end; and everything is given back. */
#include "../unit/tls/stage.h"

#include "base/mem.h"
#include "base/random.h"
#include "io/sim/sim.h"

enum { STREAMS, TRANSPORTS, LATE, SERVERS }; /* LATE: a line first, then TLS */
enum { CLIENTS = 40, STEPS = 14 };

static struct random luck;
static bool scarce; /* now and then an allocation fails */

static unsigned pick(unsigned n)
{
    return random_below(&luck, n);
}

static char letter(size_t at)
{
    return (char)(at * 31 % 251);
}

struct storm {
    coil_tls_context *server_tls, *client_tls;
    coil_server *servers[SERVERS];
    char ports[SERVERS][8];
};

/* ---- those who answer ---- */

static void be_moody(coil_writer *w)
{
    switch (pick(60)) {
    case 0: coil_writer_close(w); break;
    case 1: coil_writer_abort(w); break;
    case 2: (void)coil_writer_write_eof(w); break;
    case 3: (void)coil_tls_key_update(coil_writer_tls(w)); break;
    case 4: coil_writer_set_write_buffer_limits(w, 0, 0); break;
    default: break;
    }
}

static coil_ret moody_echo(coil_reader *r, coil_writer *w, void *unused)
{
    static const size_t sizes[] = {1, 100, 4096, 20000};
    char buf[20000];
    coil_ret n;
    (void)unused;
    while ((n = coil_reader_read(r, buf, sizes[pick(4)])) > 0) {
        be_moody(w);
        coil_ret rc = coil_writer_write(w, buf, (size_t)n);
        if (rc == 0)
            rc = coil_writer_drain(w);
        if (rc < 0 || pick(80) == 0)
            return 0;
    }
    return 0;
}

static coil_ret late_echo(coil_reader *r, coil_writer *w, void *arg)
{
    struct storm *storm = arg;
    coil_start_tls_opts opts = {.size = sizeof opts, .handshake_timeout = 2, .shutdown_timeout = 2};
    const char *line;
    size_t n;
    if (coil_reader_readline(r, &line, &n) <= 0 || coil_writer_write(w, "go\n", 3) < 0)
        return 0;
    if (coil_writer_start_tls(w, storm->server_tls, &opts) < 0)
        return 0;
    return moody_echo(r, w, NULL);
}

static void go_on(void *t)
{
    coil_transport_resume_reading(t);
    coil_transport_unref(t);
}

static coil_ret moody_data(coil_transport *t, const void *data, size_t n, void *unused)
{
    (void)unused;
    switch (pick(60)) {
    case 0: coil_transport_close(t); break;
    case 1: coil_transport_abort(t); break;
    case 2: (void)coil_transport_write_eof(t); break;
    case 3: return coil_fail(COIL_EUSER, "in no mood");
    case 4:
        coil_transport_pause_reading(t);
        coil_transport_ref(t);
        if (coil_loop_call_later(NULL, 0.1 * pick(10), go_on, t, NULL) < 0)
            go_on(t);
        break;
    default: break;
    }
    int err = coil_transport_write(t, data, n);
    return err == -ENOMEM ? err : 0; /* else what comes later would be echoed in its place */
}

static void moody_pause(coil_transport *t, void *unused)
{
    (void)unused;
    if (pick(10) == 0)
        coil_transport_abort(t);
    else
        coil_transport_pause_reading(t);
}

static void moody_resume(coil_transport *t, void *unused)
{
    (void)unused;
    coil_transport_resume_reading(t);
}

static const coil_protocol moody_protocol = {.size = sizeof moody_protocol,
                                             .data_received = moody_data,
                                             .pause_writing = moody_pause,
                                             .resume_writing = moody_resume};

static coil_ret make_moody(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &moody_protocol;
    *out_arg = arg;
    return pick(30) ? 0 : coil_fail(COIL_EUSER, "no protocol today");
}

/* ---- those who ask ---- */

struct client {
    struct storm *storm;
    coil_reader *r;
    coil_writer *w;
    size_t sent, got;
    bool ended;
    const char *doing;
};

/* Once in the life of a connection may be too late, or too early. */
static double patience(void)
{
    static const double some[] = {0, 0.0001, 0.05, 1, 3};
    return some[pick(5)];
}

static coil_ret connect_late(struct client *c)
{
    coil_start_tls_opts opts = {.size = sizeof opts,
                                .server_hostname = "localhost",
                                .handshake_timeout = 2,
                                .shutdown_timeout = 2};
    const char *line;
    size_t n;
    coil_ret rc = coil_open_connection("127.0.0.1", c->storm->ports[LATE], &c->r, &c->w);
    if (rc < 0)
        return rc;
    rc = coil_writer_write(c->w, "STARTTLS\n", 9);
    if (rc == 0)
        rc = coil_reader_readline(c->r, &line, &n);
    if (rc <= 0)
        return rc < 0 ? rc : COIL_EINCOMPLETE;
    return coil_writer_start_tls(c->w, c->storm->client_tls, &opts);
}

static coil_ret connect_somehow(struct client *c)
{
    coil_connect_opts opts = {.size = sizeof opts,
                              .tls = c->storm->client_tls,
                              .server_hostname = "localhost",
                              .tls_handshake_timeout = 2,
                              .tls_shutdown_timeout = 2};
    unsigned kind = pick(SERVERS + 1);
    if (kind == LATE)
        return connect_late(c);
    if (kind == SERVERS) { /* nothing that TLS knows */
        char noise[600];
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (char)pick(256);
        noise[0] = (char)(pick(2) ? 22 : noise[0]);
        coil_ret rc = coil_open_connection("127.0.0.1", c->storm->ports[pick(LATE)], &c->r, &c->w);
        return rc < 0 ? rc : coil_writer_write(c->w, noise, pick(sizeof noise)) - 1;
    }
    return coil_open_connection_with("127.0.0.1", c->storm->ports[kind], &opts, &c->r, &c->w);
}

static coil_ret write_some(struct client *c)
{
    static const size_t sizes[] = {1, 1000, 17000, 300000};
    static char block[300000];
    size_t n = sizes[pick(4)];
    for (size_t i = 0; i < n; i++)
        block[i] = letter(c->sent + i);
    coil_ret rc = coil_writer_write(c->w, block, n);
    if (rc == 0)
        c->sent += n;
    return rc;
}

static coil_ret read_some(struct client *c)
{
    char buf[20000];
    coil_ret n = coil_reader_read(c->r, buf, 1 + pick(sizeof buf));
    for (coil_ret i = 0; i < n; i++)
        if (buf[i] != letter(c->got + (size_t)i))
            fail_msg("byte %zu is another", c->got + (size_t)i);
    if (n > 0) {
        assert_false(c->ended);
        c->got += (size_t)n;
        assert_true(c->got <= c->sent);
    }
    if (n == 0)
        c->ended = true;
    return n;
}

static coil_ret step(struct client *c)
{
    switch (pick(12)) {
    case 0: return coil_writer_drain(c->w);
    case 1: return coil_sleep(0.01 * pick(20));
    case 2: return pick(4) ? 0 : coil_writer_write_eof(c->w);
    case 3: return coil_tls_key_update(coil_writer_tls(c->w));
    case 4:
        if (pick(4) == 0)
            coil_writer_close(c->w);
        return 0;
    case 5:
        if (pick(8) == 0)
            coil_writer_abort(c->w);
        return 0;
    case 6:
    case 7:
    case 8: return write_some(c);
    default: return read_some(c);
    }
}

static coil_ret live(void *arg)
{
    struct client *c = arg;
    c->doing = "live";
    coil_timeout(connecting, patience() + 1);
    coil_ret rc = coil_timeout_exit(&connecting, connect_somehow(c));
    for (unsigned i = pick(STEPS); rc >= 0 && i > 0; i--) {
        if (scarce && pick(4) == 0)
            coil__mem_fail_at(1 + pick(60), 0);
        coil_timeout(scope, patience());
        rc = coil_timeout_exit(&scope, step(c));
        if (rc == -ETIMEDOUT || rc == -ENOMEM)
            rc = 0;
    }
    c->doing = "finish";
    if (!c->w)
        return 0;
    coil_writer_close(c->w);
    coil_timeout(ending, 20); /* two that write and do not read wait for each other */
    if (coil_timeout_exit(&ending, coil_writer_wait_closed(c->w)) < 0)
        coil_writer_abort(c->w);
    coil_ignore(coil_writer_finish(c->w));
    return 0;
}

/* ---- the storm ---- */

static void hear_nothing(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
}

static void gather_storm(struct storm *s)
{
    coil_server_opts opts = {.size = sizeof opts,
                             .tls = s->server_tls = server_context(NULL),
                             .tls_handshake_timeout = 2,
                             .tls_shutdown_timeout = 2};
    s->client_tls = client_context(0);
    assert_int_equal(coil_tls_context_set_sessions(s->client_tls, pick(2)), 0);
    assert_int_equal(
        coil_start_server_with(moody_echo, NULL, "127.0.0.1", "0", &opts, &s->servers[STREAMS]), 0);
    assert_int_equal(coil_loop_create_server(NULL, make_moody, NULL, "127.0.0.1", "0", &opts,
                                             &s->servers[TRANSPORTS]),
                     0);
    assert_int_equal(coil_start_server(late_echo, s, "127.0.0.1", "0", &s->servers[LATE]), 0);
    for (int i = 0; i < SERVERS; i++)
        snprintf(s->ports[i], sizeof s->ports[i], "%d", coil_server_port(s->servers[i]));
}

static void one_storm(uint64_t seed)
{
    struct storm s = {.server_tls = NULL};
    static struct client clients[CLIENTS];
    coil_task *tasks[CLIENTS];
    luck = (struct random){seed};
    gather_storm(&s);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.storm = &s};
        tasks[i] = coil_create_task(live, &clients[i]);
        if (pick(3) == 0)
            coil_ignore(coil_sleep(pick(2) ? 0 : 0.001));
    }
    for (int i = 0; i < CLIENTS / 3; i++) {
        coil_ignore(coil_sleep(pick(2) ? 0 : 0.05 * pick(10)));
        coil_task_cancel(tasks[pick(CLIENTS)], NULL);
    }
    for (int i = 0; i < CLIENTS; i++) {
        for (int k = 0; k < 200 && !coil_future_done(tasks[i]); k++)
            coil_ignore(coil_sleep(0.5));
        if (!coil_future_done(tasks[i]))
            fail_msg("seed %d: client %d does not come to its end: %s", (int)seed, i,
                     clients[i].doing);
        coil_unref(tasks[i]);
    }
    coil__mem_fail_at(0, 0);
    assert_int_equal(coil_sleep(2), 0);
    for (int i = 0; i < SERVERS; i++) {
        coil_server_abort_clients(s.servers[i]);
        assert_int_equal(coil_server_finish(s.servers[i]), 0);
    }
    coil_tls_context_unref(s.server_tls);
    coil_tls_context_unref(s.client_tls);
}

static void storms(uint64_t first)
{
    bool imaginary = strcmp(coil_loop_backend(NULL), "sim") == 0;
    coil_loop_set_exception_handler(NULL, hear_nothing, NULL);
    for (uint64_t seed = first; seed < first + (imaginary ? 40 : 3); seed++)
        one_storm(seed);
}

COIL_TEST(tls_storms_leave_nothing_and_lose_nothing)
{
    storms(1);
}

COIL_TEST(tls_storms_where_memory_is_short)
{
    scarce = true;
    storms(1000);
    scarce = false;
}

COIL_TEST_MAIN()
