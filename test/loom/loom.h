/* SPDX-License-Identifier: MIT
 *
 * loom.h: an interleaving checker: runs a scenario of a few threads again and again, each time in another order.
 *
 *     scenario() --> loom_thread(a), loom_thread(b), ... --> all ended --> what the scenario asserts
 *          ^                                                                    |
 *          +------------------- the next order, until none is left -------------+
 *
 * The files under test are the library's own (base/inbox.c, base/mailbox.c, io/threads.c, work/thread_future.c), compiled with
 * include/stdatomic.h of this folder, so that another thread may run before every atomic access; thread.c of this folder
 * takes the place of base/thread.c, kernel.c that of the eventfd. Threads are coroutines on one real thread: one runs at
 * a time, and who runs next is the checker's choice.
 *
 * All orders with at most `preemptions` switches away from a thread that could have gone on are tried, depth first;
 * switches where a thread waits or ends are free. So are choices: which waiter a signal wakes, whether a weak
 * exchange fails for nothing, whether a deadline passes.
 *
 * A scenario fails when loom_check does not hold, or when threads are left of which none can go on: a lost wake-up. The
 * steps that led there are printed. */
#ifndef TEST_LOOM_LOOM_H
#define TEST_LOOM_LOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs every order of `scenario`, up to the first that fails. */
struct loom_result {
    bool failed;
    const char *why; /* good until the next one */
    uint64_t orders, steps;
};
struct loom_result loom_explore(void (*scenario)(void), unsigned preemptions);
/* The steps of the last run, a line each. */
void loom_tell_steps(void);

/* In a scenario or a thread: begins a thread. Returns its number. */
unsigned loom_thread(const char *name, void (*fn)(void *arg), void *arg);
/* Waits until that thread, or every other one, has ended. */
void loom_join(unsigned thread);
void loom_join_all(void);

#define loom_check(cond) \
    ((cond) ? (void)0 : loom_fail("%s:%d: does not hold: %s", __FILE__, __LINE__, #cond))
_Noreturn void loom_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Another thread may run now. */
void loom_step(const char *what);
/* Goes on when somebody else has: a step that costs no preemption. */
void loom_pause(void);
/* Waits until is_so(arg); the others go on. */
void loom_wait(const char *what, bool (*is_so)(void *arg), void *arg);
/* 0 to n-1; every one of them is tried. */
unsigned loom_choose(const char *what, unsigned n);
bool loom_fails_for_nothing(void);
/* Who runs; 0 is the scenario itself. */
unsigned loom_self(void);

/* The imaginary eventfd (kernel.c): waits until it was rung, and takes the rings. */
void loom_wait_rung(int fd);
/* Its place among those still open is given back at the end of a run; a scenario asks whether all were closed. */
unsigned loom_open_fds(void);
void loom_forget_fds(void);

#endif
