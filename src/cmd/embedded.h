/* SPDX-License-Identifier: MIT
 *
 * embedded.h: files that the command carries with it, made by tools/embed.py when coil is built. */
#ifndef COIL_CMD_EMBEDDED_H
#define COIL_CMD_EMBEDDED_H

struct embedded_file {
    const char *name;
    const char *text;
};

/* Each ends in a NULL name. */
extern const struct embedded_file
    new_files[]; /* of a new project: templates/; "@NAME@" stands for its name */
extern const struct embedded_file
    shell_files[]; /* what entries of the shell begin with: prelude.h */

#endif
