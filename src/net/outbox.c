/* SPDX-License-Identifier: MIT
 *
 * outbox.c: chunks of bytes that go out by themselves; outbox.h has the picture.
 *
 * Runs on the loop's thread. Elsewhere: who may write, and how a connection ends (writer.c, connection.c,
 * transport.c). */
#include "net/outbox.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"
#include "net/filter.h"

#include <string.h>

enum {
    CHUNK_FIRST = 4096, /* of such a size one is kept at hand for each loop */
    CHUNK_MORE = 16384,
    HIGH_FILTERED = 512 * 1024,
    COLLECTED_MAX = 32 * 1024, /* coalescing: so much is sent at once */
    RETRIES_MAX = 1000,        /* turns without memory before sending is given up */
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

static struct chunk *last_chunk(const struct list *chunks)
{
    return list_empty(chunks) ? NULL : container_of(chunks->prev, struct chunk, link);
}

/* What is buffered became less, or the marks moved. */
static void maybe_resume(struct outbox *box)
{
    if (box->paused && box->buffered + box->held <= box->marks.low) {
        box->paused = false;
        box->cls->resumed(box);
    }
}

static void maybe_pause(struct outbox *box)
{
    if (box->buffered + box->held > box->marks.high)
        box->paused = true;
}

/* It is sent or dropped. */
static void chunk_over(struct outbox *box, struct chunk *c)
{
    list_remove(&c->link);
    if (c->capacity) {
        chunk_free(box->part, c);
    } else {
        list_push(&box->sent, &c->link);
        box->held += c->lent;
        maybe_pause(box);
        box->cls->kick(box);
    }
}

void coil__outbox_release_sent(struct outbox *box)
{
    for (struct list *link; (link = list_pop(&box->sent));) {
        struct chunk *c = container_of(link, struct chunk, link);
        box->held -= c->lent;
        c->release(c->cookie);
        coil__free(c);
    }
    maybe_resume(box);
}

/* ---- sending by itself ---- */

void coil__outbox_init(struct outbox *box, const struct outbox_class *cls, coil_sock *sock)
{
    *box = (struct outbox){
        .cls = cls, .part = sock->part, .sock = sock, .marks = {MARKS_HIGH, MARKS_LOW}};
    list_init(&box->chunks);
    list_init(&box->plain);
    list_init(&box->sent);
}

static void send_done(struct op *op);

/* The first chunks as pieces; how many these are. */
static int cut_pieces(struct outbox *box)
{
    int n = 0;
    LIST_FOREACH(link, &box->chunks) {
        const struct chunk *c = container_of(link, struct chunk, link);
        box->pieces[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)c->at, .iov_len = c->n};
        if (n == OUTBOX_PIECES)
            break;
    }
    return n;
}

/* Hand them to the kernel. */
static void submit(struct outbox *box)
{
    int n = cut_pieces(box);
    box->op.fd = box->sock->fd;
    box->op.done = send_done;
    if (n == 1 || sock_is_pipe(box->sock)) {
        box->op.kind = sock_is_pipe(box->sock) ? OP_WRITE : OP_SEND;
        box->op.buf.p = box->pieces[0].iov_base;
        box->op.buf.n = box->pieces[0].iov_len;
        box->op.buf.flags = 0;
    } else {
        box->op.kind = OP_SENDV;
        box->op.vec.v = box->pieces;
        box->op.vec.n = n;
    }
    backend_submit(sock_backend(box->sock), &box->op);
}

static void sent_bytes(struct outbox *box, size_t n)
{
    box->buffered -= n;
    while (n > 0) {
        struct chunk *c = container_of(list_first(&box->chunks), struct chunk, link);
        size_t part = n < c->n ? n : c->n;
        c->at += part;
        c->n -= part;
        n -= part;
        if (c->n == 0)
            chunk_over(box, c);
        else
            COIL_PROBE("a send takes a part of what is written");
    }
}

static void drop_plain(struct outbox *box)
{
    while (!list_empty(&box->plain)) {
        struct chunk *c = container_of(list_first(&box->plain), struct chunk, link);
        box->buffered -= c->n;
        chunk_over(box, c);
    }
}

