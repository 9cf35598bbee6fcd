/* SPDX-License-Identifier: MIT
 *
 * scarcity.h: the process runs out of descriptors, and has some again.
 *
 * By the real limit: io_uring accepts inside the kernel, where no table of calls can refuse it. Valgrind takes
 * the limit for itself and closes what the kernel gave beyond it; there the table refuses, and io_uring's tests
 * of this cannot be. */
#ifndef TEST_LIB_SCARCITY_H
#define TEST_LIB_SCARCITY_H

#include "base/memcheck.h"
#include "base/sys.h"

#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

static struct rlimit descriptors_before;

static inline int accept_without_descriptors(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    (void)fd, (void)a, (void)n, (void)flags;
    return -EMFILE;
}

/* On this backend, under whatever watches us? */
static inline bool descriptors_can_run_out(const char *backend)
{
    return !memcheck_watches() || strncmp(backend, "uring", 5) != 0;
}

static inline bool descriptors_run_out(void)
{
    if (memcheck_watches()) {
        coil__sys.accept4 = accept_without_descriptors;
        return true;
    }
    int next = dup(0);
    if (next < 0 || getrlimit(RLIMIT_NOFILE, &descriptors_before) < 0)
        return false;
    close(next);
    struct rlimit now = {.rlim_cur = (rlim_t)next, .rlim_max = descriptors_before.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &now) == 0;
}

static inline bool descriptors_are_back(void)
{
    coil__sys.accept4 = coil__sys_real.accept4;
    return memcheck_watches() || setrlimit(RLIMIT_NOFILE, &descriptors_before) == 0;
}

#endif
