/* SPDX-License-Identifier: MIT
 *
 * test_filter.c: what a connection's filter owes its owner when things happen at once: errors behind bytes that are
 * not read yet, writes during a handshake, answers during a download, ends during everything. */
#include "base/mem.h"
#include "hand.h"
#include "loop/loop.h"

#include <stdlib.h>
#include <unistd.h>

static const coil_start_tls_opts to_localhost = {.size = sizeof to_localhost,
                                                 .server_hostname = "localhost"};

/* Valid to look at, and of no key that anybody has. */
static const char spoiled[] = "\x17\x03\x03\x00\x20 thirty-two bytes that decode to..";

/* "ab", and a spoiled record right behind it. */
static void say_and_spoil(struct hand *h)
{
    const void *p;
    char both[256];
    assert_int_equal(h->tls->cls->encrypt(h->tls, "ab", 2), 0);
    size_t n = h->tls->cls->output(h->tls, &p);
    assert_true(n + sizeof spoiled < sizeof both);
    memcpy(both, p, n);
    memcpy(both + n, spoiled, sizeof spoiled - 1);
    h->tls->cls->taken(h->tls);
    assert_int_equal(coil_writer_write(h->w, both, n + sizeof spoiled - 1), 0);
}

/* ---- errors behind bytes ---- */

struct told {
    coil_ret drain, read[3];
    char bytes[2];
    coil_event over;
};

static coil_ret answer_at_length(coil_reader *r, coil_writer *w, void *arg)
{
    struct told *told = arg;
    static char block[2000000];
    told->read[0] = coil_reader_read(r, told->bytes, 1);
    coil_timeout(scope, 5);
    coil_ret rc = coil_writer_write(w, block, sizeof block);
    if (rc == 0)
        rc = coil_writer_drain(w);
    told->drain = coil_timeout_exit(&scope, rc);
    told->read[1] = coil_reader_read(r, told->bytes + 1, 1);
    told->read[2] = coil_reader_read(r, told->bytes, 1);
    coil_event_set(&told->over);
    return 0;
}

COIL_TEST(drain_is_told_of_an_error_behind_bytes_that_nobody_has_read)
{
    struct stage s = {0};
    struct told told = {.drain = 0};
    struct hand h;
    set_stage(&s, answer_at_length, &told);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    say_and_spoil(&h);
    assert_int_equal(coil_event_wait(&told.over), 0);
    assert_int_equal(told.drain, COIL_ETLS);
    assert_int_equal(told.read[1], 1); /* what came before is still there */
    assert_int_equal(told.bytes[1], 'b');
    assert_int_equal(told.read[2], COIL_ETLS);
    hand_close(&h);
    strike_stage(&s);
}

struct party {
    coil_transport *t;
    size_t bytes;
    coil_ret error;
    bool pauses;
    coil_event came, lost;
};

static coil_ret party_made(coil_transport *t, void *arg)
{
    ((struct party *)arg)->t = coil_transport_ref(t);
    return 0;
}

static coil_ret party_data(coil_transport *t, const void *data, size_t n, void *arg)
{
    struct party *p = arg;
    (void)data;
    p->bytes += n;
    if (p->pauses)
        coil_transport_pause_reading(t);
    coil_event_set(&p->came);
    return 0;
}

static void party_lost(coil_transport *t, coil_ret error, void *arg)
{
    struct party *p = arg;
    (void)t;
    p->error = error;
    coil_event_set(&p->lost);
}

static const coil_protocol party_protocol = {.size = sizeof party_protocol,
                                             .connection_made = party_made,
                                             .data_received = party_data,
                                             .connection_lost = party_lost};

static coil_ret make_party(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    *out_protocol = &party_protocol;
    *out_arg = arg;
    return 0;
}

static coil_ret within(double seconds, coil_event *event)
{
    coil_timeout(scope, seconds);
    return coil_timeout_exit(&scope, coil_event_wait(event));
}

