/* SPDX-License-Identifier: MIT
 *
 * echo_load.c: ping-pong over many connections: echo_load TARGET CONNECTIONS REQUESTS BYTES
 *
 * Plain epoll, so that the generator favours nobody. Prints nothing; exit status 0 when every byte came
 * back. */
#include "echo.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { STEP = 256 * 1024 };

struct connection {
    int fd;
    size_t sent, got; /* of the message under way */
};

static char *message, scratch[STEP];
static size_t size;

/* As much as goes. */
static void push(struct connection *c)
{
    while (c->sent < size) {
        ssize_t n = send(c->fd, message + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            exit(1);
        c->sent += (size_t)n;
    }
}

/* What is there; true once the whole message came back. */
static int pull(struct connection *c)
{
    for (;;) {
        size_t room = size - c->got < STEP ? size - c->got : STEP;
        ssize_t n = recv(c->fd, scratch, room, 0);
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0 || memcmp(scratch, message + c->got, (size_t)n) != 0)
            exit(1);
        c->got += (size_t)n;
        if (c->got == size)
            return 1;
        if ((size_t)n < room)
            return 0; /* the next byte brings an edge */
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int connections = atoi(argv[2]), ep = epoll_create1(0);
    long left = atol(argv[3]), out = 0;
    size = (size_t)atol(argv[4]);
    message = malloc(size);
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 2654435761u >> 24);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->fd = echo_connect(argv[1]);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        /* A message that fits needs no word of there being room. */
        uint32_t events = EPOLLIN | EPOLLET | (size > 16384 ? EPOLLOUT : 0);
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = events, .data.ptr = c});
        left--, out++;
        push(c);
    }
    while (out > 0) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            push(c);
            if (c->got == size || !pull(c))
                continue;
            out--;
            if (left > 0) {
                left--, out++;
                c->sent = c->got = 0;
                push(c);
            }
        }
    }
    return 0;
}
