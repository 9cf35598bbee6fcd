/* SPDX-License-Identifier: MIT
 *
 * test_stream.c: TLS over streams, both ends in one process. */
#include "certs.h"

#include <coil.h>

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *unused)
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
    return n;
}

/* A server and the context of its clients. */
struct stage {
    coil_tls_context *server_tls, *client_tls;
    coil_server *server;
    char port[8];
};

static void set_stage(struct stage *s, coil_client_fn fn, void *arg)
{
    if (!s->server_tls)
        s->server_tls = server_context(NULL);
    if (!s->client_tls)
        s->client_tls = client_context(0);
    coil_server_opts opts = {.size = sizeof opts, .tls = s->server_tls};
    assert_int_equal(coil_start_server_with(fn, arg, "127.0.0.1", "0", &opts, &s->server), 0);
    snprintf(s->port, sizeof s->port, "%d", coil_server_port(s->server));
}

static void strike_stage(struct stage *s)
{
    assert_int_equal(coil_server_finish(s->server), 0);
    coil_tls_context_unref(s->server_tls);
    coil_tls_context_unref(s->client_tls);
}

static coil_ret connect_to(const struct stage *s, coil_reader **r, coil_writer **w)
{
    coil_connect_opts opts = {.size = sizeof opts, .tls = s->client_tls};
    return coil_open_connection_with("127.0.0.1", s->port, &opts, r, w);
}

COIL_TEST(echo_over_tls)
{
    struct stage s = {0};
    coil_reader *r;
    coil_writer *w;
    char buf[64];
    set_stage(&s, echo, NULL);
    assert_int_equal(connect_to(&s, &r, &w), 0);
    assert_int_equal(coil_writer_write(w, "hello", 5), 0);
    assert_int_equal(coil_reader_readexactly(r, buf, 5, NULL), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_string_equal(coil_tls_version(coil_writer_tls(w)), "TLSv1.3");
    assert_int_equal(coil_writer_finish(w), 0);
    strike_stage(&s);
}

COIL_TEST_MAIN()
