/* SPDX-License-Identifier: MIT
 *
 * coil/net.h: addresses, names, and sockets that belong to coil.
 *
 * A coil_sock is a socket that was made by coil, accepted, or adopted: it is closed through coil,
 * counted, never blocks, and waits in straight lines. For streams with lines and buffers, see
 * coil/stream.h, which stands on this. */
#ifndef COIL_NET_H
#define COIL_NET_H

#include <coil/task.h>

#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- addresses ---- */

/* A socket address of any family. */
typedef struct {
    struct sockaddr_storage storage;
    socklen_t len;
} coil_address;

/* Room for any address as text, with its end. */
enum { COIL_ADDRESS_TEXT_MAX = 136 };

/* An address from its text: "127.0.0.1" or "::1" (with a zone: "fe80::1%eth0" or "fe80::1%2"), and a port in digits
 * (NULL: 0). Never asks for a host's name. What begins with '/', '.' or '@' is the name of a unix socket, without a
 * port: see coil_address_unix.
 *
 *   Where:  anywhere.
 *   Errors: -EINVAL for anything that is not an address, or a port beyond 65535; -ENODEV for a zone that is no
 *           network interface of this machine (a number is not looked at); as coil_address_unix. */
COIL_API int coil_address_parse(const char *host, const char *port, coil_address *out_address);

/* The address of a unix socket, from the n bytes of its path. '@', or a NUL, in the first place makes it an abstract
 * name, which is in no directory and goes with its socket; a file that is called so is "./@name".
 *
 *   Where:  anywhere.
 *   Errors: -ENAMETOOLONG for a path of more than 107 bytes, or an abstract name of more than 108 with its '@': never
 *           cut. -EINVAL for an empty one, or a path that holds a NUL (the rest of an abstract name may). */
COIL_API int coil_address_unix(const char *path, size_t n, coil_address *out_address);

/* The address as text: "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", a path, "@name" for an abstract
 * one (with '@' for every NUL in it), "unix" for a unix socket without a name. Returns the
 * length as snprintf does: what it would have been, had there been room.
 *
 *   Where:  anywhere. */
COIL_API int coil_address_format(const coil_address *address, char *out, size_t n);

/* The port, or -EAFNOSUPPORT for families that have none. Where: anywhere. */
COIL_API int coil_address_port(const coil_address *address);

/* ---- names ---- */

/* One way to reach a name. */
typedef struct coil_addrinfo {
    struct coil_addrinfo *next;
    int family, type, protocol;
    coil_address address;
    const char *canonname; /* of the first one, if AI_CANONNAME was asked for; else NULL */
} coil_addrinfo;

/* What to look for; all zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    int family;   /* AF_INET, AF_INET6; 0: both */
    int type;     /* 0: SOCK_STREAM */
    int protocol; /* 0: any */
    int flags;    /* AI_PASSIVE and the like, of <netdb.h> */
} coil_getaddrinfo_opts;

/* Look a host and a port up. Either may be NULL: no host is this machine (with AI_PASSIVE: every
 * address of it), no port is 0. Addresses in text are taken at once; names go to threads of their own,
 * so that slow name servers hold up nothing else. Returns how many were found, at least one.
 *
 *   Suspends: for names.
 *   Cancel:   returns -ECANCELED at once; a lookup that runs already ends unheard.
 *   Owns:     the list is yours: coil_freeaddrinfo.
 *   Errors:   COIL_EGAI with the resolver's words; -ENAMETOOLONG for a host of more than 255 bytes (never
 *             cut); -ENODEV for a zone that is no network interface; -EINVAL for a port beyond 65535; -EAGAIN
 *             when no thread can be had; -ENOMEM; COIL_ENOTASK.
 *   asyncio:  loop.getaddrinfo */
COIL_ASYNC coil_ret coil_getaddrinfo(const char *host, const char *port,
                                     const coil_getaddrinfo_opts *opts, coil_addrinfo **out_list);
