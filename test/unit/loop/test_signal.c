/* SPDX-License-Identifier: MIT
 *
 * test_signal.c: signals as callbacks: in order, none twice, each given back when it is no longer wanted. */
#include "loop/signal.h"

#include "../loop/stage.h"
#include "base/sys.h"
#include "base/thread.h"
#include "coro/tooling.h"
#include "test.h"

#include <coil/signal.h>
#include <coil/task.h>

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/time.h>
#include <sys/wait.h>

static void handle(int signo, coil_callback_fn fn, const void *arg)
{
    FACT_INT(coil_loop_add_signal_handler(stage.loop, signo, fn, (void *)(uintptr_t)arg), 0);
}

static bool is_default(int signo)
{
    struct sigaction now;
    return sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

/* ---- coming ---- */

LOOP(signal_is_a_callback_of_the_next_turn)
{
    handle(SIGUSR1, note_arg, "usr1");
    raise(SIGUSR1);
    FACT_TRACE("");
    one_turn();
    FACT_TRACE("usr1");
    one_turn();
    FACT_TRACE("");
}

LOOP(signals_come_in_the_order_of_their_arrival)
{
    handle(SIGUSR1, note_arg, "usr1");
    handle(SIGUSR2, note_arg, "usr2");
    handle(SIGHUP, note_arg, "hup");
    raise(SIGUSR2);
    raise(SIGHUP);
    FACT_INT(coil_loop_call_soon_threadsafe(stage.loop, note_arg, TEXT("post"), NULL), 0);
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("usr2 hup post usr1");
}

LOOP(signal_that_waits_is_not_counted_twice)
{
    handle(SIGUSR1, note_arg, "usr1");
    for (int i = 0; i < 1000; i++)
        raise(SIGUSR1);
    one_turn();
    one_turn();
    FACT_TRACE("usr1");
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("usr1");
}

LOOP(signal_in_real_time_is_counted)
{
    handle(SIGRTMIN + 3, note_arg, "rt");
    for (int i = 0; i < 3; i++)
        raise(SIGRTMIN + 3);
    for (int i = 0; i < 5; i++)
        one_turn();
    FACT_TRACE("rt rt rt");
}

static void raise_again(void *arg)
{
    note("usr1");
    if (--*(int *)arg > 0)
        raise(SIGUSR1);
}

LOOP(signal_that_comes_while_its_callback_runs_is_another_one)
{
    int times = 3;
    handle(SIGUSR1, raise_again, &times);
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("usr1");
    one_turn();
    one_turn();
    one_turn();
    FACT_TRACE("usr1 usr1");
}

REAL(signal_ends_the_sleep)
{
    struct itimerval soon_after = {.it_value = {.tv_usec = 5000}};
    double before = now();
    handle(SIGALRM, stop_loop, stage.loop);
    later(60, note_arg, "too late");
    setitimer(ITIMER_REAL, &soon_after, NULL);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT(now() - before < 30);
    FACT_TRACE("");
}

static void send_from_a_thread(void *arg)
{
    (void)arg;
    kill(getpid(), SIGUSR1);
}

/* The thread blocks every signal, so another one gets it. */
LOOP(signal_sent_to_the_process_arrives)
{
    struct thread t;
    coil_future *f = coil_loop_create_future(stage.loop);
    handle(SIGUSR1, stop_loop, stage.loop);
    FACT_INT(coil__thread_start(&t, "test", send_from_a_thread, NULL), 0);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ESTOPPED);
    coil__thread_join(&t);
    coil_unref(f);
}

static void *foreign_raises(void *arg)
{
    (void)arg;
    raise(SIGUSR1);
    return NULL;
}

LOOP(signal_handled_in_any_thread_reaches_the_loop)
{
    pthread_t t;
    handle(SIGUSR1, stop_loop, stage.loop);
    FACT_INT(pthread_create(&t, NULL, foreign_raises, NULL), 0);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    pthread_join(t, NULL);
}

