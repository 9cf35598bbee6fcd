/* SPDX-License-Identifier: MIT
 *
 * stream.c: bytes from one end to the other: connections, unix stream sockets, pipes.
 *
 * A stream is two channels, a pipe is one. What a writer puts in arrives after a latency, in order;
 * the end of the stream and a reset travel behind the bytes in the same way.
 *
 * Always true:
 *   - what arrived is read before any end or error is told;
 *   - a channel takes at most `cap` bytes that nobody read; then the writer waits (EAGAIN);
 *   - closing with unread data, and data that arrives at a closed end, answer with a reset. */
#include "io/sim/sim.h"

#include <errno.h>
#include <string.h>

#define CAP_DEFAULT ((size_t)128 * 1024)
#define CAP_PIPE    ((size_t)64 * 1024)
#define CAP_MIN     ((size_t)2048)

static void arrive(struct sim *sim, struct event *event);

/* ---- channels ---- */

static int channel_new(struct sim *sim, struct file *writer, struct file *reader, bool instant)
{
    struct channel *c = coil__zalloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    int err = coil__sim_event_init(sim, &c->event, arrive);
    if (err < 0) {
        coil__free(c);
        return err;
    }
    c->instant = instant;
    c->cap = writer->kind == FILE_PIPE ? CAP_PIPE : CAP_DEFAULT;
    int asked = coil__sim_option(writer, SOL_SOCKET, SO_SNDBUF, 0);
    if (asked > 0)
        coil__sim_channel_set_cap(c, (size_t)asked * 2);
    c->writer = writer;
    c->reader = reader;
    c->from = writer->sim->host;
    c->to = reader->sim->host;
    writer->out = c;
    reader->in = c;
    return 0;
}

bool coil__sim_channel_set_cap(struct channel *c, size_t cap)
{
    c->cap = cap < CAP_MIN ? CAP_MIN : cap;
    return c->cap == cap;
}

static void channel_unref(struct sim *sim, struct channel *c)
{
    if (c->reader || c->writer)
        return;
    coil__sim_event_fini(sim, &c->event);
    coil__free(c->ring);
    coil__free(c);
}

int coil__sim_channels_new(struct sim *sim, struct file *a, struct file *b, bool both, bool instant)
{
    int err = channel_new(sim, a, b, instant);
    if (err < 0 || !both)
        return err;
    err = channel_new(sim, b, a, instant);
    if (err < 0) {
        struct channel *c = a->out;
        a->out = b->in = NULL;
        c->reader = c->writer = NULL;
        channel_unref(sim, c);
    }
    return err;
}

static size_t room(const struct channel *c)
{
    return c->used < c->cap ? c->cap - c->used : 0;
}

/* Something goes on its way behind what is under way already. */
static void send_segment(struct sim *sim, struct channel *c, enum segment_kind kind, size_t n)
{
    if (c->cut)
        return;
    if (kind == SEGMENT_FIN)
        c->fin_sent = true;
    if (kind == SEGMENT_RST)
        c->rst_sent = true;
    struct segment *last = c->segments_n
                               ? &c->segments[(c->segments_at + c->segments_n - 1) % SEGMENTS_MAX]
                               : NULL;
    int64_t when = sim_now(sim) + (c->instant ? 0 : coil__sim_latency_ns(sim));
    if (last && last->when_ns > when)
        when = last->when_ns;
    /* The last two places are for the end and for a reset, which come once each. */
    if (kind == SEGMENT_BYTES && c->segments_n >= SEGMENTS_MAX - 2) {
        COIL_CHECK(last->kind == SEGMENT_BYTES);
        last->n += n;
        return;
    }
    COIL_CHECK(c->segments_n < SEGMENTS_MAX);
    c->segments[(c->segments_at + c->segments_n++) % SEGMENTS_MAX] = (struct segment){
        .when_ns = when, .n = n, .kind = kind};
    if (c->instant)
        arrive(sim, &c->event);
    else if (c->segments_n == 1)
        coil__sim_schedule(sim, &c->event, when);
}

/* The other end is gone and answers with a reset, once. */
static void send_reset_to(struct sim *sim, struct file *file)
{
    if (file->in && !file->in->rst_sent)
        send_segment(sim, file->in, SEGMENT_RST, 0);
}

/* A reset reached this end. */
static void be_reset(struct sim *sim, struct file *file)
{
    if (file->state != STATE_CONNECTED)
        return;
    file->state = STATE_RESET;
    file->error = file->in->fin_arrived ? EPIPE : ECONNRESET;
    coil__sim_stir(file);
}

