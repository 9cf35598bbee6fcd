/* SPDX-License-Identifier: MIT
 *
 * slow.c: a look at a step while it takes long.
 *
 * The watcher, a thread for each loop, wakes once in a limit, compares the number of the step with the last one, and sleeps until
 * the present one would be slow. Then:
 *
 *     /proc/self/task/TID/syscall --"7 0x.. sp pc"--> the thread waits in the kernel: its stack is copied from here, and was
 *                                |                    still if the same words stand there afterwards
 *                                '--"running"-------> a signal: its handler copies registers and stack
 *     copy --base/unwind.c--> calls
 *
 * So a blocking call is never interrupted. The signal is SIGRTMAX, taken only if its action is the default one, and only sent
 * to a thread that computes and does not block it (decision 49).
 *
 * Always true:
 *   - the handler copies and does nothing else; who is not asked changes nothing;
 *   - `copy` is the watcher's, but for a handler between BUSY and ANSWERED;
 *   - a look belongs to one step: its number is the same before and after.
 *
 * Runs on the watcher's thread where not said otherwise. */
#include "loop/slow.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/thread.h"
#include "base/unwind.h"
#include "coro/coro.h"
#include "coro/frames.h"
#include "loop/loop.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TRIES = 10, ANSWER_TRIES = 5000 };
#define TICK_MIN_NS NS_PER_MS
#define TICK_MAX_NS NS_PER_S
#define COMPUTES_NS (200 * NS_PER_US) /* of processor time; then a thread is not about to wait */
#define GOES_ON     10                /* limits, and then it is said that a step does not end */

enum ask { ASK_NOTHING, ASK_ASKED, ASK_BUSY, ASK_ANSWERED };

struct slow {
    struct coil_loop *loop;
    /* The loop's thread writes, the watcher reads. */
    _Atomic int thread_id;
    _Atomic(const struct coro *const *) coro_now; /* that thread's */
    _Atomic uint64_t looks;

    struct thread thread;
    bool signals;         /* may be sent */
    uint64_t first_ticks; /* when watching began */
    int64_t first_ns;
    struct mutex lock;
    struct cond changed;
    /* Under the lock. */
    bool stop;
    bool busy;             /* the watcher looks, without the lock */
    uint64_t seen;         /* a step that was met running ... */
    int64_t seen_ns;       /* ... at this time, ... */
    int64_t seen_cpu;      /* ... when its thread had had so much of a processor */
    uint64_t looked_at;    /* the step that was looked at last */
    struct slow_look look; /* of `seen`; empty until there is one */

    /* Between the watcher and a handler on the loop's thread. */
    _Atomic int ask;
    uintptr_t pc, sp, fp;
    struct stack_copy copy;
};

static CORO_THREAD_LOCAL struct slow *here; /* whose step this thread runs; for the handler */

/* ---- the signal ---- */

static struct mutex lock = MUTEX_INIT;
static unsigned installs;
static struct sigaction earlier;

