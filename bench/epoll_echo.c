/* SPDX-License-Identifier: MIT
 *
 * epoll_echo.c: the least an echo server can do: edge-triggered epoll, one recv and one send a request:
 * epoll_echo tcp|unix BUFFER [own]. What coil_echo.c is measured against. With `own` each connection has a buffer of its own, as
 * it must have as soon as a request may come in two parts. */
#include "echo.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

static char *buf;
static size_t buf_n;

struct connection {
    int fd;
    char *in;   /* where requests are read to */
    char *rest; /* what the peer does not take yet; nothing is read meanwhile. NULL: none */
    size_t rest_n, rest_at;
};

static void hang_up(struct connection *c)
{
    close(c->fd);
    if (c->in != buf)
        free(c->in);
    free(c->rest);
    free(c);
}

/* 1: all is sent. 0: later. -1: it is gone. */
static int send_rest(struct connection *c)
{
    while (c->rest_at < c->rest_n) {
        ssize_t n = send(c->fd, c->rest + c->rest_at, c->rest_n - c->rest_at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        c->rest_at += (size_t)n;
    }
    free(c->rest);
    c->rest = NULL;
    return 1;
}

static void serve(struct connection *c)
{
    if (c->rest) {
        int done = send_rest(c);
        if (done < 0)
            hang_up(c);
        if (done <= 0)
            return;
    }
    for (;;) {
        ssize_t got = recv(c->fd, c->in, buf_n, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            hang_up(c);
        if (got <= 0)
            return;
        ssize_t sent = send(c->fd, c->in, (size_t)got, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            hang_up(c);
            return;
        }
        if (sent < got) {
            size_t n = (size_t)(sent < 0 ? 0 : sent);
            c->rest_n = (size_t)got - n;
            c->rest_at = 0;
            c->rest = malloc(c->rest_n);
            memcpy(c->rest, c->in + n, c->rest_n);
            return; /* room brings an edge */
        }
        if ((size_t)got < buf_n)
            return; /* all of it: the next byte brings an edge */
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4)
        return 2;
    int is_unix = strcmp(argv[1], "unix") == 0, listener = echo_listen(is_unix),
        ep = epoll_create1(0), one = 1;
    buf_n = (size_t)atol(argv[2]);
    buf = malloc(buf_n);
    uint32_t interest = EPOLLIN | EPOLLRDHUP | EPOLLET | (buf_n > 65536 ? EPOLLOUT : 0);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN});
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) {
                serve(events[i].data.ptr);
                continue;
            }
            for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                struct connection *c = calloc(1, sizeof *c);
                c->fd = fd;
                c->in = argc == 4 ? malloc(buf_n) : buf;
                if (!is_unix)
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                epoll_ctl(ep, EPOLL_CTL_ADD, fd,
                          &(struct epoll_event){.events = interest, .data.ptr = c});
            }
        }
    }
}
