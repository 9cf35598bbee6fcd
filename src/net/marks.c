/* SPDX-License-Identifier: MIT
 *
 * marks.c: the marks of flow control; marks.h tells what they mean. Who keeps to them: outbox.c, datagram.c. */
#include "net/marks.h"

#include "base/error.h"

#include <coil/stream.h>

#include <limits.h>

int coil__marks_set(struct marks *m, ssize_t high, ssize_t low)
{
    if (high < COIL_DEFAULT || low < COIL_DEFAULT || low > SSIZE_MAX / 4)
        return (int)coil__fail(-EINVAL, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
    size_t h = high != COIL_DEFAULT  ? (size_t)high
               : low != COIL_DEFAULT ? 4 * (size_t)low
                                     : MARKS_HIGH;
    size_t l = low != COIL_DEFAULT ? (size_t)low : h / 4;
    if (l > h)
        return (int)coil__fail(-EINVAL, "high (%zu) must be >= low (%zu) must be >= 0", h, l);
    *m = (struct marks){h, l};
    return 0;
}
