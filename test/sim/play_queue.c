/* SPDX-License-Identifier: MIT
 *
 * play_queue.c: a workshop inside one host: queues, a semaphore, a lock and a condition, with somebody who cancels.
 *
 *     producers --put--> [ raw ] --get--> workers --put--> [ ready ] --get--> counter --notify--> boss
 *                                            |  tools: a semaphore
 *                          saboteur --cancel-+
 *
 * Any wait may be cut short, by a timeout or by the saboteur, and is then made again: it had no effect, or its effect is kept. In
 * half of the batches there are no time limits, and the saboteur stops some time: a wake-up that is lost then stays lost.
 * Ledger: each item is put, taken and counted once, tools come back, no more than there are is in use. Batches come at the
 * run's pace; a host that is killed in the middle begins anew. */
#include "swarm.h"

#include <stdlib.h>

enum { ITEMS_MAX = 120, WORKERS_MAX = 6, PRODUCERS_MAX = 4 };

struct item {
    unsigned put, taken, counted;
};

struct shop {
    struct random random;
    struct item items[ITEMS_MAX];
    unsigned items_n, producers_n, workers_n, tools_n;
    unsigned tools_used, counted;
    unsigned sabotages; /* so many are left */
    unsigned working;   /* workers that did not go home */
    bool patient;       /* nobody has a time limit: who is not woken is not helped by one */
    bool over;
    coil_queue raw, ready;
    coil_semaphore tools;
    coil_lock lock;
    coil_condition changed;
    coil_task *workers[WORKERS_MAX];
};

struct part {
    struct shop *shop;
    unsigned number;
};

static int by_address(const void *a, const void *b)
{
    return a < b ? -1 : a > b;
}

/* At the run's pace, so that a pause of hours is not one of a thousand time limits. */
static double up_to(struct shop *shop, double seconds)
{
    return random_below(&shop->random, 1000) * seconds / 1000.0 * (run.calm ? 1 : patience());
}

/* ---- waits that may be cut short ---- */

enum wait { PUT_RAW, GET_RAW, PUT_READY, GET_READY, TAKE_TOOL, WORK };

static coil_ret wait_once(struct shop *shop, enum wait what, void *item, void **out_item)
{
    switch (what) {
    case PUT_RAW: return coil_queue_put(&shop->raw, item);
    case GET_RAW: return coil_queue_get(&shop->raw, out_item);
    case PUT_READY: return coil_queue_put(&shop->ready, item);
    case GET_READY: return coil_queue_get(&shop->ready, out_item);
    case TAKE_TOOL: return coil_semaphore_acquire(&shop->tools);
    case WORK: return coil_sleep(up_to(shop, 4));
    }
    return -EINVAL;
}

static bool was_cut_short(coil_ret rc)
{
    if (rc == -ECANCELED && coil_task_cancelling(coil_current_task()) > 0) {
        while (coil_task_uncancel(coil_current_task()) > 0)
            ;
        return true;
    }
    return rc == -ETIMEDOUT;
}

/* Who is cancelled with empty hands may go home, as long as somebody stays: then what woke him is for another one. */
static bool goes_home(struct shop *shop, enum wait what, coil_ret rc)
{
    bool may = what == GET_RAW && rc == -ECANCELED && shop->working > 1;
    if (!may || random_below(&shop->random, 3) > 0)
        return false;
    shop->working--;
    return was_cut_short(rc);
}

/* As often as it takes. Half of the tries have a time limit, which may be nothing at all. */
static coil_ret wait_for(struct shop *shop, enum wait what, void *item, void **out_item)
{
    coil_ret rc;
    do {
        bool limited = !shop->patient && random_below(&shop->random, 2);
        double limit = limited ? up_to(shop, 3) : COIL_FOREVER;
        coil_timeout(patient, limit);
        rc = coil_timeout_exit(&patient, wait_once(shop, what, item, out_item));
        if (goes_home(shop, what, rc))
            return COIL_ESHUTDOWN;
    } while (was_cut_short(rc) && what != WORK);
    return rc == -ETIMEDOUT ? 0 : rc;
}

