/* SPDX-License-Identifier: MIT
 *
 * test_storm.c: echo servers, clients, pairs and raw descriptors on the virtual kernel, each seed with another mix of
 * faults; what is read must be what was written, and all must be home in the end.
 *
 *     each seed: a kernel, a mix --> programs with ledgers --> faults stop --> all ends --> nothing is left
 *
 * Elsewhere: the programs (programs.c), seeds and their replay (seeds.h). */
#include "seeds.h"
#include "storm.h"

enum { SEEDS = 120, CLIENTS_MAX = 6 };
#define VIRTUAL_LIMIT 3600.0 /* seconds that one seed may take by the loop's clock */

struct storm storm;

/* An error that the mix of faults explains. */
void must_be_explained(coil_ret rc)
{
    if (!coil_iserr(rc))
        return;
    storm.failed++;
    if (!storm.disturbed)
        fail_msg("%s: %s, in a mix that makes none", coil_errname(rc),
                 coil_last_error() ? coil_last_error()->message : "");
}

/* ---- one seed ---- */

static void on_report(coil_loop *loop, const coil_exception_context *context, void *arg)
{
    if (!storm.disturbed)
        fail_msg("the loop reported: %s", context->message);
}

/* When the faults have stopped, whatever is begun must end well. */
static void live_after_all(void)
{
    storm.disturbed = false;
    coil_ret rc = -EAGAIN;
    for (int i = 0; i < 3 && rc < 0; i++) { /* a server that pauses looks again after a second */
        coil_timeout(soon, 30);
        rc = coil_timeout_exit(&soon, converse(999, 5000));
    }
    if (rc < 0)
        fail_msg("after the faults: %s", coil_errname(rc));
}

static coil_ret play(void *arg)
{
    coil_task *tasks[CLIENTS_MAX + 4];
    unsigned who[CLIENTS_MAX], n = 1 + below(CLIENTS_MAX);
    double began = coil_loop_time(NULL);
    coil_loop_set_exception_handler(NULL, on_report, NULL);
    if (coil_start_server(echo, NULL, "127.0.0.1", "0", &storm.server) < 0)
        return 0; /* no descriptor for it */
    for (unsigned i = 0; i < n; i++) {
        who[i] = i + 1;
        tasks[i] = coil_create_task(client, &who[i]);
    }
    tasks[n] = coil_create_task(pair, NULL);
    tasks[n + 1] = coil_create_task(raw_pipe, NULL);
    tasks[n + 2] = coil_create_task(doors, NULL);
    tasks[n + 3] = coil_create_task(callbacks, NULL);
    for (unsigned i = 0; i < n + 4; i++)
        assert_int_equal(coil_join(tasks[i]), 0);
    vkernel_calm();
    live_after_all();
    for (int i = 0; i < 5; i++) { /* what was cancelled has its last word late */
        vkernel_pass(10 * NS_PER_MS);
        coil_ignore(coil_sleep(0.1));
    }
    if (vkernel_orphans())
        fail_msg("%u requests keep files open that were closed", vkernel_orphans());
    coil_server_close(storm.server);
    assert_int_equal(coil_server_wait_closed(storm.server), 0);
    coil_server_free(storm.server);
    if (coil_loop_time(NULL) - began > VIRTUAL_LIMIT)
        fail_msg("it took %.0f seconds", coil_loop_time(NULL) - began);
    return 0;
}

static void choose_faults(const char *backend)
{
    storm.faults = mix_of_faults(&storm.random);
    /* And those that a user may notice. */
    storm.faults.no_memory = mix_maybe(&storm.random) / 4;
    storm.faults.aborts = below(6) ? 0 : 100;
    storm.faults.resets = below(6) ? 0 : 1;
    storm.faults.fds_max = below(8) ? 0 : 14 + below(24);
    const struct vkernel_faults *f = &storm.faults;
    bool is_uring = backend[0] == 'u';
    storm.disturbed = f->aborts || f->resets || f->fds_max || (f->no_memory && !is_uring);
}

