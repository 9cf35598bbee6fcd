/* SPDX-License-Identifier: MIT
 *
 * slow_steps.h: steps that take long, and what is heard of them.
 *
 * Nothing here depends on how long anything takes: a step ends when the watcher has looked at it. */
#ifndef TEST_LOOP_SLOW_STEPS_H
#define TEST_LOOP_SLOW_STEPS_H

#include "base/sys.h"
#include "base/thread.h"
#include "base/unwind.h"
#include "coro/tooling.h"
#include "loop/loop.h"
#include "loop/slow.h"

#include "../loop/stage.h"

#include <coil/debug.h>
#include <coil/generator.h>

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define LIMIT 0.001

/* ---- what was heard ---- */

static struct {
    const char
        *wanted; /* how messages begin that count: on a busy machine anything may take long */
    int n;
    char message[512]; /* the first one's */
    char calls[1024];  /* the outermost first, a space between any two */
    char makers[1024];
} heard;

static inline void add_names(char *out, size_t size, const void *const *calls, size_t n)
{
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        coil_frame frame = {.size = sizeof frame};
        (void)coil_frame_describe(calls[i], &frame);
        size_t at = strlen(out);
        snprintf(out + at, size - at, "%s%s", at ? " " : "",
                 frame.function[0] ? frame.function : "?");
    }
}

static inline void hear(coil_loop *loop, const coil_exception_context *c, void *arg)
{
    (void)loop, (void)arg;
    if (strncmp(c->message, heard.wanted, strlen(heard.wanted)) != 0 || heard.n++ > 0)
        return;
    snprintf(heard.message, sizeof heard.message, "%s", c->message);
    add_names(heard.calls, sizeof heard.calls, c->stack, c->stack_n);
    add_names(heard.makers, sizeof heard.makers, c->source_stack, c->source_stack_n);
}

/* ---- steps that end when they were looked at ---- */

static inline void watch_closely(coil_loop *loop)
{
    memset(&heard, 0, sizeof heard);
    heard.wanted = "Executing a step of ";
    coil_loop_set_exception_handler(loop, hear, NULL);
    coil_loop_set_debug(loop, true);
    coil_loop_set_slow_callback_duration(loop, LIMIT);
}

static inline uint64_t looks(void)
{
    return stage.loop->slow ? coil__slow_looks(stage.loop->slow) : 0;
}

static inline bool wanted_looks(uint64_t n)
{
    /* Valgrind's own stacks are nobody's, and where there is no watcher none is waited for. */
    return !stage.loop->slow || looks() >= n;
}

static int ends[2];
/* Looks. Set before the step begins, since there are two at each, and both may be over before it gets far. */
static uint64_t enough;
static atomic_bool waits;

/* Lets the step that waits for the pipe go on, once it was looked at while it waited. */
static inline void let_go(void *arg)
{
    (void)arg;
    while (!atomic_load(&waits))
        coil__thread_pause();
    while (!wanted_looks(enough))
        coil__thread_pause();
    if (!stage.loop->slow) /* nobody looks; too long it is to take all the same */
        usleep((useconds_t)(3e6 * LIMIT));
    COIL_CHECK(sys_write(ends[1], "x", 1) == 1);
}

static int polled, polled_errno;

__attribute__((noinline, unused)) static void wait_in_poll(void)
{
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    errno = 0;
    atomic_store(&waits, true);
    polled = poll(&p, 1, -1);
    polled_errno = errno;
}

static inline coil_ret poller(void *arg)
{
    (void)arg;
    wait_in_poll();
    return polled;
}

__attribute__((noinline, unused)) static void spin(void)
{
    while (!wanted_looks(enough))
        continue;
}

static inline coil_ret spinner(void *arg)
{
    (void)arg;
    spin();
    return 1;
}

static inline void run_task(coil_fn fn, const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .loop = stage.loop, .name = name};
    coil_task *task = coil_create_task_opts(fn, NULL, &opts);
    enough = looks() + 1;
    FACT_INT(coil_loop_run_until_complete(stage.loop, task), 1);
    coil_unref(task);
}

static inline void with_pipe(void (*body)(void))
{
    struct thread thread;
    COIL_CHECK(sys_pipe2(ends, O_CLOEXEC) == 0);
    atomic_store(&waits, false);
    enough = looks() + 1;
    /* Before the step: how long a thread takes to start is not what the step is to be seen in. */
    COIL_CHECK(coil__thread_start(&thread, "lets-go", let_go, NULL) == 0);
    body();
    coil__thread_join(&thread);
    close(ends[0]);
    close(ends[1]);
}

