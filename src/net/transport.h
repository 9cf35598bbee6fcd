/* SPDX-License-Identifier: MIT
 *
 * transport.h: a connection whose bytes go to a protocol's callbacks.
 *
 *     kernel --readable--> poll op --done--> slot: recv into the loop's buffer --> data_received
 *     write --> outbox --> kernel
 *
 *     NEW --slot--> OPEN --close--> CLOSING --everything sent--> slot: connection_lost, LOST
 *                    |                 |                          ^
 *                    +--sending failed--> MUTE --read to the end--+
 *                    +--abort, an error of receiving, a callback that failed--^
 *
 * MUTE: nothing more can be sent, but what the peer had sent is still delivered. It ends when nothing is left of that,
 * or when reading is paused.
 *
 * One op waits for readability rather than for bytes: a thousand idle connections share one buffer that way.
 *
 * Always true:
 *   - callbacks run in the slot, but for pause_writing, which runs in the write that passed the mark;
 *   - connection_made is called once and first, connection_lost once and last;
 *   - references: one until LOST, one while the slot is queued, one while the kernel has not let go of the op of
 *     a LOST one, one for each call that waits, and the user's. */
#ifndef COIL_NET_TRANSPORT_H
#define COIL_NET_TRANSPORT_H

#include "net/filter.h"
#include "net/net.h"
#include "net/outbox.h"
#include "net/server.h"
#include "net/socket.h"
#include "sync/waiters.h"

#include <coil/transport.h>

enum transport_kind { TRANSPORT_BOTH, TRANSPORT_READS, TRANSPORT_WRITES };

struct coil_transport {
    struct list link; /* net_part.transports */
    coil_loop *loop;  /* NULL once that is closed; until then, one room in its ring is held */
    struct net_part *part;
    coil_sock *sock;
    uint32_t refs;
    const coil_protocol *protocol; /* as it was given */
    coil_protocol calls;           /* as far as its program knew it */
    void *arg;
    struct context_map *map; /* the context variables that callbacks see */

    uint8_t kind; /* enum transport_kind: of a pipe it has one end */
    bool made;    /* connection_made was called */
    bool shaking; /* a server's client, whose TLS handshake is not over */
    bool closing, lost;
    bool mute;        /* sending failed */
    bool looked;      /* MUTE: nothing was there, by the word of the turn before */
    bool queued;      /* its slot is on the ready ring */
    bool read_paused; /* by the user */
    bool try_read;    /* there may be something to receive */
    bool eof;         /* the peer's end was read */
    bool eof_asked, eof_sent;
    bool sending_file;          /* a coroutine is in coil_loop_sendfile */
    bool told_paused;           /* pause_writing was called last, not resume_writing */
    bool watched;               /* TRANSPORT_WRITES: the reader's going away can be noticed */
    bool came;                  /* the op is done, and nobody looked yet */
    bool friendly;              /* closed, and not by force: unread input is thrown away before */
    uint16_t retries;           /* in a row, for want of memory */
    coil_ret error;             /* what it was lost with; 0 */
    struct error_record *words; /* of it; NULL: the code's own */
    coil_ret read_error;        /* what waiting for readability failed with; 0 */
    coil_ret made_error;        /* of connection_made; 0 */

    struct op readable; /* OP_POLL */
    struct outbox out;
    struct filter *filter;   /* TLS; NULL: none */
    struct waiters openers;  /* who waits for connection_made */
    struct waiters emptiers; /* for the outbox to be idle */
    struct server_client client;
    char *names; /* coil__sock_extra_info */
};

/* ---- transport.c, create.c ---- */

/* Around a connected socket, without a protocol yet. Takes the caller's reference to it, unless it fails: -ENOMEM,
 * COIL_ERUNNING, -EBADF; recorded. One reference, the loop's. */
int coil__transport_new(coil_sock *sock, struct coil_transport **out);
/* Ask the factory for the protocol, and let the slot run. When it fails the transport is gone with its socket; recorded
 * by who failed. */
coil_ret coil__transport_equip(struct coil_transport *t, coil_protocol_factory_fn factory,
                               void *arg);
/* Give up one that has no protocol, with its socket. */
void coil__transport_forsake(struct coil_transport *t);
/* Both, and wait for connection_made. Takes the reference to the socket, whatever happens. */
struct transport_plan {
    coil_protocol_factory_fn factory;
    void *arg;
    enum transport_kind kind;
    bool watched;                  /* coil_transport.watched */
    const struct filter_plan *tls; /* the protocol comes when hands are shaken; NULL: no TLS */
};
COIL_MUST coil_ret coil__transport_attach(coil_sock *sock, const struct transport_plan *plan,
                                          coil_transport **out_transport, void **out_protocol_arg);
/* Let it speak TLS from now on. It must have nothing to send. The filter is told to shake hands. 0 or an error,
 * recorded; after -ENOMEM it is lost. */
int coil__transport_secure(struct coil_transport *t, const struct filter_plan *plan);
/* The same for a server's client, of whom the server hears when that is over. */
int coil__transport_secure_client(struct coil_transport *t, const struct filter_plan *plan);
/* And wait for it; when that fails it is lost, or aborted. */
COIL_MUST coil_ret coil__transport_shake(struct coil_transport *t);

/* May a task make one here? 0, COIL_ENOTASK, COIL_EWRONGLOOP, -EINVAL; recorded. */
coil_ret coil__transport_may_attach(const coil_loop *loop, coil_protocol_factory_fn factory);
static inline struct coil_transport *transport_ref(struct coil_transport *t)
{
    t->refs++;
    return t;
}

/* May something be sent? 0 or an error, recorded. */
int coil__transport_may_write(struct coil_transport *t);
/* Sending failed: what was received before is still delivered. */
void coil__transport_send_failed(struct coil_transport *t, coil_ret error);
/* It may read again. */
void coil__transport_read_on(struct coil_transport *t);
/* Let its slot run in the next turn: what is due there is found by looking. */
void coil__transport_kick(struct coil_transport *t);
/* The connection failed; nothing more is sent. `words` (counted, taken over) goes with the error; NULL: plain ones. */
void coil__transport_lost(struct coil_transport *t, coil_ret error, struct error_record *words);
/* A callback failed: tell the handler, and lose the connection. */
void coil__transport_fatal(struct coil_transport *t, const char *callback, coil_ret error);

/* ---- receive.c ---- */

static inline bool transport_may_read(const struct coil_transport *t)
{
    return !t->closing && !t->read_paused && !t->eof && !t->sending_file &&
           t->kind != TRANSPORT_WRITES;
}
/* Receive once, and deliver. */
void coil__transport_receive(struct coil_transport *t);
/* Once LOST: the op goes, or has a reference until it does. */
void coil__transport_stop_reading(struct coil_transport *t);

#endif
