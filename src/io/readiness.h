/* SPDX-License-Identifier: MIT
 *
 * readiness.h: turns "this descriptor is ready" into "this op is done", for epoll, poll and io_uring.
 *
 * A kernel interface that speaks of readiness (a `struct poller`) embeds a `struct readiness` as the
 * first thing of its backend, takes submit, cancel, rearm and most calls from here, and in its wait():
 *
 *     if (!coil__readiness_prepare(r)) timeout = 0;
 *     sleep; for each event: coil__readiness_event(r, w, what is ready); */
#ifndef COIL_IO_READINESS_H
#define COIL_IO_READINESS_H

#include "base/check.h"
#include "io/backend.h"
#include "io/direct.h"

/* What an event says; OP_IN and OP_OUT are part of it. */
enum {
    READY_BROKEN = 1u << 2, /* HUP or ERR */
    READY_INEXACT =
        1u << 3, /* something beyond plain data came (end of stream, urgent): see watch.exact */
};

enum { WATCHES_PER_PAGE = 64 };

/* All we know of one descriptor number. */
struct watch {
    /* ---- what each event and each try looks at: one cache line ---- */
    _Alignas(64) struct list ops; /* waiting, in order of submission, both directions mixed */
    int fd;
    uint32_t generation; /* of the file behind the number, as far as we can tell; events carry it */
    uint32_t ops_n;      /* in flight; level ops that fired and were not reaped are not in `ops` */
    uint32_t doubt_since; /* readiness.waits */
    bool owned;
    bool on_edges; /* owned, and every change brings an edge */
    bool counted;  /* in backend.fds */
    bool in_doubt; /* in readiness.doubts: `blocked` may be wrong */
    /* owned, where edges come: directions whose last try said EAGAIN, no edge since */
    uint8_t blocked;
    uint8_t exact; /* see enum exact */
    /* Directions the kernel will report; of raw ones | OP_LEVEL where that may happen behind the back of
     * whoever closes the number, so that it ends with the last op. */
    uint8_t armed;

    /* ---- the rest ---- */
    bool fresh;          /* raw: somebody began to wait, so the number may mean another file now */
    bool added;          /* epoll: the kernel should know this descriptor */
    uint32_t slot;       /* poll: place in the array, 0 for none */
    struct list touched; /* in readiness.touched: to be looked at before the next sleep */
    struct list doubt;

    /* ---- uring, owned (uring.c) ---- */
    uint8_t in;                /* enum in: how IN is armed */
    uint8_t came;              /* what completions said since it was last served */
    uint8_t room;              /* see enum room */
    bool stopping;             /* what reports IN was asked to end */
    uint32_t asked_at;         /* then: uring.looks */
    bool hup;                  /* its end is polled for */
    uint8_t refused;           /* polls in a row that the kernel took for wrong; raw ones, too */
    bool bulk;                 /* so much comes that plain calls with large buffers are cheaper */
    uint8_t streak;            /* receives in a row that speak against `bulk` as it is */
    uint16_t held;             /* buffers received and not taken */
    uint16_t first, last;      /* the oldest and the newest of them */
    int end;                   /* what comes after them: 0 nothing yet, 1 the end, or an error */
    struct accepted *accepted; /* NULL, or connections accepted and not taken */
};

/* Does a short recv mean "empty", so that the EAGAIN after it can be spared? Yes for TCP until its end is in
 * sight: every later byte brings an edge. Very likely of a unix stream; but the kernel stops at descriptors that were
 * passed along and where the sender's credentials change. Only recvmsg tells, and costs more each time; so it is doubted, and
 * looked at again when nothing else is to do (DOUBT_WAITS). Not for others, nor for a TCP one that has urgent data. */
enum exact { EXACT_UNKNOWN, EXACT_YES, EXACT_LIKELY, EXACT_NO };

/* uring, owned descriptors: who reports that something came in. POLL: it is ready, and is tried then. RECV,
 * ACCEPT: the kernel receives or accepts by itself, and hands the results over. */
enum in { IN_NONE, IN_POLL, IN_RECV, IN_ACCEPT };

/* uring, owned descriptors: is a report of room true? Where a send that finds none frees what it had made, it reports room
 * in its own socket (unix datagrams), and would be tried for ever: there the descriptor is asked. */
enum room { ROOM_UNKNOWN, ROOM_TRUE, ROOM_ASKED };

struct readiness;

struct poller {
    bool edges; /* owned descriptors are reported once per change, not for as long as it holds */
    /* Owned ones are armed when an op waits, not at the first EAGAIN, and only in its directions; arming
     * reports what is ready already. (Otherwise arming reports IN from then on, and OUT as well if it was asked for.) */
    bool late;
    /* Report `want` (OP_IN, OP_OUT, OP_LEVEL as in watch.armed; 0: nothing) of w from now on. An
     * error is that of every op waiting on it. */
    int (*arm)(struct readiness *r, struct watch *w, unsigned want);
    /* Forget the file behind the number, now. */
    void (*disarm)(struct readiness *r, struct watch *w);

    /* Where the kernel hands over more than readiness (NULL elsewhere). Which directions of an owned one hold
     * something that was handed over and not taken? */
    unsigned (*holds)(const struct watch *w);
    /* Instead of the plain calls, for owned ones. */
    ssize_t (*recv)(struct readiness *r, struct watch *w, void *p, size_t n, int flags);
    int (*accept)(struct readiness *r, struct watch *w, struct sockaddr_storage *addr,
                  socklen_t *len);
    /* An op of an owned one was taken back. */
    void (*unwanted)(struct readiness *r, struct watch *w);
};

