/* SPDX-License-Identifier: MIT
 *
 * coil_micro.c: what one operation of coil costs: coil_micro MODE N [SIZE]
 *
 * The modes are in coil_tasks.c, coil_sync.c, coil_loop.c, coil_work.c and coil_net.c; what is printed, in micro.h. */
#include "coil_micro.h"
#include "spin.h"

#include <coil.h>

static long n, size;

static coil_ret main_task(void *name)
{
    const struct micro_mode *const themes[] = {coil_task_modes, coil_sync_modes, coil_loop_modes,
                                               coil_work_modes, coil_net_modes};
    for (size_t i = 0; i < sizeof themes / sizeof themes[0]; i++)
        if (micro_run(themes[i], name, n, size) == 0)
            return 0;
    return coil_fail(-EINVAL, "no such mode: %s", (char *)name);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4 || (n = atol(argv[2])) < 1) {
        fprintf(stderr, "usage: coil_micro MODE N [SIZE]\n");
        return 2;
    }
    size = argc == 4 ? atol(argv[3]) : 0;
    if (micro_run(coil_host_modes, argv[1], n, size) == 0)
        return 0;
    coil_run_opts opts = {.size = sizeof opts, .spin = bench_spin()};
    return coil_report(coil_run_with(main_task, argv[1], &opts));
}
