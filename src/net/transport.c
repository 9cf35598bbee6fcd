/* SPDX-License-Identifier: MIT
 *
 * transport.c: the life of a transport, and what its user may ask of it; transport.h has the picture.
 *
 * As in connection.c, whatever ends something only notes it and lets the slot run in the next turn, where the
 * protocol is called.
 *
 * Runs on the loop's thread. Elsewhere: bytes in (receive.c), bytes out (outbox.c), how transports are made
 * (create.c). */
#include "net/transport.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"

#include <stdio.h>

/* ---- what the outbox and the server tell ---- */

static struct coil_transport *transport_of(struct outbox *box)
{
    return container_of(box, struct coil_transport, out);
}

static void box_kick(struct outbox *box)
{
    coil__transport_kick(transport_of(box));
}

static void box_idle(struct outbox *box)
{
    struct coil_transport *t = transport_of(box);
    while (coil__waiters_wake(&t->emptiers))
        ;
    if (t->closing || t->eof_asked)
        coil__transport_kick(t);
}

void coil__transport_send_failed(struct coil_transport *t, coil_ret error)
{
    if (t->lost)
        return;
    if (!t->error)
        t->error = error;
    t->mute = true;
    t->try_read = true;
    coil__outbox_drop(&t->out);
    if (!transport_may_read(t))
        t->closing = true;
    coil__transport_kick(t);
}

static void box_failed(struct outbox *box, coil_ret error)
{
    coil__transport_send_failed(transport_of(box), error);
}

static const struct outbox_class box_class = {
    .kick = box_kick, .resumed = box_kick, .idle = box_idle, .failed = box_failed};

static void close_client(struct server_client *client)
{
    coil_transport_close(container_of(client, struct coil_transport, client));
}

static void abort_client(struct server_client *client)
{
    coil_transport_abort(container_of(client, struct coil_transport, client));
}

/* ---- life ---- */

int coil__transport_new(coil_sock *sock, struct coil_transport **out)
{
    if (sock->fd < 0)
        return (int)coil__fail_plain(-EBADF);
    if (sock->lent || sock->receiving || sock->sending || sock->sending_all)
        return (int)coil__fail(COIL_ERUNNING, "this socket is in use already");
    int err = coil__net_read_buffer(sock->part);
    if (err < 0)
        return err;
    struct coil_transport *t = coil__zalloc(sizeof *t);
    if (!t)
        return (int)coil__fail_plain(-ENOMEM);
    err = coil__loop_hold(sock->loop, 1);
    if (err < 0) {
        coil__free(t);
        return (int)coil__fail_plain(err);
    }
    t->loop = sock->loop;
    t->part = sock->part;
    t->sock = sock;
    t->refs = 1;
    t->map = context_capture();
    list_init(&t->client.link);
    t->client.close = close_client;
    t->client.abort = abort_client;
    coil__outbox_init(&t->out, &box_class, sock);
    list_push(&t->part->transports, &t->link);
    sock->lent = true;
    *out = t;
    return 0;
}

/* What the loop knows of it. */
static void forget_loop(struct coil_transport *t)
{
    list_remove(&t->link);
    if (t->loop)
        loop_release(t->loop, 1);
    t->loop = NULL;
}

coil_transport *coil_transport_ref(coil_transport *transport)
{
    return transport_ref(transport);
}

void coil_transport_unref(coil_transport *transport)
{
    if (!transport || --transport->refs > 0)
        return;
    COIL_CHECK(transport->lost && outbox_idle(&transport->out));
    forget_loop(transport);
    coil__context_map_unref(transport->map);
    coil__error_unref(transport->words);
    coil__filter_unref(transport->filter);
    coil__free(transport->names);
    coil_sock_unref(transport->sock);
    coil__free(transport);
}

static void take_protocol(struct coil_transport *t, const coil_protocol *protocol, void *arg)
{
    coil_protocol own;
    t->protocol = protocol;
    t->calls = *OPTS_READ(protocol, own);
    t->arg = arg;
}

void coil__transport_forsake(struct coil_transport *t)
{
    t->lost = t->closing = true;
    coil_sock_close(t->sock);
    if (t->client.server)
        coil__server_let_go(&t->client);
    coil_transport_unref(t);
}

