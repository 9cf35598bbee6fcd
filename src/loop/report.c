/* SPDX-License-Identifier: MIT
 *
 * report.c: troubles nobody can be told of otherwise, and callbacks that took too long.
 *
 *     trouble --> the loop's exception handler, if it has one --> the log (base/log.c)
 *
 * Runs on the loop's thread. */
#include "base/error.h"
#include "base/log.h"
#include "base/opts.h"
#include "base/symbols.h"
#include "loop/loop.h"
#include "loop/slow.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX = 1000 }; /* bytes of a report's message that the default handler prints */

void coil_loop_set_exception_handler(coil_loop *loop, coil_exception_handler_fn fn, void *arg)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return;
    loop->on_exception = fn;
    loop->on_exception_arg = arg;
}

coil_exception_handler_fn coil_loop_get_exception_handler(coil_loop *loop, void **out_arg)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return NULL;
    if (out_arg)
        *out_arg = loop->on_exception_arg;
    return loop->on_exception;
}

/* A handler is told of every field, whatever the one that reports knew. */
static const coil_exception_context *read_context(const coil_exception_context *given,
                                                  coil_exception_context *own)
{
    const coil_exception_context *context = OPTS_READ(given, *own);
    if (context == own) {
        own->size = sizeof *own;
        if (!given || given->size < offsetof(coil_exception_context, fd) + sizeof own->fd)
            own->fd = -1;
    }
    return context;
}

/* Text of a report, so long; what does not fit is left out. */
struct report {
    char text[4096];
    size_t n;
};

COIL_PRINTF(2, 3) static void add(struct report *r, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(r->text + r->n, sizeof r->text - r->n, fmt, args);
    va_end(args);
    r->n += n > 0 ? (size_t)n : 0;
    if (r->n >= sizeof r->text)
        r->n = sizeof r->text - 1;
}

static void add_calls(struct report *r, const char *title, const void *const *calls, size_t n)
{
    coil_frame frame;
    if (n > 0)
        add(r, "  %s (most recent call last):\n", title);
    for (size_t i = 0; i < n; i++) {
        coil__symbols_find(NULL, calls[i], &frame);
        add(r, "    File \"%s\", at %#zx, in %s\n", frame.file, frame.file_address,
            frame.function[0] ? frame.function : "?");
    }
}

/* The text of a report, and what is told beside it. */
static void add_report(struct report *r, const coil_exception_context *context, const char *message,
                       const coil_error *e)
{
    bool long_winded = strlen(message) > MESSAGE_MAX; /* the error is to be told, too */
    add(r, "coil: %.*s%s\n", MESSAGE_MAX, message, long_winded ? "..." : "");
    if (e) {
        add(r, "  ");
        size_t room = sizeof r->text - r->n, more = coil_error_format(e, r->text + r->n, room);
        r->n += more < room ? more : room - 1;
    }
    add_calls(r, "Stack while it ran", context->stack, context->stack_n);
    add_calls(r, "Object created at", context->source_stack, context->source_stack_n);
    if (r->n == sizeof r->text - 1)
        memcpy(r->text + sizeof r->text - 5, "...\n", 5);
}

void coil_loop_default_exception_handler(coil_loop *loop, const coil_exception_context *context)
{
    coil_exception_context own;
    context = read_context(context, &own);
    coil_error plain = {.code = context->code, .message = coil_strerror(context->code), .task = ""};
    struct report r = {.n = 0};
    coil_log_record record = {
        .size = sizeof record,
        .kind = context->kind ? context->kind : "exception",
        .message = context->message ? context->message : "Unhandled exception in event loop",
        .text = r.text,
        .loop = loop,
        .future = context->future,
        .task = context->task,
        .task_name = "",
        .file = context->file,
        .line = context->line,
        .code = context->code    ? context->code
                : context->error ? context->error->code
                                 : 0,
        .error = context->error  ? context->error
                 : context->code ? &plain
                                 : NULL,
        .source_stack = context->source_stack,
        .source_stack_n = context->source_stack_n,
    };
    record.level = coil__log_level(record.kind, record.code);
    for (int i = 0; loop && i < LOOP_PARTS; i++)
        if (loop->parts[i] && loop->parts[i]->name)
            loop->parts[i]->name(context, &record);
    add_report(&r, context, record.message, record.error);
    coil__log(&record);
}

void coil_loop_call_exception_handler(coil_loop *loop, const coil_exception_context *context)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return;
    coil_exception_context own;
    context = read_context(context, &own);
    if (!loop->on_exception) {
        coil_loop_default_exception_handler(loop, context);
        return;
    }
    /* A handler that itself leads here again would recurse for ever: the second time is printed. */
    if (loop->reporting) {
        coil_loop_default_exception_handler(loop, context);
        return;
    }
    struct coil_context *before = coil__context_ptr, *concerned = NULL;
    for (int i = 0; i < LOOP_PARTS && !concerned; i++)
        if (loop->parts[i] && loop->parts[i]->context_of)
            concerned = loop->parts[i]->context_of(context);
    if (concerned)
        coil__context_ptr = concerned;
    loop->reporting = true;
    loop->on_exception(loop, context, loop->on_exception_arg);
    loop->reporting = false;
    coil__context_ptr = before;
}

void coil__loop_report(struct coil_loop *loop, const char *kind, const char *message, coil_ret code,
                       const coil_error *error, coil_future *future)
{
    coil_exception_context context = {.size = sizeof context,
                                      .message = message,
                                      .code = code,
                                      .error = error,
                                      .future = future,
                                      .fd = -1,
                                      .kind = kind};
    coil_loop_call_exception_handler(loop, &context);
}

/* ---- steps that take long ---- */

