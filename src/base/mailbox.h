/* SPDX-License-Identifier: MIT
 *
 * mailbox.h: a bounded queue of messages: any thread puts, one thread takes.
 *
 *     thread A --put--+
 *     thread B --put--+--> [ | | | | ] --take--> the owner, in the order of the puts
 *
 * An inbox (inbox.h) has room for every node, since each brings its own; a mailbox has so many places, made once,
 * and says when it is full. So it can carry any number of messages without memory being asked for.
 *
 * Two things are told, and each once for any number of messages:
 *
 *     the owner says that it waits    --> the first put says MAILBOX_TELL, and those that follow do not
 *     somebody says that he needs room --> the owner's take that leaves it half empty finds that out
 *
 * Who says so looks once more afterwards. One of the two always sees the other, so nobody waits for what is there.
 *
 * Always true:
 *   - a message is put whole or refused, and taken exactly once;
 *   - what one thread puts is taken in the order in which it was put;
 *   - a put never waits; the end waits for those that are in the middle of one. */
#ifndef COIL_BASE_MAILBOX_H
#define COIL_BASE_MAILBOX_H

#include "base/line.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mail {
    void *data;
    int fd; /* -1: none */
    unsigned from;
};

/* Whose the place is: the number of the put that may fill it; one more while it is filled. */
struct mailbox_place {
    _Atomic uint64_t turn;
    struct mail mail;
};

struct mailbox {
    struct mailbox_place *places;
    uint64_t mask;
    char apart1[CACHE_LINE];
    _Atomic uint64_t tail; /* puts so far, and MAILBOX_CLOSED */
    char apart2[CACHE_LINE];
    _Atomic bool waits;   /* the owner wants to be told of the next one */
    _Atomic bool crowded; /* somebody wants to be told of room */
    char apart3[CACHE_LINE];
    uint64_t head; /* takes so far; the owner's */
};

#define MAILBOX_CLOSED (UINT64_C(1) << 63)

enum { MAILBOX_SIZE_MIN = 2, MAILBOX_SIZE_MAX = 1 << 20, MAILBOX_TELL = 1 };

/* Room for at least `size` messages, which is rounded up to a power of two. 0 or -ENOMEM. */
int coil__mailbox_init(struct mailbox *m, size_t size);
/* Nobody uses it any more. NULL places are fine. */
void coil__mailbox_fini(struct mailbox *m);

/* Any thread. 0; MAILBOX_TELL: it was put, and it is the caller's to tell the owner; COIL_EQUEUEFULL; COIL_ECLOSED. */
int coil__mailbox_put(struct mailbox *m, const struct mail *mail);

/* Any thread: it was full. False: it is not any more, or closed, so try again. True: whoever takes will see. */
bool coil__mailbox_want_room(struct mailbox *m);

/* The owner: at most n, oldest first; how many. */
size_t coil__mailbox_take(struct mailbox *m, struct mail *out, size_t n);

/* The owner, after it took something: is half of it free, and did somebody want to be told of room? Says so once. So who
 * waits is not woken for a single place, to wait again after the next message. (After the end, too: who waits found it full,
 * so there is something to take.) */
bool coil__mailbox_was_crowded(struct mailbox *m);

/* The owner is going to wait. False: there is something. True: the next put says MAILBOX_TELL. */
bool coil__mailbox_wait(struct mailbox *m);

/* The owner, once: no put succeeds from here on. What was put is there to be taken: until take says 0. */
void coil__mailbox_close(struct mailbox *m);

#endif
