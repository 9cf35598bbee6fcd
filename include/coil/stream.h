/* SPDX-License-Identifier: MIT
 *
 * coil/stream.h: connections as a reader and a writer, and servers that hand them out.
 *
 *     coil_reader *reader;
 *     coil_writer *writer;
 *     coil_ret rc = coil_open_connection("example.org", "80", &reader, &writer);
 *     if (coil_iserr(rc))
 *         return rc;
 *     coil_writer_write(writer, "HEAD / HTTP/1.0\r\n\r\n", 19);
 *     const char *line;
 *     rc = coil_reader_readline(reader, &line, NULL);
 *     if (!coil_iserr(rc))
 *         printf("%s", line);
 *     coil_ignore(coil_writer_finish(writer));
 *
 * Reader and writer are two faces of one connection. Each is counted; the connection's memory goes with
 * the last reference to either. A server's client function borrows both: they are closed and given
 * back when it returns.
 *
 * Nothing is read from the network but while a coroutine reads, so a peer that sends without end costs no
 * memory. Nothing waits for the network in a write; who writes much drains in between.
 *
 * What came before the end of the stream, or before an error of the connection, is always delivered
 * first. (In asyncio a lost connection hides what was received and not read yet.) */
#ifndef COIL_STREAM_H
#define COIL_STREAM_H

#include <coil/net.h>

#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coil_reader coil_reader;
typedef struct coil_writer coil_writer;
typedef struct coil_server coil_server;

/* TLS over a connection: coil/tls.h makes contexts, and tells of what a connection agreed on. */
typedef struct coil_tls_context coil_tls_context;
typedef struct coil_tls coil_tls;

/* How long a line or record may be, unless you say otherwise. */
enum { COIL_STREAM_LIMIT = 65536 };

/* ---- connecting ---- */

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    size_t limit;           /* of the reader, in bytes; 0: COIL_STREAM_LIMIT */
    int family;             /* AF_INET, AF_INET6; 0: both */
    int flags;              /* AI_NUMERICHOST and the like, of <netdb.h> */
    const char *local_host; /* connect from here; NULL: the kernel chooses */
    const char *local_port; /* NULL: any */
    bool all_errors;        /* fail with a COIL_EGROUP that holds the error of every address */
    /* Seconds before the next address is tried although the one before has not failed yet (RFC 8305 recommends
     * 0.25): the first that answers is kept, the others are closed. 0: one after the other. */
    double happy_eyeballs_delay;
    /* How many addresses of the first family are tried before the families take turns
     * (first_address_family_count). 0: one, if there is a delay; else, and for -1, the resolver's order. */
    int interleave;
    coil_tls_context *tls; /* speak TLS over it: a client's context; NULL: none. asyncio: ssl */
    /* Whom the server's certificate must name (a name or an address); NULL: `host`. */
    const char *server_hostname;
    double tls_handshake_timeout; /* seconds; 0: 60 */
    double tls_shutdown_timeout;  /* seconds for the peer's close_notify; 0: 30 */
} coil_connect_opts;

/* Connect to a host by name or address, trying its addresses in order, or some at a time.
 *
 *   Suspends: until one of them answers.
 *   Cancel:   returns -ECANCELED; nothing stays open, no attempt goes on.
 *   Owns:     one reference to each face, yours: coil_writer_finish gives both back.
 *   Errors:   as coil_getaddrinfo; of one address, or when all said the same: the kernel's, "Connect call
 *             failed ADDRESS"; else the first one's code and all texts, "Multiple exceptions: ...".
 *             -EINVAL for a delay that is negative or NaN; -ENOMEM, COIL_ENOTASK.
 *   asyncio:  open_connection */
COIL_ASYNC coil_ret coil_open_connection(const char *host, const char *port,
                                         coil_reader **out_reader, coil_writer **out_writer);
COIL_ASYNC coil_ret coil_open_connection_with(const char *host, const char *port,
                                              const coil_connect_opts *opts,
                                              coil_reader **out_reader, coil_writer **out_writer);

/* Connect to a unix socket of this machine, by its path or "@name" (coil_address_unix). Of `opts` (may be NULL) only
 * the limit matters here.
 *
 *   Suspends: until the server has room for us in its backlog.
 *   Cancel:   returns -ECANCELED; nothing stays open.
 *   Owns:     as coil_open_connection.
 *   Errors:   the kernel's, "Connect call failed PATH" (-ENOENT: no such file; -ECONNREFUSED: nobody listens there);
 *             as coil_address_unix; -ENOMEM, COIL_ENOTASK.
 *   asyncio:  open_unix_connection */
