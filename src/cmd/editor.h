/* SPDX-License-Identifier: MIT
 *
 * editor.h: lines from a person or from a pipe, while the loop goes on.
 *
 * On a terminal they are edited by libedit or readline, whichever is there: loaded when needed, so that the command
 * needs libc alone. With neither, or over a pipe, they are lines as they come. */
#ifndef COIL_CMD_EDITOR_H
#define COIL_CMD_EDITOR_H

#include "cmd/files.h"

#include <coil.h>

#include <stdbool.h>

enum editor_outcome { EDITOR_END, EDITOR_LINE, EDITOR_INTERRUPTED };

/* Adds what a word may become. */
typedef void (*editor_complete_fn)(struct words *out, const char *prefix);

/* The library that will edit, "libedit" or "readline", or NULL: COIL_EDITOR names one of them, or "none". */
const char *editor_library(void);

/* Interactive: a terminal on both sides, a prompt, and editing if it can be had. */
void editor_open(bool interactive, editor_complete_fn complete);
void editor_close(void);

/* The next line, to be freed, on EDITOR_LINE; an error if the waiting was cancelled. */
COIL_MUST coil_ret editor_line(const char *prompt, char **out_line);

/* Whoever waits in editor_line gets this instead; what was typed is thrown away. Nobody need wait. */
void editor_stop(enum editor_outcome outcome);

/* The program went on after Ctrl-Z: the line is drawn again. */
void editor_redraw(void);

/* The terminal as it was found. May be called in a signal's handler. */
void editor_restore_terminal(void);

#endif
