/* SPDX-License-Identifier: MIT
 *
 * epoll_echo.c: the least an echo server can do: edge-triggered epoll, one recv and one send a request.
 * What coil_echo.c is measured against. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0), one = 1;
    if (bind(listener, (struct sockaddr *)&addr, len) < 0 || listen(listener, 1024) < 0)
        return 1;
    getsockname(listener, (struct sockaddr *)&addr, &len);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener,
              &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    static char buf[16384];
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd,
                              &(struct epoll_event){.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
                                                    .data.fd = fd});
                }
                continue;
            }
            for (;;) {
                ssize_t got = recv(fd, buf, sizeof buf, 0);
                if (got == 0 || (got < 0 && errno != EAGAIN))
                    close(fd);
                if (got <= 0)
                    break;
                if (send(fd, buf, (size_t)got, MSG_NOSIGNAL) != got)
                    abort(); /* 64 bytes always fit */
                if ((size_t)got < sizeof buf)
                    break; /* all of it: the next byte brings an edge */
            }
        }
    }
}
