/* SPDX-License-Identifier: MIT
 *
 * coil/datagram.h: datagram endpoints: messages that come as callbacks.
 *
 *     static coil_ret received(coil_datagram_transport *transport, const void *data, size_t n,
 *                              const coil_address *from, void *arg)
 *     {
 *         return coil_datagram_transport_sendto(transport, data, n, from);
 *     }
 *     static const coil_datagram_protocol echo = {.size = sizeof echo, .datagram_received = received};
 *
 *     coil_datagram_opts opts = {.size = sizeof opts, .local_host = "127.0.0.1", .local_port = "7"};
 *     coil_loop_create_datagram_endpoint(NULL, &echo, NULL, &opts, &transport);
 *
 *     connection_made -> (datagram_received | error_received)* -> connection_lost
 *
 * An endpoint costs neither a task nor a stack. Where code should read from top to bottom, coil_sock_recvfrom and
 * coil_sock_sendto (coil/net.h) are the better chapter. */
#ifndef COIL_DATAGRAM_H
#define COIL_DATAGRAM_H

#include <coil/net.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coil_datagram_transport coil_datagram_transport;

/* ---- protocols ---- */

/* The callbacks of an endpoint; any may be NULL, which does nothing. Set `size` to sizeof this struct; it must outlive
 * the endpoint, and is usually static. `arg` is what was given with it.
 *
 * They run on the loop's own stack, in the context of who made the endpoint, and may not wait; they may call whatever
 * they like on any transport, this one too. But for pause_writing none runs inside a call of yours. When the loop is
 * closed while an endpoint lives, nothing more is called. */
typedef struct {
    size_t size;

    /* First of all, and once. A negative value ends the endpoint: nothing is received or sent, connection_lost gets it,
     * and so does who makes the endpoint. asyncio: BaseProtocol.connection_made */
    coil_ret (*connection_made)(coil_datagram_transport *transport, void *arg);

    /* A datagram came, of n bytes (0: an empty one); `data` and `from` are good during the call only. `from->len` is 0
     * if the sender has no address. A negative value is told to the exception handler, and the endpoint goes on.
     * asyncio: DatagramProtocol.datagram_received */
    coil_ret (*datagram_received)(coil_datagram_transport *transport, const void *data, size_t n,
                                  const coil_address *from, void *arg);

    /* Sending or receiving failed: with -ECONNREFUSED, say, when nobody is where a datagram went, or -EMSGSIZE when one
     * was larger than can be sent, or received (COIL_DATAGRAM_MAX). The endpoint goes on; coil_last_error has the words.
     * asyncio: DatagramProtocol.error_received */
    void (*error_received)(coil_datagram_transport *transport, coil_ret error, void *arg);

    /* More than the high mark is buffered: send no more until told; called from within the sendto, or
     * set_write_buffer_limits, that passed the mark. Then: no more than the low mark is left. In turns, never twice the
     * same. asyncio: BaseProtocol.pause_writing, resume_writing */
    void (*pause_writing)(coil_datagram_transport *transport, void *arg);
    void (*resume_writing)(coil_datagram_transport *transport, void *arg);

    /* Last of all, and once: 0 after close or abort, what connection_made returned, or -EBADF when its socket was closed
     * under it. The transport is gone when this returns, unless you hold a reference. asyncio: BaseProtocol.connection_lost */
    void (*connection_lost)(coil_datagram_transport *transport, coil_ret error, void *arg);
} coil_datagram_protocol;

/* The largest datagram that an endpoint receives; asyncio's max_size. Those of IP have 65,507 bytes at most. */
enum { COIL_DATAGRAM_MAX = 256 * 1024 };

/* ---- making endpoints ---- */

/* Where it is bound, and to whom it sends. All zero (or NULL) means neither, and then `family` must be given. Set `size`
 * to sizeof this struct. */
typedef struct {
    size_t size;
    /* Names or addresses as text, looked up; NULL: not this one of the two. */
    const char *local_host, *local_port, *remote_host, *remote_port;
    /* Instead of the above: of any family, and nothing is looked up. A unix socket's file that stands at the local
     * address is removed first; the endpoint's own stays when it ends, as in asyncio. */
    const coil_address *local_address, *remote_address;
    int family, protocol, flags; /* of what is looked up; as in coil_getaddrinfo_opts */
    bool reuse_port;             /* SO_REUSEPORT: others may be bound to the same port */
    /* SO_BROADCAST. The socket is then not connected to the remote address, and so hears everybody. */
    bool allow_broadcast;
    coil_sock *sock; /* instead of all the others: bound, and connected, as you like */
} coil_datagram_opts;

