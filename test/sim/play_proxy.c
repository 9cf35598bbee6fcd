/* SPDX-License-Identifier: MIT
 *
 * play_proxy.c: examples/proxy.c, compiled here with another main, between clients and an echo server.
 *
 *     clients --> [ proxy ] --> [ echo ] */
#include "swarm.h"

#include "../../examples/program.h"
#include "program.h"

int proxy_main(int argc, char **argv);

#define main  proxy_main
#define serve proxy_serve
#include "../../examples/proxy.c"
#undef main
#undef serve

static struct host *echo, *proxy;

static coil_ret echo_program(void *host)
{
    return serve_until_stopped(say_back, NULL);
}

static coil_ret proxy_program(void *arg)
{
    const struct host *host = arg;
    char own[24], backend[16], port[] = "7", name[] = "proxy";
    snprintf(own, sizeof own, "%s:7", host->address);
    snprintf(backend, sizeof backend, "%s", echo->address);
    char *argv[] = {name, own, backend, port, NULL};
    return proxy_main(4, argv);
}

static coil_ret client_program(void *host)
{
    return converse_often(host, proxy->address, NULL);
}

static coil_ret last_client(void *host)
{
    return converse(proxy->address, NULL, run.seed, 600);
}

static void begin(struct play *play)
{
    static const struct role echo_role = {.program = echo_program, .serves = true, .mortal = true},
                             proxy_role = {.program = proxy_program,
                                           .serves = true,
                                           .mortal = true},
                             client = {.program = client_program};
    echo = host_add(play, &echo_role);
    proxy = host_add(play, &proxy_role);
    for (unsigned n = clients_of(play, 6); n > 0; n--)
        host_add(play, &client);
}

struct play play_proxy = {.name = "proxy", .port = "7", .begin = begin, .last = last_client};
