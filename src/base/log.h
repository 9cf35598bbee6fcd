/* SPDX-License-Identifier: MIT
 *
 * log.h: the one way out for what coil has to say. */
#ifndef COIL_BASE_LOG_H
#define COIL_BASE_LOG_H

#include <coil/debug.h>

/* To the program's hook; without one it is printed, if its level is high enough. Never from a signal handler. */
void coil__log(const coil_log_record *record);

/* The level of a kind that comes with this error (0: none). */
enum coil_log_level coil__log_level(const char *kind, coil_ret code);

/* A sentence that concerns no loop; `file` may be NULL. */
void coil__log_line(const char *kind, const char *message, const char *file, int line);

#endif
