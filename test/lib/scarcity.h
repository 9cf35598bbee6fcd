/* SPDX-License-Identifier: MIT
 *
 * scarcity.h: the process runs out of something that the real kernel counts, and has it again. */
#ifndef TEST_LIB_SCARCITY_H
#define TEST_LIB_SCARCITY_H

#include <sys/resource.h>
#include <unistd.h>

static struct rlimit descriptors_before;

static inline int descriptors_run_out(void)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &descriptors_before) < 0)
        return -1;
    int next = dup(0);
    if (next < 0)
        return -1;
    close(next);
    now = descriptors_before;
    now.rlim_cur = (rlim_t)next;
    return setrlimit(RLIMIT_NOFILE, &now);
}

static inline int descriptors_are_back(void)
{
    return setrlimit(RLIMIT_NOFILE, &descriptors_before);
}

#endif