REAL(signal_wakes_the_host_of_an_embedded_loop)
{
    struct pollfd p = {.fd = coil_loop_fd(stage.loop), .events = POLLIN};
    if (p.fd == -ENOTSUP) { /* poll has none */
        stage_end();
        skip();
    }
    handle(SIGUSR1, note_arg, "usr1");
    FACT_INT(coil_loop_iterate(stage.loop), 0);
    FACT(coil_loop_timeout(stage.loop) > 0);
    FACT_INT(poll(&p, 1, 0), 0);
    raise(SIGUSR1);
    FACT_INT(poll(&p, 1, 20000), 1);
    FACT(coil_loop_timeout(stage.loop) == 0);
    FACT_INT(coil_loop_iterate(stage.loop), 1);
    FACT_TRACE("usr1");
}

LOOP(signal_keeps_errno)
{
    handle(SIGUSR1, note_arg, "usr1");
    (void)coil_loop_fd(stage.loop); /* a loop with a host counts as asleep, and is rung */
    errno = EXDEV;
    raise(SIGUSR1);
    FACT_INT(errno, EXDEV);
    one_turn();
    FACT_TRACE("usr1");
}

LOOP(signal_lets_interrupted_calls_go_on)
{
    struct sigaction now;
    handle(SIGUSR1, note_arg, "usr1");
    sigaction(SIGUSR1, NULL, &now);
    FACT(now.sa_flags & SA_RESTART);
    FACT(now.sa_flags & SA_ONSTACK); /* tasks' stacks may be small */
}

/* ---- being handled ---- */

LOOP(signal_handler_is_replaced_by_the_next_one)
{
    handle(SIGUSR1, note_arg, "first");
    raise(SIGUSR1);
    handle(SIGUSR1, note_arg, "second");
    one_turn();
    FACT_TRACE("second");
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 0);
    FACT(is_default(SIGUSR1));
}

static void earlier(int signo)
{
    (void)signo;
    note("earlier");
}

LOOP(signal_does_again_what_it_did_before)
{
    struct sigaction act = {.sa_handler = earlier}, now, old;
    sigaction(SIGUSR1, &act, &old);
    handle(SIGUSR1, note_arg, "ours");
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("ours");
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    raise(SIGUSR1);
    FACT_TRACE("earlier");

    handle(SIGUSR1, note_arg, "ours");
    FACT_INT(coil_loop_close(stage.loop), 0);
    sigaction(SIGUSR1, &old, &now);
    FACT(now.sa_handler == earlier);
}

LOOP(signal_that_somebody_else_took_stays_his)
{
    struct sigaction act = {.sa_handler = earlier}, now, old;
    handle(SIGUSR1, note_arg, "ours");
    sigaction(SIGUSR1, &act, NULL);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    sigaction(SIGUSR1, NULL, &now);
    FACT(now.sa_handler == earlier);
    old = (struct sigaction){.sa_handler = SIG_DFL};
    sigaction(SIGUSR1, &old, NULL);
}

/* Who asks last has it, as with sigaction(2). */
LOOP(signal_that_somebody_else_took_is_ours_when_we_ask_again)
{
    struct sigaction act = {.sa_handler = earlier}, now, old;
    handle(SIGUSR1, note_arg, "ours");
    sigaction(SIGUSR1, &act, &old);
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("earlier");
    handle(SIGUSR1, note_arg, "ours again");
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("ours again");
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    old = (struct sigaction){.sa_handler = SIG_DFL};
    sigaction(SIGUSR1, &old, &now);
    FACT(now.sa_handler == earlier);
}

LOOP(signal_that_waits_is_dropped_with_its_handler)
{
    handle(SIGUSR1, note_arg, "in the inbox");
    handle(SIGRTMIN, note_arg, "queued");
    raise(SIGUSR1);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    raise(SIGRTMIN);
    raise(SIGRTMIN);
    one_turn();
    FACT_TRACE("queued"); /* the second one stands in the ring */
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGRTMIN), 1);
    one_turn();
    FACT_TRACE("");
}

static void remove_both(void *arg)
{
    note_arg(arg);
    FACT_INT(coil_loop_remove_signal_handler(NULL, SIGUSR1), 1);
    FACT_INT(coil_loop_remove_signal_handler(NULL, SIGUSR2), 1);
}

LOOP(signal_handler_may_remove_itself_and_others)
{
    handle(SIGUSR1, remove_both, "usr1");
    handle(SIGUSR2, note_arg, "usr2");
    raise(SIGUSR1);
    raise(SIGUSR2);
    one_turn();
    FACT_TRACE("usr1");
    FACT(is_default(SIGUSR1) && is_default(SIGUSR2));
}