coil_ret coil__transport_equip(struct coil_transport *t, coil_protocol_factory_fn factory,
                               void *arg)
{
    const coil_protocol *protocol = NULL;
    void *protocol_arg = NULL;
    coil_ret rc = factory(&protocol, &protocol_arg, arg);
    if (rc >= 0 && !protocol)
        rc = coil__fail(-EINVAL, "the factory made no protocol");
    if (rc >= 0) {
        take_protocol(t, protocol, protocol_arg);
        coil__transport_kick(t);
        return 0;
    }
    if (t->filter) { /* the end of a handshake may still be on its way out */
        coil__transport_lost(t, rc, coil__error_capture(rc));
        return rc;
    }
    coil__transport_forsake(t);
    return rc;
}

int coil_transport_open(coil_sock *sock, const coil_protocol *protocol, void *arg,
                        coil_transport **out_transport)
{
    struct coil_transport *t;
    if (!protocol)
        return (int)coil__fail(-EINVAL, "a transport needs a protocol");
    if (sock->type != SOCK_STREAM)
        return (int)coil__fail(-EINVAL, "A stream socket was expected");
    if (sock->fd >= 0 && !coil__loop_use(sock->loop))
        return (int)coil_last_error()->code;
    int err = coil__transport_new(sock, &t);
    if (err < 0)
        return err;
    take_protocol(t, protocol, arg);
    coil__transport_kick(t);
    if (out_transport)
        *out_transport = transport_ref(t);
    return 0;
}

/* ---- the end ---- */

void coil__transport_lost(struct coil_transport *t, coil_ret error, struct error_record *words)
{
    if (t->lost || t->error) {
        coil__error_unref(words);
    } else {
        t->error = error;
        t->words = words;
    }
    if (t->lost)
        return;
    t->closing = true;
    t->friendly = false;
    coil__outbox_drop(&t->out);
    coil__transport_kick(t);
}

static void report(struct coil_transport *t, const char *kind, const char *message, coil_ret code,
                   struct error_record *words)
{
    coil_exception_context context = {
        .size = sizeof context,
        .message = message,
        .code = code,
        .error = code ? coil__error_show(words, code) : NULL,
        .protocol = (void *)(uintptr_t)t->protocol,
        .transport = t,
        .fd = coil_sock_fileno(t->sock),
        .kind = kind,
    };
    coil_loop_call_exception_handler(t->loop, &context);
}

void coil__transport_fatal(struct coil_transport *t, const char *callback, coil_ret error)
{
    struct error_record *words = coil__error_capture(error);
    char text[80];
    snprintf(text, sizeof text, "Fatal error: protocol.%s() call failed.", callback);
    /* A callback that hands on what its own write was told brings no news. */
    if (error != t->error)
        report(t, "protocol-error", text, error, words);
    coil__transport_lost(t, error, words);
}

/* Also when it was TLS that failed: its last word, which says why, is on its way to the peer. */
static bool may_discard(const struct coil_transport *t)
{
    bool failed_above = t->filter && t->filter->error && t->filter->error == t->error;
    return failed_above || (t->friendly && !t->error && !t->eof && t->kind == TRANSPORT_BOTH);
}

/* Nothing is left to send: LOST. */
static void end(struct coil_transport *t)
{
    t->lost = true;
    if (t->calls.connection_lost) {
        if (t->error)
            coil__error_restore(t->words, t->error);
        t->calls.connection_lost(t, t->error, t->arg);
    }
    coil__transport_stop_reading(t);
    if (may_discard(t))
        coil__sock_discard(t->sock);
    coil__filter_close(t->filter);
    coil_sock_close(t->sock);
    if (t->client.server)
        coil__server_let_go(&t->client);
    coil_transport_unref(t);
}

/* ---- the slot ---- */

static void begin(struct coil_transport *t)
{
    t->made = true;
    if (t->calls.connection_made) {
        coil_ret rc = t->calls.connection_made(t, t->arg);
        if (rc < 0 && waiters_live(&t->openers)) { /* who waits is told, nobody else needs to be */
            t->made_error = rc;
            coil__transport_lost(t, rc, coil__error_capture(rc));
        } else if (rc < 0) {
            coil__transport_fatal(t, "connection_made", rc);
        }
    }
    while (coil__waiters_wake(&t->openers))
        ;
    /* Who waited comes first; then bytes. */
    t->try_read = true;
    coil__transport_kick(t);
}

