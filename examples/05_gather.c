/* SPDX-License-Identifier: MIT
 *
 * 05_gather.c: the results of several tasks, all at once or one by one.
 *
 * Look at: coil_gather waits for all of them and gives the results in the order of the arguments.
 * With coil_as_completed they come in the order in which they are ready. Both only borrow the tasks;
 * COIL_UNREF hands gather our references as well. */
#include <coil.h>

#include <stdio.h>

enum { CITIES = 3 };

struct city {
    const char *name;
    int distance;
};

static struct city cities[CITIES] = {{"Busan", 325}, {"Suwon", 35}, {"Daegu", 237}};

static coil_ret travel(void *arg)
{
    const struct city *city = arg;
    coil_ret rc = coil_sleep(city->distance / 100.0);
    return coil_iserr(rc) ? rc : (coil_ret)city;
}

static void set_out(coil_task *out_tasks[CITIES])
{
    for (int i = 0; i < CITIES; i++)
        out_tasks[i] = coil_create_task(travel, &cities[i]);
}

static coil_ret all_at_once(void)
{
    coil_task *tasks[CITIES];
    coil_ret results[CITIES];
    set_out(tasks);
    coil_ret rc = coil_gather(tasks, CITIES, results, COIL_UNREF);
    for (int i = 0; i < CITIES && !coil_iserr(rc); i++)
        printf("gathered: %s\n", ((const struct city *)results[i])->name);
    return rc;
}

static coil_ret welcome(coil_ret city)
{
    if (coil_iserr(city))
        return city;
    printf("arrived: %s\n", ((const struct city *)city)->name);
    return 0;
}

static coil_ret one_by_one(void)
{
    coil_task *tasks[CITIES], *task;
    set_out(tasks);
    coil_as_completed it;
    coil_ret rc = coil_as_completed_init(&it, tasks, CITIES, COIL_FOREVER);
    while (rc == 0 && (rc = coil_as_completed_next(&it, &task)) > 0)
        rc = welcome(coil_future_result(task));
    coil_as_completed_close(&it);
    for (int i = 0; i < CITIES; i++)
        coil_unref(tasks[i]);
    return rc;
}

static coil_ret journeys(void *unused)
{
    coil_ret rc = all_at_once();
    return coil_iserr(rc) ? rc : one_by_one();
}

int main(void)
{
    return coil_report(coil_run(journeys, NULL));
}