static void drop_all(struct outbox *box)
{
    box->dropping = false;
    drop_plain(box);
    box->buffered = 0;
    while (!list_empty(&box->chunks))
        chunk_over(box, container_of(list_first(&box->chunks), struct chunk, link));
    maybe_resume(box);
    box->cls->idle(box);
}

/* Bytes are missing, which must not look like the end of the stream: whoever closes the socket now resets it. */
static void spoil_end(coil_sock *sock)
{
    static const struct linger at_once = {.l_onoff = 1};
    if (!sock_is_pipe(sock))
        (void)sock_calls(sock)->setsockopt(sock_backend(sock), sock->fd, SOL_SOCKET, SO_LINGER,
                                           &at_once, sizeof at_once);
}

/* This machine is short of something; the connection is well. */
static bool may_retry(struct outbox *box, int64_t error)
{
    if (error != -ENOMEM && error != -ENOBUFS && error != -ENOSPC)
        return false;
    if (box->retries++ >= RETRIES_MAX) {
        COIL_PROBE("sending is given up for want of memory");
        spoil_end(box->sock);
        return false;
    }
    COIL_PROBE("a send without memory is tried again");
    return true;
}

static void send_done(struct op *op)
{
    struct outbox *box = container_of(op, struct outbox, op);
    if (op->result >= 0) {
        box->retries = 0;
        sent_bytes(box, (size_t)op->result);
    }
    if (box->dropping) {
        COIL_PROBE("a send ends after what it sends was dropped");
        drop_all(box);
    } else if (op->result < 0 && may_retry(box, op->result)) {
        submit(box);
    } else if (op->result < 0) {
        /* -ECANCELED, though nobody cancelled: the socket was closed under us. */
        box->cls->failed(box, op->result == -ECANCELED ? -EBADF : (coil_ret)op->result);
    } else {
        maybe_resume(box);
        if (!list_empty(&box->chunks))
            submit(box);
        else if (!list_empty(&box->plain))
            coil__filter_kick(box->filter);
        else
            box->cls->idle(box);
    }
}

void coil__outbox_drop(struct outbox *box)
{
    if (list_empty(&box->chunks) && list_empty(&box->plain))
        return;
    drop_plain(box);
    struct backend *b = sock_backend(box->sock);
    box->dropping = true;
    if (box->op.state == OP_IDLE || b->cls->cancel(b, &box->op) == 0)
        drop_all(box);
}

static void ignore(struct op *op)
{
    (void)op;
}

void coil__outbox_end(struct outbox *box)
{
    struct backend *b = sock_backend(box->sock);
    box->op.done = ignore;
    if (box->op.state != OP_IDLE && b->cls->cancel(b, &box->op) == -EINPROGRESS)
        coil__loop_settle_op(box->part->loop, &box->op);
    drop_all(box);
    coil__outbox_release_sent(box);
}

/* ---- writing ---- */

/* What the kernel took at once: 0 if nothing; an error when the connection is lost by it. */
static ssize_t after_send(struct outbox *box, ssize_t rc)
{
    if (rc >= 0) {
        net_effort(box->part, (size_t)rc);
        return rc;
    }
    if (rc == -EAGAIN || rc == -ENOMEM || rc == -ENOBUFS || rc == -ENOSPC)
        return 0; /* the op waits, or tries again */
    box->cls->failed(box, rc);
    return coil__fail_plain(rc);
}

static ssize_t try_send(coil_sock *sock, const void *p, size_t n)
{
    return sock_is_pipe(sock) ? sock_calls(sock)->write(sock_backend(sock), sock->fd, p, n)
                              : sock_calls(sock)->send(sock_backend(sock), sock->fd, p, n);
}

static ssize_t send_now(struct outbox *box, const char *p, size_t n)
{
    return after_send(box, try_send(box->sock, p, n));
}

/* One piece after the other. */
static ssize_t writev_pipe(coil_sock *sock, const struct iovec *pieces, size_t pieces_n)
{
    ssize_t sent = 0;
    for (size_t i = 0; i < pieces_n; i++) {
        if (pieces[i].iov_len == 0)
            continue;
        ssize_t rc = try_send(sock, pieces[i].iov_base, pieces[i].iov_len);
        if (rc < 0)
            return sent > 0 ? sent : rc;
        sent += rc;
        if ((size_t)rc < pieces[i].iov_len)
            break;
    }
    return sent;
}

