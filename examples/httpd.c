/* SPDX-License-Identifier: MIT
 *
 * httpd.c: a static HTTP/1.1 file server: httpd [-w WORKERS] ADDRESS:PORT DIRECTORY
 *
 * One task a connection, read top to bottom: read a request, answer it, again. What to look at:
 *   - deadlines are scopes around whatever waits inside (read_request, send_file);
 *   - what the kernel has in memory is opened and read at once; only what may wait for a disk goes to
 *     a thread (coil_to_thread), so a slow disk stalls one client;
 *   - SIGTERM stops accepting, gives idle connections GRACE_S seconds (a request may be under way), lets
 *     busy ones finish their answer, and aborts what is left after DRAIN_S seconds (main_task);
 *   - as a service it takes the socket that was opened for it, says when it is ready, and gives signs of life
 *     (start_server, httpd.service); by hand it does without;
 *   - with workers, each is a server of its own on the same port (crew.h); they share nothing;
 *   - every buffer has a size: a client costs a stack page or three, and CHUNK bytes while it downloads.
 *
 * Parsing is llhttp's. Files are opened beneath the directory by the kernel (openat2), so neither ".." nor a
 * symbolic link leads out. */
#include "crew.h"
#include "program.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <llhttp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

enum {
    IN_BYTES = 4096,      /* read at once; also all that is held of a pipeline */
    PATH_BYTES = 2048,    /* of a request's target: longer is 414 */
    HEAD_BYTES = 16384,   /* of a request's head: more is 431 */
    BODY_BYTES = 1 << 20, /* of a request's body, which is thrown away: more is 413 */
    CHUNK = 65536,        /* of a file, held while it is sent */
};
static const double IDLE_S = 15, HEAD_S = 10, SEND_S = 30, GRACE_S = 0.25, DRAIN_S = 10;

struct site {
    int root; /* the directory, open */
    bool draining;
    struct client *clients;                       /* all connections, a list */
    unsigned long connections, responses, broken; /* so far; broken ones were not sent whole */
};

struct client {
    struct client *next, **back;
    struct site *site;
    coil_timeout_scope *idle; /* while it waits for a request: until when; else NULL */
    coil_reader *reader;
    coil_writer *writer;

    char in[IN_BYTES];
    size_t in_at, in_n; /* what of `in` is not parsed yet */

    /* the request */
    llhttp_t parser;
    size_t head_n, target_n;
    uint64_t body_n;
    char target[PATH_BYTES];
    char field[16], range[64];
    size_t field_n, range_n;
    bool complete;
    int refuse; /* a status to answer with instead, 0 for none */
};

/* ---- the parser's callbacks: they copy what we need and count the rest ---- */

static int append(char *to, size_t *n, size_t size, const char *at, size_t more)
{
    if (*n + more >= size)
        return -1;
    memcpy(to + *n, at, more);
    *n += more;
    to[*n] = 0;
    return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    if (append(c->target, &c->target_n, sizeof c->target, at, n) < 0)
        c->refuse = 414;
    return c->refuse ? HPE_USER : 0;
}

static int count_head(struct client *c, size_t n)
{
    c->head_n += n + 2;
    if (c->head_n > HEAD_BYTES)
        c->refuse = 431;
    return c->refuse ? HPE_USER : 0;
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    if (c->field_n < sizeof c->field && append(c->field, &c->field_n, sizeof c->field, at, n) < 0)
        c->field_n = sizeof c->field; /* too long to be one that we know */
    return count_head(c, n);
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    if (c->field_n == 5 && strncasecmp(c->field, "range", 5) == 0 &&
        append(c->range, &c->range_n, sizeof c->range, at, n) < 0)
        c->range_n = 0, c->range[0] = 0; /* a range we cannot read is one we may ignore */
    return count_head(c, n);
}

static int on_value_complete(llhttp_t *p)
{
    ((struct client *)p->data)->field_n = 0;
    return 0;
}

