/* SPDX-License-Identifier: MIT
 *
 * reader.c: bytes in: read, readexactly, readline, readuntil.
 *
 *     socket --receive--> [ buf: taken | start ... end | room ] --> caller's buffer, or a view
 *        |                                                              ^
 *        +------------------- large reads, when buf is empty -----------+
 *
 * The kernel is asked only while a coroutine reads, so what is buffered is bounded by what one call
 * needs: the limit and one receive for lines and records. A view is a piece of `buf` with a NUL put behind
 * it; the byte under the NUL is kept aside and put back by the next read.
 *
 * Always true:
 *   - start <= end <= capacity, and one byte behind capacity is ours too;
 *   - bytes leave [start, end) only when a call returns them: a cancelled call takes none;
 *   - while a view is out, the block it lies in neither moves nor goes.
 *
 * Runs on the loop's thread. Elsewhere: how a task waits for the socket (socket.c), what an error does to the
 * connection (connection.c). */
#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "net/stream.h"

#include <string.h>

enum {
    ROOM_MIN = 4096,
    ROOM_MAX = 65536,
    KEEP_MAX = 2 * ROOM_MIN, /* an empty buffer that is larger is not kept */
    DIRECT_MIN = 1024,       /* reads of so many bytes go to the caller's buffer at once */
};

/* ---- the buffer ---- */

void coil__reader_init(struct coil_reader *r, struct connection *conn, coil_loop *loop,
                       size_t limit)
{
    *r = (struct coil_reader){.conn = conn, .loop = loop, .refs = 1, .room = ROOM_MIN};
    r->limit = limit ? limit : COIL_STREAM_LIMIT;
}

static size_t available(const struct coil_reader *r)
{
    return r->end - r->start;
}

static char *data(const struct coil_reader *r)
{
    return r->buf + r->start;
}

/* The view is over: its block is whole again. */
static void end_view(struct coil_reader *r)
{
    if (r->view_out)
        r->buf[r->view_at] = r->saved;
    r->view_out = false;
    coil__free(r->held);
    r->held = NULL;
}

static void free_buffer(struct coil_reader *r)
{
    end_view(r);
    coil__free(r->buf);
    r->buf = NULL;
    r->capacity = r->start = r->end = 0;
}

void coil__reader_fini(struct coil_reader *r)
{
    free_buffer(r);
    coil__error_unref(r->record);
    r->record = NULL;
}

size_t coil__reader_peek(struct coil_reader *r, const void **out)
{
    end_view(r);
    *out = r->buf ? data(r) : NULL;
    return available(r);
}

void coil__reader_forget(struct coil_reader *r)
{
    free_buffer(r);
}

static void take(struct coil_reader *r, size_t n)
{
    r->start += n;
    if (r->start == r->end && !r->view_out) {
        r->start = r->end = 0;
        if (r->capacity > KEEP_MAX)
            free_buffer(r);
    }
}

/* A larger block, with what is not taken at its beginning. */
static int move(struct coil_reader *r, size_t capacity)
{
    char *buf = coil__alloc(capacity + 1);
    if (!buf)
        return (int)coil__fail_plain(-ENOMEM);
    size_t n = available(r);
    if (n > 0)
        memcpy(buf, data(r), n);
    if (r->view_out) {
        if (n > 0)
            buf[0] = r->saved; /* a view ends where the rest begins */
        r->view_out = false;
        r->held = r->buf;
    } else {
        coil__free(r->buf);
    }
    r->buf = buf;
    r->capacity = capacity;
    r->start = 0;
    r->end = n;
    return 0;
}

/* At least n bytes free behind `end`. 0 or -ENOMEM, recorded. */
static int make_room(struct coil_reader *r, size_t n)
{
    size_t live = available(r);
    if (r->capacity - r->end >= n)
        return 0;
    /* Moving down pays where there is less to move than was taken since the last time. */
    if (!r->view_out && live <= r->start && r->capacity - live >= n) {
        if (live > 0)
            memmove(r->buf, data(r), live);
        r->start = 0;
        r->end = live;
        return 0;
    }
    size_t need;
    if (__builtin_add_overflow(live, n, &need) || need >= (size_t)PTRDIFF_MAX / 2)
        return (int)coil__fail_plain(-ENOMEM);
    size_t capacity = ROOM_MIN;
    while (capacity < need)
        capacity *= 2;
    return move(r, capacity);
}

