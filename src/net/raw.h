/* SPDX-License-Identifier: MIT
 *
 * raw.h: waiting on somebody else's descriptor, for the files of this floor that do. */
#ifndef COIL_NET_RAW_H
#define COIL_NET_RAW_H

#include "net/net.h"
#include "task/task.h"

/* The first look of every call: may the caller wait, and on this number? `must_not_block`: the call would block
 * the loop on a blocking descriptor, so one is refused, not only in debug mode. 0 or an error, recorded. */
int coil__raw_enter(coil_loop *loop, int fd, bool must_not_block, struct net_part **out);

/* Its last word: an error of the kernel's is recorded; cancels and unwinding have their own records. */
coil_ret coil__raw_told(coil_ret rc);

/* Others get their turn if this task has had many. After it the number is asked afresh: it may mean a coil socket
 * by then (-EBADF). */
COIL_MUST coil_ret coil__raw_breathe(struct net_part *part, int fd);

COIL_MUST coil_ret coil__raw_wait(struct net_part *part, struct op_wait *ow,
                                  const struct wait_class *cls);

/* 1, 0, or -errno (not recorded). */
int coil__raw_is_stream(struct net_part *part, int fd);

/* Send some, at least one byte unless n is 0. */
COIL_MUST coil_ret coil__raw_send(struct net_part *part, int fd, const void *p, size_t n);

#endif