/* Its reader broke: what is under way, and what is still sent, does not get there; nor does an end. */
static void cut(struct channel *c)
{
    c->cut = true;
    c->used = c->arrived;
    c->segments_n = 0;
}

static void arrive_one(struct sim *sim, struct channel *c, struct segment *s)
{
    coil__sim_note(sim, 16 + (int64_t)s->kind, c->reader ? c->reader->fd : 0);
    coil__sim_note(sim, sim_now(sim), (int64_t)s->n);
    if (!c->reader) {
        if (s->kind == SEGMENT_BYTES) {
            c->head = (c->head + s->n) % c->size;
            c->used -= s->n;
            if (c->writer)
                send_reset_to(sim, c->writer);
        }
        return;
    }
    switch (s->kind) {
    case SEGMENT_BYTES:
        c->arrived += s->n;
        if (!c->instant && sim_fault(sim, SIM_RESET)) {
            be_reset(sim, c->reader);
            cut(c);
            if (c->writer)
                send_reset_to(sim, c->writer);
        }
        break;
    case SEGMENT_FIN: c->fin_arrived = true; break;
    case SEGMENT_RST: be_reset(sim, c->reader); break;
    }
    coil__sim_stir(c->reader);
}

static void arrive(struct sim *sim, struct event *event)
{
    struct channel *c = container_of(event, struct channel, event);
    int64_t now = sim_now(sim), clogged_until = sim->world->clogged_until[c->from][c->to];
    if (now < clogged_until && !c->instant) {
        coil__sim_schedule(sim, event, clogged_until + coil__sim_latency_ns(sim));
        return;
    }
    while (c->segments_n && c->segments[c->segments_at].when_ns <= now) {
        struct segment s = c->segments[c->segments_at];
        c->segments_at = (c->segments_at + 1) % SEGMENTS_MAX;
        c->segments_n--;
        arrive_one(sim, c, &s);
    }
    if (c->segments_n)
        coil__sim_schedule(sim, &c->event, c->segments[c->segments_at].when_ns);
}

static int grow(struct channel *c, size_t need)
{
    size_t size = c->size ? c->size : 1024;
    while (size < need)
        size *= 2;
    if (size == c->size)
        return 0;
    uint8_t *ring = coil__alloc(size);
    if (!ring)
        return -ENOMEM;
    size_t first = c->used < c->size - c->head ? c->used : c->size - c->head;
    if (c->used) {
        memcpy(ring, c->ring + c->head, first);
        memcpy(ring + first, c->ring, c->used - first);
    }
    coil__free(c->ring);
    c->ring = ring;
    c->size = size;
    c->head = 0;
    return 0;
}

static ssize_t put(struct sim *sim, struct channel *c, const uint8_t *p, size_t n)
{
    if (n > room(c))
        n = room(c);
    if (n == 0)
        return -EAGAIN;
    if (sim_fault(sim, SIM_NO_BUFFER))
        return -ENOBUFS;
    if (c->cut)
        return (ssize_t)n;
    if (sim_fault(sim, SIM_SHORT_IO))
        n = 1 + random_below(&sim->world->random, (uint32_t)n);
    int err = grow(c, c->used + n);
    if (err < 0)
        return err;
    size_t at = (c->head + c->used) % c->size, first = n < c->size - at ? n : c->size - at;
    memcpy(c->ring + at, p, first);
    memcpy(c->ring, p + first, n - first);
    c->used += n;
    send_segment(sim, c, SEGMENT_BYTES, n);
    return (ssize_t)n;
}

static size_t take(struct sim *sim, struct channel *c, uint8_t *p, size_t n, bool peek)
{
    if (n > c->arrived)
        n = c->arrived;
    if (n > 1 && sim_fault(sim, SIM_SHORT_IO))
        n = 1 + random_below(&sim->world->random, (uint32_t)n);
    size_t first = n < c->size - c->head ? n : c->size - c->head;
    if (n > 0) {
        memcpy(p, c->ring + c->head, first);
        memcpy(p + first, c->ring, n - first);
    }
    if (!peek) {
        c->head = c->size ? (c->head + n) % c->size : 0;
        c->used -= n;
        c->arrived -= n;
        if (c->writer && n > 0)
            coil__sim_stir(c->writer);
    }
    return n;
}

/* ---- ends ---- */

static int take_error(struct file *file)
{
    int err = -file->error;
    file->error = 0;
    return err;
}