/* ---- those who work ---- */

static coil_ret produce(void *arg)
{
    const struct part part = *(struct part *)arg;
    struct shop *shop = part.shop;
    coil_ret rc = 0;
    for (unsigned i = part.number; i < shop->items_n && rc >= 0; i += shop->producers_n) {
        rc = wait_for(shop, PUT_RAW, &shop->items[i], NULL);
        shop->items[i].put += rc >= 0;
        if (rc >= 0 && random_below(&shop->random, 20) == 0)
            rc = coil_sleep(pause_s(&shop->random) / 4);
    }
    return rc;
}

static coil_ret use_tool(struct shop *shop)
{
    coil_ret rc = wait_for(shop, TAKE_TOOL, NULL, NULL);
    if (coil_iserr(rc))
        return rc;
    if (++shop->tools_used > shop->tools_n)
        failed("queue: more tools are in use than there are");
    rc = wait_for(shop, WORK, NULL, NULL);
    shop->tools_used--;
    coil_semaphore_release(&shop->tools);
    return rc == -ECANCELED ? 0 : rc;
}

static coil_ret work(void *arg)
{
    struct shop *shop = ((struct part *)arg)->shop;
    for (;;) {
        void *taken;
        coil_ret rc = wait_for(shop, GET_RAW, NULL, &taken);
        if (coil_iserr(rc))
            return rc == COIL_ESHUTDOWN ? 0 : rc;
        struct item *item = taken;
        if (++item->taken != 1)
            failed("queue: an item was taken twice");
        rc = use_tool(shop);
        if (!coil_iserr(rc))
            rc = wait_for(shop, PUT_READY, item, NULL);
        if (coil_iserr(rc))
            return rc;
        coil_queue_task_done(&shop->raw);
    }
}

static coil_ret count(void *arg)
{
    struct shop *shop = arg;
    for (;;) {
        void *taken;
        coil_ret rc = wait_for(shop, GET_READY, NULL, &taken);
        if (coil_iserr(rc))
            return rc == COIL_ESHUTDOWN ? 0 : rc;
        struct item *item = taken;
        if (++item->counted != 1)
            failed("queue: an item came out twice");
        rc = coil_lock_acquire(&shop->lock);
        if (coil_iserr(rc))
            return rc;
        shop->counted++;
        coil_condition_notify_all(&shop->changed);
        coil_lock_release(&shop->lock);
        coil_queue_task_done(&shop->ready);
    }
}

static coil_ret sabotage(void *arg)
{
    struct shop *shop = arg;
    coil_ret rc = 0;
    while (!shop->over && rc >= 0 && shop->sabotages-- > 0) {
        rc = coil_sleep(0.001 + up_to(shop, 3));
        coil_task *victim = shop->workers[random_below(&shop->random, shop->workers_n)];
        if (!shop->over)
            coil_task_cancel(victim, "sabotage");
    }
    return rc;
}

/* ---- a batch ---- */

static coil_ret all_counted(void *arg)
{
    const struct shop *shop = arg;
    return shop->counted == shop->items_n;
}

static coil_ret wait_for_all(struct shop *shop)
{
    coil_ret rc = coil_lock_acquire(&shop->lock);
    if (coil_iserr(rc))
        return rc;
    do {
        coil_timeout(patient, 1 + up_to(shop, 60));
        rc = coil_timeout_exit(&patient,
                               coil_condition_wait_for(&shop->changed, all_counted, shop));
    } while (rc == -ETIMEDOUT);
    if (rc != COIL_EEXIT)
        coil_lock_release(&shop->lock);
    if (!coil_iserr(rc))
        rc = coil_queue_join(&shop->raw);
    if (!coil_iserr(rc))
        rc = coil_queue_join(&shop->ready);
    return coil_iserr(rc) ? rc : 0;
}

