/* SPDX-License-Identifier: MIT
 *
 * opts.h: options of a program that was built against another version of the headers.
 *
 * Every structure of options begins with its `size`, as the program that filled it knew it:
 *
 *     less than ours   an older program: what lies beyond counts as zero and is never looked at
 *     0, or ours       used where it stands
 *     more than ours   a newer program: read as far as we know it
 *
 * Always true: a field is added behind the last one, and never into the padding at the end, which an older
 * program counts into its size and leaves unset (docs/decisions/0015). */
#ifndef COIL_BASE_OPTS_H
#define COIL_BASE_OPTS_H

#include <stddef.h>
#include <string.h>

/* What is to be read: `given` itself or, if it is NULL or shorter, `own` of `size` bytes, filled from it. */
static inline const void *opts_read(const void *given, void *own, size_t size)
{
    size_t known = given ? *(const size_t *)given : size;
    if (given && (known == 0 || known >= size))
        return given;
    memset(own, 0, size);
    if (given)
        memcpy(own, given, known);
    return own;
}

/* `own` is an object of the structure's type, in the frame of the call that reads. */
#define OPTS_READ(given, own) ((__typeof__(own) const *)opts_read((given), &(own), sizeof(own)))

#endif
