/* SPDX-License-Identifier: MIT
 *
 * tricky.c: the tests that pin asyncio's tricky behaviours, those that no other story tells, under their own
 * names: of test_base_events.py, test_events.py, test_futures.py, test_streams.py, test_server.py,
 * test_sock_lowlevel.py, test_sendfile.py and test_taskgroups.py.
 *
 * T01, T03 to T05, T07 to T10, T34, T36, T42, T43, T49, T52, T61, T63, T64. Those that rest on a mocked
 * kernel meet the real one here, or coil's table of kernel calls. */
#include "../unit/net/ear.h"

#include "loop/loop.h"

#include <coil.h>
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static void count(void *arg)
{
    ++*(int *)arg;
}

static coil_ret nothing(void *arg)
{
    return (coil_ret)arg;
}

/* ---- the loop ---- */

static coil_loop *fresh_loop(void)
{
    return coil_new_event_loop(
        &(coil_run_opts){.size = sizeof(coil_run_opts), .virtual_time = true});
}

static void run_once(coil_loop *loop)
{
    coil_loop_stop(loop);
    assert_int_equal(coil_loop_run_forever(loop), 0);
}

COIL_TEST_PLAIN(test_run_once)
{
    coil_loop *loop = fresh_loop();
    int calls = 0;
    coil_loop_call_soon(loop, count, &calls, NULL);
    run_once(loop);
    assert_int_equal(calls, 1);
    coil_loop_free(loop);
}

static struct once {
    coil_loop *loop;
    int fd, calls;
} once;

static void clear_event(void *unused)
{
    (void)unused;
    coil_loop_remove_reader(once.loop, once.fd);
}

static void do_event(void *unused)
{
    (void)unused;
    once.calls++;
    coil_loop_call_soon(once.loop, clear_event, NULL, NULL);
}

static void stop(void *loop)
{
    coil_loop_stop(loop);
}

/* What a turn found ready before it stopped is called once, however often the loop is stopped and run. */
COIL_TEST_PLAIN(test_single_selecter_event_callback_after_stopping)
{
    int pipe_[2];
    coil_run_opts opts = {.size = sizeof opts}; /* a descriptor of the real kernel's */
    if (getenv("COIL_BACKEND") && strcmp(getenv("COIL_BACKEND"), "sim") == 0)
        skip();
    once = (struct once){.loop = coil_new_event_loop(&opts)};
    assert_int_equal(pipe2(pipe_, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(write(pipe_[1], "x", 1), 1);
    once.fd = pipe_[0];
    assert_int_equal(coil_loop_add_reader(once.loop, once.fd, do_event, NULL), 0);
    for (int i = 0; i < 3; i++) { /* the first arms, the second is called, the third must not be */
        coil_loop_call_soon(once.loop, stop, once.loop, NULL);
        assert_int_equal(coil_loop_run_forever(once.loop), 0);
        assert_true(once.calls <= 1);
    }
    for (int i = 0; i < 100 && once.calls == 0; i++)
        run_once(once.loop);
    assert_int_equal(once.calls, 1);
    run_once(once.loop);
    run_once(once.loop);
    assert_int_equal(once.calls, 1);
    coil_loop_free(once.loop);
    close(pipe_[0]);
    close(pipe_[1]);
}

static char order[8];

static void append(void *letter)
{
    strcat(order, letter);
}

COIL_TEST(test_call_later_negative_delays)
{
    order[0] = 0;
    static char letters[] = "a\0b";
    coil_loop_call_later(NULL, -1, append, letters, NULL);
    coil_loop_call_later(NULL, -2, append, letters + 2, NULL);
    assert_int_equal(coil_sleep(0), 0);
    assert_int_equal(coil_sleep(0), 0);
    assert_string_equal(order, "ba");
}

/* The numbers are asyncio's; the heap holds what is not cancelled and nothing else, at every moment. */
COIL_TEST(test__run_once_cancelled_event_cleanup)
{
    int calls = 0, kept = 1;
    coil_loop_stats_t stats;
    coil_loop_call_later(NULL, 3000, count, &calls, NULL);
    for (int i = 0; i < 300; i++) {
        coil_handle *handle;
        coil_loop_call_later(NULL, i % 2 ? 3600 : 100, count, &calls, &handle);
        if (i % 3 == 0) {
            kept++;
        } else {
            coil_handle_cancel(handle);
        }
        coil_handle_unref(handle);
        coil_loop_stats(NULL, &stats);
        assert_int_equal(stats.timers, kept);
    }
    assert_int_equal(coil_sleep(3601), 0);
    assert_int_equal(calls, kept);
}

COIL_TEST_WITH(test_timeout_rounding, .virtual_time = false)
{
    if (wire_is_imaginary())
        skip();
    uint64_t before = coil__running_loop->turns;
    for (int i = 2; i <= 10; i += 2) {
        double begun = coil_loop_time(NULL), delay = pow(10, -i);
        assert_int_equal(coil_sleep(delay), 0);
        assert_true(coil_loop_time(NULL) - begun >= delay - 1e-9);
    }
    assert_true(coil__running_loop->turns - before <= 20);
}

static coil_ret run_other_loop(void *loop)
{
    int rc = coil_loop_run_forever(loop);
    assert_non_null(strstr(coil_last_error()->message, "another loop is running"));
    return rc;
}

COIL_TEST_PLAIN(test_running_loop_within_a_loop)
{
    coil_loop *loop = fresh_loop(), *outer = fresh_loop();
    assert_int_equal(coil_loop_run_until_complete(outer, coil_coro_new(run_other_loop, loop)),
                     COIL_ERUNNING);
    coil_loop_free(loop);
    coil_loop_free(outer);
}

static coil_ret raise_fatal(void *unused)
{
    (void)unused;
    coil_loop_raise(NULL, COIL_EUSER);
    return coil_sleep(0);
}

/* The task that run_until_complete made is nobody's, and nothing is said of it. */
COIL_TEST_PLAIN(test_run_forever_keyboard_interrupt)
{
    coil_loop *loop = fresh_loop();
    struct wire_reports reports = {0};
    coil_loop_set_exception_handler(loop, wire_report, &reports);
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(raise_fatal, NULL)),
                     COIL_EUSER);
    coil_loop_free(loop);
    assert_int_equal(reports.n, 0);
}

