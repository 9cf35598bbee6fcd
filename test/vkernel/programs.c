/* SPDX-License-Identifier: MIT
 *
 * programs.c: what a storm is made of: programs that wait, give up, try again, and keep a ledger of every byte.
 *
 * Each writes the words of some number, and who reads them knows what must come where. */
#include "storm.h"

/* The n-th byte of a sender's words; any two places differ soon. */
static char word(unsigned who, size_t at)
{
    return (char)(who * 131 + at * 7 + at / 255);
}

/* For ever, or not even as long as something takes. */
static double patience(unsigned us)
{
    return below(3) ? COIL_FOREVER : 1e-6 * below(us);
}

/* ---- the server: echoes, and loses its patience now and then ---- */

static coil_ret read_some(coil_reader *reader, char *buf, size_t n)
{
    for (;;) {
        if (below(4) > 0)
            return coil_reader_read(reader, buf, n);
        coil_timeout(soon, 1e-6 * below(2000));
        coil_ret rc = coil_timeout_exit(&soon, coil_reader_read(reader, buf, n));
        if (rc != -ETIMEDOUT)
            return rc;
        storm.cancelled++;
    }
}

coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[5000];
    for (;;) {
        coil_ret rc = read_some(reader, buf, 1 + below(sizeof buf));
        if (rc <= 0)
            return 0; /* a client that finds less than it said will tell */
        rc = coil_writer_write(writer, buf, (size_t)rc);
        if (rc == 0 && below(2))
            rc = coil_writer_drain(writer);
        if (rc < 0)
            return 0;
    }
}

/* ---- clients ---- */

struct speaker {
    coil_writer *w;
    unsigned who;
    size_t n;
    uint64_t seed;
};

static coil_ret speak(void *arg)
{
    struct speaker *s = arg;
    struct random random = {s->seed};
    char piece[3000];
    for (size_t at = 0; at < s->n;) {
        size_t n = 1 + random_below(&random, sizeof piece);
        if (n > s->n - at)
            n = s->n - at;
        for (size_t i = 0; i < n; i++)
            piece[i] = word(s->who, at + i);
        coil_ret rc = coil_writer_write(s->w, piece, n);
        if (rc < 0 || (rc = coil_writer_drain(s->w)) < 0)
            return rc;
        at += n;
        if (random_below(&random, 4) == 0 && (rc = coil_sleep(0.0002)) < 0)
            return rc;
    }
    return coil_writer_write_eof(s->w);
}

static coil_ret listen_to(coil_reader *r, unsigned who, size_t *heard)
{
    char buf[4000];
    for (;;) {
        coil_ret rc = read_some(r, buf, 1 + below(sizeof buf));
        if (rc <= 0)
            return rc;
        for (coil_ret i = 0; i < rc; i++)
            if (buf[i] != word(who, *heard + (size_t)i))
                fail_msg("sender %u: byte %zu is not what was sent", who, *heard + (size_t)i);
        *heard += (size_t)rc;
    }
}

coil_ret converse(unsigned who, size_t n)
{
    char port[8];
    coil_reader *r;
    coil_writer *w;
    size_t heard = 0;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(storm.server));
    coil_ret rc = coil_open_connection("127.0.0.1", port, &r, &w);
    if (rc < 0)
        return rc;
    struct speaker s = {.w = w, .who = who, .n = n, .seed = who + storm.random.state};
    coil_task *task = coil_create_task(speak, &s);
    if (below(12) == 0) { /* a client that goes in the middle */
        coil_ignore(coil_sleep(1e-6 * below(3000)));
    } else {
        rc = listen_to(r, who, &heard);
        if (rc == 0 && heard != n && !storm.disturbed)
            fail_msg("%zu of %zu bytes came", heard, n);
        if (rc == 0 && heard != n)
            rc = -EPIPE;
        storm.complete += rc == 0;
    }
    coil_task_cancel(task, NULL);
    coil_ret said = coil_join(task);
    if (rc == 0 && said < 0 && said != -ECANCELED && heard == n)
        rc = said;
    coil_ignore(coil_writer_finish(w));
    return rc;
}

