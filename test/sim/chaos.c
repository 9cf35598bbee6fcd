/* SPDX-License-Identifier: MIT
 *
 * chaos.c: what goes wrong in a run, and when: faults of the kernel, clogged ways, paused hosts, hosts that are killed or
 * switched off. Everything is drawn from the driver's seed. */
#include "swarm.h"

/* Each bad thing has chance of its own, which does not depend on what others did. */
static struct random drawn;

static void draw_anew(void)
{
    drawn.state = (run.seed + 1) * UINT64_C(0xff51afd7ed558ccd) + run.occasions++;
}

static uint32_t below(uint32_t n)
{
    return random_below(&drawn, n);
}

void set_faults(bool on)
{
    draw_anew(); /* a third of the kinds, each with a rate of its own */
    for (int fault = 0; fault < SIM_FAULTS; fault++) {
        static const uint16_t most[SIM_FAULTS] = {40000, 3000,  2000,  100,  20000,
                                                  20000, 10000, 30000, 3000, 40000};
        uint16_t chance = below(3) == 0 ? (uint16_t)below(most[fault]) : 0;
        if (fault == SIM_NO_BUFFER && chance > 0 && below(8) == 0)
            chance = UINT16_MAX; /* so scarce that sending is given up */
        coil__sim_set_fault(any_backend(), (enum sim_fault)fault,
                            on && (run.limits.faults >> fault & 1) ? chance : 0);
    }
}

/* A random part of the ways is clogged, and opens again in another order. */
static void clog_ways(const struct host *h)
{
    for (unsigned i = 1; i < run.hosts_n; i++)
        if (below(2)) {
            coil__sim_clog(any_backend(), i, h->number, run.now_ns + below(20000) * NS_PER_MS);
            run.clogs++;
        }
}

/* Pauses of a run without haste may be long. */
static int64_t some_time_ns(void)
{
    int64_t ns = (int64_t)(1 + below(20000)) * NS_PER_MS;
    return below(4) ? ns : (int64_t)(patience() / 4 * (double)ns) + ns;
}

static unsigned alive(void)
{
    unsigned n = 0;
    for (unsigned i = 1; i < run.hosts_n; i++)
        n += run.hosts[i].loop != NULL;
    return n;
}

void something_happens(void)
{
    static const enum happening often[] = {HAPPENS_CLOG,  HAPPENS_CLOG, HAPPENS_PAUSE,
                                           HAPPENS_PAUSE, HAPPENS_KILL, HAPPENS_NEW_FAULTS};
    draw_anew();
    struct host *h = &run.hosts[1 + below(run.hosts_n - 1)];
    enum happening what = often[below(sizeof often / sizeof *often)];
    int64_t for_ns = some_time_ns();
    bool silently = below(2);
    if (!(run.limits.happenings >> what & 1) || run.chaos >= run.limits.chaos)
        return;
    run.chaos++;
    switch (what) {
    case HAPPENS_CLOG: clog_ways(h); break;
    case HAPPENS_PAUSE:
        h->paused_until = run.now_ns + for_ns;
        h->pauses++;
        run.pauses++;
        break;
    case HAPPENS_KILL:
        if (!h->loop || !h->role->mortal || alive() == 1) /* the world goes with its last host */
            break;
        run.kills++;
        h->play->kills++;
        host_switch_off(h, silently);
        h->back_at = run.now_ns + for_ns;
        break;
    case HAPPENS_NEW_FAULTS: set_faults(true); break;
    case HAPPENINGS: break;
    }
}

/* Quickly one after the other, and then for a while nothing. */
int64_t until_next_chaos_ns(void)
{
    draw_anew();
    int64_t ns = (int64_t)(1 + below(5000)) * NS_PER_MS;
    return run.pace == BRISK || below(4) ? ns : (int64_t)(patience() * 2 * (double)ns);
}

void bring_back(bool all)
{
    for (unsigned i = 1; i < run.hosts_n; i++) {
        struct host *h = &run.hosts[i];
        bool due = all || h->back_at <= run.now_ns;
        if (!h->loop && h->back_at > 0 && due) {
            host_switch_on(h);
        } else if (h->loop && h->role->serves && coil_future_done(h->program) && due) {
            /* It failed to start, for want of a descriptor: again, as a supervisor would. */
            h->play->kills++;
            host_switch_off(h, false);
            host_switch_on(h);
            h->back_at = run.now_ns + NS_PER_S;
        }
    }
}
