/* SPDX-License-Identifier: MIT
 *
 * 01_hello.c: a coroutine, and a loop to run it.
 *
 * Look at: coil_sleep waits for a second without stopping the thread, and `hello` goes on below it as any
 * function does. Whatever waits can fail, if only because the task was cancelled: look at what it returns.
 * coil_run makes a loop, runs one coroutine on it and closes it; coil_report tells of an error and
 * gives main its exit status. */
#include <coil.h>

#include <stdio.h>

static coil_ret hello(void *unused)
{
    puts("hello ...");
    coil_ret rc = coil_sleep(1);
    if (coil_iserr(rc))
        return rc;
    puts("... world");
    return 0;
}

int main(void)
{
    return coil_report(coil_run(hello, NULL));
}
