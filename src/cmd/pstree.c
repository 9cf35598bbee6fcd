/* SPDX-License-Identifier: MIT
 *
 * pstree.c: `coil pstree`: who awaits whom in another program.
 *
 * Elsewhere: looking (seen.c), words (look.c), trees (debug/forest.c) and how they are drawn (debug/draw.c). */
#include "cmd/json.h"
#include "cmd/look.h"
#include "cmd/look_json.h"
#include "debug/draw.h"
#include "debug/forest.h"

#include <errno.h>
#include <stdio.h>

struct tree {
    struct target *target;
    struct seen_loop *loop;
    bool follows; /* JSON: something stands before it in its array */
    bool circle;  /* JSON: the next tree is one */
};

static size_t awaiters(void *arg, size_t task, const size_t **out)
{
    const struct seen_task *t = &((struct tree *)arg)->loop->tasks[task];
    *out = t->awaited_by;
    return t->awaited_by_n;
}

static int no_memory(void)
{
    return complain(EXIT_TROUBLE, ENOMEM, "cannot draw");
}

/* ---- drawn ---- */

static const char *name(void *arg, size_t task)
{
    return ((struct tree *)arg)->loop->tasks[task].name;
}

static size_t calls(void *arg, size_t task)
{
    return ((struct tree *)arg)->loop->tasks[task].calls_n;
}

static bool parked(void *arg, size_t task)
{
    return ((struct tree *)arg)->loop->tasks[task].state != SEEN_RUNNING;
}

/* As asyncio says it: "work work.c:12", or only the name where no line is known. */
static void call(void *arg, size_t task, size_t i, char *out, size_t n)
{
    struct tree *t = arg;
    uint64_t pc = t->loop->tasks[task].calls[i];
    char words[96];
    struct place place;
    look_call(t->target, pc, words, sizeof words);
    const char *line = look_line(t->target, pc, &place);
    snprintf(out, n, "%s%s%s", words, *line ? " " : "", line);
}

static void since(void *arg, size_t task, char *out, size_t n)
{
    look_since(&((struct tree *)arg)->loop->tasks[task], out, n);
}

static void put(void *arg, const char *text)
{
    (void)arg;
    fputs(text, stdout);
}

static int draw(struct target *target)
{
    for (size_t i = 0; i < target->seen.loops_n; i++) {
        struct tree t = {.target = target, .loop = &target->seen.loops[i]};
        struct drawing d = {.n = t.loop->tasks_n,
                            .arg = &t,
                            .awaiters = awaiters,
                            .name = name,
                            .calls = calls,
                            .parked = parked,
                            .call = call,
                            .since = since,
                            .put = put};
        look_print_loop(t.loop);
        if (coil__draw(&d) < 0)
            return no_memory();
    }
    return 0;
}

/* ---- --json ---- */

static void enter(void *arg, size_t task, bool last, enum forest_place place)
{
    struct tree *t = arg;
    const struct seen_task *seen = &t->loop->tasks[task];
    (void)last;
    printf("%s\n  {", t->follows ? "," : "");
    if (place == FOREST_HERE) {
        json_task(t->target, t->loop, seen);
        printf(", ");
        json_calls(t->target, seen);
        printf("%s, \"awaits\": [", t->circle ? ", \"circle\": true" : "");
    } else {
        printf("\"id\": \"0x%llx\", \"name\": ", (unsigned long long)seen->at);
        json_string(seen->name);
        printf(", \"%s\": true, \"awaits\": [", place == FOREST_ABOVE ? "above" : "too_deep");
    }
    t->follows = t->circle = false;
}

static void leave(void *arg, size_t task, bool last)
{
    (void)task, (void)last;
    printf("]}");
    ((struct tree *)arg)->follows = true;
}

static void circle(void *arg)
{
    ((struct tree *)arg)->circle = true;
}

static int json_trees(struct target *target, struct seen_loop *loop)
{
    struct tree t = {.target = target, .loop = loop};
    struct forest f = {.n = loop->tasks_n,
                       .arg = &t,
                       .awaiters = awaiters,
                       .enter = enter,
                       .leave = leave,
                       .circle = circle};
    return coil__forest_walk(&f) < 0 ? no_memory() : 0;
}

static int tell_pstree(struct target *t)
{
    return t->json ? json_loops(t, "trees", json_trees) : draw(t);
}

/* ---- the verb ---- */

static int pstree(int argc, char **argv)
{
    return look_at(argc, argv, LOOK_JSON, tell_pstree);
}

const struct verb verb_pstree = {
    .name = "pstree",
    .arguments = "[--json] PID | --core FILE",
    .summary = "Draw who awaits whom in a program",
    .text = LOOK_HOW
    "\n"
    "Below a task stand its calls, with their source lines as `coil dump` has them, and below the\n"
    "innermost one the tasks that it awaits. Of coil's own calls only the one that the program "
    "made is\n"
    "drawn, and of a loop in debug mode for how long the task waits there. With --json each\n"
    "tree is an object: a task, its calls, and in `awaits` those below it; one that was told\n"
    "before is `\"above\": true`.\n",
    .run = pstree,
};
