/* SPDX-License-Identifier: MIT
 *
 * message.h: what everybody who sends or receives datagrams must know.
 *
 * The kernel tells nobody when there is room in the queue of a unix socket that one is not connected to: the sender's own
 * socket counts as writable all the time, and a wait for it would spin or never end. So it is asked again, at
 * intervals that grow. */
#ifndef COIL_NET_MESSAGE_H
#define COIL_NET_MESSAGE_H

#include "base/clock.h"

#include <coil/net.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define MESSAGE_FIRST_PAUSE_NS NS_PER_MS
#define MESSAGE_LAST_PAUSE_NS  (32 * NS_PER_MS)

/* Sends what `v` says to that address; NULL, or an empty one: to the peer. */
static inline struct msghdr message_to(struct iovec *v, const coil_address *to)
{
    struct msghdr hdr = {.msg_iov = v, .msg_iovlen = 1};
    if (to && to->len > 0) {
        hdr.msg_name = (void *)(uintptr_t)&to->storage;
        hdr.msg_namelen = to->len;
    }
    return hdr;
}

/* Receives into `v`, and whence into `from`; NULL: whence does not matter. */
static inline struct msghdr message_from(struct iovec *v, coil_address *from)
{
    struct msghdr hdr = {.msg_iov = v, .msg_iovlen = 1};
    if (from) {
        hdr.msg_name = &from->storage;
        hdr.msg_namelen = sizeof from->storage;
    }
    return hdr;
}

/* After -EAGAIN: is it one of these? */
static inline bool message_untold(const struct msghdr *hdr)
{
    const struct sockaddr *to = hdr->msg_name;
    return to && to->sa_family == AF_UNIX;
}

static inline int64_t message_next_pause(int64_t pause_ns)
{
    return pause_ns < MESSAGE_LAST_PAUSE_NS ? pause_ns * 2 : pause_ns;
}

#endif
