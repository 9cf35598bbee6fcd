/* SPDX-License-Identifier: MIT
 *
 * client.h: what the client's files know of each other. */
#ifndef TEST_CHAOS_CLIENT_H
#define TEST_CHAOS_CLIENT_H

#include "chaos.h"

/* One conversation. */
struct talk {
    struct client_half *half;
    const struct plan *plan; /* in `half` */
    uint64_t id;
    coil_reader *reader;
    coil_writer *writer; /* NULL: `fd` */
    int fd;
    bool spoke;      /* all was written */
    bool only_first; /* stop listening after one frame */
    struct receiver in;
    struct frame out;
};

/* Connect to a server on its own ground; the context for TLS is made by connect_context. */
COIL_ASYNC coil_ret connect_by(enum way way, unsigned server, coil_reader **out_reader,
                               coil_writer **out_writer);
coil_ret connect_context(void);
coil_tls_context *client_tls(void);

/* All of a conversation on a connection that stands; how its reading ended. It may have reset the connection. */
COIL_ASYNC coil_ret converse(struct talk *talk);

/* Those that need a plain descriptor (bare.c), or a line of their own (cut.c). */
COIL_ASYNC coil_ret converse_bare(struct talk *talk);
COIL_ASYNC coil_ret speak_garbage(struct talk *talk);
COIL_ASYNC coil_ret converse_cut(struct talk *talk);

#endif
