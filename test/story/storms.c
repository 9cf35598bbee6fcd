/* SPDX-License-Identifier: MIT
 *
 * storms.c: many clients, random sizes, cancels and aborts at random moments; on the imaginary kernel also short
 * transfers, resets, and neither descriptors nor buffers to be had. Whatever comes back must be a beginning of what
 * was sent; what was not disturbed must be complete; and everything is home in the end. */
#include "../unit/net/wire.h"

#include "base/random.h"
#include "io/sim/sim.h"

enum { CLIENTS = 40, MESSAGE_MAX = 60000, ROUNDS = 3 };

struct storm {
    struct random random;
    coil_server *server;
    bool faults;
    int complete, disturbed;
};

/* The n-th byte of a client's words; any two places differ soon. */
static char word(int client, size_t at)
{
    return (char)((size_t)client * 131 + at * 7 + at / 255);
}

/* ---- the server: echoes by another way of reading each time ---- */

static coil_ret echo_lines(coil_reader *reader, coil_writer *writer)
{
    for (;;) {
        const char *data;
        size_t n = 0;
        coil_ret rc = coil_reader_readuntil(reader, "\x55", 1, &data, &n);
        if (rc < 0 && rc != COIL_EINCOMPLETE)
            return rc;
        if (n == 0)
            return 0;
        if ((rc = coil_writer_write(writer, data, n)) < 0 || (rc = coil_writer_drain(writer)) < 0)
            return rc;
    }
}

static coil_ret echo_pieces(coil_reader *reader, coil_writer *writer, size_t size)
{
    char *buf = malloc(size);
    coil_ret rc;
    while ((rc = coil_reader_read(reader, buf, size)) > 0) {
        struct iovec v[2] = {{buf, (size_t)rc / 2}, {buf + rc / 2, (size_t)rc - (size_t)rc / 2}};
        if ((rc = coil_writer_writelines(writer, v, 2)) < 0 || (rc = coil_writer_drain(writer)) < 0)
            break;
    }
    free(buf);
    return rc;
}

static void give_back(void *cookie)
{
    free(cookie);
}

static coil_ret echo_owned(coil_reader *reader, coil_writer *writer)
{
    for (;;) {
        char *buf = malloc(5000);
        size_t got;
        coil_ret rc = coil_reader_readexactly(reader, buf, 5000, &got);
        bool last = rc == COIL_EINCOMPLETE;
        if ((rc < 0 && !last) ||
            (rc = coil_writer_write_owned(writer, buf, got, give_back, buf)) < 0) {
            free(buf);
            return rc;
        }
        if ((rc = coil_writer_drain(writer)) < 0 || last)
            return rc;
    }
}

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    static unsigned turn;
    switch (turn++ % 4) {
    case 0: return echo_lines(reader, writer);
    case 1: return echo_pieces(reader, writer, 100);
    case 2: return echo_pieces(reader, writer, 30000);
    default: return echo_owned(reader, writer);
    }
}

/* ---- a client ---- */

struct speaker {
    coil_writer *w;
    int client;
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
            piece[i] = word(s->client, at + i);
        coil_ret rc = coil_writer_write(s->w, piece, n);
        if (rc < 0 || (rc = coil_writer_drain(s->w)) < 0)
            return rc;
        at += n;
        if (random_below(&random, 4) == 0 && (rc = coil_sleep(0.0002)) < 0)
            return rc;
    }
    return coil_writer_write_eof(s->w);
}

struct visit {
    struct storm *storm;
    int client;
    uint64_t seed;
    size_t sent, heard;
};

static coil_ret listen_to(struct visit *v, coil_reader *r)
{
    char buf[2000];
    for (;;) {
        coil_ret rc = coil_reader_read(r, buf, sizeof buf);
        if (rc <= 0)
            return rc;
        for (coil_ret i = 0; i < rc; i++)
            assert_int_equal(buf[i], word(v->client, v->heard + (size_t)i));
        v->heard += (size_t)rc;
    }
}

static coil_ret visit(void *arg)
{
    struct visit *v = arg;
    struct random random = {v->seed};
    coil_reader *r;
    coil_writer *w;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)must(coil_server_port(v->storm->server)) & 0xffff);
    coil_ret rc = coil_open_connection("127.0.0.1", port, &r, &w);
    if (rc < 0)
        return rc;
    v->sent = random_below(&random, MESSAGE_MAX);
    struct speaker s = {.w = w, .client = v->client, .n = v->sent, .seed = random_u64(&random)};
    coil_task *speaker = coil_create_task(speak, &s);
    rc = listen_to(v, r);
    if (rc < 0)
        coil_task_cancel(speaker, NULL);
    coil_ret spoke = coil_join(speaker);
    if (random_below(&random, 5) == 0)
        coil_writer_abort(w);
    coil_ret closed = coil_writer_finish(w);
    return rc < 0 ? rc : spoke < 0 ? spoke : closed;
}

static void set_faults(bool on)
{
    struct backend *b = coil_get_running_loop()->backend;
    if (!wire_is_imaginary())
        return;
    coil__sim_set_fault(b, SIM_SHORT_IO, on ? 20000 : 0);
    coil__sim_set_fault(b, SIM_RESET, on ? 20 : 0);
    coil__sim_set_fault(b, SIM_NO_BUFFER, on ? 200 : 0);
    coil__sim_set_fault(b, SIM_NO_DESCRIPTOR, on ? 3000 : 0);
}

static void one_storm(uint64_t seed, bool faults)
{
    struct storm storm = {.random = {seed}, .faults = faults};
    must(coil_start_server(echo, NULL, "127.0.0.1", "0", &storm.server));
    set_faults(faults);
    struct visit v[CLIENTS];
    coil_task *tasks[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        v[i] = (struct visit){.storm = &storm, .client = i, .seed = random_u64(&storm.random)};
        tasks[i] = coil_create_task(visit, &v[i]);
        if (random_below(&storm.random, 3) == 0)
            must(coil_sleep(0.0005));
    }
    /* Some are cancelled on the way, one in four. */
    bool cancelled[CLIENTS] = {false};
    for (int i = 0; i < CLIENTS / 4; i++) {
        must(coil_sleep(0.0001 * random_below(&storm.random, 20)));
        int whom = (int)random_below(&storm.random, CLIENTS);
        cancelled[whom] = true;
        coil_task_cancel(tasks[whom], NULL);
    }
    for (int i = 0; i < CLIENTS; i++) {
        coil_ret rc = coil_join(tasks[i]);
        if (rc == 0)
            assert_int_equal(v[i].heard, v[i].sent);
        else
            assert_true(faults || (cancelled[i] && rc == -ECANCELED));
        storm.complete += rc == 0;
    }
    assert_true(faults || storm.complete >= CLIENTS / 2);
    set_faults(false);
    coil_server_close(storm.server);
    coil_server_abort_clients(storm.server);
    must(coil_server_wait_closed(storm.server));
    coil_server_free(storm.server);
}

COIL_TEST(storm_of_clients)
{
    struct wire_reports reports; /* a client that is cut off is an error of its function */
    wire_listen_to_reports(&reports);
    for (uint64_t seed = 1; seed <= ROUNDS; seed++)
        one_storm(seed, false);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST(storm_of_clients_and_faults)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    int rounds = wire_is_imaginary() ? 20 : 1;
    for (int seed = 1; seed <= rounds; seed++)
        one_storm((uint64_t)seed * 7919, true);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

COIL_TEST_MAIN()
