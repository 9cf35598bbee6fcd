/* SPDX-License-Identifier: MIT
 *
 * gen.c: generators: next, send, throw, close.
 *
 * A generator is a coroutine and one word that passes between it and whoever drives it. It lives on
 * top of its own stack, arguments behind it, so making one from a warm pool allocates nothing.
 *
 *     driver: step --word in--> coil_gen_yield returns it
 *     driver: step returns <--word out-- coil_gen_yield, or the body's return
 *
 * Always true:
 *   - while it runs, coro.resumer is the coroutine that drives it: the one place a yield may go to.
 *     The generator may wait in between (the floors above then run other things in this thread), so
 *     a step assumes nothing but that control comes back to it;
 *   - a step holds a reference, so a generator is never freed under its own feet;
 *   - its stack goes home from outside, at the last unref;
 *   - one that a loop drives is in its thread's list `driven` from its first step to its last, and no other thread
 *     touches that list: a last reference that goes elsewhere is sent home through the loop's inbox.
 *
 * Runs on the thread that made the generator, whose pool its stack is of. */
#include <coil/generator.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/inbox.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/thread.h"
#include "coro/coro.h"
#include "coro/gen.h"
#include "coro/stack.h"

#define IDLE_MAX       256 /* warm stacks a thread keeps for generators to come */
#define NAME_MAX_BYTES 32

struct coil_gen {
    _Alignas(16) struct coro coro;
    coil_ret word; /* in: what the yield returns; out: what was yielded or returned */
    coil_gen_fn fn;
    void *arg;
    const char *name; /* a literal, or own_name */
    const char *file; /* where it was made */
    int line;
    unsigned refs;
    enum coil_gen_state state;
    int failure;    /* not 0: stands in for one that could not be made */
    bool abandoned; /* refused to unwind; its stack is lost */
    bool plain;     /* belongs to no loop, whoever drives it */
    bool sent_home; /* once; the loop may have gone to another thread meanwhile */
    bool orphan;    /* its last reference went in another thread: the one it has is its list's */
    struct inbox *home;     /* of the loop that drives it, counted; NULL: of none */
    struct list of_driven;  /* here->driven */
    struct inbox_node node; /* the way home */
    char own_name[NAME_MAX_BYTES];
};

/* Shared by all threads and never written to. */
static coil_gen no_memory = {
    .state = COIL_GEN_CLOSED, .failure = -ENOMEM, .name = "generator", .file = ""};
static coil_gen bad_options = {
    .state = COIL_GEN_CLOSED, .failure = -EINVAL, .name = "generator", .file = ""};

/* What a thread has for its generators. */
struct gen_thread {
    struct stack_pool pool; /* they stand on stacks of this */
    struct list driven;     /* those that have begun and are a loop's, in that order */
};
static CORO_THREAD_LOCAL struct gen_thread *here;

_Atomic(const struct gen_hooks *) coil__gen_hooks;

static bool is_here(const coil_gen *gen)
{
    return here && gen->coro.stack->pool == &here->pool;
}

