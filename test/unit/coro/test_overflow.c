/* SPDX-License-Identifier: MIT
 *
 * test_overflow.c: who is told what when a coroutine runs off its stack.
 *
 * Each fault happens in a child process; the parent reads what it said on standard error and how it
 * died. */
#include <coil/generator.h>
#include <coil/loop.h>
#include <coil/task.h>

#include "base/check.h"
#include "base/sys.h"
#include "coro/coro.h"
#include "coro/overflow.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

static char said[8192];

/* Runs `fn` in a child; returns its wait status, its words in `said`. */
static int in_child(void (*fn)(void))
{
    int ends[2], status;
    COIL_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    fflush(NULL);
    pid_t pid = fork();
    COIL_CHECK(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(ends[1], 2);
        signal(SIGSEGV, SIG_DFL); /* the test runner's own handlers stay out of it */
        signal(SIGBUS, SIG_DFL);
        fn();
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], said + n, sizeof said - 1 - n)) > 0)
        n += (size_t)got;
    said[n] = '\0';
    close(ends[0]);
    COIL_CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static bool died_of(int status, int signo)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == signo;
}

/* ---- faults ---- */

__attribute__((noinline)) static int recurses(volatile int depth)
{
    volatile char frame[512];
    frame[0] = (char)depth;
    frame[511] = frame[0];
    return depth < 0 ? 0 : recurses(depth + 1) + frame[511];
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
/* The handler's last call, after which the fault would come again: an end by exit, at which what ran is counted
 * (tools/coverage.c). */
static int leaves_by_exit(int signo, const struct sigaction *act, struct sigaction *old)
{
    (void)signo, (void)act, (void)old;
    _exit(7);
}
#endif

static coil_ret digs_for_ever(coil_gen *self, void *arg)
{
    return recurses(0);
}

static void overflow_in_a_generator(void)
{
    COIL_CHECK(coil__overflow_install() == 0);
    coil_gen_opts opts = {.size = sizeof opts, .stack_size = 64 << 10};
    coil_ignore(coil_gen_next(coil_gen_new_opts(digs_for_ever, NULL, &opts), NULL));
}

static void an_overflow_names_the_coroutine_and_where_it_was_made(void **state)
{
    int status = in_child(overflow_in_a_generator);
    assert_true(died_of(status, SIGSEGV));
    assert_non_null(strstr(said, "coil: stack overflow in digs_for_ever"));
    assert_non_null(strstr(said, "test_overflow.c:"));
    assert_non_null(strstr(said, "it needs more than "));
    assert_non_null(strstr(said, "give it a larger stack_size (now 64 KB)"));
}

static coil_ret digs_as_a_task(void *arg)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    coil__sys.sigaction = leaves_by_exit;
#endif
    return recurses(0);
}

static void overflow_in_a_task(void)
{
    COIL_CHECK(coil__overflow_install() == 0);
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_task_opts opts = {.size = sizeof opts, .loop = loop, .name = "digger", .stack_size = 1};
    coil_task *task = coil_create_task_opts(digs_as_a_task, NULL, &opts);
    coil_ignore(coil_loop_run_until_complete(loop, task));
}

static void an_overflow_in_a_task_names_the_task(void **state)
{
    int status = in_child(overflow_in_a_task);
    assert_true(died_of(status, SIGSEGV) || WEXITSTATUS(status) == 7);
    assert_non_null(strstr(said, "coil: stack overflow in digger, made at "));
    assert_non_null(strstr(said, "test_overflow.c:"));
}

static void overflow_without_install(void)
{
    coil_ignore(coil_gen_next(coil_gen_new(digs_for_ever, NULL), NULL));
}

static void without_install_nothing_is_said(void **state)
{
    int status = in_child(overflow_without_install);
    assert_true(died_of(status, SIGSEGV));
    assert_null(strstr(said, "coil:"));
}

static void overflow_of_a_nameless_one(struct coro *self)
{
    recurses(0);
}

