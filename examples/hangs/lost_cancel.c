/* SPDX-License-Identifier: MIT
 *
 * lost_cancel.c: a task takes every error of its wait for one that passes, its own cancel included. Who waits for its end
 * waits for ever. */
#include <coil.h>

static coil_ret poll_server(void *arg)
{
    (void)arg;
    for (;;)
        coil_ignore(coil_sleep(3600)); /* "try again, whatever it was": so it never ends */
    return 0;
}

static coil_ret program(void *arg)
{
    (void)arg;
    coil_task *poller = coil_create_task(poll_server, NULL);
    coil_task_set_name(poller, "poller");
    coil_ret rc = coil_sleep(0.01);
    coil_task_cancel(poller, NULL);
    if (rc == 0)
        rc = coil_join(poller);
    return rc;
}

int main(void)
{
    return coil_report(coil_run(program, NULL));
}
