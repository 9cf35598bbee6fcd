/* SPDX-License-Identifier: MIT
 *
 * st_echo.c: an echo server on State Threads, a thread of its own for each client: st_echo tcp BUFFER */
#include "echo.h"

#include <st.h>

static size_t buf_n;

static void *serve(void *arg)
{
    st_netfd_t client = arg;
    char *buf = malloc(buf_n);
    ssize_t n;
    while ((n = st_read(client, buf, buf_n, ST_UTIME_NO_TIMEOUT)) > 0)
        if (st_write(client, buf, (size_t)n, ST_UTIME_NO_TIMEOUT) != n)
            break;
    free(buf);
    st_netfd_close(client);
    return NULL;
}

int main(int argc, char **argv)
{
    const int one = 1;
    if (argc != 3 || strcmp(argv[1], "tcp") != 0)
        return 2;
    st_set_eventsys(ST_EVENTSYS_ALT); /* epoll; before init */
    if (st_init() < 0)
        return 1;
    buf_n = (size_t)atol(argv[2]);
    st_netfd_t listener = st_netfd_open_socket(echo_listen(0));
    for (;;) {
        st_netfd_t client = st_accept(listener, NULL, NULL, ST_UTIME_NO_TIMEOUT);
        if (!client)
            return 1;
        setsockopt(st_netfd_fileno(client), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (!st_thread_create(serve, client, 0, 0))
            return 1;
    }
}
