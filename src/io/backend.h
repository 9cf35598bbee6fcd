/* SPDX-License-Identifier: MIT
 *
 * backend.h: the one seam to the kernel.
 *
 * Operations, not readiness: an op is submitted and comes back done. epoll and poll turn "ready"
 * into "done" in readiness.c; sim is an imaginary kernel; io_uring does that as well, and receives and
 * accepts by itself (uring.c).
 * Beside the ops stand the calls that never block (`calls`): on real backends they go to base/sys.h,
 * in sim to the imaginary sockets. Code above this floor makes no socket call but through here.
 *
 * Two kinds of descriptors:
 *   - owned (`own` was called; a coil_sock): closed only through calls->close, registered once and
 *     edge-triggered, an EAGAIN is remembered so that an idle reader does not pay a wasted call;
 *   - raw (anybody's int): level behaviour, re-armed per op, tolerant of the number being closed and
 *     reused behind our back.
 *
 * One thread at a time: the one that turns the loop. Waking is base/inbox.h's eventfd, which the
 * backend watches (`wake_fd`) and drains. */
#ifndef COIL_IO_BACKEND_H
#define COIL_IO_BACKEND_H

#include "base/clock.h"
#include "base/list.h"
#include "base/trace.h"
#include "io/child.h"
#include "io/op.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct backend;

struct backend_opts {
    struct clock *clock; /* the loop's; outlives the backend */
    int wake_fd;         /* readable = somebody rang; the backend drains it */
    uint64_t seed;       /* sim: 0 means 1 */
};

/* Calls that never block. fds may be real or imaginary; results are values or -errno. */
struct io_calls {
    int (*socket)(struct backend *b, int domain, int type,
                  int proto); /* non-blocking, close-on-exec */
    int (*socketpair)(struct backend *b, int domain, int type, int out_fds[2]);
    int (*pipe)(struct backend *b, int out_fds[2]);
    int (*bind)(struct backend *b, int fd, const struct sockaddr *a, socklen_t n);
    int (*listen)(struct backend *b, int fd, int backlog);
    int (*getsockopt)(struct backend *b, int fd, int level, int name, void *v, socklen_t *n);
    int (*setsockopt)(struct backend *b, int fd, int level, int name, const void *v, socklen_t n);
    int (*getsockname)(struct backend *b, int fd, struct sockaddr *a, socklen_t *n);
    int (*getpeername)(struct backend *b, int fd, struct sockaddr *a, socklen_t *n);
    int (*shutdown)(struct backend *b, int fd, int how);

    /* The files behind the paths of unix sockets; where sockets are imaginary, so are these. fchmod before bind
     * says which permissions the file is born with, less the umask. */
    int (*fchmod)(struct backend *b, int fd, mode_t mode);
    int (*lstat)(struct backend *b, const char *path, struct stat *out);
    int (*chmod)(struct backend *b, const char *path, mode_t mode);
    int (*unlink)(struct backend *b, const char *path);

    /* From here on the descriptor, which must be non-blocking, belongs to coil: edge-triggered, closed
     * by `close` below. -EBADF, -ENOMEM, -EBUSY while ops on it are pending. */
    int (*own)(struct backend *b, int fd);
    /* Ends ownership, closes. Ops still pending on it finish with -ECANCELED (done() will come), or,
     * where the result was there already, with that. Closes a raw descriptor as well. */
    int (*close)(struct backend *b, int fd);

    /* May a raw op wait for this number? 0, -EBADF, -EPERM (regular files and directories are always
     * ready, the kernel does not watch them), COIL_EINVALIDSTATE for an owned one. */
    int (*watchable)(struct backend *b, int fd);
    /* Is it an owned one? */
    bool (*owns)(struct backend *b, int fd);
    /* A raw descriptor is about to be closed by somebody else: drop what is remembered of it. */
    void (*forget)(struct backend *b, int fd);

    /* Try now; -EAGAIN means submit an op. On owned descriptors a remembered EAGAIN costs no call. */
    ssize_t (*recv)(struct backend *b, int fd, void *p, size_t n, int flags);
    ssize_t (*send)(struct backend *b, int fd, const void *p, size_t n);
    ssize_t (*sendv)(struct backend *b, int fd, const struct iovec *v, int n);
    ssize_t (*recvmsg)(struct backend *b, int fd, struct msghdr *hdr, int flags);
    /* To a unix socket by name -EAGAIN may mean that its queue is full, of which nobody is told: try again
     * after a while, do not submit. */
    ssize_t (*sendmsg)(struct backend *b, int fd, const struct msghdr *hdr);
    int (*accept)(struct backend *b, int fd, struct sockaddr_storage *addr, socklen_t *len);
    /* The same for pipes and ttys, whose descriptor must be non-blocking. */
    ssize_t (*read)(struct backend *b, int fd, void *p, size_t n);
    ssize_t (*write)(struct backend *b, int fd, const void *p, size_t n);
    /* Receive what came, up to n bytes, and throw it away: nobody will read this owned descriptor any more. */
    void (*discard)(struct backend *b, int fd, size_t n);
    /* From a regular file at *at, which moves on. -EINVAL and the like: it cannot be done this way, read and
     * send. The descriptor must be non-blocking. */
    ssize_t (*sendfile)(struct backend *b, int fd, int file, off_t *at, size_t n);
};