static void run_nameless(void)
{
    static struct stack_pool pool;
    static struct coro co;
    struct stack *stack;
    COIL_CHECK(coil__overflow_install() == 0 && coil__stack_pool_init(&pool, 0) == 0);
    COIL_CHECK(coil__stack_get(&pool, 0, &stack) == 0);
    coil__coro_make(&co, stack, overflow_of_a_nameless_one);
    coil__coro_switch(&co);
}

static void one_that_nobody_can_name_is_told_too(void **state)
{
    int status = in_child(run_nameless);
    assert_true(died_of(status, SIGSEGV));
    assert_non_null(strstr(said, "coil: stack overflow in a coroutine: it needs more than "));
    assert_non_null(strstr(said, "(now 256 KB)"));
}

static void *run_thread(void *arg)
{
    overflow_in_a_generator();
    return NULL;
}

static void overflow_in_a_thread(void)
{
    pthread_t thread; /* the program's own kind: base/thread.c blocks signals in the library's */
    COIL_CHECK(coil__overflow_install() == 0);
    COIL_CHECK(pthread_create(&thread, NULL, run_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

static void a_second_thread_has_its_own_handler_stack(void **state)
{
    int status = in_child(overflow_in_a_thread);
    assert_true(died_of(status, SIGSEGV));
    assert_non_null(strstr(said, "digs_for_ever"));
}

/* ---- what is none of our business ---- */

static volatile int *volatile nowhere = (volatile int *)16;

static void earlier_handler(int signo)
{
    _exit(signo == SIGSEGV ? 42 : 43);
}

static void earlier_handler_info(int signo, siginfo_t *info, void *context)
{
    _exit(info->si_addr == (void *)16 ? 44 : 45);
}

static void foreign_fault_plain(void)
{
    signal(SIGSEGV, earlier_handler);
    COIL_CHECK(coil__overflow_install() == 0);
    *nowhere = 1;
}

static void foreign_fault_info(void)
{
    struct sigaction act = {.sa_sigaction = earlier_handler_info, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &act, NULL);
    COIL_CHECK(coil__overflow_install() == 0);
    *nowhere = 1;
}

static coil_ret faults_elsewhere(coil_gen *self, void *arg)
{
    *nowhere = 1;
    return 0;
}

static void foreign_fault_in_a_coroutine(void)
{
    signal(SIGSEGV, earlier_handler);
    COIL_CHECK(coil__overflow_install() == 0);
    coil_ignore(coil_gen_next(coil_gen_new(faults_elsewhere, NULL), NULL));
}

static void other_faults_go_to_the_earlier_handler(void **state)
{
    int status = in_child(foreign_fault_plain);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    status = in_child(foreign_fault_info);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 44);
    status = in_child(foreign_fault_in_a_coroutine);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    assert_string_equal(said, "");
}

static void foreign_fault_default(void)
{
    COIL_CHECK(coil__overflow_install() == 0);
    *nowhere = 1;
}

static void other_faults_kill_as_before(void **state)
{
    int status = in_child(foreign_fault_default);
    assert_true(died_of(status, SIGSEGV));
    assert_null(strstr(said, "coil:"));
}

static void sent_by_kill(void)
{
    COIL_CHECK(coil__overflow_install() == 0);
    kill(getpid(), SIGSEGV);
    _exit(9);
}

static void sent_and_ignored(void)
{
    signal(SIGSEGV, SIG_IGN);
    COIL_CHECK(coil__overflow_install() == 0);
    kill(getpid(), SIGSEGV);
    _exit(9);
}

static void one_sent_by_kill_does_what_it_did(void **state)
{
    assert_true(died_of(in_child(sent_by_kill), SIGSEGV));
    int status = in_child(sent_and_ignored);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);
}

/* ---- installing ---- */

static bool handled_by(int signo, void (*fn)(int))
{
    struct sigaction now;
    COIL_CHECK(sigaction(signo, NULL, &now) == 0);
    return now.sa_handler == fn;
}

static void installs_and_removes(void)
{
    stack_t before, after;
    signal(SIGSEGV, earlier_handler);
    sigaltstack(NULL, &before);
    COIL_CHECK(coil__overflow_install() == 0);
    COIL_CHECK(coil__overflow_install() == 0);
    COIL_CHECK(!handled_by(SIGSEGV, earlier_handler) && !handled_by(SIGBUS, SIG_DFL));
    sigaltstack(NULL, &after);
    COIL_CHECK(after.ss_size > (16 << 10) && !(after.ss_flags & SS_DISABLE));
    coil__overflow_remove();
    COIL_CHECK(!handled_by(SIGSEGV, earlier_handler));
    coil__overflow_remove();
    COIL_CHECK(handled_by(SIGSEGV, earlier_handler) && handled_by(SIGBUS, SIG_DFL));
    sigaltstack(NULL, &after);
    COIL_CHECK(after.ss_flags == before.ss_flags && after.ss_sp == before.ss_sp);
    coil__overflow_remove(); /* one too many does nothing */
    COIL_CHECK(handled_by(SIGSEGV, earlier_handler));
    _exit(7);
}

static void the_last_remove_puts_everything_back(void **state)
{
    int status = in_child(installs_and_removes);
    assert_string_equal(said, "");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void somebody_takes_over(void)
{
    COIL_CHECK(coil__overflow_install() == 0);
    signal(SIGSEGV, earlier_handler);
    coil__overflow_remove();
    _exit(handled_by(SIGSEGV, earlier_handler) && handled_by(SIGBUS, SIG_DFL) ? 7 : 8);
}

static void a_later_handler_is_left_alone(void **state)
{
    int status = in_child(somebody_takes_over);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static int refuses_sigaction(int signo, const struct sigaction *act, struct sigaction *old)
{
    return act && signo == SIGBUS ? -EINVAL : coil__sys_real.sigaction(signo, act, old);
}
static int refuses_mmap(size_t n, int prot, int flags, void **out)
{
    return -ENOMEM;
}
#endif

static void refusals(void)
{
#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
    stack_t off = {.ss_flags = SS_DISABLE}, now;
    sigaltstack(&off, NULL);
    coil__sys.sigaction = refuses_sigaction;
    COIL_CHECK(coil__overflow_install() == -EINVAL);
    COIL_CHECK(handled_by(SIGSEGV, SIG_DFL) && handled_by(SIGBUS, SIG_DFL));
    coil__sys = coil__sys_real;
    coil__sys.mmap = refuses_mmap;
    COIL_CHECK(coil__overflow_install() == -ENOMEM);
    COIL_CHECK(handled_by(SIGSEGV, SIG_DFL));
    coil__sys = coil__sys_real;
    sigaltstack(NULL, &now);
    COIL_CHECK(now.ss_flags & SS_DISABLE);
    COIL_CHECK(coil__overflow_install() == 0);
    coil__overflow_remove();
#endif
    _exit(7);
}

static void a_refused_install_leaves_nothing_behind(void **state)
{
    int status = in_child(refusals);
    assert_string_equal(said, "");
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

int main(void)
{
    if (tool_on_valgrind()) {
        puts("skipped: Valgrind reports the faults of the children as its own");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_names_the_coroutine_and_where_it_was_made),
        cmocka_unit_test(an_overflow_in_a_task_names_the_task),
        cmocka_unit_test(without_install_nothing_is_said),
        cmocka_unit_test(one_that_nobody_can_name_is_told_too),
        cmocka_unit_test(a_second_thread_has_its_own_handler_stack),
        cmocka_unit_test(other_faults_go_to_the_earlier_handler),
        cmocka_unit_test(other_faults_kill_as_before),
        cmocka_unit_test(one_sent_by_kill_does_what_it_did),
        cmocka_unit_test(the_last_remove_puts_everything_back),
        cmocka_unit_test(a_later_handler_is_left_alone),
        cmocka_unit_test(a_refused_install_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
