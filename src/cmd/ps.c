/* SPDX-License-Identifier: MIT
 *
 * ps.c: `coil ps`, `coil pstree` and `coil dump`: what the tasks of another program do.
 *
 * Elsewhere: looking (seen.c). The forms are those of `python -m asyncio ps` and `pstree`. */
#include "cmd/cmd.h"
#include "cmd/json.h"
#include "cmd/seen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEP = 200 }; /* levels of a tree that are drawn */

static const char *const state_words[] = {"new", "running", "ready", "waiting"};

struct target {
    struct peer peer;
    struct seen seen;
    bool json, count;
};

/* ---- words ---- */

static void call_name(struct target *t, uint64_t pc, char *out, size_t n)
{
    struct place place;
    if (!functions_find(&t->seen.functions, &t->peer, pc, &place))
        snprintf(out, n, "?");
    else if (place.function[0])
        snprintf(out, n, "%s", place.function);
    else
        snprintf(out, n, "0x%llx", (unsigned long long)place.address);
}

/* "coil_sleep -> work -> main", cut where the room ends. */
static void chain_text(struct target *t, const struct seen_task *task, char *out, size_t n)
{
    char name[96];
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < task->calls_n && at < n; i++) {
        call_name(t, task->calls[i], name, sizeof name);
        int more = snprintf(out + at, n - at, "%s%s", i ? " -> " : "", name);
        at += more > 0 ? (size_t)more : 0;
    }
}

/* In debug mode it is known since when. */
static void add_since(const struct seen_task *task, char *out, size_t n)
{
    size_t at = strlen(out);
    if (task->waits_ns >= 0)
        snprintf(out + at, n - at, ", for %.1f s now", (double)task->waits_ns / 1e9);
}

static void wait_text(const struct seen_task *task, char *out, size_t n)
{
    char also[48] = "";
    if (task->cancelling)
        snprintf(also, sizeof also, " (to be cancelled)");
    else if (task->cancels)
        snprintf(also, sizeof also, " (went on after %u cancel%s)", task->cancels,
                 task->cancels == 1 ? "" : "s");
    if (task->state != SEEN_WAITING)
        snprintf(out, n, "%s%s",
                 task->state == SEEN_NEW     ? "(its first turn)"
                 : task->state == SEEN_READY ? "(its turn)"
                                             : "(running)",
                 also);
    else if (task->detail[0])
        snprintf(out, n, "%s: %s%s", task->what, task->detail, also);
    else
        snprintf(out, n, "%s%s", task->what, also);
    add_since(task, out, n);
}

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
            printf("%s waits for %s (%s), ", task->name, task->what, task->detail);
        }
        printf("%s.\n", n > SHOWN ? "and so on" : "and none of them can go on");
    }
}

/* What keeps it alive. */
static void print_loop(struct seen_loop *l)
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

/* ---- ps ---- */

static void print_row(struct target *t, const struct seen_loop *l, const struct seen_task *task)
{
    char chain[400], awaiter_chain[400], waits[260];
    chain_text(t, task, chain, sizeof chain);
    wait_text(task, waits, sizeof waits);
    for (size_t i = 0; i == 0 || i < task->awaited_by_n; i++) {
        const struct seen_task *by = task->awaited_by_n ? &l->tasks[task->awaited_by[i]] : NULL;
        awaiter_chain[0] = '\0';
        if (by)
            chain_text(t, by, awaiter_chain, sizeof awaiter_chain);
        printf("%-10d 0x%-18llx %-20s %-40s %-50s %-50s %-15s 0x%llx\n", (int)l->tid,
               (unsigned long long)task->at, task->name, waits, chain, awaiter_chain,
               by ? by->name : "", by ? (unsigned long long)by->at : 0);
    }
}

static void print_table(struct target *t)
{
    for (size_t i = 0; i < t->seen.loops_n; i++) {
        struct seen_loop *l = &t->seen.loops[i];
        print_loop(l);
        if (l->tasks_n == 0)
            continue;
        printf("%-10s %-20s %-20s %-40s %-50s %-50s %-15s %s\n", "tid", "task id", "task name",
               "waits for", "coroutine stack", "awaiter chain", "awaiter name", "awaiter id");
        for (int k = 0; k < 216; k++)
            putchar('-');
        putchar('\n');
        for (size_t k = 0; k < l->tasks_n; k++)
            print_row(t, l, &l->tasks[k]);
    }
}

