/* SPDX-License-Identifier: MIT
 *
 * program.h: what a program of examples/ meets in place of the world, after its own program.h: its signals are its host's, its
 * main is in a task already, what it prints is nobody's. */
#ifndef TEST_SIM_PROGRAM_H
#define TEST_SIM_PROGRAM_H

#include "swarm.h"

static inline int host_stop_signal(coil_callback_fn fn, void *arg)
{
    return 0; /* nobody sends a second one */
}

static inline int host_stop_signals(void)
{
    return 0;
}

static inline size_t host_descriptors(void)
{
    return 1000;
}

static inline int host_prints(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline int host_prints(const char *format, ...)
{
    return 0;
}

#define catch_stop_signals       host_stop_signals
#define on_stop_signal           host_stop_signal
#define wait_for_stop_signal()   coil_event_wait(&host_here()->stop)
#define raise_descriptor_limit() host_descriptors()
#undef printf /* which fortified headers define */
#undef fprintf
#define printf(...)        host_prints(__VA_ARGS__)
#define fprintf(file, ...) host_prints(__VA_ARGS__)
#define coil_run(fn, arg)  fn(arg)
#define coil_report(rc)    ((int)(rc))

#endif
