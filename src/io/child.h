/* SPDX-License-Identifier: MIT
 *
 * child.h: a program to be run, and the process that came of it, as backends see them.
 *
 * Real children are the kernel's own business (src/proc/spawn.c). A backend whose kernel is imaginary may have
 * imaginary programs, by name; what it does not know is real there too. */
#ifndef COIL_IO_CHILD_H
#define COIL_IO_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct backend;

/* What a child's 0, 1 and 2 may be, beside a descriptor of ours. */
enum {
    CHILD_INHERITS = -1, /* ours of the same number */
    CHILD_NULL = -2,     /* /dev/null */
};

/* Read during the call that spawns, kept by nobody. */
struct child_plan {
    const char *file;        /* with a '/': a path; else looked for along PATH */
    const char *const *argv; /* to NULL; at least one */
    const char *const *env;  /* to NULL; NULL: our own */
    const char *cwd;         /* NULL: ours */
    int fds[3];              /* descriptors of ours, or see above */
    const int *pass_fds;     /* these stay open under their own numbers, all above 2 */
    size_t pass_fds_n;
    bool inherit_fds; /* and so does everything that is not close-on-exec */
    bool new_session, new_group;
    pid_t group; /* new_group: 0 for its own */
    bool set_umask, set_uid, set_gid, set_groups;
    mode_t umask;
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t groups_n;
};

/* Where spawning failed: for words. */
enum child_step {
    CHILD_STEP_START, /* no process to be had */
    CHILD_STEP_STDIN,
    CHILD_STEP_STDOUT,
    CHILD_STEP_STDERR,
    CHILD_STEP_PASS, /* a descriptor to be passed on is not open */
    CHILD_STEP_GROUP,
    CHILD_STEP_USER,
    CHILD_STEP_CWD,
    CHILD_STEP_EXEC,
};

struct child_id {
    pid_t pid;
    int fd; /* polls readable once it is over; raw. -1: the kernel has none, and a thread waits */
    bool imaginary;
};

/* How it ended: the exit status, or -N for signal N. */
enum { CHILD_LOST = 255 }; /* somebody else took its status */

/* Of a backend that has imaginary programs. */
struct imaginary_children {
    bool (*knows)(struct backend *b, const char *file);
    /* 0, or -errno and *out_step. */
    int (*spawn)(struct backend *b, const struct child_plan *plan, struct child_id *out,
                 enum child_step *out_step);
    /* 0 and how it ended, once; -EAGAIN while it runs. */
    int (*reap)(struct backend *b, const struct child_id *child, int *out_code);
    int (*kill)(struct backend *b, const struct child_id *child, int signo);
};

#endif