/* ---- ps --count ---- */

enum { GROUP_TEXT = 400 };

struct group {
    char *text;
    size_t n;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct group *)a)->text, ((const struct group *)b)->text);
}

static int by_count(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->n != y->n ? (x->n < y->n) - (x->n > y->n) : by_text(a, b);
}

/* Alike are tasks that were made at one place and wait for the same kind of thing. */
static void group_text(struct target *t, const struct seen_task *task, char *out)
{
    char name[96] = "?", made[160] = "";
    call_name(t, task->fn, name, sizeof name);
    if (task->file[0])
        snprintf(made, sizeof made, ", created at %s:%d", task->file, task->line);
    snprintf(out, GROUP_TEXT, "%-20s %s%s",
             task->state == SEEN_WAITING ? task->what : state_words[task->state], name, made);
}

static size_t count_groups(struct target *t, const struct seen_loop *l, struct group *groups)
{
    size_t n = 0;
    char text[GROUP_TEXT];
    for (size_t i = 0; i < l->tasks_n; i++) {
        group_text(t, &l->tasks[i], text);
        groups[n].n = 1;
        if ((groups[n].text = strdup(text)))
            n++;
    }
    qsort(groups, n, sizeof *groups, by_text);
    size_t kept = 0;
    for (size_t i = 1; i < n; i++) {
        if (strcmp(groups[kept].text, groups[i].text) == 0) {
            groups[kept].n++;
            free(groups[i].text);
        } else {
            groups[++kept] = groups[i];
        }
    }
    kept += n > 0;
    qsort(groups, kept, sizeof *groups, by_count);
    return kept;
}

static int print_counts(struct target *t)
{
    for (size_t i = 0; i < t->seen.loops_n; i++) {
        struct seen_loop *l = &t->seen.loops[i];
        print_loop(l);
        struct group *groups = calloc(l->tasks_n + 1, sizeof *groups);
        if (!groups)
            return complain(EXIT_TROUBLE, ENOMEM, "cannot count");
        size_t n = count_groups(t, l, groups);
        if (n > 0)
            printf("%8s  %-20s %s\n", "tasks", "wait for", "function");
        for (size_t k = 0; k < n; k++) {
            printf("%8zu  %s\n", groups[k].n, groups[k].text);
            free(groups[k].text);
        }
        free(groups);
    }
    return 0;
}

/* ---- ps --json ---- */

static void json_task(struct target *t, const struct seen_loop *l, const struct seen_task *task)
{
    char name[96];
    printf("{\"id\": \"0x%llx\", \"name\": ", (unsigned long long)task->at);
    json_string(task->name);
    printf(", \"state\": \"%s\", \"waits_for\": ", state_words[task->state]);
    json_string(task->state == SEEN_WAITING ? task->what : "");
    printf(", \"detail\": ");
    json_string(task->state == SEEN_WAITING ? task->detail : "");
    if (task->waits_ns >= 0)
        printf(", \"waiting_seconds\": %.3f", (double)task->waits_ns / 1e9);
    printf(", \"cancels\": %u, \"created_at\": ", task->cancels);
    json_string(task->file);
    printf(", \"line\": %d, \"stack\": [", task->line);
    for (size_t i = 0; i < task->calls_n; i++) {
        call_name(t, task->calls[i], name, sizeof name);
        printf("%s", i ? ", " : "");
        json_string(name);
    }
    printf("], \"awaited_by\": [");
    for (size_t i = 0; i < task->awaited_by_n; i++)
        printf("%s\"0x%llx\"", i ? ", " : "", (unsigned long long)l->tasks[task->awaited_by[i]].at);
    printf("]}");
}

