/* SPDX-License-Identifier: MIT
 *
 * writer.c: bytes out: write, drain, close.
 *
 *     write --send at once--> kernel
 *        |                      ^
 *        +--what is left--> [ chunk ][ chunk ][ chunk ] --one op, up to 8 pieces--+
 *                              copied, or held until release
 *
 * Sending goes on by itself: each completion takes what was sent off the chunks and submits the op for
 * the rest. No task and no stack is needed for that.
 *
 * Always true:
 *   - `buffered` is the sum of what the chunks still have to send; `held` of lent bytes that are sent and
 *     not released yet, which the marks count too: a peer that takes all at once would else let a
 *     writer that never yields hold as much as it likes;
 *   - what the op points to does not move, and goes only after the op's last word: bytes are added behind
 *     what it was given, in the last chunk or in a new one;
 *   - memory for what may be left over is had before the first byte is sent, so a write that fails for want of
 *     memory sent nothing;
 *   - each held buffer is released exactly once, from the connection's slot.
 *
 * Runs on the loop's thread. Elsewhere: the end of the connection (connection.c). */
#include "base/error.h"
#include "base/mem.h"
#include "net/stream.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    CHUNK_FIRST = 4096, /* of such a size one is kept at hand for each loop */
    CHUNK_MORE = 16384,
    HIGH_DEFAULT = 65536,
    RETRIES_MAX = 1000, /* turns without memory before sending is given up */
};

struct chunk {
    struct list link;
    const char *at; /* what is still to be sent */
    size_t n;
    size_t capacity; /* of `bytes`; 0: somebody else's memory, and `release` is to be called */
    size_t lent;     /* how much of it that is */
    void (*release)(void *cookie);
    void *cookie;
    char bytes[];
};

/* ---- chunks ---- */

static struct chunk *chunk_new(struct net_part *part, size_t capacity)
{
    struct chunk *c = part->spare;
    if (c && capacity <= CHUNK_FIRST) {
        part->spare = NULL;
    } else {
        if (capacity < CHUNK_FIRST)
            capacity = CHUNK_FIRST;
        c = capacity > PTRDIFF_MAX - sizeof *c ? NULL : coil__alloc(sizeof *c + capacity);
        if (!c) {
            coil__fail_plain(-ENOMEM);
            return NULL;
        }
        c->capacity = capacity;
        c->release = NULL;
    }
    list_init(&c->link);
    c->at = c->bytes;
    c->n = 0;
    return c;
}

static void chunk_free(struct net_part *part, struct chunk *c)
{
    if (c->capacity == CHUNK_FIRST && !part->spare)
        part->spare = c;
    else
        coil__free(c);
}

static size_t chunk_room(const struct chunk *c)
{
    return c->capacity ? (size_t)(c->bytes + c->capacity - (c->at + c->n)) : 0;
}

static void chunk_add(struct chunk *c, const char *p, size_t n)
{
    memcpy(c->bytes + (c->at - c->bytes) + c->n, p, n);
    c->n += n;
}

static struct chunk *last_chunk(const struct coil_writer *w)
{
    return list_empty(&w->chunks) ? NULL : container_of(w->chunks.prev, struct chunk, link);
}

void coil__writer_wake_drainers(struct coil_writer *w)
{
    while (coil__waiters_wake(&w->drainers))
        ;
}

/* What is buffered became less, or the marks moved. */
static void maybe_resume(struct coil_writer *w)
{
    if (w->paused && w->buffered + w->held <= w->low) {
        w->paused = false;
        coil__writer_wake_drainers(w);
    }
}

static void maybe_pause(struct coil_writer *w)
{
    if (w->buffered + w->held > w->high)
        w->paused = true;
}

/* It is sent or dropped. */
static void chunk_over(struct coil_writer *w, struct chunk *c)
{
    struct connection *conn = connection_of_writer(w);
    list_remove(&c->link);
    if (c->capacity) {
        chunk_free(conn->part, c);
    } else {
        list_push(&w->sent, &c->link);
        w->held += c->lent;
        maybe_pause(w);
        coil__connection_kick(conn);
    }
}

