/* SPDX-License-Identifier: MIT
 *
 * dump.c: `coil dump`: every task of another program with its C calls.
 *
 * Elsewhere: looking (seen.c), words and lines (look.c). */
#include "cmd/look.h"
#include "cmd/look_json.h"

#include <stdio.h>
#include <string.h>

static void dump_task(struct target *t, const struct seen_loop *l, const struct seen_task *task)
{
    char waits[LOOK_WAIT_MAX];
    look_wait(l, task, waits, sizeof waits);
    printf("\nTask %s, 0x%llx", task->name, (unsigned long long)task->at);
    if (task->file[0])
        printf(", created at %s:%d", task->file, task->line);
    printf("\n  %s%s\n", task->state == SEEN_WAITING ? "waits for " : "", waits);
    for (size_t i = 0; i < task->awaited_by_n; i++)
        printf("  awaited by %s\n", l->tasks[task->awaited_by[i]].name);
    for (size_t i = 0; i < task->calls_n; i++) {
        struct place place;
        const char *line = look_line(t, task->calls[i], &place);
        const char *slash = strrchr(place.file, '/');
        printf("  #%-2zu %s", i, place.function[0] ? place.function : "?");
        if (*line)
            printf(" at %s\n", line);
        else
            printf(" in %s+0x%llx\n", slash ? slash + 1 : place.file,
                   (unsigned long long)place.address);
    }
}

static void print_dump(struct target *t)
{
    for (size_t i = 0; i < t->seen.loops_n; i++) {
        struct seen_loop *l = &t->seen.loops[i];
        if (i > 0)
            putchar('\n');
        look_print_loop(l);
        for (size_t k = 0; k < l->tasks_n; k++)
            dump_task(t, l, &l->tasks[k]);
    }
}

static int json_tasks(struct target *t, struct seen_loop *l)
{
    for (size_t i = 0; i < l->tasks_n; i++) {
        printf("%s\n  {", i ? "," : "");
        json_task(t, l, &l->tasks[i]);
        printf(", ");
        json_calls(t, &l->tasks[i]);
        printf("}");
    }
    return 0;
}

static int tell_dump(struct target *t)
{
    if (t->json)
        return json_loops(t, "tasks", json_tasks);
    print_dump(t);
    return 0;
}

/* ---- the verb ---- */

static int dump(int argc, char **argv)
{
    return look_at(argc, argv, LOOK_JSON, tell_dump);
}

const struct verb verb_dump = {
    .name = "dump",
    .arguments = "[--json] PID | --core FILE",
    .summary = "Show every task of a program with its C calls and their source lines",
    .text = LOOK_HOW
    "\n"
    "Source lines come from addr2line, where it is installed and the program was built with -g.\n"
    "A task that runs at this moment is stopped for some microseconds to see where.\n",
    .run = dump,
};