static void maybe_tell_pause(struct coil_transport *t)
{
    if (!t->made || !t->out.paused || t->told_paused) /* connection_made comes first */
        return;
    t->told_paused = true;
    if (t->calls.pause_writing)
        t->calls.pause_writing(t, t->arg);
}

static void maybe_tell_resume(struct coil_transport *t)
{
    bool forced = t->error || (t->closing && !t->friendly);
    if (t->out.paused || !t->told_paused || forced) /* dropped bytes are no room for more */
        return;
    t->told_paused = false;
    if (t->calls.resume_writing)
        t->calls.resume_writing(t, t->arg);
}

/* What cannot be ended cannot be sent to either: -ENOTCONN means that a reset came, not read yet. */
static void send_eof(struct coil_transport *t)
{
    t->eof_sent = true;
    if (t->filter) {
        coil__filter_end(t->filter);
        return;
    }
    int rc = sock_calls(t->sock)->shutdown(sock_backend(t->sock), t->sock->fd, SHUT_WR);
    if (rc < 0)
        coil__transport_send_failed(t, rc == -ENOTCONN ? -ECONNRESET : rc);
}

/* A handshake came to its end, or its connection did before. */
static void shake_client(struct coil_transport *t)
{
    struct filter *f = t->filter;
    if (filter_is_shaking(f) && !t->closing)
        return;
    t->shaking = false;
    if (filter_shake_failed(f)) {
        coil__error_restore(f->words, f->error);
        coil__server_client_failed(&t->client, f->error);
    } else if (!t->closing) {
        coil__server_client_ready(&t->client);
    }
}

/* TLS failed where nobody reads: what it still holds for data_received comes first, unless something waits to be sent,
 * which will not be. */
static void look_at_filter(struct coil_transport *t)
{
    struct filter *f = t->filter;
    if (!f->error || t->error)
        return;
    if (t->closing || f->start == f->end) {
        coil__transport_lost(t, f->error, coil__error_share(f->words));
    } else if (!list_empty(&t->out.plain)) {
        t->words = coil__error_share(f->words);
        coil__transport_send_failed(t, f->error);
    }
}

/* TLS says goodbye after all else, and hears that from the peer. */
static bool said_goodbye(struct coil_transport *t)
{
    bool unfriendly = !t->filter || !t->friendly || t->error;
    return unfriendly || coil__filter_finish(t->filter);
}

static void run(void *arg)
{
    struct coil_transport *t = arg;
    t->queued = false;
    coil__outbox_flush(&t->out);
    coil__outbox_release_sent(&t->out);
    if (t->shaking)
        shake_client(t);
    if (t->filter && !t->lost)
        look_at_filter(t);
    if (!t->made && t->protocol &&
        !t->lost) { /* lost already: the factory failed, after somebody had closed it */
        begin(t);
    } else if (t->made) {
        maybe_tell_pause(t); /* lent bytes count until they are released */
        maybe_tell_resume(t);
        if (t->try_read)
            coil__transport_receive(t);
    }
    if (!t->lost && outbox_idle(&t->out)) {
        if (t->eof_asked && !t->eof_sent && !t->closing && !t->mute)
            send_eof(t);
        /* What the callbacks did may have queued the slot again; it looks then. A file on its way is still sent. */
        if (t->closing && !t->queued && !(t->sending_file && t->friendly) && said_goodbye(t))
            end(t);
    }
    coil_transport_unref(t);
}

void coil__transport_kick(struct coil_transport *t)
{
    if (t->queued)
        return;
    t->queued = true;
    transport_ref(t);
    loop_push(t->loop, run, t, t->map ? coil__context_map_ref(t->map) : NULL);
}

/* ---- closing ---- */

void coil_transport_close(coil_transport *transport)
{
    if (transport->closing)
        return;
    transport->closing = true;
    transport->friendly = true;
    if (outbox_idle(&transport->out))
        coil__transport_kick(transport);
}

