/* SPDX-License-Identifier: MIT
 *
 * outer.c: whether the value of an outer future was taken, told from free_result to destroy.
 *
 * Runs on the loop's thread. */
#include "combine/outer.h"

/* Set and asked within one coil_unref. */
static _Thread_local bool untaken;

void coil__outer_untaken(coil_ret value)
{
    (void)value;
    untaken = true;
}

bool coil__outer_was_taken(const coil_future *f)
{
    bool taken = outer_has_value(f) && !untaken;
    untaken = false;
    return taken;
}
