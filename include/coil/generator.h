/* SPDX-License-Identifier: MIT
 *
 * coil/generator.h: functions that hand out values one at a time and keep their place in between.
 *
 * A generator is a coroutine without a loop: it runs when somebody asks for its next value, on a
 * stack of its own, and stops inside coil_gen_yield at any depth of calls. Values go both ways.
 *
 *     static coil_ret countdown(coil_gen *self, void *arg)
 *     {
 *         for (intptr_t n = *(int *)arg; n > 0; n--) {
 *             coil_ret sent = coil_gen_yield(self, n);
 *             if (coil_iserr(sent))
 *                 return sent;    // thrown in, or COIL_EEXIT: somebody closes us
 *         }
 *         return 0;
 *     }
 *
 *     int from = 3, rc;
 *     coil_gen *gen = coil_gen_new(countdown, &from);
 *     COIL_GEN_FOREACH(value, gen, rc)
 *         printf("%d\n", (int)value);
 *     coil_gen_unref(gen);
 *     return rc;                  // 0: it finished; < 0: it raised
 *
 *               next, send                      yields
 *     CREATED ---------------> RUNNING <-----------------------> SUSPENDED
 *        |                        |        next, send, throw         |
 *        | throw, close           | returns, raises                  | last unref: unwound
 *        '------------------> CLOSED <-------------------------------'
 *
 * What one step returns: 1 yielded, 0 finished (the value is what the function returned), < 0
 * raised or misused. Each generator belongs to the thread that made it. Driven from a task, a
 * generator may wait: the whole chain of callers waits with it, and the call below that drives it
 * suspends as long. That is Python's async generator: one whose first step a task made belongs to
 * that task's loop, and coil_loop_shutdown_asyncgens, with which coil_run ends, closes it if nobody
 * has. Its argument must live as long. A `plain` one belongs to no loop.
 *
 * A generator is not a coroutine object (coil/coroutine.h), and the compiler refuses one for the
 * other. */
#ifndef COIL_GENERATOR_H
#define COIL_GENERATOR_H

#include <coil/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct coil_gen coil_gen;

/* The body: gets the generator itself, to yield through, and the argument. What it returns is the
 * value of the last step; an error in [-4095, -1] is raised. */
typedef coil_ret (*coil_gen_fn)(coil_gen *self, void *arg);

enum coil_gen_state {
    COIL_GEN_CREATED,   /* nothing of the body ran yet */
    COIL_GEN_RUNNING,   /* somebody's next, send, throw or close has not returned */
    COIL_GEN_SUSPENDED, /* stopped in coil_gen_yield */
    COIL_GEN_CLOSED     /* finished, raised, or closed before it began */
};

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    const char *name;  /* copied, cut at 31 bytes; default: the function's */
    size_t stack_size; /* bytes; 0: 256 KB */
    bool plain;        /* no loop closes it, whoever makes its first step */
} coil_gen_opts;

/* Make a generator. Nothing of fn runs before the first step. Never NULL: when it cannot be made, a
 * closed one stands in whose every step returns why. One reference, yours.
 *
 *   Owns:   `arg` stays yours and must outlive the generator; the _with form copies n bytes of
 *           arguments to the top of the generator's own stack, and fn gets a pointer to the copy.
 *   Where:  anywhere, with or without a loop.
 *   Errors: at each step: -ENOMEM, or -EINVAL for fn NULL, an absurd stack size, or arguments
 *           that are NULL or larger than the stack.
 *   asyncio: calling a generator function */
