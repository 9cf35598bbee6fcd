/* SPDX-License-Identifier: MIT
 *
 * cache.h: compiled programs, kept by what they were made of.
 *
 *     ~/.cache/coil/            or $XDG_CACHE_HOME/coil
 *         KEY.deps              the files that a source of this key included, last time
 *         KEY2/hello            the program made of exactly these contents
 *         new-XXXXXX/           one in the making
 *
 * The key is the digest of the source, the command line, the compiler and libcoil; the second key adds
 * the contents of the included files. A list that is out of date leads to a second key that nobody
 * has, so to compiling anew, never to a wrong program. Folders appear by rename, so that any number of
 * processes can use the cache at once: who finds a program gone compiles it again. */
#ifndef COIL_CMD_CACHE_H
#define COIL_CMD_CACHE_H

#include "cmd/digest.h"

#include <time.h>

/* The cache's folder, to be freed; NULL if there is no home to have it in. Nothing is made. */
char *cache_folder(void);

/* Make it if need be. 0, or why nothing can be kept there: -EPERM when others could write to it. */
int cache_make(const char *cache);

/* Where the program of this key stands if it is there, to be freed; NULL when it cannot be. Counts as
 * a use. `name` is what the program is called. */
char *cache_find(const char *cache, const char *key, const char *name);

/* A new folder to make a program in, to be freed, or NULL with errno set. */
char *cache_begin(const char *cache);

/* Keep the program that was made in `folder`, with the rule "deps" beside it, and drop what is too
 * much. On failure folder and program are still there: -EAGAIN when a file it was made of has
 * changed since `begun`, or another -errno. */
int cache_keep(const char *cache, const char *key, const char *folder, struct timespec begun);

#endif
