/* SPDX-License-Identifier: MIT
 *
 * connect.c: from a name to a connection: its addresses are tried in order.
 *
 * Each attempt has a socket of its own, closed before the next one. What each failed with is kept for
 * the error at the end, as asyncio combines it: one error is itself; if all say the same, the first; else a
 * list of their texts.
 *
 * Runs on the loop's thread. Elsewhere: names (resolve.c), waiting for the connection (socket.c). */
#include "net/connect.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/opts.h"
#include "net/stream.h"

#include <stdio.h>
#include <string.h>

enum { ERRORS_MAX = 16 }; /* further ones are forgotten */

struct failures {
    struct error_record *records[ERRORS_MAX]; /* counted; NULL: short of memory, the code says it */
    coil_ret codes[ERRORS_MAX];
    size_t n;
};

/* ---- what went wrong ---- */

static void add_failure(struct failures *f, coil_ret code)
{
    if (f->n == ERRORS_MAX)
        return;
    f->codes[f->n] = code;
    f->records[f->n++] = coil__error_capture(code);
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

static coil_ret attempt(const coil_addrinfo *to, const coil_addrinfo *locals, coil_sock **out)
{
    coil_sock *sock;
    coil_ret rc = coil_sock_new(to->family, to->type, to->protocol, &sock);
    if (rc < 0)
        return rc;
    if (locals)
        rc = bind_local(sock, locals);
    if (rc == 0)
        rc = coil_sock_connect(sock, &to->address);
    if (rc < 0)
        coil_sock_unref(sock);
    else
        *out = sock;
    return rc;
}

/* Not worth another address: it is us, not them. */
static bool final(coil_ret rc)
{
    return rc == -ECANCELED || rc == COIL_EEXIT || rc == -ENOMEM || rc == COIL_ECLOSED;
}

static coil_ret try_all(const coil_addrinfo *list, const coil_addrinfo *locals, bool all_errors,
                        coil_sock **out)
{
    struct failures failures = {.n = 0};
    for (; list; list = list->next) {
        coil_ret rc = attempt(list, locals, out);
        if (rc == 0 || final(rc)) {
            forget(&failures);
            return rc;
        }
        add_failure(&failures, rc);
    }
    return all_errors ? as_group(&failures) : as_one(&failures);
}

coil_ret coil__connect(const char *host, const char *port, const coil_connect_opts *opts,
                       coil_sock **out)
{
    coil_getaddrinfo_opts ask = {.size = sizeof ask, .family = opts->family, .flags = opts->flags};
    coil_addrinfo *list, *locals = NULL;
    coil_ret rc = coil_getaddrinfo(host, port, &ask, &list);
    if (rc < 0)
        return rc;
    if (opts->local_host || opts->local_port)
        rc = coil_getaddrinfo(opts->local_host, opts->local_port, &ask, &locals);
    if (rc >= 0)
        rc = try_all(list, locals, opts->all_errors, out);
    coil_freeaddrinfo(locals);
    coil_freeaddrinfo(list);
    return rc;
}

/* ---- as a stream ---- */

coil_ret coil_open_connection_with(const char *host, const char *port,
                                   const coil_connect_opts *opts, coil_reader **out_reader,
                                   coil_writer **out_writer)
{
    coil_connect_opts own;
    opts = OPTS_READ(opts, own);
    coil_sock *sock;
    coil_ret rc = coil__connect(host, port, opts, &sock);
    if (rc < 0)
        return rc;
    rc = coil_open_connection_sock(sock, opts->limit, out_reader, out_writer);
    if (rc < 0)
        coil_sock_unref(sock);
    return rc;
}

coil_ret coil_open_connection(const char *host, const char *port, coil_reader **out_reader,
                              coil_writer **out_writer)
{
    return coil_open_connection_with(host, port, NULL, out_reader, out_writer);
}
