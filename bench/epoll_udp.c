/* SPDX-License-Identifier: MIT
 *
 * epoll_udp.c: the least an echo server of datagrams can do: edge-triggered epoll, recvfrom and sendto until there
 * is nothing: epoll_udp. What coil_udp.c is measured against. */
#include "echo.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static int bind_somewhere(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&in, len) < 0)
        exit(1);
    getsockname(fd, (struct sockaddr *)&in, &len);
    printf("%d\n", ntohs(in.sin_port));
    fflush(stdout);
    return fd;
}

int main(void)
{
    static char buf[65536];
    int fd = bind_somewhere(), ep = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN | EPOLLET});
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(ep, &event, 1, -1) < 0 && errno != EINTR)
            return 1;
        for (;;) {
            struct sockaddr_storage from;
            socklen_t len = sizeof from;
            ssize_t n = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &len);
            if (n < 0)
                break;
            /* A full device loses it, as datagrams are lost. */
            (void)!sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
        }
    }
}
