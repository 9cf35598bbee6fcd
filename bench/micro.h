/* SPDX-License-Identifier: MIT
 *
 * micro.h: what the programs that measure themselves have in common: PROGRAM MODE N [SIZE]
 *
 * Prints one line of JSON: "ns" of CPU and "wall_ns" of the clock for each of N operations, and what else a mode has to
 * tell. What is measured is the whole mode, or from its last micro_start to its micro_stop. */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct micro_mode {
    const char *name; /* NULL: the last one */
    void (*fn)(long n, long size);
};

struct micro_time {
    double cpu, wall, spent_cpu, spent_wall;
    int stopped;
};

/* One in the program, whose modes may stand in several files. */
__attribute__((weak)) struct micro_time micro;

static inline double micro_clock(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Our own, and that of children that were waited for. */
static inline double micro_cpu_ns(void)
{
    struct rusage children;
    getrusage(RUSAGE_CHILDREN, &children);
    return micro_clock(CLOCK_PROCESS_CPUTIME_ID) +
           ((double)children.ru_utime.tv_sec + (double)children.ru_stime.tv_sec) * 1e9 +
           ((double)children.ru_utime.tv_usec + (double)children.ru_stime.tv_usec) * 1e3;
}

static inline void micro_start(void)
{
    micro.stopped = 0;
    micro.wall = micro_clock(CLOCK_MONOTONIC);
    micro.cpu = micro_cpu_ns();
}

static inline void micro_stop(void)
{
    if (micro.stopped)
        return;
    micro.spent_cpu = micro_cpu_ns() - micro.cpu;
    micro.spent_wall = micro_clock(CLOCK_MONOTONIC) - micro.wall;
    micro.stopped = 1;
}

static inline void micro_print(long n)
{
    printf("{\"ns\": %.3f, \"wall_ns\": %.3f}\n", micro.spent_cpu / (double)n,
           micro.spent_wall / (double)n);
    fflush(stdout);
}

/* Memory that so many parked things take, and the program before them: what is resident, and the page tables. */
struct micro_memory {
    long resident, tables, mappings;
};

static inline struct micro_memory micro_memory(void)
{
    struct micro_memory m = {0, 0, 0};
    char line[512];
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, "VmRSS:", 6) == 0)
            m.resident = atol(line + 6) * 1024;
        if (strncmp(line, "VmPTE:", 6) == 0)
            m.tables = atol(line + 6) * 1024;
    }
    if (f)
        fclose(f);
    f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f))
        m.mappings++;
    if (f)
        fclose(f);
    return m;
}

/* Everything is parked: tells and ends the program, which leaves cleaning up to the kernel. */
static inline void micro_parked(long n, struct micro_memory before)
{
    struct micro_memory now = micro_memory();
    micro_stop();
    printf("{\"ns\": %.3f, \"wall_ns\": %.3f, \"bytes\": %.1f, \"mappings\": %ld}\n",
           micro.spent_cpu / (double)n, micro.spent_wall / (double)n,
           (double)(now.resident + now.tables - before.resident - before.tables) / (double)n,
           now.mappings - before.mappings);
    fflush(stdout);
    _Exit(0);
}

/* The i-th of n things in an order that is none: 7919 is a prime, and no n here is a multiple of it. */
static inline long micro_scattered(long i, long n)
{
    return i * 7919 % n;
}

/* 0: done. 2: no such mode. */
static inline int micro_run(const struct micro_mode *modes, const char *name, long n, long size)
{
    for (; modes->name; modes++) {
        if (strcmp(modes->name, name) != 0)
            continue;
        micro_start();
        modes->fn(n, size);
        micro_stop();
        micro_print(n);
        return 0;
    }
    return 2;
}

/* A mode that cannot be measured here says why. */
static inline void micro_fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

#endif
