/* SPDX-License-Identifier: MIT
 *
 * raw_micro.c: what the kernel's call costs, with nothing around it: raw_micro MODE N. The peer of coil_micro.c where an
 * operation is one call. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Our own, and that of children that were waited for. */
static double cpu_s(void)
{
    struct timespec ts;
    struct rusage children;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    getrusage(RUSAGE_CHILDREN, &children);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9 + (double)children.ru_utime.tv_sec +
           (double)children.ru_stime.tv_sec + (double)children.ru_utime.tv_usec * 1e-6 +
           (double)children.ru_stime.tv_usec * 1e-6;
}

static int children(long n)
{
    char *argv[] = {(char[]){"/bin/true"}, NULL};
    double before = cpu_s();
    for (long i = 0; i < n; i++) {
        pid_t pid;
        if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
            waitpid(pid, NULL, 0) != pid)
            return 1;
    }
    printf("%.2f\n", (cpu_s() - before) / (double)n * 1e9);
    return 0;
}

int main(int argc, char **argv)
{
    static char pages[64][4096];
    if (argc != 3)
        return 2;
    long n = atol(argv[2]);
    if (strcmp(argv[1], "child") == 0)
        return children(n);
    size_t depth = strcmp(argv[1], "file_read64") == 0 ? 64 : 1;
    if (depth == 1 && strcmp(argv[1], "file_read") != 0)
        return 2;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    double before = cpu_s();
    for (long i = 0; i < n; i++)
        if (pread(fd, pages[(size_t)i % depth], sizeof pages[0], 0) != sizeof pages[0])
            return 1;
    printf("%.2f\n", (cpu_s() - before) / (double)n * 1e9);
    return 0;
}
