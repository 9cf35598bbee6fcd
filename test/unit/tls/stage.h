/* SPDX-License-Identifier: MIT
 *
 * stage.h: a TLS server and those who come to it, in one process. */
#ifndef TEST_UNIT_TLS_STAGE_H
#define TEST_UNIT_TLS_STAGE_H

#include "certs.h"

#include <coil.h>

/* A server and the context of its clients; what is not set beforehand is made. */
struct stage {
    coil_tls_context *server_tls, *client_tls;
    coil_server_opts opts;
    const char *server_hostname; /* for connect_to */
    double timeout;
    coil_server *server;
    char port[8];
};

/* Sends back what comes. */
static inline coil_ret echo(coil_reader *reader, coil_writer *writer, void *unused)
{
    char buf[4096];
    coil_ret n;
    (void)unused;
    while ((n = coil_reader_read(reader, buf, sizeof buf)) > 0) {
        coil_ret rc = coil_writer_write(writer, buf, (size_t)n);
        if (rc == 0)
            rc = coil_writer_drain(writer);
        if (rc < 0)
            return rc;
    }
    return n == COIL_ETLSEOF || n == -ECONNRESET ? 0 : n;
}

static inline void set_stage(struct stage *s, coil_client_fn fn, void *arg)
{
    if (!s->server_tls)
        s->server_tls = server_context(NULL);
    if (!s->client_tls)
        s->client_tls = client_context(0);
    s->opts.size = sizeof s->opts;
    s->opts.tls = s->server_tls;
    assert_int_equal(coil_start_server_with(fn, arg, "127.0.0.1", "0", &s->opts, &s->server), 0);
    snprintf(s->port, sizeof s->port, "%d", coil_server_port(s->server));
}

static inline void strike_stage(struct stage *s)
{
    assert_int_equal(coil_server_finish(s->server), 0);
    coil_tls_context_unref(s->server_tls);
    coil_tls_context_unref(s->client_tls);
}

static inline coil_ret connect_to(const struct stage *s, coil_reader **r, coil_writer **w)
{
    coil_connect_opts opts = {.size = sizeof opts,
                              .tls = s->client_tls,
                              .server_hostname = s->server_hostname,
                              .tls_handshake_timeout = s->timeout,
                              .tls_shutdown_timeout = s->timeout};
    return coil_open_connection_with("127.0.0.1", s->port, &opts, r, w);
}

/* The connection must not come about: with this error, in words that have this in them. */
static inline void refused(const struct stage *s, coil_ret code, const char *words)
{
    coil_reader *r;
    coil_writer *w;
    coil_ret rc = connect_to(s, &r, &w);
    if (rc == 0) { /* TLS 1.3: a server that refuses our certificate says so after our handshake */
        char byte;
        rc = coil_reader_read(r, &byte, 1);
        coil_writer_abort(w);
        coil_ignore(coil_writer_finish(w));
        if (rc == 0)
            rc = 1;
        else if (rc < 0)
            coil_fail(rc, "%s", coil_errname(rc) ? coil_last_error()->message : "");
    }
    assert_int_equal(rc, code);
    if (words && !strstr(coil_last_error()->message, words))
        fail_msg("\"%s\" is not in \"%s\"", words, coil_last_error()->message);
}

/* Both ends understand each other. */
static inline void speaks(coil_reader *r, coil_writer *w, const char *text)
{
    char buf[256];
    size_t n = strlen(text);
    assert_int_equal(coil_writer_write(w, text, n), 0);
    assert_int_equal(coil_reader_readexactly(r, buf, n, NULL), n);
    assert_memory_equal(buf, text, n);
}

static inline void one_echo(const struct stage *s)
{
    coil_reader *r;
    coil_writer *w;
    assert_int_equal(connect_to(s, &r, &w), 0);
    speaks(r, w, "hello");
    assert_int_equal(coil_writer_finish(w), 0);
}

#endif
