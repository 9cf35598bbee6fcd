/* SPDX-License-Identifier: MIT
 *
 * coverage.c: linked into every program of `./dev coverage`, so that what children did is counted too.
 *
 * gcc's counters lie in memory until exit() writes them. Children of fork end by _exit, an assertion by abort, a program that
 * becomes another one by execve; these are replaced here: they write the counters, then do what they are called for. What is
 * killed by a signal writes nothing. (gcc has an execve of its own for this, after which a parent that shares its memory
 * would never write again, and a fork that forgets what the handlers of pthread_atfork did; -fno-builtin-execve and
 * -fno-builtin-fork keep them away.)
 *
 * A child that shares its parent's memory (proc/spawn.c) counts in the parent's counters, and must not write them on its small
 * stack. Whoever has another number than the one that is noted here may be such a child; kcmp knows. */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

void __gcov_dump(void);
void __gcov_reset(void);

static pid_t own_pid; /* whose memory this is */

static void note_pid(void)
{
    own_pid = getpid();
}

__attribute__((constructor)) static void begin(void)
{
    note_pid();
    (void)pthread_atfork(NULL, NULL, note_pid);
}

static bool memory_is_anothers(void)
{
    return getpid() != own_pid && syscall(SYS_kcmp, getpid(), own_pid, KCMP_VM, 0, 0) <= 0;
}

static void write_counters(void)
{
    if (memory_is_anothers())
        return;
    __gcov_dump();
    __gcov_reset(); /* what follows would be added a second time */
}

void _exit(int status)
{
    write_counters();
    for (;;)
        (void)syscall(SYS_exit_group, status);
}

void abort(void)
{
    static int begun; /* not twice, should the writing itself end here */
    if (!begun++)
        write_counters();
    void (*real)(void) = (void (*)(void))dlsym(RTLD_NEXT, "abort");
    real();
    __builtin_unreachable();
}

int execve(const char *path, char *const argv[], char *const envp[])
{
    write_counters();
    return (int)syscall(SYS_execve, path, argv, envp);
}

int fexecve(int fd, char *const argv[], char *const envp[])
{
    write_counters();
    return (int)syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
}
