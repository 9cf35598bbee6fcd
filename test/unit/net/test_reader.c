/* SPDX-License-Identifier: MIT
 *
 * test_reader.c: bytes in: reads, lines, records, limits, views, the end of the stream, and what a cancel
 * leaves behind. Fed by hand where that is enough, else by a peer. */
#include "wire.h"

/* ---- helpers ---- */

static coil_reader *fed(const char *text, size_t limit)
{
    coil_reader *r;
    must(coil_reader_new(NULL, limit, &r));
    must(coil_reader_feed_data(r, text, strlen(text)));
    return r;
}

static void expect_line(coil_reader *r, const char *text)
{
    const char *line;
    size_t n;
    assert_int_equal(must(coil_reader_readline(r, &line, &n)), (coil_ret)strlen(text));
    assert_int_equal(n, strlen(text));
    assert_string_equal(line, text);
}

static void expect_rest(coil_reader *r, const char *text)
{
    const char *data;
    size_t n;
    assert_int_equal(must(coil_reader_read_all(r, 0, &data, &n)), (coil_ret)strlen(text));
    assert_string_equal(data, text);
}

/* A read in a task of its own: which, and what came of it. */
struct reading {
    coil_reader *reader;
    enum { READ, EXACTLY, LINE, ALL } what;
    size_t n, got;
    char buf[256];
    const char *view;
    coil_ret rc;
};

static coil_ret read_in_task(void *arg)
{
    struct reading *x = arg;
    switch (x->what) {
    case READ: x->rc = coil_reader_read(x->reader, x->buf, x->n); break;
    case EXACTLY: x->rc = coil_reader_readexactly(x->reader, x->buf, x->n, &x->got); break;
    case LINE: x->rc = coil_reader_readline(x->reader, &x->view, &x->got); break;
    case ALL: x->rc = coil_reader_read_all(x->reader, 0, &x->view, &x->got); break;
    }
    return x->rc;
}

/* ---- read ---- */

COIL_TEST(read_takes_what_is_there)
{
    coil_reader *r = fed("hello world", 0);
    char buf[32];
    assert_int_equal(must(coil_reader_read(r, buf, 5)), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(must(coil_reader_read(r, buf, sizeof buf)), 6);
    assert_memory_equal(buf, " world", 6);
    coil_reader_unref(r);
}

COIL_TEST(read_of_nothing_is_at_once)
{
    coil_reader *r;
    must(coil_reader_new(NULL, 0, &r));
    char c;
    assert_int_equal(must(coil_reader_read(r, &c, 0)), 0);
    assert_int_equal(must(coil_reader_readexactly(r, &c, 0, NULL)), 0);
    coil_reader_unref(r);
}

COIL_TEST(read_waits_for_the_first_byte)
{
    coil_reader *r;
    must(coil_reader_new(NULL, 0, &r));
    struct reading x = {.reader = r, .what = READ, .n = 100};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(1));
    assert_string_equal(coil_task_waiting_on(task), "reader");
    must(coil_reader_feed_data(r, "ab", 2));
    must(coil_reader_feed_data(r, "c", 1)); /* before the task runs: it gets both */
    assert_int_equal(coil_join(task), 3);
    coil_reader_unref(r);
}

COIL_TEST(read_at_the_end_is_zero_again_and_again)
{
    coil_reader *r = fed("x", 0);
    must(coil_reader_feed_eof(r));
    char buf[4];
    assert_false(coil_reader_at_eof(r));
    assert_int_equal(must(coil_reader_read(r, buf, 4)), 1);
    assert_true(coil_reader_at_eof(r));
    assert_int_equal(must(coil_reader_read(r, buf, 4)), 0);
    assert_int_equal(must(coil_reader_read(r, buf, 4)), 0);
    coil_reader_unref(r);
}

COIL_TEST(read_all_up_to_the_end)
{
    coil_reader *r = fed("chunk1", 0);
    struct reading x = {.reader = r, .what = ALL};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(1));
    must(coil_reader_feed_data(r, "chunk2", 6));
    must(coil_reader_feed_eof(r));
    assert_int_equal(coil_join(task), 12);
    assert_string_equal(x.view, "chunk1chunk2");
    coil_reader_unref(r);
}

