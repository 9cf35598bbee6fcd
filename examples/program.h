/* SPDX-License-Identifier: MIT
 *
 * program.h: what every server program in this folder begins with: an address on its command line, signals
 * that end it, and room for descriptors.
 *
 * A signal arrives as a callback of the loop (coil/signal.h), which sets an event that the main task waits for. Included
 * by one file of each program. */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include <coil.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Cut "ADDRESS:PORT" or "[ADDRESS]:PORT" into its two parts, in place. False if it is neither. */
static inline bool split_address(char *text, char **out_host, char **out_port)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return false;
    *colon = 0;
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = 0;
        text++;
    }
    *out_host = text;
    *out_port = colon + 1;
    return true;
}

static coil_event
    stop_signal; /* not in a frame: a signal may come when the main task has returned */

static inline void stop_signal_came(void *arg)
{
    coil_event_set(&stop_signal);
}

/* From now on SIGTERM and SIGINT call fn(arg) on the running loop. 0 or an error. */
static inline int on_stop_signal(coil_callback_fn fn, void *arg)
{
    int err = coil_loop_add_signal_handler(NULL, SIGTERM, fn, arg);
    return err ? err : coil_loop_add_signal_handler(NULL, SIGINT, fn, arg);
}

/* From now on they end wait_for_stop_signal. Call it before the program says that it is there. */
static inline int catch_stop_signals(void)
{
    return on_stop_signal(stop_signal_came, NULL);
}

static inline coil_ret wait_for_stop_signal(void)
{
    return coil_event_wait(&stop_signal);
}

/* Ask for as many descriptors as this process may have; how many that is. */
static inline size_t raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 256;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

#endif
