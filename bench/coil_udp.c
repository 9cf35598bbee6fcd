/* SPDX-License-Identifier: MIT
 *
 * coil_udp.c: an echo server of datagrams on coil: coil_udp endpoint|sock. An endpoint's protocol answers in its
 * callback; a task receives from and sends to the bare socket. */
#include <coil.h>

#include <stdio.h>
#include <string.h>

static coil_ret received(coil_datagram_transport *transport, const void *data, size_t n,
                         const coil_address *from, void *arg)
{
    (void)arg;
    return coil_datagram_transport_sendto(transport, data, n, from);
}

static const coil_datagram_protocol echo = {.size = sizeof echo, .datagram_received = received};

static coil_ret serve_sock(coil_sock *sock)
{
    static char buf[65536];
    coil_address from;
    coil_ret n;
    while ((n = coil_sock_recvfrom(sock, buf, sizeof buf, &from)) >= 0) {
        coil_ret rc = coil_sock_sendto(sock, buf, (size_t)n, &from);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret serve(void *is_endpoint)
{
    coil_sock *sock;
    coil_address at;
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_ret rc = coil_address_parse("127.0.0.1", "0", &at);
    if (rc == 0)
        rc = coil_sock_new(AF_INET, SOCK_DGRAM, 0, &sock);
    if (rc == 0)
        rc = coil_sock_bind(sock, &at);
    if (rc == 0)
        rc = coil_sock_getsockname(sock, &at);
    if (coil_iserr(rc))
        return rc;
    coil_address_format(&at, text, sizeof text);
    printf("%s\n", strrchr(text, ':') + 1);
    fflush(stdout);
    if (!is_endpoint)
        return serve_sock(sock);
    rc = coil_datagram_transport_open(sock, &echo, NULL, NULL);
    return coil_iserr(rc) ? rc : coil_sleep(1e9);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    return coil_report(coil_run(serve, strcmp(argv[1], "endpoint") == 0 ? argv : NULL));
}
