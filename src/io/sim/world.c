/* SPDX-License-Identifier: MIT
 *
 * world.c: several hosts in one imaginary world.
 *
 *     loop A -- sim 1 --+                       host 1: descriptors, processes, ops
 *     loop B -- sim 2 --+-- [ sim_world ]       names, what is under way, chance, the trace
 *     loop C -- sim 3 --+
 *
 * Each host is a backend with a loop of its own; one thread turns the loops, in an order that it chooses, and moves all
 * their clocks together. So a host that is not turned stands still, as a stopped process does, while the kernel goes
 * on receiving for it.
 *
 * Always true:
 *   - events fire in the world's order, whichever host's wait comes to them;
 *   - a file's ops are tried in its own host's wait only;
 *   - a channel outlives the host at one end: what it still carries arrives, or is answered by a reset. */
#include "io/sim/sim.h"

#include <netinet/in.h>

#define NETWORK 0x0a000000u /* 10.0.0.0/24 */

struct sim_world *coil__sim_world_new(uint64_t seed)
{
    struct sim_world *world = coil__zalloc(sizeof *world);
    if (!world)
        return NULL;
    world->refs = 1;
    list_init(&world->bound);
    list_init(&world->nodes);
    world->random.state = seed;
    world->ephemeral = 40000 + random_below(&world->random, 10000);
    return world;
}

void coil__sim_world_leave(struct sim *sim)
{
    struct sim_world *world = sim->world;
    if (--world->refs == 0) {
        /* Messages still under way. */
        const struct heap_entry *first;
        while ((first = heap_min(&world->events))) {
            struct event *event = container_of(first->node, struct event, node);
            coil__heap_remove(&world->events, &event->node);
            event->fire(sim, event);
        }
        coil__sim_nodes_free(world);
        coil__heap_free(&world->events);
        coil__free(world);
    } else {
        world->hosts[sim->host] = NULL;
    }
    sim->world = NULL;
}

void coil__sim_join(struct backend *b, unsigned host, struct backend *other)
{
    struct sim *sim = sim_of(b);
    COIL_CHECK(sim->files_n == 0 && host > 0 && host < SIM_HOSTS && sim->world->refs == 1);
    if (other) {
        struct sim_world *world = sim_of(other)->world;
        world->refs++;
        coil__sim_world_leave(sim);
        sim->world = world;
    } else {
        sim->world->hosts[sim->host] = NULL;
    }
    COIL_CHECK(!sim->world->hosts[host]);
    sim->world->hosts[host] = sim;
    sim->host = host;
}

/* ---- addresses ---- */

static bool is_in_network(const struct name *name)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&name->addr;
    return name->addr.ss_family == AF_INET && (ntohl(in->sin_addr.s_addr) & ~0xffu) == NETWORK;
}

unsigned coil__sim_host_of(unsigned own, const struct name *name)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&name->addr;
    return is_in_network(name) ? (ntohl(in->sin_addr.s_addr) & 0xffu) % SIM_HOSTS : own;
}

void coil__sim_own_address(const struct sim *sim, struct name *name)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&name->addr;
    if (sim->host > 0 && is_in_network(name))
        in->sin_addr.s_addr = htonl(NETWORK | sim->host);
}

/* ---- what happens to hosts and the ways between them ---- */

void coil__sim_clog(struct backend *b, unsigned from, unsigned to, int64_t until_ns)
{
    sim_of(b)->world->clogged_until[from % SIM_HOSTS][to % SIM_HOSTS] = until_ns;
}

void coil__sim_kill(struct backend *b, bool silently)
{
    struct sim *sim = sim_of(b);
    coil__sim_note(sim, sim->host, silently);
    coil__sim_processes_kill(sim);
    for (uint32_t i = 0; i < sim->files_size; i++) {
        struct file *file = sim->files[i];
        if (!file || file->kind == FILE_PROCESS)
            continue;
        list_remove(&file->bound);
        file->local.len = 0;
        coil__sim_event_fini(sim, &file->connecting);
        if (silently)
            LIST_FOREACH(l, &file->accept_queue)
                coil__sim_stream_sever(sim, container_of(l, struct file, accept_link), true);
        coil__sim_listener_close(sim, file);
        coil__sim_stream_sever(sim, file, silently);
        file->state = STATE_RESET;
        file->error = 0;
    }
    sim->dead = true;
}

uint64_t coil__sim_faults(struct backend *b, enum sim_fault fault)
{
    return sim_of(b)->world->faults[fault];
}
