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

static void add_source_stack(struct report *r, const coil_exception_context *context)
{
    coil_frame frame;
    add(r, "  Object created at (most recent call last):\n");
    for (size_t i = 0; i < context->source_stack_n; i++) {
        coil__symbols_find(NULL, context->source_stack[i], &frame);
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
    if (context->source_stack_n > 0)
        add_source_stack(r, context);
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

void coil__loop_run_timed(struct coil_loop *loop, slot_fn fn, void *arg)
{
    int64_t before = coil__clock_real_ns();
    loop->ran_what[0] = 0;
    fn(arg);
    int64_t took = coil__clock_real_ns() - before;
    if (took < loop->slow_ns)
        return;
    char text[128];
    snprintf(text, sizeof text, "Executing %s took %.3f seconds",
             loop->ran_what[0] ? loop->ran_what : "a callback", (double)took / 1e9);
    coil__loop_report(loop, "slow-step", text, 0, NULL, NULL);
}
