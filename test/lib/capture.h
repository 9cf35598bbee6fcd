/* SPDX-License-Identifier: MIT
 *
 * capture.h: what is printed to standard error, for tests that look at it. */
#ifndef TEST_LIB_CAPTURE_H
#define TEST_LIB_CAPTURE_H

#include "base/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int stderr_before;
static FILE *stderr_now;
static char printed[16384];

static inline void catch_stderr(void)
{
    stderr_now = tmpfile();
    COIL_CHECK(stderr_now);
    fflush(stderr);
    stderr_before = fcntl(2, F_DUPFD_CLOEXEC, 3);
    dup2(fileno(stderr_now), 2);
}

/* What was printed since; it stands in `printed`. */
static inline const char *caught(void)
{
    fflush(stderr);
    dup2(stderr_before, 2);
    close(stderr_before);
    rewind(stderr_now);
    printed[fread(printed, 1, sizeof printed - 1, stderr_now)] = '\0';
    fclose(stderr_now);
    return printed;
}

#endif