/* Make an endpoint and let a protocol have it. With both a local and a remote address those of one family are taken, the
 * first for which everything succeeds. An endpoint with a remote address is connected to it: it sends there, and
 * hears nobody else. Returns after connection_made. `out_transport` may be NULL.
 *
 *   Suspends: to look names up, and until connection_made has run.
 *   Cancel:   returns -ECANCELED; nothing stays open. After this, and after any error, no callback is running or will
 *             run: if the endpoint was there, connection_lost was called.
 *   Owns:     one reference to the transport, yours: coil_datagram_transport_unref, which does not close it. Takes your
 *             reference to opts->sock, whatever happens.
 *   Where:    inside a coroutine; loop: NULL, or the running one.
 *   Errors:   as coil_getaddrinfo; of the first addresses tried, the kernel's, with the address; what connection_made
 *             returned; -EINVAL without any address and family, for local and remote addresses that have no family in
 *             common, for options beside opts->sock, for a stream socket; COIL_ERUNNING while opts->sock is in use;
 *             -EBADF if it is closed; COIL_EWRONGLOOP, COIL_ENOTASK, -ENOMEM.
 *   asyncio:  loop.create_datagram_endpoint */
COIL_ASYNC coil_ret coil_loop_create_datagram_endpoint(coil_loop *loop,
                                                       const coil_datagram_protocol *protocol,
                                                       void *arg, const coil_datagram_opts *opts,
                                                       coil_datagram_transport **out_transport);

/* The same for a socket, without a task: connection_made comes from the loop, later. `out_transport` may be NULL.
 *
 *   Owns:    takes your reference to the socket; on failure it is still yours. The transport as above.
 *   Where:   the loop's thread.
 *   Errors:  -EINVAL for a stream socket; COIL_ERUNNING while it is in use; -EBADF if it is closed; -ENOMEM, COIL_ECLOSED.
 *   asyncio: loop.create_datagram_endpoint(sock=) */
COIL_API int coil_datagram_transport_open(coil_sock *sock, const coil_datagram_protocol *protocol,
                                          void *arg, coil_datagram_transport **out_transport);

/* ---- sending ---- */

/* Send one datagram of n bytes (0: an empty one), now if the kernel takes it, else in order when it does. Never waits.
 * `address` NULL: to the remote address. What the kernel says against it goes to error_received.
 *
 *   Errors:  -ENOMEM, and then it was not sent; -EINVAL for another address than the remote one; -EDESTADDRREQ without
 *            any; COIL_EINVALIDSTATE once the transport is closing. Of many failures in one turn those that
 *            error_received has no room for are returned here. Debug mode: COIL_EWRONGTHREAD.
 *   asyncio: DatagramTransport.sendto */
COIL_API int coil_datagram_transport_sendto(coil_datagram_transport *transport, const void *data,
                                            size_t n, const coil_address *address);

/* The marks of flow control, in bytes; COIL_DEFAULT (-1) leaves one to be worked out: high is 4 times low, or 64 KiB;
 * low is a quarter of high. Each datagram counts with what keeping it takes, so that empty ones count, too.
 *
 *   Errors:  -EINVAL unless high >= low >= 0.
 *   asyncio: WriteTransport.set_write_buffer_limits, get_write_buffer_limits, get_write_buffer_size */
COIL_API int coil_datagram_transport_set_write_buffer_limits(coil_datagram_transport *transport,
                                                             ssize_t high, ssize_t low);
COIL_API void coil_datagram_transport_get_write_buffer_limits(
    const coil_datagram_transport *transport, size_t *out_high, size_t *out_low);
COIL_API size_t
coil_datagram_transport_get_write_buffer_size(const coil_datagram_transport *transport);

/* ---- the rest ---- */

/* Close: nothing more is received, what is buffered is still sent, by itself; then connection_lost is called. Twice is
 * fine. asyncio: BaseTransport.close */
COIL_API void coil_datagram_transport_close(coil_datagram_transport *transport);

/* Close now; what was not sent yet is dropped. asyncio: DatagramTransport.abort */
COIL_API void coil_datagram_transport_abort(coil_datagram_transport *transport);

/* Is it closed or closing? asyncio: BaseTransport.is_closing */
COIL_API bool coil_datagram_transport_is_closing(const coil_datagram_transport *transport);

/* Let another protocol have the endpoint from the next callback on; connection_made is not called.
 * asyncio: BaseTransport.set_protocol, get_protocol */
COIL_API void coil_datagram_transport_set_protocol(coil_datagram_transport *transport,
                                                   const coil_datagram_protocol *protocol,
                                                   void *arg);
COIL_API const coil_datagram_protocol *coil_datagram_transport_get_protocol(
    const coil_datagram_transport *transport, void **out_arg);

/* "peername" (of a connected one) or "sockname", as text; NULL for other names, or when it cannot be told. Good as long
 * as the transport. asyncio: BaseTransport.get_extra_info */
COIL_API const char *coil_datagram_transport_get_extra_info(coil_datagram_transport *transport,
                                                            const char *name);

/* The socket under it, borrowed; for options and addresses. asyncio: get_extra_info("socket") */
COIL_API coil_sock *coil_datagram_transport_sock(coil_datagram_transport *transport);

/* Share and give back; giving back does not close. unref accepts NULL. */
COIL_API coil_datagram_transport *coil_datagram_transport_ref(coil_datagram_transport *transport);
COIL_API void coil_datagram_transport_unref(coil_datagram_transport *transport);

#ifdef __cplusplus
}
#endif
#endif
