/* SPDX-License-Identifier: MIT
 *
 * filter.c: bytes through the layers of a connection, both ways; filter.h has the picture.
 *
 *     readable op --done--> slot: one recv --> layer 0 --> ... --> plain --> the owner is told
 *     write --> plain chunks of the outbox --kick--> slot: layers --> chunks --> kernel
 *
 * Whatever is to be done is found by looking, in the slot: open a layer, shake hands, read, send, say goodbye.
 *
 * Runs on the loop's thread. Elsewhere: what a layer does with the bytes (src/tls), sending (outbox.c), what the
 * owner makes of ends and errors (connection.c, transport.c). */
#include "net/filter.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/probe.h"

#include <math.h>
#include <string.h>

enum {
    /* At most so much is received at once; with what a layer may have kept of the read before, it makes no more than
     * PLAIN_SIZE of plain bytes. */
    READ_MAX = NET_READ_MAX - LAYER_PIECE_MAX - 1024,
    PLAIN_SIZE = NET_READ_MAX,
    BATCH_MAX = 65536,         /* encrypted at once, and given to the kernel together */
    TURN_MAX = 4 * BATCH_MAX,  /* in one turn */
    ANSWERS_MAX = 65536,       /* of what a peer makes us say without reading it */
    DISCARD_MAX = 1024 * 1024, /* read on for a peer that was told the end, at most */
    RETRIES_MAX = 1000,        /* turns without memory before the connection is given up */
};
#define HANDSHAKE_DEFAULT_S 60.0
#define SHUTDOWN_DEFAULT_S  30.0

static void run(void *arg);

/* ---- life ---- */

static struct filter *filter_ref(struct filter *f)
{
    f->refs++;
    return f;
}

static void free_plain(struct filter *f)
{
    coil__free(f->plain);
    f->plain = NULL;
    f->capacity = f->start = f->end = 0;
}

static void free_early(struct filter *f)
{
    coil__free(f->early);
    f->early = NULL;
    f->early_n = 0;
}

static void free_opening(struct filter *f)
{
    if (f->opening)
        f->opening->cls->unref(f->opening);
    f->opening = NULL;
    coil__free(f->server_hostname);
    f->server_hostname = NULL;
}

void coil__filter_unref(struct filter *f)
{
    if (!f || --f->refs > 0)
        return;
    COIL_CHECK(!f->loop && f->readable.state == OP_IDLE);
    list_remove(&f->link);
    for (unsigned i = f->layers; i-- > 0;) {
        f->layer[i]->cls->free(f->layer[i]);
        f->context[i]->cls->unref(f->context[i]);
    }
    free_opening(f);
    free_plain(f);
    free_early(f);
    coil__error_unref(f->words);
    coil__free(f);
}

void coil__filter_kick(struct filter *f)
{
    if (f->queued || !f->loop)
        return;
    f->queued = true;
    filter_ref(f);
    loop_push(f->loop, run, f, NULL);
}

/* ---- telling ---- */

static void wake_receiver(struct filter *f, coil_ret value)
{
    if (f->receiver && !f->receiver->woken)
        coil__wake(f->receiver, value);
}

static void tell(struct filter *f)
{
    f->want = false;
    wake_receiver(f, 0);
    if (!f->pulling)
        f->told(f);
}

static void wake_shakers(struct filter *f)
{
    while (coil__waiters_wake(&f->shakers))
        ;
}

/* It is recorded. */
static void fail(struct filter *f, coil_ret error)
{
    if (f->error)
        return;
    f->words = coil__error_capture(error);
    f->error = error;
    coil__timer_stop(f->loop, &f->timer);
    free_early(f);
    free_opening(f);
    wake_shakers(f);
    tell(f);
    if (f->pulling)
        f->told(f); /* who pulls this once may never do so again, and there may be much to send */
}

/* What we said last may still be on its way out, to a peer that does not take it: the timer runs on until its owner
 * closes. */
static void over(struct filter *f)
{
    f->state = FILTER_OVER;
    tell(f);
}

/* ---- down: from plain bytes to the socket ---- */

