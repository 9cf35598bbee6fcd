/* SPDX-License-Identifier: MIT
 *
 * asyncgens.c: the end of every generator that a loop drives.
 *
 *     all that are left --one task each: coil_gen_close--> gathered --> errors to the exception handler
 *
 * Always true: each generator taken from the loop is given back its reference, however this ends; one for
 * which no task could be made is closed by the caller's own.
 *
 * Runs on the loop's thread. Elsewhere: which generators those are (task/asyncgen.c). */
#include "base/mem.h"
#include "coro/gen.h"
#include "task/task.h"

#include <coil/combine.h>
#include <coil/generator.h>

struct closing {
    size_t n;
    coil_gen **gens;
    coil_task **tasks;
};

static coil_ret close_one(void *gen)
{
    return coil_gen_close(gen);
}

static int make_room(struct closing *c, size_t n)
{
    c->gens = coil__alloc(n * sizeof *c->gens);
    c->tasks = coil__alloc(n * sizeof *c->tasks);
    return c->gens && c->tasks ? 0 : -ENOMEM;
}

static void drop_room(struct closing *c)
{
    coil__free(c->tasks);
    coil__free(c->gens);
}

static void tell(coil_loop *loop, coil_gen *gen, coil_ret rc, const coil_error *error)
{
    if (coil_iserr(rc) && rc != -ECANCELED)
        coil__asyncgen_report(loop, gen, "failed while it was closed", rc, error);
}

/* Without a task of its own. Returns what it came to. */
static coil_ret close_here(coil_loop *loop, coil_gen *gen)
{
    coil_ret rc = coil_gen_close(gen);
    tell(loop, gen, rc, coil_last_error());
    return rc;
}

/* Without memory to do it all at once: one after the other. */
static coil_ret close_in_turn(coil_loop *loop)
{
    coil_ret rc = 0;
    for (coil_gen *gen; (gen = coil__gen_take(loop->inbox, false));) {
        if (close_here(loop, gen) == -ECANCELED)
            rc = -ECANCELED;
        coil_gen_unref(gen);
    }
    return rc;
}

coil_ret coil_loop_shutdown_asyncgens(coil_loop *loop)
{
    int err = coil__can_wait();
    if (err)
        return err;
    if (loop && loop != coil__running_loop)
        return coil__fail_plain(COIL_EWRONGLOOP);
    loop = coil__running_loop;
    size_t n = coil__asyncgens_shut(loop);
    if (!n)
        return 0;
    struct closing c = {0};
    if (make_room(&c, n) < 0) {
        drop_room(&c);
        return close_in_turn(loop);
    }
    for (coil_gen *gen; c.n < n && (gen = coil__gen_take(loop->inbox, false)); c.n++) {
        c.gens[c.n] = gen;
        c.tasks[c.n] = coil_create_task(close_one, gen);
    }
    coil_ret rc = coil_gather(c.tasks, c.n, NULL, COIL_RETURN_EXCEPTIONS);
    for (size_t i = 0; rc == -ENOMEM && i < c.n; i++)
        coil_ignore(coil_await_future(c.tasks[i])); /* it touched none of them */
    for (size_t i = 0; i < c.n; i++) {
        if (c.tasks[i]->immortal)
            close_here(loop, c.gens[i]);
        else if (coil_future_done(c.tasks[i]) && !coil_future_cancelled(c.tasks[i]))
            tell(loop, c.gens[i], c.tasks[i]->result, coil_future_exception(c.tasks[i]));
        coil_unref(c.tasks[i]);
        coil_gen_unref(c.gens[i]);
    }
    drop_room(&c);
    return rc == -ENOMEM ? 0 : rc;
}
