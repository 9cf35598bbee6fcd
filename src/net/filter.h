/* SPDX-License-Identifier: MIT
 *
 * filter.h: what changes bytes on their way between a socket and a stream or transport, such as TLS.
 *
 *     reader, data_received <-- plain <-- [ layer 1 ] <-- [ layer 0 ] <--recv-- socket
 *     write --> outbox.plain --> [ layer 1 ] --> [ layer 0 ] --> outbox.chunks --send--> socket
 *
 * A filter belongs to a connection or a transport, which drives it instead of the socket. It does all input and output,
 * keeps the time, and holds what is on its way. A layer only turns bytes into bytes: it has not heard of sockets or
 * loops, and this floor has not heard of what it does with them. Usually there is one; TLS within TLS has two.
 *
 *     SHAKING --the hand is shaken--> OPEN --finish--> ENDING --the peer's end, or that of its stream--> OVER
 *        ^                             |
 *        +------ a layer is added -----+           an error: `error` is set, in any of them; it stays
 *
 * Always true:
 *   - layers are called from the filter's slot, or a transport's: on the stack that turns the loop, never a task's;
 *   - the socket is read while a hand is shaken, while somebody wants bytes and none are there, and in ENDING: what
 *     is held of a peer that sends without end is what one read brought;
 *   - plain bytes are delivered before the end and before an error;
 *   - references: its owner's, one while the slot is queued, one while the kernel has not let go of the op: it may
 *     outlive its owner, so the loop has a list of its own. */
#ifndef COIL_NET_FILTER_H
#define COIL_NET_FILTER_H

#include "io/op.h"
#include "net/outbox.h"
#include "net/socket.h"
#include "sync/waiters.h"

#include <coil/stream.h>

/* ---- the contract with who makes layers: libcoil-tls, a library of its own ---- */

/* Two libraries of different versions may meet. Changed with anything in this part. */
enum { FILTER_ABI = 1 };

/* What errors these return is recorded by them (coil_fail). */
struct layer_class {
    /* Lend it bytes from below. It has used them up when handshake returns 0, or decrypt -EAGAIN, 0 or an error. */
    void (*feed)(coil_tls *layer, const void *bytes, size_t n);
    /* Go on with the handshake: 1 when it is over, 0 to be called again with more bytes, or an error. */
    coil_ret (*handshake)(coil_tls *layer);
    /* Plain bytes, at most n of them; 0: the peer said that no more will come; -EAGAIN: feed it; an error. */
    coil_ret (*decrypt)(coil_tls *layer, void *out, size_t n);
    /* Take n plain bytes, at least 1 and at most LAYER_PIECE_MAX. 0 or an error. */
    coil_ret (*encrypt)(coil_tls *layer, const void *bytes, size_t n);
    /* Tell the peer that no more will come. 0 or an error. */
    coil_ret (*finish)(coil_tls *layer);
    /* What any of these wants sent below: good until the next call. Returns how much; `taken` says that it is sent. */
    size_t (*output)(coil_tls *layer, const void **out);
    void (*taken)(coil_tls *layer);
    /* A text by its name, as of coil_writer_get_extra_info; NULL. */
    const char *(*info)(coil_tls *layer, const char *name);
    void (*free)(coil_tls *layer);
};

enum { LAYER_PIECE_MAX = 16384 };

struct coil_tls {
    const struct layer_class *cls;
};

struct context_class {
    unsigned abi; /* FILTER_ABI */
    coil_tls_context *(*ref)(coil_tls_context *context);
    void (*unref)(coil_tls_context *context);
    /* Could a layer with this peer be opened? Cheap. 0 or -EINVAL, recorded. `server_hostname` may be NULL. */
    coil_ret (*check)(const coil_tls_context *context, const char *server_hostname);
    coil_ret (*open)(coil_tls_context *context, const char *server_hostname, coil_tls **out);
    bool (*is_server)(const coil_tls_context *context);
};

struct coil_tls_context {
    const struct context_class *cls;
};

/* ---- a connection's filter ---- */

enum filter_state { FILTER_SHAKING, FILTER_OPEN, FILTER_ENDING, FILTER_OVER };
enum { FILTER_LAYERS_MAX = 4, FILTER_NAME_MAX = 256 };

struct filter;

/* How its owner is told: there is something to receive, the handshake or the end is over, it failed. It looks what it is,
 * later: no user's code runs in here. */
typedef void (*filter_told_fn)(struct filter *f);

struct filter_plan {
    coil_tls_context *context;                  /* borrowed */
    const char *server_hostname;                /* NULL: none */
    double handshake_timeout, shutdown_timeout; /* 0: the defaults */
};

