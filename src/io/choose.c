/* SPDX-License-Identifier: MIT
 *
 * choose.c: picks a backend by name; COIL_BACKEND overrides when nobody named one. */
#include "io/backend.h"

#include <coil/error.h>

#include <stdlib.h>
#include <string.h>

static const struct backend_class *const backends[] = {
    &coil__backend_epoll, &coil__backend_poll,       &coil__backend_sim,
    &coil__backend_uring, &coil__backend_uring_5_15,
};

/* The fastest one that works here. */
static const struct backend_class *best(void)
{
    return &coil__backend_epoll;
}

int coil__backend_choose(const char *name, const struct backend_class **out)
{
    if (!name)
        name = getenv("COIL_BACKEND");
    if (!name || !*name || strcmp(name, "auto") == 0) {
        *out = best();
        return 0;
    }
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        if (strcmp(name, backends[i]->name) == 0) {
            *out = backends[i];
            return 0;
        }
    }
    return (int)coil_fail(-EINVAL, "no backend is called '%.40s': auto, epoll, poll, sim, uring",
                          name);
}
