/* SPDX-License-Identifier: MIT
 *
 * cut.c: TLS connections whose line is cut behind some byte, and lines on which no TLS is spoken.
 *
 *     TLS client -- socketpair -- [ forward: so many bytes, then no more ] -- server's TLS port
 *
 * Wherever the cut falls, the server may not take it for an end. */
#include "client.h"

#include <netinet/in.h>
#include <unistd.h>

enum { GARBAGE_MAX = 4000 };
static const double PATIENCE_S = 20;

static coil_ret connect_plain(unsigned server, coil_sock **out_sock)
{
    coil_address address;
    char port[16];
    snprintf(port, sizeof port, "%d", shared->servers[server].tls_port);
    coil_ret rc = coil_address_parse("127.0.0.1", port, &address);
    if (!coil_iserr(rc))
        rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, out_sock);
    if (coil_iserr(rc))
        return rc;
    rc = coil_sock_connect(*out_sock, &address);
    if (coil_iserr(rc))
        coil_sock_unref(*out_sock);
    return rc;
}

/* ---- no TLS ---- */

coil_ret speak_garbage(struct talk *t)
{
    struct dice dice = {t->plan->seed};
    coil_sock *sock;
    coil_ret rc = connect_plain(t->half->server, &sock);
    if (coil_iserr(rc)) {
        t->half->refused = (int32_t)rc;
        return rc;
    }
    uint8_t bytes[GARBAGE_MAX];
    size_t n = 1 + below(&dice, GARBAGE_MAX);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)roll(&dice);
    if (one_in(&dice, 3)) /* begins like a record */
        memcpy(bytes, "\x16\x03\x01\x02\x00\x01", n < 6 ? n : 6);
    coil_timeout(patience, PATIENCE_S);
    rc = coil_sock_sendall(sock, bytes, n, NULL);
    if (!coil_iserr(rc))
        rc = coil_sock_shutdown(sock, SHUT_WR);
    while (!coil_iserr(rc) && (rc = coil_sock_recv(sock, bytes, sizeof bytes)) > 0)
        ;
    rc = coil_timeout_exit(&patience, rc);
    if (rc == -ETIMEDOUT)
        t->half->harm |= HARM_LATE;
    coil_sock_unref(sock);
    return rc;
}

/* ---- a line that is cut ---- */

struct line {
    coil_sock *near, *far;
    size_t left; /* bytes to the server before the cut */
    bool reset;
};

static coil_ret forward(coil_sock *from, coil_sock *to, size_t *left)
{
    uint8_t buf[2048];
    for (;;) {
        coil_ret rc = coil_sock_recv(from, buf, sizeof buf);
        if (rc <= 0)
            return rc;
        size_t n = left && *left < (size_t)rc ? *left : (size_t)rc;
        if (left)
            *left -= n;
        rc = coil_sock_sendall(to, buf, n, NULL);
        if (coil_iserr(rc))
            return rc;
        if (left && *left == 0)
            return 0;
    }
}

static coil_ret forward_back(void *arg)
{
    struct line *line = arg;
    coil_ret rc = forward(line->far, line->near, NULL);
    if (rc != COIL_EEXIT && rc != -ECANCELED)
        coil_ignore(coil_sock_shutdown(line->near, SHUT_WR));
    return 0;
}

static coil_ret forward_until_cut(void *arg)
{
    struct line *line = arg;
    coil_task_group(back);
    coil_group_create_task(&back, forward_back, line);
    coil_ret rc = forward(line->near, line->far, &line->left);
    struct linger none = {.l_onoff = 1};
    if (line->reset)
        coil_ignore(coil_sock_setsockopt(line->far, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    coil_sock_close(line->far);
    coil_group_cancel(&back);
    coil_ignore(coil_group_exit(&back, 0));
    coil_sock_close(line->near);
    return rc == COIL_EEXIT ? rc : 0;
}

/* The client's end of a pair, and the line at the other. */
static coil_ret open_line(struct talk *t, struct line *line)
{
    int pair[2];
    coil_sock *own = NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    coil_ret rc = coil_sock_adopt(NULL, pair[0], &own);
    if (coil_iserr(rc)) {
        close(pair[0]);
        close(pair[1]);
        return rc;
    }
    rc = coil_sock_adopt(NULL, pair[1], &line->near);
    if (coil_iserr(rc))
        close(pair[1]);
    else
        rc = coil_open_connection_sock(own, 0, &t->reader, &t->writer);
    if (coil_iserr(rc))
        coil_sock_unref(own);
    return rc;
}

coil_ret converse_cut(struct talk *t)
{
    struct line line = {.left = 1 + t->plan->cut, .reset = t->plan->seed & 1};
    coil_ret rc = connect_plain(t->half->server, &line.far);
    if (coil_iserr(rc)) {
        t->half->refused = (int32_t)rc;
        return rc;
    }
    rc = open_line(t, &line);
    if (!coil_iserr(rc)) {
        coil_task_group(relay);
        coil_group_create_task(&relay, forward_until_cut, &line);
        coil_start_tls_opts opts = {.size = sizeof opts, .server_hostname = "host.test"};
        rc = coil_writer_start_tls(t->writer, client_tls(), &opts);
        if (!coil_iserr(rc))
            rc = converse(t);
        coil_writer_abort(t->writer);
        coil_ignore(coil_writer_finish(t->writer));
        rc = coil_group_exit(&relay, rc);
    }
    coil_sock_unref(line.near);
    coil_sock_unref(line.far);
    return rc;
}
