/* SPDX-License-Identifier: MIT
 *
 * sweep.c: failing each allocation in turn. */
#include "test.h"

#include "base/mem.h"

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
int sweep_allocations(void (*fn)(void *arg), void *arg)
{
    for (int n = 1;; n++) {
        int64_t before = coil__mem_tried();
        coil__mem_fail_at(n, 0);
        fn(arg);
        coil__mem_fail_at(0, 0);
        if (coil__mem_tried() - before < n)
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
