/* SPDX-License-Identifier: MIT
 *
 * events.c: what happens when, in virtual time.
 *
 * Events stand in a heap by (when, order of scheduling). Every holder of an event reserved its place
 * in the heap at birth, so nothing that is under way can be lost for want of memory. */
#include "io/sim/sim.h"

int coil__sim_event_init(struct sim *sim, struct event *event,
                         void (*fire)(struct sim *, struct event *))
{
    int err = coil__heap_reserve(&sim->world->events,
                                 sim->world->events_holders + 1 - sim->world->events.n);
    if (err < 0)
        return err;
    sim->world->events_holders++;
    heap_node_init(&event->node);
    event->fire = fire;
    return 0;
}

void coil__sim_event_fini(struct sim *sim, struct event *event)
{
    if (!event->fire)
        return;
    coil__heap_remove(&sim->world->events, &event->node);
    sim->world->events_holders--;
    event->fire = NULL;
}

void coil__sim_schedule(struct sim *sim, struct event *event, int64_t when_ns)
{
    coil__heap_remove(&sim->world->events, &event->node);
    COIL_CHECK(
        coil__heap_push(&sim->world->events, &event->node, when_ns, sim->world->events_seq++) == 0);
}

void coil__sim_run_due(struct sim *sim)
{
    int64_t now = sim_now(sim);
    const struct heap_entry *first;
    while ((first = heap_min(&sim->world->events)) && first->key <= now) {
        struct event *event = container_of(first->node, struct event, node);
        coil__heap_remove(&sim->world->events, &event->node);
        event->fire(sim, event);
    }
}

/* 10 to 200 us, the way of a near network. */
int64_t coil__sim_latency_ns(struct sim *sim)
{
    int64_t ns = 10 * NS_PER_US + random_below(&sim->world->random, 190 * (uint32_t)NS_PER_US);
    return sim_fault(sim, SIM_SLOW) ? ns * 1000 : ns;
}