static coil_ret push_down(struct filter *f, unsigned level, const void *p, size_t n);

/* What layer `level` wants sent goes to the one below it. */
static coil_ret flush(struct filter *f, unsigned level)
{
    coil_tls *layer = f->layer[level];
    const void *p;
    size_t n = layer->cls->output(layer, &p);
    if (n == 0)
        return 0;
    coil_ret rc = level > 0 ? push_down(f, level - 1, p, n) : coil__outbox_write_raw(f->out, p, n);
    layer->cls->taken(layer);
    /* What the socket failed with the outbox told its owner, who may read on. */
    return level == 0 && rc != -ENOMEM ? 0 : rc;
}

static coil_ret push_down(struct filter *f, unsigned level, const void *p, size_t n)
{
    coil_tls *layer = f->layer[level];
    coil_ret rc = 0;
    for (size_t done = 0; rc == 0 && done < n;) {
        size_t piece = n - done < LAYER_PIECE_MAX ? n - done : LAYER_PIECE_MAX;
        rc = layer->cls->encrypt(layer, (const char *)p + done, piece);
        done += piece;
    }
    return rc < 0 ? rc : flush(f, level);
}

/* What was received made a layer say something. A peer that never reads could have it pile up. */
static void answer(struct filter *f, unsigned level)
{
    size_t before = f->out->buffered;
    if (list_empty(&f->out->chunks))
        f->answered = 0;
    coil_ret rc = flush(f, level);
    if (f->out->buffered > before)
        f->answered += f->out->buffered - before;
    if (rc < 0)
        fail(f, rc);
    else if (f->answered > ANSWERS_MAX)
        fail(f, coil__fail(COIL_ETLS, "the peer makes us answer and does not read the answers"));
}

static void finish_layer(struct filter *f, unsigned level)
{
    coil_ret rc = f->layer[level]->cls->finish(f->layer[level]);
    if (rc == 0)
        rc = flush(f, level);
    if (rc < 0)
        fail(f, rc);
}

/* Of what we write: the outermost layer's end. Those below it go on, with what they have to say of the other direction. */
static void say_end(struct filter *f)
{
    f->end_said = true;
    finish_layer(f, f->layers - 1u);
}

/* Layer by layer from the outermost, so that each is told within those below it. */
static void say_goodbye(struct filter *f)
{
    f->notified = true;
    if (!f->end_said)
        say_end(f);
    for (unsigned i = f->layers - 1u; !f->error && i-- > 0;)
        finish_layer(f, i);
    if (!f->error && f->peer_ended)
        over(f);
}

/* Plain chunks become records while the kernel takes them: those that it does not take wait as they are. */
static void send_out(struct filter *f)
{
    struct outbox *box = f->out;
    unsigned top = f->layers - 1u;
    size_t turn = 0;
    bool moved = false;
    while (!f->error && !list_empty(&box->plain) && list_empty(&box->chunks) && turn < TURN_MAX) {
        size_t batch = 0;
        coil_ret rc = 0;
        f->answered = 0;
        while (rc == 0 && batch < BATCH_MAX && !list_empty(&box->plain)) {
            const void *p;
            size_t n = coil__outbox_plain(box, &p, LAYER_PIECE_MAX);
            rc = f->layer[top]->cls->encrypt(f->layer[top], p, n);
            if (rc == 0)
                coil__outbox_plain_taken(box, n);
            batch += n;
        }
        if (rc == 0)
            rc = flush(f, top);
        if (rc < 0)
            fail(f, rc);
        coil__outbox_plain_over(box);
        turn += batch;
        moved = true;
    }
    if (!list_empty(&box->plain) && list_empty(&box->chunks))
        coil__filter_kick(f);
    else if (moved && outbox_idle(box))
        box->cls->idle(box);
}

/* ---- up: from the socket to plain bytes ---- */

static void absorb(struct filter *f, unsigned level, const void *p, size_t n);

