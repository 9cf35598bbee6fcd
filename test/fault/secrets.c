/* SPDX-License-Identifier: MIT
 *
 * secrets.c: TLS under faults: a server and a client; what is read is whole, and an end is told from an error. */
#include "body.h"

#include "../../examples/20_tls_certificate.h"

#include <coil/tls.h>

#include <stdlib.h>

static const char secret[] = "a secret\n";

static coil_ret whisper_back(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    size_t n;
    (void)arg;
    coil_ret rc = coil_reader_readline(reader, &line, &n);
    leave_on_error(rc);
    if (rc == 0)
        return 0;
    assert_string_equal(line, secret);
    leave_on_error(coil_writer_write(writer, line, n));
    return coil_writer_drain(writer);
}

static coil_ret contexts(coil_tls_context **out_here, coil_tls_context **out_there)
{
    leave_on_error(coil_tls_context_new(COIL_TLS_SERVER, out_there));
    leave_on_error(coil_tls_context_load_cert_chain_pem(
        *out_there, certificate, sizeof certificate - 1, key, sizeof key - 1, NULL));
    leave_on_error(coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, out_here));
    return coil_tls_context_load_verify_pem(*out_here, certificate, sizeof certificate - 1);
}

static coil_ret ask(coil_reader *reader, coil_writer *writer)
{
    const char *answer;
    leave_on_error(coil_writer_write(writer, secret, sizeof secret - 1));
    leave_on_error(coil_writer_drain(writer));
    coil_ret n = coil_reader_readline(reader, &answer, NULL);
    leave_on_error(n);
    if (n == 0)
        return -ECONNRESET;
    assert_string_equal(answer, secret);
    return 0;
}

static coil_ret whisper(coil_server *server, coil_tls_context *here)
{
    const coil_connect_opts opts = {.size = sizeof opts, .tls = here};
    coil_reader *reader;
    coil_writer *writer;
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    leave_on_error(coil_open_connection_with("127.0.0.1", port, &opts, &reader, &writer));
    coil_ret rc = ask(reader, writer);
    return first_error(rc, coil_writer_finish(writer));
}

static coil_ret over_tls(void)
{
    coil_tls_context *here = NULL, *there = NULL;
    coil_server *server;
    coil_ret rc = contexts(&here, &there);
    const coil_server_opts opts = {.size = sizeof opts, .tls = there};
    if (rc == 0)
        rc = coil_start_server_with(whisper_back, NULL, "127.0.0.1", "0", &opts, &server);
    if (rc == 0) {
        rc = whisper(server, here);
        coil_server_abort_clients(server);
        rc = first_error(rc, coil_server_finish(server));
    }
    coil_tls_context_unref(here);
    coil_tls_context_unref(there);
    return rc;
}

COIL_TEST(tls_under_faults)
{
    play(over_tls);
}

/* ---- plain first, then TLS ---- */

static coil_ret upgrade_and_whisper_back(coil_reader *reader, coil_writer *writer, void *there)
{
    const char *line;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    leave_on_error(rc);
    if (rc == 0)
        return 0;
    leave_on_error(coil_writer_write(writer, "go\n", 3));
    leave_on_error(coil_writer_drain(writer));
    leave_on_error(coil_writer_start_tls(writer, there, NULL));
    return whisper_back(reader, writer, NULL);
}

static coil_ret upgrade(coil_reader *reader, coil_writer *writer, coil_tls_context *here)
{
    const coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = "localhost"};
    const char *answer;
    leave_on_error(coil_writer_write(writer, "starttls\n", 9));
    coil_ret n = coil_reader_readline(reader, &answer, NULL);
    leave_on_error(n);
    if (n == 0)
        return -ECONNRESET;
    leave_on_error(coil_writer_start_tls(writer, here, &opts));
    return ask(reader, writer);
}

static coil_ret plain_first(void)
{
    coil_tls_context *here = NULL, *there = NULL;
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = contexts(&here, &there);
    if (rc == 0)
        rc = coil_start_server(upgrade_and_whisper_back, there, "127.0.0.1", "0", &server);
    if (rc == 0) {
        char port[8];
        snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
        rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
        if (rc == 0) {
            rc = upgrade(reader, writer, here);
            rc = first_error(rc, coil_writer_finish(writer));
        }
        coil_server_abort_clients(server);
        rc = first_error(rc, coil_server_finish(server));
    }
    coil_tls_context_unref(here);
    coil_tls_context_unref(there);
    return rc;
}

COIL_TEST(start_tls_under_faults)
{
    play(plain_first);
}

COIL_TEST_MAIN()
