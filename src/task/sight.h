/* SPDX-License-Identifier: MIT
 *
 * sight.h: the table that says how tasks lie in memory. */
#ifndef COIL_TASK_SIGHT_H
#define COIL_TASK_SIGHT_H

#include "loop/sight.h"

extern struct sight_tasks coil__sight_tasks; /* never written; it lies where a core file holds it */

#endif
