/* SPDX-License-Identifier: MIT
 *
 * raw_micro.c: what the kernel's calls cost, with nothing around them: raw_micro MODE N. The peer of coil_micro.c where an
 * operation is one call, or a few. */
#include "wake_peer.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/wait.h>

static void child(long n, long size)
{
    char *argv[] = {(char[]){"/bin/true"}, NULL};
    for (long i = 0; i < n; i++) {
        pid_t pid;
        if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
            waitpid(pid, NULL, 0) != pid)
            micro_fail("the child cannot be started");
    }
}

static void reads(long n, size_t depth)
{
    static char pages[64][4096];
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    for (long i = 0; i < n; i++)
        if (pread(fd, pages[(size_t)i % depth], sizeof pages[0], 0) != sizeof pages[0])
            micro_fail("the file cannot be read");
    close(fd);
}

static void file_read(long n, long size)
{
    reads(n, 1);
}

static void file_read64(long n, long size)
{
    reads(n, 64);
}

/* One look for events that are not there. */
static void idle(long n, long size)
{
    struct epoll_event events[64];
    int ep = epoll_create1(EPOLL_CLOEXEC);
    for (long i = 0; i < n; i++)
        if (epoll_wait(ep, events, 64, 0) != 0)
            micro_fail("epoll_wait fails");
    close(ep);
}

/* ---- a wake-up from another thread: an eventfd in an epoll ---- */

static int bell;

static void wake_loop(void)
{
    const uint64_t one = 1;
    if (write(bell, &one, sizeof one) != sizeof one)
        micro_fail("the eventfd cannot be written");
}

static void wake(long n, long size)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_ctl(ep, EPOLL_CTL_ADD, bell, &(struct epoll_event){.events = EPOLLIN});
    wake_peer_start(n, wake_loop);
    for (long i = 0; i < n; i++) {
        struct epoll_event event;
        uint64_t count;
        wake_thread();
        if (epoll_wait(ep, &event, 1, -1) != 1 || read(bell, &count, sizeof count) != sizeof count)
            micro_fail("the eventfd cannot be read");
    }
    micro_stop();
    wake_peer_end();
}

int main(int argc, char **argv)
{
    static const struct micro_mode modes[] = {
        {"child", child}, {"file_read", file_read}, {"file_read64", file_read64},
        {"idle", idle},   {"wake", wake},           {NULL, NULL},
    };
    long n;
    if (argc < 3 || (n = atol(argv[2])) < 1)
        return 2;
    return micro_run(modes, argv[1], n, 0);
}
