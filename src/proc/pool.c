/* SPDX-License-Identifier: MIT
 *
 * pool.c: the executor of processes.
 *
 *     submit --> queue (io/threads.c) --> a thread: takes an idle worker, or has one forked
 *                                           sends the job, blocks for the answer, puts the worker back
 *
 * A thread minds a worker while a job runs; so queueing, fairness, cancelling and shutting down are those of every
 * pool of threads, and what is particular here is one call that happens elsewhere (executor_class.call).
 *
 *     worker:  forked --> busy --answered--> idle --> busy ...
 *                           '-- died, broken off, or max_tasks_per_child --> reaped
 *
 * Always true, whenever the lock is free:
 *   - a worker is in `idle` or `busy` from its fork to its reaping; the zygote signals nobody else;
 *   - of those that are not being ended there are no more than threads, hence than max_workers.
 * The zygote's lock may be taken while the pool's is held, not the other way round.
 *
 * Any thread. Elsewhere: the other side (zygote.c), what an executor is (work/executor.c). */
#include "proc/pool.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/opts.h"
#include "io/threads.h"
#include "work/work.h"

#include <link.h>
#include <string.h>

enum { WORKERS_MAX = 1024 };
#define JOB_MAX_DEFAULT ((size_t)64 << 20)

struct worker {
    struct list link;
    pid_t pid;
    int fd;         /* our end of its socket */
    unsigned tasks; /* jobs it was given */
};

/* Where the code of the program and its libraries lay when the pool was made. */
struct code {
    size_t n, room;
    struct {
        uintptr_t from, to;
    } * part;
};

struct process_pool {
    coil_executor executor;
    struct pool *threads;
    unsigned max_workers, max_tasks;
    size_t job_max, queued_max;
    struct code code;
    pid_t owner; /* a child of fork has only a copy of this */
    struct zygote_plan plan;

    struct mutex zygote_lock;
    int control; /* -1: ended, or gone */
    pid_t zygote;

    struct mutex lock;
    struct list idle, busy; /* idle: last used first */
    unsigned workers_n;
    bool shut;
    int signo;   /* kill_workers and terminate_workers: by what; 0: not yet */
    bool broken; /* for good */
    char why[ERROR_TEXT_MAX];
};

static struct process_pool *as_pool(coil_executor *executor)
{
    return (struct process_pool *)executor;
}

/* ---- the zygote ---- */

/* 0 or -errno of the talk itself. The zygote's lock is held. */
static int ask_locked(struct process_pool *p, const struct zygote_request *request, int fd,
                      struct zygote_answer *out)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec v = {(void *)(uintptr_t)request, sizeof *request};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    if (p->control < 0)
        return -EPIPE;
    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t n;
    while ((n = sys_sendmsg(p->control, &m, MSG_NOSIGNAL)) == -EINTR)
        ;
    if (n < 0)
        return (int)n;
    int err = coil__pool_receive(p->control, out, sizeof *out);
    if (err < 0) /* what it says later would be taken for the answer to something else */
        (void)sys_shutdown(p->control, SHUT_RDWR);
    return err;
}

static int ask(struct process_pool *p, const struct zygote_request *request, int fd,
               struct zygote_answer *out)
{
    coil__mutex_lock(&p->zygote_lock);
    int rc = ask_locked(p, request, fd, out);
    coil__mutex_unlock(&p->zygote_lock);
    return rc;
}

/* No more jobs, for the reason given. */
static int break_pool(struct process_pool *p, const char *why)
{
    coil__mutex_lock(&p->lock);
    if (!p->broken)
        snprintf(p->why, sizeof p->why, "%s", why);
    p->broken = true;
    coil__mutex_unlock(&p->lock);
    return (int)coil__fail(COIL_EBROKENPOOL, "%s", p->why);
}

static int zygote_is_gone(struct process_pool *p)
{
    return break_pool(p, "the zygote of the process pool was killed; make another pool");
}

