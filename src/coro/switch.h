/* SPDX-License-Identifier: MIT
 *
 * switch.h: the register swap, the one thing here that C cannot say.
 *
 * switch_x86_64.S and switch_aarch64.S keep what the calling convention makes the callee keep and
 * nothing more: no floating point control words (one environment for each thread), no signal mask,
 * no errno. switch_ucontext.c does the same slowly, anywhere. Which file is built: meson.build,
 * option `switch`. Only coro.h and coro.c use this. */
#ifndef COIL_CORO_SWITCH_H
#define COIL_CORO_SWITCH_H

struct coro;

/* Marks the functions that call what a coroutine is for. They stand together in a section of their own, so that whoever
 * walks up a stack sees where its owner's frames end (frames.c). */
#define CORO_ENTRY __attribute__((section("coil_entry")))

/* Saves the caller's registers on its stack and where that is in *save_sp, then carries on from
 * load_sp. Returns when someone loads what was saved. A balanced call and ret: the CPU predicts it.
 * */
void coil__switch(void **save_sp, void *load_sp);

/* Lays out a first frame on the stack [low, top), `top` a multiple of 16: loading the returned sp
 * calls fn(self), which must not return. */
void *coil__switch_make(void *low, void *top, void (*fn)(struct coro *self), struct coro *self);

#endif
