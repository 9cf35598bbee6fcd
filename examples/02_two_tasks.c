/* SPDX-License-Identifier: MIT
 *
 * 02_two_tasks.c: two coroutines at the same time, on one thread.
 *
 * Look at: calling `count` would wait for it right there; coil_create_task lets it run beside us, from our next
 * waiting call on. The two take turns whenever one of them sleeps. A task is also the promise of
 * a result: coil_join waits for it, and gives the reference back. */
#include <coil.h>

#include <stdio.h>

struct counter {
    const char *name;
    int up_to;
    double pause;
};

static coil_ret count(void *arg)
{
    const struct counter *counter = arg;
    for (int i = 1; i <= counter->up_to; i++) {
        coil_ret rc = coil_sleep(counter->pause);
        if (coil_iserr(rc))
            return rc;
        printf("%s %d\n", counter->name, i);
    }
    return counter->up_to;
}

static coil_ret two_tasks(void *unused)
{
    struct counter fast = {"fast", 5, 0.2}, slow = {"slow", 2, 0.5};
    coil_task *first = coil_create_task(count, &fast);
    coil_task *second = coil_create_task(count, &slow);
    puts("both are made, none has begun");

    coil_ret a = coil_join(first), b = coil_join(second);
    if (coil_iserr(a) || coil_iserr(b))
        return coil_iserr(a) ? a : b;
    printf("%d and %d\n", (int)a, (int)b);
    return 0;
}

int main(void)
{
    return coil_report(coil_run(two_tasks, NULL));
}
