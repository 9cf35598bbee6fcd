/* SPDX-License-Identifier: MIT
 *
 * udp_load.c: datagrams there and back over many sockets, one under way on each: udp_load PORT SOCKETS DATAGRAMS BYTES
 *
 * Plain epoll, so that the generator favours nobody. Exit status 0 when every datagram came back as it went; 1 when
 * one was lost or changed, for then the figure means nothing. */
#include "echo.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int sockets = atoi(argv[2]), ep = epoll_create1(EPOLL_CLOEXEC);
    long left = atol(argv[3]), out = 0;
    size_t size = (size_t)atol(argv[4]);
    char *message = malloc(size), *back = malloc(size + 1);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(argv[1]))};
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 2654435761u >> 24);
    for (int i = 0; i < sockets && left > 0; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
            return 1;
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
        if (send(fd, message, size, 0) != (ssize_t)size)
            return 1;
        left--, out++;
    }
    while (out > 0) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, 5000);
        if (n == 0 || (n < 0 && errno != EINTR))
            return 1;
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (recv(fd, back, size + 1, 0) != (ssize_t)size || memcmp(back, message, size) != 0)
                return 1;
            out--;
            if (left > 0) {
                if (send(fd, message, size, 0) != (ssize_t)size)
                    return 1;
                left--, out++;
            }
        }
    }
    return 0;
}