static ssize_t sendv_now(struct outbox *box, const struct iovec *pieces, size_t pieces_n)
{
    coil_sock *sock = box->sock;
    int n = pieces_n < INT32_MAX ? (int)pieces_n : INT32_MAX;
    if (sock_is_pipe(sock))
        return after_send(box, writev_pipe(sock, pieces, pieces_n));
    return after_send(box, sock_calls(sock)->sendv(sock_backend(sock), sock->fd, pieces, n));
}

/* ---- coalescing ---- */

/* Are these bytes to wait for others? Then for the owner's slot. (What a filter has was collected by it.) */
static bool collects(struct outbox *box, size_t n)
{
    if (coil_likely(!box->coalescing) || n >= COLLECTED_MAX || box->filter)
        return false;
    box->collected = true;
    box->cls->kick(box);
    return true;
}

void coil__outbox_flush(struct outbox *box)
{
    if (coil_likely(!box->collected))
        return;
    box->collected = false;
    if (list_empty(&box->chunks)) /* dropped since */
        return;
    int n = cut_pieces(box);
    ssize_t sent = n == 1 ? send_now(box, box->pieces[0].iov_base, box->pieces[0].iov_len)
                          : sendv_now(box, box->pieces, (size_t)n);
    if (sent < 0) /* they were dropped */
        return;
    sent_bytes(box, (size_t)sent);
    maybe_resume(box);
    if (!list_empty(&box->chunks))
        submit(box);
    else
        box->cls->idle(box);
}

/* Something was added behind what there was. */
static void added(struct outbox *box, size_t n)
{
    box->buffered += n;
    maybe_pause(box);
    if (coil_unlikely(box->collected)) {
        if (box->buffered >= COLLECTED_MAX)
            coil__outbox_flush(box);
    } else if (box->op.state == OP_IDLE) {
        submit(box);
    }
}

/* Something was written that waits for the filter. */
static void added_plain(struct outbox *box, size_t n)
{
    box->buffered += n;
    maybe_pause(box);
    if (list_empty(&box->chunks)) /* else when these are sent */
        coil__filter_kick(box->filter);
}

/* How much of n bytes goes behind the last chunk of this list, and a new one for the rest. */
static int room_for(struct outbox *box, const struct list *chunks, size_t n, size_t *here,
                    struct chunk **more)
{
    struct chunk *last = last_chunk(chunks);
    *here = last ? chunk_room(last) : 0;
    *more = NULL;
    if (*here > n)
        *here = n;
    if (*here == n)
        return 0;
    size_t capacity = n - *here;
    if (last && capacity < CHUNK_MORE)
        capacity = CHUNK_MORE;
    *more = chunk_new(box->part, capacity);
    return *more ? 0 : -ENOMEM;
}

static int write_plain(struct outbox *box, const char *p, size_t n)
{
    size_t here;
    struct chunk *more;
    int err = room_for(box, &box->plain, n, &here, &more);
    if (err < 0)
        return err;
    if (here > 0)
        chunk_add(last_chunk(&box->plain), p, here);
    if (more) {
        chunk_add(more, p + here, n - here);
        list_push(&box->plain, &more->link);
    }
    added_plain(box, n);
    return 0;
}

size_t coil__outbox_plain(const struct outbox *box, const void **out, size_t max)
{
    const struct chunk *c = container_of(list_first(&box->plain), struct chunk, link);
    *out = c->at;
    return c->n < max ? c->n : max;
}

void coil__outbox_plain_taken(struct outbox *box, size_t n)
{
    struct chunk *c = container_of(list_first(&box->plain), struct chunk, link);
    box->buffered -= n;
    c->at += n;
    c->n -= n;
    if (c->n == 0)
        chunk_over(box, c);
}

void coil__outbox_plain_over(struct outbox *box)
{
    maybe_resume(box);
}

int coil__outbox_write(struct outbox *box, const void *bytes, size_t n)
{
    if (n == 0)
        return 0;
    return coil_unlikely(box->filter != NULL) ? write_plain(box, bytes, n)
                                              : coil__outbox_write_raw(box, bytes, n);
}