COIL_TEST(read_all_stops_at_its_maximum)
{
    coil_reader *r = fed("0123456789", 0);
    const char *data;
    size_t n;
    assert_int_equal(coil_reader_read_all(r, 9, &data, &n), COIL_ELIMIT);
    assert_int_equal(coil_reader_buffered(r), 10);
    must(coil_reader_feed_eof(r));
    assert_int_equal(must(coil_reader_read_all(r, 10, &data, &n)), 10);
    assert_string_equal(data, "0123456789");
    coil_reader_unref(r);
}

/* ---- readexactly (T43) ---- */

COIL_TEST(readexactly_goes_beyond_the_limit)
{
    coil_reader *r = fed("chunk", 3);
    char buf[16];
    size_t got;
    must(coil_reader_feed_data(r, "chunk", 5));
    assert_int_equal(must(coil_reader_readexactly(r, buf, 7, &got)), 7);
    assert_int_equal(got, 7);
    assert_memory_equal(buf, "chunkch", 7);
    must(coil_reader_feed_eof(r));
    expect_rest(r, "unk");
    coil_reader_unref(r);
}

COIL_TEST(readexactly_at_the_end_gives_what_there_was)
{
    coil_reader *r;
    must(coil_reader_new(NULL, 0, &r));
    struct reading x = {.reader = r, .what = EXACTLY, .n = 10};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(0));
    must(coil_reader_feed_data(r, "12345", 5));
    must(coil_reader_feed_eof(r));
    assert_int_equal(coil_join(task), COIL_EINCOMPLETE);
    assert_string_equal(coil_last_error()->message, "5 bytes read on a total of 10 expected bytes");
    assert_int_equal(x.got, 5);
    assert_memory_equal(x.buf, "12345", 5);
    assert_int_equal(coil_reader_buffered(r), 0);
    coil_reader_unref(r);
}

/* ---- readline and readuntil (T42) ---- */

COIL_TEST(readline_line_by_line)
{
    coil_reader *r = fed("line1\nline2\n\nli", 0);
    expect_line(r, "line1\n");
    expect_line(r, "line2\n");
    expect_line(r, "\n");
    struct reading x = {.reader = r, .what = LINE};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(0));
    must(coil_reader_feed_data(r, "ne4\nrest", 8));
    assert_int_equal(coil_join(task), 6);
    assert_string_equal(x.view, "line4\n");
    must(coil_reader_feed_eof(r));
    expect_line(r, "rest");
    expect_line(r, "");
    coil_reader_unref(r);
}

COIL_TEST(readline_holds_zero_bytes_too)
{
    coil_reader *r;
    const char *line;
    size_t n;
    must(coil_reader_new(NULL, 0, &r));
    must(coil_reader_feed_data(r, "a\0b\nc\n", 6));
    assert_int_equal(must(coil_reader_readline(r, &line, &n)), 4);
    assert_memory_equal(line, "a\0b\n", 5);
    expect_line(r, "c\n");
    coil_reader_unref(r);
}

/* ST::test_readline_limit */
COIL_TEST(readline_drops_a_line_over_the_limit)
{
    coil_reader *r = fed("li", 3);
    const char *line;
    size_t n;
    must(coil_reader_feed_data(r, "ne1\nline2\n", 10));
    assert_int_equal(coil_reader_readline(r, &line, &n), COIL_ELIMIT);
    assert_int_equal(n, 6); /* through its end */
    must(coil_reader_feed_eof(r));
    expect_rest(r, "line2\n");
    coil_reader_unref(r);
}

/* ST::test_readline_limit_with_existing_data: no end in sight, everything goes. */
COIL_TEST(readline_drops_everything_without_an_end)
{
    coil_reader *r = fed("line1", 3);
    const char *line;
    size_t n;
    assert_int_equal(coil_reader_readline(r, &line, &n), COIL_ELIMIT);
    assert_int_equal(n, 5);
    assert_int_equal(coil_reader_buffered(r), 0);
    must(coil_reader_feed_data(r, "li\n", 3));
    expect_line(r, "li\n");
    coil_reader_unref(r);
}

