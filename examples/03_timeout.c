/* SPDX-License-Identifier: MIT
 *
 * 03_timeout.c: waiting no longer than one wants to.
 *
 * Look at: when the time is up, the waiting call inside `fetch` returns -ECANCELED, `fetch` walks out
 * through its own clean-up, and outside this reads -ETIMEDOUT. coil_wait_for_call limits one call; a
 * coil_timeout scope limits all that is waited for until its exit, here two calls together. */
#include <coil.h>

#include <stdio.h>

static coil_ret fetch(void *seconds)
{
    double delay = *(const double *)seconds;
    printf("  fetching, which takes %g s\n", delay);
    coil_ret rc = coil_sleep(delay);
    if (rc == -ECANCELED)
        puts("  cancelled: putting things away");
    return coil_iserr(rc) ? rc : 42;
}

static coil_ret fetch_twice(double each, double limit)
{
    coil_timeout(scope, limit);
    coil_ret rc = fetch(&each);
    if (!coil_iserr(rc))
        rc = fetch(&each);
    return coil_timeout_exit(&scope, rc);
}

static void tell(const char *what, coil_ret rc)
{
    printf("%s: ", what);
    if (rc == -ETIMEDOUT)
        puts("too late");
    else
        printf("%d\n", (int)rc);
}

static coil_ret timeouts(void *unused)
{
    double quick = 0.1, slow = 10;
    tell("quick, within 1 s", coil_wait_for_call(fetch, &quick, 1.0));
    tell("slow, within 1 s", coil_wait_for_call(fetch, &slow, 1.0));
    tell("two of 0.6 s, within 1 s", fetch_twice(0.6, 1.0));
    return 0;
}

int main(void)
{
    return coil_report(coil_run(timeouts, NULL));
}
