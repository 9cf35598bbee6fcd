/* SPDX-License-Identifier: MIT
 *
 * shell.c: an imaginary /bin/sh that reads a few words of the real one's language.
 *
 * A script is a row of commands; each is tried until it is done. Runs inside the imaginary kernel. */
#include "shell.h"

#include "test.h"

#include "base/clock.h"
#include "io/sim/sim.h"
#include "loop/loop.h"

#include <signal.h>
#include <stdlib.h>

enum { PIECE = 4096 };

struct shell {
    const char *at;   /* the command that is under way; NULL before the first */
    bool begun;       /* it has been tried before */
    int64_t until_ns; /* sleep */
    size_t left;      /* head: how much is still to come */
    size_t n, off;    /* of `buf`, what is to be written */
    int status;       /* of the last command */
    int trapped[65];  /* what a signal makes us exit with; -1: ignored, 0: nothing said */
    char buf[PIECE];
};

enum outcome { DONE, WAITS };

/* ---- words ---- */

static const char *skip_blanks(const char *p)
{
    while (*p == ' ' || *p == ';' || *p == '&')
        p++;
    return p;
}

static size_t length(const char *command)
{
    size_t n = 0;
    const char *ends = *command == '(' ? ";&" : ";";
    for (int depth = 0; command[n] && (depth > 0 || !strchr(ends, command[n])); n++) {
        if (command[n] == '"')
            while (command[n + 1] && command[++n] != '"')
                ;
        depth += (command[n] == '(') - (command[n] == ')');
    }
    return n;
}

static bool begins(const char *command, const char *word)
{
    return strncmp(command, word, strlen(word)) == 0;
}

static int signal_called(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } all[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"TERM", SIGTERM}, {"KILL", SIGKILL},
               {"USR1", SIGUSR1}, {"STOP", SIGSTOP}, {"PIPE", SIGPIPE}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (begins(name, all[i].name))
            return all[i].number;
    fail_msg("the imaginary shell knows no signal %s", name);
    return 0;
}

/* ---- output ---- */

static enum outcome flush(struct sim_process *p, struct shell *sh, int fd)
{
    while (sh->off < sh->n) {
        ssize_t rc = coil__process_write(p, fd, sh->buf + sh->off, sh->n - sh->off);
        if (rc == -EAGAIN || coil__process_is_over(p))
            return WAITS;
        sh->status = rc < 0;
        sh->off = rc < 0 ? sh->n : sh->off + (size_t)rc;
    }
    return DONE;
}

/* ---- commands ---- */

static enum outcome echo(struct sim_process *p, struct shell *sh, const char *command, size_t n)
{
    int fd = 1;
    if (n > 4 && begins(command + n - 4, " >&2")) {
        fd = 2;
        n -= 4;
    }
    if (!sh->begun) {
        size_t skip = n > 4 ? 5 : n;
        assert_true(n - skip + 1 <= PIECE);
        memcpy(sh->buf, command + skip, n - skip);
        sh->buf[n - skip] = '\n';
        sh->n = n - skip + 1;
        sh->off = 0;
    }
    return flush(p, sh, fd);
}

static enum outcome cat(struct sim_process *p, struct shell *sh)
{
    for (;;) {
        if (flush(p, sh, 1) == WAITS)
            return WAITS;
        ssize_t rc = coil__process_read(p, 0, sh->buf, PIECE);
        if (rc == -EAGAIN)
            return WAITS;
        if (rc <= 0)
            return DONE;
        sh->off = 0;
        sh->n = (size_t)rc;
    }
}

static enum outcome head(struct sim_process *p, struct shell *sh, const char *command, size_t n)
{
    bool zeros = n > 9 && begins(command + n - 9, "/dev/zero");
    if (!sh->begun)
        sh->left = strtoul(command + 8, NULL, 10);
    for (;;) {
        if (flush(p, sh, 1) == WAITS)
            return WAITS;
        size_t want = sh->left < PIECE ? sh->left : PIECE;
        if (want == 0)
            return DONE;
        if (zeros)
            memset(sh->buf, 0, want);
        ssize_t rc = zeros ? (ssize_t)want : coil__process_read(p, 0, sh->buf, want);
        if (rc == -EAGAIN)
            return WAITS;
        if (rc <= 0)
            return DONE;
        sh->left -= (size_t)rc;
        sh->off = 0;
        sh->n = (size_t)rc;
    }
}

static enum outcome yes(struct sim_process *p, struct shell *sh)
{
    while (flush(p, sh, 1) == DONE && sh->status == 0) {
        for (size_t i = 0; i < PIECE; i += 2)
            memcpy(sh->buf + i, "y\n", 2);
        sh->off = 0;
        sh->n = PIECE;
    }
    return sh->status ? DONE : WAITS;
}

