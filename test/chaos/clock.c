/* SPDX-License-Identifier: MIT
 *
 * clock.c: the time of day, wrong by as much as the supervisor likes, for this program alone.
 *
 * These stand before libc's for everything that is linked into the program or loaded with it. What the kernel calls
 * monotonic never steps, so it is passed on as it is: a program that orders its timers by the time of day is the mistake
 * that this is to find. (libc's own waits ask the kernel by themselves and see the real time.) */
#include "chaos.h"

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);
    if (rc == 0 && id == CLOCK_REALTIME && shared) {
        int64_t ns = ts->tv_nsec + shared->realtime_offset_ns % 1000000000;
        ts->tv_sec += (time_t)(shared->realtime_offset_ns / 1000000000) + (ns >= 1000000000) -
                      (ns < 0);
        ts->tv_nsec = (ns + 1000000000) % 1000000000;
    }
    return rc;
}

time_t time(time_t *out)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts = {0};
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
