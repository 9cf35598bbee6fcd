/* SPDX-License-Identifier: MIT
 *
 * connect.c: from a name to a connection: its addresses are tried in order.
 *
 * Each attempt has a socket of its own, closed before the next one; with a delay for happy eyeballs they overlap,
 * and that is race.c. What each failed with is kept for the error at the end, as asyncio combines it: one
 * error is itself; if all say the same, the first; else a list of their texts.
 *
 * Runs on the loop's thread. Elsewhere: names (resolve.c), waiting for the connection (socket.c). */
#include "net/connect.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/opts.h"
#include "net/socket.h"
#include "net/stream.h"

#include <stdio.h>
#include <string.h>

/* ---- what went wrong ---- */

void coil__failures_add(struct failures *f, coil_ret code, struct error_record *record)
{
    if (f->n == CONNECT_FAILURES_MAX) {
        coil__error_unref(record);
        return;
    }
    f->codes[f->n] = code;
    f->records[f->n++] = record;
}

static void forget(struct failures *f)
{
    for (size_t i = 0; i < f->n; i++)
        coil__error_unref(f->records[i]);
    f->n = 0;
}

static const char *words(const struct failures *f, size_t i)
{
    return coil__error_show(f->records[i], f->codes[i])->message;
}

static coil_ret as_group(struct failures *f)
{
    struct error_record *group = coil__error_group(COIL_EGROUP, "create_connection failed",
                                                   f->records, f->n);
    f->n = 0; /* taken over */
    coil__error_restore(group, COIL_EGROUP);
    coil__error_unref(group);
    return COIL_EGROUP;
}

static coil_ret as_one(struct failures *f)
{
    bool same = true;
    for (size_t i = 1; i < f->n && same; i++)
        same = strcmp(words(f, 0), words(f, i)) == 0;
    coil_ret code = f->codes[0];
    if (same) {
        coil__error_restore(f->records[0], code);
    } else {
        char text[ERROR_TEXT_MAX + 8];
        size_t used = 0;
        for (size_t i = 0; i < f->n && used < sizeof text; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "",
                                     words(f, i));
        coil__fail(code, "Multiple exceptions: %s", text);
    }
    forget(f);
    return code;
}

/* ---- one attempt ---- */

/* Bind to the first local address of the right family that is willing. */
static int bind_local(coil_sock *sock, const coil_addrinfo *locals)
{
    int err = 0;
    bool met = false;
    for (; locals; locals = locals->next) {
        if (locals->family != sock->family)
            continue;
        met = true;
        err = coil_sock_bind(sock, &locals->address);
        if (err == 0)
            return 0;
        char text[COIL_ADDRESS_TEXT_MAX];
        coil_address_format(&locals->address, text, sizeof text);
        coil__fail(err, "error while attempting to bind on address %s: %s", text,
                   coil_strerror(err));
    }
    return met ? err
               : (int)coil__fail(-EADDRNOTAVAIL, "no matching local address with family=%d found",
                                 sock->family);
}

int coil__connect_socket(const coil_addrinfo *to, const coil_addrinfo *locals, coil_sock **out)
{
    coil_sock *sock;
    int err = coil_sock_new(to->family, to->type, to->protocol, &sock);
    if (err < 0)
        return err;
    if (locals && (err = bind_local(sock, locals)) < 0) {
        coil_sock_unref(sock);
        return err;
    }
    *out = sock;
    return 0;
}

static coil_ret attempt(const coil_addrinfo *to, const coil_addrinfo *locals, coil_sock **out)
{
    coil_sock *sock;
    coil_ret rc = coil__connect_socket(to, locals, &sock);
    if (rc < 0)
        return rc;
    rc = coil_sock_connect(sock, &to->address);
    if (rc < 0)
        coil_sock_unref(sock);
    else
        *out = sock;
    return rc;
}

static coil_ret one_by_one(const coil_addrinfo *list, const coil_addrinfo *locals,
                           struct failures *failures, coil_sock **out)
{
    for (; list; list = list->next) {
        coil_ret rc = attempt(list, locals, out);
        if (rc == 0 || connect_is_final(rc))
            return rc;
        coil__failures_add(failures, rc, coil__error_capture(rc));
    }
    return COIL_EGROUP;
}

/* ---- in which order ---- */

struct line {
    coil_addrinfo *first, **end;
};

static void line_push(struct line *line, coil_addrinfo *ai)
{
    *line->end = ai;
    line->end = &ai->next;
    ai->next = NULL;
}

static coil_addrinfo *line_pop(struct line *line)
{
    coil_addrinfo *ai = line->first;
    if (ai && !(line->first = ai->next))
        line->end = &line->first;
    return ai;
}

/* Families take turns, in the order in which they first appear; before that, all but one of the first `count`
 * places go to the first family. (More families than two is nothing a resolver says; they share a line.) */