COIL_ASYNC coil_ret coil_open_unix_connection(const char *path, const coil_connect_opts *opts,
                                              coil_reader **out_reader, coil_writer **out_writer);

/* Reader and writer for a socket that is connected already: your own end, or one that somebody else accepted.
 * `limit` 0: COIL_STREAM_LIMIT.
 *
 *   Owns:    takes your reference to the socket; on failure it is still yours. The faces as above.
 *   Errors:  COIL_ERUNNING while the socket is in use; -EBADF if it is closed; -EINVAL unless it is a stream socket;
 *            -ENOMEM, COIL_ECLOSED.
 *   asyncio: open_connection(sock=...) */
COIL_API int coil_open_connection_sock(coil_sock *sock, size_t limit, coil_reader **out_reader,
                                       coil_writer **out_writer);

/* ---- reading ----
 *
 * One coroutine reads at a time; another one meanwhile gets COIL_ERUNNING. Besides what is named below, each
 * waiting call may return the connection's error (again at every call), COIL_ENOTASK, COIL_EWRONGLOOP and
 * -ENOMEM. A cancel loses no byte: what came stays in the reader. Views (`out_line`, `out_data`) end in a NUL
 * that is not counted, and are good until the next read of this reader. */

/* Receive up to n bytes into `buf`. Returns how many; 0 is the end of the stream, or n = 0.
 *
 *   Suspends: until a byte is there.
 *   Cancel:   returns -ECANCELED and no byte was taken; bytes that came first are returned, and the
 *             cancel waits for the next waiting call.
 *   asyncio:  StreamReader.read(n) */
COIL_ASYNC coil_ret coil_reader_read(coil_reader *reader, void *buf, size_t n);

/* Receive all there is up to the end of the stream, as a view; at most `max` bytes (0: as many as come).
 * Returns how many.
 *
 *   Suspends: until the end.
 *   Cancel:   returns -ECANCELED; what came stays in the reader.
 *   Errors:   COIL_ELIMIT when more than `max` came: all of it is still in the reader.
 *   asyncio:  StreamReader.read(-1) */
COIL_ASYNC coil_ret coil_reader_read_all(coil_reader *reader, size_t max, const char **out_data,
                                         size_t *out_n);

/* Receive exactly n bytes into `buf`, however far beyond the limit. Returns n. `out_got` may be NULL.
 *
 *   Suspends: until all are there.
 *   Cancel:   returns -ECANCELED; what came stays in the reader.
 *   Errors:   COIL_EINCOMPLETE when the stream ends before: `buf` has the *out_got bytes there were.
 *   asyncio:  StreamReader.readexactly */
COIL_ASYNC coil_ret coil_reader_readexactly(coil_reader *reader, void *buf, size_t n,
                                            size_t *out_got);

/* Receive a line with its '\n', as a view. Returns its length. The last one may lack the '\n'; 0 is the end
 * of the stream. `out_n` may be NULL.
 *
 *   Suspends: until the line is there.
 *   Cancel:   returns -ECANCELED; what came stays in the reader.
 *   Errors:   COIL_ELIMIT for a line longer than the limit: *out_n bytes of it (through its '\n', if that had
 *             come) were dropped.
 *   asyncio:  StreamReader.readline */
COIL_ASYNC coil_ret coil_reader_readline(coil_reader *reader, const char **out_line, size_t *out_n);

/* Receive up to and with a separator, as a view. Returns its length. The limit counts what stands before
 * the separator. `out_n` may be NULL.
 *
 *   Suspends: until the separator is there.
 *   Cancel:   returns -ECANCELED; what came stays in the reader.
 *   Errors:   COIL_EINCOMPLETE when the stream ends before: the view has what there was. COIL_ELIMIT: everything
 *             stays in the reader, *out_n bytes of it are certainly before any separator. -EINVAL for an
 *             empty separator.
 *   asyncio:  StreamReader.readuntil */
COIL_ASYNC coil_ret coil_reader_readuntil(coil_reader *reader, const void *separator,
                                          size_t separator_n, const char **out_data, size_t *out_n);