/* n bytes were put behind `end`, or are copied there now. */
static void put(struct coil_reader *r, const void *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(r->buf + r->end, p, n);
    if (r->view_out && r->view_at == r->end) {
        r->saved = r->buf[r->end];
        r->buf[r->end] = 0;
    }
    r->end += n;
}

/* The first n bytes as a view; they are taken. */
static void take_view(struct coil_reader *r, size_t n, const char **out, size_t *out_n)
{
    if (out_n)
        *out_n = n;
    if (!r->buf) {
        *out = "";
        return;
    }
    *out = data(r);
    r->view_out = true;
    r->view_at = r->start + n;
    r->saved = r->buf[r->view_at];
    r->buf[r->view_at] = 0;
    r->start += n;
}

/* ---- waiting for more ---- */

static const struct wait_class feed_class = {.what = "reader", .cancel = coil__wait_cancel_plain};

/* Until somebody feeds. 0, or an error. */
static coil_ret wait_for_feed(struct coil_reader *r)
{
    struct wait w = WAIT_INIT(&feed_class);
    r->waiting = &w;
    coil_ret rc = coil__park(&w);
    r->waiting = NULL;
    if (rc == 0 && r->error)
        rc = coil__error_restore(r->record, r->error);
    return rc;
}

/* The kernel filled what it was offered: offer more the next time, and the other way round. */
static void adapt(struct coil_reader *r, size_t asked, size_t got)
{
    if (got == asked && asked >= r->room && r->room < ROOM_MAX)
        r->room *= 2;
    else if (got < r->room / 4 && r->room > ROOM_MIN)
        r->room /= 2;
}

/* Receive into the caller's memory. Only for readers with a connection. */
static coil_ret receive(struct coil_reader *r, void *p, size_t n)
{
    r->busy = true;
    coil_ret rc = coil__connection_receive(r->conn, p, n);
    r->busy = false;
    return rc == -EINTR ? coil__error_restore(r->record, r->error) : rc;
}

/* More bytes into the buffer, or the end of the stream: returns 0 then too, and r->eof is set. `want` is how
 * many are needed at least for things to go on. */
static coil_ret fill(struct coil_reader *r, size_t want)
{
    if (!r->conn) {
        r->busy = true;
        coil_ret rc = wait_for_feed(r);
        r->busy = false;
        return rc;
    }
    size_t room = want > r->room ? want : r->room;
    if (room > ROOM_MAX)
        room = ROOM_MAX;
    int err = make_room(r, room);
    if (err < 0)
        return err;
    room = r->capacity - r->end < ROOM_MAX ? r->capacity - r->end : ROOM_MAX;
    coil_ret got = receive(r, r->buf + r->end, room);
    if (got <= 0) {
        if (available(r) == 0)
            free_buffer(r);
        return got;
    }
    r->end += (size_t)got;
    adapt(r, room, (size_t)got);
    return 0;
}

/* The first look of every read: may it wait, is it alone, did somebody put an error here? After 0, what the
 * call returns goes through leave: until then the reader stays, whoever gives it up meanwhile. */
static int begin(struct coil_reader *r)
{
    int err = coil__net_can_wait(r->loop);
    if (coil_unlikely(err < 0))
        return err;
    if (coil_unlikely(r->busy))
        return (int)coil__fail(
            COIL_ERUNNING, "another coroutine is already waiting for incoming data of this reader");
    end_view(r);
    if (coil_unlikely(r->error))
        return (int)coil__error_restore(r->record, r->error);
    if (available(r) == 0)
        take(r, 0);
    if (r->conn)
        connection_ref(r->conn);
    else
        r->refs++;
    return 0;
}

static coil_ret leave(struct coil_reader *r, coil_ret rc)
{
    if (r->conn)
        coil__connection_unref(r->conn);
    else
        coil_reader_unref(r);
    return rc;
}

/* ---- reading ---- */

static size_t copy_out(struct coil_reader *r, void *buf, size_t n)
{
    size_t got = available(r) < n ? available(r) : n;
    if (got > 0)
        memcpy(buf, data(r), got);
    take(r, got);
    return got;
}

