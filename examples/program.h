/* SPDX-License-Identifier: MIT
 *
 * program.h: what every server program in this folder begins with: an address on its command line, signals
 * that end it, and room for descriptors.
 *
 * Signals are read from a descriptor (signalfd), so a task waits for one as for anything else, and no handler
 * runs between any two instructions. Included by one file of each program. */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include <coil.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
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

static int stop_fd;

/* From now on SIGTERM and SIGINT do nothing but make stop_fd readable. Call it before any thread is started, which
 * then has them blocked as well. 0, or -errno. */
static inline int catch_stop_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    stop_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return stop_fd < 0 ? -errno : 0;
}

/* Wait for one signal and take it out. Suspends until then; cancelled, none is taken. */
static inline coil_ret wait_for_stop_signal(void)
{
    coil_ret rc = coil_wait_fd(stop_fd, COIL_READ);
    struct signalfd_siginfo info;
    if (!coil_iserr(rc))
        (void)!read(stop_fd, &info, sizeof info);
    return rc;
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