static void print_json(struct target *t)
{
    printf("{\"pid\": %d, \"loops\": [", (int)t->peer.pid);
    for (size_t i = 0; i < t->seen.loops_n; i++) {
        const struct seen_loop *l = &t->seen.loops[i];
        printf("%s\n {\"id\": \"0x%llx\", \"tid\": %d, \"backend\": ", i ? "," : "",
               (unsigned long long)l->at, (int)l->tid);
        json_string(l->backend);
        printf(", \"running\": %s, \"ready\": %llu, \"timers\": %u, \"operations\": %llu, "
               "\"descriptors\": %llu, \"jobs\": %llu, \"wakers\": %llu, \"stuck\": %s, "
               "\"torn\": %s, \"tasks\": [",
               l->running ? "true" : "false", (unsigned long long)l->ready, l->timers,
               (unsigned long long)l->ops, (unsigned long long)l->fds, (unsigned long long)l->jobs,
               (unsigned long long)l->wakers, seen_is_stuck(l) ? "true" : "false",
               l->torn ? "true" : "false");
        for (size_t k = 0; k < l->tasks_n; k++) {
            printf("%s\n  ", k ? "," : "");
            json_task(t, l, &l->tasks[k]);
        }
        printf("]}");
    }
    printf("\n]}\n");
}

/* ---- pstree ---- */

struct tree {
    struct target *target;
    struct seen_loop *loop;
    size_t *first, *awaits;  /* whom each task awaits: awaits[first[i] .. first[i + 1]) */
    bool last[2 * DEEP + 2]; /* of each level that is open: is this its last child? */
};

static void branch(const struct tree *t, size_t level, bool last)
{
    for (size_t i = 1; i < level; i++)
        printf("%s", t->last[i] ? "    " : "│   ");
    printf("%s", last ? "└── " : "├── ");
}

/* The calls as one branch from the outermost in, and below the innermost whom it awaits. */
static void draw(struct tree *t, size_t place, size_t level, bool last)
{
    struct seen_task *task = &t->loop->tasks[place];
    size_t n = t->first[place + 1] - t->first[place];
    char name[96];
    branch(t, level, last);
    printf("(T) %s\n", task->name);
    t->last[level] = last;
    if (task->mark || level >= DEEP) {
        branch(t, level + 1, true);
        printf("%s\n", task->mark ? "... (see above)" : "... (too deep)");
        return;
    }
    task->mark =
        true; /* drawn once: who awaits two of those who await it would double it at each level */
    for (size_t i = task->calls_n; i-- > 0 && level + 1 < 2 * DEEP;) {
        call_name(t->target, task->calls[i], name, sizeof name);
        branch(t, ++level, true);
        printf(" %s\n", name);
        t->last[level] = true;
    }
    for (size_t i = 0; i < n; i++)
        draw(t, t->awaits[t->first[place] + i], level + 1, i + 1 == n);
}

/* Turns "awaited by" round. */
static bool turn_round(struct tree *t)
{
    size_t n = t->loop->tasks_n, edges = 0;
    for (size_t i = 0; i < n; i++)
        edges += t->loop->tasks[i].awaited_by_n;
    t->first = calloc(n + 2, sizeof *t->first);
    t->awaits = calloc(edges + 1, sizeof *t->awaits);
    if (!t->first || !t->awaits)
        return false;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < t->loop->tasks[i].awaited_by_n; k++)
            t->first[t->loop->tasks[i].awaited_by[k] + 2]++;
    for (size_t i = 2; i < n + 2; i++)
        t->first[i] += t->first[i - 1];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < t->loop->tasks[i].awaited_by_n; k++)
            t->awaits[t->first[t->loop->tasks[i].awaited_by[k] + 1]++] = i;
    return true;
}

static void reach(struct tree *t, size_t place, char *reached)
{
    /* By hand: chains are as long as programs make them. */
    size_t *stack = malloc((t->loop->tasks_n + 1) * sizeof *stack), n = 0;
    if (!stack)
        return;
    stack[n++] = place;
    reached[place] = 1;
    while (n > 0) {
        size_t at = stack[--n];
        for (size_t i = t->first[at]; i < t->first[at + 1]; i++)
            if (!reached[t->awaits[i]]) {
                reached[t->awaits[i]] = 1;
                stack[n++] = t->awaits[i];
            }
    }
    free(stack);
}

static int print_tree(struct target *target)
{
    for (size_t i = 0; i < target->seen.loops_n; i++) {
        struct tree t = {.target = target, .loop = &target->seen.loops[i]};
        size_t n = t.loop->tasks_n;
        print_loop(t.loop);
        char *reached = calloc(n + 1, 1);
        if (!turn_round(&t) || !reached)
            return complain(EXIT_TROUBLE, ENOMEM, "cannot draw");
        for (size_t k = 0; k < n; k++) {
            if (t.loop->tasks[k].awaited_by_n == 0) {
                reach(&t, k, reached);
                draw(&t, k, 1, true);
            }
        }
        for (size_t k = 0; k < n; k++) {
            if (!reached[k]) { /* nobody outside awaits any of them: they wait for each other */
                printf("A circle of tasks that await each other:\n");
                reach(&t, k, reached);
                draw(&t, k, 1, true);
            }
        }
        free(reached);
        free(t.first);
        free(t.awaits);
    }
    return 0;
}

