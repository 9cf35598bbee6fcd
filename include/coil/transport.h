/* SPDX-License-Identifier: MIT
 *
 * coil/transport.h: transports and protocols: connections whose bytes come as callbacks.
 *
 *     static coil_ret received(coil_transport *transport, const void *data, size_t n, void *arg)
 *     {
 *         return coil_transport_write(transport, data, n);
 *     }
 *
 *     static coil_ret make_echo(const coil_protocol **out_protocol, void **out_arg, void *arg)
 *     {
 *         static const coil_protocol echo = {.size = sizeof echo, .data_received = received};
 *         *out_protocol = &echo;
 *         return 0;
 *     }
 *
 *     coil_loop_create_server(NULL, make_echo, NULL, "127.0.0.1", "7", NULL, &server);
 *
 * The transport moves bytes, the protocol says what they mean. A connection of this kind costs neither a task
 * nor a stack. Where code should read from top to bottom, coil/stream.h is the better chapter.
 *
 *     connection_made -> data_received* -> eof_received? -> connection_lost
 *
 * What the peer had sent before the end of the stream, or before an error of the connection, is always
 * delivered first. (In asyncio a send that fails hides what was received and not read yet.) */
#ifndef COIL_TRANSPORT_H
#define COIL_TRANSPORT_H

#include <coil/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coil_transport coil_transport;

/* ---- protocols ---- */

/* The callbacks of a connection; any may be NULL, which does nothing. Set `size` to sizeof this struct; it must
 * outlive the connection, and is usually static. `arg` is what the factory made for this connection.
 *
 * They run on the loop's own stack, in the context of who made the connection or started the server, and may
 * not wait; they may call whatever they like on any transport, this one too. But for pause_writing none runs inside a
 * call of yours. When the loop is closed while a connection lives, nothing more is called.
 *
 * A negative value returned where one may be is fatal to the connection: the exception handler is told (unless it is
 * what this connection itself had failed with), nothing more is read or sent, and connection_lost gets it. */
typedef struct {
    size_t size;

    /* First of all, and once. asyncio: BaseProtocol.connection_made */
    coil_ret (*connection_made)(coil_transport *transport, void *arg);

    /* Last of all, and once: 0 after close, abort or the end of the stream, else the error; coil_last_error has its
     * words. The transport is gone when this returns, unless you hold a reference. asyncio: connection_lost */
    void (*connection_lost)(coil_transport *transport, coil_ret error, void *arg);

    /* Bytes came, n > 0; `data` is good during the call only. asyncio: Protocol.data_received */
    coil_ret (*data_received)(coil_transport *transport, const void *data, size_t n, void *arg);

    /* The peer will send no more. 0 closes the transport; 1 leaves it open for writing (a pipe that is read ends all
     * the same). asyncio: Protocol.eof_received */
    coil_ret (*eof_received)(coil_transport *transport, void *arg);

    /* With get_buffer bytes are received into memory of yours, and data_received is not used: give a buffer and
     * return its size, which must not be 0. `hint` is how much is usually asked of the kernel at once. Then
     * buffer_updated tells that n > 0 bytes stand at its beginning. asyncio: BufferedProtocol */
    coil_ret (*get_buffer)(coil_transport *transport, size_t hint, void **out_buffer, void *arg);
    coil_ret (*buffer_updated)(coil_transport *transport, size_t n, void *arg);

    /* More than the high mark is buffered: write no more until told; called from within the write, or
     * set_write_buffer_limits, that passed the mark. Then: no more than the low mark is left. In turns, never twice the
     * same. asyncio: BaseProtocol.pause_writing, resume_writing */
    void (*pause_writing)(coil_transport *transport, void *arg);
    void (*resume_writing)(coil_transport *transport, void *arg);
} coil_protocol;

/* Makes the protocol of one connection: its callbacks and their argument (NULL unless set). `arg` is what was given
 * with the factory. Returns 0, or an error: then there is no connection. Once it returned 0, connection_made and
 * connection_lost will be called, unless the loop is closed before: the last one is the place to free what was made.
 * asyncio: protocol_factory */
typedef coil_ret (*coil_protocol_factory_fn)(const coil_protocol **out_protocol,
                                             void **out_protocol_arg, void *arg);

/* ---- making connections ---- */

/* Connect to a host by name or address, and let a protocol have the connection. `opts` as of
 * coil_open_connection_with, its `limit` is not used. Returns after connection_made. `out_transport` and
 * `out_protocol_arg` may be NULL.
 *
 *   Suspends: until an address answers and connection_made has run.
 *   Cancel:   returns -ECANCELED; nothing stays open (if there was a connection, connection_lost is called).
 *   Owns:     one reference to the transport, yours: coil_transport_unref, which does not close it.
 *   Where:    inside a coroutine; loop: NULL, or the running one.
 *   Errors:   as coil_open_connection; what the factory or connection_made returned; -EINVAL for a factory that makes
 *             no protocol; COIL_EWRONGLOOP, COIL_ENOTASK, -ENOMEM.
 *   asyncio:  loop.create_connection */