void coil__writer_release_sent(struct coil_writer *w)
{
    for (struct list *link; (link = list_pop(&w->sent));) {
        struct chunk *c = container_of(link, struct chunk, link);
        w->held -= c->lent;
        c->release(c->cookie);
        coil__free(c);
    }
    maybe_resume(w);
}

/* ---- sending by itself ---- */

void coil__writer_init(struct coil_writer *w)
{
    *w = (struct coil_writer){.refs = 1, .high = HIGH_DEFAULT, .low = HIGH_DEFAULT / 4};
    list_init(&w->chunks);
    list_init(&w->sent);
}

static void send_done(struct op *op);

/* Hand the first chunks to the kernel. */
static void submit(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    int n = 0;
    LIST_FOREACH(link, &w->chunks) {
        const struct chunk *c = container_of(link, struct chunk, link);
        conn->pieces[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)c->at, .iov_len = c->n};
        if (n == CONNECTION_PIECES)
            break;
    }
    w->op.fd = conn->sock->fd;
    w->op.done = send_done;
    if (n == 1) {
        w->op.kind = OP_SEND;
        w->op.buf.p = conn->pieces[0].iov_base;
        w->op.buf.n = conn->pieces[0].iov_len;
        w->op.buf.flags = 0;
    } else {
        w->op.kind = OP_SENDV;
        w->op.vec.v = conn->pieces;
        w->op.vec.n = n;
    }
    sock_backend(conn->sock)->cls->submit(sock_backend(conn->sock), &w->op);
}

static void sent_bytes(struct coil_writer *w, size_t n)
{
    w->buffered -= n;
    while (n > 0) {
        struct chunk *c = container_of(list_first(&w->chunks), struct chunk, link);
        size_t part = n < c->n ? n : c->n;
        c->at += part;
        c->n -= part;
        n -= part;
        if (c->n == 0)
            chunk_over(w, c);
    }
}

static void drop_all(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    conn->dropping = false;
    w->buffered = 0;
    while (!list_empty(&w->chunks))
        chunk_over(w, container_of(list_first(&w->chunks), struct chunk, link));
    maybe_resume(w);
    if (conn->closing)
        coil__connection_kick(conn);
}

/* This machine is short of something; the connection is well. */
static bool may_retry(struct coil_writer *w, int64_t error)
{
    return (error == -ENOMEM || error == -ENOBUFS || error == -ENOSPC) &&
           w->retries++ < RETRIES_MAX;
}

static void send_done(struct op *op)
{
    struct coil_writer *w = container_of(op, struct coil_writer, op);
    struct connection *conn = connection_of_writer(w);
    if (op->result >= 0) {
        w->retries = 0;
        sent_bytes(w, (size_t)op->result);
    }
    if (conn->dropping) {
        drop_all(w);
    } else if (op->result < 0 && may_retry(w, op->result)) {
        submit(w);
    } else if (op->result < 0) {
        coil__connection_lost(conn, (coil_ret)op->result, true);
    } else {
        maybe_resume(w);
        if (!list_empty(&w->chunks))
            submit(w);
        else if (conn->closing || w->eof_asked)
            coil__connection_kick(conn);
    }
}

void coil__writer_drop(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    if (list_empty(&w->chunks))
        return;
    struct backend *b = sock_backend(conn->sock);
    conn->dropping = true;
    if (w->op.state == OP_IDLE || b->cls->cancel(b, &w->op) == 0)
        drop_all(w);
}

static bool op_is_idle(void *op)
{
    return ((struct op *)op)->state == OP_IDLE;
}

static void ignore(struct op *op)
{
    (void)op;
}

void coil__writer_end(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    struct backend *b = sock_backend(conn->sock);
    w->op.done = ignore;
    if (w->op.state != OP_IDLE && b->cls->cancel(b, &w->op) == -EINPROGRESS)
        coil__loop_settle(conn->loop, op_is_idle, &w->op);
    drop_all(w);
    coil__writer_release_sent(w);
}

/* ---- writing ---- */

static int may_write(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    if (coil_unlikely(w->eof_asked))
        return (int)coil__fail(COIL_EINVALIDSTATE, "Cannot call write() after write_eof()");
    if (coil_unlikely(conn->error))
        return (int)coil__error_restore(NULL, conn->error);
    if (coil_unlikely(conn->closing))
        return (int)coil__fail(-ECONNRESET, "Connection lost");
    if (coil_unlikely(!coil__loop_use(conn->loop)))
        return (int)coil_last_error()->code;
    return 0;
}