/* ---- dump ---- */

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
}

struct line {
    uint64_t pc;
    char text[256];
};

static const char *line_of(struct target *t, uint64_t pc, struct place *place)
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

static void dump_task(struct target *t, const struct seen_loop *l, const struct seen_task *task)
{
    char waits[260];
    wait_text(task, waits, sizeof waits);
    printf("\nTask %s, 0x%llx", task->name, (unsigned long long)task->at);
    if (task->file[0])
        printf(", created at %s:%d", task->file, task->line);
    printf("\n  %s%s\n", task->state == SEEN_WAITING ? "waits for " : "", waits);
    for (size_t i = 0; i < task->awaited_by_n; i++)
        printf("  awaited by %s\n", l->tasks[task->awaited_by[i]].name);
    for (size_t i = 0; i < task->calls_n; i++) {
        struct place place;
        const char *line = line_of(t, task->calls[i], &place);
        const char *slash = strrchr(place.file, '/');
        printf("  #%-2zu %s", i, place.function[0] ? place.function : "?");
        if (*line)
            printf(" at %s\n", line);
        else
            printf(" in %s+0x%llx\n", slash ? slash + 1 : place.file,
                   (unsigned long long)place.address);
    }
}

static int print_dump(struct target *t)
{
    for (size_t i = 0; i < t->seen.loops_n; i++) {
        struct seen_loop *l = &t->seen.loops[i];
        if (i > 0)
            putchar('\n');
        print_loop(l);
        for (size_t k = 0; k < l->tasks_n; k++)
            dump_task(t, l, &l->tasks[k]);
    }
    return 0;
}

/* ---- the verbs ---- */

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

static int open_target(struct target *t, int argc, char **argv, bool may_json)
{
    const char *core = NULL, *word = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0 && may_json)
            t->json = true;
        else if (strcmp(argv[i], "--count") == 0 && may_json)
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

static int look(int argc, char **argv, bool may_json, int (*tell)(struct target *t))
{
    struct target t = {.peer = {.core = -1}};
    int status = open_target(&t, argc, argv, may_json);
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

static int tell_ps(struct target *t)
{
    if (t->count && !t->json)
        return print_counts(t);
    if (t->json)
        print_json(t);
    else
        print_table(t);
    return 0;
}

static int ps(int argc, char **argv)
{
    return look(argc, argv, true, tell_ps);
}

static int pstree(int argc, char **argv)
{
    return look(argc, argv, false, print_tree);
}

static int dump(int argc, char **argv)
{
    return look(argc, argv, false, print_dump);
}

#define HOW                                                                                       \
    "The program's memory is read, from outside: it is not stopped, runs nothing for this, and\n" \
    "need not answer. So one that is stopped or hangs is shown as well, and with --core FILE "    \
    "one\n"                                                                                       \
    "that has crashed. Reading needs the same rights as a debugger does.\n"

const struct verb verb_ps = {
    .name = "ps",
    .arguments = "[--json | --count] PID | --core FILE",
    .summary = "List the tasks of a program, what each waits for, and who awaits it",
    .text = HOW
    "\n"
    "Above the tasks of each loop stands what keeps it alive. Where nothing is left that could\n"
    "wake it, that is said. Of a loop in debug mode it is told for how long each task waits.\n"
    "With --count it is only told how many tasks were made where, and wait for what: of a leak\n"
    "they stand first.\n",
    .run = ps,
};

const struct verb verb_pstree = {
    .name = "pstree",
    .arguments = "PID | --core FILE",
    .summary = "Draw who awaits whom in a program",
    .text = HOW,
    .run = pstree,
};

const struct verb verb_dump = {
    .name = "dump",
    .arguments = "PID | --core FILE",
    .summary = "Show every task of a program with its C calls and their source lines",
    .text = HOW
    "\n"
    "Source lines come from addr2line, where it is installed and the program was built with -g.\n"
    "A task that runs at this moment is stopped for some microseconds to see where.\n",
    .run = dump,
};
