/* SPDX-License-Identifier: MIT
 *
 * leave.h: the end of a child of fork that a test made.
 *
 * Its copies of the parent's objects have no owner here, which Valgrind would count as leaks, and end the child with a status
 * of its own. So there it ends as another program. */
#ifndef TEST_LIB_LEAVE_H
#define TEST_LIB_LEAVE_H

#include "base/memcheck.h"

#include <stdio.h>
#include <unistd.h>

__attribute__((noreturn)) static inline void leave_child(int status)
{
    if (memcheck_watches()) {
        char command[32];
        snprintf(command, sizeof command, "exit %d", status & 255);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    }
    _exit(status);
}

#endif
