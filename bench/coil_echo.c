/* SPDX-License-Identifier: MIT
 *
 * coil_echo.c: an echo server on streams; prints its port, serves until killed. */
#include <coil.h>

#include <stdio.h>

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[16384];
    coil_ret n;
    (void)arg;
    while ((n = coil_reader_read(reader, buf, sizeof buf)) > 0) {
        coil_ret rc = coil_writer_write(writer, buf, (size_t)n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret main_task(void *arg)
{
    (void)arg;
    coil_server *server;
    coil_ret rc = coil_start_server(echo, NULL, "127.0.0.1", "0", &server);
    if (coil_iserr(rc))
        return rc;
    printf("%d\n", coil_server_port(server));
    fflush(stdout);
    return coil_server_serve_forever(server);
}

int main(void)
{
    return coil_report(coil_run(main_task, NULL));
}