void coil_transport_abort(coil_transport *transport)
{
    if (transport->lost)
        return;
    transport->closing = true;
    transport->friendly = false;
    coil__outbox_drop(&transport->out);
    coil__transport_kick(transport);
}

bool coil_transport_is_closing(const coil_transport *transport)
{
    return transport->closing || transport->error;
}

/* ---- the protocol, and asking ---- */

int coil_transport_set_protocol(coil_transport *transport, const coil_protocol *protocol, void *arg)
{
    if (!protocol)
        return (int)coil__fail(-EINVAL, "a transport needs a protocol");
    take_protocol(transport, protocol, arg);
    return 0;
}

const coil_protocol *coil_transport_get_protocol(const coil_transport *transport, void **out_arg)
{
    if (out_arg)
        *out_arg = transport->arg;
    return transport->protocol;
}

const char *coil_transport_get_extra_info(coil_transport *transport, const char *name)
{
    const char *text = coil__sock_extra_info(transport->sock, name, &transport->names);
    return text ? text : coil__filter_info(transport->filter, name);
}

coil_tls *coil_transport_tls(const coil_transport *transport)
{
    return coil__filter_layer(transport->filter);
}

coil_sock *coil_transport_sock(coil_transport *transport)
{
    return sock_is_pipe(transport->sock) ? NULL : transport->sock;
}

int coil_transport_fileno(const coil_transport *transport)
{
    return transport->sock->fd;
}

/* ---- reading ---- */

void coil__transport_read_on(struct coil_transport *t)
{
    if (t->made && transport_may_read(t) && t->readable.state == OP_IDLE) {
        t->try_read = true;
        coil__transport_kick(t);
    }
}

void coil_transport_pause_reading(coil_transport *transport)
{
    if (!coil_transport_is_reading(transport))
        return;
    transport->read_paused = true;
    if (transport->mute) { /* it only lived to be read */
        transport->closing = true;
        coil__transport_kick(transport);
    }
}

void coil_transport_resume_reading(coil_transport *transport)
{
    if (transport->closing || !transport->read_paused)
        return;
    transport->read_paused = false;
    coil__transport_read_on(transport);
}

bool coil_transport_is_reading(const coil_transport *transport)
{
    return !transport->closing && !transport->read_paused && transport->kind != TRANSPORT_WRITES;
}

/* ---- writing ---- */

int coil__transport_may_write(struct coil_transport *t)
{
    if (coil_unlikely(t->kind == TRANSPORT_READS))
        return (int)coil__fail(COIL_EINVALIDSTATE, "this end of the pipe is for reading");
    if (coil_unlikely(t->eof_asked))
        return (int)coil__fail(COIL_EINVALIDSTATE, "Cannot call write() after write_eof()");
    if (coil_unlikely(t->error))
        return (int)coil__error_restore(t->words, t->error);
    if (coil_unlikely(t->closing))
        return (int)coil__fail(-ECONNRESET, "Connection lost");
    if (coil_unlikely(t->filter && t->filter->error))
        return (int)coil__error_restore(t->filter->words, t->filter->error);
    if (coil_unlikely(!coil__loop_use(t->loop)))
        return (int)coil_last_error()->code;
    if (coil_unlikely(t->sending_file))
        return (int)coil__fail(COIL_EINVALIDSTATE, "unable to write; sendfile is in progress");
    return 0;
}

/* It may have filled the outbox. */
static int wrote(struct coil_transport *t, int err)
{
    if (coil_unlikely(t->out.paused))
        maybe_tell_pause(t);
    return err;
}

int coil_transport_write(coil_transport *transport, const void *data, size_t n)
{
    int err = coil__transport_may_write(transport);
    return err < 0 ? err : wrote(transport, coil__outbox_write(&transport->out, data, n));
}

int coil_transport_writelines(coil_transport *transport, const struct iovec *pieces,
                              size_t pieces_n)
{
    int err = coil__transport_may_write(transport);
    return err < 0 ? err
                   : wrote(transport, coil__outbox_writelines(&transport->out, pieces, pieces_n));
}

