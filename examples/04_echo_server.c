/* SPDX-License-Identifier: MIT
 *
 * 04_echo_server.c: a TCP server that says everything twice, and a client to try it.
 *
 * Look at: `echo` is written as if its client were the only one; each gets a task of its own. Reader and
 * writer are borrowed there, and closed when it returns. The client owns its two, and coil_writer_finish
 * sends what is left, closes, and gives both back. */
#include <coil.h>

#include <stdio.h>
#include <string.h>

static coil_ret echo(coil_reader *reader, coil_writer *writer, void *unused)
{
    const char *line;
    coil_ret n;
    while ((n = coil_reader_readline(reader, &line, NULL)) > 0) {
        coil_writer_write(writer, line, (size_t)n);
        coil_ret rc = coil_writer_drain(writer); /* a client that does not read makes us wait */
        if (coil_iserr(rc))
            return rc;
    }
    return n; /* 0 is the end of the stream */
}

static coil_ret talk(const char *port)
{
    static const char *const lines[] = {"first come\n", "first served\n"};
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    for (int i = 0; i < 2 && !coil_iserr(rc); i++) {
        const char *answer;
        coil_writer_write(writer, lines[i], strlen(lines[i]));
        rc = coil_reader_readline(reader, &answer, NULL);
        if (!coil_iserr(rc))
            printf("the server says: %s", answer);
    }
    coil_ret closed = coil_writer_finish(writer);
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret server_and_client(void *unused)
{
    coil_server *server;
    coil_ret rc = coil_start_server(echo, NULL, "127.0.0.1", "0", &server);
    if (coil_iserr(rc))
        return rc;
    char port[16]; /* the kernel has chosen a free one */
    snprintf(port, sizeof port, "%d", coil_server_port(server));

    rc = talk(port);

    coil_server_close(server);
    coil_ret closed = coil_server_wait_closed(server);
    coil_server_free(server);
    return coil_iserr(rc) ? rc : closed;
}

int main(void)
{
    return coil_report(coil_run(server_and_client, NULL));
}
