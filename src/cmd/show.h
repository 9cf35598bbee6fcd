/* SPDX-License-Identifier: MIT
 *
 * show.h: values as the shell shows them. */
#ifndef COIL_CMD_SHOW_H
#define COIL_CMD_SHOW_H

#include "cmd/prelude.h"

#include <stdarg.h>
#include <stdbool.h>

/* A value's text, to be freed: what `kind` says the argument is. */
char *show_value(int kind, int type_class, size_t size, va_list args);

/* Is this value the error that the last failing call of this task returned? "ENOENT: No such file or directory", to be
 * freed; NULL if it is not. */
char *show_error(int kind, intptr_t value);

/* A task in a line. */
char *show_future(coil_future *future);
/* The name of a task's function, to be freed; NULL if it has none. */
char *show_function(const coil_task *task);

#endif
