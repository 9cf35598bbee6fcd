/* SPDX-License-Identifier: MIT
 *
 * coil_echo.c: an echo server: coil_echo tcp|unix BUFFER stream|sock|messages. Prints where it listens; serves until
 * killed.
 *
 * Every client has a task; `stream` echoes what there is through a reader and a writer, `messages` takes and answers 64 bytes
 * at a time, `sock` goes through the socket itself. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t buf_n;
static bool is_unix, is_sock, is_messages;

static coil_ret echo_stream(coil_reader *reader, coil_writer *writer, void *buf)
{
    coil_ret n;
    while ((n = coil_reader_read(reader, buf, buf_n)) > 0) {
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

static coil_ret main_task(void *arg)
{
    (void)arg;
    coil_sock *listener, *sock;
    coil_address at;
    char text[COIL_ADDRESS_TEXT_MAX];
    coil_ret rc = coil_address_parse("127.0.0.1", "0", &at);
    if (is_unix) {
        at.storage.ss_family = AF_UNIX;
        at.len = sizeof(sa_family_t); /* no name: it is given one */
    }
    if (rc == 0)
        rc = coil_sock_new(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM, 0, &listener);
    if (rc == 0)
        rc = coil_sock_bind(listener, &at);
    if (rc == 0)
        rc = coil_sock_listen(listener, 1024);
    if (rc == 0)
        rc = coil_sock_getsockname(listener, &at);
    if (coil_iserr(rc))
        return rc;
    coil_address_format(&at, text, sizeof text);
    printf("%s\n", is_unix ? text : strrchr(text, ':') + 1);
    fflush(stdout);
    while ((rc = coil_sock_accept(listener, &sock, NULL)) == 0)
        coil_unref(coil_create_task(client, sock));
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    is_unix = strcmp(argv[1], "unix") == 0;
    is_sock = strcmp(argv[3], "sock") == 0;
    is_messages = strcmp(argv[3], "messages") == 0;
    buf_n = (size_t)atol(argv[2]);
    return coil_report(coil_run(main_task, NULL));
}
