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
#include <stdlib.h>
#include <string.h>

enum {
    THINGS_MAX = 4096, /* beyond them nothing is said, and so they count as missed */
    CALLS_MAX = 256,
    WORDS_MAX = 128,
    LINE_MAX_SIZE = 128,
};

/* An address of code, or of a word. */
struct thing {
    const void *at; /* NULL: a free place */
    bool is_word, reached, failed;
    bool elsewhere; /* another program has failed it */
    unsigned missed;
};

static struct thing things[THINGS_MAX];
static bool calls_seen[CALLS_MAX], pairs_failed[CALLS_MAX][ERRORS_MAX],
    pairs_elsewhere[CALLS_MAX][ERRORS_MAX];
static char words_elsewhere[WORDS_MAX][LINE_MAX_SIZE]; /* waits that another program has ended */
static size_t words_n;

/* Where it stands, or is to stand; NULL: there is no place left. */
static struct thing *thing_of(const void *at)
{
    size_t place = (uintptr_t)at / 4 % THINGS_MAX;
    for (size_t i = 0; i < THINGS_MAX; i++) {
        struct thing *thing = &things[(place + i) % THINGS_MAX];
        if (!thing->at || thing->at == at)
            return thing;
    }
    return NULL;
}

static struct thing *note(const void *at, bool failed)
{
    struct thing *thing = thing_of(at);
    if (!thing)
        return NULL;
    thing->at = at;
    thing->reached = true;
    thing->failed |= failed;
    return thing;
}

void coil__seen_site(const void *site, bool failed)
{
    (void)note(site, failed);
}

void coil__seen_wait(const char *word, bool failed)
{
    struct thing *thing = note(word, failed);
    if (!thing || thing->is_word)
        return;
    thing->is_word = true;
    for (size_t i = 0; i < words_n; i++)
        thing->elsewhere |= strcmp(words_elsewhere[i], word) == 0;
}

void coil__seen_call(unsigned call, int error)
{
    calls_seen[call % CALLS_MAX] = true;
    for (unsigned i = 0; error && i < ERRORS_MAX; i++)
        if (coil__calls_error(call, i) == error)
            pairs_failed[call % CALLS_MAX][i] = true;
}

void coil__seen_missed(const void *at)
{
    struct thing *thing = thing_of(at);
    if (thing)
        thing->missed++;
}

bool coil__seen_failed(const void *at)
{
    const struct thing *thing = thing_of(at);
    return thing && (thing->failed || thing->elsewhere || thing->missed >= MISSES_MAX);
}

bool coil__seen_failed_with(unsigned call, int error)
{
    for (unsigned i = 0; i < ERRORS_MAX; i++)
        if (coil__calls_error(call, i) == error)
            return pairs_failed[call % CALLS_MAX][i] || pairs_elsewhere[call % CALLS_MAX][i];
    return false;
}

/* ---- what the others have failed ---- */

static void pair_elsewhere(const char *name, const char *errname)
{
    for (unsigned call = 0; call < CALLS_MAX && coil__calls_name(call)[0]; call++) {
        int error;
        for (unsigned i = 0; (error = coil__calls_error(call, i)) != 0; i++)
            if (strcmp(coil__calls_name(call), name) == 0 &&
                strcmp(coil_errname(-error), errname) == 0)
                pairs_elsewhere[call][i] = true;
    }
}

static void line_elsewhere(char *line)
{
    unsigned long distance;
    char name[32], errname[32];
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "site %lx", &distance) == 1) {
        const void *at = (const char *)(uintptr_t)coil__fault_sweep + (intptr_t)distance;
        struct thing *thing = thing_of(at);
        if (thing)
            *thing = (struct thing){.at = at, .elsewhere = true};
    } else if (sscanf(line, "pair %31s %31s", name, errname) == 2) {
        pair_elsewhere(name, errname);
    } else if (strncmp(line, "wait ", 5) == 0 && words_n < WORDS_MAX) {
        snprintf(words_elsewhere[words_n++], LINE_MAX_SIZE, "%s", line + 5);
    }
}

void coil__seen_read(void)
{
    const char *path = coil__env_text("COIL_FAULT_SWEPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[LINE_MAX_SIZE];
    if (path && !file) {
        fprintf(stderr, "COIL_FAULT_SWEPT=%s: it cannot be read\n", path);
        exit(2);
    }
    while (file && fgets(line, sizeof line, file))
        line_elsewhere(line);
    if (file)
        fclose(file);
}

/* ---- the file ---- */

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
        if (thing->reached && thing->is_word)
            fprintf(file, "wait %s %s\n", state, (const char *)thing->at);
        else if (thing->reached)
            fprintf(file, "site %lx %s\n", (unsigned long)(uintptr_t)thing->at, state);
    }
    write_calls(file);
    fclose(file);
}
