/* SPDX-License-Identifier: MIT
 *
 * inside.h: what the files of the virtual kernel share; vkernel.h has the picture.
 *
 *     kernel.c   begin, end, time, chance, numbers and files, the trace
 *     stream.c   sockets, pipes, eventfds: bytes and their ends, connections
 *     calls.c    the system calls on them, as the table wants them
 *     watch.c    epoll and ppoll
 *     ring.c     io_uring: the rings, enter, register
 *     request.c  io_uring: what each request does, and how it is cancelled
 *
 * Always true:
 *   - a file lives as long as a number, a request or a queue of accepts stands for it;
 *   - whoever waits on a file hangs in its `waiters`, and is told of each change once (an edge);
 *   - nothing is done later but by an event, and events come in the order (due, number). */
#ifndef TEST_VKERNEL_INSIDE_H
#define TEST_VKERNEL_INSIDE_H

#include "vkernel.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/random.h"
#include "base/thread.h"
#include "io/ring.h"

#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum vkind { V_SOCKET, V_LISTENER, V_PIPE_IN, V_PIPE_OUT, V_EVENTFD, V_EPOLL, V_RING, V_DISK };

struct waiter {
    struct list link; /* vfile.waiters */
    void (*told)(struct waiter *w, unsigned mask);
    unsigned wants;
    bool exclusive; /* of these, one is told */
};

/* Bytes on their way to a file: [0, n) arrived, [n, n + flying) did not yet. */
struct flow {
    char *p;
    size_t n, flying, room;
    bool end, end_sent; /* the writer's end: arrived, on its way */
    int64_t last_due;   /* nothing arrives before what was sent earlier */
    bool wanted;        /* the writer found no room, and is owed an edge */
};

struct vfile {
    struct list link; /* vk.files */
    enum vkind kind;
    unsigned refs;    /* numbers, requests, places in a backlog */
    unsigned numbers; /* of them, numbers */
    bool nonblock;
    struct list waiters;

    /* ---- streams: what comes to this end ---- */
    int domain;
    struct flow in;
    struct vfile *peer;                         /* NULL: never was, or is gone */
    bool connected, connecting, shut_out, gone; /* `gone`: the peer was, and is not any more */
    int error;                                  /* of the connection, told once */
    uint16_t port, peer_port;                   /* names of AF_INET */
    char name[32];                              /* of AF_UNIX, or "" */

    /* ---- listeners ---- */
    struct vfile *backlog[64];
    unsigned backlog_n, backlog_max;

    uint64_t counter;         /* eventfd */
    struct list items, ready; /* epoll (watch.c) */
    struct vring *ring;
    struct disk *disk;
};

/* Files that have names. */
struct disk {
    char name[32];
    char *p;
    size_t n;
};

struct event {
    int64_t due;
    uint64_t number;
    void (*fn)(struct event *e);
    struct vfile *file; /* what it is about; the event goes with it */
    struct vreq *req;
    struct vring *ring;
    size_t n;
};

struct vk {
    bool on;
    uint64_t seed;
    struct vkernel_faults faults;
    const struct vkernel_faults *given;
    struct vkernel_counts counts;
    struct vkernel_cancel cancel;
    struct random random;
    int64_t now;
    uint64_t hash;
    bool traced; /* to stderr, too: COIL_VKERNEL_TRACE */
    struct vfile *table[VKERNEL_FDS];
    struct list files, rings;
    struct event *events;
    size_t events_n, events_room;
    uint64_t next_number;
    uint16_t next_port;
    struct disk disks[8];
    char wrong[512]; /* complaints */
    char text[768];
};
extern struct vk vk;

/* ---- kernel.c ---- */