static coil_ret read_some(struct coil_reader *r, void *buf, size_t n)
{
    if (available(r) == 0 && !r->eof) {
        if (r->conn && n >= DIRECT_MIN)
            return receive(r, buf, n);
        coil_ret rc = fill(r, 1);
        if (rc < 0)
            return rc;
    }
    return (coil_ret)copy_out(r, buf, n);
}

coil_ret coil_reader_read(coil_reader *reader, void *buf, size_t n)
{
    int err = begin(reader);
    if (coil_unlikely(err < 0))
        return err;
    return leave(reader, n == 0 ? 0 : read_some(reader, buf, n));
}

static coil_ret read_to_end(struct coil_reader *r, size_t max, const char **out, size_t *out_n)
{
    while (!r->eof && (max == 0 || available(r) <= max)) {
        coil_ret rc = fill(r, 1);
        if (rc < 0)
            return rc;
    }
    size_t n = available(r);
    if (max > 0 && n > max)
        return coil__fail(COIL_ELIMIT, "more than %zu bytes before the end of the stream", max);
    take_view(r, n, out, out_n);
    return (coil_ret)n;
}

coil_ret coil_reader_read_all(coil_reader *reader, size_t max, const char **out_data, size_t *out_n)
{
    int err = begin(reader);
    return err < 0 ? err : leave(reader, read_to_end(reader, max, out_data, out_n));
}

/* So much is missing that it goes to the caller's memory at once. What is in the buffer stays there until the
 * call succeeds, and room for the rest is made beforehand, so that a cancel can put it back. */
static coil_ret exactly_direct(struct coil_reader *r, char *buf, size_t n, size_t *got)
{
    int err = make_room(r, n - available(r));
    if (err < 0)
        return err;
    size_t buffered = available(r), have = buffered;
    coil_ret rc = 0;
    while (have < n && !r->eof) {
        rc = receive(r, buf + have, n - have);
        if (rc < 0)
            break;
        have += (size_t)rc;
    }
    if (rc < 0) {
        put(r, buf + buffered, have - buffered);
        return rc;
    }
    if (buffered > 0)
        memcpy(buf, data(r), buffered);
    take(r, buffered);
    *got = have;
    return 0;
}

static coil_ret read_exactly(struct coil_reader *r, char *buf, size_t n, size_t *got)
{
    bool direct = false;
    while (!direct && available(r) < n && !r->eof) {
        size_t missing = n - available(r);
        direct = r->conn && missing >= ROOM_MAX;
        coil_ret rc = direct ? exactly_direct(r, buf, n, got) : fill(r, missing);
        if (rc < 0)
            return rc;
    }
    if (!direct)
        *got = copy_out(r, buf, n);
    if (*got < n)
        return coil__fail(COIL_EINCOMPLETE, "%zu bytes read on a total of %zu expected bytes", *got,
                          n);
    return (coil_ret)n;
}

coil_ret coil_reader_readexactly(coil_reader *reader, void *buf, size_t n, size_t *out_got)
{
    size_t got = 0;
    coil_ret rc = begin(reader);
    if (rc >= 0)
        rc = leave(reader, n > PTRDIFF_MAX
                               ? coil__fail(-EINVAL, "readexactly size can not be so large")
                               : read_exactly(reader, buf, n, &got));
    if (out_got)
        *out_got = got;
    return rc;
}

/* ---- lines and records ---- */

struct match {
    size_t at, end;
};

static bool find(const struct coil_reader *r, const struct iovec *separator, size_t from,
                 struct match *out)
{
    size_t n = available(r);
    if (from >= n || n - from < separator->iov_len)
        return false;
    const char *base = data(r);
    const char *hit = separator->iov_len == 1
                          ? memchr(base + from, *(const unsigned char *)separator->iov_base,
                                   n - from)
                          : memmem(base + from, n - from, separator->iov_base, separator->iov_len);
    if (!hit)
        return false;
    out->at = (size_t)(hit - base);
    out->end = out->at + separator->iov_len;
    return true;
}

/* The match that ends first; among equals that of the shortest separator. */
static bool find_any(const struct coil_reader *r, const struct iovec *separators, size_t n,
                     size_t from, struct match *best)
{
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        struct match m;
        if (!find(r, &separators[i], from, &m))
            continue;
        if (!found || m.end < best->end || (m.end == best->end && m.at > best->at))
            *best = m;
        found = true;
    }
    return found;
}

