/* SPDX-License-Identifier: MIT
 *
 * inherited.c: descriptors that a service manager opened for us.
 *
 *     LISTEN_PID=4711  LISTEN_FDS=2  LISTEN_FDNAMES=http:admin        3 is "http", 4 is "admin"
 *
 * Always true: once they were taken, or found to be wrong or another's, the variables are gone.
 *
 * Any thread, while nobody else looks at the environment. Elsewhere: how we answer (notify.c). */
#include "base/env.h"
#include "base/error.h"
#include "base/sys.h"

#include <coil/service.h>

#include <limits.h>
#include <string.h>

enum { FIRST_FD = 3 };

static void forget(void)
{
    coil__env_unset("LISTEN_PID");
    coil__env_unset("LISTEN_FDS");
    coil__env_unset("LISTEN_FDNAMES");
}

static int wrong(const char *variable)
{
    const char *value = coil__env_text(variable);
    return (int)coil__fail(-EINVAL, "%s=%s makes no sense", variable, value ? value : "");
}

/* How many there are, with the variables as they stand. */
static int count(void)
{
    uint64_t pid = coil__env_number("LISTEN_PID", 0),
             n = coil__env_number("LISTEN_FDS", UINT64_MAX);
    if (!coil__env_text("LISTEN_PID") || !coil__env_text("LISTEN_FDS"))
        return 0;
    if (pid == 0)
        return wrong("LISTEN_PID");
    if (pid != (uint64_t)sys_getpid())
        return 0;
    return n > INT_MAX - FIRST_FD ? wrong("LISTEN_FDS") : (int)n;
}

/* One name off the front; what is left. */
static const char *take_name(const char *names, char out[COIL_SERVICE_NAME_MAX + 1])
{
    size_t n = names ? strcspn(names, ":") : 0;
    bool fits = n > 0 && n <= COIL_SERVICE_NAME_MAX;
    const char *name = fits ? names : "unknown";
    size_t length = fits ? n : strlen(name);
    memcpy(out, name, length);
    out[length] = '\0';
    return names && names[n] == ':' ? names + n + 1 : NULL;
}

static int take(coil_service_fd *out, int n)
{
    const char *names = coil__env_text("LISTEN_FDNAMES");
    for (int i = 0; i < n; i++) {
        int err = sys_fcntl(FIRST_FD + i, F_SETFD, FD_CLOEXEC);
        if (err < 0)
            return (int)coil__fail(err, "LISTEN_FDS=%d, but descriptor %d: %s", n, FIRST_FD + i,
                                   coil_strerror(err));
        out[i].fd = FIRST_FD + i;
        names = take_name(names, out[i].name);
    }
    return n;
}

int coil_service_listen_fds(coil_service_fd *out, int capacity)
{
    int n = count();
    if (n > capacity || (n > 0 && !out))
        return (int)coil__fail(-E2BIG, "%d descriptors were handed over, there is room for %d", n,
                               out ? capacity : 0);
    if (n > 0)
        n = take(out, n);
    forget();
    return n;
}
