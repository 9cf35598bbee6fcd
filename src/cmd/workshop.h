/* SPDX-License-Identifier: MIT
 *
 * workshop.h: where the entries of a shell are compiled, and how they come into this process.
 *
 *     $TMPDIR/coil-shell-XXXXXX/      for the user only, gone at the end
 *         prelude.h, .h.gch     what entries begin with, compiled once
 *         entry-7               as it was typed, for the compiler to quote
 *         7.c, 7.so             as it was compiled; loaded until the end
 *
 * The compiler is a child of the loop: other tasks go on meanwhile. */
#ifndef COIL_CMD_WORKSHOP_H
#define COIL_CMD_WORKSHOP_H

#include "cmd/files.h"

#include <coil.h>

struct workshop {
    char *folder;
    char *header;
    bool colours;            /* the compiler's messages may have them */
    coil_process *compiler;  /* of the header, the task's own */
    coil_task *precompiling; /* of the header; NULL once it was waited for */
};

/* Make the folder and write the header. 0, or an exit status after saying why. */
int workshop_open(struct workshop *workshop);
/* Remove it all. What was loaded stays loaded. */
void workshop_close(struct workshop *workshop);

/* Remove what can be removed in a signal's handler: all, if the shell opened one workshop. */
void workshop_remove_in_handler(void);

/* Begin to precompile the header, as a task: the compiler runs when this returns. */
COIL_MUST coil_ret workshop_begin(struct workshop *workshop);

/* What the compiler is to call entry n: to be freed. The text is written there. */
char *workshop_quote(struct workshop *workshop, unsigned n, const char *text);

/* Compile the file of entry n. 0: it is right; 1: it is not; an error: the compiler could not be run. What it said, as the
 * entry's author should read it, is in *out_said, to be freed. */
COIL_MUST coil_ret workshop_compile(struct workshop *workshop, unsigned n, const char *source,
                                    char **out_said);

/* Is this right C, as far as a compiler's front end can tell? 1, 0 or an error. */
COIL_MUST coil_ret workshop_ask(struct workshop *workshop, const char *source);

/* Load entry n, which was compiled. NULL, with the reason in *out_why, to be freed. */
void *workshop_load(struct workshop *workshop, unsigned n, char **out_why);

#endif
