/* SPDX-License-Identifier: MIT
 *
 * coil_echo.c: an echo server: coil_echo tcp|unix BUFFER stream|sock|messages|coalesced [WORKERS]. Prints where it listens; serves
 * until killed.
 *
 * Every client has a task; `stream` echoes what there is through a reader and a writer, `messages` takes and answers 64 bytes
 * at a time, `coalesced` the same with writes that are collected, `sock` goes through the socket itself. Several workers (tcp) have a listener each on one port, among which the
 * kernel shares the connections out; SIGTERM ends them, and each says what it did. */
#include "spin.h"

#include <coil.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t buf_n;
static bool is_unix, is_sock, is_messages, is_coalesced;
static unsigned workers;

/* Of one worker: each has its own thread, and its own of these. */
static _Thread_local unsigned long connections, requests;

static coil_ret echo_stream(coil_reader *reader, coil_writer *writer, void *buf)
{
    coil_ret n;
    while ((n = coil_reader_read(reader, buf, buf_n)) > 0) {
        requests++;
        coil_ret rc = coil_writer_write(writer, buf, (size_t)n);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret echo_messages(coil_reader *reader, coil_writer *writer)
{
    char message[64];
    coil_ret rc;
    coil_writer_set_coalescing(writer, is_coalesced);
    while ((rc = coil_reader_readexactly(reader, message, sizeof message, NULL)) >= 0) {
        rc = coil_writer_write(writer, message, sizeof message);
        if (!coil_iserr(rc))
            rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            break;
    }
    return rc == COIL_EINCOMPLETE ? 0 : rc;
}

static coil_ret echo_sock(coil_sock *sock, void *buf)
{
    coil_ret n;
    while ((n = coil_sock_recv(sock, buf, buf_n)) > 0) {
        requests++;
        coil_ret rc = coil_sock_sendall(sock, buf, (size_t)n, NULL);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret serve(coil_sock *sock, void *buf)
{
    if (is_sock) {
        coil_ret rc = echo_sock(sock, buf);
        coil_sock_unref(sock);
        return rc;
    }
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_open_connection_sock(sock, 0, &reader, &writer);
    if (coil_iserr(rc)) {
        coil_sock_unref(sock);
        return rc;
    }
    rc = is_messages ? echo_messages(reader, writer) : echo_stream(reader, writer, buf);
    coil_ignore(coil_writer_finish(writer));
    return rc;
}

/* A page goes on the stack. (With -fstack-clash-protection a large array there is touched page by page.) */
static coil_ret client(void *sock)
{
    char page[4096];
    if (buf_n <= sizeof page)
        return serve(sock, page);
    void *buf = malloc(buf_n);
    coil_ret rc = serve(sock, buf);
    free(buf);
    return rc;
}

/* Worker 0 gets a free port and tells the others. */
static coil_ret listen_here(coil_sock **out_listener, const char *port)
{
    coil_address at;
    coil_sock *listener;
    int one = 1;
    coil_ret rc = coil_address_parse("127.0.0.1", port, &at);
    if (is_unix) {
        at.storage.ss_family = AF_UNIX;
        at.len = sizeof(sa_family_t); /* no name: it is given one */
    }
    if (rc == 0)
        rc = coil_sock_new(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM, 0, &listener);
    if (rc == 0 && workers > 1)
        rc = coil_sock_setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (rc == 0)
        rc = coil_sock_bind(listener, &at);
    if (rc == 0)
        rc = coil_sock_listen(listener, 1024);
    *out_listener = listener;
    return rc;
}

static coil_ret tell_port(coil_sock *listener)
{
    static char text[COIL_ADDRESS_TEXT_MAX];
    coil_address at;
    coil_ret rc = coil_sock_getsockname(listener, &at);
    if (coil_iserr(rc))
        return rc;
    coil_address_format(&at, text, sizeof text);
    char *port = is_unix ? text : strrchr(text, ':') + 1;
    for (unsigned i = 1; i < workers && rc == 0; i++)
        rc = coil_worker_send(i, port);
    printf("%s\n", port);
    fflush(stdout);
    return rc;
}

static coil_ret accept_all(coil_sock *listener)
{
    coil_sock *sock;
    coil_ret rc;
    while ((rc = coil_sock_accept(listener, &sock, NULL)) == 0) {
        connections++;
        coil_unref(coil_create_task(client, sock));
    }
    return rc;
}

static coil_ret main_task(void *arg)
{
    (void)arg;
    coil_sock *listener;
    coil_ret rc = listen_here(&listener, "0");
    if (rc == 0)
        rc = tell_port(listener);
    return rc == 0 ? accept_all(listener) : rc;
}

static void stop(void *arg)
{
    (void)arg;
    coil_workers_cancel();
}

static coil_ret worker(void *arg)
{
    int me = coil_worker_index();
    coil_sock *listener;
    coil_message m;
    coil_ret rc;
    if (me == 0) {
        rc = coil_loop_add_signal_handler(NULL, SIGTERM, stop, NULL);
        if (rc == 0)
            rc = main_task(arg);
    } else {
        rc = coil_worker_receive(&m, 1);
        if (rc > 0)
            rc = listen_here(&listener, m.data);
        if (rc == 0)
            rc = accept_all(listener);
    }
    fprintf(stderr, "worker %d: %lu connections, %lu requests\n", me, connections, requests);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        return 2;
    is_unix = strcmp(argv[1], "unix") == 0;
    is_sock = strcmp(argv[3], "sock") == 0;
    is_coalesced = strcmp(argv[3], "coalesced") == 0;
    is_messages = is_coalesced || strcmp(argv[3], "messages") == 0;
    buf_n = (size_t)atol(argv[2]);
    workers = argc == 5 ? (unsigned)atoi(argv[4]) : 1;
    coil_run_opts run = {.size = sizeof run, .spin = bench_spin()};
    if (argc == 4)
        return coil_report(coil_run_with(main_task, NULL, &run));
    coil_workers_opts opts = {.size = sizeof opts, .run = &run, .pin = workers > 1};
    return coil_report(coil_workers_with(workers, worker, NULL, &opts));
}