/* Give the list back. NULL is fine. */
COIL_API void coil_freeaddrinfo(coil_addrinfo *list);

/* The name of an address, and of its port. `flags` are NI_NUMERICHOST and the like, of <netdb.h>.
 *
 *   Suspends: unless both are to be numeric.
 *   Cancel:   returns -ECANCELED at once; a lookup that runs already ends unheard.
 *   Errors:   COIL_EGAI with the resolver's words; -ENOSPC when a name does not fit (never cut); -EAGAIN,
 *             -ENOMEM, COIL_ENOTASK.
 *   asyncio:  loop.getnameinfo */
COIL_ASYNC coil_ret coil_getnameinfo(const coil_address *address, int flags, char *out_host,
                                     size_t host_n, char *out_port, size_t port_n);

/* ---- sockets ---- */

typedef struct coil_sock coil_sock;

/* A new socket of the running loop, not connected yet. TCP sockets have TCP_NODELAY set.
 *
 *   Owns:    one reference, yours.
 *   Errors:  the kernel's; -ENOMEM, COIL_ENOLOOP, COIL_ECLOSED.
 *   asyncio: socket.socket, setblocking(False) */
COIL_API int coil_sock_new(int family, int type, int protocol, coil_sock **out_sock);

/* Take over a descriptor that you opened (a socketpair's end, one that was passed to you): from here on
 * it is non-blocking, and closed by coil alone. On failure it is still yours.
 *
 *   Owns:   one reference, yours.
 *   Errors: -EBADF, -ENOTSOCK, -EBUSY while somebody waits for this descriptor; -ENOMEM, COIL_ENOLOOP,
 *           COIL_ECLOSED. */
COIL_API int coil_sock_adopt(coil_loop *loop, int fd, coil_sock **out_sock);

/* Share and give back; the last one closes it. unref accepts NULL. */
COIL_API coil_sock *coil_sock_ref(coil_sock *sock);
COIL_API void coil_sock_unref(coil_sock *sock);

/* Close it now. Calls that wait on it return -EBADF, and so does every later one. The object stays
 * until its last reference goes. Twice, and NULL, are fine. */
COIL_API void coil_sock_close(coil_sock *sock);
COIL_API bool coil_sock_is_closed(const coil_sock *sock);

/* The descriptor, still coil's: for options and for printing. -1 once closed. asyncio: socket.fileno */
COIL_API int coil_sock_fileno(const coil_sock *sock);

/* Own and peer address. Errors: the kernel's; -EBADF once closed; debug mode: COIL_EWRONGTHREAD.
 * asyncio: socket.getsockname, socket.getpeername */
COIL_API int coil_sock_getsockname(coil_sock *sock, coil_address *out_address);
COIL_API int coil_sock_getpeername(coil_sock *sock, coil_address *out_address);

/* Options, the own address, listening. Errors: as coil_sock_getsockname.
 * asyncio: socket.setsockopt, getsockopt, bind, listen */
COIL_API int coil_sock_setsockopt(coil_sock *sock, int level, int name, const void *value,
                                  socklen_t n);
COIL_API int coil_sock_getsockopt(coil_sock *sock, int level, int name, void *out_value,
                                  socklen_t *n);
COIL_API int coil_sock_bind(coil_sock *sock, const coil_address *address);
COIL_API int coil_sock_listen(coil_sock *sock, int backlog);

/* SHUT_RD, SHUT_WR or SHUT_RDWR. Errors: -ENOTCONN, -EBADF once closed. asyncio: socket.shutdown */
COIL_API int coil_sock_shutdown(coil_sock *sock, int how);

