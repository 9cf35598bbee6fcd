/* SPDX-License-Identifier: MIT
 *
 * look.h: what `coil ps`, `coil pstree` and `coil dump` share: the program that is looked at, and words for what is seen. */
#ifndef COIL_CMD_LOOK_H
#define COIL_CMD_LOOK_H

#include "cmd/cmd.h"
#include "cmd/peer.h"
#include "cmd/seen.h"

struct target {
    struct peer peer;
    struct seen seen;
    bool json, count;
};

/* What a verb understands beside a program to look at. */
enum { LOOK_JSON = 1u << 0, LOOK_COUNT = 1u << 1 };

/* Read the program that the words name, and `tell` of it; an exit status. */
int look_at(int argc, char **argv, unsigned understood, int (*tell)(struct target *t));

extern const char *const look_states[]; /* of enum seen_state */

/* The function at an address. */
void look_call(struct target *t, uint64_t pc, char *out, size_t n);
/* What a task waits for, and who waits with it. */
enum { LOOK_WAIT_MAX = 400 };
void look_wait(const struct seen_loop *l, const struct seen_task *task, char *out, size_t n);
/* ", for 1.5 s now" if it is known since when a task waits, or "". */
void look_since(const struct seen_task *task, char *out, size_t n);
/* "work.c:12", as addr2line knows it, or "". Good until the next call. */
const char *look_line(struct target *t, uint64_t pc, struct place *out);
/* What keeps a loop alive. */
void look_print_loop(struct seen_loop *l);

/* Of `coil help VERB`. */
#define LOOK_HOW                                                                                  \
    "The program's memory is read, from outside: it is not stopped, runs nothing for this, and\n" \
    "need not answer. So one that is stopped or hangs is shown as well, and with --core FILE "    \
    "one\n"                                                                                       \
    "that has crashed. Reading needs the same rights as a debugger does.\n"

#endif