/* The same with several separators: the match that ends first wins.
 *
 *   Cancel:   as coil_reader_readuntil.
 *   Errors:   as coil_reader_readuntil; -EINVAL for none at all.
 *   asyncio:  StreamReader.readuntil(tuple) */
COIL_ASYNC coil_ret coil_reader_readuntil_any(coil_reader *reader, const struct iovec *separators,
                                              size_t separators_n, const char **out_data,
                                              size_t *out_n);

/* Is everything read and the end of the stream known? asyncio: StreamReader.at_eof */
COIL_API bool coil_reader_at_eof(coil_reader *reader);

/* How many bytes are in the reader already. */
COIL_API size_t coil_reader_buffered(const coil_reader *reader);

/* What the connection failed with, or what set_exception said; NULL if nothing did. Good as long as the
 * reader. asyncio: StreamReader.exception */
COIL_API const coil_error *coil_reader_exception(coil_reader *reader);

/* Share and give back. unref accepts NULL. */
COIL_API coil_reader *coil_reader_ref(coil_reader *reader);
COIL_API void coil_reader_unref(coil_reader *reader);

/* A reader without a connection, fed by hand. `limit` 0: COIL_STREAM_LIMIT. loop NULL: the running or
 * current one. One reference, yours.
 *
 *   Errors:  -ENOMEM, COIL_ENOLOOP, COIL_ECLOSED.
 *   asyncio: StreamReader() */
COIL_API int coil_reader_new(coil_loop *loop, size_t limit, coil_reader **out_reader);

/* Put bytes into such a reader (copied), or say that no more will come.
 *
 *   Errors:  COIL_EINVALIDSTATE after feed_eof, or for a reader with a connection; -ENOMEM, and then nothing
 *            was put.
 *   asyncio: StreamReader.feed_data, feed_eof */
COIL_API int coil_reader_feed_data(coil_reader *reader, const void *data, size_t n);
COIL_API int coil_reader_feed_eof(coil_reader *reader);

/* Make this and every later read fail, at once. The record is that of the last error, if it is the same.
 *
 *   Errors:  -EINVAL for a code that is no error.
 *   asyncio: StreamReader.set_exception */
COIL_API int coil_reader_set_exception(coil_reader *reader, coil_ret error);

/* ---- writing ---- */

/* Send n bytes: as many as the kernel takes now, the rest is copied and follows by itself. Never waits.
 *
 *   Errors:  -ENOMEM, and then nothing was sent; COIL_EINVALIDSTATE after write_eof. Once the connection is
 *            lost: its error, or -ECONNRESET, and the bytes are dropped (asyncio drops them in silence).
 *            Debug mode: COIL_EWRONGTHREAD.
 *   asyncio: StreamWriter.write */
COIL_API int coil_writer_write(coil_writer *writer, const void *data, size_t n);

/* The same for several pieces at once, in one system call if the kernel takes them.
 *
 *   Errors:  as coil_writer_write; -EINVAL when their lengths add up to more than memory can hold.
 *   asyncio: StreamWriter.writelines */
COIL_API int coil_writer_writelines(coil_writer *writer, const struct iovec *pieces,
                                    size_t pieces_n);

/* The same without copying: `data` is held until it is sent or dropped, then release(cookie) is called from
 * the loop, exactly once. When this call fails, the bytes were not taken and release is not called.
 *
 *   Errors: as coil_writer_write; -EINVAL without a release function. */
COIL_API int coil_writer_write_owned(coil_writer *writer, const void *data, size_t n,
                                     void (*release)(void *cookie), void *cookie);

/* From now on collect what is written, and send it together as soon as the loop turns: when the task waits, not later. What makes
 * 32 KiB goes at once. For protocols that write many small messages in a row, as answers to what a client sent in one go: a
 * system call for all of them, at the price of a copy. Over TLS it is always so. Off, the default: each write goes at once.
 * asyncio has no such call. */
COIL_API void coil_writer_set_coalescing(coil_writer *writer, bool on);

/* Wait until the peer has taken enough of what was written: until no more than the low mark is left, if
 * the high mark was passed. `write, drain` is how to send much to a slow peer in little memory.
 *
 *   Suspends: only then, and now and then for a turn when the peer takes everything at once; several
 *             coroutines may wait together. Once closing: for one turn.
 *   Cancel:   returns -ECANCELED; what was written is sent all the same.
 *   Errors:   what the reader's set_exception said; the connection's error; -ECONNRESET "Connection lost";
 *             COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  StreamWriter.drain */
