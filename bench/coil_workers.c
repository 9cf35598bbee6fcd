/* SPDX-License-Identifier: MIT
 *
 * coil_workers.c: messages between two loops: coil_workers [MILLIONS] [BATCH] [MAILBOX]. Worker 0 sends so many million pointers to
 * worker 1, which receives up to BATCH of them at a time; then one message goes to and fro. Each worker is pinned to a
 * processor; with BENCH_SPIN in the environment they spin before they sleep. Prints one JSON line: nanoseconds a message, and
 * of processor time of both workers together, millions of them a second, nanoseconds a round trip. */
#include "spin.h"

#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BATCH_MAX = 1024, TRIPS = 20000 };

static size_t messages, batch;

/* Of the whole process. */
static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Waits for room where it must; the receiver says when it has the last one. */
static coil_ret send_all(void)
{
    coil_message m;
    coil_ret rc;
    for (size_t i = 1; i <= messages; i++)
        if ((rc = coil_worker_send(1, (void *)i)) < 0)
            return rc;
    return coil_worker_receive(&m, 1);
}

static coil_ret receive_all(void)
{
    coil_message some[BATCH_MAX];
    for (size_t got = 0; got < messages;) {
        coil_ret n = coil_worker_receive(some, batch);
        if (n < 0)
            return n;
        for (coil_ret i = 0; i < n; i++)
            if ((size_t)some[i].data != ++got)
                return coil_fail(COIL_EUSER, "message %zu is out of order", got);
    }
    return coil_worker_send(0, NULL);
}

static coil_ret to_and_fro(bool first)
{
    coil_message m;
    coil_ret rc = 0;
    for (int i = 0; i < TRIPS && rc >= 0; i++) {
        if (first)
            rc = coil_worker_send(1, NULL);
        if (rc >= 0)
            rc = coil_worker_receive(&m, 1);
        if (!first && rc >= 0)
            rc = coil_worker_send(0, NULL);
    }
    return rc;
}

static coil_ret worker(void *arg)
{
    (void)arg;
    bool first = coil_worker_index() == 0;
    double begin = coil_loop_time(NULL), cpu = cpu_s();
    coil_ret rc = first ? send_all() : receive_all();
    if (rc < 0)
        return rc;
    double all = coil_loop_time(NULL) - begin;
    cpu = cpu_s() - cpu;
    begin = coil_loop_time(NULL);
    rc = to_and_fro(first);
    double trips = coil_loop_time(NULL) - begin;
    if (first && rc >= 0)
        printf("{\"bench\": \"messages\", \"batch\": %zu, \"ns\": %.1f, \"cpu_ns\": %.1f, "
               "\"million_s\": %.1f, "
               "\"round_trip_ns\": %.0f}\n",
               batch, all * 1e9 / (double)messages, cpu * 1e9 / (double)messages,
               (double)messages / all / 1e6, trips * 1e9 / TRIPS);
    return rc;
}

int main(int argc, char **argv)
{
    messages = (argc > 1 ? (size_t)atol(argv[1]) : 10) * 1000000;
    batch = argc > 2 ? (size_t)atol(argv[2]) : 64;
    size_t mailbox = argc > 3 ? (size_t)atol(argv[3]) : 4096;
    if (batch < 1 || batch > BATCH_MAX)
        return 2;
    coil_run_opts run = {.size = sizeof run, .spin = bench_spin()};
    coil_workers_opts opts = {.size = sizeof opts, .run = &run, .pin = true, .mailbox = mailbox};
    return coil_report(coil_workers_with(2, worker, NULL, &opts));
}
