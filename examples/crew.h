/* SPDX-License-Identifier: MIT
 *
 * crew.h: a server with several workers (coil/workers.h): worker 0 leads, has the signals and chooses the port, and tells the
 * others, each of which has a listener of its own on it. Included by one file of each program; in a plain coil_run there
 * is nobody to tell. */
#ifndef EXAMPLES_CREW_H
#define EXAMPLES_CREW_H

#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Take "-w N" from the beginning of the arguments: how many workers, 0 for one each processor; 1 if it is not there. */
static inline unsigned crew_size(int *argc, char ***argv)
{
    if (*argc < 3 || strcmp((*argv)[1], "-w") != 0)
        return 1;
    int n = atoi((*argv)[2]);
    *argc -= 2;
    *argv += 2;
    return n > 0 ? (unsigned)n : 0;
}

/* Am I one of those that are told? */
static inline bool crew_follows(void)
{
    return coil_worker_index() > 0;
}

/* Tell the others something: the port, and later that it is time to stop. */
static inline coil_ret crew_tell(intptr_t what)
{
    coil_ret rc = 0;
    if (coil_worker_index() == 0)
        for (int i = 1; i < coil_worker_count() && rc == 0; i++)
            rc = coil_worker_send((unsigned)i, (void *)what);
    return rc == COIL_ECLOSED ? 0 : rc; /* one that has ended needs no words */
}

/* What the first says; waits until it says something. */
static inline coil_ret crew_hear(intptr_t *out_what)
{
    coil_message m;
    coil_ret rc = coil_worker_receive(&m, 1);
    *out_what = coil_iserr(rc) ? 0 : (intptr_t)m.data;
    return coil_iserr(rc) ? rc : 0;
}

/* A server on the port that the first has, which hears of it. */
static inline coil_ret crew_join_server(coil_client_fn fn, void *arg, const char *host,
                                        const coil_server_opts *opts, coil_server **out)
{
    char text[8];
    intptr_t port;
    coil_ret rc = crew_hear(&port);
    snprintf(text, sizeof text, "%d", (int)(port & 65535));
    if (rc == 0)
        rc = coil_start_server_with(fn, arg, host, text, opts, out);
    if (rc == 0 && (rc = coil_worker_send(0, NULL)) != 0)
        coil_server_free(*out);
    return rc;
}

/* The first: all others serve on this port, too. */
static inline coil_ret crew_gather(int port)
{
    intptr_t unused;
    coil_ret rc = crew_tell(port);
    for (int i = 1; i < coil_worker_count() && rc == 0; i++)
        rc = crew_hear(&unused);
    return rc;
}

/* Until the first says that it is time. */
static inline coil_ret crew_wait(void)
{
    intptr_t unused;
    return crew_hear(&unused);
}

#endif