COIL_ASYNC coil_ret coil_loop_create_connection(coil_loop *loop, coil_protocol_factory_fn factory,
                                                void *arg, const char *host, const char *port,
                                                const coil_connect_opts *opts,
                                                coil_transport **out_transport,
                                                void **out_protocol_arg);

/* The same over a unix socket: a path or "@name" (coil_address_unix). Of `opts` only what concerns TLS matters here.
 *
 *   Suspends: until the server has room and connection_made has run.
 *   Cancel:   as coil_loop_create_connection.
 *   Owns:     as coil_loop_create_connection.
 *   Errors:   as coil_open_unix_connection, and as above.
 *   asyncio:  loop.create_unix_connection */
COIL_ASYNC coil_ret coil_loop_create_unix_connection(coil_loop *loop,
                                                     coil_protocol_factory_fn factory, void *arg,
                                                     const char *path,
                                                     coil_transport **out_transport,
                                                     void **out_protocol_arg);
COIL_ASYNC coil_ret coil_loop_create_unix_connection_with(
    coil_loop *loop, coil_protocol_factory_fn factory, void *arg, const char *path,
    const coil_connect_opts *opts, coil_transport **out_transport, void **out_protocol_arg);

/* The same for a socket that is connected already, or was accepted. Of `opts` only what concerns TLS matters; the context
 * may be a client's or a server's.
 *
 *   Suspends: until connection_made has run.
 *   Cancel:   as coil_loop_create_connection.
 *   Owns:     takes your reference to the socket, whatever happens; the transport as above.
 *   Errors:   COIL_ERUNNING while the socket is in use; -EBADF if it is closed; -EINVAL unless it is a stream socket;
 *             and as above.
 *   asyncio:  loop.create_connection(sock=), loop.connect_accepted_socket */
COIL_ASYNC coil_ret coil_loop_create_connection_sock(coil_loop *loop,
                                                     coil_protocol_factory_fn factory, void *arg,
                                                     coil_sock *sock,
                                                     coil_transport **out_transport,
                                                     void **out_protocol_arg);
COIL_ASYNC coil_ret coil_loop_create_connection_sock_with(
    coil_loop *loop, coil_protocol_factory_fn factory, void *arg, coil_sock *sock,
    const coil_connect_opts *opts, coil_transport **out_transport, void **out_protocol_arg);
COIL_ASYNC coil_ret coil_loop_connect_accepted_socket(coil_loop *loop,
                                                      coil_protocol_factory_fn factory, void *arg,
                                                      coil_sock *sock,
                                                      coil_transport **out_transport,
                                                      void **out_protocol_arg);

/* The same without a task: connection_made comes from the loop, later. `out_transport` may be NULL.
 *
 *   Owns:    takes your reference to the socket; on failure it is still yours. The transport as above.
 *   Where:   the loop's thread.
 *   Errors:  -EINVAL without a protocol, and unless it is a stream socket; COIL_ERUNNING while it is in use; -EBADF if
 *            it is closed; COIL_EWRONGLOOP, -ENOMEM, COIL_ECLOSED. */
COIL_API int coil_transport_open(coil_sock *sock, const coil_protocol *protocol, void *arg,
                                 coil_transport **out_transport);

/* Listen on every address of `host`, and let a protocol of the factory's have each client. What is said of
 * coil_start_server_with holds; `limit` and `client_stack_size` are not used. A factory that fails is told to the
 * exception handler, and its client is hung up on. The server's clients are its connections: wait_closed
 * returns when the last connection_lost has.
 *
 *   Suspends: to look `host` up.
 *   Cancel:   returns -ECANCELED; nothing stays open.
 *   Owns:     the server is yours: coil_server_free. `arg` must outlive its accepting.
 *   Where:    inside a coroutine; loop: NULL, or the running one.
 *   Errors:   as coil_start_server_with; COIL_EWRONGLOOP.
 *   asyncio:  loop.create_server */
COIL_ASYNC coil_ret coil_loop_create_server(coil_loop *loop, coil_protocol_factory_fn factory,
                                            void *arg, const char *host, const char *port,
                                            const coil_server_opts *opts, coil_server **out_server);

/* The same on a unix socket, and on a stream socket that is bound already or listens: what is said of
 * coil_start_unix_server and coil_start_server_sock holds. They never wait.
 *
 *   Owns:    as these.
 *   Where:   the loop's thread; loop: NULL, or the running one.
 *   Errors:  as these; COIL_EWRONGLOOP.
 *   asyncio: loop.create_unix_server, loop.create_server(sock=) */