/* At least one byte of room behind `end`. */
static int plain_room(struct filter *f)
{
    if (f->start == f->end)
        f->start = f->end = 0;
    if (f->end < f->capacity)
        return 0;
    size_t capacity = f->capacity ? 2 * f->capacity : PLAIN_SIZE;
    char *more = coil__realloc(f->plain, capacity);
    if (!more)
        return -ENOMEM;
    f->plain = more;
    f->capacity = capacity;
    return 0;
}

/* What is kept for a slow owner takes the room that it needs. */
static void trim_plain(struct filter *f)
{
    if (f->start == f->end) {
        free_plain(f);
        return;
    }
    if (f->end > f->capacity / 2)
        return;
    char *less = coil__realloc(f->plain, f->end);
    if (less) {
        f->plain = less;
        f->capacity = f->end;
    }
}

/* The outermost layer's bytes; afterwards nobody reads them. */
static void discard(struct filter *f)
{
    f->discarded += f->end - f->start;
    f->start = f->end = 0;
    if (f->state == FILTER_ENDING && f->discarded > DISCARD_MAX)
        over(f);
}

static bool is_top(const struct filter *f, unsigned level)
{
    return level + 1u == f->layers && !f->opening;
}

/* Bytes of layer `level` go one up. Returns what the layer said last. */
static coil_ret decrypt_top(struct filter *f, coil_tls *layer)
{
    coil_ret rc;
    do {
        if (plain_room(f) < 0)
            return coil__fail_plain(-ENOMEM);
        rc = layer->cls->decrypt(layer, f->plain + f->end, f->capacity - f->end);
        if (rc > 0)
            f->end += (size_t)rc;
        if (f->state >= FILTER_ENDING)
            discard(f);
    } while (rc > 0 && f->state != FILTER_OVER);
    return rc > 0 ? -EAGAIN : rc;
}

static coil_ret decrypt_below(struct filter *f, unsigned level)
{
    coil_tls *layer = f->layer[level];
    char *buf = coil__alloc(LAYER_PIECE_MAX);
    if (!buf)
        return coil__fail_plain(-ENOMEM);
    coil_ret rc;
    while ((rc = layer->cls->decrypt(layer, buf, LAYER_PIECE_MAX)) > 0 && !f->error)
        absorb(f, level + 1, buf, (size_t)rc);
    coil__free(buf);
    return rc > 0 ? -EAGAIN : rc;
}

/* The peer's bytes end without the end that the outermost layer should have said. */
static void cut_short(struct filter *f)
{
    if (f->state >= FILTER_ENDING)
        over(f);
    else if (f->state == FILTER_SHAKING)
        fail(f, coil__fail(-ECONNRESET, "the peer closed the connection during the TLS handshake"));
    else if (!f->peer_ended) {
        COIL_PROBE("a TLS stream is cut short");
        fail(f, coil__fail(COIL_ETLSEOF, "the peer's stream ended without close_notify: what came "
                                         "before may be only a part of what it sent"));
    }
}

static void end_of_layer(struct filter *f, unsigned level)
{
    if (!is_top(f, level) || f->state == FILTER_SHAKING) {
        cut_short(f);
        return;
    }
    f->peer_ended = true;
    if (f->state == FILTER_ENDING)
        over(f);
}

static void shaken(struct filter *f)
{
    f->state = FILTER_OPEN;
    coil__timer_stop(f->loop, &f->timer);
    f->timed_out = false;
    wake_shakers(f);
    tell(f);
    if (!list_empty(&f->out->plain) || f->end_asked)
        coil__filter_kick(f); /* written meanwhile */
}

/* The topmost layer goes on with its handshake. False: there is nothing to decrypt yet. */
static bool shake(struct filter *f)
{
    coil_tls *layer = f->layer[f->layers - 1u];
    coil_ret rc = layer->cls->handshake(layer);
    struct error_record *words = rc < 0 ? coil__error_capture(rc) : NULL;
    answer(f, f->layers - 1u); /* of a failure too: the alert */
    if (rc < 0) {
        coil__error_restore(words, rc);
        fail(f, rc);
    }
    coil__error_unref(words);
    if (rc == 1 && !f->error)
        shaken(f);
    return rc == 1 && !f->error;
}

