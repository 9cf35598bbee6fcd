/* SPDX-License-Identifier: MIT
 *
 * diagnostics.h: what the compiler says of an entry, as its author should read it. */
#ifndef COIL_CMD_DIAGNOSTICS_H
#define COIL_CMD_DIAGNOSTICS_H

/* Without the folder in front of names of files, without what speaks of the function that the shell put the entry
 * into, and without what was said before: an expression is compiled thrice. To be freed. */
char *diagnostics_for_user(const char *said, const char *folder);

#endif