static void broken_handler(coil_loop *loop, const coil_exception_context *context, void *calls)
{
    (void)context;
    ++*(int *)calls;
    coil_exception_context mine = {.size = sizeof mine, .message = "spam", .fd = -1};
    coil_loop_call_exception_handler(loop, &mine); /* as one does that fails itself */
}

static void report_zero_error(void *unused)
{
    (void)unused;
    coil_exception_context context = {
        .size = sizeof context, .message = "zero", .code = -EDOM, .fd = -1};
    coil_loop_call_exception_handler(NULL, &context);
}

/* What standard error is told by a callback, on its way through the loop. */
static void hear_stderr(coil_callback_fn fn, char *out, size_t size)
{
    FILE *file = tmpfile();
    int before = dup(2);
    assert_true(file && before >= 0);
    fflush(stderr);
    dup2(fileno(file), 2);
    coil_loop_call_soon(NULL, fn, NULL, NULL);
    coil_ret rc = coil_sleep(0);
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = 0;
    fclose(file);
    assert_int_equal(rc, 0);
}

COIL_TEST(test_set_exc_handler_broken)
{
    int calls = 0;
    char text[512];
    coil_loop_set_exception_handler(NULL, broken_handler, &calls);
    hear_stderr(report_zero_error, text, sizeof text);
    assert_int_equal(calls, 1); /* not again and again */
    assert_string_equal(text, "coil: spam\n");
}

static void report_nothing(void *unused)
{
    (void)unused;
    coil_exception_context empty = {.size = sizeof empty, .fd = -1};
    coil_loop_default_exception_handler(NULL, &empty);
    coil_loop_default_exception_handler(NULL, NULL);
}

/* The default one calls nobody's code: what is left to break it is what it is given. */
COIL_TEST(test_default_exc_handler_broken)
{
    char text[512];
    hear_stderr(report_nothing, text, sizeof text);
    assert_string_equal(text, "coil: Unhandled exception in event loop\n"
                              "coil: Unhandled exception in event loop\n");
}

/* ---- futures, groups ---- */