/* What the kernel took at once: 0 if nothing; an error when the connection is lost by it. */
static ssize_t after_send(struct coil_writer *w, ssize_t rc)
{
    if (rc >= 0) {
        net_effort(connection_of_writer(w)->part, (size_t)rc);
        return rc;
    }
    if (rc == -EAGAIN || rc == -ENOMEM || rc == -ENOBUFS || rc == -ENOSPC)
        return 0; /* the op waits, or tries again */
    coil__connection_lost(connection_of_writer(w), rc, true);
    return coil__fail_plain(rc);
}

static ssize_t send_now(struct coil_writer *w, const char *p, size_t n)
{
    struct coil_sock *sock = connection_of_writer(w)->sock;
    return after_send(w, sock_calls(sock)->send(sock_backend(sock), sock->fd, p, n));
}

/* Something was added behind what there was. */
static void added(struct coil_writer *w, size_t n)
{
    w->buffered += n;
    maybe_pause(w);
    if (w->op.state == OP_IDLE)
        submit(w);
}

int coil_writer_write(coil_writer *writer, const void *bytes, size_t n)
{
    struct connection *conn = connection_of_writer(writer);
    const char *p = bytes;
    int err = may_write(writer);
    if (err < 0 || n == 0)
        return err;

    struct chunk *last = last_chunk(writer), *more = NULL;
    size_t here = last ? chunk_room(last) : 0;
    if (here > n)
        here = n;
    if (here < n) {
        size_t capacity = n - here;
        if (last && capacity < CHUNK_MORE)
            capacity = CHUNK_MORE;
        more = chunk_new(conn->part, capacity);
        if (!more)
            return -ENOMEM;
    }
    size_t left = n;
    if (!last) {
        ssize_t sent = send_now(writer, p, n);
        if (sent < 0 || (size_t)sent == n) {
            chunk_free(conn->part, more);
            return sent < 0 ? (int)sent : 0;
        }
        p += sent;
        left -= (size_t)sent;
    }
    if (here > 0)
        chunk_add(last, p, here);
    if (left > here) {
        chunk_add(more, p + here, left - here);
        list_push(&writer->chunks, &more->link);
    }
    added(writer, left);
    return 0;
}

int coil_writer_writelines(coil_writer *writer, const struct iovec *pieces, size_t pieces_n)
{
    struct connection *conn = connection_of_writer(writer);
    int err = may_write(writer);
    size_t total = 0;
    for (size_t i = 0; err >= 0 && i < pieces_n; i++)
        if (__builtin_add_overflow(total, pieces[i].iov_len, &total) || total > PTRDIFF_MAX)
            err = (int)coil__fail(-EINVAL, "pieces of more than PTRDIFF_MAX bytes");
    if (err < 0 || total == 0)
        return err;

    struct chunk *chunk = chunk_new(conn->part, total);
    if (!chunk)
        return -ENOMEM;
    size_t skip = 0;
    if (list_empty(&writer->chunks)) {
        struct coil_sock *sock = conn->sock;
        int n = pieces_n < INT32_MAX ? (int)pieces_n : INT32_MAX;
        ssize_t sent = after_send(writer,
                                  sock_calls(sock)->sendv(sock_backend(sock), sock->fd, pieces, n));
        if (sent < 0 || (size_t)sent == total) {
            chunk_free(conn->part, chunk);
            return sent < 0 ? (int)sent : 0;
        }
        skip = (size_t)sent;
    }
    size_t left = total - skip;
    for (size_t i = 0; i < pieces_n; i++) {
        size_t n = pieces[i].iov_len;
        if (skip < n)
            chunk_add(chunk, (const char *)pieces[i].iov_base + skip, n - skip);
        skip = skip < n ? 0 : skip - n;
    }
    list_push(&writer->chunks, &chunk->link);
    added(writer, left);
    return 0;
}

