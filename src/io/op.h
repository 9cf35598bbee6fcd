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
 *     descriptor was closed or cannot be watched), after which it is IDLE like any other.
 *
 * Ops on files (the last group of kinds) are never waited for by readiness: a file is always ready and may yet
 * take long. They exist where the backend says so (backend_does_files); elsewhere submit finishes them with
 * -EOPNOTSUPP, and who asks runs the call on a thread (src/file/). For them:
 *   - the bytes of OP_PREAD and OP_PWRITE and the path of OP_OPENAT are the backend's until done(op): a copy
 *     made at submit is as good, a look after done(op) is not;
 *   - several may be pending on one descriptor, in any order: who needs an order waits for each. Those at
 *     the file's own position are submitted one at a time;
 *   - the descriptor is raw, and stays open until done(op); OP_CLOSE is the last op on it;
 *   - the kernel may do less than asked: a result below n is the end of the file, or not;
 *   - a signal is no result: over -EINTR the backend tries again;
 *   - what was done before a cancel is told: bytes moved, a descriptor opened (the asker's, to close if it is
 *     not wanted any more). -ECANCELED means that nothing was done. OP_CLOSE is not cancelled. */
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
    OP_SENDMSG, /* datagrams; not to a unix socket by name (backend.h: sendmsg) */
    OP_READ,    /* pipes, ttys: read(2) */
    OP_WRITE,   /* pipes, ttys: write(2), without SIGPIPE; the descriptor must be non-blocking */
    OP_ACCEPT,  /* result: a new descriptor, non-blocking and close-on-exec; -EMFILE and its like */
    OP_CONNECT, /* of a non-blocking socket; result: 0 once connected; -EAGAIN: a full backlog of a unix socket, try later */
    OP_PREAD,   /* files; of a descriptor that may block. result: bytes, 0 at the end */
    OP_PWRITE,  /* result: bytes taken; to the end, wherever that is, with O_APPEND */
    OP_FSYNC,   /* flag OP_DATASYNC: fdatasync; result: 0 */
    OP_OPENAT,  /* result: a new descriptor, close-on-exec */
    OP_CLOSE,   /* result: 0 or what close(2) says; the descriptor is gone in any case */

    OP_KIND_FILE = OP_PREAD, /* the first of the ops on files; they are the last kinds */
};

enum op_state { OP_IDLE, OP_PENDING, OP_FINISHED };

enum {
    OP_IN = 1u << 0,       /* events of OP_POLL: readable, end of stream or error */
    OP_OUT = 1u << 1,      /* writable or error */
    OP_LEVEL = 1u << 2,    /* flag: OP_POLL stays armed (add_reader) */
    OP_DATASYNC = 1u << 3, /* flag: OP_FSYNC leaves out what reading back does not need */
    /* flag: OP_ACCEPT may take connections that nobody asked for yet; an OP_POLL for OP_IN bytes, which
     * the call `recv` then hands out: who polls must receive by that, and of a stream */
    OP_AHEAD = 1u << 4,
};

struct op {
    struct list link; /* the backend's while not idle */
    void (*done)(struct op *op);
    int64_t result; /* valid in done(): >= 0 or -errno */
    int fd;
    uint8_t kind, state;
    uint8_t flags;  /* OP_LEVEL, OP_DATASYNC, OP_AHEAD */
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
        struct {
            void *p; /* OP_PWRITE only reads it */
            size_t n;
            int64_t offset; /* -1: the file's own position, which moves on by the result */
        } at;
        struct {
            const char *path; /* relative to `fd`, a directory or AT_FDCWD */
            int flags;        /* of open(2); O_CLOEXEC is added */
            mode_t mode;
        } open;
    };
};

static inline bool op_is_file(const struct op *op)
{
    return op->kind >= OP_KIND_FILE;
}

/* Will more completions follow the one in `result`? */
static inline bool op_continues(const struct op *op)
{
    return (op->flags & OP_LEVEL) && op->result >= 0;
}

/* In which directions must the descriptor be ready for this op? */
static inline unsigned op_directions(const struct op *op)
{
    static const uint8_t by_kind[] = {
        [OP_RECV] = OP_IN,     [OP_SEND] = OP_OUT, [OP_SENDV] = OP_OUT, [OP_RECVMSG] = OP_IN,
        [OP_SENDMSG] = OP_OUT, [OP_READ] = OP_IN,  [OP_WRITE] = OP_OUT, [OP_ACCEPT] = OP_IN,
        [OP_CONNECT] = OP_OUT, [OP_CLOSE] = 0, /* nor any other op on files */
    };
    return op->kind == OP_POLL ? op->events & (OP_IN | OP_OUT) : by_kind[op->kind];
}

#endif
