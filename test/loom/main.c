/* SPDX-License-Identifier: MIT
 *
 * main.c: explores every scenario of the file it is linked with, or those with its argument in their name.
 * COIL_LOOM_MORE=1 in the environment tries orders with one preemption more, and so on.
 *
 * With LOOM_EXPECTS_A_FAILURE it is linked with a file that has a known mistake put in (mutate.py), and is content when some
 * scenario finds it. */
#include "base/memcheck.h"

#include "loom.h"
#include "scenarios.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef LOOM_EXPECTS_A_FAILURE
#define LOOM_EXPECTS_A_FAILURE 0
#endif

/* True if it holds in every order. */
static bool holds(const struct loom_scenario *s, unsigned extra)
{
    struct loom_result r = loom_explore(s->run, s->preemptions + extra);
    if (r.failed) {
        printf("# order %" PRIu64 ": %s\n", r.orders, r.why);
        loom_tell_steps();
    }
    printf("%s %s\n# %" PRIu64 " orders with at most %u preemptions, %" PRIu64 " steps\n",
           r.failed ? "not ok" : "ok", s->name, r.orders, s->preemptions + extra, r.steps);
    return !r.failed;
}

/* True if it finds the mistake that was put in. */
static bool finds(const struct loom_scenario *s)
{
    struct loom_result r = loom_explore(s->run, s->preemptions);
    if (r.failed)
        printf("ok the mistake is found in order %" PRIu64 " of %s\n# %s\n", r.orders, s->name,
               r.why);
    return r.failed;
}

static int find_the_mistake(void)
{
    for (const struct loom_scenario *s = loom_scenarios; s->name; s++)
        if (finds(s))
            return 0;
    puts("not ok no scenario finds the mistake");
    return 1;
}

int main(int argc, char **argv)
{
    const char *more = getenv("COIL_LOOM_MORE"); /* preemptions beyond those of a quick run */
    unsigned extra = more ? (unsigned)atoi(more) : 0;
    bool all = true;
    if (memcheck_watches()) {
        puts("Valgrind cannot follow its stacks");
        return 77;
    }
    if (LOOM_EXPECTS_A_FAILURE)
        return find_the_mistake();
    for (const struct loom_scenario *s = loom_scenarios; s->name; s++)
        if (argc < 2 || strstr(s->name, argv[1]))
            all &= holds(s, extra);
    return !all;
}
