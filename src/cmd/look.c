/* SPDX-License-Identifier: MIT
 *
 * look.c: opens the program that `coil ps`, `coil pstree` and `coil dump` look at, and has words for what is seen.
 *
 * Elsewhere: looking (seen.c), reading (peer.c), names (functions.c). */
#include "cmd/look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const look_states[] = {"new", "running", "ready", "waiting"};

/* ---- words ---- */

void look_call(struct target *t, uint64_t pc, char *out, size_t n)
{
    struct place place;
    if (!functions_find(&t->seen.functions, &t->peer, pc, &place))
        snprintf(out, n, "?");
    else if (place.function[0])
        snprintf(out, n, "%s", place.function);
    else
        snprintf(out, n, "0x%llx", (unsigned long long)place.address);
}

static size_t append(char *out, size_t at, size_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static size_t append(char *out, size_t at, size_t n, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int more = at < n ? vsnprintf(out + at, n - at, fmt, args) : 0;
    va_end(args);
    return at + (more > 0 ? (size_t)more : 0);
}

/* "queue orders: put; also: south, west". */
static size_t wait_words(const struct seen_loop *l, const struct seen_task *task, char *out,
                         size_t n)
{
    size_t at = append(out, 0, n, "%s", task->what);
    if (task->which[0])
        at = append(out, at, n, " %s", task->which);
    if (task->detail[0])
        at = append(out, at, n, ": %s", task->detail);
    size_t named = task->also_n < SEEN_ALSO ? task->also_n : SEEN_ALSO;
    for (size_t i = 0; i < named; i++)
        at = append(out, at, n, "%s%s", i ? ", " : "; also: ", l->tasks[task->also[i]].name);
    if (task->also_n > named)
        at = append(out, at, n, " and %zu more", task->also_n - named);
    return at;
}

void look_since(const struct seen_task *task, char *out, size_t n)
{
    out[0] = '\0';
    if (task->state == SEEN_WAITING && task->waits_ns >= 0)
        snprintf(out, n, ", for %.1f s now", (double)task->waits_ns / 1e9);
}

void look_wait(const struct seen_loop *l, const struct seen_task *task, char *out, size_t n)
{
    size_t at;
    char since[40];
    if (task->state == SEEN_WAITING) {
        look_since(task, since, sizeof since);
        at = wait_words(l, task, out, n);
        at = append(out, at, n, "%s", since);
    } else {
        at = append(out, 0, n, "%s",
                    task->state == SEEN_NEW     ? "(its first turn)"
                    : task->state == SEEN_READY ? "(its turn)"
                                                : "(running)");
    }
    if (task->cancelling)
        append(out, at, n, " (to be cancelled)");
    else if (task->cancels)
        append(out, at, n, " (went on after %u cancel%s)", task->cancels,
               task->cancels == 1 ? "" : "s");
}

/* ---- source lines ---- */

/* "a/b/../c" is "a/c": compilers are called in a folder of the build. */
static void shorten(char *path)
{
    char *up; /* what stands before it can be left, unless it is ".." itself */
    while ((up = strstr(path, "/../"))) {
        char *from = up;
        while (from > path && from[-1] != '/')
            from--;
        if (from == up || strncmp(from, "../", 3) == 0)
            return;
        memmove(from, up + 4, strlen(up + 4) + 1);
    }
}

/* "work.c:12", if there is addr2line and the file knows. */
static void source_line(const struct place *place, char *out, size_t n)
{
    out[0] = '\0';
    if (!place->file[0] || strchr(place->file, '\''))
        return;
    char command[4400];
    if (snprintf(command, sizeof command, "exec addr2line -e '%s' 0x%llx 2>/dev/null", place->file,
                 (unsigned long long)place->address) >= (int)sizeof command)
        return;
    FILE *f = popen(command, "re");
    if (!f)
        return;
    if (!fgets(out, (int)n, f) || out[0] == '?')
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    char *more = strstr(out, " (discriminator");
    if (more)
        *more = '\0';
    pclose(f);
    shorten(out);
}

struct line {
    uint64_t pc;
    char text[256];
};

const char *look_line(struct target *t, uint64_t pc, struct place *place)
{
    static struct line kept[1024];
    struct line *line = &kept[pc % (sizeof kept / sizeof *kept)];
    if (!functions_find(&t->seen.functions, &t->peer, pc, place))
        return "";
    if (line->pc != pc) {
        line->pc = pc;
        source_line(place, line->text, sizeof line->text);
        peer_clean(line->text);
    }
    return line->text;
}

/* ---- a loop ---- */

static void plural(uint64_t n, const char *one, const char *many, const char *before)
{
    printf("%s%llu %s", before, (unsigned long long)n, n == 1 ? one : many);
}

static void print_circles(struct seen_loop *l)
{
    enum { SHOWN = 16 };
    size_t from = 0, n, circle[SHOWN];
    while ((n = seen_circle(l, &from, circle, SHOWN)) > 0) {
        printf("  Deadlock: ");
        for (size_t i = 0; i < n && i < SHOWN; i++) {
            const struct seen_task *task = &l->tasks[circle[i]];
            printf("%s waits for %s%s%s (%s), ", task->name, task->what, task->which[0] ? " " : "",
                   task->which, task->detail);
        }
        printf("%s.\n", n > SHOWN ? "and so on" : "and none of them can go on");
    }
}

/* What keeps it alive. */
void look_print_loop(struct seen_loop *l)
{
    printf("loop 0x%llx", (unsigned long long)l->at);
    if (l->tid)
        printf(", thread %d", (int)l->tid);
    printf(", %s%s%s%s: ", l->backend, l->is_virtual ? ", virtual time" : "",
           l->debug ? ", debug mode" : "", l->running ? "" : ", not running");
    plural(l->tasks_n, "task", "tasks", "");
    if (l->ready)
        plural(l->ready, "callback ready", "callbacks ready", ", ");
    if (l->timers)
        plural(l->timers, "timer", "timers", ", ");
    if (l->ops)
        plural(l->ops, "operation", "operations", ", ");
    if (l->fds)
        plural(l->fds, "descriptor", "descriptors", ", ");
    if (l->jobs)
        plural(l->jobs, "thread job", "thread jobs", ", ");
    if (l->wakers)
        plural(l->wakers, "waker", "wakers", ", ");
    if (l->signals)
        printf(", signal handlers");
    putchar('\n');
    if (l->torn)
        printf("  It changed faster than it could be read: tasks may be missing.\n");
    print_circles(l);
    if (seen_is_stuck(l))
        printf("  Nothing known can wake it: no timer, descriptor, thread job or signal handler is "
               "left. Another thread of the program may.\n");
}

/* ---- the program ---- */

static int parse_pid(const char *word, pid_t *out)
{
    char *end;
    errno = 0;
    long pid = strtol(word, &end, 10);
    if (errno || *end || end == word || pid <= 0 || pid > INT32_MAX)
        return complain(EXIT_USAGE, 0, "`%s` is no process number", word);
    *out = (pid_t)pid;
    return 0;
}

static int open_target(struct target *t, int argc, char **argv, unsigned understood)
{
    const char *core = NULL, *word = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0 && (understood & LOOK_JSON))
            t->json = true;
        else if (strcmp(argv[i], "--count") == 0 && (understood & LOOK_COUNT))
            t->count = true;
        else if (strcmp(argv[i], "--core") == 0 && i + 1 < argc)
            core = argv[++i];
        else if (argv[i][0] == '-' || word)
            return complain(EXIT_USAGE, 0, "what is `%s`? `coil help %s` tells", argv[i], argv[0]);
        else
            word = argv[i];
    }
    if (!core == !word)
        return complain(EXIT_USAGE, 0, "a process number, or --core FILE, is needed");
    pid_t pid = 0;
    int status = core ? peer_open_core(&t->peer, core) : parse_pid(word, &pid);
    return status || core ? status : peer_open(&t->peer, pid);
}

static bool has_circle(struct seen *s)
{
    for (size_t i = 0; i < s->loops_n; i++) {
        size_t from = 0, one;
        if (seen_circle(&s->loops[i], &from, &one, 1) > 0)
            return true;
    }
    return false;
}

/* A program that runs is read bit by bit, and locks that go round may look like a circle: one that is none is not there
 * the next time. */
static int read_twice(struct target *t)
{
    int status = seen_read(&t->seen, &t->peer, true);
    if (status || !t->peer.pid || !has_circle(&t->seen))
        return status;
    seen_free(&t->seen);
    peer_refresh(&t->peer);
    return seen_read(&t->seen, &t->peer, true);
}

int look_at(int argc, char **argv, unsigned understood, int (*tell)(struct target *t))
{
    struct target t = {.peer = {.core = -1}};
    int status = open_target(&t, argc, argv, understood);
    if (!status)
        status = read_twice(&t);
    if (!status && t.seen.loops_n == 0 && !t.json)
        printf("it has no event loop at the moment\n");
    if (!status)
        status = tell(&t);
    seen_free(&t.seen);
    peer_close(&t.peer);
    return status;
}
