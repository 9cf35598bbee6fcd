/* SPDX-License-Identifier: MIT
 *
 * 22_log.c: what coil has to say goes where the program's own log goes.
 *
 * Look at: without the hook coil prints to standard error, and that only what asyncio would log. With it each trouble comes as
 * fields: the kind is a word to filter and count by, the message is for people. The task that fails here was given
 * up by who made it; the coroutine was made and never run. */
#include <coil.h>

#include <stdio.h>
#include <string.h>

static const char *file_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "?";
}

/* Any thread that coil works in, one at a time. It may not wait. */
static void to_our_log(const coil_log_record *record, void *arg)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    printf("%s level=%s kind=%s", (const char *)arg, levels[record->level], record->kind);
    if (record->task)
        printf(" task=%s", record->task_name);
    if (record->file)
        printf(" made_in=%s", file_name(record->file));
    if (record->error)
        printf(" error=%s: %s", coil_errname(record->code), record->error->message);
    printf("\n");
}

static coil_ret upload(void *arg)
{
    (void)arg;
    return coil_fail(-ENOSPC, "no room for another picture");
}

static coil_ret program(void *arg)
{
    (void)arg;
    coil_task_opts opts = {.size = sizeof opts, .name = "upload"};
    coil_unref(coil_create_task_opts(upload, NULL, &opts)); /* nobody will look at its error */
    coil_coro_free(coil_coro_new(upload, NULL));            /* and this one never runs */
    return coil_sleep(1);
}

int main(void)
{
    static char name[] = "gallery:";
    coil_set_log(to_our_log, name);
    return coil_report(coil_run(program, NULL));
}