ssize_t coil__sim_stream_recv(struct sim *sim, struct file *file, void *p, size_t n, int flags)
{
    if (!file->in)
        return file->kind == FILE_PIPE           ? -EBADF
               : file->state == STATE_CONNECTING ? -EAGAIN
                                                 : -ENOTCONN;
    if (n == 0)
        return 0;
    if (file->in->arrived > 0)
        return (ssize_t)take(sim, file->in, p, n, flags & MSG_PEEK);
    if (file->in->fin_arrived)
        return 0;
    if (file->error)
        return take_error(file);
    return file->shut_in || file->state == STATE_RESET ? 0 : -EAGAIN;
}

ssize_t coil__sim_stream_send(struct sim *sim, struct file *file, const void *p, size_t n)
{
    if (!file->out)
        return file->kind == FILE_PIPE           ? -EBADF
               : file->state == STATE_CONNECTING ? -EAGAIN
               : file->state == STATE_RESET      ? -EPIPE /* its machine is dead */
                                                 : -ENOTCONN;
    if (file->shut_out)
        return -EPIPE;
    if (file->error && !file->out->instant)
        return take_error(file);
    if (file->state == STATE_RESET || (file->out->instant && !file->out->reader))
        return -EPIPE;
    if (file->out->instant && file->out->reader->shut_in)
        return -EPIPE;
    return n == 0 ? 0 : put(sim, file->out, p, n);
}

int coil__sim_stream_shutdown(struct sim *sim, struct file *file, int how)
{
    if (file->state != STATE_CONNECTED)
        return -ENOTCONN;
    if (how == SHUT_RD || how == SHUT_RDWR) {
        file->shut_in = true;
        if (file->in && file->in->writer)
            coil__sim_stir(file->in->writer);
    }
    if ((how == SHUT_WR || how == SHUT_RDWR) && !file->shut_out) {
        file->shut_out = true;
        if (file->out && !file->out->fin_sent)
            send_segment(sim, file->out, SEGMENT_FIN, 0);
    }
    coil__sim_stir(file);
    return 0;
}

void coil__sim_stream_close(struct sim *sim, struct file *file)
{
    coil__sim_stream_sever(sim, file, false);
}

void coil__sim_stream_sever(struct sim *sim, struct file *file, bool silently)
{
    struct channel *in = file->in, *out = file->out;
    struct {
        int on, seconds;
    } linger = {0, 0};
    socklen_t n = sizeof linger;
    (void)coil__sim_getsockopt(sim, file, SOL_SOCKET, SO_LINGER, &linger, &n);
    bool rude = (in && out && in->arrived > 0) ||
                (linger.on && linger.seconds == 0 && file->domain != AF_UNIX) || !file->had_fd;

    file->in = file->out = NULL;
    if (out) {
        out->writer = NULL;
        if (silently)
            ; /* the machine is gone, with its kernel */
        else if (out->reader && rude && file->kind == FILE_STREAM && !out->rst_sent)
            send_segment(sim, out, SEGMENT_RST, 0);
        else if (out->reader && !out->fin_sent && !out->rst_sent)
            send_segment(sim, out, SEGMENT_FIN, 0);
        channel_unref(sim, out);
    }
    if (in) {
        in->reader = NULL;
        /* Nobody will read what is here; what is still under way will be answered by a reset. */
        if (in->size)
            in->head = (in->head + in->arrived) % in->size;
        in->used -= in->arrived;
        in->arrived = 0;
        if (in->writer)
            coil__sim_stir(in->writer);
        channel_unref(sim, in);
    }
}

unsigned coil__sim_stream_ready(struct file *file)
{
    unsigned ready = 0;
    struct channel *in = file->in, *out = file->out;
    bool over = file->error || file->state == STATE_RESET;
    if (file->kind == FILE_STREAM && file->state == STATE_CONNECTING)
        return 0;
    if (file->kind == FILE_STREAM && file->state == STATE_FRESH)
        return OP_IN | OP_OUT | READY_BROKEN;
    if (in && (in->arrived > 0 || in->fin_arrived || file->shut_in || over))
        ready |= OP_IN;
    if (out && (file->shut_out || over || (out->instant && (!out->reader || out->reader->shut_in))))
        ready |= OP_OUT;
    /* A writer is woken for a worthwhile amount of room, not for each byte. */
    if (out && room(out) >= out->cap / 4)
        ready |= OP_OUT;
    if (over || (in && in->fin_arrived && (!out || file->shut_out)) ||
        (out && out->instant && !out->reader))
        ready |= OP_IN | OP_OUT | READY_BROKEN;
    return ready;
}