/* musl is built without the tables that a walk goes by, and static programs of its have none that can be found. */
static inline bool sees_calls(void)
{
#ifdef __GLIBC__
    return UNWIND_KNOWN && stage.loop->slow;
#else
    return false;
#endif
}

static inline bool sees_who_computes(void)
{
    return sees_calls() && !STAGE_TSAN;
}

/* ---- such steps ---- */

static inline void poll_once(void)
{
    run_task(poller, "sleepy");
}

static inline coil_ret poll_in_generator(coil_gen *gen, void *arg)
{
    (void)gen, (void)arg;
    wait_in_poll();
    return 0;
}

static inline coil_ret driver(void *arg)
{
    (void)arg;
    coil_ret value;
    coil_gen *gen = coil_gen_new(poll_in_generator, NULL);
    int more = coil_gen_next(gen, &value);
    coil_gen_unref(gen);
    return more + 1;
}

static inline void drive_once(void)
{
    run_task(driver, "drives");
}

/* ---- where the signal is ---- */

/* Valgrind keeps SIGRTMAX for itself, and nobody watches there: a step that waits to be looked at ends at once. */
static inline void real_but_for_valgrind(void (*body)(void))
{
    if (tool_on_valgrind()) {
        print_message("Valgrind has the signal, and nobody looks there\n");
        skip();
    }
    stage_loop(body, false);
}
#define SIGNALS(name) STAGE_TEST(name, void, void, real_but_for_valgrind(name##_body))

static inline bool is_default(int signo)
{
    struct sigaction now;
    return sys_sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

/* ---- a step that does not end ---- */

static inline bool stderr_has(const char *words)
{
    static char text[32768];
    ssize_t n = pread(2, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return n < 0 || strstr(text, words);
}

/* Until these words are said of it. On a slow machine something else may have been told of before. */
static inline void endless(void *words)
{
    if (!stage.loop->slow)
        usleep((useconds_t)(3e6 * LIMIT));
    while (stage.loop->slow && !stderr_has(words))
        coil__thread_pause();
}

static const char *of_the_task; /* what is to be said of it */

static inline coil_ret endless_task(void *arg)
{
    (void)arg;
    endless(TEXT(of_the_task));
    return 1;
}

static inline void read_stderr(char *out, size_t size, void (*body)(void))
{
    FILE *file = tmpfile();
    int before = dup(2);
    dup2(fileno(file), 2);
    body();
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static inline void run_endless(void)
{
    run_task(endless_task, "stuck");
    soon(endless, TEXT("A callback has been running for "));
    one_turn();
}

#if STAGE_TABLE

/* ---- calls of the watcher that are replaced ---- */

/* The watcher ends, and calls go to the kernel again. */
static inline void as_before(void)
{
    coil_loop_free(stage.loop);
    stage.loop = NULL;
    coil__sys = coil__sys_real;
    coil__thread_hook = NULL;
}

/* A path in /proc of the loop's thread, with this last name. */
static inline bool is_about(const char *path, const char *what)
{
    const char *last = strrchr(path, '/');
    return strncmp(path, "/proc/self/task/", 16) == 0 && strcmp(last + 1, what) == 0;
}

/* What the watcher's thread opened last to read where the loop's stands. */
static _Thread_local int place_fd = -1;
static _Thread_local int places_read;
static void (*say)(char *text, size_t size); /* changes what is read there */

static inline int open_place(int dir, const char *path, int flags, mode_t mode)
{
    int fd = coil__sys_real.openat(dir, path, flags, mode);
    if (is_about(path, "syscall"))
        place_fd = fd;
    return fd;
}

static inline ssize_t read_place(int fd, void *out, size_t size)
{
    ssize_t n = coil__sys_real.read(fd, out, size);
    if (fd != place_fd || n <= 0)
        return n;
    place_fd = -1;
    places_read++;
    ((char *)out)[n] = '\0'; /* there is one more than was asked for */
    say(out, size);
    return (ssize_t)strlen(out);
}

static inline void watch_place(void (*how)(char *text, size_t size))
{
    say = how;
    coil__sys.openat = open_place;
    coil__sys.read = read_place;
    watch_closely(stage.loop);
}

#endif

#endif
