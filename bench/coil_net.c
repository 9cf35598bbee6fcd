/* SPDX-License-Identifier: MIT
 *
 * coil_net.c: an echo within one loop: two tasks at the ends of a socket pair, so that instructions can be counted without a
 * second program; modes of coil_micro.c. An operation is 64 bytes there and back, both ends. */
#include "coil_micro.h"

#include <coil.h>

#include <sys/socket.h>

static coil_sock *ends[2];
static long turns;

static coil_ret serve_sock(void *arg)
{
    char buf[4096];
    coil_ret n;
    while ((n = coil_sock_recv(ends[1], buf, sizeof buf)) > 0) {
        coil_ret rc = coil_sock_sendall(ends[1], buf, (size_t)n, NULL);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret serve_stream(void *arg)
{
    char buf[4096];
    coil_reader *reader;
    coil_writer *writer;
    coil_ret n = coil_open_connection_sock(ends[1], 0, &reader, &writer);
    while (n >= 0 && (n = coil_reader_read(reader, buf, sizeof buf)) > 0) {
        n = coil_writer_write(writer, buf, (size_t)n);
        if (!coil_iserr(n))
            n = coil_writer_drain(writer);
    }
    return n;
}

/* Leaves the server waiting: the end of the program ends it. */
static coil_ret ask(void *arg)
{
    char buf[64] = {0};
    for (long i = 0; i < turns; i++) {
        if (coil_iserr(coil_sock_sendall(ends[0], buf, sizeof buf, NULL)))
            micro_fail("nothing can be sent");
        for (size_t got = 0; got < sizeof buf;) {
            coil_ret n = coil_sock_recv(ends[0], buf + got, sizeof buf - got);
            if (n <= 0)
                micro_fail("nothing came back");
            got += (size_t)n;
        }
    }
    return 0;
}

static void pair(coil_fn server, long n)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
        coil_sock_adopt(NULL, fds[0], &ends[0]) < 0 || coil_sock_adopt(NULL, fds[1], &ends[1]) < 0)
        micro_fail("no pair of sockets");
    turns = n;
    coil_unref(coil_create_task(server, NULL));
    coil_ignore(coil_join(coil_create_task(ask, NULL)));
}

static void pair_sock(long n, long size)
{
    pair(serve_sock, n);
}

static void pair_stream(long n, long size)
{
    pair(serve_stream, n);
}

const struct micro_mode coil_net_modes[] = {
    {"pair_sock", pair_sock}, {"pair_stream", pair_stream}, {NULL, NULL}};