static void end_zygote(struct process_pool *p)
{
    coil__mutex_lock(&p->zygote_lock);
    bool there = p->control >= 0;
    if (there) {
        (void)sys_shutdown(p->control,
                           SHUT_RDWR); /* a copy of this process may have a copy of it */
        sys_close(p->control);
    }
    p->control = -1;
    siginfo_t info;
    if (there) /* the program may have waited for any child and met ours: then it is gone as well */
        while (sys_waitid(P_PID, (id_t)p->zygote, &info, WEXITED) == -EINTR)
            ;
    coil__mutex_unlock(&p->zygote_lock);
}

/* Our side of a socket pair above 0, 1, 2, which a child keeps; both ends are ours on success. */
static int new_pair(int type, int out[2])
{
    int err = sys_socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, out);
    for (int i = 0; i < 2 && err == 0; i++)
        if (out[i] <= 2) {
            int high = sys_fcntl(out[i], F_DUPFD_CLOEXEC, 3);
            if (high < 0) {
                sys_close(out[0]);
                sys_close(out[1]);
                return high;
            }
            sys_close(out[i]);
            out[i] = high;
        }
    return err;
}

/* 0 once it is ready; an error, recorded. */
static int begin_zygote(struct process_pool *p)
{
    int pair[2], err = new_pair(SOCK_SEQPACKET, pair);
    if (err < 0)
        return (int)coil__fail(err, "a process pool needs a socket pair: %s", coil_strerror(err));
    p->plan.control = pair[1];
    p->plan.parent = p->owner = sys_getpid();
    /* A shutdown ends idle ones while threads begin others: the zygote knows both until the first are reaped. */
    p->plan.max_workers = 2 * p->max_workers;
    p->plan.job_max = p->job_max;
    /* No handler of ours is to run in the child before it has put them away. */
    sigset_t all, before;
    sigfillset(&all);
    (void)sys_sigprocmask(SIG_SETMASK, &all, &before);
    p->zygote = sys_fork();
    if (p->zygote == 0)
        coil__zygote_main(&p->plan);
    (void)sys_sigprocmask(SIG_SETMASK, &before, NULL);
    sys_close(pair[1]);
    p->control = pair[0];
    if (p->zygote < 0) {
        sys_close(p->control);
        p->control = -1;
        return (int)coil__fail(p->zygote, "a process pool cannot fork: %s",
                               coil_strerror(p->zygote));
    }
    struct zygote_answer ready;
    err = coil__pool_receive(p->control, &ready, sizeof ready);
    if (err == 0)
        err = ready.rc;
    if (err < 0) {
        end_zygote(p);
        return (int)coil__fail(err, "the zygote of a process pool could not begin: %s",
                               coil_strerror(err));
    }
    return 0;
}

/* ---- workers ---- */

/* Out of the lists, off its socket and reaped; how it ended is in *out_how, which may be NULL. */
static void end_worker(struct process_pool *p, struct worker *w, struct zygote_answer *out_how)
{
    coil__mutex_lock(&p->lock);
    list_remove(&w->link);
    p->workers_n--;
    coil__mutex_unlock(&p->lock);
    sys_close(w->fd);
    struct zygote_answer how = {.rc = -EPIPE};
    (void)ask(p, &(struct zygote_request){.what = ZYGOTE_REAP, .pid = w->pid}, -1, &how);
    if (out_how)
        *out_how = how;
    coil__free(w);
}

static void end_idle(struct process_pool *p)
{
    for (;;) {
        coil__mutex_lock(&p->lock);
        struct list *link = list_pop(&p->idle);
        if (link)
            list_push(&p->busy, link);
        coil__mutex_unlock(&p->lock);
        if (!link)
            return;
        end_worker(p, container_of(link, struct worker, link), NULL);
    }
}

/* COIL_EBROKENPOOL: what became of it; ends it. */
static int worker_is_gone(struct process_pool *p, struct worker *w, int err, const char *when)
{
    struct zygote_answer how;
    int pid = (int)w->pid;
    end_worker(p, w, &how);
    if (how.rc < 0)
        return zygote_is_gone(p);
    if (err == -EPROTO)
        return (int)coil__fail(COIL_EBROKENPOOL, "worker process %d said what is no answer %s", pid,
                               when);
    if (how.code == CLD_EXITED)
        return (int)coil__fail(COIL_EBROKENPOOL, "worker process %d exited with status %d %s", pid,
                               how.status, when);
    return (int)coil__fail(COIL_EBROKENPOOL, "worker process %d was killed by signal %d %s", pid,
                           how.status, when);
}

