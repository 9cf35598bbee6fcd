/* SPDX-License-Identifier: MIT
 *
 * connections.c: how connections end: by asyncio's own tests of it, by a table of ends (however a peer goes, what
 * it sent comes first, and the end is told from an error), under cancels at every stage, byte by byte. */
#include "../unit/net/wire.h"

/* ---- clients and servers ---- */

static coil_ret handle_client(coil_reader *reader, coil_writer *writer, void *arg)
{
    const char *line;
    coil_ret rc = coil_reader_readline(reader, &line, NULL);
    if (rc >= 0)
        rc = coil_writer_write(writer, line, (size_t)rc);
    if (rc >= 0)
        rc = coil_writer_drain(writer);
    return rc;
}

static coil_server *serve(coil_client_fn fn, void *arg)
{
    coil_server *server;
    must(coil_start_server(fn, arg, "127.0.0.1", "0", &server));
    return server;
}

static void call(coil_server *server, coil_reader **r, coil_writer **w)
{
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)must(coil_server_port(server)) & 0xffff);
    must(coil_open_connection("127.0.0.1", port, r, w));
}

static void end(coil_server *server)
{
    coil_server_close(server);
    must(coil_server_wait_closed(server));
    coil_server_free(server);
}

COIL_TEST(test_eof_feed_when_closing_writer)
{
    coil_server *server = serve(handle_client, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    must(coil_writer_write(w, "GET / HTTP/1.0\n", 15));
    coil_writer_close(w);
    must(coil_writer_wait_closed(w));
    assert_true(coil_reader_at_eof(r));
    const char *data;
    assert_int_equal(must(coil_reader_read_all(r, 0, &data, NULL)), 0);
    assert_string_equal(data, "");
    must(coil_writer_finish(w));
    end(server);
}

COIL_TEST(test_wait_closed_on_close)
{
    coil_server *server = serve(handle_client, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    must(coil_writer_write(w, "GET /\n", 6));
    const char *line;
    must(coil_reader_readline(r, &line, NULL));
    assert_string_equal(line, "GET /\n");
    assert_int_equal(must(coil_reader_readline(r, &line, NULL)), 0);
    assert_false(coil_writer_is_closing(w));
    coil_writer_close(w);
    assert_true(coil_writer_is_closing(w));
    must(coil_writer_wait_closed(w));
    must(coil_writer_finish(w));
    end(server);
}

static coil_ret two_lines(coil_reader *reader, coil_writer *writer, void *arg)
{
    coil_ret rc = coil_writer_write(writer, "first\nsecond\n", 13);
    return rc < 0 ? rc : coil_writer_drain(writer);
}

COIL_TEST(test_wait_closed_on_close_with_unread_data)
{
    coil_server *server = serve(two_lines, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    const char *line;
    must(coil_reader_readline(r, &line, NULL));
    assert_string_equal(line, "first\n");
    coil_writer_close(w);
    must(coil_writer_wait_closed(w));
    must(coil_writer_finish(w));
    end(server);
}

COIL_TEST(test_async_writer_api_exception_after_close)
{
    coil_server *server = serve(handle_client, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    coil_writer_close(w);
    assert_int_equal(coil_writer_write(w, "data", 4), -ECONNRESET);
    assert_int_equal(coil_writer_drain(w), -ECONNRESET);
    must(coil_writer_finish(w));
    end(server);
}

static coil_ret raise_now(coil_reader *reader, coil_writer *writer, void *arg)
{
    coil_ignore(coil_sleep(0));
    return coil_fail(COIL_EUSER, "test");
}

COIL_TEST(test_unhandled_exceptions)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_server *server = serve(raise_now, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    const char *data;
    assert_int_equal(must(coil_reader_read_all(r, 0, &data, NULL)), 0);
    must(coil_writer_finish(w));
    assert_int_equal(reports.n, 1);
    assert_string_equal(reports.kind, "client-error");
    assert_string_equal(reports.message, "Unhandled exception in client_connected_cb");
    end(server);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

static coil_ret cancel_self(coil_reader *reader, coil_writer *writer, void *arg)
{
    coil_task_cancel(coil_current_task(), NULL);
    return coil_sleep(0);
}

COIL_TEST(test_unhandled_cancel)
{
    struct wire_reports reports;
    wire_listen_to_reports(&reports);
    coil_server *server = serve(cancel_self, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    const char *data;
    assert_int_equal(must(coil_reader_read_all(r, 0, &data, NULL)), 0);
    must(coil_writer_finish(w));
    assert_int_equal(reports.n, 0);
    end(server);
    coil_loop_set_exception_handler(NULL, NULL, NULL);
}

/* ---- the table of ends ----
 *
 * The peer queues data (or none), then goes: by FIN (closing after reading all), by half-close, or by reset. We
 * read, or write, or both. What was queued is read; then the end is an end, and a reset an error. */

enum going { BY_FIN, BY_HALF_CLOSE, BY_RESET };

static void go(coil_sock *peer, enum going how)
{
    switch (how) {
    case BY_FIN: coil_sock_unref(peer); break;
    case BY_HALF_CLOSE: must(coil_sock_shutdown(peer, SHUT_WR)); break;
    case BY_RESET: wire_reset(peer); break;
    }
}

static void read_what_was_queued(coil_reader *r, bool queued, enum going how)
{
    char buf[2000];
    coil_ret rc;
    if (queued) {
        rc = must(coil_reader_readexactly(r, buf, 6, NULL));
        assert_memory_equal(buf, "queued", 6);
    }
    rc = coil_reader_read(r, buf, sizeof buf);
    if (how == BY_RESET) {
        assert_int_equal(rc, -ECONNRESET);
        assert_int_equal(coil_reader_read(r, buf, sizeof buf), -ECONNRESET);
        assert_false(coil_reader_at_eof(r));
    } else {
        assert_int_equal(rc, 0);
        assert_true(coil_reader_at_eof(r));
        assert_null(coil_reader_exception(r));
    }
}

static void one_end(bool queued, enum going how, bool reader_waits)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    if (queued)
        wire_say(peer, "queued");
    if (!reader_waits || how == BY_RESET) /* a real kernel's reset may overtake what was queued */
        wire_turns(3);
    if (queued && how == BY_RESET) {
        /* What the kernel had given us before is ours; what it still holds goes with the reset. */
        char c[6];
        must(coil_reader_readexactly(r, c, 6, NULL));
        assert_memory_equal(c, "queued", 6);
        queued = false;
    }
    go(peer, how);
    if (!reader_waits)
        wire_turns(3);
    read_what_was_queued(r, queued, how);
    if (how == BY_HALF_CLOSE) {
        /* Our direction is open still. */
        must(coil_writer_write(w, "answer", 6));
        must(coil_writer_drain(w));
        wire_expect(peer, "answer");
        must(coil_writer_finish(w));
        wire_expect_end(peer);
        coil_sock_unref(peer);
    } else {
        coil_ret rc = coil_writer_finish(w);
        assert_int_equal(rc, how == BY_RESET ? -ECONNRESET : 0);
    }
}

COIL_TEST(ends_when_reading)
{
    for (int queued = 0; queued < 2; queued++)
        for (int how = BY_FIN; how <= BY_RESET; how++)
            for (int waits = 0; waits < 2; waits++)
                one_end(queued, (enum going)how, waits);
}

/* We only write: the end is met as an error of ours, and no write brings the process down. */
COIL_TEST(ends_when_writing)
{
    for (int how = BY_FIN; how <= BY_RESET; how++) {
        coil_reader *r;
        coil_writer *w;
        coil_sock *peer = wire_stream(0, &r, &w);
        go(peer, (enum going)how);
        wire_turns(3);
        coil_ret rc = 0;
        for (int i = 0; rc == 0 && i < 50; i++) {
            rc = coil_writer_write(w, "into the void", 13);
            wire_turns(1);
        }
        if (how == BY_HALF_CLOSE) {
            assert_int_equal(rc, 0);
            must(coil_writer_finish(w));
            coil_sock_unref(peer);
            continue;
        }
        assert_true(rc == -EPIPE || rc == -ECONNRESET);
        assert_int_equal(coil_writer_drain(w), rc);
        char c;
        coil_ret read = coil_reader_read(r, &c, 1);
        assert_true(read == 0 || read == -ECONNRESET);
        assert_true(how != BY_RESET || read == -ECONNRESET);
        assert_int_equal(coil_writer_finish(w), rc);
    }
}

/* We do both, and more is under way than fits anywhere. */
struct flood {
    coil_writer *w;
    coil_ret rc;
};

static coil_ret flood(void *arg)
{
    struct flood *f = arg;
    static char piece[65536];
    do
        f->rc = coil_writer_write(f->w, piece, sizeof piece);
    while (f->rc >= 0 && (f->rc = coil_writer_drain(f->w)) >= 0);
    return 0;
}

COIL_TEST(ends_when_flooding)
{
    for (int how = BY_FIN; how <= BY_RESET; how++) {
        coil_reader *r;
        coil_writer *w;
        coil_sock *peer = wire_stream(0, &r, &w);
        struct flood f = {.w = w};
        coil_task *task = coil_create_task(flood, &f);
        wire_say(peer, "enough!\n");
        must(coil_sleep(0.1));
        const char *line;
        must(coil_reader_readline(r, &line, NULL));
        assert_string_equal(line, "enough!\n");
        go(peer, (enum going)how);
        if (how == BY_HALF_CLOSE) {
            char c;
            assert_int_equal(must(coil_reader_read(r, &c, 1)), 0);
            coil_writer_abort(w);
            must(coil_join(task));
            assert_int_equal(f.rc, -ECONNRESET); /* Connection lost */
            must(coil_writer_finish(w));
            coil_sock_unref(peer);
            continue;
        }
        must(coil_join(task));
        assert_true(f.rc == -EPIPE || f.rc == -ECONNRESET);
        assert_int_equal(coil_writer_finish(w), f.rc);
    }
}

/* ---- a cancel at every stage ----
 *
 * A conversation of fixed bytes, its reading task cancelled and started again after every turn: the bytes come
 * out whole, in order, once. */

struct patient {
    coil_reader *r;
    int kind;
    char got[600];
    size_t n;
    bool ended;
};

static coil_ret read_patiently(void *arg)
{
    struct patient *p = arg;
    while (!p->ended) {
        char buf[40];
        const char *view = buf;
        size_t n = 0;
        coil_ret rc;
        switch (p->kind) {
        case 0: rc = coil_reader_read(p->r, buf, 7); break;
        case 1:
            rc = coil_reader_read(p->r, p->got + p->n, sizeof p->got - p->n);
            break; /* direct */
        case 2: rc = coil_reader_readexactly(p->r, buf, 10, NULL); break;
        case 3: rc = coil_reader_readline(p->r, &view, NULL); break;
        default: rc = coil_reader_readuntil(p->r, "9\n", 2, &view, &n); break;
        }
        if (rc < 0)
            return rc;
        if (p->kind != 1)
            memcpy(p->got + p->n, view, (size_t)rc);
        p->n += (size_t)rc;
        p->ended = rc == 0 || p->n == 500;
    }
    return 0;
}

static coil_ret speak(void *arg)
{
    coil_sock *peer = arg;
    char line[32];
    for (int i = 0; i < 50; i++) {
        snprintf(line, sizeof line, "line %03d9\n", i);
        for (size_t at = 0; at < 10; at += 5) {
            wire_send(peer, line + at, 5);
            must(coil_sleep(0.0005));
        }
    }
    return 0;
}

COIL_TEST(cancelled_reads_lose_nothing)
{
    for (int kind = 0; kind < 5; kind++) {
        coil_reader *r;
        coil_writer *w;
        coil_sock *peer = wire_stream(0, &r, &w);
        struct patient p = {.r = r, .kind = kind};
        coil_task *speaker = coil_create_task(speak, peer);
        int cancels = 0;
        while (!p.ended) {
            coil_task *task = coil_create_task(read_patiently, &p);
            must(coil_sleep(cancels % 3 ? 0.0003 : 0));
            if (cancels % 4 == 1)
                must(coil_sleep(0));
            coil_task_cancel(task, NULL);
            coil_ret rc = coil_join(task);
            assert_true(rc == -ECANCELED || rc == 0);
            cancels++;
        }
        must(coil_join(speaker));
        assert_int_equal(p.n, 500);
        for (int i = 0; i < 50; i++) {
            char line[32];
            snprintf(line, sizeof line, "line %03d9\n", i);
            assert_memory_equal(p.got + 10 * i, line, 10);
        }
        assert_true(cancels > 20);
        coil_sock_unref(peer);
        must(coil_writer_finish(w));
    }
}

/* ---- one byte at a time ---- */

static ssize_t one_recv(int fd, void *p, size_t n, int flags)
{
    return coil__sys_real.recv(fd, p, n > 1 ? 1 : n, flags);
}
static ssize_t one_send(int fd, const void *p, size_t n, int flags)
{
    return coil__sys_real.send(fd, p, n > 1 ? 1 : n, flags);
}
static ssize_t one_sendmsg(int fd, const struct msghdr *hdr, int flags)
{
    struct iovec first = {0};
    struct msghdr short_hdr = *hdr;
    for (size_t i = 0; i < (size_t)hdr->msg_iovlen && first.iov_len == 0; i++)
        if (hdr->msg_iov[i].iov_len > 0)
            first = (struct iovec){hdr->msg_iov[i].iov_base, 1};
    short_hdr.msg_iov = &first;
    short_hdr.msg_iovlen = 1;
    return coil__sys_real.sendmsg(fd, &short_hdr, flags);
}

COIL_TEST(every_transfer_one_byte_at_a_time)
{
    coil_server *server = serve(handle_client, NULL);
    coil_reader *r;
    coil_writer *w;
    call(server, &r, &w);
    coil__sys.recv = one_recv;
    coil__sys.send = one_send;
    coil__sys.sendmsg = one_sendmsg;
    char a[] = "pieces ", b[] = "of a ", c[] = "line\n";
    struct iovec v[] = {{a, 7}, {NULL, 0}, {b, 5}, {c, 5}};
    must(coil_writer_writelines(w, v, 4));
    must(coil_writer_write_eof(w));
    const char *data;
    assert_int_equal(must(coil_reader_read_all(r, 0, &data, NULL)), 17);
    assert_string_equal(data, "pieces of a line\n");
    must(coil_writer_finish(w));
    end(server);
    coil__sys.recv = coil__sys_real.recv;
    coil__sys.send = coil__sys_real.send;
    coil__sys.sendmsg = coil__sys_real.sendmsg;
}

COIL_TEST_MAIN()