LOOP(signal_waiting_at_close_is_dropped)
{
    handle(SIGUSR1, note_arg, "usr1");
    handle(SIGUSR2, note_arg, "usr2");
    raise(SIGUSR1);
    FACT_INT(coil_loop_close(stage.loop), 0);
    FACT_TRACE("");
    FACT(is_default(SIGUSR1) && is_default(SIGUSR2));
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGUSR1, note_arg, NULL), COIL_ECLOSED);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 0);
}

LOOP(signals_nobody_can_handle_are_refused)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGKILL, note_arg, NULL), -EINVAL);
    FACT_ERROR(-EINVAL, "signal 9 (SIGKILL) cannot be caught");
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGSTOP, note_arg, NULL), -EINVAL);
    for (int i = 0; i < 4; i++) {
        FACT_INT(coil_loop_add_signal_handler(stage.loop, faults[i], note_arg, NULL), -EINVAL);
        FACT_ERROR(-EINVAL, "the instruction at hand");
    }
    FACT_INT(coil_loop_add_signal_handler(stage.loop, -1, note_arg, NULL), -EINVAL);
    FACT_INT(coil_loop_add_signal_handler(stage.loop, 0, note_arg, NULL), -EINVAL);
    FACT_INT(coil_loop_add_signal_handler(stage.loop, NSIG, note_arg, NULL), -EINVAL);
    FACT_ERROR(-EINVAL, "there is no signal");
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGRTMIN - 1, note_arg, NULL), -EINVAL);
    FACT_ERROR(-EINVAL, "cannot be handled"); /* libc keeps it */
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGUSR1, NULL, NULL), -EINVAL);
    FACT_INT(coil_loop_add_signal_handler(NULL, SIGUSR1, note_arg, NULL), COIL_ENOLOOP);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, 0), -EINVAL);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, NSIG), -EINVAL);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGKILL), 0);
    FACT(is_default(SIGUSR1));
}

LOOP(signal_has_one_owner_at_a_time)
{
    coil_loop *other = stage_new_loop(true);
    handle(SIGUSR1, note_arg, "first");
    FACT_INT(coil_loop_add_signal_handler(other, SIGUSR1, note_arg, TEXT("other")), -EBUSY);
    FACT_ERROR(-EBUSY, "signal 10 (SIGUSR1) is handled by another loop");
    FACT_INT(coil_loop_remove_signal_handler(other, SIGUSR1), 0);
    FACT_INT(coil_loop_add_signal_handler(other, SIGUSR2, note_arg, TEXT("other")), 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
    one_turn();
    FACT_TRACE("first");
    coil_loop_stop(other);
    FACT_INT(coil_loop_run_forever(other), 0);
    FACT_TRACE("other");
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    FACT_INT(coil_loop_add_signal_handler(other, SIGUSR1, note_arg, TEXT("other")), 0);
    coil_loop_free(other);
    FACT(is_default(SIGUSR1) && is_default(SIGUSR2));
}

static const coil_contextvar color = COIL_CONTEXTVAR("color", (void *)(uintptr_t) "none");

static void note_color(void *arg)
{
    (void)arg;
    note("%s", (const char *)coil_contextvar_get(&color));
}

LOOP(signal_handler_runs_in_the_context_of_who_asked)
{
    coil_contextvar_token token;
    FACT_INT(coil_contextvar_set(&color, TEXT("red"), &token), 0);
    handle(SIGUSR1, note_color, NULL);
    FACT_INT(coil_contextvar_reset(&token), 0);
    for (int i = 0; i < 2; i++) {
        raise(SIGUSR1);
        one_turn();
    }
    FACT_TRACE("red red");
}

LOOP(signal_handlers_without_memory_change_nothing)
{
    struct sigaction act = {.sa_handler = SIG_IGN}, now;
    sigaction(SIGUSR1, &act, NULL);
    if (!STAGE_TABLE)
        return;
#if STAGE_TABLE
    coil__mem_fail_at(1, 0);
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGUSR1, note_arg, NULL), -ENOMEM);
    coil__mem_fail_at(0, 0);
#endif
    sigaction(SIGUSR1, NULL, &now);
    FACT(now.sa_handler == SIG_IGN);
    act.sa_handler = SIG_DFL;
    sigaction(SIGUSR1, &act, NULL);
}