int coil_writer_write_owned(coil_writer *writer, const void *bytes, size_t n,
                            void (*release)(void *cookie), void *cookie)
{
    int err = release ? may_write(writer)
                      : (int)coil__fail(-EINVAL, "a lent buffer needs a release function");
    if (err < 0)
        return err;
    struct chunk *chunk = coil__alloc(sizeof *chunk);
    if (!chunk)
        return (int)coil__fail_plain(-ENOMEM);
    *chunk = (struct chunk){.at = bytes, .n = n, .lent = n, .release = release, .cookie = cookie};
    list_init(&chunk->link);
    if (list_empty(&writer->chunks) && n > 0) {
        ssize_t sent = send_now(writer, bytes, n);
        if (sent < 0) {
            coil__free(chunk);
            return (int)sent;
        }
        chunk->at += sent;
        chunk->n -= (size_t)sent;
    }
    if (chunk->n == 0) {
        chunk_over(writer, chunk);
        return 0;
    }
    list_push(&writer->chunks, &chunk->link);
    added(writer, chunk->n);
    return 0;
}

/* ---- waiting for the peer ---- */

static int describe_writer(const struct wait *wait, char *out, size_t n);

static const struct wait_class drain_class = {
    .what = "drain", .cancel = coil__waiter_cancel, .describe = describe_writer};
static const struct wait_class closed_class = {.what = "wait_closed",
                                               .cancel = coil__waiter_cancel};

static int describe_writer(const struct wait *wait, char *out, size_t n)
{
    const struct waiter *waiter = container_of((uintptr_t)wait, struct waiter, wait);
    struct coil_writer *w = container_of(waiter->line, struct coil_writer, drainers);
    return snprintf(out, n, "fd %d, %zu bytes not sent",
                    coil_sock_fileno(connection_of_writer(w)->sock), w->buffered);
}

static coil_ret drained(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    if (conn->error)
        return coil__error_restore(NULL, conn->error);
    if (conn->closing) {
        coil_ret rc = coil__yield();
        if (rc < 0)
            return rc;
        if (conn->error)
            return coil__error_restore(NULL, conn->error);
    }
    if (conn->closed)
        return coil__fail(-ECONNRESET, "Connection lost");
    if (!w->paused)
        return 0;
    struct waiter waiter;
    coil_ret rc = coil__waiters_wait(&w->drainers, &waiter, &drain_class);
    if (rc == 0 && conn->error)
        rc = coil__error_restore(NULL, conn->error);
    return rc;
}

coil_ret coil_writer_drain(coil_writer *writer)
{
    struct connection *conn = connection_of_writer(writer);
    coil_ret rc = coil__net_can_wait(conn->loop);
    if (rc == 0 && coil_unlikely(conn->reader.error)) /* set_exception */
        rc = coil__error_restore(conn->reader.record, conn->reader.error);
    if (coil_unlikely(rc < 0))
        return rc;
    if (coil_likely(!writer->paused && !conn->error && !conn->closing))
        return net_breathe(conn->part, coil__current()); /* a peer that takes all at once */
    connection_ref(conn);
    rc = drained(writer);
    coil__connection_unref(conn);
    return rc;
}

/* ---- the end ---- */

int coil_writer_write_eof(coil_writer *writer)
{
    struct connection *conn = connection_of_writer(writer);
    if (writer->eof_asked)
        return 0;
    int err = may_write(writer);
    if (err < 0)
        return err;
    writer->eof_asked = true;
    if (writer_idle(writer))
        coil__connection_kick(conn);
    return 0;
}

bool coil_writer_can_write_eof(const coil_writer *writer)
{
    (void)writer;
    return true;
}

void coil_writer_close(coil_writer *writer)
{
    if (writer)
        coil__connection_close(connection_of_writer(writer));
}

void coil_writer_abort(coil_writer *writer)
{
    if (writer)
        coil__connection_abort(connection_of_writer(writer));
}

bool coil_writer_is_closing(const coil_writer *writer)
{
    const struct connection *conn = connection_of_writer(writer);
    return conn->closing || conn->error;
}

