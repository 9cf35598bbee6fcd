/* SPDX-License-Identifier: MIT
 *
 * echo_load.c: 64-byte ping-pong over many connections: echo_load PORT CONNECTIONS REQUESTS
 *
 * Plain epoll, so that the generator favours nobody. Prints nothing; exit status 0 when every byte came
 * back. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 64 };

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int port = atoi(argv[1]), connections = atoi(argv[2]), one = 1, ep = epoll_create1(0);
    long left = atol(argv[3]), out = 0;
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)port)};
    char ping[SIZE], pong[SIZE];
    memset(ping, 'x', sizeof ping);
    for (int i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
            return 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
        if (send(fd, ping, SIZE, 0) != SIZE)
            return 1;
        left--, out++;
    }
    while (out > 0) {
        struct epoll_event events[256];
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (recv(fd, pong, SIZE, MSG_WAITALL) != SIZE || memcmp(ping, pong, SIZE) != 0)
                return 1;
            out--;
            if (left > 0) {
                if (send(fd, ping, SIZE, 0) != SIZE)
                    return 1;
                left--, out++;
            }
        }
    }
    return 0;
}
