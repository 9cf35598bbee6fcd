/* SPDX-License-Identifier: MIT
 *
 * 17_signals.c: SIGHUP makes it look at its settings anew, SIGTERM ends it.
 *
 * Look at: a signal is a callback like others, so it may print, set events and start tasks, which a handler of
 * signal(2) may not. Ctrl-C needs no line: coil_run cancels `program`, whose waiting call then says so. */
#include <coil.h>

#include <signal.h>
#include <stdio.h>

static coil_event stopped;

static void reload(void *unused)
{
    printf("new settings\n");
}

static void stop(void *unused)
{
    printf("asked to stop\n");
    coil_event_set(&stopped);
}

static coil_ret work(void *unused)
{
    coil_ret rc;
    do {
        printf("working\n");
        rc = coil_sleep(1);
    } while (!coil_iserr(rc));
    printf("tidied up\n");
    return rc;
}

/* What `kill` does from another window. */
static void kill_me(void *signo)
{
    raise((int)(intptr_t)signo);
}

static coil_ret program(void *unused)
{
    int err = coil_loop_add_signal_handler(NULL, SIGHUP, reload, NULL);
    if (!err)
        err = coil_loop_add_signal_handler(NULL, SIGTERM, stop, NULL);
    if (!err)
        err = coil_loop_call_later(NULL, 0.5, kill_me, (void *)(intptr_t)SIGHUP, NULL);
    if (!err)
        err = coil_loop_call_later(NULL, 2.5, kill_me, (void *)(intptr_t)SIGTERM, NULL);
    if (err)
        return err;

    coil_task *worker = coil_create_task(work, NULL);
    coil_ret rc = coil_event_wait(&stopped);
    coil_task_cancel(worker, NULL);
    coil_ignore(coil_join(worker));
    return rc;
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
