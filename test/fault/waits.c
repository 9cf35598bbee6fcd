/* SPDX-License-Identifier: MIT
 *
 * waits.c: waits that a quick conversation never comes to, under faults: for room, for a client, for a reader that is fed, for a
 * descriptor; and children with all that can be asked for them. */
#include "body.h"
#include "shell.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- room ---- */

enum { FLOOD_BYTES = 2000000 };

static coil_ret read_slowly(coil_reader *reader, coil_writer *writer, void *arg)
{
    static char buf[65536];
    size_t *got = arg;
    (void)writer;
    for (;;) {
        leave_on_error(coil_sleep(0.0001));
        coil_ret n = coil_reader_read(reader, buf, sizeof buf);
        if (n <= 0)
            return n;
        *got += (size_t)n;
    }
}

static coil_ret flood(coil_writer *writer)
{
    static char bytes[FLOOD_BYTES / 4];
    coil_ret rc = 0;
    for (int i = 0; i < 4 && rc == 0; i++) {
        rc = coil_writer_write(writer, bytes, sizeof bytes);
        if (rc == 0)
            rc = coil_writer_drain(writer);
    }
    return rc;
}

static coil_ret more_than_there_is_room_for(void)
{
    static size_t got; /* a server's task may end after its body */
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8];
    got = 0;
    leave_on_error(coil_start_server(read_slowly, &got, "127.0.0.1", "0", &server));
    snprintf(port, sizeof port, "%u", (unsigned)coil_server_port(server) & 0xffff);
    coil_ret rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
    if (rc == 0) {
        rc = flood(writer);
        rc = first_error(rc, coil_writer_finish(writer));
    }
    if (rc < 0)
        coil_server_abort_clients(server);
    rc = first_error(rc, coil_server_finish(server));
    assert_true(got <= FLOOD_BYTES);
    return rc < 0 ? rc : got == FLOOD_BYTES ? 0 : -ECONNRESET;
}

COIL_TEST(room_under_faults)
{
    play(more_than_there_is_room_for);
}

/* ---- clients that are waited for ---- */

struct visit {
    coil_sock *listener;
    coil_address at;
};

static coil_ret welcome(void *arg)
{
    struct visit *visit = arg;
    coil_sock *guest;
    char buf[8];
    size_t got = 0;
    coil_ret rc = coil_sock_accept(visit->listener, &guest, NULL);
    leave_on_error(rc);
    while (got < 5 && (rc = coil_sock_recv(guest, buf + got, sizeof buf - got)) > 0)
        got += (size_t)rc;
    coil_sock_unref(guest);
    return rc < 0 ? rc : got == 5 ? 0 : -ECONNRESET;
}

static coil_ret call_in(void *arg)
{
    struct visit *visit = arg;
    coil_sock *sock;
    leave_on_error(coil_sleep(0.001));
    leave_on_error(coil_sock_new(AF_INET, SOCK_STREAM, 0, &sock));
    coil_ret rc = coil_sock_connect(sock, &visit->at);
    if (rc == 0)
        rc = coil_sleep(0.001);
    if (rc == 0)
        rc = coil_sock_sendall(sock, "hello", 5, NULL);
    coil_sock_unref(sock);
    return rc;
}

static coil_ret visits(void)
{
    struct visit visit = {.listener = NULL};
    leave_on_error(coil_address_parse("127.0.0.1", "0", &visit.at));
    coil_ret rc = coil_sock_new(AF_INET, SOCK_STREAM, 0, &visit.listener);
    if (rc == 0)
        rc = coil_sock_bind(visit.listener, &visit.at);
    if (rc == 0)
        rc = coil_sock_listen(visit.listener, 1);
    if (rc == 0)
        rc = coil_sock_getsockname(visit.listener, &visit.at);
    if (rc == 0) {
        coil_timeout_scope scope; /* one of the two may be cancelled, and the other left alone */
        rc = coil_timeout_enter(&scope, 1);
        coil_task_group(group);
        coil_group_create_task(&group, welcome, &visit);
        coil_group_create_task(&group, call_in, &visit);
        rc = coil_timeout_exit(&scope, coil_group_exit(&group, rc));
    }
    coil_sock_unref(visit.listener);
    return rc;
}

COIL_TEST(visits_under_faults)
{
    play(visits);
}

static coil_ret serve(void *server)
{
    return coil_server_serve_forever(server);
}

static coil_ret say_nothing(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader, (void)writer, (void)arg;
    return 0;
}

static coil_ret serve_for_a_while(void)
{
    coil_server *server;
    leave_on_error(coil_start_server(say_nothing, NULL, "127.0.0.1", "0", &server));
    coil_ret rc = coil_wait_for_call(serve, server, 0.01);
    coil_ret finished = coil_server_finish(server);
    return rc == -ETIMEDOUT ? finished : rc < 0 ? rc : -EPROTO;
}

COIL_TEST(serving_under_faults)
{
    play(serve_for_a_while);
}

/* ---- readers that are fed, descriptors that become ready ---- */

static coil_ret read_five(void *reader)
{
    char buf[5];
    coil_ret rc = coil_reader_readexactly(reader, buf, sizeof buf, NULL);
    if (rc >= 0)
        assert_memory_equal(buf, "bytes", 5);
    return rc < 0 ? rc : 0;
}

static coil_ret feed(coil_reader *reader)
{
    leave_on_error(coil_sleep(0.001));
    leave_on_error(coil_reader_feed_data(reader, "byt", 3));
    leave_on_error(coil_sleep(0.001));
    leave_on_error(coil_reader_feed_data(reader, "es", 2));
    return coil_reader_feed_eof(reader);
}

static coil_ret fed(void)
{
    coil_reader *reader;
    leave_on_error(coil_reader_new(NULL, 0, &reader));
    coil_task *task = coil_create_task(read_five, reader);
    coil_ret rc = feed(reader);
    if (rc < 0)
        coil_task_cancel(task, NULL);
    rc = first_error(rc, coil_await(task));
    coil_task_cancel(task, NULL); /* we may have been cancelled ourselves */
    coil_ignore(coil_await(task));
    coil_unref(task);
    coil_reader_unref(reader);
    return rc;
}

COIL_TEST(fed_readers_under_faults)
{
    play(fed);
}

/* ---- children with wishes ---- */

static coil_ret with_wishes(void)
{
    static const char *const env[] = {"PATH=/usr/bin:/bin", "WISH=granted", NULL};
    coil_subprocess_opts opts = {.size = sizeof opts,
                                 .out = COIL_PIPE,
                                 .err = COIL_DEVNULL,
                                 .cwd = "/",
                                 .env = env,
                                 .start_new_session = true,
                                 .set_umask = true,
                                 .umask = 077};
    coil_process_output output;
    coil_process *p;
    int code;
    leave_on_error(coil_create_subprocess_shell("echo done", &opts, &p));
    coil_ret rc = coil_process_communicate(p, NULL, 0, &output);
    if (rc == 0)
        assert_string_equal(output.out, "done\n");
    if (!coil_process_returncode(p, &code))
        (void)coil_process_kill(p);
    coil_process_unref(p);
    leave_on_error(rc);
    opts.start_new_session = false;
    opts.new_process_group = true;
    leave_on_error(coil_create_subprocess_shell("echo done", &opts, &p));
    rc = coil_process_wait(p, &code);
    if (!coil_process_returncode(p, &code))
        (void)coil_process_kill(p);
    coil_process_unref(p);
    return rc;
}

COIL_TEST(children_with_wishes_under_faults)
{
    shell_is_here();
    play(with_wishes);
}

COIL_TEST_MAIN()
