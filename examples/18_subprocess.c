/* SPDX-License-Identifier: MIT
 *
 * 18_subprocess.c: other programs: spoken to, waited for, ended.
 *
 * Look at: both directions of a pipe at once; programs side by side; what is not there says so by name. */
#include <coil.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

static coil_ret sort_words(void)
{
    static const char words[] = "pear\napple\nfig\napple\n";
    const char *const argv[] = {"sort", "-u", NULL};
    const coil_subprocess_opts opts = {.size = sizeof opts, .in = COIL_PIPE, .out = COIL_PIPE};
    coil_process *sort;
    coil_process_output output;
    coil_ret rc = coil_create_subprocess_exec(argv, &opts, &sort);
    if (rc < 0)
        return rc;
    rc = coil_process_communicate(sort, words, strlen(words), &output);
    if (rc == 0)
        printf("%s", output.out);
    coil_process_unref(sort);
    return rc;
}

static coil_ret exits_with(void *command)
{
    coil_process *shell;
    int code;
    coil_ret rc = coil_create_subprocess_shell(command, NULL, &shell);
    if (rc < 0)
        return rc;
    rc = coil_process_wait(shell, &code);
    coil_process_unref(shell);
    return rc < 0 ? rc : code;
}

/* The last reference to a process that runs would kill it; this one is asked first. */
static coil_ret stop_in_time(void)
{
    const char *const argv[] = {"sleep", "1000", NULL};
    coil_process *sleeper;
    coil_ret rc = coil_create_subprocess_exec(argv, NULL, &sleeper);
    if (rc < 0)
        return rc;
    int code = 0;
    if ((rc = coil_process_terminate(sleeper)) == 0)
        rc = coil_process_wait(sleeper, &code);
    printf("sleep: %d, SIGTERM is %d\n", code, SIGTERM);
    coil_process_unref(sleeper);
    return rc;
}

static coil_ret amain(void *arg)
{
    coil_ret rc = sort_words();
    if (rc < 0)
        return rc;
    coil_ret codes[2];
    coil_future *both[] = {coil_create_task(exits_with, "exit 3"),
                           coil_create_task(exits_with, "exit 4")};
    rc = coil_gather(both, 2, codes, COIL_UNREF);
    if (rc < 0)
        return rc;
    printf("shells: %d and %d\n", (int)codes[0], (int)codes[1]);
    const char *const nothing[] = {"no-such-program", NULL};
    coil_process *none;
    if (coil_iserr(coil_create_subprocess_exec(nothing, NULL, &none)))
        printf("%s\n", coil_last_error()->message);
    return stop_in_time();
}

int main(void)
{
    return coil_report(coil_run(amain, NULL));
}
