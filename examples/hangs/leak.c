/* SPDX-License-Identifier: MIT
 *
 * leak.c: each request begins a task that waits for an answer nobody gives. Memory grows, slowly. */
#include <coil.h>

static coil_event answered; /* never set: whoever should set it left early */

static coil_ret await_answer(void *arg)
{
    (void)arg;
    return coil_event_wait(&answered);
}

static coil_ret serve(void *arg)
{
    coil_ret rc = 0;
    (void)arg;
    for (int i = 0; rc == 0 && i < 250; i++) {
        coil_unref(coil_create_task(await_answer, NULL));
        rc = coil_sleep(0);
    }
    while (rc == 0)
        rc = coil_sleep(1);
    return rc;
}

int main(void)
{
    return coil_report(coil_run(serve, NULL));
}
