/* SPDX-License-Identifier: MIT
 *
 * test.c: runs a test's body in a loop of its own, and counts what is not home afterwards.
 *
 *     count --> coil_run(body) --> [tasks left?] --> [stacks left?] --> closed --> count again
 *
 * Whatever is wrong becomes a sentence; the sentences of one test make one text. An assertion that
 * fails leaves by longjmp, over the frames between it and cmocka. From a task there are two ways:
 * coil_test_end gives the task up, lets the loop close, and only then jumps, on the stack where it
 * lands; or there is the bare jump from stack to stack, after which recover forgets the loop. Tools
 * that follow stacks want the first.
 *
 * The program's main thread. Elsewhere: the macros (coil/testing.h). */
#include "base/check.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/thread.h"
#include "coro/overflow.h"
#include "loop/signal.h"
#include "run/run.h"
#include "task/task.h"
#include "testing/fault.h"

#include <coil/generator.h>
#include <coil/testing.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { TASKS_SHOWN = 3, TASKS_SEEN = 64, THREADS_WAIT_MS = 2000, SLOW_NEVER_S = 1000000000 };

static coil_test *first, **last = &first;

static struct {
    bool running;        /* a test runs, or was left in the middle */
    bool tells_overflow; /* its coil_run installed the report */
    char text[1024];     /* what is not home */
    /* coil_test_end from a task: what is to be called once the loop is closed; NULL: it was not. */
    void (*end)(const char *file, int line);
    const char *file;
    int line;
} now;

static coil_loop *forgotten; /* loops left in the middle, chained through `outer` */

/* ---- the list ---- */

void coil_test_add(coil_test *test)
{
    *last = test;
    last = &test->next;
}

static bool is_chosen(const coil_test *test, int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(test->name, argv[i]))
            return true;
    return argc < 2;
}

coil_test *coil_test_select(int argc, char *const *argv, size_t *out_n)
{
    coil_test **at = &first;
    *out_n = 0;
    while (*at) {
        if (is_chosen(*at, argc, argv)) {
            at = &(*at)->next;
            ++*out_n;
        } else {
            *at = (*at)->next;
        }
    }
    return first;
}

/* ---- complaints ---- */

/* What a body does with an error that was put in is its own business. */
#define remark(...) (coil__fault_excuses() ? (void)0 : complain(__VA_ARGS__))

