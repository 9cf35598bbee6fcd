/* SPDX-License-Identifier: MIT
 *
 * provided.h: buffers that the kernel receives into before anybody asked: one stock for all sockets of a
 * ring.
 *
 *     [ with the kernel ] --data came--> held by a watch --taken--> [ with the kernel ]
 *
 * As many as the busy sockets need: it begins with a few, and doubles when the kernel found none left and
 * there are sockets enough to share them (uring.c decides). */
#ifndef COIL_IO_PROVIDED_H
#define COIL_IO_PROVIDED_H

#include "io/ring.h"

#if COIL_HAVE_URING

enum {
    PROVIDED_SIZE = 2048, /* bytes each */
    PROVIDED_STRIDE =
        2112, /* from one to the next: a power of two would put all beginnings into a few cache sets */
    PROVIDED_MIN = 32,
    PROVIDED_MAX = 4096,
    PROVIDED_GROUP = 0, /* the kernel's name for the stock */
};

struct provided_buffer {
    uint16_t next;  /* in the list of who holds it */
    uint16_t at, n; /* [at, n) is not taken */
    bool here;      /* not with the kernel */
};

struct provided {
    int ring_fd;
    struct io_uring_buf_ring *ring; /* NULL: not made, or not to be had */
    size_t ring_n;
    uint16_t tail;
    uint32_t n; /* buffers there are */
    struct provided_buffer *buffers;
    char *blocks[8]; /* the first holds PROVIDED_MIN, each further one as many as all before */
};

/* Give the buffers that nobody holds to this ring. 0, -ENOMEM, or -EINVAL where the kernel has no such
 * thing. */
int coil__provided_attach(struct provided *p, int ring_fd);
/* Take them back, before the ring is closed. */
void coil__provided_detach(struct provided *p);
/* Nobody holds one any more. */
void coil__provided_close(struct provided *p);
/* Twice as many, up to the most. False: there are no more. */
bool coil__provided_grow(struct provided *p);

char *coil__provided_memory(const struct provided *p, uint16_t id);
/* The kernel gave us this one. */
void coil__provided_came(struct provided *p, uint16_t id, uint32_t n);
/* The kernel may have it again. */
void coil__provided_back(struct provided *p, uint16_t id);

#endif
#endif