static coil_ret until(coil_reader *r, const char *separator, const char **out, size_t *out_n)
{
    return coil_reader_readuntil(r, separator, strlen(separator), out, out_n);
}

/* ST::test_readuntil_limit_found_sep */
COIL_TEST(readuntil_limits_and_keeps_the_data)
{
    coil_reader *r = fed("some dataAA", 3);
    const char *data;
    size_t n;
    assert_int_equal(until(r, "AAA", &data, &n), COIL_ELIMIT);
    assert_non_null(strstr(coil_last_error()->message, "not found"));
    assert_int_equal(n, 9);
    assert_int_equal(coil_reader_buffered(r), 11);
    must(coil_reader_feed_data(r, "A", 1));
    assert_int_equal(until(r, "AAA", &data, &n), COIL_ELIMIT);
    assert_non_null(strstr(coil_last_error()->message, "is found"));
    assert_int_equal(n, 9);
    assert_int_equal(coil_reader_buffered(r), 12);
    coil_reader_unref(r);
}

COIL_TEST(readuntil_counts_the_limit_before_the_separator)
{
    coil_reader *r = fed("abcEND", 3);
    const char *data;
    size_t n;
    assert_int_equal(must(until(r, "END", &data, &n)), 6);
    assert_string_equal(data, "abcEND");
    coil_reader_unref(r);
}

COIL_TEST(readuntil_separator_in_pieces)
{
    /* ST::test_readuntil_multi_chunks, one byte at a time, with false starts. */
    static const char text[] = "aaAA-aAAAb";
    for (size_t cut = 1; cut < sizeof text - 2; cut++) {
        coil_reader *r;
        const char *data;
        must(coil_reader_new(NULL, 0, &r));
        must(coil_reader_feed_data(r, text, cut));
        must(coil_reader_feed_data(r, text + cut, sizeof text - 1 - cut));
        assert_int_equal(must(until(r, "AAA", &data, NULL)), 9);
        assert_string_equal(data, "aaAA-aAAA");
        must(coil_reader_feed_eof(r));
        expect_rest(r, "b");
        coil_reader_unref(r);
    }
}

COIL_TEST(readuntil_at_the_end_gives_what_there_was)
{
    coil_reader *r = fed("some dataAA", 0);
    const char *data;
    size_t n;
    must(coil_reader_feed_eof(r));
    assert_int_equal(until(r, "AAA", &data, &n), COIL_EINCOMPLETE);
    assert_int_equal(n, 11);
    assert_string_equal(data, "some dataAA");
    assert_int_equal(coil_reader_buffered(r), 0);
    assert_int_equal(until(r, "AAA", &data, &n), COIL_EINCOMPLETE);
    assert_int_equal(n, 0);
    assert_string_equal(data, "");
    coil_reader_unref(r);
}

static coil_ret until_any(coil_reader *r, const char *a, const char *b, const char *c,
                          const char **out)
{
    struct iovec seps[3] = {{(void *)(uintptr_t)a, strlen(a)},
                            {(void *)(uintptr_t)b, strlen(b)},
                            {(void *)(uintptr_t)(c ? c : ""), c ? strlen(c) : 0}};
    size_t n;
    return coil_reader_readuntil_any(r, seps, c ? 3 : 2, out, &n);
}

/* ST::test_readuntil_multi_separator, ..._limit and its relatives */
COIL_TEST(readuntil_the_match_that_ends_first_wins)
{
    const char *data;
    coil_reader *r = fed("some data+more data", 0);
    assert_int_equal(must(until_any(r, "+", " more", NULL, &data)), 10);
    assert_string_equal(data, "some data+");
    coil_reader_unref(r);

    r = fed("data\r\ndata", 0);
    assert_int_equal(must(until_any(r, "\r\n", "\n", "ta\r\n", &data)), 6);
    assert_string_equal(data, "data\r\n");
    coil_reader_unref(r);

    r = fed("xEND1-END", 0); /* the longer one begins earlier and ends later */
    assert_int_equal(must(until_any(r, "END1-END", "1", NULL, &data)), 5);
    assert_string_equal(data, "xEND1");
    coil_reader_unref(r);

    r = fed("some dataAB", 3);
    assert_int_equal(until_any(r, "AB", "CDE", NULL, &data), COIL_ELIMIT);
    coil_reader_unref(r);
}