/* n bytes for layer `level`; all are used up. */
static void absorb(struct filter *f, unsigned level, const void *p, size_t n)
{
    coil_tls *layer = f->layer[level];
    layer->cls->feed(layer, p, n);
    bool top = is_top(f, level);
    if (top && f->state == FILTER_SHAKING && !shake(f))
        return;
    coil_ret rc = top ? decrypt_top(f, layer) : decrypt_below(f, level);
    struct error_record *words = rc < 0 && rc != -EAGAIN ? coil__error_capture(rc) : NULL;
    if (!f->error)
        answer(f, level);
    if (rc == 0) {
        end_of_layer(f, level);
    } else if (rc != -EAGAIN && !f->error) {
        coil__error_restore(words, rc);
        fail(f, rc);
    }
    coil__error_unref(words);
}

/* ---- the socket ---- */

static bool has_plain(const struct filter *f)
{
    return f->start < f->end;
}

static bool may_read(const struct filter *f)
{
    if (!f->loop || f->error || f->opening || f->early)
        return false;
    if (f->state == FILTER_OPEN)
        return f->want && !has_plain(f) && !f->peer_ended;
    return f->state != FILTER_OVER;
}

static void readable_done(struct op *op)
{
    struct filter *f = container_of(op, struct filter, readable);
    if (!f->loop) {
        coil__filter_unref(f); /* coil__filter_close's */
        return;
    }
    if (op->result < 0) /* -ECANCELED, though nobody cancelled: the socket was closed under us */
        f->read_error = op->result == -ECANCELED ? -EBADF : (coil_ret)op->result;
    f->try_read = true;
    coil__filter_kick(f);
}

static void wait_readable(struct filter *f)
{
    struct backend *b = sock_backend(f->sock);
    if (f->readable.state != OP_IDLE)
        return;
    if (f->sock->fd < 0) { /* to be found out in the slot */
        f->try_read = true;
        coil__filter_kick(f);
        return;
    }
    f->readable.kind = OP_POLL;
    f->readable.events = OP_IN;
    f->readable.fd = f->sock->fd;
    f->readable.done = readable_done;
    backend_submit(b, &f->readable);
}

/* Errors of this machine, not of the connection: the next try may fare better. */
static bool may_retry(struct filter *f, coil_ret error)
{
    return (error == -ENOMEM || error == -ENOBUFS || error == -ENOSPC) &&
           f->retries++ < RETRIES_MAX;
}

static coil_ret receive(struct filter *f)
{
    coil_ret rc = f->sock->fd < 0 ? -EBADF : f->read_error;
    f->read_error = 0;
    if (rc == 0 && plain_room(f) < 0)
        rc = -ENOMEM;
    if (rc < 0)
        return rc;
    rc = sock_calls(f->sock)->recv(sock_backend(f->sock), f->sock->fd, f->sock->part->read_buffer,
                                   READ_MAX, 0);
    if (rc > 0)
        absorb(f, 0, f->sock->part->read_buffer, (size_t)rc);
    trim_plain(f);
    return rc;
}

/* One receive, and what it brought goes up. */
static void read_socket(struct filter *f)
{
    f->try_read = false;
    coil_ret rc = receive(f);
    if (rc >= 0 || rc == -EAGAIN)
        f->retries = 0;
    if (rc == 0) {
        cut_short(f);
    } else if (rc < 0 && rc != -EAGAIN && may_retry(f, rc)) {
        f->try_read = true;
        coil__filter_kick(f);
        return;
    } else if (rc < 0 && rc != -EAGAIN) {
        fail(f, coil__fail_plain(rc));
    }
    if (has_plain(f) || (f->peer_ended && f->want))
        tell(f);
    if (rc == READ_MAX) /* there is more */
        f->try_read = true;
    else if (may_read(f))
        wait_readable(f);
    if (f->try_read && may_read(f))
        coil__filter_kick(f);
}

/* ---- the slot ---- */

