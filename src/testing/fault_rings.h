/* SPDX-License-Identifier: MIT
 *
 * fault_rings.h: requests to io_uring that end in an error, of which the kernel never heard.
 *
 *     filled in --> coil__rings_spoil: one becomes a request for nothing --> the kernel --> coil__rings_answer: its
 *     completion says -error
 *
 * At most one request of the process is spoilt. Elsewhere: which one, and with what (fault_calls.c). */
#ifndef COIL_TESTING_FAULT_RINGS_H
#define COIL_TESTING_FAULT_RINGS_H

#include "io/ring.h"

#if COIL_HAVE_URING
/* A ring was made; a part of it lies at `memory` (`at`: IORING_OFF_...). */
void coil__rings_made(int fd, const struct io_uring_params *params);
void coil__rings_mapped(int fd, int64_t at, void *memory);

/* `n` requests are about to be handed over. turn(sqe) is an errno for the one that is to fail, else 0. */
void coil__rings_spoil(int fd, unsigned n, int (*turn)(const struct io_uring_sqe *sqe));
/* The kernel was entered: if the spoilt request came back, it failed. */
void coil__rings_answer(int fd);
#endif

#endif
