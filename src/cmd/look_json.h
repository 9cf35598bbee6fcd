/* SPDX-License-Identifier: MIT
 *
 * look_json.h: what is seen of a program, as JSON to standard output. */
#ifndef COIL_CMD_LOOK_JSON_H
#define COIL_CMD_LOOK_JSON_H

#include "cmd/look.h"

/* An object with all loops; what `inner` prints stands in the array of that name. 0, or the status that it ended with. */
int json_loops(struct target *t, const char *name,
               int (*inner)(struct target *t, struct seen_loop *l));

/* The members of a task but for its calls, without braces. */
void json_task(struct target *t, const struct seen_loop *l, const struct seen_task *task);

/* The member "stack", innermost first: each call with function, source line, file and address. */
void json_calls(struct target *t, const struct seen_task *task);

#endif