COIL_API int coil_loop_create_unix_server(coil_loop *loop, coil_protocol_factory_fn factory,
                                          void *arg, const char *path, const coil_server_opts *opts,
                                          coil_server **out_server);
COIL_API int coil_loop_create_server_sock(coil_loop *loop, coil_protocol_factory_fn factory,
                                          void *arg, coil_sock *sock, const coil_server_opts *opts,
                                          coil_server **out_server);

/* Let a protocol read one end of a pipe, or write it: what may stand behind `fd` is a pipe, a socket or a character
 * device such as a terminal. It is made non-blocking, which whoever shares it notices too. Who reads gets
 * data_received and eof_received, and may not write. Who writes is told nothing but connection_lost, also when the
 * reader goes away: with 0, or -EPIPE if something was still to be sent.
 *
 *   Suspends: until connection_made has run.
 *   Cancel:   as coil_loop_create_connection.
 *   Owns:     takes the descriptor over, whatever happens, but where the error says that it may not be had: -EPERM (a
 *             regular file, a directory, a block device), COIL_EINVALIDSTATE (it belongs to a coil_sock), -EBUSY
 *             (somebody waits for it), -EBADF. The transport as above.
 *   Where:    inside a coroutine; loop: NULL, or the running one.
 *   Errors:   these, and as coil_loop_create_connection_sock.
 *   asyncio:  loop.connect_read_pipe, loop.connect_write_pipe */
COIL_ASYNC coil_ret coil_loop_connect_read_pipe(coil_loop *loop, coil_protocol_factory_fn factory,
                                                void *arg, int fd, coil_transport **out_transport,
                                                void **out_protocol_arg);
COIL_ASYNC coil_ret coil_loop_connect_write_pipe(coil_loop *loop, coil_protocol_factory_fn factory,
                                                 void *arg, int fd, coil_transport **out_transport,
                                                 void **out_protocol_arg);

/* ---- any transport ---- */

/* Close: nothing more is read, what was written is still sent, by itself; then connection_lost is called, with 0.
 * Twice is fine. asyncio: BaseTransport.close */
COIL_API void coil_transport_close(coil_transport *transport);

/* Close now; what was not sent yet is dropped. asyncio: WriteTransport.abort */
COIL_API void coil_transport_abort(coil_transport *transport);

/* Is it closed or closing, or the connection lost? asyncio: BaseTransport.is_closing */
COIL_API bool coil_transport_is_closing(const coil_transport *transport);

/* Let another protocol have the connection from the next callback on, of whichever kind; connection_made is not
 * called. Errors: -EINVAL for none. asyncio: BaseTransport.set_protocol, get_protocol */
COIL_API int coil_transport_set_protocol(coil_transport *transport, const coil_protocol *protocol,
                                         void *arg);
COIL_API const coil_protocol *coil_transport_get_protocol(const coil_transport *transport,
                                                          void **out_arg);

/* As coil_writer_get_extra_info; good as long as the transport. asyncio: BaseTransport.get_extra_info */
COIL_API const char *coil_transport_get_extra_info(coil_transport *transport, const char *name);

/* The socket under it, borrowed; for options. NULL: it is a pipe. asyncio: get_extra_info("socket") */
COIL_API coil_sock *coil_transport_sock(coil_transport *transport);

/* The descriptor under it, still coil's. -1 once closed. asyncio: get_extra_info("pipe") */
COIL_API int coil_transport_fileno(const coil_transport *transport);

/* Speak TLS from here on, as coil_writer_start_tls does for streams; on the same transport (asyncio makes another one). The
 * protocol is told of nothing but what comes over TLS: connection_made is not called again. If `protocol` is not
 * NULL, it has the connection from then on, as after coil_transport_set_protocol.
 *
 *   Suspends: until the handshake is over. Meanwhile nothing is delivered, and what is written waits.
 *   Cancel:   returns -ECANCELED; the transport is closed, and connection_lost called.
 *   Owns:     keeps a reference to the context, as long as the transport lives.
 *   Where:    inside a coroutine of the transport's loop; loop: NULL, or that one.
 *   Errors:   as coil_writer_start_tls; whatever comes but these few, connection_lost is called with it. -ENOTSUP for a
 *             pipe.
 *   asyncio:  loop.start_tls */
COIL_ASYNC coil_ret coil_loop_start_tls(coil_loop *loop, coil_transport *transport,
                                        const coil_protocol *protocol, void *arg,
                                        coil_tls_context *context, const coil_start_tls_opts *opts);