static void host(struct stage *s, struct party *p)
{
    if (!s->server_tls)
        s->server_tls = server_context(NULL);
    s->client_tls = client_context(0);
    s->opts = (coil_server_opts){.size = sizeof s->opts, .tls = s->server_tls};
    assert_int_equal(
        coil_loop_create_server(NULL, make_party, p, "127.0.0.1", "0", &s->opts, &s->server), 0);
    snprintf(s->port, sizeof s->port, "%d", coil_server_port(s->server));
}

COIL_TEST(paused_transport_is_told_of_an_error_behind_what_it_was_given)
{
    struct stage s = {0};
    struct party p = {.pauses = true};
    struct hand h;
    host(&s, &p);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    say_and_spoil(&h);
    assert_int_equal(coil_event_wait(&p.came), 0);
    assert_int_equal(p.bytes, 2);
    assert_int_equal(within(5, &p.lost), 0);
    assert_int_equal(p.error, COIL_ETLS);
    hand_close(&h);
    coil_transport_unref(p.t);
    strike_stage(&s);
}

/* ---- writes during a handshake ---- */

static coil_ret start_as_server(void *arg)
{
    coil_tls_context *context = server_context(NULL);
    coil_ret rc = coil_writer_start_tls(arg, context, NULL);
    coil_tls_context_unref(context);
    return rc;
}

static coil_ret greet_early(coil_reader *r, coil_writer *w, void *unused)
{
    char byte;
    (void)unused;
    coil_task *t = coil_create_task(start_as_server, w);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_writer_write(w, "early", 5), 0);
    assert_int_equal(coil_join(t), 0);
    return coil_reader_read(r, &byte, 1);
}

COIL_TEST(what_is_written_during_a_handshake_is_sent_behind_it)
{
    coil_tls_context *tls = client_context(0);
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char port[8], got[8];
    assert_int_equal(coil_start_server(greet_early, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &r, &w), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(coil_writer_start_tls(w, tls, &to_localhost), 0);
    coil_timeout(scope, 5);
    coil_ret rc = coil_reader_readexactly(r, got, 5, NULL);
    assert_int_equal(coil_timeout_exit(&scope, rc), 5);
    assert_memory_equal(got, "early", 5);
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(tls);
}

/* ---- start_tls without memory ---- */

static coil_ret blurt(coil_reader *r, coil_writer *w, void *unused)
{
    char buf[256];
    (void)unused;
    coil_ret rc = coil_sleep(1);
    if (rc == 0)
        rc = coil_writer_write(w, "not TLS at all", 14);
    while (rc >= 0 && (rc = coil_reader_read(r, buf, sizeof buf)) > 0)
        ;
    return rc == -ECANCELED ? rc : 0;
}

struct upgrade {
    coil_tls_context *tls;
    coil_server *server;
    char port[8];
};

static void all_gone(const struct upgrade *u)
{
    assert_int_equal(coil_sleep(1.5), 0);
    while (coil_server_connections(u->server) > 0)
        assert_int_equal(coil_sleep(0.1), 0);
}

static void upgrade_stream(void *arg)
{
    struct upgrade *u = arg;
    coil_reader *r;
    coil_writer *w;
    if (coil_open_connection("127.0.0.1", u->port, &r, &w) < 0) {
        all_gone(u);
        return;
    }
    assert_true(coil_writer_start_tls(w, u->tls, &to_localhost) < 0);
    assert_true(coil_writer_is_closing(w)); /* as it is said of start_tls */
    coil_ignore(coil_writer_write(w, "x", 1));
    assert_int_equal(coil_sleep(2), 0);
    coil_ignore(coil_writer_finish(w));
    all_gone(u);
}

static void upgrade_transport(void *arg)
{
    struct upgrade *u = arg;
    struct party p = {0};
    coil_ret rc = coil_loop_create_connection(NULL, make_party, &p, "127.0.0.1", u->port, NULL,
                                              NULL, NULL);
    if (rc == 0) {
        rc = coil_loop_start_tls(NULL, p.t, NULL, NULL, u->tls, &to_localhost);
        assert_true(rc < 0);
        (void)coil_transport_write(p.t, "x", 1);
        assert_int_equal(within(2, &p.lost), 0);
        assert_int_equal(p.error, rc);
    }
    coil_transport_unref(p.t);
    all_gone(u);
}

static void hear_nothing(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)context, (void)arg;
}

