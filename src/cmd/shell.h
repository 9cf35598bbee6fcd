/* SPDX-License-Identifier: MIT
 *
 * shell.h: `coil` alone: an interactive C prompt inside a running loop.
 *
 *     shell.c    reads entries and words (":tasks"), says what became of them, meets signals
 *     entry.c    compiles an entry, loads it and runs it, as a task
 *     and below: editor.c lines, parts.c and translate.c C text, session.c names, workshop.c compiler and loader */
#ifndef COIL_CMD_SHELL_H
#define COIL_CMD_SHELL_H

#include "cmd/session.h"
#include "cmd/workshop.h"

#include <stdbool.h>

struct shell {
    struct workshop workshop;
    struct session session;
    bool interactive;
    bool colours;       /* on standard error */
    bool failed;        /* an entry did */
    int signo;          /* that ends the shell; 0 */
    coil_task *main;    /* the shell's own */
    coil_task *running; /* the entry's; NULL between them */
};

/* One entry: typed, or a file's whole text (then `file` is its name, else NULL). */
struct entry {
    struct shell *shell;
    const char *text;
    const char *file;
    bool failed, returned;
};

/* Compile, load and run an entry. Runs as a task of its own; `arg` is the entry. What became of it is told. */
COIL_MUST coil_ret entry_run(void *arg);

/* Something that is not as it should be, on standard error: "error: ..." */
void shell_error(const struct shell *shell, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