#define coil_gen_new(fn, arg) coil_gen_new_at(__FILE__, __LINE__, #fn, (fn), (arg), 0, NULL)
#define coil_gen_new_with(fn, args, n) \
    coil_gen_new_at(__FILE__, __LINE__, #fn, (fn), (args), (n), NULL)
#define coil_gen_new_opts(fn, arg, opts) \
    coil_gen_new_at(__FILE__, __LINE__, #fn, (fn), (arg), 0, (opts))
COIL_API coil_gen *coil_gen_new_at(const char *file, int line, const char *name, coil_gen_fn fn,
                                   const void *arg, size_t copy, const coil_gen_opts *opts);

/* One more reference; returns the generator. NULL is fine. */
COIL_API coil_gen *coil_gen_ref(coil_gen *gen);

/* Drop a reference. The last one ends the generator: a suspended one is unwound first, that is, its
 * coil_gen_yield and every waiting call it makes return COIL_EEXIT until it returns. One that
 * refuses a thousand times is left where it stands, and reported on standard error, as is any other
 * error it raises. NULL is fine.
 *
 *   Where:  the generator's own thread; also while it runs, then the end comes when it next stops. In
 *           another thread the last one hands it to the loop that drove it, which closes it in a task,
 *           where it may wait; one without a loop, or whose loop is closed, is lost, and reported.
 *   asyncio: the last reference to a generator goes; the hook for async generators */
COIL_API void coil_gen_unref(coil_gen *gen);

/* Run it to its next yield. 1: *out_value is what it yielded. 0: it finished, *out_value is what it
 * returned (0 at all later steps).
 *
 *   Suspends: while the generator itself waits, which it can inside a task only.
 *   Cancel:   meets the waiting call inside the generator.
 *   Owns:     nothing; `out_value` may be NULL.
 *   Where:    the generator's own thread.
 *   Errors:   what the body returned, after which it is closed; COIL_ERUNNING from inside itself;
 *             COIL_EWRONGTHREAD.
 *   asyncio:  generator.__next__, next */
COIL_ASYNC int coil_gen_next(coil_gen *gen, coil_ret *out_value);

/* As coil_gen_next, and the yield it stands in returns `value`.
 *
 *   Suspends: as coil_gen_next.
 *   Cancel:   as coil_gen_next.
 *   Errors:   as coil_gen_next; COIL_ETYPE for a value other than 0 before the first step, when
 *             no yield waits for one; -EINVAL for a value that would read as an error
 *             (throw sends those).
 *   asyncio:  generator.send */
COIL_ASYNC int coil_gen_send(coil_gen *gen, coil_ret value, coil_ret *out_value);

/* As coil_gen_next, and the yield it stands in returns `error`. If the generator deals with it, its
 * next yield is this call's value; if not, the error comes back. One that is not started or is
 * closed runs nothing: the error comes back, and it is closed.
 *
 *   Suspends: as coil_gen_next.
 *   Cancel:   as coil_gen_next.
 *   Errors:   as coil_gen_next; `error` itself; COIL_ETYPE if `error` is none.
 *   asyncio:  generator.throw */
COIL_ASYNC int coil_gen_throw(coil_gen *gen, coil_ret error, coil_ret *out_value);

/* Ask it to end: its yield returns COIL_EEXIT. 0 when it ended, by returning that or any value;
 * also when it was closed or never started. It may still wait while it cleans up, if a task closes
 * it.
 *
 *   Suspends: as coil_gen_next.
 *   Cancel:   as coil_gen_next.
 *   Errors:   what it raised instead; COIL_EINVALIDSTATE "generator ignored GeneratorExit" if it
 *             yielded once more, it is suspended there then; COIL_ERUNNING; COIL_EWRONGTHREAD.
 *   asyncio:  generator.close, aclose */
COIL_ASYNC int coil_gen_close(coil_gen *gen);

/* Hand `value` to whoever drives this generator, and stop until the next step. Returns what was
 * sent, 0 for a plain next, or the error that was thrown. Any value may be yielded, one that looks
 * like an error too.
 *
 *   Suspends: until the next step.
 *   Cancel:   never meets a yield, only the calls that wait for something.
 *   Where:    on the generator's own stack, at any depth of calls.
 *   Errors:   what was thrown; COIL_EEXIT: clean up and return; COIL_EINVALIDSTATE
 *             from any other stack.
 *   asyncio:  yield */
COIL_ASYNC coil_ret coil_gen_yield(coil_gen *self, coil_ret value);

/* Yield everything that `inner` yields, handing it what is sent or thrown meanwhile. 0: it
 * finished, *out_value is what it returned. Closing the outer generator closes the inner one first.
 *
 *   Suspends: at each of the inner yields.
 *   Cancel:   meets the waiting call inside the inner generator.
 *   Owns:     nothing; `inner` stays the caller's.
 *   Where:    on the stack of `self`.
 *   Errors:   what `inner` raised; COIL_EEXIT once both are being closed; as coil_gen_yield.
 *   asyncio:  yield from */
COIL_ASYNC int coil_gen_yield_from(coil_gen *self, coil_gen *inner, coil_ret *out_value);

/* Which of the four. One that could not be made is closed; so is NULL. asyncio:
 * inspect.getgeneratorstate */
COIL_API enum coil_gen_state coil_gen_state(const coil_gen *gen);

/* Its name; never NULL, good as long as the generator. asyncio: generator.__name__ */
COIL_API const char *coil_gen_name(const coil_gen *gen);

/* Run the block once for each value: `value` is a coil_ret of the block's own, `rc` an int of yours
 * that says afterwards how it went: 0 finished, < 0 raised, 1 left by break (go on with another
 * loop, or unref). asyncio: for value in gen */
#define COIL_GEN_FOREACH(value, gen, rc) \
    for (coil_ret value = 0; ((rc) = coil_gen_next((gen), &value)) > 0;)

/* Close every generator whose first step was made by a task of this loop and that has not ended. All
 * at once, each in a task of its own. What one raises goes to the loop's exception handler, as does a
 * word about each that is begun on this loop later. coil_run does this at its end.
 *
 *   Suspends: until all have ended; not at all if there are none.
 *   Cancel:   cancels those that are still cleaning up, waits for them, returns -ECANCELED.
 *   Where:    a task of that loop.
 *   Errors:   COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  loop.shutdown_asyncgens */
struct coil_loop;
COIL_ASYNC coil_ret coil_loop_shutdown_asyncgens(struct coil_loop *loop);

#ifdef __cplusplus
}
#endif
#endif
