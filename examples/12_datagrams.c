/* SPDX-License-Identifier: MIT
 *
 * 12_datagrams.c: a server that names planets is told of each datagram by a callback; its client waits in a
 * straight line.
 *
 * Look at: the endpoint costs neither a task nor a stack. A datagram may be lost, so the client asks again when no
 * answer came in a while; here the first question is lost on purpose. */
#include <coil.h>

#include <stdio.h>
#include <string.h>

static const char *const planets[] = {"Mercury", "Venus", "Earth", "Mars"};

static coil_ret asked(coil_datagram_transport *transport, const void *data, size_t n,
                      const coil_address *from, void *arg)
{
    int *questions = arg;
    if (++*questions == 1) {
        printf("the server sleeps over the first question\n");
        return 0;
    }
    int planet = n == 1 ? *(const char *)data - '1' : -1;
    const char *answer = planet >= 0 && planet < 4 ? planets[planet] : "unknown";
    return coil_datagram_transport_sendto(transport, answer, strlen(answer), from);
}

static coil_ret ask(coil_sock *sock, const char *planet)
{
    char answer[32];
    for (;;) {
        coil_ret rc = coil_sock_send(sock, planet, 1);
        if (coil_iserr(rc))
            return rc;
        coil_timeout(patience, 0.1);
        rc = coil_timeout_exit(&patience, coil_sock_recv(sock, answer, sizeof answer));
        if (!coil_iserr(rc))
            return printf("planet %c is %.*s\n", *planet, (int)rc, answer);
        if (rc != -ETIMEDOUT)
            return rc;
        printf("no answer; asking again\n");
    }
}

static coil_ret talk(const coil_address *server)
{
    coil_sock *sock;
    coil_ret rc = coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock);
    if (coil_iserr(rc))
        return rc;
    rc = coil_sock_connect(sock, server); /* to whom it talks; nothing is sent for that */
    for (const char *planet = "349"; *planet && !coil_iserr(rc); planet++)
        rc = ask(sock, planet);
    coil_sock_unref(sock);
    return rc;
}

static coil_ret server_and_client(void *unused)
{
    static const coil_datagram_protocol names = {.size = sizeof names, .datagram_received = asked};
    int questions = 0;
    coil_datagram_opts opts = {.size = sizeof opts, .local_host = "127.0.0.1"};
    coil_datagram_transport *transport;
    coil_ret rc = coil_loop_create_datagram_endpoint(NULL, &names, &questions, &opts, &transport);
    if (coil_iserr(rc))
        return rc;
    coil_address server;
    rc = coil_sock_getsockname(coil_datagram_transport_sock(transport), &server);
    if (!coil_iserr(rc))
        rc = talk(&server);
    coil_datagram_transport_abort(transport);
    coil_datagram_transport_unref(transport);
    return rc;
}

int main(void)
{
    return coil_report(coil_run(server_and_client, NULL));
}
