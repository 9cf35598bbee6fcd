/* SPDX-License-Identifier: MIT
 *
 * coil/error.h: one word for a value or an error, and the record that goes with an error.
 *
 * A function that can fail returns a `coil_ret` (or an int): zero, a count or a pointer is good, a
 * value in [-4095, -1] is an error. The kernel's errors are -errno; coil's own run from -2001 down to
 * -2999; yours from -3001 down to -4000. A legitimate negative number goes through an out-parameter.
 *
 * Beside the code stands a record: what happened, where, in which task, and what caused it. The record
 * travels with await, gather and groups, as a Python exception does. */
#ifndef COIL_ERROR_H
#define COIL_ERROR_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define COIL_API               __attribute__((visibility("default")))
#define COIL_MUST              __attribute__((warn_unused_result))
#define COIL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#error "coil needs gcc or clang"
#endif

/* Reads as `async def`: other coroutines may run before it returns, so re-check what you knew. Its
 * result tells of cancellation and must be looked at. */
#define COIL_ASYNC COIL_API COIL_MUST

/* Drops a result on purpose. */
#define coil_ignore(call) ((void)!(call))

/* A value, or an error in [-4095, -1]. */
typedef intptr_t coil_ret;

/* A coroutine function: `await fn(arg)` is just fn(arg). */
typedef coil_ret (*coil_fn)(void *arg);

/* Is this word an error? */
static inline bool coil_iserr(coil_ret r)
{
    return (uintptr_t)r >= (uintptr_t)-4095;
}

enum {
    COIL_EINVALIDSTATE =
        -2001, /* InvalidStateError: the object is not in the state this call needs */
    COIL_EINCOMPLETE = -2002,    /* IncompleteReadError: the stream ended early */
    COIL_ELIMIT = -2003,         /* LimitOverrunError: no separator within the limit */
    COIL_EQUEUEEMPTY = -2004,    /* QueueEmpty */
    COIL_EQUEUEFULL = -2005,     /* QueueFull */
    COIL_ESHUTDOWN = -2006,      /* QueueShutDown; an executor that takes no more work */
    COIL_EBROKENBARRIER = -2007, /* BrokenBarrierError */
    COIL_ETLS = -2008,           /* the TLS engine failed; the record has its words */
    COIL_EGAI = -2009,           /* getaddrinfo failed; the record has its words */
    COIL_EDEADLOCK = -2010,      /* nothing left can wake anyone */
    COIL_EEXIT = -2011,   /* GeneratorExit: this coroutine is being unwound; clean up and return */
    COIL_ETYPE = -2012,   /* TypeError: a generator where a coroutine belongs, and the like */
    COIL_ECLOSED = -2013, /* "Event loop is closed" */
    COIL_ENOLOOP = -2014, /* "no running event loop" in this thread */
    COIL_ENOTASK = -2015, /* a waiting call outside a task */
    COIL_EWRONGLOOP = -2016,   /* the object is bound to another loop */
    COIL_EWRONGTHREAD = -2017, /* a call that belongs to the loop's own thread */
    COIL_ERUNNING = -2018,     /* the loop, generator or scope is already running */
    COIL_ESTOPPED = -2019,     /* "Event loop stopped before Future completed" */
    COIL_ESELFAWAIT = -2020,   /* a task awaits itself */
    COIL_EGROUP = -2021,       /* several errors in a group and no first one to name */
    COIL_EBROKENPOOL = -2025,  /* BrokenProcessPool: the process that ran the job is gone */
    COIL_EUSER = -3001         /* down to -4000: yours */
};

/* What is known of one error. Text is bounded; a long message is cut and ends in "...". */
typedef struct coil_error {
    coil_ret code;
    const char *message; /* never NULL */
    const char *file;    /* where coil_fail was called, or NULL */
    int line;
    const char *task;                        /* the task's name, or "" outside of tasks */
    const struct coil_error *cause;          /* what led to it, or NULL */
    const struct coil_error *const *members; /* a group's errors, or NULL */
    size_t members_n;
} coil_error;

/* Record an error and return its code: `return coil_fail(COIL_EUSER, "disk %d full", n)`.
 *
 *   Owns:   nothing; the text is formatted at once.
 *   Where:  anywhere, also outside of tasks.
 *   Errors: a code outside [-4095, -1] becomes -EINVAL.
 *   asyncio: raise */
#define coil_fail(code, ...) coil_fail_at(__FILE__, __LINE__, (code), __VA_ARGS__)
COIL_API coil_ret coil_fail_at(const char *file, int line, coil_ret code, const char *fmt, ...)
    COIL_PRINTF(4, 5);

/* As coil_fail, and the last error of this task becomes the new one's cause.
 *
 *   Where:  anywhere.
 *   asyncio: raise ... from ... */
#define coil_fail_from(code, ...) coil_fail_from_at(__FILE__, __LINE__, (code), __VA_ARGS__)
COIL_API coil_ret coil_fail_from_at(const char *file, int line, coil_ret code, const char *fmt, ...)
    COIL_PRINTF(4, 5);

/* The record of the last coil call that failed in this task (outside of tasks: in this thread).
 *
 *   Owns:   nothing; good until the next failing call of this task. NULL if nothing failed yet. */
COIL_API const coil_error *coil_last_error(void);

/* One sentence for a code: coil's own or the kernel's. Never NULL; not to be freed. */
COIL_API const char *coil_strerror(coil_ret code);

/* The code's name, such as "COIL_ELIMIT" or "ENOENT". Never NULL. */
COIL_API const char *coil_errname(coil_ret code);

/* Print a failure as a traceback would be: the record, its causes and its members, to standard error.
 * Returns an exit status: 0 for good values, 130 for -ECANCELED, 1 for everything else.
 *
 *   Where:  anywhere; main ends in `return coil_report(coil_run(...))`. */
COIL_API int coil_report(coil_ret rc);

#ifdef __cplusplus
}
#endif
#endif