/* The head of an answer and its words, checked: they are those of a process that may have gone mad. 0 or -errno. */
static int receive_answer(int fd, size_t room, struct job_answer *out,
                          char words[static ERROR_TEXT_MAX])
{
    int err = coil__pool_receive(fd, out, sizeof *out);
    if (err == 0 && (out->magic != JOB_MAGIC || out->words_n >= ERROR_TEXT_MAX || out->n > room))
        err = -EPROTO;
    if (err == 0)
        err = coil__pool_receive(fd, words, out->words_n);
    if (err == 0)
        words[out->words_n] = 0;
    return err;
}

static int fail_as(coil_ret code, const char *words)
{
    return (int)(words[0] ? coil__fail(code, "%s", words) : coil__fail_plain(code));
}

/* What its initializer came to. */
static int greet(struct process_pool *p, struct worker *w)
{
    struct job_answer a;
    char words[ERROR_TEXT_MAX], why[ERROR_TEXT_MAX];
    int err = receive_answer(w->fd, 0, &a, words);
    if (err < 0)
        return worker_is_gone(p, w, err, "before its first job");
    if (!coil_iserr(a.result))
        return 0;
    end_worker(p, w, NULL);
    snprintf(why, sizeof why, "the initializer of the process pool failed: %.100s",
             words[0] ? words : coil_strerror(a.result));
    return break_pool(p, why);
}

/* A new one, busy. */
static int begin_worker(struct process_pool *p, struct worker **out)
{
    int pair[2], err = -ENOMEM, signo;
    struct zygote_answer a = {.rc = 0};
    struct worker *w = coil__zalloc(sizeof *w);
    if (!w)
        goto failed;
    err = new_pair(SOCK_STREAM, pair);
    if (err < 0)
        goto undo_worker;
    int talk = ask(p, &(struct zygote_request){.what = ZYGOTE_FORK}, pair[1], &a);
    sys_close(pair[1]);
    err = talk < 0 ? talk : a.rc;
    if (err < 0)
        goto undo_pair;
    w->pid = a.rc;
    w->fd = pair[0];
    coil__mutex_lock(&p->lock);
    list_push(&p->busy, &w->link);
    p->workers_n++;
    signo = p->signo;
    coil__mutex_unlock(&p->lock);
    if (signo) /* its brothers were ended before it stood in the list */
        (void)ask(p, &(struct zygote_request){.what = ZYGOTE_SIGNAL, .pid = w->pid, .signo = signo},
                  -1, &a);
    *out = w;
    return greet(p, w);

undo_pair:
    sys_close(pair[0]);
undo_worker:
    coil__free(w);
    if (err == -EPIPE || err == -ECONNRESET)
        return zygote_is_gone(p);
failed:
    return (int)coil__fail(err, "no worker process could be started: %s", coil_strerror(err));
}

/* One that died while nobody looked: it had no job, so nothing is lost. */
static bool has_ended(const struct worker *w)
{
    char c;
    ssize_t n;
    while ((n = sys_recv(w->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT)) == -EINTR)
        ;
    return n != -EAGAIN;
}

static int take_worker(struct process_pool *p, struct worker **out)
{
    for (;;) {
        coil__mutex_lock(&p->lock);
        bool broken = p->broken, ended = p->signo != 0;
        struct list *link = broken || ended ? NULL : list_pop(&p->idle);
        if (link)
            list_push(&p->busy, link);
        coil__mutex_unlock(&p->lock);
        if (broken)
            return (int)coil__fail(COIL_EBROKENPOOL, "%s", p->why);
        if (ended)
            return (int)coil__fail(COIL_EBROKENPOOL, "the workers of the process pool were ended");
        if (!link)
            return begin_worker(p, out);
        *out = container_of(link, struct worker, link);
        if (!has_ended(*out))
            return 0;
        end_worker(p, *out, NULL);
    }
}

