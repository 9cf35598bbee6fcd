/* SPDX-License-Identifier: MIT
 *
 * alone.c: does the process begin with one thread, so that a deadlock is certain? */
#include "test.h"

#include "base/thread.h"

static bool began_alone;

__attribute__((constructor)) static void look_round(void)
{
    began_alone = coil__thread_in_process() == 1;
}

bool deadlocks_are_certain(void)
{
    return process_began_alone() && !UNDER_TSAN; /* whose own thread may come later */
}

bool process_began_alone(void)
{
    if (!began_alone)
        print_message("a thread that is nobody's here runs in this process\n");
    return began_alone;
}
