/* SPDX-License-Identifier: MIT
 *
 * prelude.h: what every entry of the shell begins with.
 *
 * Part of the command, and carried by it as text: entries are compiled against it, precompiled, and loaded into the
 * process that was compiled with it. */
#ifndef COIL_CMD_PRELUDE_H
#define COIL_CMD_PRELUDE_H

#include <coil.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What the shell does for an entry. */
struct coil_shell {
    /* The value of an expression, of a kind as below; `pointer_class` is what __builtin_classify_type says. Quiet: only
     * an error is shown. */
    void (*show)(int quiet, int kind, int type_class, size_t size, ...);
    /* The entry ran to its end, rather than to a return. */
    void (*end)(void);
};

/* Kinds of values; va_arg takes each as what C's promotions make of it. */
#define COIL_SHELL_KIND(type)                                                                  \
    _Generic((type *)0, void * : 0, _Bool * : 1, char * : 2, signed char * : 3, short * : 3,   \
             int * : 3, unsigned char * : 3, unsigned short * : 3, unsigned * : 4, long * : 5, \
             unsigned long * : 6, long long * : 7, unsigned long long * : 8, float * : 14,     \
             double * : 9, long double * : 10, char ** : 11, const char ** : 11,               \
             coil_future ** : 12, const coil_future ** : 12, default : 13)

/* What an entry does; one in each shared object. */
__attribute__((visibility("default"))) coil_ret coil_shell_entry(
    const struct coil_shell *coil_shell);

#endif