/* Receive up to n bytes into `buf`. Returns how many; 0 is the end of the stream, or n = 0. On a datagram socket:
 * as coil_sock_recvfrom, without the sender.
 *
 *   Suspends: until something is there.
 *   Cancel:   returns -ECANCELED and no byte was taken; bytes that came first are returned, and the
 *             cancel waits for the next waiting call.
 *   Where:    inside a coroutine of the socket's loop, one at a time.
 *   Errors:   the kernel's; COIL_ERUNNING while another coroutine receives; -EBADF once closed; COIL_ENOTASK,
 *             COIL_EWRONGLOOP.
 *   asyncio:  loop.sock_recv, loop.sock_recv_into */
COIL_ASYNC coil_ret coil_sock_recv(coil_sock *sock, void *buf, size_t n);

/* Send some of the n bytes. Returns how many, at least one (unless n is 0). On a datagram socket: as
 * coil_sock_sendto its peer.
 *
 *   Suspends: while there is no room for a single byte.
 *   Cancel:   returns -ECANCELED and nothing was sent; what was sent first is returned, and the cancel
 *             waits for the next waiting call.
 *   Where:    inside a coroutine of the socket's loop, one at a time.
 *   Errors:   the kernel's; COIL_ERUNNING while another coroutine sends; -EBADF once closed; COIL_ENOTASK,
 *             COIL_EWRONGLOOP. */
COIL_ASYNC coil_ret coil_sock_send(coil_sock *sock, const void *buf, size_t n);

/* Send all n bytes. `out_sent` (may be NULL) says how many went, also after an error or a cancel.
 *
 *   Suspends: until the last byte is with the kernel.
 *   Cancel:   returns -ECANCELED; out_sent bytes were sent.
 *   Where:    as coil_sock_send.
 *   Errors:   as coil_sock_send.
 *   asyncio:  loop.sock_sendall */
COIL_ASYNC coil_ret coil_sock_sendall(coil_sock *sock, const void *buf, size_t n, size_t *out_sent);

/* Receive one datagram into `buf`, and who sent it (`out_peer` may be NULL; its `len` is 0 if the sender has no
 * address, as unbound unix sockets). Returns its size. 0 is an empty datagram and no end. On a stream: as
 * coil_sock_recv.
 *
 *   Suspends: until one is there.
 *   Cancel:   returns -ECANCELED and no datagram was taken; one that came first is returned, and the cancel waits
 *             for the next waiting call.
 *   Where:    inside a coroutine of the socket's loop, one at a time.
 *   Errors:   -EMSGSIZE for one of more than n bytes, never cut in silence: the first n are in `buf`, *out_peer
 *             is set, the record tells its size, and the rest is lost. The kernel's: -ECONNREFUSED, say, when nobody
 *             was there for what a connected socket sent before. COIL_ERUNNING, -EBADF, COIL_ENOTASK,
 *             COIL_EWRONGLOOP as coil_sock_recv.
 *   asyncio:  loop.sock_recvfrom, loop.sock_recvfrom_into */
COIL_ASYNC coil_ret coil_sock_recvfrom(coil_sock *sock, void *buf, size_t n,
                                       coil_address *out_peer);

/* Send one datagram, of n bytes (0: an empty one), to an address; NULL: to the peer of a connected socket.
 * Returns n: it is sent whole or not at all. On a stream: as coil_sock_send.
 *
 *   Suspends: while there is no room: in this socket, or (between unix sockets) in the receiver. Where the
 *             receiver is a unix socket given by its address the kernel tells nobody when there is room; it is asked
 *             again after 1 to 32 ms.
 *   Cancel:   returns -ECANCELED and it was not sent; when it was sent first, n is returned, and the cancel waits
 *             for the next waiting call.
 *   Where:    inside a coroutine of the socket's loop, one at a time.
 *   Errors:   the kernel's: -EMSGSIZE for too large a one; -EDESTADDRREQ, -ENOTCONN without address and peer;
 *             -ECONNREFUSED when nobody was there for an *earlier* one of a connected socket: this one was not
 *             sent. COIL_ERUNNING, -EBADF, COIL_ENOTASK, COIL_EWRONGLOOP as coil_sock_send.
 *   asyncio:  loop.sock_sendto */
