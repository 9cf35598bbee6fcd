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
    COIL_ETLSCERT = -2022,     /* SSLCertVerificationError: the peer's certificate is not good */
    COIL_ETLSEOF = -2023,      /* SSLEOFError: the stream ended without the peer's close_notify */
    COIL_EINTERRUPTED = -2024, /* KeyboardInterrupt: Ctrl-C (SIGINT) ended the run */
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

/* Print a failure as a traceback would be: the record, its causes and its members, to standard error. Of
 * COIL_EINTERRUPTED, which whoever pressed the keys knows, nothing is printed. Returns an exit status: 0 for good
 * values, 130 for COIL_EINTERRUPTED and -ECANCELED, 1 for everything else.
 *
 *   Where:  anywhere; main ends in `return coil_report(coil_run(...))`. */
COIL_API int coil_report(coil_ret rc);

/* The same as text: the record in a line, its causes and members below it, as a tree. Returns how many bytes that
 * takes without the NUL, as snprintf does; what does not fit is cut. NULL for an error is no text. */
COIL_API size_t coil_error_format(const coil_error *error, char *out, size_t size);

/* ---- keeping errors, and taking groups apart ---- */

/* Keep a record that coil has shown (coil_last_error, coil_future_exception, a cause, a member, a handler's)
 * beyond the next failing call. Counted, immutable, good in every thread.
 *
 *   Owns:   one reference, yours. NULL for NULL, and without memory. */
COIL_API const coil_error *coil_error_ref(const coil_error *error);
/* Give it back; NULL is fine. */
COIL_API void coil_error_unref(const coil_error *error);

/* Make it the last error here, as if it had just happened: `return coil_raise(kept)`. Its code; -EINVAL for NULL.
 * asyncio: raise error */
COIL_API coil_ret coil_raise(const coil_error *error);

/* A group of n errors, whose code is the first one's; `message` begins its words, and may be "".
 *
 *   Owns:   one reference, yours; the members are shared, and stay yours.
 *   Errors: NULL with -EINVAL recorded for no errors, or -ENOMEM.
 *   asyncio: ExceptionGroup(message, errors) */
COIL_API const coil_error *coil_error_group(const char *message, const coil_error *const *members,
                                            size_t n);

/* As coil_error_group, with the words, place, task and cause of `group`. asyncio: ExceptionGroup.derive */
COIL_API const coil_error *coil_error_derive(const coil_error *group,
                                             const coil_error *const *members, size_t n);

/* Does this one count? Asked of single errors, at any depth, never of a group. */
typedef bool (*coil_error_match_fn)(const coil_error *error, void *arg);

/* Take an error apart: those of that code (or that `fn` says yes to), and the others. Both parts keep the
 * groups in which they stood, with their words, places and causes; groups that get empty are gone. An error that is
 * no group is one part or the other.
 *
 *   Owns:   a reference to each part, yours; NULL where nothing is. `error` stays yours. Either `out` may be NULL.
 *   Errors: -ENOMEM, and then nothing was written; -EINVAL for NULL.
 *   asyncio: ExceptionGroup.split */
COIL_API int coil_error_split(const coil_error *error, coil_ret code, const coil_error **out_match,
                              const coil_error **out_rest);
COIL_API int coil_error_split_if(const coil_error *error, coil_error_match_fn fn, void *arg,
                                 const coil_error **out_match, const coil_error **out_rest);

/* The first part alone. NULL if nothing matches, and without memory. asyncio: ExceptionGroup.subgroup */
COIL_API const coil_error *coil_error_subgroup(const coil_error *error, coil_ret code);
COIL_API const coil_error *coil_error_subgroup_if(const coil_error *error, coil_error_match_fn fn,
                                                  void *arg);

/* ---- except* ---- */

/* Answer the errors of a group kind by kind, and return what is left.
 *
 *     coil_try(attempt, coil_group_exit(&g, 0));
 *     COIL_EXCEPT(refused, attempt, -ECONNREFUSED)
 *         printf("%zu are down\n", refused->members_n);
 *     COIL_EXCEPT_IF(slow, attempt, is_slow, NULL)
 *         coil_try_raise(&attempt, try_again(slow));
 *     return coil_try_exit(&attempt);     // 0 if all of it was answered
 *
 * The block runs once, if something matches; the part is a group, also of one error alone, and good until the
 * end of the block. What a block matched, later ones do not see. Left by `return` without exit, what was left is
 * dropped. An error that memory is too short to take apart stays as it is.
 *
 * asyncio: try, except* */
typedef struct {
    void *priv_[3];
} coil_try_scope;

#define coil_try(name, rc) \
    coil_try_scope name __attribute__((cleanup(coil_try_leave))) = coil_try_begin(rc)
#define COIL_EXCEPT(part, name, code) COIL_EXCEPT_PART(part, coil_try_except(&(name), (code)))
#define COIL_EXCEPT_IF(part, name, fn, arg) \
    COIL_EXCEPT_PART(part, coil_try_except_if(&(name), (fn), (arg)))
#define COIL_EXCEPT_PART(part, taken)                                                    \
    for (const coil_error *part __attribute__((cleanup(coil_try_part_leave))) = (taken), \
                                *part##_once = part;                                     \
         part##_once; part##_once = NULL)

/* Keep what a call failed with. A value is kept as well. */
COIL_API coil_try_scope coil_try_begin(coil_ret rc);
/* The part of it that is of that code (that fn says yes to), no longer left: a group, a reference to which is yours;
 * NULL: nothing is. */
COIL_API const coil_error *coil_try_except(coil_try_scope *scope, coil_ret code);
COIL_API const coil_error *coil_try_except_if(coil_try_scope *scope, coil_error_match_fn fn,
                                              void *arg);
/* An error of the handler's own joins what is left; other values do nothing. Returns rc.
 * asyncio: raise, in an except* block */
COIL_API coil_ret coil_try_raise(coil_try_scope *scope, coil_ret rc);
/* What the call returned; 0 once its error was answered; else what is left, with its record. */
COIL_API coil_ret coil_try_exit(coil_try_scope *scope);
COIL_API void coil_try_leave(coil_try_scope *scope);
static inline void coil_try_part_leave(const coil_error **part)
{
    coil_error_unref(*part);
}

#ifdef __cplusplus
}
#endif
#endif
