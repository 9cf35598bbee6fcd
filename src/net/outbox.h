/* SPDX-License-Identifier: MIT
 *
 * outbox.h: bytes on their way out of a socket, and the marks of flow control.
 *
 *     write --send at once--> kernel
 *        |                      ^
 *        +--what is left--> [ chunk ][ chunk ][ chunk ] --one op, up to 8 pieces--+
 *                              copied, or held until release
 *
 * Coalescing, everything is left at first; the owner's slot, or a write that makes it too much, sends all of it in one call.
 *
 * Sending goes on by itself: each completion takes what was sent off the chunks and submits the op for
 * the rest. No task and no stack is needed for that. It belongs to a connection (a stream's writer) or to a
 * transport, who asks whether it may write, and is told what happened; none of what it is told runs a user's
 * code at once.
 *
 * With a filter (filter.h) what is written waits as plain chunks for the filter to turn it into those above:
 *
 *     write --> [ plain ][ plain ] --filter's slot--> [ chunk ][ chunk ] --> kernel
 *
 * Always true:
 *   - `buffered` is the sum of what the chunks, plain ones too, still have to send; `held` of lent bytes that are sent and
 *     not released yet, which the marks count too: a peer that takes all at once would else let a
 *     writer that never yields hold as much as it likes;
 *   - what the op points to does not move, and goes only after the op's last word: bytes are added behind
 *     what it was given, in the last chunk or in a new one;
 *   - memory for what may be left over is had before the first byte is sent, so a write that fails for want of
 *     memory sent nothing;
 *   - each held buffer is released exactly once, from the owner's slot. */
#ifndef COIL_NET_OUTBOX_H
#define COIL_NET_OUTBOX_H

#include "io/op.h"
#include "net/marks.h"
#include "net/socket.h"

struct outbox;
struct filter;

/* How its owner is told. */
struct outbox_class {
    /* lent buffers are to be released, or what was collected to be sent, in the owner's slot */
    void (*kick)(struct outbox *box);
    void (*resumed)(struct outbox *box); /* what is buffered fell to the low mark */
    void (*idle)(struct outbox *box);    /* all is sent or dropped, and the kernel has let go */
    void (*failed)(struct outbox *box, coil_ret error); /* sending failed: drop what is left */
};

enum { OUTBOX_PIECES = 8 };

struct outbox {
    const struct outbox_class *cls;
    struct net_part *part;
    coil_sock *sock;       /* the owner's reference */
    bool paused;           /* the high mark was passed, the low one not reached since */
    bool dropping;         /* the chunks go as soon as the kernel lets go of them */
    bool coalescing;       /* what is written is collected, and goes in the owner's slot */
    bool collected;        /* something was, and waits for that */
    uint16_t retries;      /* in a row, for want of memory */
    struct list chunks;    /* in order of sending */
    struct list plain;     /* for the filter, in order */
    struct list sent;      /* whose release is due */
    struct filter *filter; /* NULL: none */
    size_t buffered, held;
    struct marks marks;
    struct op op;
    struct iovec pieces[OUTBOX_PIECES]; /* of the op */
};

void coil__outbox_init(struct outbox *box, const struct outbox_class *cls, coil_sock *sock);

static inline bool outbox_idle(const struct outbox *box)
{
    return list_empty(&box->chunks) && list_empty(&box->plain) && box->op.state == OP_IDLE;
}

/* Send, or keep what is left over. 0; -ENOMEM, and then nothing was sent; or what the connection is lost with,
 * after `failed` was told of it; -EINVAL (pieces too long, no release function). Recorded. */
int coil__outbox_write(struct outbox *box, const void *bytes, size_t n);
int coil__outbox_writelines(struct outbox *box, const struct iovec *pieces, size_t pieces_n);
int coil__outbox_write_owned(struct outbox *box, const void *bytes, size_t n,
                             void (*release)(void *cookie), void *cookie);

/* For the filter: what goes to the kernel as it is; results as of coil__outbox_write. */
int coil__outbox_write_raw(struct outbox *box, const void *bytes, size_t n);
/* Its first plain bytes, at most `max`; that so many of them are turned into others; and that these others were written:
 * not before can it be told that there is room. */
size_t coil__outbox_plain(const struct outbox *box, const void **out, size_t max);
void coil__outbox_plain_taken(struct outbox *box, size_t n);
void coil__outbox_plain_over(struct outbox *box);

/* Drop what was not sent, now or when the kernel lets go of it. */
void coil__outbox_drop(struct outbox *box);
/* Send what was collected, if something was. */
void coil__outbox_flush(struct outbox *box);
/* Call what is due: a user's code. */
void coil__outbox_release_sent(struct outbox *box);
/* The loop is closing: the op ends, everything is released. */
void coil__outbox_end(struct outbox *box);

/* The marks, as asyncio works them out; COIL_DEFAULT leaves one to be. 0 or -EINVAL, recorded. */
int coil__outbox_set_limits(struct outbox *box, ssize_t high, ssize_t low);
/* It has a filter from now on: marks that nobody has set become those that asyncio gives to TLS. */
void coil__outbox_filtered_limits(struct outbox *box);

#endif
