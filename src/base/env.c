/* SPDX-License-Identifier: MIT
 *
 * env.c: reading environment variables. Any thread, as long as nobody sets them meanwhile. */
#include "base/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool coil__env_flag(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] && strcmp(value, "0") != 0;
}

const char *coil__env_text(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

void coil__env_unset(const char *name)
{
    (void)unsetenv(name);
}

uint64_t coil__env_number(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    if (!value || value[0] < '0' || value[0] > '9')
        return otherwise;
    char *end;
    errno = 0;
    uint64_t n = strtoull(value, &end, 10);
    return *end || errno ? otherwise : n;
}
