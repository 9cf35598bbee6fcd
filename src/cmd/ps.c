/* SPDX-License-Identifier: MIT
 *
 * ps.c: `coil ps`: the tasks of another program, what each waits for, and who awaits it.
 *
 * Elsewhere: looking (seen.c), words (look.c). The form is that of `python -m asyncio ps`. */
#include "cmd/json.h"
#include "cmd/look.h"
#include "cmd/look_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "coil_sleep -> work -> main", cut where the room ends. */
static void chain_text(struct target *t, const struct seen_task *task, char *out, size_t n)
{
    char name[96];
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < task->calls_n && at < n; i++) {
        look_call(t, task->calls[i], name, sizeof name);
        int more = snprintf(out + at, n - at, "%s%s", i ? " -> " : "", name);
        at += more > 0 ? (size_t)more : 0;
    }
}

static void print_row(struct target *t, const struct seen_loop *l, const struct seen_task *task)
{
    char chain[400], awaiter_chain[400], waits[LOOK_WAIT_MAX];
    chain_text(t, task, chain, sizeof chain);
    look_wait(l, task, waits, sizeof waits);
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
        look_print_loop(l);
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

/* ---- --count ---- */

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
    look_call(t, task->fn, name, sizeof name);
    if (task->file[0])
        snprintf(made, sizeof made, ", created at %s:%d", task->file, task->line);
    snprintf(out, GROUP_TEXT, "%-20s %s%s",
             task->state == SEEN_WAITING ? task->what : look_states[task->state], name, made);
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
        look_print_loop(l);
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

/* ---- the verb ---- */

static void json_row(struct target *t, const struct seen_loop *l, size_t place)
{
    printf("%s\n  {", place ? "," : "");
    json_task(t, l, &l->tasks[place]);
    printf(", \"stack\": [");
    for (size_t i = 0; i < l->tasks[place].calls_n; i++) {
        char name[96];
        look_call(t, l->tasks[place].calls[i], name, sizeof name);
        printf("%s", i ? ", " : "");
        json_string(name);
    }
    printf("]}");
}

static int json_rows(struct target *t, struct seen_loop *l)
{
    for (size_t i = 0; i < l->tasks_n; i++)
        json_row(t, l, i);
    return 0;
}

static int tell_ps(struct target *t)
{
    if (t->json)
        return json_loops(t, "tasks", json_rows);
    if (t->count)
        return print_counts(t);
    print_table(t);
    return 0;
}

static int ps(int argc, char **argv)
{
    return look_at(argc, argv, LOOK_JSON | LOOK_COUNT, tell_ps);
}

const struct verb verb_ps = {
    .name = "ps",
    .arguments = "[--json | --count] PID | --core FILE",
    .summary = "List the tasks of a program, what each waits for, and who awaits it",
    .text = LOOK_HOW
    "\n"
    "Above the tasks of each loop stands what keeps it alive. Where nothing is left that could\n"
    "wake it, that is said. Of a loop in debug mode it is told for how long each task waits.\n"
    "With --count it is only told how many tasks were made where, and wait for what: of a leak\n"
    "they stand first.\n",
    .run = ps,
};