coil_ret coil_writer_wait_closed(coil_writer *writer)
{
    struct connection *conn = connection_of_writer(writer);
    coil_ret rc = coil__net_can_wait(conn->loop);
    if (rc < 0)
        return rc;
    connection_ref(conn);
    if (conn->mute)
        coil__connection_close(conn); /* in asyncio a lost one is closing by itself */
    while (rc == 0 && !conn->closed) {
        struct waiter waiter;
        rc = coil__waiters_wait(&conn->closers, &waiter, &closed_class);
    }
    if (rc == 0 && conn->error)
        rc = coil__error_restore(NULL, conn->error);
    coil__connection_unref(conn);
    return rc;
}

coil_ret coil_writer_finish(coil_writer *writer)
{
    if (!writer)
        return 0;
    struct connection *conn = connection_of_writer(writer);
    bool borrowed = conn->task && conn->task == coil_current_task();
    connection_ref(conn);
    coil_writer_close(writer);
    coil_ret rc = coil_writer_wait_closed(writer);
    if (!borrowed) {
        coil_writer_unref(writer);
        coil_reader_unref(&conn->reader);
    }
    coil__connection_unref(conn);
    return rc;
}

/* ---- counting ---- */

coil_writer *coil_writer_ref(coil_writer *writer)
{
    writer->refs++;
    connection_ref(connection_of_writer(writer));
    return writer;
}

void coil_writer_unref(coil_writer *writer)
{
    if (!writer)
        return;
    struct connection *conn = connection_of_writer(writer);
    if (--writer->refs == 0 && !conn->closing) {
        if (conn->loop->debug)
            coil__loop_report(conn->loop, "unclosed StreamWriter", 0, NULL, NULL);
        coil__connection_close(conn);
    }
    coil__connection_unref(conn);
}

/* ---- asking ---- */

static bool format_own(struct connection *conn, char *out)
{
    coil_address own = {.len = sizeof own.storage};
    if (conn->sock->fd < 0)
        return false;
    if (sock_calls(conn->sock)
            ->getsockname(sock_backend(conn->sock), conn->sock->fd, (struct sockaddr *)&own.storage,
                          &own.len) < 0)
        return false;
    coil_address_format(&own, out, COIL_ADDRESS_TEXT_MAX);
    return true;
}

static bool format_peer(struct connection *conn, char *out)
{
    coil_address peer;
    if (coil__sock_peer(conn->sock, &peer) < 0)
        return false;
    coil_address_format(&peer, out, COIL_ADDRESS_TEXT_MAX);
    return true;
}

const char *coil_writer_get_extra_info(coil_writer *writer, const char *name)
{
    struct connection *conn = connection_of_writer(writer);
    bool peer = strcmp(name, "peername") == 0;
    if (!peer && strcmp(name, "sockname") != 0)
        return NULL;
    if (!conn->names) {
        conn->names = coil__zalloc(2 * COIL_ADDRESS_TEXT_MAX);
        if (!conn->names) {
            coil__fail_plain(-ENOMEM);
            return NULL;
        }
    }
    char *text = conn->names + (peer ? 0 : COIL_ADDRESS_TEXT_MAX);
    if (!*text && !(peer ? format_peer(conn, text) : format_own(conn, text)))
        return NULL;
    return text;
}

coil_sock *coil_writer_sock(coil_writer *writer)
{
    return connection_of_writer(writer)->sock;
}

/* ---- marks ---- */

int coil_writer_set_write_buffer_limits(coil_writer *writer, ssize_t high, ssize_t low)
{
    if (high < COIL_DEFAULT || low < COIL_DEFAULT || low > SSIZE_MAX / 4)
        return (int)coil__fail(-EINVAL, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
    size_t h = high != COIL_DEFAULT  ? (size_t)high
               : low != COIL_DEFAULT ? 4 * (size_t)low
                                     : HIGH_DEFAULT;
    size_t l = low != COIL_DEFAULT ? (size_t)low : h / 4;
    if (l > h)
        return (int)coil__fail(-EINVAL, "high (%zu) must be >= low (%zu) must be >= 0", h, l);
    writer->high = h;
    writer->low = l;
    maybe_pause(writer);
    maybe_resume(writer);
    return 0;
}

void coil_writer_get_write_buffer_limits(const coil_writer *writer, size_t *out_high,
                                         size_t *out_low)
{
    *out_high = writer->high;
    *out_low = writer->low;
}

size_t coil_writer_get_write_buffer_size(const coil_writer *writer)
{
    return writer->buffered;
}
