/* SPDX-License-Identifier: MIT
 *
 * protocol_echo.c: an echo server on transports and protocols; prints its port, serves until killed. */
#include <coil.h>

#include <stdio.h>

static coil_ret received(coil_transport *t, const void *data, size_t n, void *arg)
{
    return coil_transport_write(t, data, n);
}

static void full(coil_transport *t, void *arg)
{
    coil_transport_pause_reading(t);
}

static void drained(coil_transport *t, void *arg)
{
    coil_transport_resume_reading(t);
}

static coil_ret make_echo(const coil_protocol **out_protocol, void **out_arg, void *arg)
{
    static const coil_protocol echo = {.size = sizeof echo,
                                       .data_received = received,
                                       .pause_writing = full,
                                       .resume_writing = drained};
    *out_protocol = &echo;
    return 0;
}

static coil_ret main_task(void *arg)
{
    coil_server *server;
    coil_ret rc = coil_loop_create_server(NULL, make_echo, NULL, "127.0.0.1", "0", NULL, &server);
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