COIL_TEST(start_tls_without_memory_closes_the_connection)
{
    struct upgrade u = {.tls = client_context(0)};
    coil_loop_set_exception_handler(NULL, hear_nothing, NULL);
    assert_int_equal(coil_start_server(blurt, NULL, "127.0.0.1", "0", &u.server), 0);
    snprintf(u.port, sizeof u.port, "%d", coil_server_port(u.server));
    upgrade_stream(&u);
    assert_true(sweep_allocations(upgrade_stream, &u) != 0);
    assert_true(sweep_allocations(upgrade_transport, &u) != 0);
    assert_int_equal(coil_server_finish(u.server), 0);
    coil_tls_context_unref(u.tls);
}

/* ---- a socket that somebody closes ---- */

static coil_ret read_one(void *r)
{
    char byte;
    return coil_reader_read(r, &byte, 1);
}

static coil_ret sit_still(coil_reader *r, coil_writer *w, void *over)
{
    (void)r, (void)w;
    return coil_event_wait(over);
}

COIL_TEST(read_ends_when_the_socket_is_closed_under_it)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_task *t = coil_create_task(read_one, r);
    assert_int_equal(coil_sleep(0.1), 0);
    coil_sock_close(coil_writer_sock(w));
    coil_timeout(scope, 5);
    assert_int_equal(coil_timeout_exit(&scope, coil_await(t)), -EBADF);
    coil_unref(t);
    coil_ignore(coil_writer_finish(w));
    strike_stage(&s);
}

static coil_ret write_all(void *w)
{
    static char block[16 << 20];
    coil_ret rc = coil_writer_write(w, block, sizeof block);
    return rc < 0 ? rc : coil_writer_drain(w);
}

COIL_TEST(drain_ends_when_the_socket_is_closed_under_it)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    coil_event over = {0};
    for (int plain = 0; plain < 2; plain++) {
        if (plain) {
            assert_int_equal(coil_server_finish(s.server), 0);
            assert_int_equal(coil_start_server(sit_still, &over, "127.0.0.1", "0", &s.server), 0);
            snprintf(s.port, sizeof s.port, "%d", coil_server_port(s.server));
            assert_int_equal(coil_open_connection("127.0.0.1", s.port, &r, &w), 0);
        } else {
            set_stage(&s, sit_still, &over);
            assert_int_equal(connect_to(&s, &r, &w), 0);
        }
        coil_task *t = coil_create_task(write_all, w);
        assert_int_equal(coil_sleep(0.1), 0);
        coil_sock_close(coil_writer_sock(w));
        coil_timeout(scope, 5);
        assert_int_equal(coil_timeout_exit(&scope, coil_await(t)), -EBADF);
        coil_unref(t);
        assert_int_equal(coil_writer_finish(w), -EBADF);
        coil_event_set(&over);
        assert_int_equal(coil_sleep(0.1), 0);
        coil_event_clear(&over);
    }
    strike_stage(&s);
}

COIL_TEST(transport_is_lost_when_its_socket_is_closed_under_it)
{
    struct stage s = {0};
    struct party p = {0};
    struct hand h;
    host(&s, &p);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    hand_say(&h, "x");
    assert_int_equal(coil_event_wait(&p.came), 0);
    coil_sock_close(coil_transport_sock(p.t));
    assert_int_equal(within(5, &p.lost), 0);
    assert_int_equal(p.error, -EBADF);
    hand_close(&h);
    coil_transport_unref(p.t);
    strike_stage(&s);
}

/* ---- flow ---- */

static coil_ret read_on(void *r)
{
    char buf[4096];
    coil_ret n;
    while ((n = coil_reader_read(r, buf, sizeof buf)) > 0)
        ;
    return n;
}

