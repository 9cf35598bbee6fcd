/* SPDX-License-Identifier: MIT
 *
 * st_micro.c: the peer of coil_micro.c on State Threads: st_micro MODE N */
#include <st.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long n;

static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

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

static void yields(long threads_n)
{
    st_thread_t threads[1000];
    for (long i = 0; i < threads_n; i++)
        threads[i] = st_thread_create(yielder, (void *)(intptr_t)(n / threads_n), 1, 0);
    for (long i = 0; i < threads_n; i++)
        st_thread_join(threads[i], NULL);
}

static void spawn(long batch)
{
    st_thread_t threads[1000];
    for (long i = 0; i < n; i += batch) {
        for (long k = 0; k < batch; k++)
            threads[k] = st_thread_create(nothing, NULL, 1, 0);
        for (long k = 0; k < batch; k++)
            st_thread_join(threads[k], NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3 || (n = atol(argv[2])) < 1000 || st_init() < 0)
        return 2;
    double before = cpu_s();
    if (strcmp(argv[1], "switch2") == 0)
        yields(2);
    else if (strcmp(argv[1], "switch1000") == 0)
        yields(1000);
    else if (strcmp(argv[1], "spawn") == 0)
        spawn(1);
    else if (strcmp(argv[1], "spawn_batch") == 0)
        spawn(1000);
    else
        return 2;
    printf("%.2f\n", (cpu_s() - before) / (double)n * 1e9);
    return 0;
}
