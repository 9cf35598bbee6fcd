/* SPDX-License-Identifier: MIT
 *
 * log.c: the program's hook for what coil has to say, or standard error.
 *
 *     loop/report.c, coro/, task/ --record--> hook(record, arg)     one at a time
 *                                         `-> stderr                without one; and while it runs here
 *
 * Always true:
 *   - `lock` is held while a hook runs, so who changed it knows that the earlier one has ended;
 *   - a hook is never called inside a hook of the same thread.
 *
 * Any thread. Elsewhere: what a report's text is made of (loop/report.c). */
#include "base/log.h"

#include "base/opts.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static struct mutex lock = MUTEX_INIT;
static _Atomic(coil_log_fn)
    hook; /* written with the lock; read without it only to see that there is none */
static void *hook_arg;
static _Thread_local bool inside; /* this thread runs the hook, and holds the lock */

/* Another thread may have been inside when the parent forked. If it was this one, the lock is ours still. */
static void forked(void)
{
    if (!inside)
        coil__mutex_init(&lock);
}

void coil_set_log(coil_log_fn fn, void *arg)
{
    static _Atomic int asked;
    /* Without it a child that was forked while another thread was inside would wait for ever. */
    (void)coil__thread_at_fork(&asked, forked);
    if (!inside)
        coil__mutex_lock(&lock);
    hook_arg = arg;
    atomic_store(&hook, fn);
    if (!inside)
        coil__mutex_unlock(&lock);
}

coil_log_fn coil_get_log(void **out_arg)
{
    if (!inside)
        coil__mutex_lock(&lock);
    coil_log_fn fn = atomic_load(&hook);
    if (out_arg)
        *out_arg = hook_arg;
    if (!inside)
        coil__mutex_unlock(&lock);
    return fn;
}

void coil_default_log(const coil_log_record *record)
{
    coil_log_record own;
    record = OPTS_READ(record, own);
    /* One write, so that lines of several threads do not mix. */
    if (record->level >= COIL_LOG_WARNING && record->text)
        fputs(record->text, stderr);
}

static void call_hook(const coil_log_record *record)
{
    coil__mutex_lock(&lock);
    coil_log_fn fn = atomic_load(&hook);
    if (fn) {
        int saved = errno;
        inside = true;
        fn(record, hook_arg);
        inside = false;
        errno = saved;
    }
    coil__mutex_unlock(&lock);
    if (!fn) /* it was taken away just now */
        coil_default_log(record);
}

void coil__log(const coil_log_record *record)
{
    if (atomic_load_explicit(&hook, memory_order_relaxed) && !inside)
        call_hook(record);
    else
        coil_default_log(record);
}

enum coil_log_level coil__log_level(const char *kind, coil_ret code)
{
    return code || strcmp(kind, "destroyed-pending") == 0 ? COIL_LOG_ERROR : COIL_LOG_WARNING;
}

void coil__log_line(const char *kind, const char *message, const char *file, int line)
{
    char text[512];
    snprintf(text, sizeof text, "coil: %s\n", message);
    coil__log(&(coil_log_record){.size = sizeof(coil_log_record),
                                 .level = coil__log_level(kind, 0),
                                 .kind = kind,
                                 .message = message,
                                 .text = text,
                                 .task_name = "",
                                 .file = file,
                                 .line = line});
}
