/* SPDX-License-Identifier: MIT
 *
 * coil/signal.h: signals arrive as ordinary callbacks of a loop.
 *
 *     static coil_event stopped;
 *     static void stop(void *event) { coil_event_set(event); }
 *
 *     int err = coil_loop_add_signal_handler(NULL, SIGTERM, stop, &stopped);
 *     ...
 *     rc = coil_event_wait(&stopped);
 *
 * The callback runs on the loop, between two others, so it may do what any callback may. Signals of different
 * numbers come in the order in which they arrived. Of one number, a signal that arrives while the last one
 * still waits for its callback is that one (signal(7) calls them standard signals); real-time signals, SIGRTMIN and
 * above, are counted and each gets a callback. So a flood costs no memory.
 *
 * Ctrl-C in a program that does nothing about it: coil/run.h. */
#ifndef COIL_SIGNAL_H
#define COIL_SIGNAL_H

#include <coil/loop.h>

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Call fn(arg) on the loop whenever the process gets this signal; a second call for the same loop replaces the first, and
 * takes the signal back from a sigaction(2) since. What the program's other calls do with a signal that interrupts them:
 * they go on (SA_RESTART).
 *
 *   Owns:   the signal, in the whole process, until it is removed or the loop is closed: then it does again what it
 *           did before. `arg` must last as long. A child of fork gets it back at once; a program started by exec has the default.
 *   Where:  the loop's thread, which may be any. The callback sees the caller's context variables. No mask is
 *           changed: a signal that every thread blocks does not come.
 *   Errors: -EINVAL for a number that is no signal, for SIGKILL and SIGSTOP, which nobody can handle, for SIGSEGV,
 *           SIGBUS, SIGFPE and SIGILL, which are over only when their handler has returned, and for those that libc
 *           keeps; -EBUSY if another loop handles it; COIL_ECLOSED, COIL_ENOLOOP, -ENOMEM.
 *   asyncio: loop.add_signal_handler */
COIL_API int coil_loop_add_signal_handler(coil_loop *loop, int signo, coil_callback_fn fn,
                                          void *arg);

/* The signal does again what it did before coil_loop_add_signal_handler; one whose callback has not run yet is
 * dropped. Returns 1, or 0 if this loop did not handle it.
 *
 *   Where:  the loop's thread.
 *   Errors: -EINVAL for a number that is no signal.
 *   asyncio: loop.remove_signal_handler */
COIL_API int coil_loop_remove_signal_handler(coil_loop *loop, int signo);

#ifdef __cplusplus
}
#endif
#endif
