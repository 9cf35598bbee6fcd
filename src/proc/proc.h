/* SPDX-License-Identifier: MIT
 *
 * proc.h: what this floor keeps for each loop, and a child as its files share it.
 *
 *     proc_part --> children     every one that has not been reaped
 *               --> transports   every one that has not been lost
 *
 *     coil_process, coil_subprocess_transport
 *        +-- child ----- pidfd readable --> slot: reaped --> exited()
 *        +-- ends of pipes: streams, or transports
 *
 * Runs on the loop's thread, but for the thread that waits where there are no pidfds. */
#ifndef COIL_PROC_PROC_H
#define COIL_PROC_PROC_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/thread.h"
#include "io/child.h"
#include "loop/loop.h"
#include "net/net.h"
#include "net/socket.h"

#include <coil/process.h>

/* ---- of one loop ---- */

struct proc_part {
    struct loop_part part;
    coil_loop *loop;
    struct list children;   /* not reaped */
    struct list transports; /* of processes with a protocol, not lost */
    void *stack; /* spawn.c: where children begin, one at a time; NULL before the first */
};

/* Made on first use. 0, -ENOMEM, COIL_ECLOSED while the loop is closing; recorded. */
int coil__proc_part(coil_loop *loop, struct proc_part **out);

/* ---- spawn.c ---- */

enum { CHILD_STACK = 64 * 1024 };

/* Run a program of the real kernel's. 0; or -errno and *out_step, and then there is no process. */
int coil__spawn(struct proc_part *part, const struct child_plan *plan, struct child_id *out,
                enum child_step *out_step);

/* ---- child.c ---- */

struct child;

struct child_class {
    /* It has ended and is reaped, returncode is set. In a slot: may call a user. May free the child. */
    void (*exited)(struct child *child);
    /* The loop closes: it has been killed and reaped, nothing will be called. May free the child. */
    void (*loop_closes)(struct child *child);
};

/* The thread that waits for one child, where the kernel has no pidfds, or will not watch this one. */
struct child_watcher {
    struct inbox_node node;
    struct inbox *inbox; /* counted */
    struct thread thread;
    struct child *child; /* good until the node has been handled */
    pid_t pid;
};

struct child {
    const struct child_class *cls;
    struct list link;              /* proc_part.children until it is reaped */
    coil_loop *loop;               /* NULL once that is closed */
    struct context_map *map;       /* of whoever is called; NULL: nobody's */
    struct child_id id;            /* its fd is closed when it is reaped */
    struct op op;                  /* OP_POLL of the fd */
    struct child_watcher *watcher; /* instead of that; else NULL */
    bool exited;
    int returncode;
};

/* Run a program and watch it. 0 or an error, recorded with what failed; then nothing is left of it. The child stays where
 * it is until `exited` or `loop_closes`. */
coil_ret coil__child_start(struct proc_part *part, struct child *child,
                           const struct child_class *cls, const struct child_plan *plan);
/* 0 or an error, recorded. */
int coil__child_signal(struct child *child, int signo);
/* Let it end soon. */
void coil__child_kill(struct child *child);

/* For proc_part's end: kills and reaps. */
void coil__child_loop_closes(struct child *child);

/* ---- pipe.c ---- */

/* The ends of the pipes to a child that is about to be run. */
struct child_pipes {
    struct backend *b;
    bool imaginary; /* the program is */
    int ours[3];    /* descriptors, or -1 */
    int theirs[3];  /* to be closed here once it runs, or -1 */
    coil_sock *socks[3];
};

/* Make them, and say in plan->fds what the child gets. 0 or an error, recorded; then nothing is open. */
coil_ret coil__pipes_open(coil_loop *loop, const coil_subprocess_opts *opts,
                          struct child_plan *plan, struct child_pipes *out);
/* It runs, or will not: the child's ends are its own. */
void coil__pipes_hand_over(struct child_pipes *pipes);
/* Give up whatever is still in `ours` and `socks`, too. */
void coil__pipes_drop(struct child_pipes *pipes);

/* ---- subprocess.c ---- */

/* For proc_part's end, after the children. */
void coil__subprocess_loop_closes(struct proc_part *part);

/* ---- plan.c ---- */

/* Options and arguments as a plan. A `command` is
 * the shell's, whose arguments go to `shell_argv`; without one (NULL) it is `argv`. 0 or
 * -EINVAL, recorded. */
coil_ret coil__child_plan(const char *const *argv, const char *command, const char *shell_argv[4],
                          const coil_subprocess_opts *opts, struct child_plan *out);

#endif