/* What no return value can say. `gen` may be NULL. */
COIL_PRINTF(3, 4)
static void complain(const char *kind, const coil_gen *gen, const char *fmt, ...)
{
    char line[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    coil__log_line(kind, line, gen ? gen->file : NULL, gen ? gen->line : 0);
}

/* ---- the thread's own ---- */

static void describe(const struct stack *stack, struct stack_about *out)
{
    const coil_gen *gen = stack->owner;
    if (gen)
        *out = (struct stack_about){.name = gen->name, .file = gen->file, .line = gen->line};
}

size_t coil__gen_live(void)
{
    return here ? here->pool.in_use : 0;
}

size_t coil__gen_thread_fini(void)
{
    if (!here)
        return 0;
    if (here->pool.in_use > 0)
        return here->pool.in_use;
    coil__stack_pool_fini(
        &here->pool); /* abandoned stacks stay mapped, and nobody asks for their pool */
    coil__free(here);
    here = NULL;
    return 0;
}

static void thread_ends(void *arg)
{
    (void)arg;
    size_t left = coil__gen_thread_fini();
    if (left > 0) {
        complain("generator-lost", NULL,
                 "a thread ends with %zu generators that were never released", left);
        here = NULL;
    }
}

static int thread_begins(void)
{
    static struct thread_key key;
    struct gen_thread *mine = coil__alloc(sizeof *mine);
    if (!mine)
        return (int)coil__fail_plain(-ENOMEM);
    int err = coil__stack_pool_init(&mine->pool, 0);
    if (!err)
        err = coil__thread_at_exit(&key, thread_ends, NULL);
    if (err) {
        coil__free(mine);
        return (int)coil__fail_plain(err == -EAGAIN ? -ENOMEM : err);
    }
    mine->pool.idle_max = IDLE_MAX;
    mine->pool.describe = describe;
    list_init(&mine->driven);
    here = mine;
    return 0;
}

/* ---- those that a loop drives ---- */

/* Its first step: from now on it is that loop's, if any. */
__attribute__((noinline)) static void begin(coil_gen *gen)
{
    const struct gen_hooks *hooks = atomic_load_explicit(&coil__gen_hooks, memory_order_acquire);
    struct inbox *home = hooks && !gen->plain ? hooks->begins(gen) : NULL;
    if (!home)
        return;
    gen->home = coil__inbox_ref(home);
    list_push(&here->driven, &gen->of_driven);
}

size_t coil__gen_driven(const struct inbox *home)
{
    size_t n = 0;
    if (here)
        LIST_FOREACH(link, &here->driven)
            n += container_of(link, coil_gen, of_driven)->home == home;
    return n;
}

coil_gen *coil__gen_take(const struct inbox *home, bool orphans_only)
{
    if (!here)
        return NULL;
    LIST_FOREACH(link, &here->driven) {
        coil_gen *gen = container_of(link, coil_gen, of_driven);
        if (gen->home != home || (orphans_only && !gen->orphan))
            continue;
        list_remove(link);
        if (!gen->orphan)
            gen->refs++;
        gen->orphan = false;
        return gen;
    }
    return NULL;
}

static void comes_home(struct inbox_node *node)
{
    coil_gen *gen = container_of(node, coil_gen, node);
    if (!is_here(gen) || gen->state != COIL_GEN_SUSPENDED) {
        coil_gen_unref(gen);
        return;
    }
    /* Back in the list it is not forgotten, whatever becomes of who is told now. */
    gen->orphan = true;
    list_remove(&gen->of_driven);
    list_push(&here->driven, &gen->of_driven);
    atomic_load_explicit(&coil__gen_hooks, memory_order_acquire)->orphaned();
}

/* The last reference went in a thread that cannot run it. False: there is no way home. */
static bool send_home(coil_gen *gen)
{
    if (!gen->home || gen->sent_home)
        return false;
    gen->sent_home = true;
    gen->refs = 1; /* the errand's */
    gen->node.fn = comes_home;
    if (coil__inbox_post(gen->home, &gen->node))
        return true;
    gen->refs = 0;
    return false;
}

/* ---- birth and death ---- */

CORO_ENTRY static void body(struct coro *co)
{
    coil_gen *gen = container_of(co, coil_gen, coro);
    gen->word = gen->fn(gen, gen->arg);
    gen->state = COIL_GEN_CLOSED;
    list_remove(&gen->of_driven);
    coil__coro_exit_to(gen->coro.resumer);
}

/* Leaves an unwinding generator that will not end. It, or one that it drives, stands on this stack.
 * */
static void abandon(struct coro *co)
{
    coil_gen *gen = container_of(co, coil_gen, coro);
    gen->word = COIL_EEXIT;
    gen->state = COIL_GEN_CLOSED;
    list_remove(&gen->of_driven);
    gen->abandoned = true;
    if (coro_current() != co)
        coil__coro_drop(co);
    coil__coro_exit_to(co->resumer);
}

coil_gen *coil_gen_new_at(const char *file, int line, const char *name, coil_gen_fn fn,
                          const void *arg, size_t copy, const coil_gen_opts *opts)
{
    struct stack *stack;
    coil_gen_opts own;
    opts = OPTS_READ(opts, own);
    if (!fn) {
        coil__fail(-EINVAL, "a generator needs a function");
        return &bad_options;
    }
    if (copy && !arg) {
        coil__fail(-EINVAL, "there are no arguments to copy (NULL)");
        return &bad_options;
    }
    if (!here && thread_begins() < 0)
        return &no_memory;
    int err = coil__stack_get(&here->pool, opts->stack_size, &stack);
    if (err)
        return err == -EINVAL ? &bad_options : &no_memory;
    coil_gen *gen = copy < SIZE_MAX / 2 ? coil__stack_reserve(stack, sizeof *gen + copy) : NULL;
    if (!gen) {
        coil__fail(-EINVAL, "%zu bytes of arguments do not fit on a stack of %zu KB", copy,
                   stack_bytes(stack) / 1024);
        coil__stack_put(stack);
        return &bad_options;
    }
    coil__coro_make(&gen->coro, stack, body);
    gen->coro.abandon = abandon;
    gen->fn = fn;
    gen->arg = copy ? memcpy(gen + 1, arg, copy) : (void *)(uintptr_t)arg;
    gen->name = name;
    gen->file = file;
    gen->line = line;
    gen->refs = 1;
    gen->state = COIL_GEN_CREATED;
    gen->failure = 0;
    gen->abandoned = false;
    gen->plain = opts->plain;
    gen->orphan = gen->sent_home = false;
    gen->home = NULL;
    list_init(&gen->of_driven);
    if (opts->name) {
        snprintf(gen->own_name, sizeof gen->own_name, "%s", opts->name);
        gen->name = gen->own_name;
    }
    stack->owner = gen;
    return gen;
}

coil_gen *coil_gen_ref(coil_gen *gen)
{
    if (gen && !gen->failure)
        gen->refs++;
    return gen;
}

/* Runs a suspended generator, refusing all it would wait for, until it returns. */
static void unwind(coil_gen *gen)
{
    gen->refs = 1; /* for the time of its last step */
    gen->coro.resumer = coro_current();
    gen->state = COIL_GEN_RUNNING;
    gen->word = COIL_EEXIT;
    coro_unwind(&gen->coro, &gen->coro);
    if (gen->abandoned)
        complain(
            "generator-error", gen,
            "generator %s (%s:%d) was told to end and went on %d times; its stack is abandoned",
            gen->name, gen->file, gen->line, CORO_REFUSALS_MAX);
    else if (coil_iserr(gen->word) && gen->word != COIL_EEXIT)
        complain("generator-error", gen, "generator %s (%s:%d) raised %s while it was unwound: %s",
                 gen->name, gen->file, gen->line, coil_errname(gen->word),
                 coil_strerror(gen->word));
}

__attribute__((noinline)) static void destroy(coil_gen *gen)
{
    struct stack *stack = gen->coro.stack;
    if (!is_here(gen)) {
        if (send_home(gen))
            return;
        complain("generator-lost", gen,
                 "generator %s (%s:%d) was released by another thread; it is lost", gen->name,
                 gen->file, gen->line);
        return;
    }
    list_remove(&gen->of_driven);
    if (gen->state == COIL_GEN_CREATED)
        coil__coro_drop(&gen->coro);
    if (gen->state == COIL_GEN_SUSPENDED)
        unwind(gen);
    coil__inbox_unref(gen->home);
    if (gen->abandoned)
        coil__stack_abandon(stack);
    else
        coil__stack_put(stack);
}

void coil_gen_unref(coil_gen *gen)
{
    if (gen && !gen->failure && --gen->refs == 0)
        destroy(gen);
}

/* ---- one step ---- */

/* Runs it until it yields or ends; `in` is what its yield returns. */
static inline int step(coil_gen *gen, coil_ret in, coil_ret *out)
{
    gen->refs++;
    gen->state = COIL_GEN_RUNNING;
    gen->word = in;
    gen->coro.resumer = coro_current();
    coil__coro_switch(&gen->coro);
    gen->coro.resumer = NULL;
    coil_ret word = gen->word;
    int rc = gen->state == COIL_GEN_SUSPENDED;
    if (--gen->refs == 0) /* whoever held it let go meanwhile */
        destroy(gen);
    if (!rc && coil_iserr(word))
        return (int)word;
    if (out)
        *out = word;
    return rc;
}

/* Why this generator cannot be stepped now: an error, or 0 if it is created or suspended, 1 if
 * closed. */
static int unfit(const coil_gen *gen)
{
    if (!gen)
        return (int)coil__fail(-EINVAL, "there is no generator");
    if (gen->failure)
        return (int)coil__fail(gen->failure, "the generator could not be made: %s",
                               gen->failure == -ENOMEM ? "no memory for its stack"
                                                       : "bad function, options or arguments");
    if (!is_here(gen))
        return (int)coil__fail(COIL_EWRONGTHREAD, "generator %s belongs to another thread",
                               gen->name);
    if (gen->state == COIL_GEN_RUNNING)
        return (int)coil__fail(COIL_ERUNNING, "generator %s is already executing", gen->name);
    return gen->state == COIL_GEN_CLOSED;
}

int coil_gen_send(coil_gen *gen, coil_ret value, coil_ret *out_value)
{
    int rc = unfit(gen);
    if (rc < 0)
        return rc;
    if (coil_iserr(value))
        return (int)coil__fail(-EINVAL, "%ld would read as an error; coil_gen_throw sends those",
                               (long)value);
    if (rc == 1) {
        if (out_value)
            *out_value = 0;
        return 0;
    }
    if (coil_unlikely(gen->state == COIL_GEN_CREATED)) {
        if (value != 0)
            return (int)coil__fail(COIL_ETYPE,
                                   "nothing but 0 can be sent to a generator that is just created");
        begin(gen);
    }
    return step(gen, value, out_value);
}

int coil_gen_next(coil_gen *gen, coil_ret *out_value)
{
    return coil_gen_send(gen, 0, out_value);
}

static void close_unstarted(coil_gen *gen)
{
    if (gen->state == COIL_GEN_CREATED)
        coil__coro_drop(&gen->coro);
    gen->state = COIL_GEN_CLOSED;
}

int coil_gen_throw(coil_gen *gen, coil_ret error, coil_ret *out_value)
{
    int rc = unfit(gen);
    if (rc < 0)
        return rc;
    if (!coil_iserr(error))
        return (int)coil__fail(COIL_ETYPE, "%ld is no error; coil_gen_send sends values",
                               (long)error);
    const coil_error *last = coil_last_error();
    if (!last || last->code != error) /* else the record of who made it says more */
        coil__fail_plain(error);
    if (gen->state == COIL_GEN_SUSPENDED)
        return step(gen, error, out_value);
    close_unstarted(gen);
    return (int)error;
}

int coil_gen_close(coil_gen *gen)
{
    if (!gen || gen->state == COIL_GEN_CLOSED)
        return 0;
    int rc = unfit(gen);
    if (rc < 0)
        return rc;
    if (gen->state == COIL_GEN_CREATED) {
        close_unstarted(gen);
        return 0;
    }
    rc = step(gen, COIL_EEXIT, NULL);
    if (rc == 1)
        return (int)coil__fail(COIL_EINVALIDSTATE, "generator ignored GeneratorExit");
    return rc == COIL_EEXIT ? 0 : rc;
}

/* ---- inside ---- */

static int not_inside(const coil_gen *self)
{
    if (self && coro_current() == &self->coro)
        return 0;
    return (int)coil__fail(COIL_EINVALIDSTATE, "yield from outside the generator's own stack");
}

coil_ret coil_gen_yield(coil_gen *self, coil_ret value)
{
    if (coil_unlikely(!self || coro_current() != &self->coro))
        return not_inside(self);
    if (coil_unlikely(self->coro.unwinding))
        return coil__coro_refuse(&self->coro);
    self->word = value;
    self->state = COIL_GEN_SUSPENDED;
    coil__coro_switch(self->coro.resumer);
    return self->word;
}

int coil_gen_yield_from(coil_gen *self, coil_gen *inner, coil_ret *out_value)
{
    coil_ret value;
    int rc = not_inside(self);
    if (rc < 0)
        return rc;
    rc = coil_gen_next(inner, &value);
    while (rc > 0) {
        coil_ret got = coil_gen_yield(self, value);
        if (got == COIL_EEXIT) {
            rc = coil_gen_close(inner);
            return rc < 0 ? rc : COIL_EEXIT;
        }
        rc = coil_iserr(got) ? coil_gen_throw(inner, got, &value)
                             : coil_gen_send(inner, got, &value);
    }
    if (rc == 0 && out_value)
        *out_value = value;
    return rc;
}

/* ---- looking ---- */

enum coil_gen_state coil_gen_state(const coil_gen *gen)
{
    return gen ? gen->state : COIL_GEN_CLOSED;
}

const char *coil_gen_name(const coil_gen *gen)
{
    return gen ? gen->name : "";
}

const char *coil__gen_made_at(const coil_gen *gen, int *out_line)
{
    *out_line = gen->line;
    return gen->file;
}