static void id(coil_future *future, void *arg)
{
    (void)future;
    ++*(int *)arg;
}

static void str(coil_future *future, void *arg)
{
    (void)future, (void)arg;
}

/* Comparing runs no code here, so the list cannot change under it; that many of one kind go at once. */
COIL_TEST(test_remove_done_callbacks_list_mutation)
{
    int ids = 0;
    coil_future *future = coil_loop_create_future(NULL);
    coil_future_add_done_callback(future, str, NULL);
    for (int i = 0; i < 63; i++)
        coil_future_add_done_callback(future, id, &ids);
    assert_int_equal(coil_future_remove_done_callback(future, id, NULL), 0);
    assert_int_equal(coil_future_remove_done_callback(future, id, &ids), 63);
    coil_future_set_result(future, 0);
    assert_int_equal(coil_join(future), 0);
    assert_int_equal(ids, 0);
}

static coil_future *with_error(const char *words)
{
    coil_future *future = coil_loop_create_future(NULL);
    coil_future_set_exception(future, coil_fail(COIL_EUSER, "%s", words));
    return future;
}

COIL_TEST(test_future_exception_never_retrieved)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_unref(with_error("boom"));
    assert_int_equal(reports.n, 1);
    assert_int_equal(reports.code, COIL_EUSER);
    assert_non_null(strstr(reports.message, "exception was never retrieved"));
}

COIL_TEST(test_tb_logger_exception_result_retrieved)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_future *future = with_error("boom");
    assert_int_equal(coil_future_result(future), COIL_EUSER);
    coil_unref(future);
    assert_int_equal(reports.n, 0);
}

enum { ZERO_DIVISION = COIL_EUSER - 1, MY_BASE = COIL_EUSER - 2, TYPE_ERROR = COIL_EUSER - 3 };

static coil_ret crash_soon(void *code)
{
    coil_ret rc = coil_sleep(0.1);
    return coil_iserr(rc) ? rc : coil_fail((coil_ret)code, "crash");
}

static coil_ret nested(coil_ret code)
{
    coil_ret rc = coil_sleep(10);
    return coil_iserr(rc) ? coil_fail(code, "nested") : rc;
}

/* A child fails, and the body answers its cancel with an error of its own: both are told. */
static void assert_both(coil_ret child, coil_ret body)
{
    coil_task_group(g);
    coil_group_create_task(&g, crash_soon, (void *)child);
    assert_int_equal(coil_group_exit(&g, nested(body)), child);
    const coil_error *e = coil_last_error();
    assert_int_equal(e->members_n, 2);
    assert_int_equal(e->members[0]->code, child);
    assert_int_equal(e->members[1]->code, body);
}

/* KeyboardInterrupt in the body leaves the run; coil_loop_raise is what does that here. */
static coil_ret taskgroup_20(void *unused)
{
    (void)unused;
    coil_task_group(g);
    coil_group_create_task(&g, crash_soon, (void *)(intptr_t)ZERO_DIVISION);
    coil_ret rc = coil_sleep(10);
    coil_loop_raise(NULL, COIL_EUSER);
    return coil_group_exit(&g, rc);
}

COIL_TEST_PLAIN(test_taskgroup_20)
{
    coil_loop *loop = fresh_loop();
    assert_int_equal(coil_loop_run_until_complete(loop, coil_coro_new(taskgroup_20, NULL)),
                     COIL_EUSER);
    coil_loop_set_exception_handler(loop, wire_hear_nothing, NULL);
    coil_loop_free(loop);
}

COIL_TEST(test_taskgroup_20a)
{
    assert_both(ZERO_DIVISION, MY_BASE);
}

COIL_TEST(test_taskgroup_21a)
{
    assert_both(MY_BASE, TYPE_ERROR);
}

COIL_TEST(test_coro_closed_when_tg_closed)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_group g = coil_group_begin();
    assert_int_equal(coil_group_exit(&g, 0), 0);
    coil_task *task = coil_group_create_task_coro(&g, coil_coro_new(nothing, NULL));
    assert_int_equal(coil_await(task), COIL_EINVALIDSTATE);
    assert_non_null(strstr(coil_last_error()->message, "is finished"));
    coil_group_leave(&g);
    assert_int_equal(reports.n, 0); /* closed, not forgotten */
}

