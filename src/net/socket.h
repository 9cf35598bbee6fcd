/* SPDX-License-Identifier: MIT
 *
 * socket.h: the socket core: an owned descriptor, who waits on it, and how.
 *
 * Callers above (streams, transports) make their own ops for what runs without a task, on `fd` and
 * through the same backend; a parked task uses coil__sock_park. */
#ifndef COIL_NET_SOCKET_H
#define COIL_NET_SOCKET_H

#include "base/list.h"
#include "io/op.h"
#include "net/net.h"
#include "task/task.h"

#include <coil/net.h>

#include <netinet/in.h>

struct sock_wait;

struct coil_sock {
    /* What each call looks at stands together. */
    struct net_part *part; /* good while it is open */
    coil_loop *loop;       /* good while it is open */
    int fd;                /* -1 once closed */
    uint32_t refs;
    int family, type;                      /* both 0: no socket, but a pipe or a tty */
    struct sock_wait *receiving, *sending; /* tasks parked here; NULL */
    bool sending_all; /* also between two parts of a sendall, when nobody is parked */
    bool lent; /* a stream, server or transport drives it: plain calls that wait are refused */
    socklen_t peer_len; /* 0: ask the kernel */
    struct list link;   /* net_part.socks while it is open */
    struct sockaddr_in6
        peer; /* of inet sockets, kept because a lost connection does not tell it any more */
};

/* In the parked frame. */
struct sock_wait {
    struct wait wait;
    struct op op;
    struct coil_sock *sock;
    bool cancelled, interrupted; /* the task's cancel, or coil__sock_interrupt, asked for its end */
};

/* Classes of waits with a sock_wait are made with these. */
bool coil__sock_wait_cancel(struct wait *wait, const char *message);
void coil__sock_wait_abandon(struct wait *wait);
/* What stands at the other end of a wait, for people. As snprintf. */
int coil__sock_describe(struct coil_sock *sock, char *out, size_t n);
int coil__sock_wait_describe(const struct wait *wait, char *out, size_t n);
#define SOCK_WAIT_CLASS(word)                                                                 \
    {                                                                                         \
        .what = (word), .cancel = coil__sock_wait_cancel, .abandon = coil__sock_wait_abandon, \
        .keeps = true, .describe = coil__sock_wait_describe, .shows = SHOWS_FD,               \
        .at = offsetof(struct sock_wait, op.fd)                                               \
    }

static inline struct backend *sock_backend(const struct coil_sock *sock)
{
    return sock->loop->backend;
}

static inline const struct io_calls *sock_calls(const struct coil_sock *sock)
{
    return &sock->loop->backend->cls->calls;
}

/* As net_breathe, before an operation on this socket, which may have to wait in `place`. While others run it may be closed, or
 * its last reference go: then -EBADF, and nothing of it may be used. COIL_ERUNNING, recorded: somebody else began to do the same. */
COIL_MUST coil_ret coil__sock_pause(struct coil_sock *sock, struct sock_wait *const *place);
static inline coil_ret sock_breathe(struct coil_sock *sock, struct sock_wait *const *place)
{
    struct net_part *part = sock->part;
    struct coil__task *t = coil__current();
    if (coil_unlikely(part->busy == t && part->burst >= NET_BURST_MAX))
        return coil__sock_pause(sock, place);
    return net_breathe(part, t);
}

static inline void sock_unref(struct coil_sock *sock)
{
    if (coil_likely(sock->refs > 1))
        sock->refs--;
    else
        coil_sock_unref(sock);
}

static inline bool sock_is_pipe(const struct coil_sock *sock)
{
    return sock->type == 0;
}

/* Make one around a descriptor that is non-blocking and ours. On failure it is still open. 0, -ENOMEM or what
 * `own` says; recorded. */
int coil__sock_wrap(struct net_part *part, int fd, int family, int type, struct coil_sock **out);

/* Of a descriptor that somebody hands over. An imaginary one is none to fcntl; it never blocks anyhow. */
void coil__sock_nonblocking(int fd);

/* TCP_NODELAY, where that means something; a listener hands it down to what it accepts. */
void coil__sock_nodelay(struct coil_sock *sock);

void coil__sock_keep_peer(struct coil_sock *sock, const coil_address *peer);

/* The peer's address as kept, or as the kernel knows it. 0 or -errno, not recorded. */
int coil__sock_peer(struct coil_sock *sock, coil_address *out);

/* The first look of every waiting call, at what stands in `place` too. 0 or an error, recorded. The usual answer is
 * found without a call. */
int coil__sock_cannot_wait(const struct coil_sock *sock, struct sock_wait *const *place);
static inline int sock_may_wait(const struct coil_sock *sock, struct sock_wait *const *place)
{
    bool taken = *place || (place == &sock->sending && sock->sending_all) || sock->lent;
    if (coil_likely(sock->fd >= 0 && !taken && net_here(sock->loop)))
        return 0;
    return coil__sock_cannot_wait(sock, place);
}

/* Its last word: an error of the kernel's is recorded; cancels and unwinding have their own records. */
coil_ret coil__sock_told(coil_ret rc);

/* "peername" or "sockname" as text, good as long as *names: that is made when first needed, and the caller's to free.
 * NULL for other names, or when it cannot be told. */
const char *coil__sock_extra_info(struct coil_sock *sock, const char *name, char **names);

/* Before a friendly close: read what nobody will read, so that it is no reset. */
void coil__sock_discard(struct coil_sock *sock);

/* Submit w->op and park until it is done. `place` is &sock->receiving or &sock->sending; somebody there already
 * is COIL_ERUNNING. Returns the op's result; -EBADF if the socket was closed meanwhile; -ECANCELED, COIL_EEXIT. Only
 * COIL_ERUNNING is recorded. */
COIL_MUST coil_ret coil__sock_park(struct coil_sock *sock, struct sock_wait **place,
                                   struct sock_wait *w);

/* One receive: tried at once, else waited for; results as of coil__sock_park. The caller has asked
 * coil__net_can_wait, and the socket is open. */
COIL_MUST coil_ret coil__sock_receive(struct coil_sock *sock, void *p, size_t n);

/* Records "Connect call failed ADDRESS: ..." and returns `rc`. */
coil_ret coil__sock_connect_failed(const coil_address *to, coil_ret rc);
/* One send, in the same way; at least one byte, unless n is 0. */
COIL_MUST coil_ret coil__sock_send(struct coil_sock *sock, const void *p, size_t n);

/* coil_sock_sendfile, by who drives the socket: the caller has asked coil__net_can_wait, it is open, and nobody sends. */
COIL_MUST coil_ret coil__sock_sendfile(coil_sock *sock, int file, int64_t offset, int64_t count,
                                       unsigned flags, int64_t *out_sent);

/* Its parts, for who sends files in another way: are these good arguments (0 or an error, recorded), one read, and the
 * file's own position afterwards. */
int coil__sendfile_check(int file, int64_t offset, int64_t count, unsigned flags);
ssize_t coil__sendfile_read(int file, char *buf, size_t n, int64_t offset);
void coil__sendfile_sent(int file, int64_t to);

/* Whoever receives returns at once, with -EINTR or with what was quicker. */
void coil__sock_interrupt(struct coil_sock *sock);

#endif
