/* SPDX-License-Identifier: MIT
 *
 * look_json.c: loops, tasks and calls as JSON. Names of members stay; new ones may come. */
#include "cmd/look_json.h"

#include "cmd/json.h"

#include <stdio.h>

static const char *truth(bool it)
{
    return it ? "true" : "false";
}

static void begin_loop(const struct seen_loop *l)
{
    printf("{\"id\": \"0x%llx\", \"tid\": %d, \"backend\": ", (unsigned long long)l->at,
           (int)l->tid);
    json_string(l->backend);
    printf(", \"running\": %s, \"ready\": %llu, \"timers\": %u, \"operations\": %llu, "
           "\"descriptors\": %llu, \"jobs\": %llu, \"wakers\": %llu, \"stuck\": %s, "
           "\"torn\": %s",
           truth(l->running), (unsigned long long)l->ready, l->timers, (unsigned long long)l->ops,
           (unsigned long long)l->fds, (unsigned long long)l->jobs, (unsigned long long)l->wakers,
           truth(seen_is_stuck(l)), truth(l->torn));
}

int json_loops(struct target *t, const char *name,
               int (*inner)(struct target *t, struct seen_loop *l))
{
    int status = 0;
    printf("{\"pid\": %d, \"loops\": [", (int)t->peer.pid);
    for (size_t i = 0; i < t->seen.loops_n && !status; i++) {
        printf("%s\n ", i ? "," : "");
        begin_loop(&t->seen.loops[i]);
        printf(", \"%s\": [", name);
        status = inner(t, &t->seen.loops[i]);
        printf("]}");
    }
    printf("\n]}\n");
    return status;
}

void json_task(struct target *t, const struct seen_loop *l, const struct seen_task *task)
{
    bool waits = task->state == SEEN_WAITING;
    printf("\"id\": \"0x%llx\", \"name\": ", (unsigned long long)task->at);
    json_string(task->name);
    printf(", \"state\": \"%s\", \"waits_for\": ", look_states[task->state]);
    json_string(waits ? task->what : "");
    printf(", \"detail\": ");
    json_string(waits ? task->detail : "");
    if (task->waits_ns >= 0)
        printf(", \"waiting_seconds\": %.3f", (double)task->waits_ns / 1e9);
    printf(", \"object\": ");
    json_string(waits && task->which[0] ? task->which : NULL);
    printf(", \"object_id\": ");
    if (waits && task->object)
        printf("\"0x%llx\"", (unsigned long long)task->object);
    else
        printf("null");
    printf(", \"others_there\": %zu", waits ? task->also_n : 0);
    printf(", \"cancels\": %u, \"created_at\": ", task->cancels);
    json_string(task->file);
    printf(", \"line\": %d, \"awaited_by\": [", task->line);
    for (size_t i = 0; i < task->awaited_by_n; i++)
        printf("%s\"0x%llx\"", i ? ", " : "", (unsigned long long)l->tasks[task->awaited_by[i]].at);
    printf("]");
}

void json_calls(struct target *t, const struct seen_task *task)
{
    printf("\"stack\": [");
    for (size_t i = 0; i < task->calls_n; i++) {
        struct place place;
        const char *line = look_line(t, task->calls[i], &place);
        printf("%s{\"function\": ", i ? ", " : "");
        json_string(place.function[0] ? place.function : NULL);
        printf(", \"source\": ");
        json_string(*line ? line : NULL);
        printf(", \"file\": ");
        json_string(place.file);
        printf(", \"address\": \"0x%llx\"}", (unsigned long long)place.address);
    }
    printf("]");
}
