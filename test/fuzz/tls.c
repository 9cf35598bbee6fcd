/* SPDX-License-Identifier: MIT
 *
 * tls.c: a TLS client and a TLS server, and between them somebody who changes, drops, adds and holds back bytes, or talks
 * himself.
 *
 *     client --- middle --> server        each knows what the other one would say
 *            <-- middle ---
 *
 * What an application gets is the beginning of what the other one wrote, and a clean end means all of it; each call ends, in
 * bounded virtual time. Keys are new each time, so one input is not one run byte by byte; what is asked is true of all. */
#include "fuzz.h"

#include "certs.h"
#include "io/backend.h"
#include "loop/loop.h"

#include <sys/socket.h>

enum { TEXT = 3000, EDITS_MAX = 12, PATIENCE_S = 100, BOUND_S = 600 };

struct edit {
    unsigned what, at, value;
    bool done;
};

struct way { /* one direction */
    struct input in;
    coil_sock *from, *to;
    struct edit edit[EDITS_MAX];
    size_t n, passed;
};

struct side {
    coil_sock *sock;
    coil_tls_context *context;
    char own, other; /* letters to tell the texts apart */
    coil_ret shaken;
};

static void text_of_side(char letter, char out[TEXT])
{
    for (size_t i = 0; i < TEXT; i++)
        out[i] = (char)(letter + i % 13);
}

static coil_ret talk(coil_reader *reader, coil_writer *writer, const struct side *s)
{
    char text[TEXT], buf[512];
    size_t got = 0;
    coil_ret n;
    text_of_side(s->own, text);
    coil_ignore(coil_writer_write(writer, text, TEXT));
    coil_ignore(coil_writer_write_eof(writer));
    text_of_side(s->other, text);
    while ((n = coil_reader_read(reader, buf, sizeof buf)) > 0) {
        HOLDS((size_t)n <= TEXT - got && memcmp(buf, text + got, (size_t)n) == 0);
        got += (size_t)n;
    }
    HOLDS(n < 0 || got == TEXT);
    return n;
}

static coil_ret play_side(void *arg)
{
    struct side *s = arg;
    coil_reader *reader;
    coil_writer *writer;
    HOLDS(coil_open_connection_sock(s->sock, 0, &reader, &writer) == 0);
    coil_start_tls_opts opts = {.size = sizeof opts,
                                .server_hostname = s->own == 'A' ? "localhost" : NULL};
    s->shaken = coil_writer_start_tls(writer, s->context, &opts);
    if (s->shaken == 0) {
        coil_timeout(patience, PATIENCE_S);
        if (coil_timeout_exit(&patience, talk(reader, writer, s)) < 0)
            coil_writer_abort(writer);
    }
    coil_ignore(coil_writer_finish(writer));
    return 0;
}

static coil_ret pass(struct way *w, const void *data, size_t n)
{
    return n > 0 ? coil_sock_sendall(w->to, data, n, NULL) : 0;
}

/* What this edit makes of the byte it is about. */
static coil_ret apply(struct way *w, const struct edit *e, char byte)
{
    char more[64];
    size_t n = 0;
    switch (e->what % 6) {
    case 0: byte = (char)(byte ^ (1 + e->value % 255)); break;
    case 1: return 0;
    case 2: /* he talks himself */
        for (; n < sizeof more && n < e->value; n++)
            more[n] = (char)next(&w->in);
        break;
    case 3: /* again and again */
        for (; n < sizeof more && n < e->value; n++)
            more[n] = byte;
        break;
    case 4: coil_ignore(coil_sleep(e->value)); break;
    default: return -EPIPE;
    }
    coil_ret rc = pass(w, more, n);
    return rc < 0 ? rc : pass(w, &byte, 1);
}

static struct edit *due(struct way *w, size_t within)
{
    struct edit *first = NULL;
    for (struct edit *e = w->edit; e < w->edit + w->n; e++)
        if (!e->done && e->at >= w->passed && e->at - w->passed < within &&
            (!first || e->at < first->at))
            first = e;
    return first;
}

static coil_ret play_way(void *arg)
{
    struct way *w = arg;
    char buf[4096];
    coil_ret rc = 0, n;
    while (rc >= 0 && (n = coil_sock_recv(w->from, buf, sizeof buf)) > 0) {
        const char *at = buf, *end = buf + n;
        for (struct edit *e; rc >= 0 && (e = due(w, (size_t)(end - at)));) {
            size_t before = e->at - w->passed;
            rc = pass(w, at, before);
            at += before;
            w->passed += before;
            e->done = true;
            if (rc >= 0)
                rc = apply(w, e, *at);
            at++, w->passed++;
        }
        if (rc >= 0)
            rc = pass(w, at, (size_t)(end - at));
        w->passed += (size_t)(end - at);
    }
    coil_ignore(coil_sock_shutdown(w->to, SHUT_WR));
    while (coil_sock_recv(w->from, buf, sizeof buf) > 0)
        ;
    return 0;
}

static void pair(coil_sock *out[2])
{
    struct backend *b = coil_get_running_loop()->backend;
    int fd[2];
    HOLDS(b->cls->calls.socketpair(b, AF_UNIX, SOCK_STREAM, fd) == 0);
    HOLDS(coil_sock_adopt(NULL, fd[0], &out[0]) == 0 && coil_sock_adopt(NULL, fd[1], &out[1]) == 0);
}

static coil_ret play(void *arg)
{
    struct input *in = arg;
    static coil_tls_context *server_tls, *client_tls;
    if (!server_tls) {
        server_tls = server_context(NULL);
        client_tls = client_context(0);
    }
    coil_sock *left[2], *right[2];
    pair(left);
    pair(right);
    struct side client = {.sock = left[0], .context = client_tls, .own = 'A', .other = 'a'};
    struct side server = {.sock = right[0], .context = server_tls, .own = 'a', .other = 'A'};
    struct way way[2] = {{.from = left[1], .to = right[1]}, {.from = right[1], .to = left[1]}};
    unsigned edits = next(in) % EDITS_MAX;
    while (edits-- > 0) {
        unsigned what = next(in);
        struct way *w = &way[what % 2];
        unsigned at = next(in) % 16 * 256 + next(in);
        w->edit[w->n++] = (struct edit){.what = what / 2, .at = at, .value = next(in)};
    }
    way[0].in = way[1].in = *in;
    double began = coil_loop_time(NULL);
    coil_task *tasks[] = {coil_create_task(play_side, &client),
                          coil_create_task(play_side, &server), coil_create_task(play_way, &way[0]),
                          coil_create_task(play_way, &way[1])};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        HOLDS(tasks[i] && coil_join(tasks[i]) == 0);
    HOLDS(coil_loop_time(NULL) - began < BOUND_S + 12 * 256);
    HOLDS(way[0].n + way[1].n > 0 || (client.shaken == 0 && server.shaken == 0));
    coil_sock_unref(left[1]);
    coil_sock_unref(right[1]);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    fuzz_run_alone(play, &in);
    return 0;
}
