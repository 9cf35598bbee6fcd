/* SPDX-License-Identifier: MIT
 *
 * sight.c: how tasks lie in memory, for those who read it from outside (loop/sight.h). */
#include "task/sight.h"

#include "task/task.h"

#define IN(type, name) ((uint32_t)offsetof(struct type, name))

struct sight_tasks coil__sight_tasks = {
    .version = SIGHT_VERSION,
    .size = sizeof(struct sight_tasks),
    .part = {.tasks = IN(task_part, tasks), .current = IN(task_part, current)},
    .future =
        {
            .all = IN(coil_future, all),
            .state = IN(coil_future, state),
            .is_task = IN(coil_future, is_task),
            .callbacks = IN(coil_future, callbacks),
            .file = IN(coil_future, file),
            .line = IN(coil_future, line),
            .callback_link = IN(future_callback, link),
            .callback_by = IN(future_callback, by),
        },
    .task =
        {
            .name = IN(coil__task, name),
            .name_size = ERROR_NAME_MAX,
            .number = IN(coil__task, number),
            .waiting = IN(coil__task, waiting),
            .leaf = IN(coil__task, leaf),
            .coro = IN(coil__task, coro),
            .fn = IN(coil__task, fn),
            .started = IN(coil__task, started),
            .must_cancel = IN(coil__task, must_cancel),
            .parked_ns = IN(coil__task, parked_ns),
        },
    .wait =
        {
            .cls = IN(wait, cls),
            .woken = IN(wait, woken),
            .class_what = IN(wait_class, what),
            .class_shows = IN(wait_class, shows),
            .class_at = IN(wait_class, at),
            .class_then = IN(wait_class, then),
        },
    .coro =
        {
            .sp = IN(coro, sp),
            .stack = IN(coro, stack),
            .resumer = IN(coro, resumer),
            .stack_low = IN(stack, low),
            .stack_high = IN(stack, high),
#if defined(COIL_SWITCH_UCONTEXT)
            .saved_fp = -1,
            .saved_pc = -1,
#elif defined(__x86_64__)
            .saved_fp = 5, /* switch_x86_64.S */
            .saved_pc = 6,
#else
            .saved_fp = 0, /* switch_aarch64.S */
            .saved_pc = 1,
#endif
        },
    .entries = coil__entries,
    .entries_end = coil__entries_end,
    .task_cancelling = IN(coil__task, cancelling),
    .class_also = IN(wait_class, also),
    .future_result = IN(coil_future, result),
    .future_loop = IN(coil_future, loop),
#if defined(COIL_SWITCH_UCONTEXT)
    .saved = NULL,
#elif defined(__x86_64__)
    .saved_n = 7,
    .saved = "r15 r14 r13 r12 rbx rbp rip",
#else
    .saved_n = 20,
    .saved = "x29 pc x19 x20 x21 x22 x23 x24 x25 x26 x27 x28 d8 d9 d10 d11 d12 d13 d14 d15",
#endif
};
