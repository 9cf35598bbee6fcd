/* SPDX-License-Identifier: MIT
 *
 * play.h: a script played on coil, and what happened. */
#ifndef TEST_DIFF_PLAY_H
#define TEST_DIFF_PLAY_H

#include "script.h"

/* Plays it on the imaginary kernel, in virtual time. Returns the trace, to be freed, a line for each thing that
 * happened:
 *
 *     TURN@TIME WHO WHAT = OUTCOME [STATE]
 *
 * TIME is in quarters of a second; WHO a task, `!` and a task for its callbacks, m for the end of the script; WHAT the
 * statement; ` c2` behind the outcome says how many cancels are outstanding; then come the objects it was about. A
 * statement that may wait has a line with `...` before. */
char *play_script(const struct script *script);

#endif