static void time_is_up(struct filter *f)
{
    f->timed_out = false;
    if (f->error || f->state == FILTER_OPEN || (f->state == FILTER_OVER && outbox_idle(f->out)))
        return;
    if (f->state == FILTER_SHAKING) {
        COIL_PROBE("a TLS handshake takes too long");
        fail(f,
             coil__fail(-ECONNABORTED,
                        "TLS handshake is taking longer than %g seconds: aborting the connection",
                        f->handshake_timeout));
        return;
    }
    COIL_PROBE("a TLS peer does not answer the end");
    fail(f, coil__fail(-ETIMEDOUT, "the peer did not answer close_notify within %g seconds",
                       f->shutdown_timeout));
}

static void timer_fired(struct timer *timer)
{
    struct filter *f = container_of(timer, struct filter, timer);
    f->timed_out = true;
    coil__filter_kick(f);
}

/* The layer that was asked for is made, here and not in the call that asked: on the loop's stack. */
static void open_layer(struct filter *f)
{
    if (f->peer_ended) {
        cut_short(f);
        return;
    }
    coil_ret rc = f->opening->cls->open(f->opening, f->server_hostname, &f->layer[f->layers]);
    if (rc < 0) {
        fail(f, rc);
        return;
    }
    f->context[f->layers++] = f->opening;
    f->opening = NULL;
    free_opening(f);
    f->try_read = true;
    if (!f->early) {
        shake(f); /* a client speaks first */
        return;
    }
    char *early = f->early;
    f->early = NULL;
    absorb(f, f->layers - 1u, early, f->early_n);
    coil__free(early);
    trim_plain(f);
    if (has_plain(f))
        tell(f);
}

static void run(void *arg)
{
    struct filter *f = arg;
    f->queued = false;
    if (f->loop && f->timed_out)
        time_is_up(f);
    if (f->loop && !f->error && f->opening)
        open_layer(f);
    if (f->loop && !f->error && f->state == FILTER_OPEN)
        send_out(f);
    if (f->loop && !f->error && f->state == FILTER_OPEN && f->end_asked && !f->end_said &&
        list_empty(&f->out->plain))
        say_end(f);
    if (f->loop && !f->error && f->state == FILTER_ENDING && !f->notified)
        say_goodbye(f);
    if (f->try_read && may_read(f))
        read_socket(f);
    coil__filter_unref(f);
}

/* ---- making one ---- */

static coil_ret check_time(double seconds, const char *what)
{
    return seconds >= 0 ? 0
                        : coil__fail(-EINVAL, "%s must be a number of seconds, more than 0", what);
}

coil_ret coil__filter_check(const struct filter_plan *plan, bool server)
{
    const struct context_class *cls = plan->context->cls;
    if (cls->abi != FILTER_ABI)
        return coil__fail(-ENOTSUP, "libcoil and libcoil-tls are of different versions");
    coil_ret rc = check_time(plan->handshake_timeout, "a handshake's time limit");
    if (rc == 0)
        rc = check_time(plan->shutdown_timeout, "the time limit of a TLS shutdown");
    if (rc == 0 && server && !cls->is_server(plan->context))
        rc = coil__fail(-EINVAL, "a server needs a TLS context for servers (COIL_TLS_SERVER)");
    return rc < 0 ? rc : cls->check(plan->context, plan->server_hostname);
}

int coil__filter_new(coil_sock *sock, struct outbox *out, filter_told_fn told, void *owner,
                     struct filter **out_filter)
{
    int err = coil__net_read_buffer(sock->part);
    if (err < 0)
        return err;
    struct filter *f = coil__zalloc(sizeof *f);
    if (!f || coil__loop_hold(sock->loop, 1) < 0) {
        coil__free(f);
        return (int)coil__fail_plain(-ENOMEM);
    }
    f->part = sock->part;
    list_push(&f->part->filters, &f->link);
    f->told = told;
    f->owner = owner;
    f->loop = sock->loop;
    f->sock = sock;
    f->out = out;
    f->refs = 1;
    f->state = FILTER_OPEN; /* with no layer yet */
    timer_init(&f->timer, timer_fired);
    out->filter = f;
    *out_filter = f;
    return 0;
}

