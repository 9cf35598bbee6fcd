/* SPDX-License-Identifier: MIT
 *
 * stream.h: a connection with its two faces, the reader and the writer.
 *
 *                          +-- reader: bytes received and not taken yet, views
 *     coil_sock <-- connection
 *                          +-- writer: an outbox, chunks that are not sent yet
 *
 *     OPEN --close, both faces gone--> CLOSING --everything sent--> CLOSED
 *      |                                  |                           ^
 *      +--sending failed--> MUTE ---------+-- abort, receiving failed-+
 *
 * MUTE: nothing more can be sent, but what the peer had sent can still be read; whoever reads to the end, or
 * closes, moves it on.
 *
 * Always true:
 *   - while there are chunks and the connection is neither MUTE nor CLOSED, the op is at the backend;
 *   - received bytes are delivered before the end and before an error;
 *   - references: one for each of the faces' own, one until CLOSED, one while its slot is queued, one for
 *     each call that waits. */
#ifndef COIL_NET_STREAM_H
#define COIL_NET_STREAM_H

#include "io/op.h"
#include "net/filter.h"
#include "net/net.h"
#include "net/outbox.h"
#include "net/server.h"
#include "net/socket.h"
#include "sync/waiters.h"
#include "task/task.h"

#include <coil/stream.h>

struct connection;

struct coil_reader {
    struct connection *conn; /* NULL: fed by hand, and a block of its own */
    coil_loop *loop;
    uint32_t refs;
    bool eof;  /* no byte will come after those in the buffer */
    bool busy; /* a coroutine waits in here */
    size_t limit;
    size_t room; /* how much to ask the kernel for; follows what it gives */

    /* [start, end) of `buf` is received and not taken. One byte more than `capacity` is there, for a NUL. */
    char *buf;
    size_t capacity, start, end;

    /* A view that is out ends at `view_at`, and `saved` is what its NUL covers. If the buffer had to move
     * meanwhile, `held` is the old block, with the view in it. */
    bool view_out;
    char saved;
    size_t view_at;
    char *held;

    coil_ret error; /* of set_exception: comes before any data */
    struct error_record *record;
    struct wait *waiting; /* fed by hand: who waits for bytes */
};

struct coil_writer {
    uint32_t refs;
    bool eof_asked, eof_sent;
    struct waiters drainers;
    struct waiters emptiers; /* for the outbox to be idle */
    struct outbox out;
};

struct connection {
    struct list link; /* net_part.connections */
    coil_loop *loop;  /* NULL once that is closed; until then, one room in its ring is held */
    struct net_part *part;
    coil_sock *sock;
    uint32_t refs;
    bool closing, closed;
    bool mute;                  /* sending failed */
    bool aborted;               /* do not send the rest */
    bool queued;                /* its slot is on the ready ring */
    bool one_way;               /* of a pipe we read: with its end it closes */
    bool shaking;               /* a server's client, whose TLS handshake is not over */
    coil_ret error;             /* what it was lost with; 0 */
    struct error_record *words; /* of it; NULL: the code's own */
    struct filter *filter;      /* TLS; NULL: none */
    struct context_map *map;    /* what its slot runs in: NULL but for a server's TLS client */
    struct coil_reader reader;
    struct coil_writer writer;
    struct waiters closers;
    char *names; /* "peername", "sockname": COIL_ADDRESS_TEXT_MAX bytes each; NULL: nobody asked */

    /* Of a server's client. */
    struct server_client client;
    coil_client_fn client_fn;
    void *client_arg;
    coil_task *task; /* serves it; a reference, until it has ended */
    struct future_callback task_done;
    bool task_ended;
};

static inline struct connection *connection_of_writer(const coil_writer *w)
{
    return container_of((uintptr_t)w, struct connection, writer);
}

/* ---- connection.c ---- */

/* Takes the caller's reference to the socket, unless it fails: -ENOMEM, COIL_ERUNNING, -EBADF; recorded. Faces have
 * one reference each. */
int coil__connection_new(coil_sock *sock, size_t limit, struct connection **out);
static inline struct connection *connection_ref(struct connection *conn)
{
    conn->refs++;
    return conn;
}
void coil__connection_unref(struct connection *conn);

/* Let its slot run in the next turn: what is due there is found by looking. */
void coil__connection_kick(struct connection *conn);
/* It failed. `sending`: what was received can still be read. */
void coil__connection_lost(struct connection *conn, coil_ret error, bool sending);
/* What it was lost with, once more: recorded and returned. */
static inline coil_ret connection_error(const struct connection *conn)
{
    return coil__error_restore(conn->words, conn->error);
}
void coil__connection_close(struct connection *conn);
void coil__connection_abort(struct connection *conn);
/* Nobody reads any more: a MUTE one has nothing left to live for. */
void coil__connection_reader_gone(struct connection *conn);

/* Receive into p, waiting if need be. Bytes, 0 at the end of the stream (and then reader.eof is set), or an
 * error, recorded. */
COIL_MUST coil_ret coil__connection_receive(struct connection *conn, void *p, size_t n);

/* Let it speak TLS from now on; what its reader holds is for TLS. It must have nothing to send. The filter is told to
 * shake hands. 0 or an error, recorded; after -ENOMEM it is aborted. */
int coil__connection_secure(struct connection *conn, const struct filter_plan *plan);
/* The same for a server's client, of whom the server hears when that is over. */
int coil__connection_secure_client(struct connection *conn, const struct filter_plan *plan);
/* And wait for it; when that fails the connection is lost or aborted. */
COIL_MUST coil_ret coil__connection_shake(struct connection *conn);

/* Run fn(reader, writer, arg) for it in a task; it is closed and its faces are given back when that ends.
 * 0 or an error, and then nothing changed. */
int coil__connection_serve(struct connection *conn, coil_client_fn fn, void *arg,
                           const coil_task_opts *opts);

/* ---- reader.c ---- */

void coil__reader_init(struct coil_reader *r, struct connection *conn, coil_loop *loop,
                       size_t limit);
void coil__reader_fini(struct coil_reader *r);
/* What it holds, to be looked at; the view is over. And that it goes elsewhere. */
size_t coil__reader_peek(struct coil_reader *r, const void **out);
void coil__reader_forget(struct coil_reader *r);

/* ---- writer.c ---- */

void coil__writer_init(struct coil_writer *w, coil_sock *sock);
void coil__writer_wake_drainers(struct coil_writer *w);

#endif