/* A task that ended in its eager first step keeps nothing of what it ran. */
COIL_TEST(test_issue122332)
{
    coil_loop_stats_t before, after;
    coil_loop_set_task_factory(NULL, coil_eager_task_factory, NULL);
    coil_loop_stats(NULL, &before);
    coil_task *task = coil_create_task_coro(coil_coro_new(nothing, (void *)5));
    assert_true(coil_future_done(task));
    coil_loop_stats(NULL, &after);
    assert_int_equal(after.tasks, before.tasks);
    assert_int_equal(coil_join(task), 5);
    coil_loop_stats(NULL, &after);
    assert_int_equal(after.stacks, before.stacks);
}

/* ---- streams ---- */

static coil_reader *fed(size_t limit, ...)
{
    coil_reader *reader;
    assert_int_equal(coil_reader_new(NULL, limit, &reader), 0);
    va_list args;
    va_start(args, limit);
    for (const char *piece; (piece = va_arg(args, const char *));)
        assert_int_equal(coil_reader_feed_data(reader, piece, strlen(piece)), 0);
    va_end(args);
    return reader;
}

static void assert_until(coil_reader *reader, const char *expected)
{
    const char *data;
    size_t n;
    assert_int_equal(coil_reader_readuntil(reader, "aaa", 3, &data, &n), strlen(expected));
    assert_memory_equal(data, expected, n);
    assert_int_equal(coil_reader_buffered(reader), 0);
    coil_reader_unref(reader);
}

COIL_TEST(test_readuntil_multi_chunks_1)
{
    assert_until(fed(0, "QWEaa", "XYaa", "a", NULL), "QWEaaXYaaa");
    assert_until(fed(0, "QWEaa", "XYa", "aa", NULL), "QWEaaXYaaa");
    assert_until(fed(0, "aaa", NULL), "aaa");
    assert_until(fed(0, "Xaaa", NULL), "Xaaa");
    assert_until(fed(0, "YYY", "a", "a", "a", NULL), "YYYaaa");
}

COIL_TEST(test_readuntil_multi_separator_limit)
{
    coil_reader *reader = fed(3, "some dataA", NULL);
    static char separator[] = "ome dataA";
    struct iovec separators[] = {{separator + 8, 1}, {separator, 9}};
    const char *data;
    size_t n;
    assert_int_equal(coil_reader_readuntil_any(reader, separators, 2, &data, &n), COIL_ELIMIT);
    assert_non_null(strstr(coil_last_error()->message, "is found"));
    assert_int_equal(coil_reader_buffered(reader), 10);
    coil_reader_unref(reader);
}

COIL_TEST(test_readexactly_limit)
{
    coil_reader *reader = fed(3, "chunk", NULL);
    char buf[5];
    assert_int_equal(coil_reader_readexactly(reader, buf, 5, NULL), 5);
    assert_memory_equal(buf, "chunk", 5);
    assert_int_equal(coil_reader_buffered(reader), 0);
    coil_reader_unref(reader);
}

static void feed_and_end(void *reader)
{
    coil_reader_feed_data(reader, "line1\nline2\nline3\n", 18);
    coil_reader_feed_eof(reader);
}

COIL_TEST(test_readexactly_eof)
{
    coil_reader *reader = fed(0, NULL);
    char buf[36];
    size_t got;
    coil_loop_call_soon(NULL, feed_and_end, reader, NULL);
    assert_int_equal(coil_reader_readexactly(reader, buf, 36, &got), COIL_EINCOMPLETE);
    assert_int_equal(got, 18);
    assert_memory_equal(buf, "line1\nline2\nline3\n", 18);
    assert_string_equal(coil_last_error()->message,
                        "18 bytes read on a total of 36 expected bytes");
    assert_int_equal(coil_reader_buffered(reader), 0);
    coil_reader_unref(reader);
}

/* ---- servers, connections ---- */

static coil_ret serve_until_end(coil_reader *reader, coil_writer *writer, void *arg)
{
    char buf[16];
    (void)arg;
    coil_ret rc = coil_reader_read(reader, buf, sizeof buf);
    coil_writer_close(writer);
    coil_ignore(coil_writer_wait_closed(writer));
    return rc < 0 ? 0 : rc;
}