/* What was received so far, in order, becomes early bytes. */
static int take_early(struct filter *f, const void *early, size_t n)
{
    size_t more = f->end - f->start;
    if (n + more == 0)
        return 0;
    f->early = coil__alloc(n + more);
    if (!f->early)
        return -ENOMEM;
    if (n > 0)
        memcpy(f->early, early, n);
    if (more > 0)
        memcpy(f->early + n, f->plain + f->start, more);
    f->early_n = n + more;
    free_plain(f);
    return 0;
}

static int take_name(struct filter *f, const char *name)
{
    if (!name)
        return 0;
    size_t n = strlen(name) + 1;
    f->server_hostname = coil__alloc(n);
    if (!f->server_hostname)
        return -ENOMEM;
    memcpy(f->server_hostname, name, n);
    return 0;
}

static double or_default(double seconds, double usual)
{
    return seconds > 0 ? seconds : usual;
}

static int start_timer(struct filter *f, double seconds)
{
    int64_t when = clock_add(loop_now_ns(f->loop), coil__clock_from_seconds(seconds));
    return seconds == INFINITY ? 0 : coil__timer_start(f->loop, &f->timer, when);
}

int coil__filter_add(struct filter *f, const struct filter_plan *plan, const void *early, size_t n)
{
    COIL_DCHECK(outbox_idle(f->out) && f->state != FILTER_SHAKING);
    if (f->layers == FILTER_LAYERS_MAX)
        return (int)coil__fail(-ENOTSUP, "TLS within TLS goes %d layers deep", FILTER_LAYERS_MAX);
    int err = take_name(f, plan->server_hostname);
    if (err == 0)
        err = start_timer(f, or_default(plan->handshake_timeout, HANDSHAKE_DEFAULT_S));
    if (err == 0 && (err = take_early(f, early, n)) < 0)
        coil__timer_stop(f->loop, &f->timer);
    if (err < 0) {
        free_opening(f);
        return (int)coil__fail_plain(err);
    }
    f->handshake_timeout = or_default(plan->handshake_timeout, HANDSHAKE_DEFAULT_S);
    f->shutdown_timeout = or_default(plan->shutdown_timeout, SHUTDOWN_DEFAULT_S);
    f->opening = plan->context->cls->ref(plan->context);
    f->state = FILTER_SHAKING;
    coil__filter_kick(f);
    return 0;
}

/* ---- waiting for the handshake ---- */

static const struct wait_class shake_class = {.what = "TLS handshake",
                                              .cancel = coil__waiter_cancel};

coil_ret coil__filter_wait(struct filter *f)
{
    coil_ret rc = 0;
    filter_ref(f);
    while (rc == 0 && f->loop && filter_is_shaking(f)) {
        struct waiter waiter;
        rc = coil__waiters_wait(&f->shakers, &waiter, &shake_class);
    }
    if (rc == 0 && filter_shake_failed(f))
        rc = coil__error_restore(f->words, f->error);
    else if (rc == 0 && f->state == FILTER_SHAKING)
        rc = coil__fail(-ECONNABORTED, "the connection was closed during the TLS handshake");
    coil__filter_unref(f);
    return rc;
}

/* ---- receiving ---- */

coil_ret coil__filter_receive(struct filter *f, void *p, size_t n, bool pull)
{
    if (pull && !has_plain(f)) {
        f->want = f->pulling = true;
        if (may_read(f))
            read_socket(f);
        f->want = f->pulling = false;
    }
    size_t got = f->end - f->start < n ? f->end - f->start : n;
    if (got > 0) {
        memcpy(p, f->plain + f->start, got);
        f->start += got;
        if (f->start == f->end) {
            free_plain(f);
            if (f->error)
                f->told(f); /* its turn has come, whether or not there is another receive */
        }
        return (coil_ret)got;
    }
    if (f->error)
        return coil__error_restore(f->words, f->error);
    return f->peer_ended || f->state >= FILTER_ENDING || !f->loop ? 0 : -EAGAIN;
}

