/* SPDX-License-Identifier: MIT
 *
 * gen.h: what the rest of the library knows of a thread's generators.
 *
 * A generator whose first step is made on a loop belongs to that loop until it ends, so that the loop can end it:
 *
 *     first step --begins--> [ driven ] --its end, coil__gen_take--> no longer the loop's business
 *        last reference gone in another thread --inbox--> orphan, in [ driven ] again --orphaned-->
 *
 * This floor keeps the list; who a loop is, and what is done about an orphan, is told by hooks.
 *
 * Elsewhere: the promise to users (coil/generator.h), the hooks (task/asyncgen.c). */
#ifndef COIL_CORO_GEN_H
#define COIL_CORO_GEN_H

#include <coil/generator.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct inbox;

/* Set for the process by the floor that knows of loops; NULL until then. */
struct gen_hooks {
    /* The inbox of the loop on whose behalf the running coroutine makes the first step of `gen`; NULL: of none. */
    struct inbox *(*begins)(coil_gen *gen);
    /* An orphan has come home: on its loop's thread, in the middle of a turn, where no user's code may run. */
    void (*orphaned)(void);
};
extern _Atomic(const struct gen_hooks *) coil__gen_hooks;

/* How many generators of this thread that loop drives. */
size_t coil__gen_driven(const struct inbox *home);

/* The first of them, no longer in the list, with a reference that is the caller's; NULL: there is none. */
coil_gen *coil__gen_take(const struct inbox *home, bool orphans_only);

/* Where it was made. */
const char *coil__gen_made_at(const coil_gen *gen, int *out_line);

/* How many generators of this thread hold a stack. */
size_t coil__gen_live(void);

/* Gives back all that the thread keeps for generators, if none is left; it comes again when the
 * next one is made. Returns how many are left. The end of a thread does this by itself. */
size_t coil__gen_thread_fini(void);

#endif
