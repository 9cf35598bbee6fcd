/* SPDX-License-Identifier: MIT
 *
 * test_process.c: each process has a number that its parents did not have, with the kernel's help and without. */
#include "base/process.h"

#include "../loop/stage.h"
#include "base/sys.h"
#include "base/thread.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs look() in a child that fork's handlers are told of, or not; what it says to be false is false here. */
static void in_child_of(bool told, void (*look)(unsigned parents), unsigned parents)
{
    fflush(NULL);
    pid_t pid = told ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    FACT(pid >= 0);
    if (pid == 0) {
        stage.broken = 0;
        look(parents);
        _exit(stage.broken ? 1 : 0);
    }
    int status;
    FACT(waitpid(pid, &status, 0) == pid);
    FACT_INT(status, 0);
}

/* ---- a kernel that does not help; before anybody has asked the real one ---- */

#if STAGE_TABLE
static int no_memory(size_t n, int prot, int flags, void **out)
{
    return -ENOMEM;
}

static int no_such_advice(void *p, size_t n, int advice)
{
    return advice == MADV_WIPEONFORK ? -EINVAL : coil__sys_real.madvise(p, n, advice);
}

static int any_advice(void *p, size_t n, int advice)
{
    return 0;
}

static void it_is_the_pid(unsigned parents)
{
    FACT_INT(process_number(), getpid());
    FACT(process_number() != parents);
    if (parents == 0) {
        in_child_of(true, it_is_the_pid, process_number());
        in_child_of(false, it_is_the_pid, process_number());
    }
}

static void without_memory(unsigned parents)
{
    coil__sys.mmap = no_memory;
    it_is_the_pid(parents);
}

static void without_the_advice(unsigned parents)
{
    coil__sys.madvise = no_such_advice;
    it_is_the_pid(parents);
}

static void where_all_advice_is_taken(unsigned parents)
{
    coil__sys.madvise = any_advice;
    it_is_the_pid(parents);
}

PLAIN(process_number_is_the_pid_where_the_kernel_does_not_help)
{
    if (STAGE_TSAN || STAGE_ASAN) /* they have to be told of new processes, too */
        return;
    in_child_of(true, without_memory, 0);
    in_child_of(true, without_the_advice, 0);
    in_child_of(true, where_all_advice_is_taken, 0);
}
#endif

/* ---- the real one ---- */

static void it_is_a_new_one(unsigned parents)
{
    unsigned mine = process_number();
    FACT(mine != 0 && mine != parents);
    FACT_INT(process_number(), mine);
    if (parents < 3) { /* which is about as deep as the real numbers go; pids end it at once */
        in_child_of(true, it_is_a_new_one, mine);
        in_child_of(false, it_is_a_new_one, mine);
    }
    FACT_INT(process_number(), mine);
}

PLAIN(process_number_is_another_one_in_each_child)
{
    if (STAGE_TSAN || STAGE_ASAN)
        return;
    it_is_a_new_one(0);
}

static _Atomic bool go;

static void ask(void *out)
{
    while (!go)
        ;
    *(unsigned *)out = process_number();
}

static void threads_agree(unsigned parents)
{
    enum { THREADS = 4 };
    struct thread threads[THREADS];
    unsigned said[THREADS];
    for (int i = 0; i < THREADS; i++)
        FACT_INT(coil__thread_start(&threads[i], "asks", ask, &said[i]), 0);
    go = true;
    for (int i = 0; i < THREADS; i++)
        coil__thread_join(&threads[i]);
    for (int i = 0; i < THREADS; i++)
        FACT(said[i] == process_number() && said[i] != parents);
}

PLAIN(process_number_is_the_same_for_threads_that_ask_at_once)
{
    if (STAGE_TSAN) /* no threads in a child of one that has some */
        return;
    for (int i = 0; i < 20; i++)
        in_child_of(true, threads_agree, process_number());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if STAGE_TABLE
        cmocka_unit_test(process_number_is_the_pid_where_the_kernel_does_not_help), /* first */
#endif
        cmocka_unit_test(process_number_is_another_one_in_each_child),
        cmocka_unit_test(process_number_is_the_same_for_threads_that_ask_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
