/* SPDX-License-Identifier: MIT
 *
 * body.h: bodies for sweeps of faults: they take every error as it comes, give back what they have, and wait for nobody who
 * will not come (COIL_FAULT_STRICT).
 *
 *     static coil_ret read_a_file(void) { ... leave_on_error(...) ... }
 *     COIL_TEST(files_under_faults) { play(read_a_file); } */
#ifndef TEST_FAULT_BODY_H
#define TEST_FAULT_BODY_H

#include "test.h"

#include <coil.h>

#include <string.h>

/* Leaves the body with the error of a call. */
#define leave_on_error(call)   \
    do {                       \
        coil_ret rc_ = (call); \
        if (coil_iserr(rc_))   \
            return rc_;        \
    } while (0)

bool coil__fault_excuses(void); /* testing/fault.h */

/* Whatever the body came to is fine where something was put in that can be noticed; else it must reach its end. */
static inline void play(coil_ret (*body)(void))
{
    coil_ret rc = body();
    if (coil__fault_excuses() || rc == 0)
        return;
    fail_msg("%s: %s", coil_errname(rc), coil_last_error()->message);
}

/* The error that came first is the one that is told. */
static inline coil_ret first_error(coil_ret before, coil_ret now)
{
    return before < 0 ? before : now < 0 ? now : 0;
}

#endif
