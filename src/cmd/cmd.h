/* SPDX-License-Identifier: MIT
 *
 * cmd.h: what the verbs of the command `coil` share.
 *
 *     coil VERB ARGUMENT...     main.c finds the verb; each verb is a file of its name
 *     coil                      is `coil shell`
 *
 * Exit statuses of the command's own: 1 it could not be done, 2 the words were not understood; 126 found
 * but not to be run, 127 not found, as a shell has them. */
#ifndef COIL_CMD_CMD_H
#define COIL_CMD_CMD_H

#include <stdarg.h>

enum { EXIT_TROUBLE = 1, EXIT_USAGE = 2, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

struct verb {
    const char *name;
    const char *arguments; /* as in a usage line */
    const char *summary;   /* a line of `coil help` */
    const char *text;      /* the rest of `coil help VERB`, ends in a newline; or NULL */
    int (*run)(int argc, char **argv); /* argv[0] is the verb; returns an exit status */
};

extern const struct verb verb_run, verb_new, verb_shell, verb_ps, verb_pstree, verb_dump,
    verb_doctor, verb_help, verb_version;

/* Every verb, in the order in which help lists them; ends in NULL. */
extern const struct verb *const all_verbs[];

/* The verb of that name, or NULL. */
const struct verb *find_verb(const char *name);

/* "coil run: cannot read x.c: No such file or directory": the words, then the error's own (0: none).
 * Returns `status`. */
int complain(int status, int error, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
