/* SPDX-License-Identifier: MIT
 *
 * 20_tls.c: the same streams over TLS, and what a client believes.
 *
 * Look at: apart from the context in the options nothing differs from plain TCP: reads, writes, finish. The client
 * checks whom it talks to unless it is told otherwise, by a name that begins with COIL_TLS_INSECURE; here it trusts the
 * one certificate that the server has, which is for localhost and for nobody else. */
#include "20_tls_certificate.h"

#include <coil.h>
#include <coil/tls.h>

#include <stdio.h>

static coil_ret chat(coil_reader *reader, coil_writer *writer, void *unused)
{
    const char *line;
    coil_ret n = coil_reader_readline(reader, &line, NULL);
    if (coil_iserr(n))
        return n;
    coil_writer_write(writer, "you whispered: ", 15);
    return coil_writer_write(writer, line, (size_t)n);
}

static coil_ret whisper(const char *port, coil_tls_context *tls, const char *server_hostname)
{
    coil_reader *reader;
    coil_writer *writer;
    const char *answer;
    coil_connect_opts opts = {.size = sizeof opts, .tls = tls, .server_hostname = server_hostname};
    coil_ret rc = coil_open_connection_with("127.0.0.1", port, &opts, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    printf("%s, with %s\n", coil_tls_version(coil_writer_tls(writer)),
           coil_tls_peer_name(coil_writer_tls(writer)));
    coil_writer_write(writer, "a secret\n", 9);
    rc = coil_reader_readline(reader, &answer, NULL);
    if (!coil_iserr(rc))
        printf("%s", answer);
    coil_ret closed = coil_writer_finish(writer); /* close_notify, and the peer's */
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret serve_and_whisper(void *unused)
{
    coil_tls_context *here = NULL, *there = NULL;
    coil_server *server;
    coil_ret rc = coil_tls_context_new(COIL_TLS_SERVER, &there);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_cert_chain_pem(there, certificate, sizeof certificate - 1, key,
                                                  sizeof key - 1, NULL);
    if (!coil_iserr(rc))
        rc = coil_tls_context_new(COIL_TLS_NO_DEFAULT_CERTS, &here);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_verify_pem(here, certificate, sizeof certificate - 1);
    coil_server_opts opts = {.size = sizeof opts, .tls = there};
    if (!coil_iserr(rc))
        rc = coil_start_server_with(chat, NULL, "127.0.0.1", "0", &opts, &server);
    if (!coil_iserr(rc)) {
        char port[8];
        snprintf(port, sizeof port, "%d", coil_server_port(server));
        rc = whisper(port, here, NULL); /* 127.0.0.1 is in the certificate too */
        if (whisper(port, here, "example.org") == COIL_ETLSCERT)
            printf("%s\n", coil_last_error()->message);
        coil_ret closed = coil_server_finish(server);
        rc = coil_iserr(rc) ? rc : closed;
    }
    coil_tls_context_unref(here);
    coil_tls_context_unref(there);
    return rc;
}

int main(void)
{
    return coil_report(coil_run(serve_and_whisper, NULL));
}
