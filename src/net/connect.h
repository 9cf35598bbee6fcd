/* SPDX-License-Identifier: MIT
 *
 * connect.h: from a name to a connected socket. */
#ifndef COIL_NET_CONNECT_H
#define COIL_NET_CONNECT_H

#include "base/error.h"

#include <coil/stream.h>

/* A connected socket for a host and port. One reference, the caller's. Waits; errors as of
 * coil_open_connection. */
COIL_MUST coil_ret coil__connect(const char *host, const char *port, const coil_connect_opts *opts,
                                 coil_sock **out);

/* What these options say of TLS; `host` is whom the certificate must name unless they say otherwise. */
struct filter_plan;
struct filter_plan coil__tls_plan(const coil_connect_opts *opts, const char *host);
/* 0, or why there can be no such TLS; without a context always 0. */
coil_ret coil__tls_check(const coil_connect_opts *opts, const char *host);

/* A stream for a connected socket, and TLS over it if the options say so. Takes the reference to the socket, whatever
 * happens. Errors as of coil_open_connection. */
COIL_MUST coil_ret coil__open_stream(coil_sock *sock, const coil_connect_opts *opts,
                                     const char *host, coil_reader **out_reader,
                                     coil_writer **out_writer);

/* ---- between connect.c and race.c ---- */

enum { CONNECT_FAILURES_MAX = 16 }; /* further ones are forgotten */

struct failures {
    /* counted; NULL: short of memory, the code says it */
    struct error_record *records[CONNECT_FAILURES_MAX];
    coil_ret codes[CONNECT_FAILURES_MAX];
    size_t n;
};

/* The record is taken over; NULL is fine. */
void coil__failures_add(struct failures *f, coil_ret code, struct error_record *record);

/* A new socket for this address, bound to the first local one that suits (locals NULL: to none). 0 or an
 * error, recorded. */
int coil__connect_socket(const coil_addrinfo *to, const coil_addrinfo *locals, coil_sock **out);

/* Not worth another address: it is us, not them. */
static inline bool connect_is_final(coil_ret rc)
{
    return rc == -ECANCELED || rc == COIL_EEXIT || rc == -ENOMEM || rc == COIL_ECLOSED;
}

/* Attempts that overlap: the next begins when the one before has failed, or after `delay_ns`. The first to
 * connect is handed out, the others are closed. 0; COIL_EGROUP: all failed, and `failures` has what each failed with;
 * else an error that connect_is_final, recorded. */
COIL_MUST coil_ret coil__connect_race(const coil_addrinfo *list, const coil_addrinfo *locals,
                                      int64_t delay_ns, struct failures *failures, coil_sock **out);

#endif