COIL_PRINTF(1, 2) static void complain(const char *fmt, ...)
{
    size_t n = strlen(now.text);
    if (n > 0 && n + 3 < sizeof now.text)
        n += (size_t)snprintf(now.text + n, sizeof now.text - n, "; ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(now.text + n, sizeof now.text - n, fmt, args);
    va_end(args);
}

static void on_exception(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    (void)loop, (void)arg;
    const char *why = context->error ? context->error->message : "";
    remark("the loop reported: %s%s%s", context->message, *why ? ": " : "", why);
}

/* ---- counting ---- */

struct count {
    size_t fds;
    int64_t blocks;
    unsigned threads;
};

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void take_count(struct count *count)
{
    count->threads = coil__thread_count();
    count->fds = open_descriptors();
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    count->blocks = coil__mem_live();
#else
    count->blocks = 0;
#endif
}

/* A thread that was told to end may still be on its way. */
static void wait_for_threads(unsigned expected)
{
    const struct timespec ms = {.tv_nsec = 1000000};
    for (int i = 0; i < THREADS_WAIT_MS && coil__thread_count() > expected; i++)
        (void)sys_ppoll(NULL, 0, &ms, NULL);
}

static void compare(const struct count *before, const struct count *after)
{
    if (after->fds != before->fds)
        complain("%ld descriptors more than before are open", (long)after->fds - (long)before->fds);
    if (after->threads > before->threads)
        complain("%u threads still run", after->threads - before->threads);
    if (after->blocks != before->blocks)
        complain("%ld blocks of memory were not given back",
                 (long)(after->blocks - before->blocks));
}

static void tasks_must_be_over(coil_loop *loop, void *arg)
{
    (void)arg;
    coil_task *tasks[TASKS_SEEN];
    size_t n = coil_all_tasks(loop, tasks, TASKS_SEEN), left = 0;
    for (size_t i = 0; i < n && i < TASKS_SEEN; i++) {
        int line;
        const char *file = coil_task_created_at(tasks[i], &line),
                   *what = coil_task_waiting_on(tasks[i]);
        /* One that was cancelled, and had no turn since, ends with the run. */
        if (!now.end && coil_task_cancelling(tasks[i]) == 0 && left++ < TASKS_SHOWN)
            remark("%s (%s:%d) was left behind, waiting for %s", coil_task_get_name(tasks[i]), file,
                   line, *what ? what : "its turn");
        coil_unref(tasks[i]);
    }
    if (left > 0 && n > TASKS_SEEN)
        left += n - TASKS_SEEN; /* taken for the same */
    if (left > TASKS_SHOWN)
        remark("and %zu more tasks", left - TASKS_SHOWN);
}

static void stacks_must_be_home(coil_loop *loop, void *arg)
{
    (void)arg;
    coil_loop_stats_t stats;
    coil_loop_stats(loop, &stats);
    if (stats.tasks)
        remark("%zu tasks did not end when they were cancelled", stats.tasks);
    else if (stats.stacks)
        remark("%zu stacks are not home: somebody holds references to finished tasks",
               stats.stacks);
}

/* ---- running ---- */

static coil_ret nothing(void *arg)
{
    (void)arg;
    return 0;
}

static coil_ret no_values(coil_gen *gen, void *arg)
{
    (void)gen, (void)arg;
    return 0;
}

/* What a thread keeps once it was used is not a test's debt. */
static void warm_up(void)
{
    static bool warm;
    static const coil_contextvar var = COIL_CONTEXTVAR("warm-up", NULL);
    coil_contextvar_token token;
    if (warm)
        return;
    warm = true;
    coil_gen *gen = coil_gen_new(no_values, NULL);
    coil_ret value;
    if (gen)
        coil_ignore(coil_gen_next(gen, &value));
    coil_gen_unref(gen);
    if (coil_contextvar_set(&var, &token, &token) == 0)
        (void)coil_contextvar_reset(&token);
    (void)coil_run(nothing, NULL);
}

static coil_ret run_body(void *arg)
{
    coil_test *test = arg;
    coil_loop_set_exception_handler(NULL, on_exception, NULL);
    /* How long a step really takes is the machine's doing, and no test that is played in virtual time depends on it. */
    if (test->opts.virtual_time)
        coil_loop_set_slow_callback_duration(NULL, SLOW_NEVER_S);
    if (coil__fault_in_child())
        coil__running_loop->watched = true;
    test->body();
    return 0;
}

/* Whether it waited for ever. Then what the body said as it was cancelled, a failed assertion included, comes of that, and
 * so does what it left behind. */
static bool run_in_loop(coil_test *test)
{
    const struct run_hooks hooks = {.main_ended = tasks_must_be_over,
                                    .all_ended = stacks_must_be_home};
    coil_ret rc = coil__run(run_body, test, &test->opts, &hooks);
    if (rc == COIL_EDEADLOCK) {
        now.end = NULL;
        now.text[0] = 0;
    }
    if (coil_iserr(rc) && !now.end)
        remark("it ended with %s: %s", coil_errname(rc), coil_last_error()->message);
    return rc == COIL_EDEADLOCK;
}

const char *coil_test_run(coil_test *test)
{
    struct count before, after;
    bool waited = false;
    if (coil__fault_asked() && !coil__fault_in_child())
        return coil__fault_sweep(test, coil_test_run);
    coil_test_recover();
    warm_up();
    now.text[0] = 0;
    now.running = true;
    now.tells_overflow = !test->plain && !test->opts.no_signals;
    coil__error_clear(coil__error_slot());
    take_count(&before);
    coil__fault_arm();
    if (test->plain)
        test->body();
    else
        waited = run_in_loop(test);
    coil__fault_disarm();
    now.running = false;
    if (coil__fault_in_child() && waited)
        coil__fault_waited();
    if (waited)
        return now.text;
    if (now.end && coil__fault_in_child())
        coil__fault_asserted();
    if (now.end) {
        void (*end)(const char *file, int line) = now.end;
        now.end = NULL;
        end(now.file, now.line);
    }
    coil__error_clear(coil__error_slot());
    wait_for_threads(before.threads);
    take_count(&after);
    compare(&before, &after);
    return now.text[0] ? now.text : NULL;
}

int coil_test_raise(int signo)
{
    char name[32];
    if (coil__signal_deliver(signo))
        return 0;
    return (int)coil__fail(-ESRCH, "no loop handles %s", coil__signal_name(signo, name));
}

/* ---- leaving in the middle ---- */

void coil_test_end(void *real_end, const char *file, int line)
{
    void (*end)(const char *file, int line) = (void (*)(const char *, int))(uintptr_t)real_end;
    struct coil__task *task = coil__current();
    if (now.running && task) {
        if (!now.end) { /* the first failure counts; a later one comes of the clearing up */
            now.end = end;
            now.file = file;
            now.line = line;
        }
        coil_loop_raise(task->future.loop, COIL_ESTOPPED);
        task->coro.abandon(&task->coro);
    }
    if (coil__fault_in_child())
        coil__fault_asserted();
    end(file, line);
    COIL_CHECK(!"a function that ends tests returned");
    __builtin_unreachable();
}

void coil_test_recover(void)
{
    struct coro *own = coil__coro_main(), *left = coro_current();
    if (!now.running)
        return;
    if (left != own) { /* the jump told nobody that it changed stacks */
        coil__coro_now = own;
        coro_leave(left, own, false);
        coro_arrive(own);
    }
    if (coil__running_loop) {
        /* Its frames are gone and cannot be unwound. Kept, so that what it holds is no leak. */
        coil__running_loop->outer = forgotten;
        forgotten = coil__running_loop;
        coil__running_loop = NULL;
    }
    coil_set_event_loop(NULL);
    coil__context_ptr = NULL;
    error_switch(NULL);
    if (now.tells_overflow)
        coil__overflow_remove();
    coil__run_forget();
    now.running = false;
}
