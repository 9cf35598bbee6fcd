/* SPDX-License-Identifier: MIT
 *
 * marks.h: the marks of flow control, worked out as asyncio does, for streams, transports and datagrams. */
#ifndef COIL_NET_MARKS_H
#define COIL_NET_MARKS_H

#include <stddef.h>
#include <sys/types.h>

struct marks {
    size_t high; /* more than this is buffered: write no more */
    size_t low;  /* no more than this is left: go on */
};

enum { MARKS_HIGH = 64 * 1024, MARKS_LOW = MARKS_HIGH / 4 }; /* unless told otherwise */

/* COIL_DEFAULT leaves one to be worked out from the other. 0 or -EINVAL, recorded; then `m` stays as it was. */
int coil__marks_set(struct marks *m, ssize_t high, ssize_t low);

#endif
