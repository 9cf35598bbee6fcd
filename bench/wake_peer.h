/* SPDX-License-Identifier: MIT
 *
 * wake_peer.h: the other thread of a wake-up there and back: it sleeps in read(2) on an eventfd (or looks at a number all the
 * time, with BENCH_SPIN), and wakes the loop in the way of each library. Both threads are pinned, to cores of their own if there are two. */
#ifndef BENCH_WAKE_PEER_H
#define BENCH_WAKE_PEER_H

#include "micro.h"
#include "spin.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
    int fd;
    bool spins;
    _Atomic long asked;
    long n;
    void (*wake_loop)(void); /* from this thread */
    pthread_t thread;
} wake_peer;

static inline void wake_pin(int core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set); /* one core: stays where it is */
}

static inline void *wake_peer_main(void *arg)
{
    uint64_t count;
    (void)arg;
    wake_pin(1);
    for (long i = 0; i < wake_peer.n; i++) {
        if (wake_peer.spins)
            while (atomic_load_explicit(&wake_peer.asked, memory_order_acquire) == i)
                ;
        else if (read(wake_peer.fd, &count, sizeof count) != sizeof count)
            micro_fail("the eventfd cannot be read");
        wake_peer.wake_loop();
    }
    return NULL;
}

/* The loop wakes the thread. */
static inline void wake_thread(void)
{
    const uint64_t one = 1;
    if (wake_peer.spins)
        atomic_fetch_add_explicit(&wake_peer.asked, 1, memory_order_release);
    else if (write(wake_peer.fd, &one, sizeof one) != sizeof one)
        micro_fail("the eventfd cannot be written");
}

static inline void wake_peer_start(long n, void (*wake_loop)(void))
{
    wake_peer.fd = eventfd(0, EFD_CLOEXEC);
    wake_peer.spins = bench_spin() > 0;
    wake_peer.n = n;
    wake_peer.wake_loop = wake_loop;
    wake_pin(0);
    if (pthread_create(&wake_peer.thread, NULL, wake_peer_main, NULL) != 0)
        micro_fail("a thread could not be started");
    micro_start();
}

static inline void wake_peer_end(void)
{
    pthread_join(wake_peer.thread, NULL);
    close(wake_peer.fd);
}

#endif
