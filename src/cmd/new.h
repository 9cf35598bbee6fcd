/* SPDX-License-Identifier: MIT
 *
 * new.h: the files of a new project, made of templates/ by tools/embed.py when coil is built. */
#ifndef COIL_CMD_NEW_H
#define COIL_CMD_NEW_H

struct new_file {
    const char *name;
    const char *text; /* "@NAME@" stands for the project's name */
};

/* Ends in a NULL name. */
extern const struct new_file new_files[];

#endif