/* ---- threads that come and go while signals fall ---- */

static atomic_bool over;

static void *send_signals(void *arg)
{
    (void)arg;
    while (!atomic_load(&over))
        raise(SIGUSR1);
    return NULL;
}

/* Whoever lets go of a signal waits for handlers in other threads that could still see its memory. */
LOOP(signal_handlers_come_and_go_under_fire)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, dfl = {.sa_handler = SIG_DFL};
    pthread_t t;
    if (!UNDER_TSAN &&
        !process_began_alone()) { /* qemu-user falls over as soon as a thread's signal becomes an ignored one */
        stage_end();
        skip();
    }
    sigaction(SIGUSR1, &ignore, NULL);
    atomic_store(&over, false);
    FACT_INT(pthread_create(&t, NULL, send_signals, NULL), 0);
    int came = 0;
    for (int i = 0; i < 2000 || came < 20; i++) {
        handle(SIGUSR1, note_arg, "x");
        one_turn();
        came += stage.log[0] == 'x';
        stage.log[0] = '\0';
        FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    }
    atomic_store(&over, true);
    pthread_join(t, NULL);
    sigaction(SIGUSR1, &dfl, NULL);
}

/* ---- children ---- */

/* How a child that runs fn and then waits ends. */
static int end_of_child(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        stage.broken = 0;
        fn();
        _exit(stage.broken ? 1 : 0);
    }
    int status;
    FACT(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void meet_sigterm(void)
{
    raise(SIGTERM);
}

static void look_and_handle_it_again(void)
{
    FACT(is_default(SIGTERM));
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGTERM, note_arg, NULL), COIL_EWRONGTHREAD);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGTERM), 0);
    coil_loop *loop = stage_new_loop(true);
    FACT_INT(coil_loop_add_signal_handler(loop, SIGTERM, note_arg, TEXT("child")), 0);
    raise(SIGTERM);
    coil_loop_stop(loop);
    FACT_INT(coil_loop_run_forever(loop), 0);
    FACT_TRACE("child");
    coil_loop_free(loop);
    FACT(is_default(SIGTERM));
}

/* The program put its own handler over ours: the child keeps it. */
static void meet_what_the_program_had(void)
{
    raise(SIGTERM);
    FACT_TRACE("theirs");
}

static void their_handler(int signo)
{
    (void)signo;
    note("theirs");
}

LOOP(signal_that_somebody_else_took_stays_his_in_a_child_of_fork)
{
    handle(SIGTERM, note_arg, "ours");
    struct sigaction theirs = {.sa_handler = their_handler}, ours;
    sigaction(SIGTERM, &theirs, &ours);
    FACT_INT(end_of_child(meet_what_the_program_had), 0);
    sigaction(SIGTERM, &ours, NULL);
}

LOOP(signal_in_a_child_of_fork_is_the_childs)
{
    handle(SIGTERM, note_arg, "term");
    FACT_INT(end_of_child(meet_sigterm), 1000 + SIGTERM);
    FACT_INT(end_of_child(look_and_handle_it_again), 0);
    one_turn();
    FACT_TRACE(""); /* nothing of the child's reached the parent */
    raise(SIGTERM);
    one_turn();
    FACT_TRACE("term");
}

#if STAGE_TABLE
static pid_t another_process(void)
{
    return 1;
}

/* As in a child of vfork or clone, whom no fork handler told: it has our handler and nobody to tell. */
static void meet_sigterm_unprepared(void)
{
    coil_loop *loop = stage_new_loop(true);
    FACT_INT(coil_loop_add_signal_handler(loop, SIGTERM, note_arg, TEXT("child")), 0);
    coil__sys.getpid = another_process;
    raise(SIGTERM);
}
#endif

LOOP(signal_in_a_child_that_was_told_nothing_does_what_it_did_before)
{
#if STAGE_TABLE
    FACT_INT(end_of_child(meet_sigterm_unprepared), 1000 + SIGTERM);
#endif
}

/* ---- what the loop knows of it ---- */