static void put_worker(struct process_pool *p, struct worker *w)
{
    struct pool_stats stats;
    coil__pool_stats(p->threads, &stats);
    coil__mutex_lock(&p->lock);
    bool keep = (!p->shut || stats.queued > 0) && (!p->max_tasks || w->tasks < p->max_tasks);
    if (keep) {
        list_remove(&w->link);
        list_push_front(&p->idle, &w->link);
    }
    coil__mutex_unlock(&p->lock);
    if (!keep)
        end_worker(p, w, NULL);
}

/* ---- a job ---- */

/* The answer to a job that was sent, or should have been. The worker is put back, or ended. */
static coil_ret await_answer(struct process_pool *p, struct worker *w, const struct work *work)
{
    struct job_answer a;
    char words[ERROR_TEXT_MAX];
    int err = receive_answer(w->fd, work->bytes_fn ? work->room : 0, &a, words);
    if (err < 0)
        return worker_is_gone(p, w, err, "while it ran the job");
    if (coil_iserr(a.result) || !work->bytes_fn) {
        put_worker(p, w);
        return coil_iserr(a.result) ? fail_as(a.result, words) : (coil_ret)a.result;
    }
    coil_bytes *bytes = coil__bytes_new(a.n);
    if (!bytes) {
        end_worker(p, w, NULL); /* with what we cannot take */
        return coil__fail_plain(-ENOMEM);
    }
    if ((err = coil__pool_receive(w->fd, bytes->data, a.n)) < 0) {
        coil_bytes_free(bytes);
        return worker_is_gone(p, w, err, "while it ran the job");
    }
    put_worker(p, w);
    return (coil_ret)bytes;
}

static coil_ret pool_call(coil_executor *executor, const struct work *work)
{
    struct process_pool *p = as_pool(executor);
    struct worker *w = NULL;
    int err = take_worker(p, &w);
    if (err)
        return err;
    w->tasks++;
    struct job_head head = {.magic = JOB_MAGIC,
                            .fn = work->fn,
                            .bytes_fn = work->bytes_fn,
                            .n = work->copied,
                            .room = work->bytes_fn ? work->room : 0};
    err = coil__pool_send(w->fd, &head, sizeof head, work->arg, work->copied);
    /* One that could not take all of it may yet say why; one that was not given it will say nothing. */
    if (err < 0 && err != -EPIPE && err != -ECONNRESET) {
        end_worker(p, w, NULL);
        return coil__fail(err, "a job could not be given to a worker process: %s",
                          coil_strerror(err));
    }
    return await_answer(p, w, work);
}

/* ---- what it accepts ---- */

static int note_code(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct code *code = arg;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD || !(info->dlpi_phdr[i].p_flags & PF_X))
            continue;
        if (code->n == code->room) {
            size_t room = code->room ? 2 * code->room : 16;
            void *more = coil__realloc(code->part, room * sizeof code->part[0]);
            if (!more)
                return -ENOMEM;
            code->part = more;
            code->room = room;
        }
        uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        code->part[code->n].from = from;
        code->part[code->n++].to = from + info->dlpi_phdr[i].p_memsz;
    }
    return 0;
}

static bool is_code(const struct code *code, uintptr_t address)
{
    for (size_t i = 0; i < code->n; i++)
        if (address >= code->part[i].from && address < code->part[i].to)
            return true;
    return false;
}

static int check_function(const struct process_pool *p, uintptr_t address)
{
    return is_code(&p->code, address)
               ? 0
               : (int)coil__fail(-EINVAL,
                                 "%p is no function of the program, or of a library it had loaded "
                                 "when the process pool was made",
                                 (void *)address);
}

static int pool_accepts(coil_executor *executor, const struct work *work)
{
    struct process_pool *p = as_pool(executor);
    if (sys_getpid() != p->owner)
        return (int)coil__fail(COIL_EWRONGTHREAD,
                               "this process pool was inherited by fork; make a new one");
    if (work_lent(work))
        return (int)coil__fail(-EINVAL, "a pointer means nothing in another process: have the "
                                        "arguments copied, or submit a function of bytes");
    size_t most = work->copied > work->room ? work->copied : work->room;
    if (most > p->job_max)
        return (int)coil__fail(-EMSGSIZE, "a job of %zu bytes; the process pool's job_max is %zu",
                               most, p->job_max);
    int err = check_function(p, work->fn ? (uintptr_t)work->fn : (uintptr_t)work->bytes_fn);
    if (err)
        return err;
    coil__mutex_lock(&p->lock);
    bool broken = p->broken;
    coil__mutex_unlock(&p->lock);
    if (broken)
        return (int)coil__fail(COIL_EBROKENPOOL, "%s", p->why);
    return 0;
}