COIL_ASYNC coil_ret coil_writer_drain(coil_writer *writer);

/* End the sending direction once all is sent; the peer sees the end of the stream, and reading goes on.
 * Twice is fine. Over TLS the end is a close_notify; not every peer answers behind it (TLS 1.2 wants it to close at once).
 *
 *   Errors:  once the connection is lost or closing, as coil_writer_write.
 *   asyncio: StreamWriter.write_eof, can_write_eof */
COIL_API int coil_writer_write_eof(coil_writer *writer);
COIL_API bool coil_writer_can_write_eof(const coil_writer *writer);

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    const char *server_hostname; /* whom the server's certificate must name; a client must say it */
    double handshake_timeout;    /* seconds; 0: 60 */
    double shutdown_timeout;     /* seconds for the peer's close_notify; 0: 30 */
} coil_start_tls_opts;

/* Speak TLS from here on, as a client or a server, as the context says; a connection that speaks TLS already gets a second
 * layer within it. What was written before goes out first, in the clear. What was received and not read yet
 * goes to TLS and never to the reader: whoever slipped plain bytes in behind the last plain answer spoils
 * the handshake with them.
 *
 *   Suspends: until the handshake is over.
 *   Cancel:   returns -ECANCELED; the connection is closed.
 *   Owns:     keeps a reference to the context, as long as the connection lives.
 *   Where:    as a read; nobody reads meanwhile.
 *   Errors:   whatever comes, the connection is closed, unless the error is -EINVAL (no server_hostname for a client
 *             that must check it), COIL_ERUNNING (a coroutine reads), COIL_EINVALIDSTATE (after write_eof) or -ENOTSUP.
 *             COIL_ETLSCERT: the peer's certificate is not good, the words say what is wrong. COIL_ETLS: the
 *             handshake failed otherwise. -ECONNABORTED: it took too long. -ECONNRESET: the peer went away.
 *   asyncio:  StreamWriter.start_tls */
COIL_ASYNC coil_ret coil_writer_start_tls(coil_writer *writer, coil_tls_context *context,
                                          const coil_start_tls_opts *opts);

/* The (outermost) TLS of this connection, borrowed; NULL: it has none. asyncio: get_extra_info("ssl_object") */
COIL_API coil_tls *coil_writer_tls(const coil_writer *writer);

/* Close: what was written is still sent, by itself; reads find the end of the stream. Twice, and
 * NULL, are fine. asyncio: StreamWriter.close */
COIL_API void coil_writer_close(coil_writer *writer);

/* Close now; what was not sent yet is dropped. Twice, and NULL, are fine. asyncio: WriteTransport.abort */
COIL_API void coil_writer_abort(coil_writer *writer);

/* Is it closed or closing, or the connection lost? asyncio: StreamWriter.is_closing */
COIL_API bool coil_writer_is_closing(const coil_writer *writer);

/* Wait until it is closed and nothing is left to send.
 *
 *   Suspends: until then.
 *   Cancel:   returns -ECANCELED; closing goes on.
 *   Errors:   the connection's error; COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  StreamWriter.wait_closed */
COIL_ASYNC coil_ret coil_writer_wait_closed(coil_writer *writer);

/* Close, wait until all is sent and the connection closed, and give back one reference to each face.
 *
 *   Suspends: until closed.
 *   Cancel:   returns -ECANCELED; both are given back all the same, and what was written is sent.
 *   Owns:     takes your references to reader and writer, whatever happens. NULL is fine. A server's client
 *             function may call it too: it has none, so nothing is taken.
 *   Errors:   as coil_writer_wait_closed. */
COIL_ASYNC coil_ret coil_writer_finish(coil_writer *writer);

/* Share and give back. The last reference closes a writer that is still open (debug mode reports it).
 * unref accepts NULL. */
COIL_API coil_writer *coil_writer_ref(coil_writer *writer);
COIL_API void coil_writer_unref(coil_writer *writer);

/* "peername" or "sockname", as text; over TLS also "version", "cipher", "alpn", "server_name" and "peer_name" (what
 * coil/tls.h says of coil_tls_version and so on). NULL for other names, or when it cannot be told. Good as long as the
 * writer. asyncio: StreamWriter.get_extra_info */
