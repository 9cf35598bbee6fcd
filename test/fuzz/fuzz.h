/* SPDX-License-Identifier: MIT
 *
 * fuzz.h: what a target sees: its input, taken apart byte by byte, and a way to say that something is wrong.
 *
 * A target is one file with LLVMFuzzerTestOneInput: libFuzzer calls it (./dev fuzz), or replay.c with what is kept in
 * corpus/. Each call makes its own loop and leaves nothing. */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

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

#endif
