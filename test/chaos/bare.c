/* SPDX-License-Identifier: MIT
 *
 * bare.c: a conversation over a plain descriptor: coil_loop_sock_recv and _sendall, which register the number anew for each
 * wait. Two tasks wait on it at once; when it is closed, the next connection may get its number. */
#include "client.h"

#include <netinet/in.h>
#include <unistd.h>

static coil_ret connect_bare(const struct plan *plan, unsigned server, int *out_fd)
{
    char text[300];
    coil_address address;
    path_in_folder(text, sizeof text, "socket", server + 1);
    coil_ret rc = coil_address_unix(text, strlen(text), &address);
    if (plan->way == WAY_TCP) {
        snprintf(text, sizeof text, "%d", shared->servers[server].tcp_port);
        rc = coil_address_parse("127.0.0.1", text, &address);
    }
    if (coil_iserr(rc))
        return rc;
    *out_fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*out_fd < 0)
        return -errno;
    rc = coil_loop_sock_connect(NULL, *out_fd, &address);
    if (coil_iserr(rc))
        close(*out_fd);
    return rc;
}

coil_ret converse_bare(struct talk *t)
{
    coil_ret rc = connect_bare(t->plan, t->half->server, &t->fd);
    if (coil_iserr(rc)) {
        t->half->refused = (int32_t)rc;
        return rc;
    }
    rc = converse(t);
    close(t->fd);
    return rc;
}