static coil_ret wait_closed(void *server)
{
    return coil_server_wait_closed(server);
}

static void serve_and_end_clients(coil_client_fn serve, void (*end)(coil_server *server))
{
    coil_server *server;
    coil_reader *reader;
    coil_writer *writer;
    char port[8];
    must(coil_start_server(serve, NULL, "127.0.0.1", "0", &server));
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    must(coil_open_connection("127.0.0.1", port, &reader, &writer));
    while (coil_server_connections(server) == 0)
        must(coil_sleep(0.001));
    coil_task *task = coil_create_task(wait_closed, server);
    must(coil_sleep(0.01));
    assert_false(coil_future_done(task));
    coil_server_close(server);
    must(coil_sleep(0.01));
    assert_false(coil_future_done(task)); /* the client keeps it */
    end(server);
    assert_int_equal(coil_join(task), 0);
    coil_ignore(coil_writer_finish(writer));
    coil_server_free(server);
}

COIL_TEST(test_close_clients)
{
    serve_and_end_clients(serve_until_end, coil_server_close_clients);
}

/* Its buffers are full and the client reads nothing: closing would wait for ever. */
static coil_ret serve_much(coil_reader *reader, coil_writer *writer, void *arg)
{
    (void)reader, (void)arg;
    static char much[1 << 20];
    coil_ret rc = 0;
    while (rc == 0 && coil_writer_get_write_buffer_size(writer) < sizeof much)
        rc = coil_writer_write(writer, much, sizeof much);
    coil_ignore(coil_writer_wait_closed(writer));
    return 0;
}

COIL_TEST(test_abort_clients)
{
    serve_and_end_clients(serve_much, coil_server_abort_clients);
}

/* ---- plain sockets ---- */

static const struct io_calls *calls(void)
{
    return &coil_get_running_loop()->backend->cls->calls;
}

static void plain_pair(int out[2])
{
    must(calls()->socketpair(coil_get_running_loop()->backend, AF_UNIX, SOCK_STREAM, out));
}

static void plain_close(int fd)
{
    coil_loop_forget_fd(NULL, fd);
    must(calls()->close(coil_get_running_loop()->backend, fd));
}

static coil_ret recv_some(void *fd)
{
    char buf[64];
    return coil_loop_sock_recv(NULL, *(int *)fd, buf, sizeof buf);
}

static coil_ret send_hello(void *fd)
{
    return coil_loop_sock_sendall(NULL, *(int *)fd, "hello", 5, NULL);
}

static coil_ret send_spaces(void *fd)
{
    char spaces[4096];
    memset(spaces, ' ', sizeof spaces);
    for (coil_ret rc = 0; rc == 0;) /* until nothing more goes in, and it is cancelled */
        if ((rc = coil_loop_sock_sendall(NULL, *(int *)fd, spaces, sizeof spaces, NULL)) < 0)
            return rc;
    return 0;
}

struct receiving {
    int fd;
    char words[32];
};

static coil_ret recv_all_but_spaces(void *arg)
{
    struct receiving *r = arg;
    char buf[8192];
    coil_ret rc;
    while ((rc = coil_loop_sock_recv(NULL, r->fd, buf, sizeof buf)) > 0)
        for (coil_ret i = 0; i < rc; i++)
            if (buf[i] != ' ')
                strncat(r->words, &buf[i], 1);
    return rc;
}