COIL_API const char *coil_writer_get_extra_info(coil_writer *writer, const char *name);

/* The socket under the connection, borrowed; for options. asyncio: get_extra_info("socket") */
COIL_API coil_sock *coil_writer_sock(coil_writer *writer);

/* The marks of flow control, in bytes; COIL_DEFAULT leaves one to be worked out: high is 4 times low, or
 * 64 KiB; low is a quarter of high.
 *
 *   Errors:  -EINVAL unless high >= low >= 0.
 *   asyncio: WriteTransport.set_write_buffer_limits, get_write_buffer_limits, get_write_buffer_size */
enum { COIL_DEFAULT = -1 };
COIL_API int coil_writer_set_write_buffer_limits(coil_writer *writer, ssize_t high, ssize_t low);
COIL_API void coil_writer_get_write_buffer_limits(const coil_writer *writer, size_t *out_high,
                                                  size_t *out_low);
COIL_API size_t coil_writer_get_write_buffer_size(const coil_writer *writer);

/* ---- serving ---- */

/* Serves one client, in a task of its own. Both faces are borrowed: when it returns, the connection is
 * closed (what was written is still sent) and given back. One that hands the connection on to somebody else stays in
 * coil_writer_wait_closed. An error it returns goes to the loop's exception handler, but for -ECANCELED. */
typedef coil_ret (*coil_client_fn)(coil_reader *reader, coil_writer *writer, void *arg);

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    size_t limit;             /* of the readers, in bytes; 0: COIL_STREAM_LIMIT */
    int family;               /* AF_INET, AF_INET6; 0: both */
    int flags;                /* of <netdb.h>; 0: AI_PASSIVE */
    int backlog;              /* 0: 100; also how many are accepted in one turn */
    bool reuse_port;          /* SO_REUSEPORT */
    bool no_reuse_address;    /* asyncio: reuse_address=False */
    bool keep_alive;          /* SO_KEEPALIVE */
    bool no_start;            /* asyncio: start_serving=False */
    size_t client_stack_size; /* of the clients' tasks; 0: the loop's default */
    const char *const *hosts; /* several hosts instead of one: `host` is NULL then */
    size_t hosts_n;
    unsigned unix_mode;     /* permissions of a unix socket's file; 0: the umask's */
    bool no_cleanup_socket; /* that file stays at the close; asyncio: cleanup_socket=False */
    /* Speak TLS with the clients: a server's context, of which it keeps a reference; NULL: none. A client comes to the
     * server's function, or factory, when its handshake is over. asyncio: ssl */
    coil_tls_context *tls;
    double tls_handshake_timeout; /* seconds; 0: 60 */
    double tls_shutdown_timeout;  /* seconds for the peer's close_notify; 0: 30 */
} coil_server_opts;

/* Listen on every address of `host` (NULL or "": of this machine), or of several hosts, and call
 * fn(reader, writer, arg) in a task of its own for each client. Each address has one socket, addresses that this
 * machine does not have are passed over, and any other failure closes all. Port "0" or NULL: a free one, see
 * coil_server_port. When the process runs out of descriptors or memory, that is reported, and accepting pauses for
 * a second.
 *
 *   Suspends: to look `host` up, or several one after the other.
 *   Cancel:   returns -ECANCELED; nothing stays open.
 *   Owns:     the server is yours: coil_server_free. `arg` must outlive it and its clients.
 *   Errors:   as coil_getaddrinfo; the kernel's, "error while attempting to bind on address ..."; -EADDRNOTAVAIL
 *             when no address of `host` is of this machine; -EINVAL for `host` and opts->hosts together; -ENOMEM,
 *             COIL_ENOTASK.
 *   asyncio:  start_server */
COIL_ASYNC coil_ret coil_start_server(coil_client_fn fn, void *arg, const char *host,
                                      const char *port, coil_server **out_server);
COIL_ASYNC coil_ret coil_start_server_with(coil_client_fn fn, void *arg, const char *host,
                                           const char *port, const coil_server_opts *opts,
                                           coil_server **out_server);

/* The same on a unix socket: a path or "@name" (coil_address_unix). A socket's file that is there already is removed
 * first, whoever left it; any other file is in the way. Nobody can connect before the file has the permissions of
 * opts->unix_mode. When the server closes, the file is removed, unless another one has taken its place. Never waits.
 *
 *   Owns:    as coil_start_server.
 *   Where:   on the loop's thread.
 *   Errors:  as coil_address_unix; the kernel's; -EADDRINUSE when another kind of file, or another server's abstract
 *            name, is there; -EINVAL for a mode beyond 0777; -ENOMEM, COIL_ENOLOOP, COIL_ECLOSED.
 *   asyncio: start_unix_server */
