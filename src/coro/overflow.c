/* SPDX-License-Identifier: MIT
 *
 * overflow.c: the stack-overflow report.
 *
 * A fault at the guard of the running coroutine's own stack is an overflow; no table is searched,
 * since nobody else's stack can overflow in this thread. Everything else belongs to whoever handled
 * the signal before.
 *
 *     fault --> at our guard?  yes: print, default action, fault again (the core is right)
 *                              no:  the earlier handler
 *
 * Always true:
 *   - the handler only reads, writes to descriptor 2 and sets signal actions: all of it is safe in
 *     a handler;
 *   - it runs on a stack of its own, the overflowed one has no room. */
#include "coro/overflow.h"

#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/sys.h"
#include "base/thread.h"
#include "coro/coro.h"
#include "coro/stack.h"

#define HANDLER_STACK     ((size_t)64 << 10)
#define HANDLER_STACK_MIN ((size_t)16 << 10) /* somebody else's that is at least this will do */

static struct mutex lock = MUTEX_INIT;
static unsigned installs; /* of the whole process */
static const int signals[] = {SIGSEGV, SIGBUS};
static struct sigaction earlier[2];

static CORO_THREAD_LOCAL unsigned installs_here; /* of this thread */
static CORO_THREAD_LOCAL void *handler_stack;    /* NULL: the thread had one that does */
static CORO_THREAD_LOCAL stack_t earlier_stack;

/* ---- the report ---- */

struct text {
    size_t n;
    char s[512];
};

static void add(struct text *t, const char *s)
{
    while (*s && t->n < sizeof t->s)
        t->s[t->n++] = *s++;
}

static void add_number(struct text *t, size_t value)
{
    char digits[24];
    size_t i = sizeof digits;
    digits[--i] = '\0';
    do
        digits[--i] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    add(t, digits + i);
}

static void report(const struct stack *stack)
{
    struct stack_about about = {0};
    struct text t = {0};
    if (stack->pool->describe)
        stack->pool->describe(stack, &about);
    add(&t, "coil: stack overflow in ");
    add(&t, about.name ? about.name : "a coroutine");
    if (about.file && about.file[0]) {
        add(&t, ", made at ");
        add(&t, about.file);
        add(&t, ":");
        add_number(&t, (size_t)about.line);
    }
    add(&t, ": it needs more than ");
    add_number(&t, (size_t)(stack->high - stack->low) / 1024);
    add(&t, " KB; give it a larger stack_size (now ");
    add_number(&t, (stack_bytes(stack) + 4095) / 4096 * 4 / COIL_STACK_FACTOR);
    add(&t, " KB)\n");
    for (size_t at = 0; at < t.n;) {
        ssize_t n = sys_write(2, t.s + at, t.n - at);
        if (n <= 0 && n != -EINTR)
            break;
        at += n > 0 ? (size_t)n : 0;
    }
}

static const struct stack *overflowed(const char *addr)
{
    const struct coro *co = coil__coro_now;
    if (!co || !co->stack)
        return NULL;
    const char *low = co->stack->low;
    return addr < low && addr >= coil__stack_guard(co->stack) ? co->stack : NULL;
}

/* What the process would have done without us. */
static void pass_on(int signo, siginfo_t *info, void *context)
{
    const struct sigaction *old = &earlier[signo == SIGSEGV ? 0 : 1];
    if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(signo, info, context);
        return;
    }
    bool sent = info->si_code <= 0; /* by kill and the like: it will not fault again by itself */
    if (old->sa_handler == SIG_IGN && sent)
        return;
    if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(signo);
        return;
    }
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    (void)sys_sigaction(signo, &dfl, NULL);
    if (sent)
        (void)raise(signo); /* blocked until the handler returns */
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
    const struct stack *stack = info->si_code > 0 ? overflowed(info->si_addr) : NULL;
    if (!stack) {
        pass_on(signo, info, context);
        return;
    }
    report(stack);
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    (void)sys_sigaction(signo, &dfl, NULL); /* returning repeats the fault */
}

/* ---- installing ---- */

static int stack_install(void)
{
    void *map;
    stack_t now;
    int err = sys_sigaltstack(NULL, &now);
    if (err)
        return err;
    if (!(now.ss_flags & SS_DISABLE) && now.ss_size >= HANDLER_STACK_MIN)
        return 0;
    err = sys_mmap(HANDLER_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, &map);
    if (err)
        return err;
    err = sys_sigaltstack(&(stack_t){.ss_sp = map, .ss_size = HANDLER_STACK}, &earlier_stack);
    if (err) {
        (void)sys_munmap(map, HANDLER_STACK);
        return err;
    }
    handler_stack = map;
    return 0;
}

static void stack_remove(void)
{
    stack_t now;
    if (!handler_stack)
        return;
    if (sys_sigaltstack(NULL, &now) == 0 && now.ss_sp == handler_stack)
        (void)sys_sigaltstack(&earlier_stack, NULL);
    (void)sys_munmap(handler_stack, HANDLER_STACK);
    handler_stack = NULL;
}

static void handler_remove(int i)
{
    struct sigaction now;
    if (sys_sigaction(signals[i], NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
        now.sa_sigaction == on_fault)
        (void)sys_sigaction(signals[i], &earlier[i], NULL);
}

static int handlers_install(void)
{
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    int err = sys_sigaction(SIGSEGV, &ours, &earlier[0]);
    if (err)
        return err;
    err = sys_sigaction(SIGBUS, &ours, &earlier[1]);
    if (err)
        handler_remove(0);
    return err;
}

/* A child has the forking thread alone: what others installed is nobody's, and who held the lock is not there. */
static void forked(void)
{
    coil__mutex_init(&lock);
    installs = installs_here;
}

int coil__overflow_install(void)
{
    static _Atomic int asked;
    int err = installs_here == 0 ? stack_install() : 0;
    if (err)
        return (int)coil__fail(err, "no stack for the overflow report: %s", coil_strerror(err));
    if (coil__thread_at_fork(&asked, forked) < 0) {
        err = -ENOMEM;
        goto undo_stack;
    }
    coil__mutex_lock(&lock);
    if (installs == 0)
        err = handlers_install();
    if (!err) {
        installs++;
        installs_here++;
    }
    coil__mutex_unlock(&lock);
    if (!err)
        return 0;
undo_stack:
    if (installs_here == 0)
        stack_remove();
    return (int)coil__fail_plain(err);
}

void coil__overflow_remove(void)
{
    if (installs_here == 0)
        return;
    coil__mutex_lock(&lock);
    if (--installs == 0)
        for (int i = 0; i < 2; i++)
            handler_remove(i);
    coil__mutex_unlock(&lock);
    if (--installs_here == 0)
        stack_remove();
}

void coil__overflow_forget(void)
{
    while (installs_here > 0)
        coil__overflow_remove();
}
