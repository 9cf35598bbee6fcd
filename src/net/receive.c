/* SPDX-License-Identifier: MIT
 *
 * receive.c: from a readable socket to a protocol's callbacks.
 *
 *     readable op --done--> slot: one recv --> data_received, or buffer_updated, or eof_received
 *           ^                      |
 *           +--EAGAIN, or less than asked--+--as much as asked: once more, in the next turn
 *
 * One recv a turn for each transport, so that a peer that never stops does not keep the others waiting.
 *
 * Always true:
 *   - the op is at the backend, or the slot is queued, while the transport may read;
 *   - a callback may do anything to the transport: it is looked at afresh afterwards.
 *
 * Runs on the loop's thread. Elsewhere: the slot (transport.c). */
#include "net/transport.h"

#include "base/error.h"
#include "base/mem.h"

enum {
    RETRIES_MAX = 1000, /* turns without memory before the connection is given up */
    ROOM_HINT = 65536,  /* for get_buffer: a protocol may have one buffer for each connection */
};

int coil__net_read_buffer(struct net_part *part)
{
    if (!part->read_buffer && !(part->read_buffer = coil__alloc(NET_READ_MAX)))
        return (int)coil__fail_plain(-ENOMEM);
    return 0;
}

/* ---- waiting for more ---- */

static void again(struct coil_transport *t)
{
    t->try_read = true;
    coil__transport_kick(t);
}

static void readable_done(struct op *op)
{
    struct coil_transport *t = container_of(op, struct coil_transport, readable);
    if (t->lost) {
        coil_transport_unref(t); /* stop_reading's */
        return;
    }
    if (op->result < 0)
        t->read_error = (coil_ret)op->result;
    t->came = true;
    if (transport_may_read(t) || t->kind == TRANSPORT_WRITES)
        again(t);
}

static void wait_readable(struct coil_transport *t)
{
    struct backend *b = sock_backend(t->sock);
    if (t->filter)
        coil__filter_want(t->filter);
    if (t->filter || t->readable.state != OP_IDLE)
        return;
    t->readable.kind = OP_POLL;
    t->readable.events = OP_IN;
    /* A pipe is read, not received from. */
    t->readable.flags = t->kind == TRANSPORT_BOTH ? OP_AHEAD : 0;
    t->readable.fd = t->sock->fd;
    t->readable.done = readable_done;
    backend_submit(b, &t->readable);
}

void coil__transport_stop_reading(struct coil_transport *t)
{
    struct backend *b = sock_backend(t->sock);
    if (b->cls->cancel(b, &t->readable) == -EINPROGRESS)
        transport_ref(t); /* until its last word */
}

/* ---- delivering ---- */

static void end_of_stream(struct coil_transport *t)
{
    coil_ret keep = 0;
    t->eof = true;
    /* After a reset the kernel says the same once the error was given to a send; only with EPIPE had the peer's own
     * end come before. */
    bool real = !t->mute || t->error == -EPIPE;
    if (real && t->calls.eof_received)
        keep = t->calls.eof_received(t, t->arg);
    if (keep < 0)
        coil__transport_fatal(t, "eof_received", keep);
    else if (keep == 0 || t->mute || t->kind == TRANSPORT_READS || t->filter)
        coil_transport_close(t);
}

/* Errors of this machine, not of the connection: the next try may fare better. */
static bool may_retry(struct coil_transport *t, coil_ret error)
{
    return (error == -ENOMEM || error == -ENOBUFS || error == -ENOSPC) &&
           t->retries++ < RETRIES_MAX;
}

/* Of a MUTE one only what the kernel holds already is of interest. What it knows of that may be older than
 * the reset, so it is asked once more. */
static void look_again(struct coil_transport *t, coil_ret rc)
{
    if (t->mute && rc == -EAGAIN && t->looked) {
        t->closing = true;
        coil__transport_kick(t);
        return;
    }
    if (t->mute) {
        t->looked = rc == -EAGAIN;
        loop_look_next(t->loop);
    }
    again(t);
}