COIL_TEST(readuntil_refuses_empty_separators)
{
    const char *data;
    coil_reader *r = fed("abc", 0);
    assert_int_equal(until(r, "", &data, NULL), -EINVAL);
    assert_int_equal(coil_reader_readuntil_any(r, NULL, 0, &data, NULL), -EINVAL);
    assert_int_equal(until_any(r, "a", "", NULL, &data), -EINVAL);
    coil_reader_unref(r);
}

/* ---- views ---- */

COIL_TEST(view_stays_while_bytes_come)
{
    coil_reader *r = fed("first\nsecond\nthird", 0);
    const char *line;
    assert_int_equal(must(coil_reader_readline(r, &line, NULL)), 6);
    /* Enough to make the buffer move, several times. */
    char *more = malloc(100000);
    memset(more, 'x', 100000);
    for (int i = 0; i < 5; i++) {
        must(coil_reader_feed_data(r, more, 100000));
        assert_string_equal(line, "first\n");
    }
    free(more);
    expect_line(r, "second\n");
    char head[6];
    must(coil_reader_readexactly(r, head, 6, NULL));
    assert_memory_equal(head, "thirdx", 6);
    assert_int_equal(coil_reader_buffered(r), 5 + 500000 - 6);
    coil_reader_unref(r);
}

COIL_TEST(view_of_everything_stays_too)
{
    for (int n = 1; n < 5000; n += 97) {
        coil_reader *r = fed("all\n", 0);
        const char *line;
        must(coil_reader_readline(r, &line, NULL));
        for (int i = 0; i < n; i++) {
            char c = (char)('a' + i % 26);
            must(coil_reader_feed_data(r, &c, 1));
        }
        assert_string_equal(line, "all\n");
        char first;
        must(coil_reader_read(r, &first, 1));
        assert_int_equal(first, 'a');
        assert_int_equal(coil_reader_buffered(r), n - 1);
        coil_reader_unref(r);
    }
}

/* Against a plain split, at every chunking that a seed draws. */
COIL_TEST(reads_mixed_and_chunked_at_random)
{
    uint64_t seed = 7;
    enum { N = 20000 };
    char *text = malloc(N + 1);
    for (int i = 0; i < N; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        text[i] = (seed >> 60) == 0 ? '\n' : (char)('a' + (seed >> 33) % 26);
    }
    text[N] = 0;
    coil_reader *r;
    must(coil_reader_new(NULL, 0, &r));
    size_t put = 0, taken = 0;
    while (taken < N) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t chunk = (seed >> 40) % 50;
        if (chunk > N - put)
            chunk = N - put;
        if (chunk > 0)
            must(coil_reader_feed_data(r, text + put, chunk));
        put += chunk;
        if (put == N && chunk > 0)
            must(coil_reader_feed_eof(r));
        size_t have = put - taken;
        char buf[64];
        unsigned what = (seed >> 20) % 3;
        if (what == 0 && (memchr(text + taken, '\n', have) || put == N)) {
            const char *line;
            size_t n = (size_t)must(coil_reader_readline(r, &line, NULL));
            assert_memory_equal(line, text + taken, n);
            assert_int_equal(line[n], 0);
            taken += n;
        } else if (what == 1 && have > 0) {
            size_t n = (size_t)must(coil_reader_read(r, buf, 1 + (seed >> 50) % 30));
            assert_memory_equal(buf, text + taken, n);
            taken += n;
        } else if (what == 2) {
            size_t n = (seed >> 50) % 30;
            if (n > have)
                n = have;
            must(coil_reader_readexactly(r, buf, n, NULL));
            assert_memory_equal(buf, text + taken, n);
            taken += n;
        }
    }
    free(text);
    coil_reader_unref(r);
}

/* ---- errors and misuse ---- */

COIL_TEST(reader_exception_comes_first)
{
    coil_reader *r = fed("data", 0);
    char c;
    assert_null(coil_reader_exception(r));
    coil_fail(COIL_EUSER, "the cat sat on the cable");
    must(coil_reader_set_exception(r, COIL_EUSER));
    assert_int_equal(coil_reader_read(r, &c, 1), COIL_EUSER);
    assert_string_equal(coil_last_error()->message, "the cat sat on the cable");
    assert_int_equal(there(coil_reader_exception(r))->code, COIL_EUSER);
    assert_int_equal(coil_reader_set_exception(r, 1), -EINVAL);
    coil_reader_unref(r);
}

