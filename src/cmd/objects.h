/* SPDX-License-Identifier: MIT
 *
 * objects.h: locks, events, queues and the like that tasks wait for. */
#ifndef COIL_CMD_OBJECTS_H
#define COIL_CMD_OBJECTS_H

#include "cmd/seen.h"

/* Fill in which one each task waits for, and who else stands in that line: `which`, `also`. */
void objects_name(struct seen_loop *l, struct functions *f, struct peer *p);

#endif
