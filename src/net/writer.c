/* SPDX-License-Identifier: MIT
 *
 * writer.c: a connection's writing face: write, drain, close.
 *
 * Runs on the loop's thread. Elsewhere: how bytes go out (outbox.c), the end of the connection (connection.c). */
#include "base/error.h"
#include "base/probe.h"
#include "net/stream.h"

#include <stdio.h>

void coil__writer_wake_drainers(struct coil_writer *w)
{
    while (coil__waiters_wake(&w->drainers))
        ;
}

/* ---- what the outbox tells ---- */

static struct coil_writer *writer_of(struct outbox *box)
{
    return container_of(box, struct coil_writer, out);
}

static void box_kick(struct outbox *box)
{
    coil__connection_kick(connection_of_writer(writer_of(box)));
}

static void box_resumed(struct outbox *box)
{
    coil__writer_wake_drainers(writer_of(box));
}

static void box_idle(struct outbox *box)
{
    struct connection *conn = connection_of_writer(writer_of(box));
    while (coil__waiters_wake(&conn->writer.emptiers))
        ;
    if (conn->closing || conn->writer.eof_asked)
        coil__connection_kick(conn);
}

static void box_failed(struct outbox *box, coil_ret error)
{
    coil__connection_lost(connection_of_writer(writer_of(box)), error, true);
}

static const struct outbox_class box_class = {
    .kick = box_kick, .resumed = box_resumed, .idle = box_idle, .failed = box_failed};

void coil__writer_init(struct coil_writer *w, coil_sock *sock)
{
    w->refs = 1;
    coil__outbox_init(&w->out, &box_class, sock);
}

/* ---- writing ---- */

static int may_write(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    if (coil_unlikely(w->eof_asked))
        return (int)coil__fail(COIL_EINVALIDSTATE, "Cannot call write() after write_eof()");
    if (coil_unlikely(conn->error))
        return (int)connection_error(conn);
    if (coil_unlikely(conn->closing))
        return (int)coil__fail(-ECONNRESET, "Connection lost");
    if (coil_unlikely(!coil__loop_use(conn->loop)))
        return (int)coil_last_error()->code;
    return 0;
}

int coil_writer_write(coil_writer *writer, const void *bytes, size_t n)
{
    int err = may_write(writer);
    return err < 0 ? err : coil__outbox_write(&writer->out, bytes, n);
}

int coil_writer_writelines(coil_writer *writer, const struct iovec *pieces, size_t pieces_n)
{
    int err = may_write(writer);
    return err < 0 ? err : coil__outbox_writelines(&writer->out, pieces, pieces_n);
}

int coil_writer_write_owned(coil_writer *writer, const void *bytes, size_t n,
                            void (*release)(void *cookie), void *cookie)
{
    int err = may_write(writer);
    return err < 0 ? err : coil__outbox_write_owned(&writer->out, bytes, n, release, cookie);
}

void coil_writer_set_coalescing(coil_writer *writer, bool on)
{
    writer->out.coalescing = on;
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
                    coil_sock_fileno(connection_of_writer(w)->sock), w->out.buffered);
}

static coil_ret drained(struct coil_writer *w)
{
    struct connection *conn = connection_of_writer(w);
    if (conn->error)
        return connection_error(conn);
    if (conn->closing) {
        coil_ret rc = coil__yield();
        if (rc < 0)
            return rc;
        if (conn->error)
            return connection_error(conn);
    }
    if (conn->closed)
        return coil__fail(-ECONNRESET, "Connection lost");
    if (!w->out.paused)
        return 0;
    struct waiter waiter;
    coil_ret rc = coil__waiters_wait(&w->drainers, &waiter, &drain_class);
    if (rc == 0 && conn->error)
        rc = connection_error(conn);
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
    if (coil_likely(!writer->out.paused && !conn->error && !conn->closing))
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
    if (outbox_idle(&writer->out))
        coil__connection_kick(conn);
    else
        COIL_PROBE("an end is written behind bytes that wait");
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
        rc = connection_error(conn);
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
            coil__loop_report(conn->loop, "unclosed", "unclosed StreamWriter", 0, NULL, NULL);
        coil__connection_close(conn);
    }
    coil__connection_unref(conn);
}

/* ---- asking ---- */

const char *coil_writer_get_extra_info(coil_writer *writer, const char *name)
{
    struct connection *conn = connection_of_writer(writer);
    const char *text = coil__sock_extra_info(conn->sock, name, &conn->names);
    return text ? text : coil__filter_info(conn->filter, name);
}

coil_tls *coil_writer_tls(const coil_writer *writer)
{
    return coil__filter_layer(connection_of_writer(writer)->filter);
}

coil_sock *coil_writer_sock(coil_writer *writer)
{
    return connection_of_writer(writer)->sock;
}

/* ---- marks ---- */

int coil_writer_set_write_buffer_limits(coil_writer *writer, ssize_t high, ssize_t low)
{
    return coil__outbox_set_limits(&writer->out, high, low);
}

void coil_writer_get_write_buffer_limits(const coil_writer *writer, size_t *out_high,
                                         size_t *out_low)
{
    *out_high = writer->out.marks.high;
    *out_low = writer->out.marks.low;
}

size_t coil_writer_get_write_buffer_size(const coil_writer *writer)
{
    return writer->out.buffered;
}
