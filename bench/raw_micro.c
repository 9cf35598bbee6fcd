/* SPDX-License-Identifier: MIT
 *
 * raw_micro.c: what the kernel's call costs, with nothing around it: raw_micro MODE N. The peer of coil_micro.c where an
 * operation is one call. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    static char pages[64][4096];
    if (argc != 3)
        return 2;
    long n = atol(argv[2]);
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