static enum outcome read_line(struct sim_process *p, struct shell *sh)
{
    char c;
    for (;;) {
        ssize_t rc = coil__process_read(p, 0, &c, 1);
        if (rc == -EAGAIN)
            return WAITS;
        if (rc <= 0 || c == '\n') {
            sh->status = rc <= 0;
            return DONE;
        }
    }
}

static enum outcome nap(struct sim_process *p, struct shell *sh, const char *command)
{
    if (!sh->begun)
        sh->until_ns = coil__process_now_ns(p) + (int64_t)(strtod(command + 6, NULL) * NS_PER_S);
    int64_t left = sh->until_ns - coil__process_now_ns(p);
    if (left <= 0)
        return DONE;
    coil__process_sleep(p, left);
    return WAITS;
}

/* trap "exit 3" TERM */
static void set_trap(struct sim_process *p, struct shell *sh, const char *command)
{
    const char *what = strchr(command, '"') + 1;
    const char *name = skip_blanks(strchr(what, '"') + 1);
    int signo = signal_called(name);
    sh->trapped[signo] = *what == '"' ? -1 : (int)strtol(what + 5, NULL, 10);
    coil__process_catch(p, signo);
}

static const struct sim_program sh_program;

static void go_background(struct sim_process *p, const char *command, size_t n)
{
    char script[256];
    const char *close = memchr(command, ')', n);
    size_t inner = (size_t)(close - command) - 1;
    assert_true(inner < sizeof script);
    memcpy(script, command + 1, inner);
    script[inner] = '\0';
    (void)coil__process_fork(p, &sh_program, SH(script));
}

static enum outcome run(struct sim_process *p, struct shell *sh, const char *command)
{
    size_t n = length(command);
    if (begins(command, "exec 0<&-"))
        coil__process_close(p, 0);
    else if (begins(command, "exec 1>&-"))
        coil__process_close(p, 1);
    else if (begins(command, "exec 2>&-"))
        coil__process_close(p, 2);
    else if (begins(command, "exec "))
        return run(p, sh, command + 5);
    else if (begins(command, "echo"))
        return echo(p, sh, command, n);
    else if (begins(command, "cat"))
        return cat(p, sh);
    else if (begins(command, "head -c "))
        return head(p, sh, command, n);
    else if (begins(command, "yes"))
        return yes(p, sh);
    else if (begins(command, "read x"))
        return read_line(p, sh);
    else if (begins(command, "sleep "))
        return nap(p, sh, command);
    else if (begins(command, "exit "))
        coil__process_exit(p, (int)strtol(command + 5, NULL, 10));
    else if (begins(command, "kill -"))
        coil__process_raise(p, signal_called(command + 6));
    else if (begins(command, "trap "))
        set_trap(p, sh, command);
    else if (begins(command, "("))
        go_background(p, command, n);
    else
        fail_msg("the imaginary shell does not know: %s", command);
    return DONE;
}

/* ---- programs ---- */

static void take_signals(struct sim_process *p, struct shell *sh)
{
    for (int signo; !coil__process_is_over(p) && (signo = coil__process_caught(p));)
        if (sh->trapped[signo] > 0)
            coil__process_exit(p, sh->trapped[signo]);
}

static void sh_step(struct sim_process *p)
{
    struct shell *sh = coil__process_state(p);
    if (!sh->at)
        sh->at = skip_blanks(coil__process_argv(p)[2]);
    take_signals(p, sh);
    while (!coil__process_is_over(p)) {
        if (!*sh->at) {
            coil__process_exit(p, sh->status);
            return;
        }
        enum outcome outcome = run(p, sh, sh->at);
        sh->begun = true;
        if (outcome == WAITS)
            return;
        sh->at = skip_blanks(sh->at + length(sh->at));
        sh->begun = false;
    }
}

static void cat_step(struct sim_process *p)
{
    if (cat(p, coil__process_state(p)) == DONE)
        coil__process_exit(p, 0);
}

static void true_step(struct sim_process *p)
{
    coil__process_exit(p, 0);
}

static void false_step(struct sim_process *p)
{
    coil__process_exit(p, 1);
}

static const struct sim_program sh_program = {"/bin/sh", sh_step, sizeof(struct shell)};
static const struct sim_program others[] = {
    {"cat", cat_step, sizeof(struct shell)}, {"true", true_step, 0}, {"false", false_step, 0}};

void shell_is_here(void)
{
    struct backend *b = coil__running_loop->backend;
    if (b->cls != &coil__backend_sim)
        return;
    assert_int_equal(coil__sim_program(b, &sh_program), 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(coil__sim_program(b, &others[i]), 0);
}