struct filter {
    struct list link; /* net_part.filters */
    struct net_part *part;
    filter_told_fn told;
    void *owner;        /* for `told` */
    coil_loop *loop;    /* NULL once closed; until then, a room in its ring is held */
    coil_sock *sock;    /* the owner's reference */
    struct outbox *out; /* the owner's */
    uint32_t refs;
    uint8_t state;  /* enum filter_state */
    uint8_t layers; /* how many there are */
    bool queued;
    bool want;       /* the owner has nothing left to receive */
    bool try_read;   /* there may be something in the socket */
    bool peer_ended; /* the outermost layer said so */
    bool pulling;    /* the owner looks itself, and need not be told */
    bool timed_out, notified;
    bool end_asked, end_said;                     /* of what we write, while receiving goes on */
    uint16_t retries;                             /* in a row, for want of memory */
    coil_ret read_error;                          /* what waiting for bytes failed with; 0 */
    coil_tls *layer[FILTER_LAYERS_MAX];           /* from the socket up */
    coil_tls_context *context[FILTER_LAYERS_MAX]; /* references */
    coil_tls_context *opening; /* of the layer that the slot is to open; a reference */
    char *server_hostname;     /* for it; NULL: none */

    /* Received and not taken: [start, end) of `plain`. NULL when there is none. */
    char *plain;
    size_t capacity, start, end;
    /* Received before a layer was added, and to be fed to it. NULL: nothing. */
    char *early;
    size_t early_n;

    size_t answered;  /* bytes sent because of what was received, since the outbox was last empty */
    size_t discarded; /* in ENDING */
    struct op readable;
    struct timer timer; /* of a handshake, or of the end */
    double handshake_timeout, shutdown_timeout;
    struct waiters shakers; /* who waits for the handshake */
    struct wait *receiver;  /* a task that waits for bytes; NULL */
    coil_ret error;
    struct error_record *words; /* of it; NULL: the code's own */
};

/* May there be such a layer? 0, -EINVAL (of the name or a time), -ENOTSUP (libraries of different versions); recorded. */
coil_ret coil__filter_check(const struct filter_plan *plan, bool server);

/* One for this socket, around an outbox that is empty. One reference. 0 or -ENOMEM, recorded. */
int coil__filter_new(coil_sock *sock, struct outbox *out, filter_told_fn told, void *owner,
                     struct filter **out_filter);
/* Add a layer above those that are there, and begin its handshake. What was received and not taken is fed to it: the
 * filter's own plain bytes behind the `n` early ones. 0; -ENOMEM, -ENOTSUP (too many), recorded. */
int coil__filter_add(struct filter *f, const struct filter_plan *plan, const void *early, size_t n);

static inline bool filter_is_shaking(const struct filter *f)
{
    return f->state == FILTER_SHAKING && !f->error;
}
/* An error that came behind a handshake, with the same bytes, is one of reading. */
static inline bool filter_shake_failed(const struct filter *f)
{
    return f->state == FILTER_SHAKING && f->error;
}

/* Wait for the handshake. 0, or an error, recorded. */
COIL_MUST coil_ret coil__filter_wait(struct filter *f);

/* What was received: bytes, 0 at the end, -EAGAIN, an error (recorded). `pull`: look into the socket too, if there is
 * nothing else; only on the loop's own stack. */
coil_ret coil__filter_receive(struct filter *f, void *p, size_t n, bool pull);
/* Nothing is left: let there be more. The owner is told when there is. */
void coil__filter_want(struct filter *f);
/* The same by a task, which waits for it. -EINTR: interrupted. */
COIL_MUST coil_ret coil__filter_receive_wait(struct filter *f, void *p, size_t n);
void coil__filter_interrupt(struct filter *f);
static inline bool filter_at_end(const struct filter *f)
{
    return f->peer_ended && f->start == f->end && !f->error;
}

/* There may be something to send. */
void coil__filter_kick(struct filter *f);

/* Nothing will be written any more: tell the peer, behind what was. Receiving goes on. */
void coil__filter_end(struct filter *f);
/* All is sent: say so to the peer and wait for it to say the same. True when nothing is left to wait for, else the
 * owner is told. */
bool coil__filter_finish(struct filter *f);

/* The outermost layer; NULL while it is still to be opened. */
coil_tls *coil__filter_layer(const struct filter *f);
const char *coil__filter_info(const struct filter *f, const char *name);

/* The owner's socket closes: nothing is received, sent or told any more. */
void coil__filter_close(struct filter *f);
/* The loop closes: no slot will run. */
void coil__filter_settle(struct filter *f);
void coil__filter_unref(struct filter *f);

#endif