COIL_API int coil_start_unix_server(coil_client_fn fn, void *arg, const char *path,
                                    const coil_server_opts *opts, coil_server **out_server);

/* The same on a stream socket that is bound already, or listens: one that was inherited (coil_sock_adopt), or has
 * options of your own. The server drives it from here on: calls on it that wait are refused. Never waits. A unix
 * socket's file is its maker's business and stays.
 *
 *   Owns:    takes your reference to the socket; on failure it is still yours.
 *   Where:   on the loop's thread.
 *   Errors:  -EINVAL for a socket of another type, or without a function; COIL_ERUNNING while somebody else uses it;
 *            -EBADF if it is closed; the kernel's; -ENOMEM, COIL_ECLOSED.
 *   asyncio: start_server(sock=...), start_unix_server(sock=...) */
COIL_API int coil_start_server_sock(coil_client_fn fn, void *arg, coil_sock *sock,
                                    const coil_server_opts *opts, coil_server **out_server);

/* Begin to accept, after no_start; otherwise does nothing. Errors: COIL_EINVALIDSTATE once closed.
 * asyncio: Server.start_serving */
COIL_API int coil_server_start_serving(coil_server *server);

/* Wait until cancelled or closed; closes the server, waits for its connections.
 *
 *   Suspends: until then.
 *   Cancel:   closes the server, waits until its clients are done, returns -ECANCELED; the same when
 *             somebody else closes the server.
 *   Errors:   COIL_ERUNNING while another coroutine is in here; COIL_EINVALIDSTATE once closed; COIL_ENOTASK,
 *             COIL_EWRONGLOOP.
 *   asyncio:  Server.serve_forever */
COIL_ASYNC coil_ret coil_server_serve_forever(coil_server *server);

/* Stop listening; connections go on. Twice, and NULL, are fine. asyncio: Server.close */
COIL_API void coil_server_close(coil_server *server);

/* Wait until the server is closed, no connection of it is left and every client function has returned, whichever
 * comes last: from then on nothing uses the `arg` of the clients. (asyncio does not wait for the functions.)
 *
 *   Suspends: until then.
 *   Cancel:   returns -ECANCELED; nothing else changes.
 *   Errors:   COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  Server.wait_closed */
COIL_ASYNC coil_ret coil_server_wait_closed(coil_server *server);

/* Close, or abort, every connection of this server. asyncio: Server.close_clients, abort_clients */
COIL_API void coil_server_close_clients(coil_server *server);
COIL_API void coil_server_abort_clients(coil_server *server);

/* Does it accept? asyncio: Server.is_serving */
COIL_API bool coil_server_is_serving(const coil_server *server);

/* How many clients it has now: connections that are open, or whose function still runs. */
COIL_API size_t coil_server_connections(const coil_server *server);

/* Its sockets, how many there are; the address of one of them (-EINVAL beyond the last); and the port of the
 * first (-EAFNOSUPPORT for a unix socket). asyncio: Server.sockets */
COIL_API size_t coil_server_sockets(const coil_server *server);
COIL_API int coil_server_sockname(const coil_server *server, size_t index,
                                  coil_address *out_address);
COIL_API int coil_server_port(const coil_server *server);

/* Its loop; NULL once that is closed. asyncio: Server.get_loop */
COIL_API coil_loop *coil_server_get_loop(const coil_server *server);

/* Close it, wait as coil_server_wait_closed does, and give it up.
 *
 *   Suspends: until no connection of it is left and every client function has returned.
 *   Cancel:   returns -ECANCELED; it is closed and given up all the same, connections go on.
 *   Owns:     takes the server, whatever happens. NULL is fine.
 *   Errors:   as coil_server_wait_closed.
 *   asyncio:  the end of async with */
COIL_ASYNC coil_ret coil_server_finish(coil_server *server);

/* Close it and give it up; connections go on. Not while a coroutine waits in one of the calls above. NULL is
 * fine. */
COIL_API void coil_server_free(coil_server *server);

#ifdef __cplusplus
}
#endif
#endif
