/* SPDX-License-Identifier: MIT
 *
 * probe.h: marks of rare branches, so that a test run can show that it went there.
 *
 *     if (sent < n) {
 *         COIL_PROBE("a send that took a part");
 *
 * Without COIL_SYS_TABLE, as in every build that users get, a mark is nothing at all. With it a branch's first visit
 * puts the mark into one list, from any thread, and each visit counts. The names of all marks are in the sources:
 * tools/sim.py reads them there, and says which were never reached. A name is used once. */
#ifndef COIL_BASE_PROBE_H
#define COIL_BASE_PROBE_H

#include <stdint.h>

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
struct probe {
    const char *name;
    uint64_t count;
    struct probe *next;
};

/* Those that were reached; other threads may still count. */
const struct probe *coil__probes(void);
/* For the macro: the first visit. */
void coil__probe_reached(struct probe *probe);

#define COIL_PROBE(name_)                                                \
    do {                                                                 \
        static struct probe probe_ = {.name = (name_)};                  \
        if (__atomic_fetch_add(&probe_.count, 1, __ATOMIC_RELAXED) == 0) \
            coil__probe_reached(&probe_);                                \
    } while (0)
#else
#define COIL_PROBE(name_) ((void)0)
#endif

#endif
