/* SPDX-License-Identifier: MIT
 *
 * ps_cost.c: a program to be looked at: ps_cost TASKS parked|mapping|spinning. Every task waits for one event, but, if spinning, for one that
 * never waits.
 *
 * A clock is read all the time, in a thread of its own while the loop sleeps, or by the spinning task, which is the only one
 * that `coil ps` ever stops. Each line on standard input ends a stretch of that; the answer is a line with its length, the longest time
 * between two readings, and how much of that time the thread had stood in line for a processor, in ns. What is left of that
 * longest time is a stop. If mapping, the thread now and then asks for a page and gives it back: who reads our memory holds the lock of
 * our maps, for the time of one reading. */
#include <coil.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static coil_event never;
static bool maps;
static int sched_fd; /* of the thread that reads the clock */

static long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* How long this thread has been ready to run and did not. */
static long waited_ns(void)
{
    char text[128] = "";
    long ran, waited = 0;
    if (pread(sched_fd, text, sizeof text - 1, 0) > 0)
        (void)sscanf(text, "%ld %ld", &ran, &waited);
    return waited;
}

static void touch_the_maps(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    *(volatile char *)page = 1;
    munmap(page, 4096);
}

static bool was_asked(void)
{
    char line[16];
    struct pollfd in = {.fd = 0, .events = POLLIN};
    if (poll(&in, 1, 0) != 1)
        return false;
    if (read(0, line, sizeof line) <= 0)
        exit(0);
    return true;
}

struct gap {
    long length, in_line;
};

static bool is_worse(const struct gap *a, const struct gap *b)
{
    return a->length - a->in_line > b->length - b->in_line;
}

static void read_the_clock(void)
{
    long began = now_ns(), before = began, waited = waited_ns();
    struct gap worst = {0};
    for (unsigned i = 0;; i++) {
        if (maps && i % 256 == 0)
            touch_the_maps();
        long now = now_ns();
        if (now - before > 100000) { /* asking how long we stood in line takes time itself */
            long waited_now = waited_ns();
            struct gap gap = {now - before, waited_now - waited};
            if (is_worse(&gap, &worst))
                worst = gap;
            waited = waited_now;
            now = now_ns();
        }
        before = now;
        if (i % 4096 == 0 && was_asked()) {
            printf("%ld %ld %ld\n", now_ns() - began, worst.length, worst.in_line);
            fflush(stdout);
            began = before = now_ns();
            waited = waited_ns();
            worst = (struct gap){0};
        }
    }
}

static void *reads(void *unused)
{
    (void)unused;
    sched_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    printf("ready\n");
    fflush(stdout);
    read_the_clock();
    return NULL;
}

static coil_ret waits(void *unused)
{
    (void)unused;
    return coil_event_wait(&never);
}

static coil_ret spins(void *unused)
{
    return (coil_ret)reads(unused);
}

static coil_ret program(void *arg)
{
    char **argv = arg;
    pthread_t thread;
    coil_task_opts small = {.size = sizeof small, .stack_size = 64 * 1024};
    for (int i = atoi(argv[1]); i > 0; i--)
        coil_unref(coil_create_task_opts(waits, NULL, &small));
    maps = strcmp(argv[2], "mapping") == 0;
    coil_ret rc = coil_sleep(0.1); /* they have all begun */
    if (strcmp(argv[2], "spinning") == 0)
        coil_unref(coil_create_task(spins, NULL));
    else if (pthread_create(&thread, NULL, reads, NULL) != 0)
        return -EAGAIN;
    return rc < 0 ? rc : coil_sleep(1e6);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    return coil_report(coil_run(program, argv));
}