int coil__outbox_write_raw(struct outbox *box, const void *bytes, size_t n)
{
    const char *p = bytes;
    struct chunk *last = last_chunk(&box->chunks), *more;
    size_t here, left = n;
    int err = room_for(box, &box->chunks, n, &here, &more);
    if (err < 0)
        return err;
    if (!last && !collects(box, n)) {
        ssize_t sent = send_now(box, p, n);
        if (sent < 0 || (size_t)sent == n) {
            chunk_free(box->part, more);
            return sent < 0 ? (int)sent : 0;
        }
        p += sent;
        left -= (size_t)sent;
    }
    if (here > 0)
        chunk_add(last, p, here);
    if (left > here) {
        chunk_add(more, p + here, left - here);
        list_push(&box->chunks, &more->link);
    }
    added(box, left);
    return 0;
}

/* The sum of the pieces' lengths, or -EINVAL. */
static ssize_t total_of(const struct iovec *pieces, size_t pieces_n)
{
    size_t total = 0;
    for (size_t i = 0; i < pieces_n; i++)
        if (__builtin_add_overflow(total, pieces[i].iov_len, &total) || total > PTRDIFF_MAX)
            return coil__fail(-EINVAL, "pieces of more than PTRDIFF_MAX bytes");
    return (ssize_t)total;
}

int coil__outbox_writelines(struct outbox *box, const struct iovec *pieces, size_t pieces_n)
{
    ssize_t total = total_of(pieces, pieces_n), sent = 0;
    if (total <= 0)
        return (int)total;
    struct chunk *chunk = chunk_new(box->part, (size_t)total);
    if (!chunk)
        return -ENOMEM;
    if (list_empty(&box->chunks) && !box->filter && !collects(box, (size_t)total)) {
        sent = sendv_now(box, pieces, pieces_n);
        if (sent < 0 || sent == total) {
            chunk_free(box->part, chunk);
            return sent < 0 ? (int)sent : 0;
        }
    }
    size_t skip = (size_t)sent;
    for (size_t i = 0; i < pieces_n; i++) {
        size_t n = pieces[i].iov_len;
        if (skip < n)
            chunk_add(chunk, (const char *)pieces[i].iov_base + skip, n - skip);
        skip = skip < n ? 0 : skip - n;
    }
    list_push(box->filter ? &box->plain : &box->chunks, &chunk->link);
    if (box->filter)
        added_plain(box, (size_t)total);
    else
        added(box, (size_t)(total - sent));
    return 0;
}

int coil__outbox_write_owned(struct outbox *box, const void *bytes, size_t n,
                             void (*release)(void *cookie), void *cookie)
{
    if (!release)
        return (int)coil__fail(-EINVAL, "a lent buffer needs a release function");
    struct chunk *chunk = coil__alloc(sizeof *chunk);
    if (!chunk)
        return (int)coil__fail_plain(-ENOMEM);
    *chunk = (struct chunk){.at = bytes, .n = n, .lent = n, .release = release, .cookie = cookie};
    list_init(&chunk->link);
    if (list_empty(&box->chunks) && n > 0 && !box->filter && !collects(box, n)) {
        ssize_t sent = send_now(box, bytes, n);
        if (sent < 0) {
            coil__free(chunk);
            return (int)sent;
        }
        chunk->at += sent;
        chunk->n -= (size_t)sent;
    }
    if (chunk->n == 0) {
        chunk_over(box, chunk);
        return 0;
    }
    list_push(box->filter ? &box->plain : &box->chunks, &chunk->link);
    if (box->filter)
        added_plain(box, n);
    else
        added(box, chunk->n);
    return 0;
}

/* ---- marks ---- */

int coil__outbox_set_limits(struct outbox *box, ssize_t high, ssize_t low)
{
    int err = coil__marks_set(&box->marks, high, low);
    if (err < 0)
        return err;
    maybe_pause(box);
    maybe_resume(box);
    return 0;
}

void coil__outbox_filtered_limits(struct outbox *box)
{
    if (box->marks.high == MARKS_HIGH && box->marks.low == MARKS_LOW)
        (void)coil__outbox_set_limits(box, HIGH_FILTERED, COIL_DEFAULT);
}
