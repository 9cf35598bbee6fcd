/* SPDX-License-Identifier: MIT
 *
 * coil_micro.h: the modes of coil_micro, by theme. */
#ifndef BENCH_COIL_MICRO_H
#define BENCH_COIL_MICRO_H

#include "micro.h"

/* These turn a loop by themselves; the others run in a task. */
extern const struct micro_mode coil_host_modes[];
extern const struct micro_mode coil_task_modes[], coil_sync_modes[], coil_loop_modes[],
    coil_work_modes[], coil_net_modes[];

#endif
