/* SPDX-License-Identifier: MIT
 *
 * ops.c: the input decides which ops a bare backend is asked for and what the virtual kernel makes of them: in which order
 * completions and events come, what is short, late, refused or ended. The ledgers of test/vkernel/ops.c say what is wrong. */
#include "fuzz.h"

#include "../vkernel/ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct backend_class *const all[] = {
        &coil__backend_uring, &coil__backend_uring_5_15, &coil__backend_epoll, &coil__backend_poll};
    struct input in = {data, data + size};
    const struct backend_class *cls = all[next(&in) % (sizeof all / sizeof *all)];
    vk_given = (struct vk_given){in.at, in.end};
    (void)ops_play(cls, 1);
    vk_given = (struct vk_given){NULL, NULL};
    return 0;
}