COIL_ASYNC coil_ret coil_sock_sendto(coil_sock *sock, const void *buf, size_t n,
                                     const coil_address *address);

/* Take a connection of a listening socket; `out_peer` may be NULL.
 *
 *   Suspends: until there is one.
 *   Cancel:   returns -ECANCELED and none was taken; one that came first is returned, and the cancel
 *             waits for the next waiting call.
 *   Owns:     one reference to the new socket, yours.
 *   Where:    inside a coroutine of the socket's loop, one at a time.
 *   Errors:   the kernel's (-EMFILE: it still waits in the backlog); COIL_ERUNNING while another coroutine
 *             accepts; -EBADF once closed; -ENOMEM, COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  loop.sock_accept */
COIL_ASYNC coil_ret coil_sock_accept(coil_sock *sock, coil_sock **out_sock, coil_address *out_peer);

/* Connect to an address.
 *
 *   Suspends: until the connection stands or is refused.
 *   Cancel:   returns -ECANCELED; the attempt may be under way, so the socket is good for nothing but closing.
 *   Where:    inside a coroutine of the socket's loop.
 *   Errors:   the kernel's, "Connect call failed ADDRESS"; COIL_ERUNNING while another coroutine sends; -EBADF
 *             once closed; COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  loop.sock_connect */
COIL_ASYNC coil_ret coil_sock_connect(coil_sock *sock, const coil_address *address);

enum { COIL_SENDFILE_NO_FALLBACK = 1u << 0 /* fail where the kernel cannot do it by itself */ };

/* Send `count` bytes of an open regular file (0: all to its end), from `offset` on. Returns how many went, which is
 * fewer when the file ends before. `out_sent` (may be NULL) says it also after an error or a cancel. The kernel
 * does it by itself; where it refuses, the file is read and sent in parts of 256 KiB.
 *
 * The file is read where the caller stands: from the page cache at memory speed, but what is not there is
 * waited for, and the loop with it. For files on slow disks read them elsewhere and send what was read.
 * Afterwards the file's own position is behind the last byte sent, if any was, whatever ended it.
 *
 *   Suspends: while there is no room in the socket, and now and then to let others run.
 *   Cancel:   returns -ECANCELED; *out_sent bytes were sent.
 *   Owns:     nothing; the file must stay open until it returns.
 *   Where:    as coil_sock_send.
 *   Errors:   -EINVAL, with words that say which: a negative offset or count, an unknown flag, a file that is not regular, a
 *             socket that is not a stream. -EOPNOTSUPP where the kernel refuses and COIL_SENDFILE_NO_FALLBACK
 *             was given. The kernel's, of the file and of the socket; the rest as coil_sock_send; -ENOMEM.
 *   asyncio:  loop.sock_sendfile */
COIL_ASYNC coil_ret coil_sock_sendfile(coil_sock *sock, int file, int64_t offset, int64_t count,
                                       unsigned flags, int64_t *out_sent);

/* ---- sockets that are not coil's ----
 *
 * The same on a plain descriptor that you opened and will close, as asyncio has it: loop.sock_recv(sock, n) is
 * coil_loop_sock_recv(loop, fd, buf, n). `loop` is the running one (or NULL, which means that). Each wait
 * registers the number anew, so it may be closed and mean another socket in the next one; call
 * coil_loop_forget_fd before you close one that a coroutine waits on, and its call returns -EBADF. Several
 * coroutines that wait for the same thing are served in the order in which they came.
 *
 * Besides what is named below each may return COIL_EINVALIDSTATE for a socket that belongs to coil (use coil_sock_...
 * there), -EINVAL for a blocking descriptor in debug mode, COIL_ENOTASK, COIL_EWRONGLOOP for a loop that does not run the
 * caller, -ENOMEM. */