static coil_ret pour_and_read(coil_reader *r, coil_writer *w, void *arg)
{
    static char block[65536];
    coil_ret *failed = arg, rc = 0;
    coil_task *t = coil_create_task(read_on, r);
    while (rc == 0 && !coil_future_done(t)) {
        rc = coil_writer_write(w, block, sizeof block);
        if (rc == 0)
            rc = coil_writer_drain(w);
    }
    *failed = coil_join(t);
    return 0;
}

/* 5,000 answers of some 30 bytes each, of which no more than a few are ever on their way. */
COIL_TEST(answers_that_are_read_are_not_counted_for_ever)
{
    struct stage s = {0};
    struct hand h;
    static char buf[65536];
    coil_ret failed = 0;
    set_stage(&s, pour_and_read, &failed);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(SSL_key_update(ssl_of(&h), SSL_KEY_UPDATE_REQUESTED), 1);
        hand_say(&h, "x");
        assert_true(hand_read(&h, buf, sizeof buf) > 0);
        for (int k = 0; k < 2; k++) /* it goes on pouring */
            assert_int_equal(coil_sleep(0), 0);
    }
    assert_int_equal(h.tls->cls->finish(h.tls), 0);
    assert_int_equal(hand_flush(&h), 0);
    while (hand_read(&h, buf, sizeof buf) > 0)
        ;
    hand_close(&h);
    strike_stage(&s);
    assert_int_equal(failed, 0);
}

static coil_ret read_later(coil_reader *r, coil_writer *w, void *unused)
{
    static char buf[3000];
    coil_ret n = coil_sleep(1);
    (void)w, (void)unused;
    while (n >= 0 && (n = coil_reader_read(r, buf, sizeof buf)) > 0)
        ;
    return n;
}

COIL_TEST(drain_at_marks_of_nothing_waits_for_the_last_byte)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    static char block[65536];
    set_stage(&s, read_later, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_set_write_buffer_limits(w, 0, 0), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(coil_writer_write(w, block, sizeof block - (size_t)i * 100), 0);
        assert_int_equal(coil_writer_drain(w), 0);
        assert_int_equal(coil_writer_get_write_buffer_size(w), 0);
    }
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

struct sending {
    coil_transport *t;
    int fd;
    int64_t sent;
};

static coil_ret send_file(void *arg)
{
    struct sending *sending = arg;
    return coil_loop_sendfile(NULL, sending->t, sending->fd, 0, 0, 0, &sending->sent);
}

/* Who goes on where it stopped sends no byte twice. */
COIL_TEST(file_whose_sending_is_cancelled_is_counted_to_the_byte)
{
    struct stage s = {0};
    struct party there = {.pauses = true}, here = {0};
    char path[] = "/tmp/coil-tls-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, 32 << 20), 0);
    host(&s, &there);
    coil_connect_opts opts = {.size = sizeof opts, .tls = s.client_tls};
    assert_int_equal(coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", s.port,
                                                 &opts, NULL, NULL),
                     0);
    struct sending sending = {.t = here.t, .fd = fd, .sent = -1};
    coil_task *t = coil_create_task(send_file, &sending);
    assert_int_equal(coil_sleep(1), 0);
    coil_task_cancel(t, NULL);
    assert_int_equal(coil_join(t), -ECANCELED);
    assert_true(sending.sent > 0);
    there.pauses = false;
    coil_transport_resume_reading(there.t);
    coil_transport_close(here.t);
    assert_int_equal(coil_event_wait(&there.lost), 0);
    assert_int_equal(coil_event_wait(&here.lost), 0);
    assert_int_equal(there.error, 0);
    assert_int_equal(there.bytes, sending.sent);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), sending.sent);
    coil_transport_unref(here.t);
    coil_transport_unref(there.t);
    strike_stage(&s);
    close(fd);
}

/* ---- ends ---- */

