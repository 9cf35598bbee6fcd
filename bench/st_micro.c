/* SPDX-License-Identifier: MIT
 *
 * st_micro.c: the peer of coil_micro.c on State Threads: st_micro MODE N */
#include "micro.h"

#include <st.h>
#include <stdint.h>

static void *nothing(void *arg)
{
    return arg;
}

static void *yielder(void *arg)
{
    for (long i = (long)(intptr_t)arg; i > 0; i--)
        st_usleep(0);
    return NULL;
}

static void yields(long threads_n, long n)
{
    st_thread_t threads[1000];
    for (long i = 0; i < threads_n; i++)
        threads[i] = st_thread_create(yielder, (void *)(intptr_t)(n / threads_n), 1, 0);
    for (long i = 0; i < threads_n; i++)
        st_thread_join(threads[i], NULL);
}

static void switch2(long n, long size)
{
    yields(2, n);
}

static void switch1000(long n, long size)
{
    yields(1000, n);
}

static void spawns(long batch, long n)
{
    st_thread_t threads[1000];
    for (long i = 0; i < n; i += batch) {
        for (long k = 0; k < batch; k++)
            threads[k] = st_thread_create(nothing, NULL, 1, 0);
        for (long k = 0; k < batch; k++)
            st_thread_join(threads[k], NULL);
    }
}

static void spawn(long n, long size)
{
    spawns(1, n);
}

static void spawn_batch(long n, long size)
{
    spawns(1000, n);
}

static void *sleeper(void *arg)
{
    st_sleep(3600);
    return arg;
}

/* Its stacks are mappings of their own, of which the kernel allows some 65,000. */
static void parked(long n, long size)
{
    struct micro_memory before = micro_memory();
    for (long i = 0; i < n; i++)
        if (!st_thread_create(sleeper, NULL, 0, 65536))
            micro_fail("no memory for so many stacks");
    st_usleep(0);
    micro_parked(n, before);
}

int main(int argc, char **argv)
{
    static const struct micro_mode modes[] = {
        {"switch2", switch2},         {"switch1000", switch1000}, {"spawn", spawn},
        {"spawn_batch", spawn_batch}, {"parked", parked},         {NULL, NULL},
    };
    long n;
    if (argc < 3 || (n = atol(argv[2])) < 1 || st_init() < 0)
        return 2;
    return micro_run(modes, argv[1], n, 0);
}