struct backend_class {
    const char *name;
    int (*open)(struct backend **out, const struct backend_opts *opts);
    void (*close)(struct backend *b); /* no op may be pending */

    /* Never fails: what goes wrong is the op's result. */
    void (*submit)(struct backend *b, struct op *op);
    /* 0: gone, done() will not come. -EINPROGRESS: done() will come, with -ECANCELED or with the
     * result that was quicker. -ENOENT: the op was idle. A level op is gone at once, always. */
    int (*cancel)(struct backend *b, struct op *op);
    /* Sleep until something finishes, the wake fd rings, or `timeout_ns` passed (0: only look; < 0: for
     * ever). Finished ops are moved to b->finished, oldest first; nothing is called. 0 or -errno. */
    int (*wait)(struct backend *b, int64_t timeout_ns);
    /* A descriptor that polls readable when `wait` has something to do, or -ENOTSUP. A foreign loop
     * asks afresh before each sleep on it: the call also hands over what was submitted since the last wait. */
    int (*poll_fd)(struct backend *b);
    /* Used by backend_reap: a level op that was reaped waits again. */
    void (*rearm)(struct backend *b, struct op *op);
    /* The imaginary kernel's next event in virtual time; CLOCK_FOREVER if none, and on real backends. */
    int64_t (*next_event_ns)(struct backend *b);
    /* It does ops on files (op_is_file): all kinds, or none. */
    bool does_files;
    /* NULL: all programs are real. */
    const struct imaginary_children *children;
    /* Its OP_RECV is a plain call once the descriptor is ready. Then whoever waits had better poll and make that call
     * itself, when its turn has come: what the kernel touched for it is still in the cache when the answer is sent. */
    bool by_readiness;

    struct io_calls calls;
};

/* Every backend begins with this. */
struct backend {
    const struct backend_class *cls;
    struct clock *clock;
    struct list finished; /* ops, oldest first; the loop reaps them */
    size_t pending;       /* ops not yet finished, without the wake fd; a level op until it ends */
    /* those that the world outside may finish (in sim: real descriptors only) */
    size_t real_pending;
    size_t fds;    /* descriptors watched now: with ops in flight, or owned and registered */
    int kernel_fd; /* what poll_fd gives; a child of fork closes its copy. -1: none */
};

/* `name` is "auto", "epoll", "poll", "sim" or "uring"; NULL means COIL_BACKEND, else auto. -EINVAL with a record
 * that lists the names for an unknown one. */
int coil__backend_choose(const char *name, const struct backend_class **out);
/* Which one to take when that one cannot be opened; NULL: none, it was named. */
const struct backend_class *coil__backend_after(const char *name, const struct backend_class *cls);

/* What came of asking for io_uring; everything above URING_WORKS is a reason why not. */
enum uring_state {
    URING_WORKS,
    URING_NOT_ASKED,    /* another backend was named: nothing was looked at */
    URING_FILTERED,     /* a seccomp filter, which may kill whoever tries: nothing was tried */
    URING_SWITCHED_OFF, /* by the sysctl kernel.io_uring_disabled: nothing was tried */
    URING_UNSURE,       /* /proc does not tell whether there is a filter: nothing was tried */
    URING_ABSENT,       /* the kernel has none */
    URING_REFUSED,      /* it was tried, and the kernel said `uring_error` */
};

/* Which backend it would be, and why. */
struct backend_choice {
    const struct backend_class *cls;
    const char *reason; /* "COIL_BACKEND names it" */
    enum uring_state uring;
    int uring_error; /* -errno of the probe */
};

/* As coil__backend_choose, with the reasons (for `coil doctor`). Looks at io_uring only where `auto` or "uring"
 * was asked for; makes nothing. */
int coil__backend_explain(const char *name, struct backend_choice *out);

/* The state in words: "switched off by the sysctl kernel.io_uring_disabled". */
const char *coil__uring_text(enum uring_state state);

extern const struct backend_class coil__backend_epoll, coil__backend_poll, coil__backend_sim;
/* The second keeps to what Linux 5.15 knew: for tests of the ways round the rest. */
extern const struct backend_class coil__backend_uring, coil__backend_uring_5_15;

static inline bool backend_does_files(const struct backend *b)
{
    return b->cls->does_files;
}

/* From here on the op is the backend's, until done(op). */
static inline void backend_submit(struct backend *b, struct op *op)
{
    TRACE_POINT(op_submit, "8@%0 -4@%1 1@%2", "r"(op), "o"(op->fd), "o"(op->kind));
    b->cls->submit(b, op);
}

/* The ops finished so far, one by one: call op->done. NULL at the end. Reap all before the next wait. */
static inline struct op *backend_reap(struct backend *b)
{
    struct list *l = list_pop(&b->finished);
    if (!l)
        return NULL;
    struct op *op = container_of(l, struct op, link);
    if (op_continues(op))
        b->cls->rearm(b, op);
    else
        op->state = OP_IDLE;
    return op;
}

#endif