enum found { FOUND, AT_END, NOT_WITHIN_LIMIT, FOUND_BEYOND_LIMIT };

/* Receive until one of the separators is there. For NOT_WITHIN_LIMIT match->at is how many bytes can hold none. */
static coil_ret look_for(struct coil_reader *r, const struct iovec *separators, size_t n,
                         struct match *match)
{
    size_t shortest = SIZE_MAX, longest = 0, from = 0;
    for (size_t i = 0; i < n; i++) {
        size_t size = separators[i].iov_len;
        shortest = size < shortest ? size : shortest;
        longest = size > longest ? size : longest;
    }
    if (n == 0 || shortest == 0)
        return coil__fail(-EINVAL, n ? "Separator should be at least one-byte string"
                                     : "Separator should contain at least one element");
    for (;;) {
        if (available(r) - from >= shortest) {
            if (find_any(r, separators, n, from, match))
                return match->at > r->limit ? FOUND_BEYOND_LIMIT : FOUND;
            from = available(r) + 1 > longest ? available(r) + 1 - longest : 0;
            if (from > r->limit) {
                match->at = from;
                return NOT_WITHIN_LIMIT;
            }
        }
        if (r->eof)
            return AT_END;
        coil_ret rc = fill(r, 1);
        if (rc < 0)
            return rc;
    }
}

static coil_ret over_limit(coil_ret found)
{
    return coil__fail(COIL_ELIMIT, found == FOUND_BEYOND_LIMIT
                                       ? "Separator is found, but chunk is longer than limit"
                                       : "Separator is not found, and chunk exceed the limit");
}

static coil_ret read_until(struct coil_reader *r, const struct iovec *separators,
                           size_t separators_n, const char **out, size_t *out_n)
{
    struct match match = {0, 0};
    coil_ret rc = look_for(r, separators, separators_n, &match);
    if (rc < 0)
        return rc;
    if (rc == FOUND) {
        take_view(r, match.end, out, out_n);
        return (coil_ret)match.end;
    }
    if (rc == AT_END) {
        size_t n = available(r);
        if (n > 0)
            COIL_PROBE("a stream ends in the middle of a record");
        take_view(r, n, out, out_n);
        return coil__fail(COIL_EINCOMPLETE, "%zu bytes read on a total of undefined expected bytes",
                          n);
    }
    if (out_n)
        *out_n = match.at;
    COIL_PROBE("a record is longer than the limit");
    return over_limit(rc);
}

coil_ret coil_reader_readuntil_any(coil_reader *reader, const struct iovec *separators,
                                   size_t separators_n, const char **out_data, size_t *out_n)
{
    int err = begin(reader);
    return err < 0 ? err
                   : leave(reader, read_until(reader, separators, separators_n, out_data, out_n));
}

coil_ret coil_reader_readuntil(coil_reader *reader, const void *separator, size_t separator_n,
                               const char **out_data, size_t *out_n)
{
    struct iovec one = {.iov_base = (void *)(uintptr_t)separator, .iov_len = separator_n};
    return coil_reader_readuntil_any(reader, &one, 1, out_data, out_n);
}

static coil_ret read_line(struct coil_reader *r, const char **out, size_t *out_n)
{
    static char newline[] = "\n";
    const struct iovec separator = {.iov_base = newline, .iov_len = 1};
    struct match match = {0, 0};
    coil_ret rc = look_for(r, &separator, 1, &match);
    if (coil_unlikely(rc < 0))
        return rc;
    if (coil_likely(rc == FOUND || rc == AT_END)) {
        size_t n = rc == FOUND ? match.end : available(r);
        take_view(r, n, out, out_n);
        return (coil_ret)n;
    }
    /* The line is dropped, so that the next call may go on with the next one. */
    size_t dropped = rc == FOUND_BEYOND_LIMIT ? match.end : available(r);
    take(r, dropped);
    if (out_n)
        *out_n = dropped;
    return over_limit(rc);
}

coil_ret coil_reader_readline(coil_reader *reader, const char **out_line, size_t *out_n)
{
    int err = begin(reader);
    return coil_unlikely(err < 0) ? err : leave(reader, read_line(reader, out_line, out_n));
}

