/* SPDX-License-Identifier: MIT
 *
 * storm.c: hundreds of short children of a server; and chaos child WHAT N, what they are.
 *
 *     exit N: ends with N          say N: writes N bytes      echo 0: writes what it reads
 *     wait 0: until a signal comes; by itself it ends after 20 s, so that none outlives a killed server for long
 *
 * A child looks whether it was given more than 0, 1 and 2, and then ends with 99. */
#include "server.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

enum { AT_A_TIME = 16, SAY_MAX = 200000, CHILD_HAS_MORE = 99 };

/* ---- in the server ---- */

struct child {
    struct server_report *report;
    uint64_t seed;
};

static coil_semaphore room = COIL_SEMAPHORE(AT_A_TIME);

static bool all_are(const char *text, size_t n, char which)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != which)
            return false;
    return true;
}

/* Talk to it until its end: is it what it should be? */
static coil_ret accompany(struct child *child, coil_process *process, const char *what, unsigned n,
                          struct dice *dice)
{
    int status = -1, expected = 0, signo = one_in(dice, 2) ? SIGKILL : SIGTERM;
    coil_process_output output = {0};
    char input[3000];
    size_t expected_n = 0;
    if (strcmp(what, "wait") == 0) {
        coil_ret rc = coil_sleep(below(dice, 50) / 1e3);
        if (coil_iserr(rc))
            return rc;
        expected = -signo;
        if (coil_process_send_signal(process, signo) != 0)
            child->report->children_wrong++;
    }
    memset(input, 'c', sizeof input);
    bool echo = strcmp(what, "echo") == 0;
    coil_ret rc = coil_process_communicate(process, input, echo ? sizeof input : 0, &output);
    if (coil_iserr(rc))
        return rc;
    expected_n = echo ? sizeof input : strcmp(what, "say") == 0 ? n : 0;
    expected = strcmp(what, "exit") == 0 ? (int)n : expected;
    if (!coil_process_returncode(process, &status) || status != expected ||
        output.out_n != expected_n || !all_are(output.out, output.out_n, 'c')) {
        child->report->children_wrong++;
        fprintf(stderr, "chaos: a child (%s %u) ended with %d and %zu bytes\n", what, n, status,
                output.out_n);
    }
    return 0;
}

static bool is_scarcity(coil_ret rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -EAGAIN || rc == -ENOMEM;
}

static coil_ret one_child(void *arg)
{
    static const char *const words[] = {"exit", "say", "echo", "wait"};
    struct child *child = arg;
    struct dice dice = {child->seed};
    coil_ret rc = coil_semaphore_acquire(&room);
    if (coil_iserr(rc))
        return rc;
    const char *what = words[below(&dice, 4)];
    unsigned n = strcmp(what, "exit") == 0 ? below(&dice, 90) : below(&dice, SAY_MAX);
    char number[16];
    snprintf(number, sizeof number, "%u", n);
    const char *argv[] = {"/proc/self/exe", "child", what, number, NULL};
    coil_subprocess_opts opts = {
        .size = sizeof opts, .in = COIL_PIPE, .out = COIL_PIPE, .inherit_fds = one_in(&dice, 2)};
    coil_process *process;
    rc = coil_create_subprocess_exec(argv, &opts, &process);
    if (!coil_iserr(rc)) {
        child->report->children++;
        rc = accompany(child, process, what, n, &dice);
        coil_process_unref(process);
        child->report->children_over++;
    }
    coil_ignore(coil_semaphore_release(&room));
    return is_scarcity(rc) ? 0 : rc;
}

void storm(coil_group *group, struct server_report *report, unsigned children, uint64_t seed)
{
    for (unsigned i = 0; i < children; i++) {
        struct child child = {report, mix(seed, i)};
        coil_group_create_task_with(group, one_child, &child, sizeof child);
    }
}

/* ---- the child ---- */

static bool has_more(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return false;
    bool more = false;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(dir))
            more = true;
    closedir(dir);
    return more;
}

static int say(size_t n)
{
    char text[4096];
    memset(text, 'c', sizeof text);
    while (n > 0) {
        ssize_t wrote = write(STDOUT_FILENO, text, n < sizeof text ? n : sizeof text);
        if (wrote < 0)
            return 98;
        n -= (size_t)wrote;
    }
    return 0;
}

int child_main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    die_with_parent();
    alarm(20);
    if (has_more())
        return CHILD_HAS_MORE;
    unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
    if (strcmp(argv[1], "exit") == 0)
        return (int)n;
    if (strcmp(argv[1], "say") == 0)
        return say(n);
    if (strcmp(argv[1], "wait") == 0)
        for (;;)
            pause();
    char buf[4096];
    ssize_t got;
    size_t all = 0;
    while ((got = read(STDIN_FILENO, buf, sizeof buf)) > 0)
        all += (size_t)got;
    return say(all);
}
