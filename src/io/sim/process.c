/* SPDX-License-Identifier: MIT
 *
 * process.c: imaginary processes: programs that a test wrote, run in virtual time.
 *
 *     spawn --(latency)--> step, step, ... --exit, or a signal--> over --reap--> gone
 *                            ^
 *                            +-- a descriptor of its was stirred, its time came, a signal it catches
 *
 * A program is a function that is called again and again: it does what it can without waiting, and returns. What is
 * handed to a process is the file itself, shared as after a fork: a pipe ends when the last one that has its other end
 * closes it.
 *
 * Always true:
 *   - a process that is over has no files;
 *   - its memory goes when it is over and nobody has its descriptor: reaped, or an orphan;
 *   - what is 0, 1 or 2 of the real process, or /dev/null, ends at once when read and takes everything. */
#include "io/sim/sim.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum { FIRST_PID = 1000, TICK_NS = 1000 };

struct sim_fd {
    int number;
    struct file *file; /* NULL: one that is no file of this kernel's */
    bool open;
};

struct sim_process {
    struct list link; /* sim.processes */
    struct sim *sim;
    const struct sim_program *program;
    struct file *handle; /* the parent's descriptor of it; NULL: closed, or a grandchild */
    struct event event;  /* the next step */
    int64_t wake_ns;     /* when that is; CLOCK_FOREVER */
    pid_t pid;
    bool over, reaped, stopped, running;
    int code;
    uint64_t catches, caught; /* bit N - 1: signal N */
    char **argv;
    void *state;
    size_t fds_n;
    struct sim_fd fds[];
};

/* ---- time ---- */

static void wake_at(struct sim_process *p, int64_t when_ns)
{
    if (p->over || when_ns >= p->wake_ns)
        return;
    p->wake_ns = when_ns;
    if (!p->stopped)
        coil__sim_schedule(p->sim, &p->event, when_ns);
}

static void forget(struct sim_process *p)
{
    if (!p->over || p->running || p->handle)
        return;
    list_remove(&p->link);
    coil__sim_event_fini(p->sim, &p->event);
    coil__free(p);
}

static void take_step(struct sim *sim, struct event *event)
{
    struct sim_process *p = container_of(event, struct sim_process, event);
    p->wake_ns = CLOCK_FOREVER;
    if (p->over)
        return;
    p->running = true;
    p->program->step(p);
    p->running = false;
    forget(p);
}

void coil__sim_wake_holders(const struct file *file)
{
    struct sim *sim = file->sim;
    LIST_FOREACH(l, &sim->processes) {
        struct sim_process *p = container_of(l, struct sim_process, link);
        for (size_t i = 0; i < p->fds_n; i++)
            if (p->fds[i].open && p->fds[i].file == file)
                wake_at(p, sim_now(sim));
    }
}

/* ---- the end ---- */

static void let_go(struct sim_process *p, struct sim_fd *fd)
{
    if (fd->open && fd->file)
        coil__sim_file_release(p->sim, fd->file);
    fd->open = false;
}

static void end(struct sim_process *p, int code)
{
    if (p->over)
        return;
    for (size_t i = 0; i < p->fds_n; i++)
        let_go(p, &p->fds[i]);
    p->over = true;
    p->code = code;
    coil__sim_note(p->sim, p->pid, code);
    if (p->handle)
        coil__sim_stir(p->handle);
    forget(p);
}

static uint64_t bit(int signo)
{
    return UINT64_C(1) << (signo - 1);
}

static void receive_signal(struct sim_process *p, int signo)
{
    if (p->over || signo == 0)
        return;
    if (signo == SIGCONT && p->stopped) {
        p->stopped = false;
        if (p->wake_ns != CLOCK_FOREVER)
            coil__sim_schedule(p->sim, &p->event, p->wake_ns);
    }
    if (signo == SIGSTOP) {
        p->stopped = true;
        coil__heap_remove(&p->sim->world->events, &p->event.node);
    } else if (signo != SIGKILL && (p->catches & bit(signo))) {
        p->caught |= bit(signo);
        wake_at(p, sim_now(p->sim));
    } else if (signo != SIGCHLD && signo != SIGURG && signo != SIGWINCH && signo != SIGCONT) {
        end(p, -signo);
    }
}

/* ---- the beginning ---- */