static coil_addrinfo *interleave(coil_addrinfo *list, int count)
{
    enum { LINES = 3 };
    struct line lines[LINES], sorted = {NULL, &sorted.first};
    int families[LINES];
    size_t n = 0;
    while (list) {
        coil_addrinfo *ai = list;
        list = ai->next;
        size_t i = 0;
        while (i < n && families[i] != ai->family && i < LINES - 1)
            i++;
        if (i == n) {
            lines[n].first = NULL;
            lines[n].end = &lines[n].first;
            families[n++] = ai->family;
        }
        line_push(&lines[i], ai);
    }
    while (n > 0 && --count > 0 && lines[0].first)
        line_push(&sorted, line_pop(&lines[0]));
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++) {
            coil_addrinfo *ai = line_pop(&lines[i]);
            if (ai)
                line_push(&sorted, ai);
            more = more || ai;
        }
    }
    return sorted.first;
}

/* ---- connecting ---- */

static coil_ret check_delay(double delay)
{
    return delay >= 0 ? 0
                      : coil__fail(-EINVAL, "happy_eyeballs_delay must be a number of seconds, "
                                            "0 or more");
}

static coil_ret try_all(coil_addrinfo **list, const coil_addrinfo *locals,
                        const coil_connect_opts *opts, coil_sock **out)
{
    struct failures failures = {.n = 0};
    double delay = opts->happy_eyeballs_delay;
    int count = opts->interleave ? opts->interleave : delay > 0;
    if (count > 0)
        *list = interleave(*list, count);
    coil_ret rc = delay > 0 ? coil__connect_race(*list, locals, coil__clock_from_seconds(delay),
                                                 &failures, out)
                            : one_by_one(*list, locals, &failures, out);
    if (rc == COIL_EGROUP)
        return opts->all_errors ? as_group(&failures) : as_one(&failures);
    forget(&failures);
    return rc;
}

coil_ret coil__connect(const char *host, const char *port, const coil_connect_opts *opts,
                       coil_sock **out)
{
    coil_getaddrinfo_opts ask = {.size = sizeof ask, .family = opts->family, .flags = opts->flags};
    coil_addrinfo *list, *locals = NULL;
    coil_ret rc = check_delay(opts->happy_eyeballs_delay);
    if (rc < 0)
        return rc;
    rc = coil_getaddrinfo(host, port, &ask, &list);
    if (rc < 0)
        return rc;
    if (opts->local_host || opts->local_port)
        rc = coil_getaddrinfo(opts->local_host, opts->local_port, &ask, &locals);
    if (rc >= 0)
        rc = try_all(&list, locals, opts, out);
    coil_freeaddrinfo(locals);
    coil_freeaddrinfo(list);
    return rc;
}

/* ---- as a stream ---- */

struct filter_plan coil__tls_plan(const coil_connect_opts *opts, const char *host)
{
    return (struct filter_plan){.context = opts->tls,
                                .server_hostname = opts->server_hostname ? opts->server_hostname
                                                                         : host,
                                .handshake_timeout = opts->tls_handshake_timeout,
                                .shutdown_timeout = opts->tls_shutdown_timeout};
}

coil_ret coil__tls_check(const coil_connect_opts *opts, const char *host)
{
    struct filter_plan plan = coil__tls_plan(opts, host);
    return plan.context ? coil__filter_check(&plan, false) : 0;
}

/* Speak TLS over a connection that nobody else knows of yet; when that fails it is given up. */
static coil_ret secure(struct connection *conn, const struct filter_plan *plan)
{
    coil_ret rc = coil__connection_secure(conn, plan);
    if (rc == 0)
        rc = coil__connection_shake(conn);
    if (rc < 0) {
        struct error_record *why = coil__error_capture(rc);
        coil__connection_close(conn);
        coil_writer_unref(&conn->writer);
        coil_reader_unref(&conn->reader);
        coil__error_restore(why, rc);
        coil__error_unref(why);
    }
    return rc;
}

coil_ret coil__open_stream(coil_sock *sock, const coil_connect_opts *opts, const char *host,
                           coil_reader **out_reader, coil_writer **out_writer)
{
    struct connection *conn;
    struct filter_plan plan = coil__tls_plan(opts, host);
    coil_ret rc = coil__connection_new(sock, opts->limit, &conn);
    if (rc < 0) {
        coil_sock_unref(sock);
        return rc;
    }
    if (plan.context && (rc = secure(conn, &plan)) < 0)
        return rc;
    *out_reader = &conn->reader;
    *out_writer = &conn->writer;
    return 0;
}

coil_ret coil_open_connection_with(const char *host, const char *port,
                                   const coil_connect_opts *opts, coil_reader **out_reader,
                                   coil_writer **out_writer)
{
    coil_connect_opts own;
    opts = OPTS_READ(opts, own);
    coil_sock *sock;
    coil_ret rc = coil__tls_check(opts, host);
    if (rc == 0)
        rc = coil__connect(host, port, opts, &sock);
    return rc < 0 ? rc : coil__open_stream(sock, opts, host, out_reader, out_writer);
}

coil_ret coil_open_connection(const char *host, const char *port, coil_reader **out_reader,
                              coil_writer **out_writer)
{
    return coil_open_connection_with(host, port, NULL, out_reader, out_writer);
}