static coil_ret upgrade_within_a_second(void *arg)
{
    struct sending *sending = arg;
    coil_tls_context *tls = client_context(0);
    coil_start_tls_opts opts = to_localhost;
    opts.handshake_timeout = 1;
    coil_ret rc = coil_loop_start_tls(NULL, sending->t, NULL, NULL, tls, &opts);
    coil_tls_context_unref(tls);
    return rc;
}

static void cancel_task(void *task)
{
    coil_task_cancel(task, NULL);
}

static coil_ret say_nothing(coil_reader *r, coil_writer *w, void *unused)
{
    (void)w, (void)unused;
    coil_ignore(read_on(r));
    return 0;
}

COIL_TEST(cancel_that_comes_with_a_failure_does_not_stand_for_it)
{
    struct party p = {0};
    coil_server *server;
    char port[8];
    assert_int_equal(coil_start_server(say_nothing, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(
        coil_loop_create_connection(NULL, make_party, &p, "127.0.0.1", port, NULL, NULL, NULL), 0);
    struct sending sending = {.t = p.t};
    coil_task *t = coil_create_task(upgrade_within_a_second, &sending);
    assert_int_equal(coil_sleep(0), 0);
    assert_true(coil_loop_call_later(NULL, 1, cancel_task, t, NULL) == 0);
    coil_ret rc = coil_join(t);
    assert_true(rc == -ECANCELED || rc == -ECONNABORTED);
    assert_int_equal(coil_event_wait(&p.lost), 0);
    assert_true(p.error == 0 || p.error == -ECONNABORTED);
    coil_transport_unref(p.t);
    assert_int_equal(coil_server_finish(server), 0);
}

static coil_ret write_then_read(coil_reader *r, coil_writer *w, void *arg)
{
    struct told *told = arg;
    static char block[65536];
    told->read[0] = coil_reader_read(r, told->bytes, 1);
    assert_int_equal(coil_sleep(1), 0);
    for (int i = 0; i < 3; i++) {
        told->drain = coil_writer_write(w, block, sizeof block);
        assert_int_equal(coil_sleep(0.1), 0);
    }
    told->read[1] = coil_reader_read(r, told->bytes, 2);
    if (told->read[1] == 1)
        told->read[1] = coil_reader_read(r, told->bytes, 2);
    told->read[2] = coil_reader_read(r, told->bytes, 2);
    coil_event_set(&told->over);
    return 0;
}

/* The peer's word, said before its reset came, is as good as any. */
COIL_TEST(end_that_the_peer_said_before_its_reset_is_an_end)
{
    struct stage s = {0};
    struct told told = {.drain = 0};
    struct hand h;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    set_stage(&s, write_then_read, &told);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    hand_say(&h, "a");
    assert_int_equal(coil_sleep(0.1), 0);
    hand_say(&h, "b");
    assert_int_equal(h.tls->cls->finish(h.tls), 0);
    assert_int_equal(hand_flush(&h), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(coil_sock_setsockopt(coil_writer_sock(h.w), SOL_SOCKET, SO_LINGER, &at_once,
                                          sizeof at_once),
                     0);
    hand_close(&h);
    assert_int_equal(coil_event_wait(&told.over), 0);
    strike_stage(&s);
    assert_true(told.drain < 0);
    assert_int_equal(told.read[1], 0);
    assert_int_equal(told.read[2], 0);
}

static coil_ret close_when_told(coil_reader *r, coil_writer *w, void *unused)
{
    char byte;
    (void)unused;
    coil_ret rc = coil_reader_read(r, &byte, 1);
    coil_writer_close(w);
    return rc < 0 ? rc : 0;
}

COIL_TEST(start_tls_within_a_tls_that_has_ended_fails_at_once)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    char byte;
    set_stage(&s, close_when_told, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "x", 1), 0);
    assert_int_equal(coil_reader_read(r, &byte, 1), 0);
    double begun = coil_loop_time(NULL);
    assert_int_equal(coil_writer_start_tls(w, s.client_tls, &to_localhost), -ECONNRESET);
    assert_true(coil_loop_time(NULL) - begun < 1);
    assert_int_equal(coil_writer_finish(w), -ECONNRESET);
    strike_stage(&s);
}

/* ---- peers that are slow to see our end, or never do ---- */

static coil_ret reset_after(coil_reader *r, coil_writer *w, void *unused)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    coil_ret rc = coil_sleep(1);
    (void)r, (void)unused;
    assert_int_equal(
        coil_sock_setsockopt(coil_writer_sock(w), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once),
        0);
    coil_writer_abort(w);
    return rc;
}