/* Receive up to n bytes. Returns how many; 0 is the end of the stream, an empty datagram, or n = 0 on a stream.
 *
 *   Suspends: until something is there.
 *   Cancel:   returns -ECANCELED and nothing was taken; what came first is returned, and the cancel waits for the
 *             next waiting call.
 *   Errors:   the kernel's; -EMSGSIZE for a datagram of more than n bytes, the rest of which is lost.
 *   asyncio:  loop.sock_recv, loop.sock_recv_into */
COIL_ASYNC coil_ret coil_loop_sock_recv(coil_loop *loop, int fd, void *buf, size_t n);

/* Receive one datagram, and who sent it (`out_peer` may be NULL).
 *
 *   Suspends: until one is there.
 *   Cancel:   as coil_loop_sock_recv.
 *   Errors:   as coil_loop_sock_recv.
 *   asyncio:  loop.sock_recvfrom, loop.sock_recvfrom_into */
COIL_ASYNC coil_ret coil_loop_sock_recvfrom(coil_loop *loop, int fd, void *buf, size_t n,
                                            coil_address *out_peer);

/* Send one datagram to an address; NULL: to the peer of a connected socket. Returns n.
 *
 *   Suspends: while there is no room, as coil_sock_sendto.
 *   Cancel:   returns -ECANCELED and it was not sent; when it was sent first, n is returned, and the cancel
 *             waits for the next waiting call.
 *   Errors:   the kernel's, as coil_sock_sendto.
 *   asyncio:  loop.sock_sendto */
COIL_ASYNC coil_ret coil_loop_sock_sendto(coil_loop *loop, int fd, const void *buf, size_t n,
                                          const coil_address *address);

/* Send all n bytes. `out_sent` (may be NULL) says how many went, also after an error or a cancel. Two coroutines
 * that send at once mix their bytes.
 *
 *   Suspends: until the last byte is with the kernel.
 *   Cancel:   returns -ECANCELED; out_sent bytes were sent.
 *   Errors:   the kernel's.
 *   asyncio:  loop.sock_sendall */
COIL_ASYNC coil_ret coil_loop_sock_sendall(coil_loop *loop, int fd, const void *buf, size_t n,
                                           size_t *out_sent);

/* Take a connection of a listening socket; `out_peer` may be NULL. Returns its descriptor, non-blocking and
 * close-on-exec.
 *
 *   Suspends: until there is one.
 *   Cancel:   returns -ECANCELED and none was taken; one that came first is returned, and the cancel waits for the
 *             next waiting call.
 *   Owns:     the descriptor is yours to close, or for coil_sock_adopt.
 *   Errors:   the kernel's; -EINVAL for a listener that blocks, in any mode: it would stop the loop.
 *   asyncio:  loop.sock_accept */
COIL_ASYNC coil_ret coil_loop_sock_accept(coil_loop *loop, int fd, coil_address *out_peer);

/* Connect to an address.
 *
 *   Suspends: until the connection stands or is refused.
 *   Cancel:   returns -ECANCELED; the attempt may be under way, so the socket is good for nothing but closing.
 *   Errors:   the kernel's, "Connect call failed ADDRESS"; -EINVAL for a socket that blocks, in any mode.
 *   asyncio:  loop.sock_connect */
COIL_ASYNC coil_ret coil_loop_sock_connect(coil_loop *loop, int fd, const coil_address *address);

/* Send a file, as coil_sock_sendfile.
 *
 *   Suspends: while there is no room in the socket, and now and then to let others run.
 *   Cancel:   returns -ECANCELED; *out_sent bytes were sent.
 *   Errors:   as coil_sock_sendfile; -EINVAL for a socket that blocks, in any mode.
 *   asyncio:  loop.sock_sendfile */
COIL_ASYNC coil_ret coil_loop_sock_sendfile(coil_loop *loop, int fd, int file, int64_t offset,
                                            int64_t count, unsigned flags, int64_t *out_sent);

#ifdef __cplusplus
}
#endif
#endif
