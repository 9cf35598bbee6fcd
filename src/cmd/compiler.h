/* SPDX-License-Identifier: MIT
 *
 * compiler.h: the system's C compiler, with what a program on coil needs of it.
 *
 *     $CC -std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall $CPPFLAGS $CFLAGS -I include FILE.c
 *         -o program $LDFLAGS -L lib -Wl,-rpath,lib -lcoil -pthread -lm $LDLIBS
 *
 * CC may be several words ("ccache gcc"); it is `cc` when not set. include and lib are those of the
 * installation, or what COIL_INCLUDEDIR and COIL_LIBDIR say. */
#ifndef COIL_CMD_COMPILER_H
#define COIL_CMD_COMPILER_H

#include "cmd/digest.h"
#include "cmd/files.h"

#include <stdbool.h>

/* Where <coil.h> is, and where libcoil is. */
const char *compiler_include_folder(void);
const char *compiler_lib_folder(void);

/* The command that makes `program` of `source` and tells in the file `deps`, as a rule for make, what
 * was included. */
void compiler_command(struct words *out_words, const char *source, const char *program,
                      const char *deps);

/* The command that makes a shared object of `source`, to be loaded into this process; `header` is included first. And
 * the one that compiles this header beforehand, with the same options. What the compiler shows may be coloured.
 * `folder` is taken off the names of files that the program sees (__FILE__). */
void compiler_object_command(struct words *out_words, const char *source, const char *object,
                             const char *header, const char *folder, bool colours);
void compiler_header_command(struct words *out_words, const char *header, const char *precompiled,
                             const char *folder);
/* The command that says by its exit status whether `source` is right C. */
void compiler_question_command(struct words *out_words, const char *source, const char *header,
                               const char *folder);

/* Everything but the source and its headers that the outcome depends on: the command, the compiler's
 * files, libcoil's files, and the working folder, if names are relative to it. */
void compiler_identity(struct digest *d, const char *source);

/* Run the command; what it prints goes to standard error. Its exit status; when a signal ended it, ends
 * this process by the same one. `before_death` is called first. */
int compiler_run(char *const *words, void (*before_death)(void *arg), void *arg);

/* The files named in a rule for make, its target left out. */
void compiler_deps(struct words *out_paths, const char *rule);

#endif
