/* SPDX-License-Identifier: MIT
 *
 * fault_seen.c: how complete a sweep was; fault_seen.h has the picture.
 *
 * Always true: what was failed was reached, too.
 *
 * The parent of the sweep, its main thread. */
#include "testing/fault_seen.h"

#include "base/env.h"
#include "base/error.h"
#include "testing/fault.h"
#include "testing/fault_calls.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    THINGS_MAX = 4096,
    CALLS_MAX = 256
}; /* beyond them nothing is said, and so they count as missed */

/* An address of code, or of a word. */
struct thing {
    const void *at; /* NULL: a free place */
    bool is_word, failed;
};

static struct thing things[THINGS_MAX];
static bool calls_seen[CALLS_MAX], pairs_failed[CALLS_MAX][ERRORS_MAX];

static void note(const void *at, bool is_word, bool failed)
{
    size_t place = (uintptr_t)at / 4 % THINGS_MAX;
    for (size_t i = 0; i < THINGS_MAX; i++) {
        struct thing *thing = &things[(place + i) % THINGS_MAX];
        if (thing->at && thing->at != at)
            continue;
        thing->at = at;
        thing->is_word = is_word;
        thing->failed |= failed;
        return;
    }
}

void coil__seen_site(const void *site, bool failed)
{
    note(site, false, failed);
}

void coil__seen_wait(const char *word, bool failed)
{
    note(word, true, failed);
}

void coil__seen_call(unsigned call, int error)
{
    calls_seen[call % CALLS_MAX] = true;
    for (unsigned i = 0; error && i < ERRORS_MAX; i++)
        if (coil__calls_error(call, i) == error)
            pairs_failed[call % CALLS_MAX][i] = true;
}

bool coil__seen_failed(const void *at)
{
    size_t place = (uintptr_t)at / 4 % THINGS_MAX;
    for (size_t i = 0; i < THINGS_MAX; i++) {
        const struct thing *thing = &things[(place + i) % THINGS_MAX];
        if (!thing->at || thing->at == at)
            return thing->failed;
    }
    return false;
}

bool coil__seen_failed_with(unsigned call, int error)
{
    for (unsigned i = 0; i < ERRORS_MAX; i++)
        if (coil__calls_error(call, i) == error)
            return pairs_failed[call % CALLS_MAX][i];
    return false;
}

static void write_calls(FILE *file)
{
    for (unsigned call = 0; coil__calls_name(call)[0]; call++) {
        const char *name = coil__calls_name(call);
        int error;
        fprintf(file, "call %s %s\n", name, calls_seen[call] ? "reached" : "unseen");
        for (unsigned i = 0; (error = coil__calls_error(call, i)) != 0; i++)
            fprintf(file, "pair %s %s %s\n", name, coil_errname(-error),
                    pairs_failed[call][i] ? "failed" : "unseen");
    }
}

void coil__seen_write(void)
{
    const char *path = coil__env_text("COIL_FAULT_SEEN");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file)
        return;
    fprintf(file, "anchor %lx\n", (unsigned long)(uintptr_t)coil__fault_sweep);
    for (size_t i = 0; i < THINGS_MAX; i++) {
        const struct thing *thing = &things[i];
        const char *state = thing->failed ? "failed" : "reached";
        if (thing->at && thing->is_word)
            fprintf(file, "wait %s %s\n", state, (const char *)thing->at);
        else if (thing->at)
            fprintf(file, "site %lx %s\n", (unsigned long)(uintptr_t)thing->at, state);
    }
    write_calls(file);
    fclose(file);
}
