/* SPDX-License-Identifier: MIT
 *
 * echo_load.c: ping-pong over many connections: echo_load TARGET CONNECTIONS REQUESTS BYTES
 *
 * Plain epoll, so that the generator favours nobody. It connects, sends a message over each connection and says "ready".
 * For each line of its input it then makes so many requests, and prints how long they took and how much of that its
 * own CPU time was, in seconds. It ends with its input; exit status 1 when something else than what was sent came back. */
#include "echo.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>
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

static struct connection *all;
static int connections, ep;

/* `out` messages are under way; `left` more will be. Returns when the last one came back. */
static void ping_pong(long left, long out)
{
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
}

/* A message on each connection, or on as many as there are requests; then the rest. */
static void measure(long requests)
{
    long out = requests < connections ? requests : connections;
    for (long i = 0; i < out; i++) {
        all[i].sent = all[i].got = 0;
        push(&all[i]);
    }
    ping_pong(requests - out, out);
}

static double seconds(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void connect_all(const char *target)
{
    all = calloc((size_t)connections, sizeof *all);
    ep = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->fd = echo_connect(target);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->got = size; /* nothing is under way */
        /* A message that fits needs no word of there being room. */
        uint32_t events = EPOLLIN | EPOLLET | (size > 16384 ? EPOLLOUT : 0);
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &(struct epoll_event){.events = events, .data.ptr = c});
    }
}

int main(int argc, char **argv)
{
    char line[16];
    if (argc != 5)
        return 2;
    connections = atoi(argv[2]);
    long requests = atol(argv[3]);
    size = (size_t)atol(argv[4]);
    message = malloc(size);
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 2654435761u >> 24);
    connect_all(argv[1]);
    measure(connections); /* so that each has been accepted */
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
        measure(requests);
        printf("%.9f %.9f\n", seconds(CLOCK_MONOTONIC) - wall,
               seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
        fflush(stdout);
    }
    return 0;
}