struct readiness {
    struct backend b;
    const struct poller *poller;
    int wake_fd;
    /* where done ops go: b.finished, or that of the backend that embeds this one */
    struct list *finished;
    struct list touched;
    struct list doubts; /* watches that are perhaps not `blocked` */
    uint32_t waits;
    struct watch_page {
        struct watch *watches; /* WATCHES_PER_PAGE of them, or NULL; the index is the descriptor */
        void *memory;          /* they are in there, aligned */
    } * pages;
    size_t pages_n;
};

void coil__readiness_init(struct readiness *r, const struct backend_class *cls,
                          const struct poller *poller, const struct backend_opts *opts);
void coil__readiness_fini(struct readiness *r);
/* Before the first submit: finished ops go to this list, the embedding backend's. */
void coil__readiness_redirect(struct backend *b, struct list *finished);

/* Keeps backend.fds exact; after each change of watch.armed. */
void coil__readiness_count(struct readiness *r, struct watch *w);
/* The kernel has just made this descriptor: whatever waited on its number waited for a file that was closed
 * behind our back, and ends with -EBADF. Returns it. */
int coil__readiness_born(struct readiness *r, int fd);

void coil__readiness_submit(struct backend *b, struct op *op);
int coil__readiness_cancel(struct backend *b, struct op *op);
void coil__readiness_rearm(struct backend *b, struct op *op);
int64_t coil__readiness_next_event_ns(struct backend *b); /* CLOCK_FOREVER */

int coil__readiness_socket(struct backend *b, int domain, int type, int proto);
int coil__readiness_socketpair(struct backend *b, int domain, int type, int out_fds[2]);
int coil__readiness_pipe(struct backend *b, int out_fds[2]);
int coil__readiness_own(struct backend *b, int fd);
int coil__readiness_close(struct backend *b, int fd);
int coil__readiness_watchable(struct backend *b, int fd);
bool coil__readiness_owns(struct backend *b, int fd);
void coil__readiness_forget(struct backend *b, int fd);
ssize_t coil__readiness_recv(struct backend *b, int fd, void *p, size_t n, int flags);
ssize_t coil__readiness_send(struct backend *b, int fd, const void *p, size_t n);
ssize_t coil__readiness_sendv(struct backend *b, int fd, const struct iovec *v, int n);
ssize_t coil__readiness_recvmsg(struct backend *b, int fd, struct msghdr *hdr, int flags);
ssize_t coil__readiness_sendmsg(struct backend *b, int fd, const struct msghdr *hdr);
ssize_t coil__readiness_sendfile(struct backend *b, int fd, int file, off_t *at, size_t n);
ssize_t coil__readiness_read(struct backend *b, int fd, void *p, size_t n);
ssize_t coil__readiness_write(struct backend *b, int fd, const void *p, size_t n);
int coil__readiness_accept(struct backend *b, int fd, struct sockaddr_storage *addr,
                           socklen_t *len);
void coil__readiness_discard(struct backend *b, int fd, size_t n);

#define READINESS_CALLS                                                             \
    {                                                                               \
        .socket = coil__readiness_socket, .socketpair = coil__readiness_socketpair, \
        .pipe = coil__readiness_pipe, DIRECT_CALLS, .own = coil__readiness_own,     \
        .close = coil__readiness_close, .watchable = coil__readiness_watchable,     \
        .owns = coil__readiness_owns, .forget = coil__readiness_forget,             \
        .recv = coil__readiness_recv, .send = coil__readiness_send,                 \
        .sendv = coil__readiness_sendv, .recvmsg = coil__readiness_recvmsg,         \
        .sendmsg = coil__readiness_sendmsg, .accept = coil__readiness_accept,       \
        .discard = coil__readiness_discard, .sendfile = coil__readiness_sendfile,   \
        .read = coil__readiness_read, .write = coil__readiness_write                \
    }

/* Tell the kernel what has changed, serve what needs no waiting. False: do not sleep now. */
bool coil__readiness_prepare(struct readiness *r);
/* The watch of a number, or NULL if nobody ever asked. */
static inline struct watch *readiness_find(const struct readiness *r, int fd)
{
    /* A negative one is beyond every table. */
    size_t page = (size_t)(unsigned)fd / WATCHES_PER_PAGE;
    if (coil_unlikely(page >= r->pages_n || !r->pages[page].watches))
        return NULL;
    return &r->pages[page].watches[(unsigned)fd % WATCHES_PER_PAGE];
}

/* For how long to sleep if it was to be so long, and what to do after each wait: what is in doubt is looked at. `idle`:
 * nothing came, and whoever waits takes that for an answer. */
int64_t coil__readiness_nap(const struct readiness *r, int64_t timeout_ns);
void coil__readiness_waited(struct readiness *r, bool idle);
/* `ready` is OP_IN, OP_OUT, READY_*: try the ops that wait for it. */
void coil__readiness_event(struct readiness *r, struct watch *w, unsigned ready);
/* Which directions of it hold at this moment? */
unsigned coil__readiness_look(struct readiness *r, struct watch *w);
/* Every op on w finishes with this error. */
void coil__readiness_fail(struct readiness *r, struct watch *w, int err);
/* The wake fd rang. */
void coil__readiness_drain_wake(struct readiness *r);

#endif