/* The (outermost) TLS of this transport, borrowed; NULL: it has none. asyncio: get_extra_info("ssl_object") */
COIL_API coil_tls *coil_transport_tls(const coil_transport *transport);

/* Share and give back; giving back does not close. unref accepts NULL. */
COIL_API coil_transport *coil_transport_ref(coil_transport *transport);
COIL_API void coil_transport_unref(coil_transport *transport);

/* ---- reading ---- */

/* Call data_received no more, until resumed: what the peer sends waits in the kernel, and then at the peer. Does
 * nothing on a paused, or closing, transport; likewise resume. asyncio: ReadTransport.pause_reading, resume_reading,
 * is_reading */
COIL_API void coil_transport_pause_reading(coil_transport *transport);
COIL_API void coil_transport_resume_reading(coil_transport *transport);
COIL_API bool coil_transport_is_reading(const coil_transport *transport);

/* ---- writing ---- */

/* Send n bytes: as many as the kernel takes now, the rest is copied and follows by itself. Never waits.
 *
 *   Errors:  -ENOMEM, and then nothing was sent; COIL_EINVALIDSTATE after write_eof. Once the connection is lost: its
 *            error, or -ECONNRESET, and the bytes are dropped (asyncio drops them in silence). Debug mode:
 *            COIL_EWRONGTHREAD.
 *   asyncio: WriteTransport.write */
COIL_API int coil_transport_write(coil_transport *transport, const void *data, size_t n);

/* The same for several pieces at once, in one system call if the kernel takes them.
 *
 *   Errors:  as coil_transport_write; -EINVAL when their lengths add up to more than memory can hold.
 *   asyncio: WriteTransport.writelines */
COIL_API int coil_transport_writelines(coil_transport *transport, const struct iovec *pieces,
                                       size_t pieces_n);

/* The same without copying: `data` is held until it is sent or dropped, then release(cookie) is called from
 * the loop, exactly once. When this call fails, the bytes were not taken and release is not called.
 *
 *   Errors: as coil_transport_write; -EINVAL without a release function. */
COIL_API int coil_transport_write_owned(coil_transport *transport, const void *data, size_t n,
                                        void (*release)(void *cookie), void *cookie);

/* From now on collect what is written, and send it together as soon as the callbacks that are ready have run; see
 * coil_writer_set_coalescing. asyncio has no such call. */
COIL_API void coil_transport_set_coalescing(coil_transport *transport, bool on);

/* End the sending direction once all is sent (over TLS by a close_notify); the peer sees the end, and reading goes on (a pipe
 * that is written has no other direction: it closes). Twice is fine.
 *
 *   Errors:  once the connection is lost or closing, as coil_transport_write.
 *   asyncio: WriteTransport.write_eof, can_write_eof */
COIL_API int coil_transport_write_eof(coil_transport *transport);
COIL_API bool coil_transport_can_write_eof(const coil_transport *transport);

/* Send `count` bytes of an open regular file (0: all to its end), from `offset` on, after what was written before.
 * Meanwhile nothing is received, and writes are refused; a close waits until it has gone out. Returns how many went.
 * What is said of coil_sock_sendfile holds.
 *
 *   Suspends: until the last byte is with the kernel.
 *   Cancel:   returns -ECANCELED; *out_sent bytes were sent (`out_sent` may be NULL).
 *   Owns:     nothing; the file must stay open until it returns.
 *   Where:    inside a coroutine of the transport's loop; loop: NULL, or that one.
 *   Errors:   as coil_sock_sendfile; COIL_EINVALIDSTATE after write_eof, and while another file is on its way;
 *             -EOPNOTSUPP for a pipe; once the connection is lost, as coil_transport_write.
 *   asyncio:  loop.sendfile */
COIL_ASYNC coil_ret coil_loop_sendfile(coil_loop *loop, coil_transport *transport, int file,
                                       int64_t offset, int64_t count, unsigned flags,
                                       int64_t *out_sent);

/* The marks of flow control, in bytes; COIL_DEFAULT leaves one to be worked out: high is 4 times low, or
 * 64 KiB; low is a quarter of high. A high mark of 0 pauses whenever anything is buffered.
 *
 *   Errors:  -EINVAL unless high >= low >= 0.
 *   asyncio: WriteTransport.set_write_buffer_limits, get_write_buffer_limits, get_write_buffer_size */
COIL_API int coil_transport_set_write_buffer_limits(coil_transport *transport, ssize_t high,
                                                    ssize_t low);
COIL_API void coil_transport_get_write_buffer_limits(const coil_transport *transport,
                                                     size_t *out_high, size_t *out_low);
COIL_API size_t coil_transport_get_write_buffer_size(const coil_transport *transport);

#ifdef __cplusplus
}
#endif
#endif
