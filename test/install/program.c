/* SPDX-License-Identifier: MIT
 *
 * program.c: a program of somebody else's, built against an installed coil in each way there is. */
#include <coil.h>

#include <stdio.h>

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *unused)
{
    const char *line;
    (void)unused;
    coil_ret n = coil_reader_readline(reader, &line, NULL);
    if (n > 0)
        coil_writer_write(writer, line, (size_t)n);
    return coil_iserr(n) ? n : coil_writer_drain(writer);
}

static coil_ret ask(void *arg)
{
    coil_server *server = arg;
    char port[16];
    const char *answer;
    coil_reader *reader;
    coil_writer *writer;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    coil_ret rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    coil_writer_write(writer, "hello\n", 6);
    rc = coil_reader_readline(reader, &answer, NULL);
    if (!coil_iserr(rc))
        printf("answer: %s", answer);
    coil_ret closed = coil_writer_finish(writer);
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret program(void *unused)
{
    coil_server *server;
    (void)unused;
    coil_ret rc = coil_start_server(echo, NULL, "127.0.0.1", "0", &server);
    if (coil_iserr(rc))
        return rc;
    rc = coil_join(coil_create_task(ask, server));
    coil_server_close(server);
    coil_ret closed = coil_server_wait_closed(server);
    coil_server_free(server);
    return coil_iserr(rc) ? rc : closed;
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