/* ---- as an executor ---- */

static int pool_submit(coil_executor *executor, struct work *work)
{
    struct process_pool *p = as_pool(executor);
    if (!p->queued_max)
        return coil__pool_submit(p->threads, &work->job);
    coil__mutex_lock(&p->lock);
    struct pool_stats stats;
    coil__pool_stats(p->threads, &stats);
    int err = stats.running + stats.queued < p->max_workers + p->queued_max
                  ? coil__pool_submit(p->threads, &work->job)
                  : COIL_EQUEUEFULL;
    coil__mutex_unlock(&p->lock);
    return err;
}

static bool pool_cancel(coil_executor *executor, struct work *work)
{
    return coil__pool_cancel(as_pool(executor)->threads, &work->job);
}

static void pool_dropped(struct job *job)
{
    struct work *work = container_of(job, struct work, job);
    work->dropped(work);
}

static void pool_shutdown(coil_executor *executor, bool cancel_queued)
{
    struct process_pool *p = as_pool(executor);
    if (sys_getpid() != p->owner)
        return;
    coil__pool_shutdown(p->threads, cancel_queued, pool_dropped);
    struct pool_stats stats;
    coil__pool_stats(p->threads, &stats);
    coil__mutex_lock(&p->lock);
    p->shut = true;
    coil__mutex_unlock(&p->lock);
    if (stats.queued == 0)
        end_idle(p);
}

static bool pool_join(coil_executor *executor, int64_t deadline_ns)
{
    struct process_pool *p = as_pool(executor);
    if (sys_getpid() != p->owner)
        return true;
    if (!coil__pool_join(p->threads, deadline_ns))
        return false;
    end_idle(p);
    end_zygote(p);
    return true;
}

static void pool_stats(coil_executor *executor, coil_executor_stats_t *out)
{
    struct process_pool *p = as_pool(executor);
    struct pool_stats stats;
    coil__pool_stats(p->threads, &stats);
    coil__mutex_lock(&p->lock);
    out->threads = p->workers_n;
    LIST_FOREACH(l, &p->idle)
        out->idle++;
    coil__mutex_unlock(&p->lock);
    out->threads_max = p->max_workers;
    out->queued = stats.queued;
    out->running = stats.running;
    out->finished = stats.finished;
}

static void free_pool(struct process_pool *p)
{
    coil__free(p->plan.initargs);
    coil__free(p->code.part);
    coil__mutex_fini(&p->zygote_lock);
    coil__mutex_fini(&p->lock);
    coil__free(p);
}

/* No job is left: each holds a reference. */
static void pool_destroy(coil_executor *executor)
{
    struct process_pool *p = as_pool(executor);
    if (sys_getpid() != p->owner) {
        sys_close(p->control); /* the rest, its threads and locks, stayed with the parent */
        return;
    }
    coil__pool_free(p->threads);
    end_idle(p);
    end_zygote(p);
    free_pool(p);
}

static const struct executor_class process_class = {
    .kind = "processes",
    .accepts = pool_accepts,
    .call = pool_call,
    .submit = pool_submit,
    .cancel = pool_cancel,
    .shutdown = pool_shutdown,
    .join = pool_join,
    .stats = pool_stats,
    .destroy = pool_destroy,
};

/* ---- making one ---- */

static int check_opts(const struct process_pool *p, const coil_process_pool_opts *opts)
{
    if (opts->max_workers > WORKERS_MAX)
        return (int)coil__fail(-EINVAL, "a process pool has at most %d workers, not %u",
                               WORKERS_MAX, opts->max_workers);
    if (opts->initargs_n > 0 && !opts->initargs)
        return (int)coil__fail(-EINVAL, "there are no initargs (NULL)");
    if (opts->initargs && opts->initargs_n == 0)
        return (int)coil__fail(-EINVAL, "initargs have a size: initargs_n");
    return opts->initializer ? check_function(p, (uintptr_t)opts->initializer) : 0;
}