static coil_ret run_batch(struct shop *shop)
{
    coil_task_group(group);
    for (unsigned i = 0; i < shop->workers_n; i++) {
        struct part part = {shop, i};
        shop->workers[i] = coil_ref(coil_group_create_task_with(&group, work, &part, sizeof part));
    }
    for (unsigned i = 0; i < shop->producers_n; i++) {
        struct part part = {shop, i};
        coil_group_create_task_with(&group, produce, &part, sizeof part);
    }
    coil_group_create_task(&group, count, shop);
    coil_group_create_task(&group, sabotage, shop);
    coil_ret rc = wait_for_all(shop);
    shop->over = true;
    coil_queue_shutdown(&shop->raw, false);
    coil_queue_shutdown(&shop->ready, false);
    rc = coil_group_exit(&group, rc);
    for (unsigned i = 0; i < shop->workers_n; i++)
        coil_unref(shop->workers[i]);
    return rc;
}

static void check_books(struct shop *shop)
{
    for (unsigned i = 0; i < shop->items_n; i++)
        if (shop->items[i].put != 1 || shop->items[i].taken != 1 || shop->items[i].counted != 1)
            failed("queue: item %u was put %u, taken %u and counted %u times", i,
                   shop->items[i].put, shop->items[i].taken, shop->items[i].counted);
    if (shop->tools_used != 0 || shop->tools.value_ != (intptr_t)shop->tools_n)
        failed("queue: a tool is missing, or there is one more");
}

static coil_ret batch(uint64_t seed)
{
    struct shop *shop = calloc(1, sizeof *shop);
    if (!shop)
        return -ENOMEM;
    shop->random.state = seed;
    shop->items_n = 1 + random_below(&shop->random, ITEMS_MAX);
    shop->producers_n = 1 + random_below(&shop->random, PRODUCERS_MAX);
    shop->workers_n = 1 + random_below(&shop->random, WORKERS_MAX);
    shop->working = shop->workers_n;
    shop->tools_n = 1 + random_below(&shop->random, 3);
    shop->patient = random_below(&shop->random, 2);
    shop->sabotages = 1 + random_below(&shop->random, 40);
    shop->raw = (coil_queue)COIL_QUEUE(1 + random_below(&shop->random, 5));
    shop->ready = random_below(&shop->random, 2)
                      ? (coil_queue)COIL_LIFO_QUEUE(1 + random_below(&shop->random, 5))
                      : (coil_queue)COIL_PRIORITY_QUEUE(3, by_address);
    shop->tools = (coil_semaphore)COIL_SEMAPHORE(shop->tools_n);
    shop->changed = (coil_condition)COIL_CONDITION(&shop->lock);
    coil_ret rc = run_batch(shop);
    if (rc == 0)
        check_books(shop);
    else if (rc != COIL_EEXIT)
        failed("queue: a batch ends with %s", coil_strerror(rc));
    struct play *play = host_here()->play;
    play->whole += rc == 0;
    play->broken += rc != 0;
    play->bytes += rc == 0 ? shop->items_n : 0; /* items, here */
    coil_queue_fini(&shop->raw);
    coil_queue_fini(&shop->ready);
    free(shop);
    return rc;
}

static coil_ret program(void *arg)
{
    struct host *host = arg;
    struct random random = {host->seed + host->lives};
    unsigned talks = talks_of(&random, 12);
    coil_ret rc = 0;
    /* Each that was begun counts, in whichever life. */
    while (host->done < talks && !run.calm && rc >= 0) {
        host->done++;
        rc = batch(random_u64(&random));
        if (rc >= 0)
            rc = coil_sleep(pause_s(&random));
    }
    return rc;
}

static coil_ret last_batch(void *host)
{
    return batch(run.seed);
}

static void begin(struct play *play)
{
    static const struct role role = {.program = program, .mortal = true};
    for (unsigned n = clients_of(play, 3); n > 0; n--)
        host_add(play, &role);
}

struct play play_queue = {.name = "queue", .begin = begin, .last = last_batch};
