/* SPDX-License-Identifier: MIT
 *
 * fuzz.h: what a target sees: its input, taken apart byte by byte, and a way to say that something is wrong.
 *
 * A target is one file with LLVMFuzzerTestOneInput: libFuzzer calls it (./dev fuzz), or replay.c with what is kept in
 * corpus/. A call leaves nothing. Those that use no socket share a loop (fuzz_run): to make one costs more than they do. */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <coil.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Always on; both kinds of driver see a crash. */
#define HOLDS(cond)   \
    ((cond) ? (void)0 \
            : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond), abort()))

struct input {
    const uint8_t *at, *end;
};

/* The next byte; 0 after the last one. */
static inline unsigned next(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* Run fn(arg) in virtual time. The loop is renewed at times, so that its clock keeps its nanoseconds in a double; what a
 * run does depends on no earlier one. */
static inline void fuzz_run(coil_fn fn, void *arg)
{
    enum { RUNS_A_LOOP = 1024 };
    static coil_runner *runner;
    static unsigned runs;
    if (runs++ % RUNS_A_LOOP == 0) {
        coil_runner_free(runner);
        runner = coil_runner_new(&(coil_run_opts){
            .size = sizeof(coil_run_opts), .virtual_time = true, .no_signals = true});
        HOLDS(runner);
    }
    HOLDS(coil_runner_run(runner, fn, arg) == 0);
}

/* The same on a loop of its own, with a kernel of its own where that is imaginary. */
static inline void fuzz_run_alone(coil_fn fn, void *arg)
{
    HOLDS(coil_run_with(fn, arg,
                        &(coil_run_opts){.size = sizeof(coil_run_opts),
                                         .virtual_time = true,
                                         .no_signals = true}) == 0);
}

#endif