COIL_TEST(reset_instead_of_the_peers_end_is_told_to_who_closes)
{
    struct stage s = {0};
    struct party here = {0};
    coil_reader *r;
    coil_writer *w;
    set_stage(&s, reset_after, NULL);
    coil_connect_opts opts = {.size = sizeof opts, .tls = s.client_tls};
    assert_int_equal(coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", s.port,
                                                 &opts, NULL, NULL),
                     0);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    coil_transport_close(here.t);
    assert_int_equal(coil_writer_finish(w), -ECONNRESET);
    assert_int_equal(within(5, &here.lost), 0);
    assert_int_equal(here.error, -ECONNRESET);
    coil_transport_unref(here.t);
    strike_stage(&s);
}

static coil_ret read_slowly(coil_reader *r, coil_writer *w, void *arg)
{
    static char buf[100000];
    size_t *got = arg;
    coil_ret n = 0;
    (void)w;
    do {
        *got += (size_t)n;
        assert_int_equal(coil_sleep(3), 0);
    } while ((n = coil_reader_read(r, buf, sizeof buf)) > 0);
    return n;
}

/* The limit is for the peer's answer to our end, and begins when the kernel has all of what goes before. */
COIL_TEST(close_leaves_a_slow_reader_all_the_time_it_takes)
{
    struct stage s = {.timeout = 10};
    coil_reader *r;
    coil_writer *w;
    static char block[20000000];
    size_t got = 0;
    set_stage(&s, read_slowly, &got);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    double begun = coil_loop_time(NULL);
    assert_int_equal(coil_writer_write(w, block, sizeof block), 0);
    coil_ret rc = coil_writer_finish(w);
    assert_true(rc == 0 || rc == -ETIMEDOUT);
    assert_true(coil_loop_time(NULL) - begun > 60);
    strike_stage(&s);
    assert_int_equal(got, sizeof block);
}

struct full {
    size_t n;    /* how much to write */
    size_t left; /* what the kernel did not take */
    coil_event over;
};

static coil_ret write_much(coil_reader *r, coil_writer *w, void *arg)
{
    struct full *full = arg;
    static char block[16 << 20];
    (void)r;
    assert_int_equal(coil_writer_write(w, block, full->n), 0);
    coil_ret rc = coil_sleep(0.5);
    full->left = coil_writer_get_write_buffer_size(w);
    coil_writer_close(w);
    coil_event_set(&full->over);
    return rc;
}

/* Says its end, reads nothing, and does not go. */
static void end_and_stay(const struct stage *s, struct full *full)
{
    struct hand h;
    full->left = 0;
    coil_event_clear(&full->over);
    hand_open(&h, s);
    assert_int_equal(hand_shake(&h), 1);
    assert_int_equal(coil_event_wait(&full->over), 0);
    assert_int_equal(h.tls->cls->finish(h.tls), 0);
    assert_int_equal(hand_flush(&h), 0);
    if (full->left > 0)
        coil_server_abort_clients(s->server);
    else
        assert_int_equal(coil_sleep(10), 0);
    coil_ret connections = (coil_ret)coil_server_connections(s->server);
    hand_close(&h);
    assert_int_equal(coil_sleep(1), 0);
    assert_true(full->left > 0 || connections == 0);
}

/* The kernel took all that was written, to the last byte it had room for, and the close_notify waits. */
COIL_TEST(end_that_the_peer_leaves_no_room_for_is_given_up)
{
    struct full full = {.n = 0};
    struct stage s = {.opts = {.tls_shutdown_timeout = 5}};
    size_t low = 1, high = 16 << 20;
    set_stage(&s, write_much, &full);
    while (low + 1 < high) {
        full.n = low + (high - low) / 2;
        end_and_stay(&s, &full);
        *(full.left > 0 ? &high : &low) = full.n;
    }
    strike_stage(&s);
}