LOOP(signal_handler_means_that_somebody_may_wake_the_loop)
{
    struct itimerval soon_after = {.it_value = {.tv_usec = 5000}};
    coil_future *f = coil_loop_create_future(stage.loop);
    handle(SIGALRM, stop_loop, stage.loop);
    setitimer(ITIMER_REAL, &soon_after, NULL);
    FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_ESTOPPED);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGALRM), 1);
    if (deadlocks_are_certain())
        FACT_INT(coil_loop_run_until_complete(stage.loop, f), COIL_EDEADLOCK);
    coil_unref(f);
}

LOOP(signal_handler_does_not_hold_virtual_time)
{
    int64_t began = coil__clock_real_ns();
    handle(SIGUSR1, note_arg, "usr1");
    later(1e6, stop_loop, stage.loop);
    FACT_INT(coil_loop_run_forever(stage.loop), 0);
    FACT(now() >= 1e6);
    FACT(coil__clock_real_ns() - began < 10 * NS_PER_S);
}

LOOP(signal_delivered_by_hand_is_as_one_of_the_kernels)
{
    FACT(!coil__signal_deliver(SIGTERM));
    FACT(!coil__signal_deliver(0));
    FACT(!coil__signal_deliver(NSIG));
    handle(SIGTERM, note_arg, "term");
    FACT(coil__signal_deliver(SIGTERM));
    FACT(coil__signal_deliver(SIGTERM));
    one_turn();
    FACT_TRACE("term");
}

/* ---- what is left to others ---- */

static int caught_n;

static void count_catch(struct inbox_node *node)
{
    (void)node;
    caught_n++;
}

/* As Ctrl-C: the first one is ours, the second does what it did before. */
LOOP(signal_catcher_that_has_had_its_share_leaves_the_rest_to_who_was_before)
{
    struct sigaction act = {.sa_handler = earlier}, old;
    struct catcher c = {
        .node.fn = count_catch, .loop = stage.loop, .signo = SIGUSR1, .most = 1, .lasts = 1};
    sigaction(SIGUSR1, &act, &old);
    caught_n = 0;
    FACT_INT(coil__signal_catch(&c), 0);
    raise(SIGUSR1);
    FACT_TRACE("");
    raise(SIGUSR1);
    FACT_TRACE("earlier");
    raise(SIGUSR1);
    FACT_TRACE("earlier");
    coil__signal_let_go(&c);
    FACT_INT(caught_n, 1);
    sigaction(SIGUSR1, &old, NULL);
}

LOOP(signal_delivered_by_hand_to_a_catcher_that_has_had_its_share_is_nobodys)
{
    struct catcher c = {
        .node.fn = count_catch, .loop = stage.loop, .signo = SIGUSR1, .most = 1, .lasts = 1};
    caught_n = 0;
    FACT_INT(coil__signal_catch(&c), 0);
    FACT(coil__signal_deliver(SIGUSR1));
    FACT(!coil__signal_deliver(SIGUSR1)); /* and nothing of what stood before is done */
    coil__signal_let_go(&c);
    FACT_INT(caught_n, 1);
    FACT(is_default(SIGUSR1));
}

#if defined(__x86_64__) && !STAGE_TSAN
/* ---- a signal between any two instructions ---- */

static volatile int traps, trap_at;

static void on_trap(int signo)
{
    (void)signo;
    if (traps++ == trap_at)
        raise(SIGUSR1);
}

/* The processor's trap flag: SIGTRAP after each instruction, until it is taken away. (128 bytes below the stack are the compiler's.) */
#define TRAP_EACH(yes_or_no)                                                                     \
    __asm__ volatile("sub $128, %%rsp\n\tpushfq\n\t" yes_or_no "\n\tpopfq\n\tadd $128, %%rsp" :: \
                         : "memory", "cc")

static void deliver_step_by_step(int at)
{
    traps = 0;
    trap_at = at;
    TRAP_EACH("orq $0x100, (%%rsp)");
    (void)coil__signal_deliver(SIGUSR1);
    TRAP_EACH("andq $~0x100, (%%rsp)");
}

