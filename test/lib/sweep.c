/* SPDX-License-Identifier: MIT
 *
 * sweep.c: failing each allocation in turn. */
#include "test.h"

#include "base/mem.h"
#include "base/sys.h"
#include "base/thread.h"

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
/* A thread that nobody could wait for, for want of memory, is still to give back what it has. */
static void wait_for_threads(unsigned expected)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    for (int i = 0; i < 2000 && coil__thread_count() > expected; i++)
        (void)sys_ppoll(NULL, 0, &ms, NULL);
}

int sweep_allocations(void (*fn)(void *arg), void *arg)
{
    unsigned threads = coil__thread_count();
    for (int n = 1;; n++) {
        int64_t tried = coil__mem_tried(), live = coil__mem_live();
        coil__mem_fail_at(n, 0);
        fn(arg);
        coil__mem_fail_at(0, 0);
        wait_for_threads(threads);
        live = coil__mem_live() - live;
        if (live != 0)
            fail_msg("when allocation %d fails, %ld blocks are not given back", n, (long)live);
        if (coil__mem_tried() - tried < n)
            return n - 1;
    }
}
#else
int sweep_allocations(void (*fn)(void *arg), void *arg)
{
    fn(arg);
    return 0;
}
#endif