/* Everything but the files in one block. */
static struct sim_process *process_new(struct sim *sim, const struct sim_program *program,
                                       const char *const *argv, size_t fds_n)
{
    size_t n = 0, text = 0;
    for (; argv[n]; n++)
        text += strlen(argv[n]) + 1;
    size_t head = sizeof(struct sim_process) + fds_n * sizeof(struct sim_fd);
    size_t state = (program->state_size + 15) & ~(size_t)15;
    struct sim_process *p = coil__zalloc(head + 16 + state + (n + 1) * sizeof(char *) + text);
    if (!p)
        return NULL;
    if (coil__sim_event_init(sim, &p->event, take_step) < 0) {
        coil__free(p);
        return NULL;
    }
    p->sim = sim;
    p->program = program;
    p->fds_n = fds_n;
    p->state = (char *)p + ((head + 15) & ~(size_t)15);
    p->argv = (char **)(void *)((char *)p->state + state);
    char *at = (char *)(p->argv + n + 1);
    for (size_t i = 0; i < n; i++) {
        p->argv[i] = memcpy(at, argv[i], strlen(argv[i]) + 1);
        at += strlen(argv[i]) + 1;
    }
    p->wake_ns = CLOCK_FOREVER;
    p->pid = FIRST_PID + sim->world->pids++;
    list_push(&sim->processes, &p->link);
    return p;
}

/* From a descriptor of the parent's. */
static int hand(struct sim *sim, struct sim_fd *fd, int number, int from)
{
    struct file *file = coil__sim_file(sim, from);
    if (from > 2 && !file)
        return -EBADF;
    *fd = (struct sim_fd){.number = number, .file = file, .open = true};
    if (file)
        file->held++;
    return 0;
}

static int hand_all(struct sim_process *p, const struct child_plan *plan, enum child_step *out_step)
{
    for (size_t i = 0; i < p->fds_n; i++) {
        int number = i < 3 ? (int)i : plan->pass_fds[i - 3];
        *out_step = i < 3 ? CHILD_STEP_STDIN + (unsigned)i : CHILD_STEP_PASS;
        int err = hand(p->sim, &p->fds[i], number, i < 3 ? plan->fds[i] : number);
        if (err < 0)
            return err;
    }
    return 0;
}

static const struct sim_program *find(const struct sim *sim, const char *file)
{
    for (size_t i = 0; i < sim->programs_n; i++)
        if (strcmp(sim->programs[i]->file, file) == 0)
            return sim->programs[i];
    return NULL;
}

static int handle_new(struct sim_process *p)
{
    struct file *file;
    int fd = coil__sim_file_new(p->sim, FILE_PROCESS, 0, 0, &file);
    if (fd < 0)
        return fd;
    fd = coil__sim_file_install(p->sim, file);
    if (fd < 0) {
        coil__free(file);
        return fd;
    }
    file->process = p;
    p->handle = file;
    return fd;
}

/* ---- what the backend is asked ---- */

static bool knows(struct backend *b, const char *file)
{
    return find(sim_of(b), file) != NULL;
}

static int spawn(struct backend *b, const struct child_plan *plan, struct child_id *out,
                 enum child_step *out_step)
{
    struct sim *sim = sim_of(b);
    *out_step = CHILD_STEP_CWD;
    if (plan->cwd && strcmp(plan->cwd, "/") != 0) /* the only directory there is */
        return -ENOENT;
    *out_step = CHILD_STEP_START;
    struct sim_process *p = process_new(sim, find(sim, plan->file), plan->argv,
                                        3 + plan->pass_fds_n);
    if (!p)
        return -ENOMEM;
    int fd = handle_new(p);
    int err = fd < 0 ? fd : hand_all(p, plan, out_step);
    if (err < 0) {
        if (p->handle)
            coil__sim_file_close(sim, p->handle);
        end(p, 127);
        return err;
    }
    *out = (struct child_id){.pid = p->pid, .fd = fd};
    wake_at(p, sim_now(sim) + coil__sim_latency_ns(sim));
    return 0;
}

static struct sim_process *process_of(struct backend *b, const struct child_id *child)
{
    return coil__sim_file(sim_of(b), child->fd)->process;
}

static int reap(struct backend *b, const struct child_id *child, int *out_code)
{
    struct sim_process *p = process_of(b, child);
    if (!p->over)
        return -EAGAIN;
    if (p->reaped)
        return -ECHILD;
    p->reaped = true;
    *out_code = p->code;
    return 0;
}

static int call_kill(struct backend *b, const struct child_id *child, int signo)
{
    struct sim_process *p = process_of(b, child);
    if (signo < 0 || signo > 64)
        return -EINVAL;
    if (p->reaped)
        return -ESRCH;
    receive_signal(p, signo);
    return 0;
}

