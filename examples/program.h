/* SPDX-License-Identifier: MIT
 *
 * program.h: what every server program in this folder begins with: an address on its command line, signals
 * that end it, and room for descriptors.
 *
 * Signals arrive as bytes in a pipe, so a task waits for one as for anything else:
 * coil_wait_fd(stop_pipe[0], COIL_READ). Included by one file of each program. */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include <coil.h>

#include <fcntl.h>
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

static int stop_pipe[2];

static void on_stop_signal(int signo)
{
    int saved = errno;
    char byte = (char)signo;
    (void)!write(stop_pipe[1], &byte, 1); /* when it is full, enough signals wait there already */
    errno = saved;
}

/* From now on SIGTERM and SIGINT write a byte into stop_pipe. 0, or -errno. */
static inline int catch_stop_signals(void)
{
    if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    struct sigaction act = {.sa_handler = on_stop_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    return 0;
}

/* Wait for one signal and take it out. Suspends until then; cancelled, none is taken. */
static inline coil_ret wait_for_stop_signal(void)
{
    coil_ret rc = coil_wait_fd(stop_pipe[0], COIL_READ);
    char byte;
    if (!coil_iserr(rc))
        (void)!read(stop_pipe[0], &byte, 1);
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
