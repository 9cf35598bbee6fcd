/* SPDX-License-Identifier: MIT
 *
 * choose.c: picks a backend by name; COIL_BACKEND overrides when nobody named one.
 *
 * What `auto` goes by (a process must not die, or be logged, for having asked for io_uring unasked):
 *
 *     a seccomp filter, or /proc does not tell ---> epoll, io_uring was not tried
 *     kernel.io_uring_disabled is 2 --------------> epoll, io_uring was not tried
 *     the kernel says no (1: to most users) ------> epoll, without noise
 *     else ---------------------------------------> io_uring, where this library has it
 *
 * A backend that was named is taken, and nothing else is looked at. Any thread. */
#include "base/sys.h"
#include "io/backend.h"

#include <coil/error.h>

#include <stdlib.h>
#include <string.h>

static const struct backend_class *const backends[] = {
    &coil__backend_epoll, &coil__backend_poll,       &coil__backend_sim,
    &coil__backend_uring, &coil__backend_uring_5_15,
};

static const struct backend_class *find(const char *name)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcmp(name, backends[i]->name) == 0)
            return backends[i];
    return NULL;
}

static bool is_auto(const char *name)
{
    return !name || !*name || strcmp(name, "auto") == 0;
}

/* ---- io_uring: may it be tried, and does it work? ---- */

static enum uring_state may_try(void)
{
    char text[4096];
    /* A filter may stand on one thread only, so it is this thread's own file. */
    const char *line = NULL;
    if (coil__sys_text("/proc/thread-self/status", text, sizeof text) > 0)
        line = strstr(text, "\nSeccomp:");
    if (!line)
        return URING_UNSURE;
    if (strtol(line + strlen("\nSeccomp:"), NULL, 10) != 0)
        return URING_FILTERED;
    /* Kernels before 6.6 have no such switch. 1 leaves it to those who may: the kernel knows. */
    if (coil__sys_text("/proc/sys/kernel/io_uring_disabled", text, sizeof text) > 0 &&
        strtol(text, NULL, 10) >= 2)
        return URING_SWITCHED_OFF;
    return URING_WORKS;
}

static void ask_for_uring(struct backend_choice *choice)
{
    choice->uring = may_try();
    if (choice->uring != URING_WORKS)
        return;
    /* Whoever is let in gets as far as the missing parameters. */
    int fd = sys_io_uring_setup(0, NULL);
    if (fd == -EFAULT || fd == -EINVAL)
        return;
    if (fd >= 0)
        (void)sys_close(fd);
    choice->uring_error = fd;
    choice->uring = fd == -ENOSYS ? URING_ABSENT : fd < 0 ? URING_REFUSED : URING_WORKS;
}

const char *coil__uring_text(enum uring_state state)
{
    static const char *const texts[] = {
        [URING_WORKS] = "available",
        [URING_NOT_ASKED] = "not looked at, another backend was named",
        [URING_FILTERED] = "not tried, a seccomp filter stands on this process",
        [URING_SWITCHED_OFF] = "switched off by the sysctl kernel.io_uring_disabled",
        [URING_UNSURE] =
            "not tried, /proc does not tell whether a seccomp filter stands on this process",
        [URING_ABSENT] = "not in this kernel",
        [URING_REFUSED] = "refused by the kernel",
    };
    return texts[state];
}

static const char *asked_for(const char *name, const char **out_whose)
{
    *out_whose = name ? "the program names it" : "COIL_BACKEND names it";
    return name ? name : getenv("COIL_BACKEND");
}

static int choose(const char *name, struct backend_choice *choice)
{
    *choice = (struct backend_choice){.uring = URING_NOT_ASKED};
    name = asked_for(name, &choice->reason);
    if (!is_auto(name)) {
        choice->cls = find(name);
        if (!choice->cls)
            return (int)coil_fail(
                -EINVAL, "no backend is called '%.40s': auto, epoll, poll, sim, uring", name);
        return 0;
    }
    ask_for_uring(choice);
    choice->cls = choice->uring == URING_WORKS ? &coil__backend_uring : &coil__backend_epoll;
    choice->reason = choice->uring == URING_WORKS
                         ? "auto: io_uring can be used here"
                         : "auto: io_uring cannot be used here, and epoll comes next";
    return 0;
}

int coil__backend_choose(const char *name, const struct backend_class **out)
{
    struct backend_choice choice;
    int err = choose(name, &choice);
    if (err == 0)
        *out = choice.cls;
    return err;
}

const struct backend_class *coil__backend_after(const char *name, const struct backend_class *cls)
{
    const char *whose;
    return is_auto(asked_for(name, &whose)) && cls == &coil__backend_uring ? &coil__backend_epoll
                                                                           : NULL;
}

int coil__backend_explain(const char *name, struct backend_choice *out)
{
    struct backend_choice choice;
    int err = choose(name, &choice);
    if (err)
        return err;
    if (choice.uring == URING_NOT_ASKED && choice.cls == &coil__backend_uring)
        ask_for_uring(&choice);
    *out = choice;
    return 0;
}