coil_ret client(void *arg)
{
    unsigned who = *(unsigned *)arg;
    for (unsigned i = 0, rounds = 1 + below(4); i < rounds; i++) {
        must_be_explained(converse(who * 16 + i, below(3) ? below(300) : below(MESSAGE_MAX)));
        if (below(3) == 0)
            coil_ignore(coil_sleep(0.001));
    }
    return 0;
}

/* ---- a pair, of which both ends write and read with patience that ends ---- */

struct end {
    coil_sock *sock;
    unsigned who;
    size_t n, at;
};

static coil_ret push(void *arg)
{
    struct end *e = arg;
    char piece[2500];
    while (e->at < e->n) {
        size_t n = 1 + below(sizeof piece);
        if (n > e->n - e->at)
            n = e->n - e->at;
        for (size_t i = 0; i < n; i++)
            piece[i] = word(e->who, e->at + i);
        coil_timeout(soon, patience(500));
        coil_ret rc = coil_timeout_exit(&soon, coil_sock_send(e->sock, piece, n));
        if (rc > 0)
            e->at += (size_t)rc;
        else if (rc != -ETIMEDOUT && rc != -ENOMEM)
            return rc;
    }
    return coil_sock_shutdown(e->sock, SHUT_WR);
}

static coil_ret pull(void *arg)
{
    struct end *e = arg;
    char buf[6000];
    for (;;) {
        coil_timeout(soon, patience(500));
        coil_ret rc = coil_timeout_exit(&soon, coil_sock_recv(e->sock, buf, 1 + below(sizeof buf)));
        if (rc == -ETIMEDOUT || rc == -ENOMEM)
            continue;
        if (rc <= 0)
            return rc < 0 ? rc : e->at == e->n ? 0 : -EPIPE;
        for (coil_ret i = 0; i < rc; i++)
            if (buf[i] != word(e->who, e->at + (size_t)i))
                fail_msg("pair %u: byte %zu is not what was sent", e->who, e->at + (size_t)i);
        e->at += (size_t)rc;
    }
}