COIL_TEST(reader_exception_wakes_who_waits)
{
    coil_reader *r;
    must(coil_reader_new(NULL, 0, &r));
    struct reading x = {.reader = r, .what = LINE};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(0));
    must(coil_reader_set_exception(r, -EIO));
    assert_int_equal(coil_join(task), -EIO);
    coil_reader_unref(r);
}

COIL_TEST(reader_one_coroutine_at_a_time)
{
    coil_reader *r;
    must(coil_reader_new(NULL, 0, &r));
    struct reading x = {.reader = r, .what = LINE};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(0));
    char c;
    assert_int_equal(coil_reader_read(r, &c, 1), COIL_ERUNNING);
    must(coil_reader_feed_data(r, "x\n", 2));
    assert_int_equal(coil_join(task), 2);
    coil_reader_unref(r);
}

COIL_TEST(reader_feed_after_the_end_is_refused)
{
    coil_reader *r = fed("x", 0);
    must(coil_reader_feed_eof(r));
    assert_int_equal(coil_reader_feed_data(r, "y", 1), COIL_EINVALIDSTATE);
    coil_reader_unref(r);
}

COIL_TEST(reader_cancel_leaves_the_data)
{
    coil_reader *r = fed("part", 0);
    struct reading x = {.reader = r, .what = EXACTLY, .n = 10};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(0));
    must(coil_reader_feed_data(r, "ly", 2));
    must(coil_sleep(0));
    coil_task_cancel(task, NULL);
    assert_int_equal(coil_join(task), -ECANCELED);
    must(coil_reader_feed_eof(r));
    expect_rest(r, "partly");
    coil_reader_unref(r);
}

/* ---- with a connection ---- */

COIL_TEST(connection_delivers_data_then_the_end)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    wire_say(peer, "one\ntwo\nthree");
    coil_sock_unref(peer);
    expect_line(r, "one\n");
    expect_line(r, "two\n");
    char buf[2048];
    assert_int_equal(must(coil_reader_read(r, buf, sizeof buf)), 5);
    assert_int_equal(must(coil_reader_read(r, buf, sizeof buf)), 0);
    assert_true(coil_reader_at_eof(r));
    must(coil_writer_finish(w));
}

COIL_TEST(connection_delivers_data_before_a_reset)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    wire_say(peer, "last words\nand");
    wire_turns(3);
    struct reading x = {.reader = r, .what = LINE};
    assert_int_equal(must(read_in_task(&x)), 11);
    wire_reset(peer);
    wire_turns(3);
    char buf[16];
    assert_int_equal(must(coil_reader_read(r, buf, 3)), 3);
    assert_memory_equal(buf, "and", 3);
    assert_int_equal(coil_reader_read(r, buf, 3), -ECONNRESET);
    assert_int_equal(coil_reader_read(r, buf, 3), -ECONNRESET);
    assert_int_equal(there(coil_reader_exception(r))->code, -ECONNRESET);
    assert_false(coil_reader_at_eof(r));
    assert_true(coil_writer_is_closing(w));
    assert_int_equal(coil_writer_drain(w), -ECONNRESET);
    assert_int_equal(coil_writer_finish(w), -ECONNRESET);
}

COIL_TEST(connection_at_eof_knows_without_a_read)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    assert_false(coil_reader_at_eof(r));
    wire_say(peer, "x");
    wire_turns(3);
    assert_false(coil_reader_at_eof(r));
    char c;
    must(coil_reader_read(r, &c, 1));
    assert_false(coil_reader_at_eof(r));
    coil_sock_unref(peer);
    wire_turns(3);
    assert_true(coil_reader_at_eof(r));
    must(coil_writer_finish(w));
}