int coil_transport_write_owned(coil_transport *transport, const void *data, size_t n,
                               void (*release)(void *cookie), void *cookie)
{
    int err = coil__transport_may_write(transport);
    if (err < 0)
        return err;
    return wrote(transport, coil__outbox_write_owned(&transport->out, data, n, release, cookie));
}

void coil_transport_set_coalescing(coil_transport *transport, bool on)
{
    transport->out.coalescing = on;
}

int coil_transport_write_eof(coil_transport *transport)
{
    if (transport->eof_asked)
        return 0;
    int err = coil__transport_may_write(transport);
    if (err < 0)
        return err;
    transport->eof_asked = true;
    if (transport->kind == TRANSPORT_WRITES)
        coil_transport_close(transport); /* it has no other direction */
    else if (outbox_idle(&transport->out))
        coil__transport_kick(transport);
    return 0;
}

bool coil_transport_can_write_eof(const coil_transport *transport)
{
    return transport->kind != TRANSPORT_READS;
}

int coil_transport_set_write_buffer_limits(coil_transport *transport, ssize_t high, ssize_t low)
{
    return wrote(transport, coil__outbox_set_limits(&transport->out, high, low));
}

void coil_transport_get_write_buffer_limits(const coil_transport *transport, size_t *out_high,
                                            size_t *out_low)
{
    *out_high = transport->out.marks.high;
    *out_low = transport->out.marks.low;
}

size_t coil_transport_get_write_buffer_size(const coil_transport *transport)
{
    return transport->out.buffered;
}

/* ---- TLS ---- */

static void filter_told(struct filter *f)
{
    struct coil_transport *t = f->owner;
    t->try_read = true;
    if (!t->lost)
        coil__transport_kick(t);
}

int coil__transport_secure(struct coil_transport *t, const struct filter_plan *plan)
{
    int err = 0;
    if (!t->filter)
        err = coil__filter_new(t->sock, &t->out, filter_told, t, &t->filter);
    if (err == 0)
        err = coil__filter_add(t->filter, plan, NULL, 0);
    if (err == 0)
        coil__outbox_filtered_limits(&t->out);
    else if (err == -ENOMEM)
        coil__transport_lost(t, err, NULL);
    return err;
}

int coil__transport_secure_client(struct coil_transport *t, const struct filter_plan *plan)
{
    int err = coil__transport_secure(t, plan);
    t->shaking = err == 0;
    return err;
}

coil_ret coil__transport_shake(struct coil_transport *t)
{
    transport_ref(t);
    coil_ret rc = coil__filter_wait(t->filter);
    if (rc < 0 && !t->filter->error)
        coil_transport_abort(t); /* cancelled */
    else if (rc < 0)
        coil__transport_lost(t, t->filter->error, coil__error_share(t->filter->words));
    coil_transport_unref(t);
    return rc;
}

/* ---- the loop closes ---- */

static void report_unclosed(struct coil_transport *t)
{
    char text[COIL_ADDRESS_TEXT_MAX + 40];
    const char *peer = coil_transport_get_extra_info(t, "peername");
    snprintf(text, sizeof text, "unclosed transport, peer %s", peer ? peer : "?");
    report(t, "unclosed", text, 0, NULL);
}

/* The tasks are gone; no slot will run any more, and the protocol hears of nothing. */
static void take_down(struct coil_transport *t)
{
    bool was_queued = t->queued;
    t->queued = true;
    transport_ref(t);
    if (!t->lost) {
        if (t->loop->debug && !t->closing)
            report_unclosed(t);
        t->lost = t->closing = true;
        if (t->filter)
            coil__filter_settle(t->filter);
        coil__outbox_end(&t->out);
        coil__transport_stop_reading(t);
        coil_sock_close(t->sock);
        coil_transport_unref(t);
    }
    coil__loop_settle_op(t->loop, &t->readable);
    if (t->client.server)
        coil__server_let_go(&t->client);
    forget_loop(t);
    if (was_queued)
        coil_transport_unref(t);
    coil_transport_unref(t);
}

void coil__net_close_transports(struct net_part *part)
{
    while (!list_empty(&part->transports))
        take_down(container_of(list_first(&part->transports), struct coil_transport, link));
}
