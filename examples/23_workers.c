/* SPDX-License-Identifier: MIT
 *
 * 23_workers.c: two loops on two threads: one accepts, the other serves what it is handed.
 *
 * Look at: `program` is the main task of each worker; a socket is handed over by its descriptor, and is the other loop's
 * from then on; a worker that has nothing to do sleeps in coil_worker_receive. Servers that share a port
 * (reuse_port) need no hand-over: each worker starts its own. */
#include <coil.h>

#include <stdio.h>
#include <sys/socket.h>

enum { CLIENTS = 3 };
static char hello[] = "hello";

/* Says hello to as many clients as it is handed. */
static coil_ret serve(void)
{
    coil_message m;
    coil_ret rc = 0;
    for (int i = 0; i < CLIENTS && !coil_iserr(rc); i++) {
        rc = coil_worker_receive(&m, 1);
        if (coil_iserr(rc))
            break;
        coil_sock *sock;
        rc = coil_sock_adopt(NULL, m.fd, &sock);
        if (!coil_iserr(rc)) {
            rc = coil_sock_sendall(sock, m.data, sizeof hello, NULL);
            coil_sock_unref(sock);
        }
    }
    return rc;
}

/* Makes clients (pairs here, to have no port in the way), hands their other ends over and hears what comes. */
static coil_ret hand_over(void)
{
    coil_ret rc = 0;
    for (int i = 0; i < CLIENTS && !coil_iserr(rc); i++) {
        int fds[2];
        char text[8];
        coil_sock *client;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
            return coil_fail(-errno, "a pair of sockets");
        rc = coil_sock_adopt(NULL, fds[0], &client);
        if (!coil_iserr(rc))
            rc = coil_worker_send_fd(1, fds[1], hello);
        if (!coil_iserr(rc))
            rc = coil_sock_recv(client, text, sizeof text);
        if (!coil_iserr(rc))
            printf("client %d hears: %s\n", i, text);
        coil_sock_unref(client);
    }
    return rc;
}

static coil_ret program(void *unused)
{
    return coil_worker_index() == 0 ? hand_over() : serve();
}

int main(void)
{
    return coil_report(coil_workers(2, program, NULL));
}
