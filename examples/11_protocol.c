/* SPDX-License-Identifier: MIT
 *
 * 11_protocol.c: an echo server as a protocol: bytes come as callbacks.
 *
 * Look at: a factory makes what each connection needs, connection_lost frees it. Callbacks never wait, and no
 * connection of this server has a task or a stack. A peer that does not read pauses us, then nor do we. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>

static coil_ret echo_received(coil_transport *t, const void *data, size_t n, void *arg)
{
    *(size_t *)arg += n;
    return coil_transport_write(t, data, n); /* an error ends the connection */
}

static void echo_full(coil_transport *t, void *arg)
{
    coil_transport_pause_reading(t);
}

static void echo_drained(coil_transport *t, void *arg)
{
    coil_transport_resume_reading(t);
}

static void echo_lost(coil_transport *t, coil_ret error, void *arg)
{
    printf("the server heard %zu bytes\n", *(size_t *)arg);
    free(arg);
}

static coil_ret make_echo(const coil_protocol **out_protocol, void **out_arg, void *unused)
{
    static const coil_protocol echo = {.size = sizeof echo,
                                       .data_received = echo_received,
                                       .pause_writing = echo_full,
                                       .resume_writing = echo_drained,
                                       .connection_lost = echo_lost};
    *out_protocol = &echo;
    *out_arg = calloc(1, sizeof(size_t));
    return *out_arg ? 0 : -ENOMEM;
}

static coil_ret talk(const char *port)
{
    coil_reader *reader;
    coil_writer *writer;
    char answer[18] = "";
    coil_ret rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    coil_writer_write(writer, "is anybody there?", 17);
    rc = coil_reader_readexactly(reader, answer, 17, NULL);
    printf("the client hears: %s\n", answer);
    coil_ret closed = coil_writer_finish(writer);
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret server_and_client(void *unused)
{
    coil_server *server;
    char port[16];
    coil_ret rc = coil_loop_create_server(NULL, make_echo, NULL, "127.0.0.1", "0", NULL, &server);
    if (coil_iserr(rc))
        return rc;
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    rc = talk(port);
    coil_server_close(server);
    coil_ret closed = coil_server_wait_closed(server); /* when the last connection is lost */
    coil_server_free(server);
    return coil_iserr(rc) ? rc : closed;
}

int main(void)
{
    return coil_report(coil_run(server_and_client, NULL));
}