/* What happened in all seeds: proof that the faults were there. */
static struct {
    struct vkernel_counts kernel;
    unsigned complete, failed, cancelled;
} sums;

static void add_counts(void)
{
    const unsigned *one = (const unsigned *)vkernel_counted();
    unsigned *all = (unsigned *)&sums.kernel;
    for (size_t i = 0; i < sizeof sums.kernel / sizeof *all; i++)
        all[i] += one[i];
    sums.complete += storm.complete;
    sums.failed += storm.failed;
    sums.cancelled += storm.cancelled;
}

static uint64_t one_storm(const void *arg, uint64_t seed)
{
    const char *backend = arg;
    storm = (struct storm){.random = {seed * 1000003 + 17}};
    choose_faults(backend);
    vkernel_begin(seed, &storm.faults);
    coil_run_opts opts = {
        .size = sizeof opts, .backend = backend, .virtual_time = true, .no_signals = true};
    coil_ret rc = coil_run_with(play, NULL, &opts);
    uint64_t hash = vkernel_trace_hash();
    const char *left = vkernel_end();
    bool began = storm.server != NULL;
    if (rc < 0 &&
        (began || !storm.disturbed)) /* else there was no memory, no descriptor to begin */
        fail_msg("%s: %s", coil_errname(rc), coil_last_error()->message);
    if (left)
        fail_msg("not home: %s", left);
    add_counts();
    return hash;
}

static void storms_on(const char *test, const char *backend)
{
    uint64_t n = seed_count(SEEDS);
    memset(&sums, 0, sizeof sums);
    seeds_play(test, SEEDS, one_storm, backend);
    const struct vkernel_counts all = sums.kernel;
    if (n >= SEEDS) { /* or the mixes are not what they say */
        assert_true(all.spurious && all.interrupted && all.hup_with_data && sums.cancelled &&
                    sums.failed);
        if (backend[0] == 'u')
            assert_true(all.overflows && all.ended && all.refused && all.races);
        if (strcmp(backend, "uring") == 0)
            assert_true(all.no_buffers > 0);
    }
    print_message("%s: %llu seeds, %u exchanges, %u errors that were explained, %u given up; %u "
                  "calls, %u enters, %u completions (%u overflowed, %u ended), "
                  "%u without a buffer, %u refused, %u of %u cancels raced, %u for nothing, "
                  "%u interrupted, %u hung up over data\n",
                  backend, (unsigned long long)n, sums.complete, sums.failed, sums.cancelled,
                  all.calls, all.enters, all.completions, all.overflows, all.ended, all.no_buffers,
                  all.refused, all.races, all.cancels, all.spurious, all.interrupted,
                  all.hup_with_data);
}

COIL_TEST_PLAIN(storms_on_uring)
{
    storms_on("storms_on_uring", "uring");
}

COIL_TEST_PLAIN(storms_on_an_old_uring)
{
    storms_on("storms_on_an_old_uring", "uring-5.15");
}

COIL_TEST_PLAIN(storms_on_epoll)
{
    storms_on("storms_on_epoll", "epoll");
}

COIL_TEST_PLAIN(storms_on_poll)
{
    storms_on("storms_on_poll", "poll");
}

/* The hash covers every call, result, completion and event, and when they were. */
COIL_TEST_PLAIN(one_seed_is_one_story)
{
    static const char *const backends[] = {"uring", "uring-5.15", "epoll", "poll"};
    for (int i = 0; i < 4; i++)
        for (uint64_t seed = 1; seed <= 10; seed++) {
            uint64_t first = one_storm(backends[i], seed);
            assert_true(one_storm(backends[i], seed) == first);
            assert_true(one_storm(backends[i], seed + 1) != first);
        }
}

COIL_TEST_MAIN()
