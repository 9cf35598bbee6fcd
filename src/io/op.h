/* SPDX-License-Identifier: MIT
 *
 * op.h: one request to the kernel: who asked, what for, what came back.
 *
 * The memory of an op is its asker's (a task's parked frame, a socket, a server); nothing is
 * allocated for it. What it points to belongs to the backend from submit to done.
 *
 *     IDLE --submit--> PENDING --(kernel)--> FINISHED --reap--> IDLE, done(op)
 *                         |                     ^
 *                         +-- cancel: at once --+----> IDLE, no done(op)
 *                         +-- cancel: later: stays PENDING until the kernel's last word
 *
 * Always true:
 *   - exactly one terminal completion for each submit, counting a cancel that answers "at once";
 *   - done() only moves things (a task to the ready queue); it runs nothing a user wrote;
 *   - a level op (OP_LEVEL) may complete many times, at most once a wait; it goes back to PENDING
 *     before done(op) is called, and only cancel ends it, or a completion with an error (the
 *     descriptor was closed or cannot be watched), after which it is IDLE like any other. */
#ifndef COIL_IO_OP_H
#define COIL_IO_OP_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

enum op_kind {
    OP_POLL,  /* wait until `events`; result: the events that hold */
    OP_RECV,  /* result: bytes, 0 at end of stream (or at once for n = 0) */
    OP_SEND,  /* result: bytes taken, possibly fewer than asked */
    OP_SENDV, /* the same from an iovec */
    OP_RECVMSG, /* datagrams: result bytes; the address is filled in; descriptors come close-on-exec */
    OP_SENDMSG, /* datagrams */
    OP_READ,    /* pipes, ttys: read(2) */
    OP_WRITE, /* pipes, ttys: write(2); the descriptor must be non-blocking, SIGPIPE is not masked */
    OP_ACCEPT,  /* result: a new descriptor, non-blocking and close-on-exec; -EMFILE and its like */
    OP_CONNECT, /* of a non-blocking socket; result: 0 once connected; -EAGAIN: a full backlog of a unix socket, try later */
};

enum op_state { OP_IDLE, OP_PENDING, OP_FINISHED };

enum {
    OP_IN = 1u << 0,    /* events of OP_POLL: readable, end of stream or error */
    OP_OUT = 1u << 1,   /* writable or error */
    OP_LEVEL = 1u << 2, /* flag: OP_POLL stays armed (add_reader) */
};

struct op {
    struct list link; /* the backend's while not idle */
    void (*done)(struct op *op);
    int64_t result; /* valid in done(): >= 0 or -errno */
    int fd;
    uint8_t kind, state;
    uint8_t flags;  /* OP_LEVEL */
    uint8_t events; /* OP_POLL: OP_IN | OP_OUT */
    union {
        struct {
            void *p;
            size_t n;
            int flags; /* of recv(2); MSG_NOSIGNAL is added to every send */
        } buf;
        struct {
            const struct iovec *v;
            int n;
        } vec;
        struct {
            struct msghdr *hdr;
            int flags;
        } msg;
        struct {
            struct sockaddr_storage *addr; /* accept: filled in, may be NULL; connect: to whom */
            socklen_t len;                 /* accept: set with addr */
        } to;
    };
};

/* Will more completions follow the one in `result`? */
static inline bool op_continues(const struct op *op)
{
    return (op->flags & OP_LEVEL) && op->result >= 0;
}

/* In which directions must the descriptor be ready for this op? */
static inline unsigned op_directions(const struct op *op)
{
    static const uint8_t by_kind[] = {
        [OP_RECV] = OP_IN,    [OP_SEND] = OP_OUT,    [OP_SENDV] = OP_OUT,
        [OP_RECVMSG] = OP_IN, [OP_SENDMSG] = OP_OUT, [OP_READ] = OP_IN,
        [OP_WRITE] = OP_OUT,  [OP_ACCEPT] = OP_IN,   [OP_CONNECT] = OP_OUT,
    };
    return op->kind == OP_POLL ? op->events & (OP_IN | OP_OUT) : by_kind[op->kind];
}

#endif
