/* SPDX-License-Identifier: MIT
 *
 * tls.c: a program of somebody else's that wants TLS: its two libraries work together, and tell that a server has none. */
#include <coil.h>
#include <coil/tls.h>

#include <stdio.h>
#include <string.h>

static coil_ret say_hello(coil_reader *reader, coil_writer *writer, void *unused)
{
    char byte;
    (void)unused;
    coil_writer_write(writer, "hello, in the clear\n", 20);
    while (coil_reader_read(reader, &byte, 1) > 0)
        ;
    return 0;
}

static coil_ret program(void *unused)
{
    coil_server *server;
    coil_tls_context *tls;
    coil_reader *reader;
    coil_writer *writer;
    char port[16];
    (void)unused;
    coil_ret rc = coil_start_server(say_hello, NULL, "127.0.0.1", "0", &server);
    if (coil_iserr(rc))
        return rc;
    rc = coil_tls_context_new(0, &tls);
    if (coil_iserr(rc))
        return rc;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_connect_opts opts = {0};
    opts.size = sizeof opts;
    opts.tls = tls;
    rc = coil_open_connection_with("127.0.0.1", port, &opts, &reader, &writer);
    printf("answer: %s, %s\n", coil_errname(rc),
           strstr(coil_last_error()->message, "does not speak TLS") ? "hello" : "?");
    coil_tls_context_unref(tls);
    return coil_server_finish(server);
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