/* One delivery is interrupted by another, at each place in turn. */
LOOP(signal_may_interrupt_another_ones_delivery_anywhere)
{
    struct sigaction act = {.sa_handler = on_trap}, old;
    struct catcher c = {
        .node.fn = count_catch, .loop = stage.loop, .signo = SIGUSR1, .most = UINT_MAX};
    if (tool_on_valgrind())
        skip(); /* its processor has no such flag */
    sigaction(SIGTRAP, &act, &old);
    FACT_INT(coil__signal_catch(&c), 0);
    int at = 0;
    for (traps = 1; at < traps && at < 100000; at++) {
        caught_n = 0;
        deliver_step_by_step(at);
        coil__loop_drain_inbox(stage.loop);
        FACT_INT(caught_n, 1);
        FACT_INT(atomic_exchange(&c.came, 0), 2);
    }
    FACT(at > 20 && at < 100000);
    coil__signal_let_go(&c);
    sigaction(SIGTRAP, &old, NULL);
}
#endif

#if STAGE_TABLE
static struct catcher leaving;

/* The handler's first call: here another thread may take the catcher away. */
static pid_t let_go_and_ask(void)
{
    coil__sys.getpid = coil__sys_real.getpid;
    coil__signal_let_go(&leaving);
    return sys_getpid();
}

LOOP(signal_that_comes_as_its_catcher_leaves_is_dropped_or_sent_again)
{
    struct sigaction act = {.sa_handler = earlier}, old;
    sigaction(SIGUSR1, &act, &old);
    for (int yields = 0; yields < 2; yields++) {
        leaving = (struct catcher){.node.fn = count_catch,
                                   .loop = stage.loop,
                                   .signo = SIGUSR1,
                                   .most = 1,
                                   .yields = yields};
        caught_n = 0;
        FACT_INT(coil__signal_catch(&leaving), 0);
        coil__sys.getpid = let_go_and_ask;
        raise(SIGUSR1);
        FACT_INT(caught_n, 0);
        FACT_TRACE(yields ? "earlier" : "");
    }
    sigaction(SIGUSR1, &old, NULL);
}

static pid_t somebody_elses(void)
{
    return coil__sys_real.getpid() + 1;
}

/* A child of vfork: it has our handler and our memory, and was told nothing. */
LOOP(signal_in_a_process_whose_handlers_are_anothers_does_what_it_did_before)
{
    struct sigaction act = {.sa_handler = earlier}, old;
    sigaction(SIGUSR1, &act, &old);
    handle(SIGUSR1, note_arg, "ours");
    coil__sys.getpid = somebody_elses;
    raise(SIGUSR1);
    coil__sys.getpid = coil__sys_real.getpid;
    FACT_TRACE("earlier");
    one_turn();
    FACT_TRACE("");
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    sigaction(SIGUSR1, &old, NULL);
}
#endif

static void with_more_words(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    note("theirs");
}

LOOP(signal_that_somebody_else_took_by_siginfo_stays_his)
{
    struct sigaction theirs = {.sa_sigaction = with_more_words, .sa_flags = SA_SIGINFO}, old;
    handle(SIGUSR1, note_arg, "ours");
    sigaction(SIGUSR1, &theirs, &old);
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    raise(SIGUSR1);
    FACT_TRACE("theirs");
    old.sa_handler = SIG_DFL;
    old.sa_flags = 0;
    sigaction(SIGUSR1, &old, NULL);
}

LOOP(signal_without_a_name_is_told_by_its_number)
{
    coil_loop *other = stage_new_loop(true);
    handle(16, note_arg, "ours"); /* SIGSTKFLT, which nobody sends */
    FACT_INT(coil_loop_add_signal_handler(other, 16, note_arg, NULL), -EBUSY);
    FACT_ERROR(-EBUSY, "signal 16 is handled by another loop");
    coil_loop_free(other);
}

#if STAGE_TABLE
static int sigaction_works_n;

static int failing_sigaction(int signo, const struct sigaction *act, struct sigaction *old)
{
    return sigaction_works_n-- > 0 ? coil__sys_real.sigaction(signo, act, old) : -EPERM;
}