/* A call follows one that was just cancelled and has not gone yet: neither takes the other's bytes. */
COIL_TEST(test_sock_client_racing)
{
    int fd[2];
    char buf[32] = {0};
    plain_pair(fd);
    coil_task *task = coil_create_task(recv_some, &fd[0]);
    must(coil_sleep(0));
    coil_task_cancel(task, NULL);
    must(coil_loop_sock_sendall(NULL, fd[1], "HTTP/1.0 200 OK", 15, NULL));
    assert_int_equal(must(coil_loop_sock_recv(NULL, fd[0], buf, sizeof buf)), 15);
    assert_string_equal(buf, "HTTP/1.0 200 OK");
    assert_int_equal(coil_join(task), -ECANCELED);

    task = coil_create_task(send_spaces, &fd[0]);
    must(coil_sleep(1));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    task = coil_create_task(send_hello, &fd[0]);
    must(coil_sleep(0));
    coil_task_cancel(task, NULL);
    struct receiving r = {.fd = fd[1]};
    coil_task *receiver = coil_create_task(recv_all_but_spaces, &r);
    must(coil_loop_sock_sendall(NULL, fd[0], "world", 5, NULL));
    coil_ret rc = coil_join(task);
    must(calls()->shutdown(coil_get_running_loop()->backend, fd[0], SHUT_WR));
    assert_int_equal(coil_join(receiver), 0);
    assert_string_equal(r.words, rc == -ECANCELED ? "world" : "helloworld");
    plain_close(fd[0]);
    plain_close(fd[1]);
}

struct connecting {
    coil_sock *sock;
    coil_address to;
};

static coil_ret connect_it(void *arg)
{
    struct connecting *c = arg;
    return coil_sock_connect(c->sock, &c->to);
}

COIL_TEST(test_sock_client_connect_racing)
{
    coil_sock *listener;
    struct connecting c;
    coil_address at;
    must(coil_address_parse("127.0.0.1", "0", &at));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &listener));
    must(coil_sock_bind(listener, &at));
    must(coil_sock_getsockname(listener, &c.to));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &c.sock));
    coil_task *task = coil_create_task(connect_it, &c);
    must(coil_sleep(0));
    coil_task_cancel(task, NULL);
    assert_true(coil_iserr(coil_join(task))); /* nobody listens yet */
    coil_sock_unref(c.sock);
    must(coil_sock_listen(listener, 1));
    must(coil_sock_new(AF_INET, SOCK_STREAM, 0, &c.sock));
    assert_int_equal(coil_sock_connect(c.sock, &c.to), 0);
    coil_sock_unref(c.sock);
    coil_sock_unref(listener);
}

/* ---- sendfile ---- */

enum { MUCH = 8 << 20, SOME = 1 << 19 };

static int file_of(size_t n)
{
    char name[] = "/tmp/coil-test-XXXXXX";
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    return fd;
}

struct sending {
    coil_transport *t;
    int file;
    int64_t sent;
};

static coil_ret send_file(void *arg)
{
    struct sending *s = arg;
    return coil_loop_sendfile(NULL, s->t, s->file, 0, 0, 0, &s->sent);
}

COIL_TEST(test_sendfile_close_peer_in_the_middle_of_receiving)
{
    struct ear ear = {0};
    struct sending s = {.file = file_of(MUCH)};
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &s.t);
    wire_narrow(coil_transport_sock(s.t));
    coil_task *task = coil_create_task(send_file, &s);
    char got[1024];
    for (size_t n = 0; n < sizeof got;)
        n += (size_t)must(coil_sock_recv(peer, got + n, sizeof got - n));
    wire_reset(peer);
    coil_ret rc = coil_join(task);
    assert_true(rc == -ECONNRESET || rc == -EPIPE);
    assert_true(s.sent >= 1024 && s.sent < MUCH);
    assert_int_equal(lseek(s.file, 0, SEEK_CUR), s.sent);
    assert_true(coil_transport_is_closing(s.t));
    ear_until_lost(&ear);
    coil_transport_unref(s.t);
    close(s.file);
}

COIL_TEST(test_sendfile_prevents_bare_write)
{
    struct ear ear = {0};
    struct sending s = {.file = file_of(SOME)};
    coil_sock *peer = ear_wire(&ear_protocol, &ear, &s.t);
    wire_narrow(coil_transport_sock(s.t));
    coil_task *task = coil_create_task(send_file, &s);
    must(coil_sleep(0));
    assert_int_equal(coil_transport_write(s.t, "data", 4), COIL_EINVALIDSTATE);
    char buf[65536];
    for (size_t n = 0; n < SOME;)
        n += (size_t)must(coil_sock_recv(peer, buf, sizeof buf));
    assert_int_equal(coil_join(task), SOME);
    coil_transport_close(s.t);
    ear_until_lost(&ear);
    coil_transport_unref(s.t);
    coil_sock_unref(peer);
    close(s.file);
}

COIL_TEST_MAIN()