void coil__filter_want(struct filter *f)
{
    f->want = true;
    if (has_plain(f) || f->peer_ended || f->error)
        tell(f); /* it came together with what was taken already */
    else if (!may_read(f))
        return;
    else if (f->try_read)
        coil__filter_kick(f);
    else
        wait_readable(f);
}

static int describe_filter(const struct wait *wait, char *out, size_t n);
static const struct wait_class receive_class = {
    .what = "recv (TLS)", .cancel = coil__wait_cancel_plain, .describe = describe_filter};

/* In the frame that waits. */
struct filter_wait {
    struct wait wait;
    struct filter *filter;
};

static int describe_filter(const struct wait *wait, char *out, size_t n)
{
    const struct filter_wait *w = container_of((uintptr_t)wait, struct filter_wait, wait);
    return coil__sock_describe(w->filter->sock, out, n);
}

coil_ret coil__filter_receive_wait(struct filter *f, void *p, size_t n)
{
    coil_ret rc = sock_breathe(f->sock, &f->sock->receiving);
    filter_ref(f);
    while (rc >= 0 && (rc = coil__filter_receive(f, p, n, false)) == -EAGAIN) {
        struct filter_wait w = {.wait = WAIT_INIT(&receive_class), .filter = f};
        f->receiver = &w.wait;
        coil__filter_want(f);
        rc = coil__park(&w.wait);
        f->receiver = NULL;
        f->want = false;
    }
    if (rc > 0 && f->loop)
        net_effort(f->sock->part, (size_t)rc);
    coil__filter_unref(f);
    return rc;
}

void coil__filter_interrupt(struct filter *f)
{
    wake_receiver(f, -EINTR);
}

/* ---- the end ---- */

void coil__filter_end(struct filter *f)
{
    f->end_asked = true;
    coil__filter_kick(f);
}

bool coil__filter_finish(struct filter *f)
{
    if (f->error || f->state == FILTER_SHAKING || f->state == FILTER_OVER)
        return true;
    if (f->state == FILTER_ENDING)
        return false;
    bool timed = start_timer(f, f->shutdown_timeout) == 0;
    f->state = FILTER_ENDING;
    discard(f);
    free_plain(f);
    f->try_read = true;
    wake_receiver(f, 0);
    coil__filter_kick(f);
    if (!timed &&
        f->state == FILTER_ENDING) { /* without memory for a time limit there is no waiting */
        say_goodbye(f);
        over(f);
    }
    return false;
}

void coil__filter_close(struct filter *f)
{
    if (!f || !f->loop)
        return;
    struct backend *b = sock_backend(f->sock);
    coil__timer_stop(f->loop, &f->timer);
    wake_shakers(f);
    wake_receiver(f, 0);
    f->out->filter = NULL;
    loop_release(f->loop, 1);
    f->loop = NULL;
    if (b->cls->cancel(b, &f->readable) == -EINPROGRESS)
        filter_ref(f); /* until its last word */
}

static bool op_is_idle(void *op)
{
    return ((struct op *)op)->state == OP_IDLE;
}

void coil__filter_settle(struct filter *f)
{
    bool was_queued = f->queued;
    list_remove(&f->link);
    f->queued = true;
    filter_ref(f);
    coil__filter_close(f);
    coil__loop_settle(f->part->loop, op_is_idle, &f->readable);
    if (was_queued)
        coil__filter_unref(f);
    coil__filter_unref(f);
}

/* Those whose owners have gone, or are lost and kept by somebody: the others were settled with them. */
void coil__net_close_filters(struct net_part *part)
{
    while (!list_empty(&part->filters))
        coil__filter_settle(container_of(list_first(&part->filters), struct filter, link));
}

/* ---- asking ---- */

coil_tls *coil__filter_layer(const struct filter *f)
{
    return f && f->layers > 0 ? f->layer[f->layers - 1u] : NULL;
}

const char *coil__filter_info(const struct filter *f, const char *name)
{
    coil_tls *layer = coil__filter_layer(f);
    return layer ? layer->cls->info(layer, name) : NULL;
}
