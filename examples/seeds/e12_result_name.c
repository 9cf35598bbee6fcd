/* SPDX-License-Identifier: MIT
 *
 * e12_result_name.c: a result with fields, used as if there had been no waiting.
 *
 *     result = yield from asyncio.Task(another_coroutine())
 *     if not result.name:
 *         ...
 *
 * A result is one word, here a pointer to memory of its own. Who takes it owns it; if nobody does, say
 * because the waiting task was cancelled, free_result gets it back. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>

struct result {
    const char *name;
};

static coil_ret another_coroutine(void *name)
{
    coil_ret rc = coil_sleep(1);
    if (coil_iserr(rc))
        return rc;
    struct result *result = malloc(sizeof *result);
    if (!result)
        return coil_fail(-ENOMEM, "no memory for the result");
    result->name = name;
    return (coil_ret)result;
}

static void free_result(coil_ret result)
{
    free((void *)result);
}

static coil_ret look_at(const char *name)
{
    coil_task_opts opts = {.size = sizeof opts, .free_result = free_result};
    coil_ret rc = coil_join(coil_create_task_opts(another_coroutine, name, &opts));
    if (coil_iserr(rc))
        return rc;

    struct result *result = (struct result *)rc;
    if (!result->name)
        puts("the result has no name");
    else
        printf("the result is named %s\n", result->name);
    free(result);
    return 0;
}

static coil_ret some_coroutine(void *unused)
{
    coil_ret rc = look_at("coil");
    return coil_iserr(rc) ? rc : look_at(NULL);
}

int main(void)
{
    return coil_report(coil_run(some_coroutine, NULL));
}