COIL_TEST(connection_reads_byte_by_byte)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    struct reading x = {.reader = r, .what = LINE};
    coil_task *task = coil_create_task(read_in_task, &x);
    static const char text[] = "dribble\n";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        wire_send(peer, text + i, 1);
        wire_turns(2);
    }
    assert_int_equal(coil_join(task), 8);
    assert_string_equal(x.view, "dribble\n");
    coil_sock_unref(peer);
    must(coil_writer_finish(w));
}

struct big {
    coil_sock *peer;
    char *data;
    size_t n;
};

static coil_ret send_big(void *arg)
{
    struct big *big = arg;
    return coil_sock_sendall(big->peer, big->data, big->n, NULL);
}

static char *pattern(size_t n)
{
    char *data = malloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * 31 + i / 256);
    return data;
}

COIL_TEST(connection_readexactly_of_a_megabyte)
{
    enum { N = 1 << 20 };
    coil_reader *r;
    coil_writer *w;
    struct big big = {.peer = wire_stream(0, &r, &w), .data = pattern(N), .n = N};
    coil_task *task = coil_create_task(send_big, &big);
    char *got = malloc(N), head[10];
    must(coil_reader_readexactly(r, head, 10, NULL)); /* so that something is in the buffer */
    memcpy(got, head, 10);
    assert_int_equal(must(coil_reader_readexactly(r, got + 10, N - 10, NULL)), N - 10);
    assert_memory_equal(got, big.data, N);
    must(coil_join(task));
    free(got);
    free(big.data);
    coil_sock_unref(big.peer);
    must(coil_writer_finish(w));
}

/* A large readexactly goes to the caller's memory; cancelled half-way, it puts the bytes back. */
COIL_TEST(connection_cancelled_readexactly_loses_nothing)
{
    enum { N = 300000, SENT = 200000 };
    coil_reader *r;
    coil_writer *w;
    struct big big = {.peer = wire_stream(0, &r, &w), .data = pattern(N), .n = SENT};
    coil_task *sender = coil_create_task(send_big, &big);
    char *got = malloc(N);
    coil_timeout(deadline, 1.0);
    coil_ret rc = coil_timeout_exit(&deadline, coil_reader_readexactly(r, got, N, NULL));
    assert_int_equal(rc, -ETIMEDOUT);
    must(coil_join(sender));
    assert_int_equal(coil_reader_buffered(r), SENT);
    assert_int_equal(must(coil_reader_readexactly(r, got, SENT, NULL)), SENT);
    assert_memory_equal(got, big.data, SENT);
    free(got);
    free(big.data);
    coil_sock_unref(big.peer);
    must(coil_writer_finish(w));
}

COIL_TEST(connection_readexactly_at_the_end_of_a_large_one)
{
    enum { N = 300000, SENT = 40000 };
    coil_reader *r;
    coil_writer *w;
    struct big big = {.peer = wire_stream(0, &r, &w), .data = pattern(N), .n = SENT};
    coil_task *sender = coil_create_task(send_big, &big);
    char *got = malloc(N);
    must(coil_reader_read(r, got, 1)); /* leaves the rest of a receive in the buffer */
    must(coil_join(sender));
    coil_sock_unref(big.peer);
    size_t n;
    assert_int_equal(coil_reader_readexactly(r, got + 1, N - 1, &n), COIL_EINCOMPLETE);
    assert_int_equal(n, SENT - 1);
    assert_memory_equal(got, big.data, SENT);
    free(got);
    free(big.data);
    must(coil_writer_finish(w));
}

static coil_ret send_big_and_end(void *arg)
{
    struct big *big = arg;
    coil_ret rc = send_big(big);
    return rc < 0 ? rc : coil_sock_shutdown(big->peer, SHUT_WR);
}

/* A line that never ends costs the limit and a receive, whatever the peer sends. */
COIL_TEST(connection_endless_line_is_bounded)
{
    enum { N = 4 << 20 };
    coil_reader *r;
    coil_writer *w;
    struct big big = {.peer = wire_stream(8192, &r, &w), .data = malloc(N), .n = N};
    memset(big.data, 'x', N);
    coil_task *sender = coil_create_task(send_big_and_end, &big);
    const char *line;
    size_t n, seen = 0;
    int over = 0;
    for (;;) {
        coil_ret rc = coil_reader_readline(r, &line, &n);
        assert_true(rc == COIL_ELIMIT || (rc >= 0 && n <= 8192));
        assert_true(n <= 8192 + 65536 + 1);
        assert_true(r->capacity <= 4 * 65536);
        if (rc == 0)
            break;
        seen += n;
        over += rc == COIL_ELIMIT;
    }
    assert_int_equal(seen, N);
    assert_true(over > 10);
    must(coil_join(sender));
    free(big.data);
    coil_sock_unref(big.peer);
    must(coil_writer_finish(w));
}

