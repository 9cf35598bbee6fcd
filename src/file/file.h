/* SPDX-License-Identifier: MIT
 *
 * file.h: what this floor keeps for each loop, an open file, and the ways an operation runs.
 *
 *     try now (RWF_NOWAIT) --would wait--> the backend does it --> coil__file_op    (file_op, in the frame)
 *                                          it does not ---------> coil__file_job   (file_job, in the frame)
 *
 *     file_part --> files, dirs   what is open
 *               --> pool          the threads, from the first job on
 *
 * Runs on the loop's thread, but for file_job.call. */
#ifndef COIL_FILE_FILE_H
#define COIL_FILE_FILE_H

#include "base/inbox.h"
#include "base/list.h"
#include "base/random.h"
#include "io/threads.h"
#include "loop/loop.h"
#include "task/task.h"

#include <coil/file.h>
#include <coil/sync.h>

#include <stdatomic.h>

/* ---- of one loop ---- */

struct file_part {
    struct loop_part part;
    coil_loop *loop;
    struct list files, dirs; /* open ones */
    struct pool *pool;       /* NULL before the first job */
    struct random random;    /* for names of temporary files */
    struct coil__task *busy; /* who did the last operation that needed no waiting; only compared */
    uint32_t burst;          /* how many of these in a row, big ones counting more */
};

/* The running loop's, for a call that waits and has this path; made on first use. 0, COIL_ENOTASK, COIL_EEXIT, -EINVAL
 * for no path, -ENOMEM, COIL_ECLOSED while the loop is closing; recorded. */
int coil__file_part(const char *path, struct file_part **out);

/* The pool, made if need be. 0 or -ENOMEM. */
int coil__file_pool(struct file_part *part, struct pool **out);

/* Whoever finds everything in memory would never give up its turn: called before each try that may well
 * succeed at once. 0, -ECANCELED, COIL_EEXIT. */
COIL_MUST coil_ret coil__file_pause(struct file_part *part);
enum { FILE_BURST_MAX = 64 };
static inline coil_ret file_breathe(struct file_part *part, struct coil__task *t)
{
    if (coil_likely(part->busy == t && part->burst < FILE_BURST_MAX))
        return 0;
    if (part->busy == t)
        return coil__file_pause(part);
    part->busy = t;
    part->burst = 0;
    return 0;
}
/* It did, and moved n bytes. */
static inline void file_effort(struct file_part *part, size_t n)
{
    part->burst += 1 + (uint32_t)(n >> 14);
}

/* ---- on a thread ---- */

/* In the parked frame, inside of what holds the call's arguments and results. */
struct file_job {
    struct job job;
    struct wait wait;
    struct inbox_node node;
    struct inbox *inbox; /* counted; the job's, so that the post ends before it is gone */
    struct file_part *part;
    void (*call)(struct file_job *job); /* on a thread */
    const char *path;                   /* for people */
    _Atomic bool stop;                  /* asks a long call to end soon */
    bool gave_up;                       /* set by a call that was stopped and did nothing */
    bool told;                          /* coil__file_job has recorded why there is no thread */
    bool ran;                           /* the call was made: its results count */
    bool back;                          /* the node has been handled, or the job taken out */
    bool unwound;                       /* nobody is to be woken */
};

/* Run job->call(job) on a thread and wait for it. 0: it ran. -ECANCELED: it did not, or gave up. -EAGAIN, -ENOMEM:
 * no thread; COIL_EEXIT: it is over, and job->ran tells whether its results are to be given back. All recorded. */
COIL_MUST coil_ret coil__file_job(struct file_part *part, struct file_job *job,
                                  const struct wait_class *cls);

bool coil__file_job_cancel(struct wait *w, const char *message);
void coil__file_job_abandon(struct wait *w);
int coil__file_job_describe(const struct wait *w, char *out, size_t n);
#define FILE_JOB_CLASS(word)                                                                \
    {                                                                                       \
        .what = (word), .cancel = coil__file_job_cancel, .abandon = coil__file_job_abandon, \
        .keeps = true, .describe = coil__file_job_describe                                  \
    }

/* ---- by the backend ---- */

/* In the parked frame. */
struct file_op {
    struct wait wait;
    struct op op;     /* its result is below 0 until it is done */
    const char *path; /* for people */
    bool cancelled;   /* by the task */
};

/* Submit the op and wait for its last word. Its result, or -ECANCELED, COIL_EEXIT; -EBADF for one that ended because the
 * descriptor was forgotten. */
COIL_MUST coil_ret coil__file_op(struct file_op *fo, const struct wait_class *cls);

bool coil__file_op_cancel(struct wait *w, const char *message);
void coil__file_op_abandon(struct wait *w);
int coil__file_op_describe(const struct wait *w, char *out, size_t n);
#define FILE_OP_CLASS(word)                                                               \
    {                                                                                     \
        .what = (word), .cancel = coil__file_op_cancel, .abandon = coil__file_op_abandon, \
        .keeps = true, .describe = coil__file_op_describe                                 \
    }

/* ---- open files ---- */

struct coil_file {
    struct list link;       /* file_part.files while it is open */
    struct file_part *part; /* good while it is open */
    coil_loop *loop;        /* good while it is open */
    uint32_t refs;
    uint32_t inflight;        /* calls under way; the descriptor outlives them */
    int fd;                   /* -1 once closed */
    bool closing;             /* takes no more calls */
    bool waits;               /* a fifo or a device: O_NONBLOCK, and waited for by readiness */
    bool now_read, now_write; /* RWF_NOWAIT is worth trying */
    coil_lock position;       /* the kernel would hold up the loop's thread at its own lock of it */
    struct wait *closer;      /* waits until inflight is 0; NULL */
    struct job drop;          /* closes it when nobody waits for that */
    char path[];              /* as it was opened, for people */
};

/* A call on the file begins: 0, and then coil__file_end follows; or recorded: COIL_ENOTASK, COIL_EEXIT,
 * COIL_EWRONGLOOP, -EBADF. */
int coil__file_begin(coil_file *file, const char *verb);
void coil__file_end(coil_file *file);

/* Record that `verb` on `path` came to this; what is no error of the kernel's has been recorded already. Returns rc. */
coil_ret coil__file_told(coil_ret rc, const char *verb, const char *path);

/* open(2) for files that a loop uses: 0 or -errno; on a thread, or anywhere for what does not block. The second half
 * finds out what it is. */
int coil__file_open_now(const char *path, int flags, mode_t mode);
bool coil__file_look(int fd);

/* How the loop's end is told: no task runs any more. */
void coil__file_close_all(struct file_part *part);
void coil__dir_close_all(struct file_part *part);

#endif