LOOP(signal_that_the_kernel_refuses_is_not_handled)
{
    for (int works = 0; works < 2; works++) {
        sigaction_works_n = works;
        coil__sys.sigaction = failing_sigaction;
        int rc = coil_loop_add_signal_handler(stage.loop, SIGUSR1, note_arg, NULL);
        coil__sys.sigaction = coil__sys_real.sigaction;
        FACT_INT(rc, -EPERM);
        FACT_ERROR(-EPERM, "signal 10 (SIGUSR1) cannot be handled");
        FACT(is_default(SIGUSR1));
        FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 0);
    }
    handle(SIGUSR1, note_arg, "usr1");
    sigaction_works_n = 0;
    coil__sys.sigaction = failing_sigaction; /* is it ours still? as far as one knows, it is not */
    FACT_INT(coil_loop_add_signal_handler(stage.loop, SIGUSR1, note_arg, TEXT("again")), -EPERM);
    FACT_ERROR(-EPERM, "signal 10 (SIGUSR1) cannot be handled");
    coil__sys.sigaction = coil__sys_real.sigaction;
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("usr1");
    coil__sys.sigaction = failing_sigaction; /* whose handler is it? it is left as it is */
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    coil__sys.sigaction = coil__sys_real.sigaction;
    raise(SIGUSR1); /* nobody is there any more, and nothing happens */
    one_turn();
    FACT_TRACE("");
    handle(SIGUSR1, note_arg, "again");
    raise(SIGUSR1);
    one_turn();
    FACT_TRACE("again");
    FACT_INT(coil_loop_remove_signal_handler(stage.loop, SIGUSR1), 1);
    signal(SIGUSR1, SIG_DFL);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signal_is_a_callback_of_the_next_turn),
        cmocka_unit_test(signals_come_in_the_order_of_their_arrival),
        cmocka_unit_test(signal_that_waits_is_not_counted_twice),
        cmocka_unit_test(signal_in_real_time_is_counted),
        cmocka_unit_test(signal_that_comes_while_its_callback_runs_is_another_one),
        cmocka_unit_test(signal_ends_the_sleep),
        cmocka_unit_test(signal_sent_to_the_process_arrives),
        cmocka_unit_test(signal_handled_in_any_thread_reaches_the_loop),
        cmocka_unit_test(signal_wakes_the_host_of_an_embedded_loop),
        cmocka_unit_test(signal_keeps_errno),
        cmocka_unit_test(signal_lets_interrupted_calls_go_on),
        cmocka_unit_test(signal_handler_is_replaced_by_the_next_one),
        cmocka_unit_test(signal_does_again_what_it_did_before),
        cmocka_unit_test(signal_that_somebody_else_took_stays_his),
        cmocka_unit_test(signal_that_somebody_else_took_is_ours_when_we_ask_again),
        cmocka_unit_test(signal_that_waits_is_dropped_with_its_handler),
        cmocka_unit_test(signal_handler_may_remove_itself_and_others),
        cmocka_unit_test(signal_waiting_at_close_is_dropped),
        cmocka_unit_test(signals_nobody_can_handle_are_refused),
        cmocka_unit_test(signal_has_one_owner_at_a_time),
        cmocka_unit_test(signal_handler_runs_in_the_context_of_who_asked),
        cmocka_unit_test(signal_handlers_without_memory_change_nothing),
        cmocka_unit_test(signal_handlers_come_and_go_under_fire),
        cmocka_unit_test(signal_in_a_child_of_fork_is_the_childs),
        cmocka_unit_test(signal_in_a_child_that_was_told_nothing_does_what_it_did_before),
        cmocka_unit_test(signal_handler_means_that_somebody_may_wake_the_loop),
        cmocka_unit_test(signal_handler_does_not_hold_virtual_time),
        cmocka_unit_test(signal_delivered_by_hand_is_as_one_of_the_kernels),
        cmocka_unit_test(signal_delivered_by_hand_to_a_catcher_that_has_had_its_share_is_nobodys),
#if STAGE_TABLE
        cmocka_unit_test(signal_that_comes_as_its_catcher_leaves_is_dropped_or_sent_again),
        cmocka_unit_test(signal_in_a_process_whose_handlers_are_anothers_does_what_it_did_before),
        cmocka_unit_test(signal_that_the_kernel_refuses_is_not_handled),
#endif
        cmocka_unit_test(signal_catcher_that_has_had_its_share_leaves_the_rest_to_who_was_before),
        cmocka_unit_test(signal_that_somebody_else_took_by_siginfo_stays_his),
        cmocka_unit_test(signal_without_a_name_is_told_by_its_number),
#if defined(__x86_64__) && !STAGE_TSAN
        cmocka_unit_test(signal_may_interrupt_another_ones_delivery_anywhere),
#endif
        cmocka_unit_test(signal_that_somebody_else_took_stays_his_in_a_child_of_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