/* ---- one direction's end ---- */

struct heard {
    char text[64];
    size_t n;
    coil_ret end;
};

static coil_ret end_first(coil_reader *r, coil_writer *w, void *arg)
{
    struct heard *heard = arg;
    coil_ret n = coil_writer_write_eof(w);
    while (n >= 0 &&
           (n = coil_reader_read(r, heard->text + heard->n, sizeof heard->text - heard->n)) > 0)
        heard->n += (size_t)n;
    heard->end = n;
    return 0;
}

/* Who has said its end has no more keys to renew. */
COIL_TEST(keys_asked_for_after_our_end_are_followed_and_not_given)
{
    struct stage s = {0};
    struct heard heard = {.end = 1};
    struct hand h;
    char byte;
    set_stage(&s, end_first, &heard);
    hand_open(&h, &s);
    assert_int_equal(hand_shake(&h), 1);
    assert_int_equal(hand_read(&h, &byte, 1), 0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SSL_key_update(ssl_of(&h), SSL_KEY_UPDATE_REQUESTED), 1);
        hand_say(&h, "more ");
        assert_int_equal(coil_sleep(0.1), 0);
    }
    assert_int_equal(h.tls->cls->finish(h.tls), 0);
    assert_int_equal(hand_flush(&h), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    hand_close(&h);
    strike_stage(&s);
    assert_int_equal(heard.end, 0);
    assert_string_equal(heard.text, "more more more more more ");
}

static coil_ret end_first_within(coil_reader *r, coil_writer *w, void *arg)
{
    coil_ret rc = start_as_server(w);
    return rc < 0 ? rc : end_first(r, w, arg);
}

COIL_TEST(end_of_one_direction_is_said_by_the_inner_layer_alone)
{
    struct stage s = {0};
    struct heard heard = {.end = 1};
    coil_reader *r;
    coil_writer *w;
    char byte;
    set_stage(&s, end_first_within, &heard);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_start_tls(w, s.client_tls, &to_localhost), 0);
    assert_int_equal(coil_reader_read(r, &byte, 1), 0);
    assert_int_equal(coil_writer_write(w, "and yet", 7), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_string_equal(heard.text, "and yet");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
    assert_int_equal(heard.end, 0);
}

COIL_TEST(transport_ends_one_direction_over_tls)
{
    struct stage s = {0};
    struct party there = {0}, here = {0};
    host(&s, &there);
    coil_connect_opts opts = {.size = sizeof opts, .tls = s.client_tls};
    assert_int_equal(coil_loop_create_connection(NULL, make_party, &here, "127.0.0.1", s.port,
                                                 &opts, NULL, NULL),
                     0);
    assert_int_equal(coil_transport_write(here.t, "all", 3), 0);
    assert_int_equal(coil_transport_write_eof(here.t), 0);
    assert_int_equal(within(5, &there.lost), 0); /* which closes at it, as in asyncio */
    assert_int_equal(within(5, &here.lost), 0);
    assert_int_equal(there.bytes, 3);
    assert_int_equal(there.error, 0);
    assert_int_equal(here.error, 0);
    coil_transport_unref(here.t);
    coil_transport_unref(there.t);
    strike_stage(&s);
}

static coil_ret end_during_handshake(coil_reader *r, coil_writer *w, void *unused)
{
    (void)r, (void)unused;
    coil_task *t = coil_create_task(start_as_server, w);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_writer_write_eof(w), 0);
    return coil_join(t);
}