/* On the loop's thread, anywhere in its code. */
static void on_ask(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int kept = errno, expected = ASK_ASKED;
    struct slow *s = here;
    if (s && atomic_compare_exchange_strong(&s->ask, &expected, ASK_BUSY)) {
#if UNWIND_KNOWN
        const ucontext_t *at = context;
        s->pc = (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
        s->sp = (uintptr_t)at->uc_mcontext.gregs[REG_RSP];
        s->fp = (uintptr_t)at->uc_mcontext.gregs[REG_RBP];
        (void)coil__stack_copy(&s->copy, s->sp);
#endif
        atomic_store(&s->ask, ASK_ANSWERED);
    }
    errno = kept;
}

void coil__slow_forked(void)
{
    coil__mutex_init(&lock);
    installs = 0; /* the handler stays, and nobody asks */
}

/* Whoever has an action for it needs it. */
static bool take_signal(void)
{
    struct sigaction ours = {.sa_sigaction = on_ask,
                             .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigfillset(&ours.sa_mask);
    coil__mutex_lock(&lock);
    bool taken = installs > 0;
    if (!taken && sys_sigaction(SIGRTMAX, NULL, &earlier) == 0 &&
        !(earlier.sa_flags & SA_SIGINFO) && earlier.sa_handler == SIG_DFL)
        taken = sys_sigaction(SIGRTMAX, &ours, NULL) == 0;
    installs += taken;
    coil__mutex_unlock(&lock);
    return taken;
}

static bool is_ours(void)
{
    struct sigaction now;
    return sys_sigaction(SIGRTMAX, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
           now.sa_sigaction == on_ask;
}

static void give_signal_back(void)
{
    coil__mutex_lock(&lock);
    if (--installs == 0 && is_ours())
        (void)sys_sigaction(SIGRTMAX, &earlier, NULL);
    coil__mutex_unlock(&lock);
}

/* ---- what the kernel says of the thread ---- */

/* A file of the thread's in /proc; false: not to be had. */
static bool read_about(const struct slow *s, const char *what, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", atomic_load(&s->thread_id), what);
    int fd = sys_openat_again(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t n = sys_read(fd, out, size - 1);
    sys_close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool blocks_signal(const struct slow *s)
{
    char words[4096];
    const char *blocked = NULL;
    if (read_about(s, "status", words, sizeof words))
        blocked = strstr(words, "\nSigBlk:");
    unsigned long long mask = blocked ? strtoull(blocked + 8, NULL, 16) : ~0ull;
    return (mask >> (SIGRTMAX - 1)) & 1;
}

/* Where it waits in the kernel: "number arguments sp pc". */
static bool parse_waiting(const char *words, struct unwind *out)
{
    unsigned long long sp, pc;
    if (sscanf(words, "-1 %llx %llx", &sp, &pc) != 2 &&
        sscanf(words, "%*d %*x %*x %*x %*x %*x %*x %llx %llx", &sp, &pc) != 2)
        return false;
    out->sp = (uintptr_t)sp;
    out->pc = (uintptr_t)pc;
    out->fp = 0;
    out->knows_fp = false;
    return true;
}

/* ---- where it stands ---- */

enum stands { STANDS_UNKNOWN, STANDS_WAITING, STANDS_COMPUTING };

static enum stands find_waiting(struct slow *s, struct unwind *out)
{
    char before[256], after[256];
    for (int i = 0; i < TRIES; i++) {
        if (!read_about(s, "syscall", before, sizeof before))
            return STANDS_UNKNOWN;
        if (!parse_waiting(before, out))
            return strncmp(before, "running", 7) == 0 ? STANDS_COMPUTING : STANDS_UNKNOWN;
        if (coil__stack_copy(&s->copy, out->sp) && read_about(s, "syscall", after, sizeof after) &&
            strcmp(before, after) == 0)
            return STANDS_WAITING;
    }
    return STANDS_UNKNOWN;
}

static bool runs(const struct slow *s, uint64_t step)
{
    return __atomic_load_n(&s->loop->step_number, __ATOMIC_ACQUIRE) == step;
}

/* Who is about to wait in the kernel counts as running, too: one that computes goes on to. */
static enum stands find_out(struct slow *s, uint64_t step, struct unwind *out)
{
    int thread = atomic_load(&s->thread_id);
    int64_t cpu = coil__clock_cpu_ns(thread);
    enum stands how = find_waiting(s, out);
    while (how == STANDS_COMPUTING && cpu >= 0 && runs(s, step) &&
           coil__clock_cpu_ns(thread) - cpu < COMPUTES_NS) {
        coil__thread_pause();
        how = find_waiting(s, out);
    }
    return how;
}

static bool ask_by_signal(struct slow *s, struct unwind *out)
{
    if (!s->signals || !is_ours() || blocks_signal(s))
        return false;
    atomic_store(&s->ask, ASK_ASKED);
    bool sent = sys_tgkill(sys_getpid(), atomic_load(&s->thread_id), SIGRTMAX) == 0;
    for (int left = sent ? ANSWER_TRIES : 0; atomic_load(&s->ask) != ASK_ANSWERED; left--) {
        int expected = ASK_ASKED; /* a handler that has begun is waited for */
        if (left <= 0 && atomic_compare_exchange_strong(&s->ask, &expected, ASK_NOTHING))
            return false;
        coil__thread_pause();
    }
    atomic_store(&s->ask, ASK_NOTHING);
    out->pc = s->pc;
    out->sp = s->sp;
    out->fp = s->fp;
    out->knows_fp = true;
    return s->copy.n > 0;
}

static bool is_entry(uintptr_t pc)
{
    return pc >= (uintptr_t)coil__entries && pc < (uintptr_t)coil__entries_end;
}

/* Copies what may be gone meanwhile. */
static bool copy_from(void *out, const void *from, size_t n)
{
    struct iovec to = {.iov_base = out, .iov_len = n};
    struct iovec there = {.iov_base = (void *)(uintptr_t)from, .iov_len = n};
    return sys_process_vm_readv(sys_getpid(), &to, 1, &there, 1, 0) == (ssize_t)n;
}

/* Who drives a coroutine, and where it stopped. */
static bool find_driver(struct slow *s, struct coro *co, struct unwind *out)
{
#if UNWIND_KNOWN && !defined(COIL_SWITCH_UCONTEXT)
    uintptr_t saved[7]; /* switch_x86_64.S */
    if (!co->resumer || !copy_from(co, co->resumer, sizeof *co) ||
        !copy_from(saved, co->sp, sizeof saved) ||
        !coil__stack_copy(&s->copy, (uintptr_t)co->sp + sizeof saved))
        return false;
    out->fp = saved[5];
    out->pc = saved[6];
    out->sp = (uintptr_t)co->sp + sizeof saved;
    out->knows_fp = true;
    out->inner = false;
    return true;
#else
    (void)s, (void)co, (void)out;
    return false;
#endif
}

/* The outermost call into libc that is below the program's own: `getaddrinfo`, not the `poll` in it. */
struct blame {
    uintptr_t libc, program;
    bool over;
};

static void blame(struct blame *b, const struct unwind *u, struct slow_look *out)
{
    if (b->over)
        return;
    if (!b->libc)
        b->libc = u->object;
    if (u->object == b->program)
        b->over = true;
    else if (u->object == b->libc)
        out->blocker = (const void *)(u->pc - 1);
}

static void walk(struct slow *s, struct unwind u, bool waiting, struct slow_look *out)
{
    struct blame b = {.program = coil__unwind_program(), .over = !waiting};
    const struct coro *now = NULL; /* whence nothing can be copied */
    struct coro co = {.resumer = NULL};
    (void)copy_from(&now, atomic_load(&s->coro_now), sizeof now);
    (void)copy_from(&co, now, sizeof co);
    u.stack = &s->copy;
    u.inner = true;
    out->n = 0;
    while (out->n < SLOW_CALLS) {
        if (is_entry(u.pc - 1)) {
            if (!find_driver(s, &co, &u))
                return;
            continue;
        }
        u.object = u.function = 0;
        (void)coil__unwind_find(&u);
        if (u.function == (uintptr_t)coil__loop_run_timed)
            return;
        blame(&b, &u, out);
        out->calls[out->n++] = (const void *)(u.pc - !u.inner);
        if (!coil__unwind_outward(&u))
            return;
    }
}

/* ---- watching ---- */

/* Without the lock. False: it is over, or nothing can be seen. */
static bool take_look(struct slow *s, uint64_t step, struct slow_look *out)
{
    struct unwind u = {.stack = &s->copy};
    out->n = 0;
    out->blocker = NULL;
    enum stands how = UNWIND_KNOWN ? find_out(s, step, &u) : STANDS_UNKNOWN;
    if (how == STANDS_COMPUTING && !ask_by_signal(s, &u))
        how = STANDS_UNKNOWN;
    if (how == STANDS_UNKNOWN || !runs(s, step))
        return false;
    walk(s, u, how == STANDS_WAITING, out);
    return runs(s, step);
}

static void meet(struct slow *s, uint64_t step, int64_t now)
{
    s->seen = step;
    s->look = (struct slow_look){.n = 0};
    s->seen_ns = now;
    s->seen_cpu = coil__clock_cpu_ns(atomic_load(&s->thread_id));
}

static void look_at(struct slow *s, uint64_t step)
{
    struct slow_look look;
    s->busy = true;
    coil__mutex_unlock(&s->lock);
    bool taken = take_look(s, step, &look);
    coil__mutex_lock(&s->lock);
    s->busy = false;
    if (taken) /* else the first look is better than none */
        s->look = look;
    s->looked_at = step;
    atomic_fetch_add(&s->looks, 1);
    coil__cond_broadcast(&s->changed);
}

/* By what both clocks say of the time since watching began, up to this moment. */
static int64_t ticks_as_ns(const struct slow *s, uint64_t ticks, int64_t now, uint64_t now_ticks)
{
    uint64_t all = now_ticks - s->first_ticks + 1; /* where ticks are long it may be none */
    return (int64_t)((double)ticks * (double)(now - s->first_ns) / (double)all);
}

/* Whose step runs; "" of a callback. The task may end meanwhile, so its name is copied as memory that may go is. */
static void name_owner(const struct slow *s, char out[static ERROR_NAME_MAX])
{
    const coil_future *owner = __atomic_load_n(&s->loop->step_owner, __ATOMIC_ACQUIRE);
    const struct step_class *cls = __atomic_load_n(&s->loop->step_class, __ATOMIC_RELAXED);
    out[0] = '\0';
    if (owner && !copy_from(out, (const char *)owner + cls->name_at, ERROR_NAME_MAX))
        strcpy(out, "a task"); /* a kernel, or an emulator, that lets nobody read himself */
    out[ERROR_NAME_MAX - 1] = '\0';
}

/* How long it may sleep now. */
static int64_t tick(struct slow *s, uint64_t *told)
{
    int64_t limit = __atomic_load_n(&s->loop->slow_ns, __ATOMIC_RELAXED);
    if (limit < TICK_MIN_NS)
        limit = TICK_MIN_NS;
    uint64_t step = __atomic_load_n(&s->loop->step_number, __ATOMIC_ACQUIRE);
    uint64_t began_ticks = __atomic_load_n(&s->loop->step_ticks, __ATOMIC_RELAXED), now_ticks;
    int64_t now;
    coil__clock_both(&now, &now_ticks);
    if (!(step & 1) || !runs(s, step))
        return limit;
    int64_t began = now - ticks_as_ns(s, now_ticks - began_ticks, now, now_ticks);
    if (s->seen != step)
        meet(s, step, now);
    int64_t due = clock_add(began, limit);
    if (now < due)
        return due - now;
    if (s->looked_at != step)
        look_at(s, step);
    int64_t late = clock_add(began, limit * GOES_ON); /* one of them went by: no overflow */
    if (now < late)
        return late - now < limit ? late - now : limit;
    if (*told != step) {
        *told = step;
        look_at(s, step);
        char name[ERROR_NAME_MAX];
        name_owner(s, name);
        if (runs(s, step))
            coil__loop_report_endless(s->loop, name, now - began, &s->look);
    }
    return limit;
}

static void watch(void *arg)
{
    struct slow *s = arg;
    uint64_t told = 0;
    coil__mutex_lock(&s->lock);
    while (!s->stop) {
        int64_t left = tick(s, &told);
        if (left > TICK_MAX_NS)
            left = TICK_MAX_NS; /* the limit may be another one by then */
        if (!s->stop)
            (void)coil__cond_wait_until(&s->changed, &s->lock,
                                        clock_add(coil__clock_real_ns(), left));
    }
    coil__mutex_unlock(&s->lock);
}

/* ---- on the loop's thread ---- */

static struct slow *begin_watching(struct coil_loop *loop)
{
    struct slow *s = coil__zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    coil__clock_both(&s->first_ns, &s->first_ticks);
    s->signals = UNWIND_KNOWN && !SYS_UNDER_TSAN && !loop->no_signals && take_signal();
    coil__mutex_init(&s->lock);
    coil__cond_init(&s->changed);
    if (coil__thread_start(&s->thread, "coil-slow", watch, s) == 0)
        return s;
    coil__cond_fini(&s->changed);
    coil__mutex_fini(&s->lock);
    if (s->signals)
        give_signal_back();
    coil__free(s);
    return NULL;
}

void coil__slow_watch(struct coil_loop *loop)
{
    struct slow *s = loop->slow;
    if (!s && !loop->slow_refused && !loop->clock.is_virtual) {
        /* The numbers of Valgrind's own stacks would be taken for the program's. */
        s = loop->slow = tool_on_valgrind() ? NULL : begin_watching(loop);
        loop->slow_refused = !s;
    }
    here = s;
    if (s && atomic_load_explicit(&s->thread_id, memory_order_relaxed) != loop->thread_id) {
        atomic_store(&s->coro_now, (const struct coro *const *)&coil__coro_now);
        atomic_store(&s->thread_id, loop->thread_id);
    }
}

void coil__slow_leave(void)
{
    here = NULL;
}

void coil__slow_stop(struct coil_loop *loop)
{
    struct slow *s = loop->slow;
    if (!s)
        return;
    loop->slow = NULL;
    coil__mutex_lock(&s->lock);
    s->stop = true;
    coil__cond_broadcast(&s->changed);
    coil__mutex_unlock(&s->lock);
    coil__thread_join(&s->thread);
    if (s->signals)
        give_signal_back();
    coil__cond_fini(&s->changed);
    coil__mutex_fini(&s->lock);
    coil__free(s);
}

bool coil__slow_seen(struct slow *s, uint64_t step, struct slow_look *out)
{
    if (!s)
        return false;
    coil__mutex_lock(&s->lock);
    int64_t now = coil__clock_real_ns();
    while (s->busy)
        coil__cond_wait(&s->changed, &s->lock);
    bool seen = s->seen == step;
    if (seen) {
        *out = s->look;
        out->cpu_ns = s->seen_cpu < 0 ? -1 : coil__clock_cpu_ns(0) - s->seen_cpu;
        out->of_ns = now - s->seen_ns;
    }
    coil__mutex_unlock(&s->lock);
    return seen;
}

uint64_t coil__slow_looks(const struct slow *s)
{
    return atomic_load(&s->looks);
}
