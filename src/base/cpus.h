/* SPDX-License-Identifier: MIT
 *
 * cpus.h: how many processors there are, whoever may use them. */
#ifndef COIL_BASE_CPUS_H
#define COIL_BASE_CPUS_H

/* Processors on which other threads of this process could run; at least 1. How this thread is pinned does not count
 * (coil__thread_cpus has that). Slow: reads files. */
unsigned coil__cpus_there(void);

#endif