/* 0 or an error, recorded. */
static int fill(struct process_pool *p, const coil_process_pool_opts *opts)
{
    if (dl_iterate_phdr(note_code, &p->code) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    int err = check_opts(p, opts);
    if (err)
        return err;
    p->max_workers = opts->max_workers ? opts->max_workers : coil__thread_cpus();
    if (p->max_workers > WORKERS_MAX)
        p->max_workers = WORKERS_MAX;
    p->max_tasks = opts->max_tasks_per_child;
    p->job_max = opts->job_max ? opts->job_max : JOB_MAX_DEFAULT;
    p->queued_max = opts->queued_max;
    p->plan.initializer = opts->initializer;
    if (opts->initargs_n > 0) {
        if (!(p->plan.initargs = coil__alloc(opts->initargs_n)))
            return (int)coil__fail_plain(-ENOMEM);
        memcpy(p->plan.initargs, opts->initargs, opts->initargs_n);
    }
    if (coil__pool_new(&p->threads, opts->name ? opts->name : "coil-process", p->max_workers) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    return begin_zygote(p);
}

coil_executor *coil_process_pool_executor_new(const coil_process_pool_opts *given)
{
    coil_process_pool_opts own;
    const coil_process_pool_opts *opts = OPTS_READ(given, own);
    struct process_pool *p = coil__zalloc(sizeof *p);
    if (!p) {
        coil__fail_plain(-ENOMEM);
        return NULL;
    }
    p->executor.cls = &process_class;
    atomic_init(&p->executor.refs, 1);
    p->control = -1;
    coil__mutex_init(&p->zygote_lock);
    coil__mutex_init(&p->lock);
    list_init(&p->idle);
    list_init(&p->busy);
    if (fill(p, opts) < 0) {
        coil__pool_free(p->threads);
        free_pool(p);
        return NULL;
    }
    return &p->executor;
}

/* ---- its workers ---- */

static int check_kind(const coil_executor *executor)
{
    if (!executor)
        return (int)coil__fail(-EINVAL, "there is no executor (NULL)");
    return executor->cls == &process_class
               ? 0
               : (int)coil__fail(COIL_ETYPE, "the executor is no process pool");
}

/* The pids of now; under the pool's lock, so that none of them is reaped meanwhile. */
static void signal_list(struct process_pool *p, struct list *workers, int signo)
{
    LIST_FOREACH(l, workers) {
        const struct worker *w = container_of(l, struct worker, link);
        struct zygote_answer a;
        (void)ask(p, &(struct zygote_request){.what = ZYGOTE_SIGNAL, .pid = w->pid, .signo = signo},
                  -1, &a);
    }
}

static int end_workers(coil_executor *executor, int signo)
{
    int err = check_kind(executor);
    if (err)
        return err;
    struct process_pool *p = as_pool(executor);
    if (sys_getpid() != p->owner)
        return (int)coil__fail(COIL_EWRONGTHREAD,
                               "this process pool was inherited by fork; make a new one");
    pool_shutdown(executor, true);
    coil__mutex_lock(&p->lock);
    p->signo = signo;
    signal_list(p, &p->busy, signo);
    signal_list(p, &p->idle, signo);
    coil__mutex_unlock(&p->lock);
    return 0;
}

int coil_process_pool_kill_workers(coil_executor *executor)
{
    return end_workers(executor, SIGKILL);
}

int coil_process_pool_terminate_workers(coil_executor *executor)
{
    return end_workers(executor, SIGTERM);
}

coil_ret coil_process_pool_pids(coil_executor *executor, pid_t *out, size_t capacity)
{
    int err = check_kind(executor);
    if (err)
        return err;
    struct process_pool *p = as_pool(executor);
    size_t n = 0;
    coil__mutex_lock(&p->lock);
    struct list *const lists[] = {&p->busy, &p->idle};
    for (int i = 0; i < 2; i++)
        LIST_FOREACH(l, lists[i]) {
            if (out && n < capacity)
                out[n] = container_of(l, struct worker, link)->pid;
            n++;
        }
    coil__mutex_unlock(&p->lock);
    return (coil_ret)n;
}
