/* SPDX-License-Identifier: MIT
 *
 * e06_too_many_tasks.c: tasks without a limit, and a semaphore that lets a hundred of them at the work.
 *
 *     async def spam_tasks():
 *         while True:
 *             asyncio.create_task(some_coroutine())
 *
 *     sem = asyncio.Semaphore(100)
 *     async def controlled_tasks():
 *         async with sem:
 *             await some_coroutine()
 *
 * The spam ends here at a thousand. The semaphore limits how many are inside its block; the thousand tasks
 * that want to be there exist all the same, each with its stack. */
#include <coil.h>

#include <stdio.h>

enum { TASKS = 1000 };

static int at_work, most_at_work;
static coil_semaphore sem = COIL_SEMAPHORE(100);

static coil_ret some_coroutine(void *unused)
{
    if (++at_work > most_at_work)
        most_at_work = at_work;
    coil_ret rc = coil_sleep(0.01);
    at_work--;
    return rc;
}

static coil_ret controlled_task(void *unused)
{
    coil_ret rc;
    coil_with_semaphore(rc, &sem)
    {
        rc = some_coroutine(NULL);
    }
    return rc;
}

static coil_ret spam_tasks(void)
{
    coil_task_group(group);
    for (int i = 0; i < TASKS; i++)
        coil_group_create_task(&group, some_coroutine, NULL);
    return coil_group_exit(&group, 0);
}

static coil_ret controlled_tasks(void)
{
    coil_task_group(group);
    for (int i = 0; i < TASKS; i++)
        coil_group_create_task(&group, controlled_task, NULL);
    return coil_group_exit(&group, 0);
}

static coil_ret async_main(void *unused)
{
    coil_ret rc = spam_tasks();
    if (coil_iserr(rc))
        return rc;
    printf("spam: %d tasks, max concurrency = %d\n", TASKS, most_at_work);

    most_at_work = 0;
    rc = controlled_tasks();
    if (coil_iserr(rc))
        return rc;
    printf("controlled: %d tasks, max concurrency = %d\n", TASKS, most_at_work);
    return 0;
}

int main(void)
{
    return coil_report(coil_run(async_main, NULL));
}
