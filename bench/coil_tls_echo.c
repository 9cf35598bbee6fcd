/* SPDX-License-Identifier: MIT
 *
 * coil_tls_echo.c: an echo server over TLS: coil_tls_echo BUFFER CERT KEY. Prints where it listens; serves until killed. */
#include <coil.h>
#include <coil/tls.h>

#include <stdio.h>
#include <stdlib.h>

static size_t buf_n;
static char **args;

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *buf)
{
    coil_ret n;
    while ((n = coil_reader_read(reader, buf, buf_n)) > 0) {
        coil_ret rc = coil_writer_write(writer, buf, (size_t)n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret serve(coil_reader *reader, coil_writer *writer, void *arg)
{
    if (buf_n > 65536) {
        void *buf = malloc(buf_n);
        coil_ret rc = echo(reader, writer, buf);
        free(buf);
        return rc;
    }
    char buf[65536];
    return echo(reader, writer, buf);
}

static coil_ret main_task(void *arg)
{
    coil_tls_context *tls = NULL;
    coil_ret rc = coil_tls_context_new(COIL_TLS_SERVER, &tls);
    if (!coil_iserr(rc))
        rc = coil_tls_context_load_cert_chain(tls, args[2], args[3], NULL);
    coil_server_opts opts = {.size = sizeof opts, .backlog = 1024, .tls = tls};
    coil_server *server;
    if (!coil_iserr(rc))
        rc = coil_start_server_with(serve, NULL, "127.0.0.1", "0", &opts, &server);
    if (coil_iserr(rc)) {
        coil_tls_context_unref(tls);
        return rc;
    }
    printf("%d\n", coil_server_port(server));
    fflush(stdout);
    return coil_server_serve_forever(server);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    buf_n = (size_t)atol(argv[1]);
    args = argv;
    return coil_report(coil_run(main_task, NULL));
}