COIL_TEST(connection_line_sep_at_every_boundary)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    for (size_t n = 4090; n < 4100; n++) {
        char *line = malloc(n + 1);
        memset(line, 'y', n);
        line[n - 1] = '\n';
        line[n] = 0;
        wire_send(peer, line, n);
        expect_line(r, line);
        free(line);
    }
    coil_sock_unref(peer);
    must(coil_writer_finish(w));
}

COIL_TEST(connection_cannot_be_fed_by_hand)
{
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer = wire_stream(0, &r, &w);
    assert_int_equal(coil_reader_feed_data(r, "x", 1), COIL_EINVALIDSTATE);
    assert_int_equal(coil_reader_feed_eof(r), COIL_EINVALIDSTATE);
    struct reading x = {.reader = r, .what = LINE};
    coil_task *task = coil_create_task(read_in_task, &x);
    must(coil_sleep(0.1));
    must(coil_reader_set_exception(r, -EIO));
    assert_int_equal(coil_join(task), -EIO);
    coil_sock_unref(peer);
    must(coil_writer_finish(w));
}

COIL_TEST(connection_keeps_no_large_empty_buffer)
{
    coil_reader *r;
    coil_writer *w;
    struct big big = {.peer = wire_stream(0, &r, &w), .data = malloc(60000), .n = 60000};
    memset(big.data, 'z', big.n);
    big.data[big.n - 1] = '\n';
    must(send_big(&big));
    const char *line;
    assert_int_equal(must(coil_reader_readline(r, &line, NULL)), 60000);
    wire_say(big.peer, "s\n");
    expect_line(r, "s\n");
    assert_true(r->capacity <= 65536);
    free(big.data);
    coil_sock_unref(big.peer);
    must(coil_writer_finish(w));
}

/* ---- memory ---- */

static void read_or_not(void *arg)
{
    int *done = arg;
    coil_reader *r;
    if (coil_reader_new(NULL, 100000, &r) < 0)
        return;
    size_t fed_n = 0;
    char piece[5000];
    memset(piece, 'm', sizeof piece);
    piece[sizeof piece - 1] = '\n';
    for (int i = 0; i < 10; i++)
        if (coil_reader_feed_data(r, piece, sizeof piece) == 0)
            fed_n += sizeof piece;
    must(coil_reader_feed_eof(r));
    const char *line;
    size_t got = 0;
    for (coil_ret n; (n = must(coil_reader_readline(r, &line, NULL))) > 0;)
        got += (size_t)n;
    assert_int_equal(got, fed_n);
    ++*done;
    coil_reader_unref(r);
}

COIL_TEST(reader_survives_failing_allocations)
{
    int done = 0;
    sweep_allocations(read_or_not, &done);
    assert_true(done >= 1);
}

static void read_lines_or_not(void *arg)
{
    int *lines = arg;
    coil_reader *r;
    coil_writer *w;
    coil_sock *peer;
    coil_ret rc = wire_try_stream(0, &r, &w, &peer);
    if (rc < 0) {
        assert_int_equal(rc, -ENOMEM);
        return;
    }
    wire_say(peer, "a line\n");
    const char *line;
    do
        rc = coil_reader_readline(r, &line, NULL);
    while (rc == -ENOMEM);
    assert_int_equal(rc, 7);
    assert_string_equal(line, "a line\n");
    ++*lines;
    coil_sock_unref(peer);
    must(coil_writer_finish(w));
}

COIL_TEST(connection_read_survives_failing_allocations)
{
    int lines = 0;
    read_lines_or_not(&lines);
    sweep_allocations(read_lines_or_not, &lines);
    assert_true(lines >= 2);
}

COIL_TEST_MAIN()
