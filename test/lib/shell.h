/* SPDX-License-Identifier: MIT
 *
 * shell.h: children for tests: scripts that the real /bin/sh and an imaginary one read alike.
 *
 *     shell_is_here();                       in a test, before its first child
 *     coil_create_subprocess_exec(SH("echo hello; exit 3"), &opts, &process);
 *
 * On `sim` the programs /bin/sh, cat, true and false are imaginary then, and run in virtual time; the others are not
 * there. What both understand, separated by `;`:
 *
 *     echo WORDS [>&2]    cat    head -c N [/dev/zero]    yes    read x    sleep N    exit N
 *     kill -NAME $$    trap "" NAME    trap "exit N" NAME    exec COMMAND    exec 0<&-    exec 1>&-    exec 2>&-
 *     ( COMMANDS ) &      a child of the child's, which has its descriptors
 */
#ifndef TEST_LIB_SHELL_H
#define TEST_LIB_SHELL_H

#define SH(script) ((const char *const[]){"/bin/sh", "-c", (script), NULL})

/* The running loop's backend has these programs from now on. */
void shell_is_here(void);

#endif
