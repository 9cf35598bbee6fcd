/* SPDX-License-Identifier: MIT
 *
 * fault.h: a test again and again, each time with one thing going wrong; coil/testing.h says what a user sees of it.
 *
 *     count the points of a clean run --> for each point: a child of fork runs the body, with that point failing --> judge
 *
 * A body that meets an error may fail its assertions as it likes; what is judged is the rest:
 *   - it must not crash, and no check of ours may fail;
 *   - if it returns, nothing may be left open or allocated;
 *   - what nobody may notice (a short transfer, an interrupted call) it must pass as before;
 *   - where the body says that it handles everything (COIL_FAULT_STRICT), it must not wait for ever either.
 *
 * The program's main thread. Elsewhere: what a test is, and what is counted (test.c). */
#ifndef COIL_TESTING_FAULT_H
#define COIL_TESTING_FAULT_H

#include <coil/testing.h>

#include <stdbool.h>

/* Does COIL_FAULT ask for a sweep? Then tests are run by coil__fault_sweep. */
bool coil__fault_asked(void);

/* run(test) in a child for every point. NULL, or what was found, in words that are good until the next call. */
const char *coil__fault_sweep(coil_test *test, const char *(*run)(coil_test *test));

/* In such a child: the body begins, the body is over (by itself or not), and what is not home. */
bool coil__fault_in_child(void);
bool coil__fault_excuses(void); /* a body that met this error may leave tasks and reports behind */
void coil__fault_arm(void);
void coil__fault_disarm(void);
_Noreturn void coil__fault_asserted(void); /* an assertion of the body failed, or it was skipped */
_Noreturn void coil__fault_waited(void);   /* nobody was left who could have woken it */

#endif