/* What a receive brought, n > 0 bytes apart; `full`: as many as there was room for. */
static void after(struct coil_transport *t, coil_ret rc, bool full)
{
    if (rc > 0)
        t->retries = 0;
    if (rc == 0)
        end_of_stream(t);
    else if (rc < 0 && rc != -EAGAIN && may_retry(t, rc))
        again(t);
    else if (rc < 0 && rc != -EAGAIN)
        coil__transport_lost(t, rc, t->filter ? coil__error_capture(rc) : NULL);
    else if (!transport_may_read(t))
        t->try_read = true; /* when it is resumed */
    else if (full || t->mute)
        look_again(t, rc);
    else
        wait_readable(t);
}

static coil_ret receive_into(struct coil_transport *t, void *p, size_t n)
{
    coil_ret error = t->read_error;
    if (t->filter)
        return coil__filter_receive(t->filter, p, n, true);
    if (coil_unlikely(error)) {
        t->read_error = 0;
        return error == -ECANCELED ? -EBADF : error; /* the socket was closed under us */
    }
    if (coil_unlikely(t->sock->fd < 0))
        return -EBADF;
    if (sock_is_pipe(t->sock))
        return sock_calls(t->sock)->read(sock_backend(t->sock), t->sock->fd, p, n);
    return sock_calls(t->sock)->recv(sock_backend(t->sock), t->sock->fd, p, n, 0);
}

static void receive_plain(struct coil_transport *t)
{
    coil_ret rc = receive_into(t, t->part->read_buffer, NET_READ_MAX);
    if (rc > 0 && t->calls.data_received) {
        coil_ret said = t->calls.data_received(t, t->part->read_buffer, (size_t)rc, t->arg);
        if (said < 0)
            coil__transport_fatal(t, "data_received", said);
    }
    after(t, rc, rc == NET_READ_MAX);
}

static void receive_buffered(struct coil_transport *t)
{
    const coil_protocol *protocol = t->protocol;
    const void *arg = t->arg;
    void *buffer = NULL;
    coil_ret room = t->calls.get_buffer(t, ROOM_HINT, &buffer, t->arg);
    if (room == 0 || (room > 0 && !buffer))
        room = coil__fail(-EINVAL, "get_buffer() returned an empty buffer");
    if (room < 0) {
        coil__transport_fatal(t, "get_buffer", room);
        return;
    }
    if (!transport_may_read(t) || t->protocol != protocol ||
        t->arg != arg) { /* it changed its mind */
        again(t);
        return;
    }
    coil_ret rc = receive_into(t, buffer, (size_t)room);
    if (rc > 0 && t->calls.buffer_updated) {
        coil_ret said = t->calls.buffer_updated(t, (size_t)rc, t->arg);
        if (said < 0)
            coil__transport_fatal(t, "buffer_updated", said);
    }
    after(t, rc, rc == room);
}

/* ---- the reader of what we write ---- */

/* A pipe polls readable at this end when its reader has gone; of a socket that may also mean bytes, which nobody
 * wants. */
static bool reader_is_gone(struct coil_transport *t)
{
    char byte;
    if (sock_is_pipe(t->sock))
        return true;
    ssize_t rc = sock_calls(t->sock)->recv(sock_backend(t->sock), t->sock->fd, &byte, 1, MSG_PEEK);
    if (rc > 0)
        t->watched = false;
    return rc == 0 || (rc < 0 && rc != -EAGAIN);
}

static void reader_went(struct coil_transport *t)
{
    if (t->out.buffered > 0)
        coil__transport_lost(t, -EPIPE, NULL);
    else
        coil_transport_close(t);
}

static void watch_reader(struct coil_transport *t)
{
    bool came = t->came;
    t->came = false;
    if (t->closing || !t->watched)
        return;
    if (t->sock->fd < 0)
        coil__transport_lost(t, -EBADF, NULL);
    else if (t->read_error)
        t->watched = false; /* a write will tell */
    else if (came && reader_is_gone(t))
        reader_went(t);
    else if (t->watched)
        wait_readable(t);
}

/* ---- in the slot ---- */

void coil__transport_receive(struct coil_transport *t)
{
    if (t->kind == TRANSPORT_WRITES) {
        t->try_read = false;
        watch_reader(t);
        return;
    }
    if (!transport_may_read(t))
        return;
    t->try_read = false;
    if (t->calls.get_buffer)
        receive_buffered(t);
    else
        receive_plain(t);
}