/* ---- asking ---- */

bool coil_reader_at_eof(coil_reader *reader)
{
    if (available(reader) > 0)
        return false;
    struct connection *conn = reader->conn;
    if (!reader->eof && conn && conn->filter) {
        reader->eof = filter_at_end(conn->filter);
    } else if (!reader->eof && conn && !conn->closed && !conn->error && !reader->busy) {
        /* Nothing is received while nobody reads, so whether the end has come is known to the kernel alone. */
        char byte;
        ssize_t rc = sock_calls(conn->sock)
                         ->recv(sock_backend(conn->sock), conn->sock->fd, &byte, 1, MSG_PEEK);
        if (rc == 0)
            reader->eof = true;
        else if (rc < 0 && rc != -EAGAIN)
            coil__connection_lost(conn, rc, false); /* the kernel says it only once */
    }
    return reader->eof;
}

size_t coil_reader_buffered(const coil_reader *reader)
{
    return available(reader);
}

const coil_error *coil_reader_exception(coil_reader *reader)
{
    if (reader->error)
        return coil__error_show(reader->record, reader->error);
    if (reader->conn && reader->conn->error)
        return coil__error_show(reader->conn->words, reader->conn->error);
    return NULL;
}

/* ---- counting ---- */

coil_reader *coil_reader_ref(coil_reader *reader)
{
    reader->refs++;
    if (reader->conn)
        connection_ref(reader->conn);
    return reader;
}

void coil_reader_unref(coil_reader *reader)
{
    if (!reader)
        return;
    struct connection *conn = reader->conn;
    if (--reader->refs > 0) {
        if (conn)
            coil__connection_unref(conn);
        return;
    }
    if (conn) {
        if (!reader->busy)
            coil__reader_fini(reader);
        coil__connection_reader_gone(conn);
        coil__connection_unref(conn);
    } else {
        coil__reader_fini(reader);
        coil__free(reader);
    }
}

/* ---- fed by hand ---- */

int coil_reader_new(coil_loop *loop, size_t limit, coil_reader **out_reader)
{
    loop = coil__loop_use_current(loop);
    if (!loop)
        return (int)coil_last_error()->code;
    coil_reader *reader = coil__alloc(sizeof *reader);
    if (!reader)
        return (int)coil__fail_plain(-ENOMEM);
    coil__reader_init(reader, NULL, loop, limit);
    *out_reader = reader;
    return 0;
}

static void wake_reader(struct coil_reader *r)
{
    if (r->conn && r->busy && r->conn->filter)
        coil__filter_interrupt(r->conn->filter);
    else if (r->conn && r->busy)
        coil__sock_interrupt(r->conn->sock);
    if (r->waiting && !r->waiting->woken)
        coil__wake(r->waiting, 0);
}

static int may_feed(const struct coil_reader *r)
{
    if (r->conn)
        return (int)coil__fail(COIL_EINVALIDSTATE, "this reader is fed by its connection");
    if (!coil__loop_use(r->loop))
        return (int)coil_last_error()->code;
    if (r->eof)
        return (int)coil__fail(COIL_EINVALIDSTATE, "feed_data after feed_eof");
    return 0;
}

int coil_reader_feed_data(coil_reader *reader, const void *bytes, size_t n)
{
    int err = may_feed(reader);
    if (err < 0 || n == 0)
        return err;
    err = make_room(reader, n);
    if (err < 0)
        return err;
    put(reader, bytes, n);
    wake_reader(reader);
    return 0;
}

int coil_reader_feed_eof(coil_reader *reader)
{
    int err = reader->eof && !reader->conn ? 0 : may_feed(reader);
    if (err < 0)
        return err;
    reader->eof = true;
    wake_reader(reader);
    return 0;
}

int coil_reader_set_exception(coil_reader *reader, coil_ret error)
{
    if (!coil_iserr(error))
        return (int)coil__fail(-EINVAL, "%ld is not an error code", (long)error);
    coil_loop *loop = reader->conn ? reader->conn->loop : reader->loop;
    if (loop && !coil__loop_use(loop))
        return (int)coil_last_error()->code;
    coil__error_unref(reader->record);
    reader->record = coil__error_capture(error);
    reader->error = error;
    wake_reader(reader);
    return 0;
}