COIL_TEST(end_that_is_asked_for_during_a_handshake_is_said_behind_it)
{
    coil_tls_context *tls = client_context(0);
    coil_server *server;
    coil_reader *r;
    coil_writer *w;
    char port[8], byte;
    assert_int_equal(coil_start_server(end_during_handshake, NULL, "127.0.0.1", "0", &server), 0);
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    assert_int_equal(coil_open_connection("127.0.0.1", port, &r, &w), 0);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(coil_writer_start_tls(w, tls, &to_localhost), 0);
    coil_timeout(scope, 5);
    coil_ret rc = coil_reader_read(r, &byte, 1);
    assert_int_equal(coil_timeout_exit(&scope, rc), 0);
    assert_int_equal(coil_writer_finish(w), 0);
    assert_int_equal(coil_server_finish(server), 0);
    coil_tls_context_unref(tls);
}

/* ---- the loop closes ---- */

static coil_ret note_end(coil_reader *r, coil_writer *w, void *arg)
{
    (void)w;
    *(coil_ret *)arg = read_on(r);
    return 0;
}

static void fired(struct timer *timer)
{
    (void)timer;
}

/* There is no memory for the time limit of the end. */
COIL_TEST(close_that_lacks_memory_for_its_time_limit_says_its_end)
{
    struct stage s = {0};
    struct timer timers[64];
    coil_loop *loop = coil_get_running_loop();
    coil_ret heard = 1;
    coil_reader *r;
    coil_writer *w;
    size_t n = 0;
    set_stage(&s, note_end, &heard);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    for (; loop->timers.n < loop->timers.capacity; n++) {
        timer_init(&timers[n], fired);
        assert_int_equal(coil__timer_start(loop, &timers[n], INT64_MAX), 0);
    }
    coil__mem_fail_at(1, 0);
    assert_int_equal(coil_writer_finish(w), 0);
    coil__mem_fail_at(0, 0);
    while (n-- > 0)
        coil__timer_stop(loop, &timers[n]);
    assert_int_equal(coil_sleep(0.1), 0);
    assert_int_equal(heard, 0);
    strike_stage(&s);
}

/* ---- the loop closes ---- */

struct left {
    struct stage s;
    int turns;
    bool aborts; /* while the peer pours */
};

static coil_ret pour_much(coil_reader *r, coil_writer *w, void *unused)
{
    static char block[4000000];
    (void)r, (void)unused;
    return coil_writer_write(w, block, sizeof block);
}

static coil_ret close_and_turn(void *arg)
{
    struct left *left = arg;
    coil_reader *r;
    coil_writer *w;
    set_stage(&left->s, left->aborts ? pour_much : echo, NULL);
    assert_int_equal(connect_to(&left->s, &r, &w), 0);
    int wide = 4 << 20;
    if (left->aborts) {
        assert_int_equal(
            coil_sock_setsockopt(coil_writer_sock(w), SOL_SOCKET, SO_RCVBUF, &wide, sizeof wide),
            0);
        assert_int_equal(coil_sleep(0.1), 0);
    } else
        speaks(r, w, "hello");
    coil_writer_close(w);
    for (int i = 0; i < left->turns; i++)
        assert_int_equal(coil_sleep(0), 0);
    if (left->aborts)
        coil_writer_abort(w);
    coil_writer_unref(w);
    coil_reader_unref(r);
    return 0;
}

/* The harness counts what is not given back. */
COIL_TEST_PLAIN(loop_that_closes_while_a_connection_ends_keeps_nothing)
{
    for (int turns = 0; turns < 60; turns++) {
        coil_run_opts opts = {.size = sizeof opts, .virtual_time = true};
        coil_loop *loop = coil_new_event_loop(&opts);
        struct left left = {.turns = turns / 2, .aborts = turns % 2};
        coil_set_event_loop(loop);
        coil_loop_set_exception_handler(loop, hear_nothing, NULL);
        coil_task *task = coil_create_task(close_and_turn, &left);
        assert_int_equal(coil_loop_run_until_complete(loop, task), 0);
        coil_unref(task);
        coil_loop_close(loop);
        coil_loop_free(loop);
        coil_server_free(left.s.server);
        coil_tls_context_unref(left.s.server_tls);
        coil_tls_context_unref(left.s.client_tls);
    }
}

COIL_TEST_MAIN()