/* libc's own names for what everybody calls otherwise. */
static const char *public_name(const char *name)
{
    static const char *const prefixes[] = {"__GI_", "__libc_", "__new_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            name += strlen(prefixes[i]);
    return name + strspn(name, "_");
}

/* What a look found, as words behind a sentence; the calls outermost first. */
static void tell_look(const struct slow_look *look, char *out, size_t size, const void **out_calls)
{
    size_t n = strlen(out);
    coil_frame frame = {.size = sizeof frame};
    if (look->cpu_ns >= 0)
        n += (size_t)snprintf(out + n, size - n, ", computing for %.3f of the last %.3f",
                              (double)look->cpu_ns / 1e9, (double)look->of_ns / 1e9);
    if (look->blocker)
        coil__symbols_find(NULL, look->blocker, &frame);
    if (look->blocker && frame.function[0])
        snprintf(out + n, size - n, ", blocked in %s()", public_name(frame.function));
    for (size_t i = 0; i < look->n; i++)
        out_calls[i] = look->calls[look->n - 1 - i];
}

static void report_slow(struct coil_loop *loop, int64_t took, const struct slow_look *look)
{
    char text[400];
    const void *calls[SLOW_CALLS];
    struct step_about about = {.name = ""};
    coil_exception_context context = {
        .size = sizeof context, .kind = "slow-step", .message = text, .fd = -1, .stack = calls};
    if (loop->step_owner)
        loop->step_class->describe(loop->step_owner, &about);
    snprintf(text, sizeof text, "Executing %s%s took %.3f seconds",
             loop->step_owner ? "a step of " : "a callback", about.name, (double)took / 1e9);
    if (look) {
        tell_look(look, text, sizeof text, calls);
        context.stack_n = look->n;
    }
    if (loop->step_owner) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "; it was created at %.200s:%d",
                 about.file ? about.file : "?", about.line);
        context.future = context.task = loop->step_owner;
        context.source_stack = about.source;
        context.source_stack_n = about.source_n;
    }
    coil_loop_call_exception_handler(loop, &context);
}

void coil__loop_report_endless(struct coil_loop *loop, const char *task, int64_t so_long_ns,
                               const struct slow_look *look)
{
    char text[400];
    const void *calls[SLOW_CALLS];
    struct slow_look of_now = *look;
    of_now.cpu_ns = -1;
    snprintf(text, sizeof text,
             "A %s%s has been running for %.3f seconds and goes on; nothing else runs meanwhile",
             *task ? "step of " : "callback", task, (double)so_long_ns / 1e9);
    tell_look(&of_now, text, sizeof text, calls);
    coil_exception_context context = {.size = sizeof context,
                                      .kind = "slow-step",
                                      .message = text,
                                      .fd = -1,
                                      .stack = calls,
                                      .stack_n = look->n};
    /* A handler of the program's is not for this thread. */
    coil_loop_default_exception_handler(loop, &context);
}

void coil__loop_set_slow(struct coil_loop *loop, int64_t ns)
{
    enum { DAY_S = 24 * 3600 };
    int64_t near = ns < 0 ? 0 : ns > DAY_S * NS_PER_S ? DAY_S * NS_PER_S : ns;
    __atomic_store_n(&loop->slow_ns, ns, __ATOMIC_RELAXED);
    /* How long ticks are was measured in a hurry. */
    loop->slow_ticks = coil__clock_ticks_in(near / NS_PER_US) * (uint64_t)(NS_PER_US * 3 / 4);
}

void coil__loop_time_steps(struct coil_loop *loop)
{
    coil__clock_both(&loop->first_ns, &loop->first_ticks);
    loop->base_ns = loop->first_ns;
    loop->base_ticks = loop->first_ticks;
    __atomic_store_n(&loop->step_ticks, loop->first_ticks, __ATOMIC_RELAXED);
}

/* So many ticks up to now, in ns; by what both clocks say of the time since debug mode began, which is longer. */
static int64_t ticks_as_ns(const struct coil_loop *loop, uint64_t ticks)
{
    int64_t now_ns;
    uint64_t now;
    coil__clock_both(&now_ns, &now);
    return (int64_t)((double)ticks * (double)(now_ns - loop->first_ns) /
                     (double)(now - loop->first_ticks));
}

__attribute__((cold)) static void judge(struct coil_loop *loop, uint64_t ticks)
{
    struct slow_look look;
    int64_t took = ticks_as_ns(loop, ticks);
    if (took >= loop->slow_ns) {
        bool seen = !loop_inherited(loop) &&
                    coil__slow_seen(loop->slow, loop->step_number - 1, &look);
        report_slow(loop, took, seen ? &look : NULL);
    }
    __atomic_store_n(&loop->step_ticks, clock_ticks(),
                     __ATOMIC_RELAXED); /* that was nobody's step */
}

__attribute__((noinline)) void coil__loop_run_timed(struct coil_loop *loop, slot_fn fn, void *arg)
{
    __atomic_store_n(&loop->step_owner, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->step_number, loop->step_number + 1, __ATOMIC_RELEASE);
    fn(arg);
    __atomic_store_n(&loop->step_number, loop->step_number + 1, __ATOMIC_RELEASE);
    /* Tasks may have passed the turn on among them: this is about the last step. */
    uint64_t after = clock_ticks(), before = loop->step_ticks;
    __atomic_store_n(&loop->step_ticks, after, __ATOMIC_RELAXED);
    if (coil_unlikely(after - before >= loop->slow_ticks))
        judge(loop, after - before);
    if (loop->step_owner && loop->step_class->over(loop->step_owner, loop_about_now(loop)))
        __atomic_store_n(&loop->step_ticks, clock_ticks(), __ATOMIC_RELAXED);
}
