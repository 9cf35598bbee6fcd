/* SPDX-License-Identifier: MIT
 *
 * ev_echo.c: the same on libev: ev_echo tcp|unix BUFFER. libev tells of readiness; the calls are the server's own. */
#include "echo.h"

#include <errno.h>
#include <ev.h>
#include <unistd.h>

struct connection {
    ev_io readable, writable;
    char *rest; /* what the peer does not take yet; nothing is read meanwhile. NULL: none */
    size_t rest_n, rest_at;
};

static char *buf;
static size_t buf_n;
static int is_unix;

static void hang_up(EV_P_ struct connection *c)
{
    ev_io_stop(EV_A_ & c->readable);
    ev_io_stop(EV_A_ & c->writable);
    close(c->readable.fd);
    free(c->rest);
    free(c);
}

/* Reads no more until the peer takes them. */
static void keep(EV_P_ struct connection *c, const char *bytes, size_t n)
{
    c->rest = malloc(n);
    memcpy(c->rest, bytes, n);
    c->rest_n = n;
    c->rest_at = 0;
    ev_io_stop(EV_A_ & c->readable);
    ev_io_start(EV_A_ & c->writable);
}

static void on_writable(EV_P_ ev_io *io, int events)
{
    struct connection *c = io->data;
    (void)events;
    ssize_t n = send(io->fd, c->rest + c->rest_at, c->rest_n - c->rest_at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        hang_up(EV_A_ c);
        return;
    }
    c->rest_at += n > 0 ? (size_t)n : 0;
    if (c->rest_at < c->rest_n)
        return;
    free(c->rest);
    c->rest = NULL;
    ev_io_stop(EV_A_ io);
    ev_io_start(EV_A_ & c->readable);
}

static void on_readable(EV_P_ ev_io *io, int events)
{
    struct connection *c = io->data;
    (void)events;
    ssize_t got = recv(io->fd, buf, buf_n, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        hang_up(EV_A_ c);
        return;
    }
    ssize_t sent = send(io->fd, buf, (size_t)got, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        hang_up(EV_A_ c);
    else if (sent < got)
        keep(EV_A_ c, buf + (sent < 0 ? 0 : sent), (size_t)(got - (sent < 0 ? 0 : sent)));
}

static void on_client(EV_P_ ev_io *io, int events)
{
    const int one = 1;
    (void)events;
    for (int fd; (fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        if (!is_unix)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        ev_io_init(&c->readable, on_readable, fd, EV_READ);
        ev_io_init(&c->writable, on_writable, fd, EV_WRITE);
        c->readable.data = c->writable.data = c;
        ev_io_start(EV_A_ & c->readable);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    ev_io listener;
    struct ev_loop *loop = ev_default_loop(0);
    is_unix = strcmp(argv[1], "unix") == 0;
    buf_n = (size_t)atol(argv[2]);
    buf = malloc(buf_n);
    ev_io_init(&listener, on_client, echo_listen(is_unix), EV_READ);
    ev_io_start(loop, &listener);
    return !ev_run(loop, 0);
}
