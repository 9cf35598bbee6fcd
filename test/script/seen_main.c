/* SPDX-License-Identifier: MIT
 *
 * seen_main.c: a program to be looked at by ps_test.py: seen_main waits|spins|stuck|lines. Says "ready" when it stands where the
 * tests want it. */
#include <coil.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LONG = 100000 };

static coil_lock lock;
static coil_event never;

static coil_ret sleeper(void *arg)
{
    (void)arg;
    return coil_sleep(LONG);
}

static coil_ret holder(void *arg)
{
    (void)arg;
    coil_ret rc = coil_lock_acquire(&lock);
    return rc < 0 ? rc : coil_sleep(LONG);
}

static coil_ret locker(void *arg)
{
    (void)arg;
    return coil_lock_acquire(&lock);
}

static coil_ret receiver(void *sock)
{
    char byte;
    return coil_sock_recv(sock, &byte, 1);
}

static coil_ret waits_for_ever(void *arg)
{
    (void)arg;
    return coil_event_wait(&never);
}

static coil_ret awaits_a_task(void *arg)
{
    (void)arg;
    coil_task *child = coil_create_task(sleeper, NULL);
    coil_task_set_name(child, "child");
    return coil_join(child);
}

static coil_ret gathers(void *arg)
{
    (void)arg;
    coil_task *both[] = {coil_create_task(sleeper, NULL), coil_create_task(sleeper, NULL)};
    coil_task_set_name(both[0], "first");
    coil_task_set_name(both[1], "second");
    return coil_gather(both, 2, NULL, COIL_UNREF);
}

static void say_ready(void *arg)
{
    (void)arg;
    printf("ready\n");
    fflush(stdout);
}

__attribute__((noinline)) static void spin_here(void)
{
    for (volatile unsigned i = 0;; i++)
        continue;
}

static coil_ret spins(void *arg)
{
    (void)arg;
    printf("ready\n");
    fflush(stdout);
    spin_here();
    return 0;
}

static coil_task *begin(coil_fn fn, void *arg, const char *name)
{
    coil_task *task = coil_create_task(fn, arg);
    coil_task_set_name(task, name);
    return task;
}

static coil_ret waits(void *arg)
{
    (void)arg;
    coil_sock *near;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -EMFILE;
    coil_ret rc = coil_sock_adopt(NULL, pair[0], &near);
    if (rc < 0)
        return rc;
    begin(holder, NULL, "holder");
    begin(locker, NULL, "locker");
    begin(receiver, near, "receiver");
    begin(awaits_a_task, NULL, "parent");
    begin(gathers, NULL, "gatherer");
    begin(sleeper, NULL, "one\033[31m'\"");
    /* When all of them wait, this task too. */
    int err = coil_loop_call_later(NULL, 0.01, say_ready, NULL, NULL);
    return err < 0 ? err : coil_sleep(LONG);
}

/* ---- who waits for which ---- */

static struct {
    long before;
    coil_queue jobs;
} app;

static coil_ret gets(void *arg)
{
    void *job;
    return coil_queue_get(&app.jobs, &job);
}

static coil_ret needs_a_permit(void *semaphore)
{
    return coil_semaphore_acquire(semaphore);
}

static coil_ret hears(void *condition)
{
    coil_ret rc = coil_condition_acquire(condition);
    return rc < 0 ? rc : coil_condition_wait(condition);
}

static coil_ret meets(void *barrier)
{
    return coil_barrier_wait(barrier);
}

static coil_ret lines(void)
{
    static const char *const names[] = {"first", "second", "third", "fourth", "fifth"};
    static coil_barrier gate = COIL_BARRIER(3);
    coil_semaphore permits = COIL_SEMAPHORE(0); /* in this frame */
    coil_condition *news = calloc(1, sizeof *news);
    if (!news)
        return -ENOMEM;
    for (int i = 0; i < 5; i++)
        begin(waits_for_ever, NULL, names[i]);
    begin(gets, NULL, "getter");
    begin(needs_a_permit, &permits, "patient");
    begin(hears, news, "listener");
    begin(meets, &gate, "early");
    begin(meets, &gate, "earlier");
    int err = coil_loop_call_later(NULL, 0.01, say_ready, NULL, NULL);
    coil_ret rc = err < 0 ? err : coil_sleep(LONG);
    free(news);
    return rc;
}

static coil_ret main_task(void *mode)
{
    if (strcmp(mode, "lines") == 0)
        return lines();
    return strcmp(mode, "spins") == 0 ? coil_join(begin(spins, NULL, "spinner")) : waits(NULL);
}

/* A loop that is only told to run has no end that a deadlock could be told to. */
static int stuck(void)
{
    coil_loop *loop = coil_new_event_loop(NULL);
    coil_set_event_loop(loop);
    coil_task *task = coil_loop_create_task(loop, waits_for_ever, NULL);
    coil_task_set_name(task, "waiter");
    printf("ready\n");
    fflush(stdout);
    return coil_loop_run_forever(loop);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    if (strcmp(argv[1], "stuck") == 0)
        return stuck();
    return coil_report(coil_run(main_task, argv[1]));
}
