/* SPDX-License-Identifier: MIT
 *
 * kernel.c: imaginary eventfds, behind the table of kernel calls; and what a failed check does.
 *
 * A ring of a closed one, or of a number that was given to somebody else since, fails the run. */
#include "base/check.h"
#include "base/sys.h"

#include "loom.h"

enum { FIRST = 1000, FDS = 16 };

static struct {
    bool open;
    uint64_t count;
} fds[FDS];

static unsigned place_of(int fd)
{
    loom_check(fd >= FIRST && fd < FIRST + FDS && fds[fd - FIRST].open);
    return (unsigned)(fd - FIRST);
}

static int loom_eventfd(unsigned value, int flags)
{
    (void)flags;
    for (unsigned i = 0; i < FDS; i++)
        if (!fds[i].open) {
            fds[i].open = true;
            fds[i].count = value;
            return (int)(FIRST + i);
        }
    return -EMFILE;
}

static ssize_t loom_write(int fd, const void *b, size_t n)
{
    loom_step("a ring");
    uint64_t *count = &fds[place_of(fd)].count;
    loom_check(n == sizeof(uint64_t));
    *count += *(const uint64_t *)b;
    return (ssize_t)n;
}

static int loom_close(int fd)
{
    fds[place_of(fd)].open = false;
    return 0;
}

static bool is_rung(void *count)
{
    return *(uint64_t *)count > 0;
}

void loom_wait_rung(int fd)
{
    uint64_t *count = &fds[place_of(fd)].count;
    loom_wait("a ring", is_rung, count);
    *count = 0;
}

unsigned loom_open_fds(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < FDS; i++)
        n += fds[i].open;
    return n;
}

void loom_forget_fds(void)
{
    for (unsigned i = 0; i < FDS; i++)
        fds[i].open = false;
}

__attribute__((constructor)) static void stand_behind_the_table(void)
{
    coil__sys.eventfd = loom_eventfd;
    coil__sys.write = loom_write;
    coil__sys.close = loom_close;
}

void coil__check_failed(const char *file, int line, const char *what)
{
    loom_fail("%s:%d: this must hold and does not: %s", file, line, what);
}