const struct imaginary_children coil__sim_children = {
    .knows = knows, .spawn = spawn, .reap = reap, .kill = call_kill};

/* ---- what the rest of this kernel is told ---- */

unsigned coil__sim_process_ready(const struct file *file)
{
    return file->process->over ? OP_IN : 0;
}

void coil__sim_process_close(struct file *file)
{
    struct sim_process *p = file->process;
    file->process = NULL;
    if (!p)
        return;
    p->handle = NULL;
    forget(p);
}

void coil__sim_processes_kill(struct sim *sim)
{
    LIST_FOREACH(l, &sim->processes)
        end(container_of(l, struct sim_process, link), -SIGKILL);
}

void coil__sim_processes_end(struct sim *sim)
{
    while (!list_empty(&sim->processes)) {
        struct sim_process *p = container_of(list_first(&sim->processes), struct sim_process, link);
        if (p->handle)
            p->handle->process = NULL;
        p->handle = NULL;
        if (p->over)
            forget(p);
        else
            end(p, -SIGKILL);
    }
    coil__free(sim->programs);
    sim->programs = NULL;
    sim->programs_n = 0;
}

/* ---- what a program may do ---- */

static struct sim_fd *fd_of(struct sim_process *p, int number)
{
    for (size_t i = 0; i < p->fds_n; i++)
        if (p->fds[i].open && p->fds[i].number == number)
            return &p->fds[i];
    return NULL;
}

const char *const *coil__process_argv(const struct sim_process *p)
{
    return (const char *const *)p->argv;
}

void *coil__process_state(struct sim_process *p)
{
    return p->state;
}

ssize_t coil__process_read(struct sim_process *p, int fd, void *buf, size_t n)
{
    struct sim_fd *from = fd_of(p, fd);
    if (!from)
        return -EBADF;
    return from->file ? coil__sim_stream_recv(p->sim, from->file, buf, n, 0) : 0;
}

ssize_t coil__process_write(struct sim_process *p, int fd, const void *buf, size_t n)
{
    struct sim_fd *to = fd_of(p, fd);
    if (!to)
        return -EBADF;
    ssize_t rc = to->file ? coil__sim_stream_send(p->sim, to->file, buf, n) : (ssize_t)n;
    if (rc == -EPIPE)
        receive_signal(p, SIGPIPE);
    return rc;
}

void coil__process_close(struct sim_process *p, int fd)
{
    struct sim_fd *which = fd_of(p, fd);
    if (which)
        let_go(p, which);
}

void coil__process_sleep(struct sim_process *p, int64_t ns)
{
    wake_at(p, clock_add(sim_now(p->sim), ns > TICK_NS ? ns : TICK_NS));
}

void coil__process_exit(struct sim_process *p, int status)
{
    end(p, status & 0xff);
}

bool coil__process_is_over(const struct sim_process *p)
{
    return p->over;
}

void coil__process_raise(struct sim_process *p, int signo)
{
    receive_signal(p, signo);
}

void coil__process_catch(struct sim_process *p, int signo)
{
    p->catches |= bit(signo);
}

int coil__process_caught(struct sim_process *p)
{
    if (!p->caught)
        return 0;
    int signo = __builtin_ctzll(p->caught) + 1;
    p->caught &= ~bit(signo);
    return signo;
}

int64_t coil__process_now_ns(const struct sim_process *p)
{
    return sim_now(p->sim);
}

int coil__process_fork(struct sim_process *p, const struct sim_program *program,
                       const char *const *argv)
{
    struct sim_process *child = process_new(p->sim, program, argv, p->fds_n);
    if (!child)
        return -ENOMEM;
    for (size_t i = 0; i < p->fds_n; i++) {
        child->fds[i] = p->fds[i];
        if (p->fds[i].open && p->fds[i].file)
            p->fds[i].file->held++;
    }
    wake_at(child, sim_now(p->sim) + coil__sim_latency_ns(p->sim));
    return child->pid;
}

int coil__sim_program(struct backend *b, const struct sim_program *program)
{
    struct sim *sim = sim_of(b);
    const struct sim_program **programs = coil__realloc(sim->programs,
                                                        (sim->programs_n + 1) * sizeof *programs);
    if (!programs)
        return -ENOMEM;
    programs[sim->programs_n++] = program;
    sim->programs = programs;
    return 0;
}