bool vk_chance(unsigned in_1024);
uint32_t vk_below(uint32_t n);
int64_t vk_trace(const char *what, int64_t a, int64_t b, int64_t c); /* returns c */
void vk_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A moment passes, and what is due happens: at the beginning of each call. */
void vk_tick(void);
/* When something comes: now, or late by chance. */
int64_t vk_when(void);
struct event *vk_at(int64_t due, void (*fn)(struct event *e), struct vfile *f);
void vk_forget_events(const struct vfile *f, const struct vreq *req);
/* Until `ready` says so, or the time is over (< 0: for ever). False: it is over. */
bool vk_sleep(int64_t timeout_ns, bool (*ready)(void *arg), void *arg);

bool is_virtual(int fd);
struct vfile *vk_file(int fd); /* NULL: -EBADF */
struct vfile *vk_new(enum vkind kind);
void vk_unref(struct vfile *f);
int vk_number(struct vfile *f); /* takes a reference on success */
int vk_close(int fd);
unsigned vk_mask(struct vfile *f); /* POLL* that hold now */
void vk_wake(struct vfile *f, unsigned mask);

/* ---- stream.c ---- */

ssize_t stream_recv(struct vfile *f, void *p, size_t n, bool peek);
ssize_t stream_send(struct vfile *f, const void *p, size_t n);
unsigned stream_mask(struct vfile *f);
void stream_release(struct vfile *f);
void stream_pair(struct vfile *a, struct vfile *b);
int stream_shutdown(struct vfile *f, int how);
int stream_connect(struct vfile *f, const struct sockaddr *a, socklen_t n);
int stream_accept(struct vfile *f, struct vfile **out);
void stream_reset(struct vfile *f, int error);
void calls_install(void);

/* ---- watch.c ---- */

void watch_install(void);
unsigned epoll_mask(struct vfile *f);
void epoll_release(struct vfile *f);
void epoll_file_gone(struct vfile *f); /* what epolls know of it goes with it */

/* ---- ring.c ---- */

struct vring {
    struct list link; /* vk.rings */
    struct vfile *file;
    uintptr_t owner; /* the thread that set it up */
    uint32_t sq_entries, cq_entries, flags;
    char *rings; /* memory of the rings, and of the requests */
    size_t rings_n;
    struct io_uring_sqe *sqes;
    uint32_t *sq_head, *sq_tail, *sq_flags, *sq_array, *cq_head, *cq_tail;
    struct io_uring_cqe *cqes;
    struct list reqs, work;
    struct io_uring_cqe *overflow;
    size_t overflow_n, overflow_room;
    struct io_uring_buf_ring *bufs; /* NULL: not registered */
    uint32_t bufs_n;
    uint16_t bufs_head;
    bool closing;
    int mapped;
};

void ring_install(void);
unsigned ring_mask(struct vring *r);
void ring_release(struct vfile *f);
/* False: there was no room; `spare` decides whether it is kept for later. */
bool ring_post(struct vring *r, uint64_t user_data, int32_t res, uint32_t flags, bool spare);
bool ring_wants_now(const struct vring *r); /* no task work: whenever the kernel is entered */
void ring_do_work(struct vring *r, bool all);
/* The next buffer of the stock; NULL: none. `ring_took_buffer` if it was used. */
struct io_uring_buf *ring_buffer(struct vring *r);
void ring_took_buffer(struct vring *r);
void rings_settle(void); /* work of rings that do it whenever the kernel is entered */

/* ---- request.c ---- */

struct vreq {
    struct list link, work; /* vring.reqs, vring.work */
    struct vring *ring;
    struct vfile *file; /* kept open */
    uintptr_t submitter;
    struct waiter waiter;
    struct io_uring_sqe sqe;
    unsigned mask;              /* what it was woken with */
    bool multi, waiting, async; /* async: done by a thread of the kernel's */
    bool dying;                 /* was cancelled: `outcome` at its event */
    enum vkernel_outcome outcome;
    uint64_t sum; /* of memory that must not change under way */
};

/* False: stop submitting (what the kernel did before 5.18 over a bad one). */
bool request_submit(struct vring *r, const struct io_uring_sqe *sqe);
void request_work(struct vreq *q);
void request_drop(struct vreq *q);
void request_orphaned(struct vreq *q); /* its thread ended: so does it */

#endif