static int on_headers_complete(llhttp_t *p)
{
    struct client *c = p->data;
    if (p->content_length > BODY_BYTES)
        c->refuse = 413;
    return c->refuse ? HPE_USER : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct client *c = p->data;
    (void)at;
    if ((c->body_n += n) > BODY_BYTES)
        c->refuse = 413;
    return c->refuse ? HPE_USER : 0;
}

static int on_message_complete(llhttp_t *p)
{
    ((struct client *)p->data)->complete = true;
    return HPE_PAUSED; /* what follows is the next request */
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- reading a request ---- */

/* Feeds the parser what is in `in`; true once the request is complete or must be refused. */
static bool parse(struct client *c)
{
    const char *at = c->in + c->in_at;
    enum llhttp_errno e = llhttp_execute(&c->parser, at, c->in_n);
    size_t used = e == HPE_OK ? c->in_n : (size_t)(llhttp_get_error_pos(&c->parser) - at);
    c->in_at += used;
    c->in_n -= used;
    if (e != HPE_OK && e != HPE_PAUSED && !c->refuse)
        c->refuse = 400;
    return c->complete || c->refuse;
}

/* 1: a request is there (or c->refuse says what to answer), 0: the client is gone or was idle for too long. */
static coil_ret read_request(struct client *c)
{
    llhttp_init(&c->parser, HTTP_REQUEST, &settings);
    c->parser.data = c;
    c->head_n = c->target_n = c->field_n = c->range_n = 0;
    c->body_n = 0;
    c->range[0] = 0;
    c->complete = false;
    c->refuse = 0;

    coil_ret rc = 0;
    coil_timeout(deadline, c->site->draining ? GRACE_S : IDLE_S);
    bool begun = c->in_n > 0;
    while (c->in_n == 0 || !parse(c)) {
        c->idle = begun ? NULL : &deadline;
        c->in_at = 0;
        rc = coil_reader_read(c->reader, c->in, sizeof c->in);
        c->idle = NULL;
        if (rc <= 0)
            break;
        c->in_n = (size_t)rc;
        if (!begun) { /* from the first byte on it must be quick */
            begun = true;
            coil_ignore(coil_timeout_reschedule(&deadline, coil_loop_time(NULL) + HEAD_S));
        }
    }
    rc = coil_timeout_exit(&deadline, rc);
    if (rc == -ETIMEDOUT && begun) {
        c->refuse = 408;
        return 1;
    }
    if (rc == -ETIMEDOUT || rc == -ECONNRESET)
        return 0;
    return rc > 0 || (rc == 0 && (c->complete || c->refuse)) ? 1 : rc;
}

/* ---- answering ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 416: return "Range Not Satisfiable";
    case 431: return "Request Header Fields Too Large";
    default: return "Internal Server Error";
    }
}

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css"},
                                           {".js", "text/javascript"},
                                           {".txt", "text/plain; charset=utf-8"},
                                           {".md", "text/markdown; charset=utf-8"},
                                           {".json", "application/json"},
                                           {".svg", "image/svg+xml"},
                                           {".png", "image/png"},
                                           {".jpg", "image/jpeg"},
                                           {".pdf", "application/pdf"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static coil_ret send_head(struct client *c, int status, bool keep, off_t length, const char *more)
{
    char head[768], date[40];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: coil\r\nContent-Length: %lld\r\n"
                     "Connection: %s\r\n%s\r\n",
                     status, reason(status), date, (long long)length, keep ? "keep-alive" : "close",
                     more);
    return coil_writer_write(c->writer, head, (size_t)n);
}

static coil_ret send_status(struct client *c, int status, bool keep, const char *more)
{
    char body[64], headers[160];
    int n = snprintf(body, sizeof body, "%d %s\n", status, reason(status));
    snprintf(headers, sizeof headers, "Content-Type: text/plain\r\n%s", more);
    coil_ret rc = send_head(c, status, keep, n, headers);
    if (!coil_iserr(rc) && c->parser.method != HTTP_HEAD)
        rc = coil_writer_write(c->writer, body, (size_t)n);
    return rc;
}

/* The target's path, decoded, relative to the root. False for one that cannot name a file. */
static bool decode_path(const char *target, char *path, size_t size)
{
    size_t n = 0;
    if (*target++ != '/')
        return false;
    while (*target == '/')
        target++;
    for (; *target && *target != '?' && *target != '#'; target++) {
        int byte = (unsigned char)*target;
        if (byte == '%') {
            if (!isxdigit((unsigned char)target[1]) || !isxdigit((unsigned char)target[2]))
                return false;
            char hex[3] = {target[1], target[2], 0};
            byte = (int)strtol(hex, NULL, 16);
            target += 2;
        }
        if (byte < 0x20 || byte == 0x7f || n + sizeof "index.html" >= size)
            return false;
        path[n++] = (char)byte;
    }
    if (n == 0 || path[n - 1] == '/')
        n += (size_t)sprintf(path + n, "index.html");
    path[n] = 0;
    return true;
}

struct opening {
    int root, fd;
    const char *path;
    struct stat st;
    unsigned long long how; /* RESOLVE_CACHED: only if that needs no disk, else -EAGAIN */
};

static coil_ret open_file(void *arg)
{
    struct opening *o = arg;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | o->how};
    o->fd = (int)syscall(SYS_openat2, o->root, o->path, &how, sizeof how);
    if (o->fd < 0)
        return -errno;
    if (fstat(o->fd, &o->st) == 0 && S_ISREG(o->st.st_mode))
        return 0;
    close(o->fd);
    return -ENOENT;
}

