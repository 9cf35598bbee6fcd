/* SPDX-License-Identifier: MIT
 *
 * probe.c: the list of the marks that were reached (probe.h). Any thread. */
#include "base/probe.h"

#include <stdbool.h>

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static struct probe *reached;

const struct probe *coil__probes(void)
{
    return __atomic_load_n(&reached, __ATOMIC_ACQUIRE);
}

void coil__probe_reached(struct probe *probe)
{
    probe->next = __atomic_load_n(&reached, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&reached, &probe->next, probe, true, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED))
        ;
}
#endif
