/* SPDX-License-Identifier: MIT
 *
 * test_check.c: what is said when something that must hold does not, and that nothing is said otherwise. */
#include "base/check.h"

#include "../loop/stage.h"
#include "capture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void breaks_a_promise(void)
{
    int one = 1;
    COIL_CHECK(one + one == 3);
}

static void keeps_its_promises(void)
{
    int one = 1;
    COIL_CHECK(one + one == 2);
    COIL_DCHECK(one > 0);
}

/* Runs it in a child; what that printed stands in `printed`. Returns its status. */
static int in_child(void (*fn)(void))
{
    int status = 0;
    catch_stderr();
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        fn();
        _exit(3);
    }
    pid_t ended = waitpid(pid, &status, 0);
    caught();
    FACT(pid > 0 && ended == pid);
    return status;
}

PLAIN(check_that_does_not_hold_says_what_and_where_and_aborts)
{
    int status = in_child(breaks_a_promise), line = 0;
    FACT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    const char *file = strstr(printed, "test_check.c:");
    FACT(strncmp(printed, "coil: ", 6) == 0);
    FACT(file && sscanf(file, "test_check.c:%d", &line) == 1 && line > 0);
    FACT_HAS(printed, ": this must hold and does not: one + one == 3\n");
}

PLAIN(check_that_holds_says_nothing)
{
    int status = in_child(keeps_its_promises);
    FACT(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    FACT_TEXT(printed, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_that_does_not_hold_says_what_and_where_and_aborts),
        cmocka_unit_test(check_that_holds_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
