/* SPDX-License-Identifier: MIT
 *
 * check.c: where a failed check ends. Any thread. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void coil__check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "coil: %s:%d: this must hold and does not: %s\n", file, line, what);
    abort();
}