/* At once if the kernel knows every folder on the way, else on a thread. */
static coil_ret open_somehow(struct opening *o)
{
    o->how = RESOLVE_CACHED;
    coil_ret rc = open_file(o);
    if (rc != -EAGAIN && rc != -EINVAL) /* EINVAL: a kernel before 5.12 */
        return rc;
    o->how = 0;
    return coil_to_thread(open_file, o);
}

struct reading {
    int fd;
    off_t at;
    size_t n;
    char *into;
};

static coil_ret read_chunk(void *arg)
{
    struct reading *r = arg;
    size_t got = 0;
    while (got < r->n) {
        ssize_t n = pread(r->fd, r->into + got, r->n - got, r->at + (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO; /* it shrank under us: what we promised cannot be sent */
        got += (size_t)n;
    }
    return (coil_ret)got;
}

static coil_ret read_somehow(struct reading *r)
{
#ifdef RWF_NOWAIT /* some C libraries have no preadv2 */
    struct iovec into = {r->into, r->n};
    if (preadv2(r->fd, &into, 1, r->at, RWF_NOWAIT) == (ssize_t)r->n)
        return (coil_ret)r->n;
#endif
    return coil_to_thread(read_chunk, r);
}

/* [from, from + length) of an open file; the writer frees each chunk when it is sent. */
static coil_ret send_file(struct client *c, int fd, off_t from, off_t length)
{
    coil_ret rc = 0;
    while (length > 0 && !coil_iserr(rc)) {
        size_t n = length < CHUNK ? (size_t)length : CHUNK;
        struct reading r = {.fd = fd, .at = from, .n = n, .into = malloc(n)};
        if (!r.into)
            return -ENOMEM;
        rc = read_somehow(&r);
        if (!coil_iserr(rc))
            rc = coil_writer_write_owned(c->writer, r.into, n, free, r.into);
        if (coil_iserr(rc)) {
            free(r.into);
            return rc;
        }
        coil_timeout(deadline, SEND_S); /* for each chunk: slow is fine, stuck is not */
        rc = coil_timeout_exit(&deadline, coil_writer_drain(c->writer));
        from += (off_t)n;
        length -= (off_t)n;
    }
    return rc;
}

/* "bytes=a-b" of a file of `size`: 206 with *from and *length, 416, or 200 for what may be ignored. */
static int read_range(const char *range, off_t size, off_t *from, off_t *length)
{
    *from = 0;
    *length = size;
    if (strncmp(range, "bytes=", 6) != 0 || strchr(range, ','))
        return 200;
    range += 6;
    char *end;
    if (*range == '-' && isdigit((unsigned char)range[1])) {
        long long last = strtoll(range + 1, &end, 10);
        if (*end)
            return 200;
        if (last == 0 || size == 0)
            return 416;
        *length = last < size ? last : size;
        *from = size - *length;
        return 206;
    }
    if (!isdigit((unsigned char)*range))
        return 200;
    long long first = strtoll(range, &end, 10), last = size - 1;
    if (*end++ != '-')
        return 200;
    if (*end) {
        if (!isdigit((unsigned char)*end))
            return 200;
        last = strtoll(end, &end, 10);
        if (*end || last < first)
            return 200;
    }
    if (first >= size)
        return 416;
    *from = first;
    *length = (last < size ? last + 1 : size) - first;
    return 206;
}

static coil_ret answer_file(struct client *c, const char *path, bool keep)
{
    struct opening o = {.root = c->site->root, .path = path};
    coil_ret rc = open_somehow(&o);
    if (rc == -ECANCELED || rc == COIL_EEXIT)
        return rc;
    if (coil_iserr(rc))
        return send_status(c, rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE ? 500 : 404, keep,
                           "");

    off_t from, length;
    char headers[256];
    int status = c->range_n ? read_range(c->range, o.st.st_size, &from, &length) : 200;
    if (status == 200)
        from = 0, length = o.st.st_size;
    if (status == 416) {
        snprintf(headers, sizeof headers, "Content-Range: bytes */%lld\r\n",
                 (long long)o.st.st_size);
        rc = send_status(c, status, keep, headers);
    } else {
        int n = snprintf(headers, sizeof headers, "Content-Type: %s\r\nAccept-Ranges: bytes\r\n",
                         type_of(path));
        if (status == 206)
            snprintf(headers + n, sizeof headers - (size_t)n,
                     "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)from,
                     (long long)(from + length - 1), (long long)o.st.st_size);
        rc = send_head(c, status, keep, length, headers);
        if (!coil_iserr(rc) && c->parser.method != HTTP_HEAD)
            rc = send_file(c, o.fd, from, length);
    }
    close(o.fd);
    return rc;
}

static coil_ret answer(struct client *c, bool keep)
{
    char path[PATH_BYTES];
    if (c->refuse)
        return send_status(c, c->refuse, keep, "");
    if (c->parser.method != HTTP_GET && c->parser.method != HTTP_HEAD)
        return send_status(c, 405, keep, "Allow: GET, HEAD\r\n");
    if (!decode_path(c->target, path, sizeof path))
        return send_status(c, 400, keep, "");
    return answer_file(c, path, keep);
}

/* ---- a connection, and the program ---- */

static coil_ret serve_requests(struct client *c)
{
    for (bool keep = true; keep;) {
        coil_ret rc = read_request(c);
        if (rc <= 0)
            return rc;
        keep = !c->refuse && !c->site->draining && llhttp_should_keep_alive(&c->parser);
        rc = answer(c, keep);
        if (!keep) /* all of it must leave before we go, however slowly */
            coil_writer_set_write_buffer_limits(c->writer, 0, 0);
        if (!coil_iserr(rc)) {
            coil_timeout(deadline, SEND_S);
            rc = coil_timeout_exit(&deadline, coil_writer_drain(c->writer));
        }
        if (coil_iserr(rc)) {
            c->site->broken++;
            return rc;
        }
        c->site->responses++;
    }
    /* Let the client read the last answer: take what it still sends for a moment, then close. */
    coil_ignore(coil_writer_write_eof(c->writer));
    coil_timeout(linger, 1.0);
    coil_ret rc;
    while ((rc = coil_reader_read(c->reader, c->in, sizeof c->in)) > 0)
        ;
    return coil_timeout_exit(&linger, rc);
}

static coil_ret serve(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct site *site = arg;
    struct client c = {.site = site, .reader = reader, .writer = writer};
    site->connections++;
    c.next = site->clients;
    c.back = &site->clients;
    if (c.next)
        c.next->back = &c.next;
    site->clients = &c;

    coil_writer_set_coalescing(
        writer, true); /* head and body, and all that was asked for at once, in one call */
    coil_ret rc = serve_requests(&c);
    if (rc == -ETIMEDOUT)
        coil_writer_abort(
            writer); /* it does not read: what is buffered would wait for it for ever */

    *c.back = c.next;
    if (c.next)
        c.next->back = c.back;
    /* A client that leaves or dawdles is no trouble of ours. */
    bool theirs = rc == -ECONNRESET || rc == -EPIPE || rc == -ETIMEDOUT || rc == COIL_EEXIT;
    return theirs ? 0 : rc;
}

struct args {
    char *host, *port;
    const char *directory;
};

/* On the socket that a service manager opened for us, or else on one of our own. */
static coil_ret start_server(struct site *site, const struct args *args, coil_server **out)
{
    bool alone = coil_worker_count() < 2;
    coil_server_opts opts = {.size = sizeof opts, .backlog = 1024, .reuse_port = !alone};
    coil_service_fd given;
    coil_sock *sock;
    if (crew_follows())
        return crew_join_server(serve, site, args->host, &opts, out);
    int n = alone ? coil_service_listen_fds(&given, 1) : 0;
    if (n == 0)
        return coil_start_server_with(serve, site, args->host, args->port, &opts, out);
    int err = n < 0 ? n : coil_sock_adopt(NULL, given.fd, &sock);
    if (err < 0)
        return err;
    err = coil_start_server_sock(serve, site, sock, &opts, out);
    if (err < 0)
        coil_sock_unref(sock);
    return err;
}

/* Alone, or as the first of several: says that all is ready, and waits for the signal. */
static coil_ret lead(coil_server *server, const struct args *args)
{
    coil_ret why = crew_gather(coil_server_port(server));
    printf("httpd: serving %s on %s:%d (%s)\n", args->directory, args->host,
           coil_server_port(server), coil_loop_backend(NULL));
    fflush(stdout);
    if (!coil_iserr(why))
        why = coil_service_notify("READY=1");
    if (!coil_iserr(why))
        why = coil_service_watchdog(NULL);
    if (!coil_iserr(why))
        why = wait_for_stop_signal();
    coil_service_notify_nowait("STOPPING=1");
    coil_ret told = crew_tell(0);
    return coil_iserr(why) ? why : told;
}

static coil_ret main_task(void *arg)
{
    const struct args *args = arg;
    struct site site = {.root = open(args->directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC)};
    if (site.root < 0)
        return coil_fail(-errno, "%s: %s", args->directory, strerror(errno));
    coil_server *server;
    coil_ret rc = crew_follows() ? 0 : catch_stop_signals();
    if (!coil_iserr(rc))
        rc = start_server(&site, args, &server);
    if (coil_iserr(rc)) {
        close(site.root);
        return rc;
    }
    coil_ret why = crew_follows() ? crew_wait() : lead(server, args);
    /* Stopped by a signal or cancelled: either way the clients use `site`, so they end before we do. */
    site.draining = true;
    coil_server_close(server);
    for (struct client *c = site.clients; c; c = c->next)
        if (c->idle)
            coil_timeout_reschedule(c->idle, coil_loop_time(NULL) + GRACE_S);
    coil_timeout(deadline, DRAIN_S);
    rc = coil_timeout_exit(&deadline, coil_server_wait_closed(server));
    if (coil_iserr(rc)) {
        coil_server_abort_clients(server);
        rc = coil_server_wait_closed(server);
    }
    if (coil_iserr(why))
        rc = why;
    coil_server_free(server);
    close(site.root);
    printf("httpd: %lu connections, %lu responses, %lu broken off\n", site.connections,
           site.responses, site.broken);
    return rc;
}

int main(int argc, char **argv)
{
    struct args args;
    unsigned workers = crew_size(&argc, &argv);
    if (argc != 3 || !split_address(argv[1], &args.host, &args.port)) {
        fprintf(stderr,
                "usage: httpd [-w WORKERS] ADDRESS:PORT DIRECTORY\n"
                "serves the files beneath DIRECTORY; [::1]:8000 for IPv6, port 0 for a free one\n");
        return 2;
    }
    args.directory = argv[2];
    raise_descriptor_limit();
    return coil_report(workers == 1 ? coil_run(main_task, &args)
                                    : coil_workers(workers, main_task, &args));
}