coil_ret pair(void *arg)
{
    int fds[2];
    coil_sock *socks[2];
    if (sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return 0;
    for (int i = 0; i < 2; i++)
        if (coil_sock_adopt(NULL, fds[i], &socks[i]) < 0)
            fail_msg("a pair cannot be taken over");
    size_t n[2] = {below(MESSAGE_MAX), below(MESSAGE_MAX)};
    struct end out[2], in[2];
    coil_task *tasks[4];
    for (unsigned i = 0; i < 2; i++) {
        out[i] = (struct end){.sock = socks[i], .who = 200 + i, .n = n[i]};
        in[i] = (struct end){.sock = socks[!i], .who = 200 + i, .n = n[i]};
        tasks[i] = coil_create_task(push, &out[i]);
        tasks[i + 2] = coil_create_task(pull, &in[i]);
    }
    for (int i = 0; i < 4; i++)
        must_be_explained(coil_join(tasks[i]));
    storm.complete += in[0].at == n[0];
    coil_sock_unref(socks[0]);
    coil_sock_unref(socks[1]);
    return 0;
}

/* ---- a pipe that is not coil's, waited for and read by plain calls ---- */

static coil_ret raw_push(void *arg)
{
    struct end *e = arg;
    int fd = (int)(intptr_t)e->sock;
    while (e->at < e->n) {
        char c = word(e->who, e->at);
        ssize_t rc = sys_write(fd, &c, 1);
        if (rc == 1) {
            e->at++;
            if (below(50) == 0)
                coil_ignore(coil_sleep(1e-6 * below(300)));
        } else if (rc == -EAGAIN) {
            coil_timeout(soon, patience(300));
            coil_ret waited = coil_timeout_exit(&soon, coil_wait_fd(fd, COIL_WRITE));
            if (waited < 0 && waited != -ETIMEDOUT)
                must_be_explained(waited);
        } else if (rc != -EINTR) {
            return rc;
        }
    }
    return 0;
}

static coil_ret raw_pull(void *arg)
{
    struct end *e = arg;
    int fd = (int)(intptr_t)e->sock;
    char buf[700];
    for (;;) {
        coil_timeout(soon, patience(300));
        coil_ret rc = coil_timeout_exit(&soon, coil_wait_fd(fd, COIL_READ));
        if (rc < 0 && rc != -ETIMEDOUT)
            must_be_explained(rc);
        ssize_t got = sys_read(fd, buf, 1 + below(sizeof buf));
        if (got == 0)
            return 0;
        for (ssize_t i = 0; i < got; i++)
            if (buf[i] != word(e->who, e->at + (size_t)i))
                fail_msg("pipe: byte %zu is not what was written", e->at + (size_t)i);
        e->at += got > 0 ? (size_t)got : 0;
    }
}

coil_ret raw_pipe(void *arg)
{
    int fds[2];
    if (sys_pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
        return 0;
    struct end out = {.sock = (coil_sock *)(intptr_t)fds[1], .who = 77, .n = below(9000)};
    struct end in = {.sock = (coil_sock *)(intptr_t)fds[0], .who = 77, .n = out.n};
    coil_task *pulls = coil_create_task(raw_pull, &in), *pushes = coil_create_task(raw_push, &out);
    assert_int_equal(coil_join(pushes), 0);
    sys_close(fds[1]);
    assert_int_equal(coil_join(pulls), 0);
    assert_int_equal(in.at, out.n);
    storm.complete++;
    sys_close(fds[0]);
    return 0;
}

/* ---- doors: accepts and connects that are given up ---- */

struct house {
    coil_sock *listener;
    unsigned knocked, served; /* connections that were made, and that were answered */
    bool closed;
};

static coil_ret answer(coil_sock *sock)
{
    char name[4];
    size_t got = 0;
    while (got < sizeof name) {
        coil_timeout(soon, patience(300));
        coil_ret rc = coil_timeout_exit(&soon, coil_sock_recv(sock, name + got, sizeof name - got));
        if (rc == 0 || (rc < 0 && rc != -ETIMEDOUT))
            return rc;
        got += rc > 0 ? (size_t)rc : 0;
    }
    size_t sent;
    return coil_sock_sendall(sock, name, sizeof name, &sent);
}

static coil_ret keep_house(void *arg)
{
    struct house *h = arg;
    while (!h->closed) {
        coil_sock *sock;
        coil_timeout(soon, below(3) ? 0.05 : 1e-6 * below(400));
        coil_ret rc = coil_timeout_exit(&soon, coil_sock_accept(h->listener, &sock, NULL));
        if (rc == -ETIMEDOUT)
            continue;
        if (rc < 0) {
            must_be_explained(rc);
            coil_ignore(coil_sleep(0.001));
            continue;
        }
        rc = answer(sock);
        h->served += rc >= 0;
        coil_sock_unref(sock);
    }
    return 0;
}

static coil_ret knock(struct house *h, const coil_address *at, unsigned who)
{
    coil_sock *sock;
    char name[4], back[4];
    coil_ret rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock);
    if (rc < 0)
        return rc;
    memset(name, (int)who, sizeof name);
    size_t sent, got = 0;
    coil_timeout(soon, patience(200));
    rc = coil_timeout_exit(&soon, coil_sock_connect(sock, at));
    if (rc == 0) {
        h->knocked++;
        rc = coil_sock_sendall(sock, name, sizeof name, &sent);
    }
    while (rc >= 0 && got < sizeof back) {
        rc = coil_sock_recv(sock, back + got, sizeof back - got);
        if (rc == 0)
            rc = -ECONNRESET; /* an end instead of an answer */
        got += rc > 0 ? (size_t)rc : 0;
    }
    storm.complete += rc > 0;
    if (rc > 0 && memcmp(name, back, sizeof name) != 0)
        fail_msg("knocker %u got the answer of another", who);
    coil_sock_unref(sock);
    return rc == -ETIMEDOUT ? 0 : rc;
}

coil_ret doors(void *arg)
{
    struct house h = {0};
    coil_address at;
    must_be_explained(coil_address_parse("127.0.0.1", "0", &at));
    if (coil_sock_new(AF_INET, SOCK_STREAM, 0, &h.listener) < 0)
        return 0;
    if (coil_sock_bind(h.listener, &at) < 0 ||
        coil_sock_listen(h.listener, 1 + (int)below(4)) < 0 ||
        coil_sock_getsockname(h.listener, &at) < 0)
        fail_msg("a door cannot be opened");
    coil_task *keeper = coil_create_task(keep_house, &h);
    for (unsigned i = 0, n = below(12); i < n; i++)
        must_be_explained(knock(&h, &at, i + 1));
    h.closed = true;
    assert_int_equal(coil_join(keeper), 0);
    coil_sock_unref(h.listener);
    return 0;
}

/* ---- callbacks ---- */

struct call {
    coil_transport *transport;
    unsigned who;
    size_t n, said, heard;
    bool lost, ended;
    coil_event over;
};

static coil_ret echo_received(coil_transport *transport, const void *data, size_t n, void *arg)
{
    return coil_transport_write(transport, data, n);
}

static void go_on(void *arg)
{
    coil_transport_resume_reading(arg);
    coil_transport_unref(arg);
}

static coil_ret speaker_received(coil_transport *transport, const void *data, size_t n, void *arg)
{
    struct call *c = arg;
    const char *p = data;
    for (size_t i = 0; i < n; i++)
        if (p[i] != word(c->who, c->heard + i))
            fail_msg("call %u: byte %zu is not what was sent", c->who, c->heard + i);
    c->heard += n;
    if (below(4) == 0) {
        coil_transport_pause_reading(transport);
        if (coil_loop_call_later(NULL, 1e-6 * below(400), go_on, coil_transport_ref(transport),
                                 NULL) < 0)
            fail_msg("no timer");
    }
    return 0;
}

static coil_ret ended(coil_transport *transport, void *arg)
{
    struct call *c = arg;
    c->ended = true;
    return 0;
}

static void lost(coil_transport *transport, coil_ret error, void *arg)
{
    struct call *c = arg;
    c->lost = true;
    must_be_explained(error);
    coil_event_set(&c->over);
}

static void ignore_lost(coil_transport *transport, coil_ret error, void *arg)
{
}

static const coil_protocol echoes = {
    .size = sizeof echoes, .data_received = echo_received, .connection_lost = ignore_lost};
static const coil_protocol speaks = {.size = sizeof speaks,
                                     .data_received = speaker_received,
                                     .eof_received = ended,
                                     .connection_lost = lost};

static coil_ret make_echo(const coil_protocol **out, void **out_arg, void *arg)
{
    *out = &echoes;
    return 0;
}

static coil_ret make_speaker(const coil_protocol **out, void **out_arg, void *arg)
{
    *out = &speaks;
    *out_arg = arg;
    return 0;
}

static coil_ret call_up(struct call *c, const char *port)
{
    char piece[900];
    coil_ret rc = coil_loop_create_connection(NULL, make_speaker, c, "127.0.0.1", port, NULL,
                                              &c->transport, NULL);
    if (rc < 0)
        return rc;
    while (c->said < c->n && !c->lost) {
        size_t n = 1 + below(sizeof piece);
        if (n > c->n - c->said)
            n = c->n - c->said;
        for (size_t i = 0; i < n; i++)
            piece[i] = word(c->who, c->said + i);
        if (coil_transport_write(c->transport, piece, n) < 0)
            break;
        c->said += n;
        if (below(3) == 0)
            coil_ignore(coil_sleep(1e-6 * below(300)));
    }
    if (!c->lost)
        coil_ignore(coil_transport_write_eof(c->transport));
    rc = coil_event_wait(&c->over);
    coil_transport_unref(c->transport);
    storm.complete += c->heard == c->n;
    if (rc >= 0 && c->heard != c->n && !storm.disturbed)
        fail_msg("call %u: %zu of %zu bytes came", c->who, c->heard, c->n);
    return rc;
}

coil_ret callbacks(void *arg)
{
    coil_server *server;
    char port[8];
    if (coil_loop_create_server(NULL, make_echo, NULL, "127.0.0.1", "0", NULL, &server) < 0)
        return 0;
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server));
    for (unsigned i = 0, n = 1 + below(3); i < n; i++) {
        struct call c = {.who = 100 + i, .n = below(MESSAGE_MAX)};
        must_be_explained(call_up(&c, port));
    }
    coil_server_close(server);
    coil_server_abort_clients(server);
    assert_int_equal(coil_server_wait_closed(server), 0);
    coil_server_free(server);
    return 0;
}
