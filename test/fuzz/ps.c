/* SPDX-License-Identifier: MIT
 *
 * ps.c: what `coil ps` and its like read, told wrong: a core file and a program file made of the input, and this process, whose
 * memory is spoiled on its way: each page that is read has some words changed, as the input says. Nothing of it may crash the
 * reader, make it read or write outside of its own memory, or keep it for ever. */
#include "fuzz.h"

#include "cmd/cmd.h"
#include "cmd/functions.h"
#include "cmd/seen.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, SPOILED_MAX = 8, CIRCLE_MAX = 4 };

/* The command's own says it on stderr, which is of no use here. */
int complain(int status, int error, const char *fmt, ...)
{
    (void)error, (void)fmt;
    return status;
}

/* ---- lies ---- */

static struct input *liar; /* NULL: the truth */

static uint64_t lie(uint64_t truth, const uint64_t *page)
{
    unsigned how = next(liar), more = next(liar);
    switch (how % 8) {
    case 0: return truth ^ (UINT64_C(1) << more % 64);
    case 1: return more;
    case 2: return truth + 8 * more;
    case 3: return truth - 8 * more;
    case 4: return page[more * 2 % (PAGE / 8)];
    case 5: return UINT64_MAX - more;
    case 6: return more ? truth * more : 0;
    default: return (uint64_t)more << 56 | truth;
    }
}

ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *here, unsigned long here_n,
                                const struct iovec *there, unsigned long there_n,
                                unsigned long flags);
ssize_t __real_process_vm_readv(pid_t pid, const struct iovec *here, unsigned long here_n,
                                const struct iovec *there, unsigned long there_n,
                                unsigned long flags);

ssize_t __wrap_process_vm_readv(pid_t pid, const struct iovec *here, unsigned long here_n,
                                const struct iovec *there, unsigned long there_n,
                                unsigned long flags)
{
    ssize_t n = __real_process_vm_readv(pid, here, here_n, there, there_n, flags);
    if (!liar || n != PAGE)
        return n;
    uint64_t page[PAGE / 8];
    memcpy(page, here->iov_base, PAGE);
    for (unsigned left = next(liar) % SPOILED_MAX; left > 0; left--) {
        unsigned at = next(liar) << 8 | next(liar);
        page[at % (PAGE / 8)] = lie(page[at % (PAGE / 8)], page);
    }
    memcpy(here->iov_base, page, PAGE);
    return n;
}

/* ---- the reader ---- */

/* How many tasks it saw. */
static size_t look(struct peer *p)
{
    struct seen s;
    size_t tasks = 0;
    if (seen_read(&s, p, true) == 0) {
        for (size_t i = 0; i < s.loops_n; i++) {
            struct seen_loop *l = &s.loops[i];
            size_t from = 0, circle[CIRCLE_MAX];
            while (seen_circle(l, &from, circle, CIRCLE_MAX) > 0)
                HOLDS(from <= l->tasks_n);
            (void)seen_is_stuck(l);
            tasks += l->tasks_n;
            for (size_t t = 0; t < l->tasks_n; t++) {
                const struct seen_task *task = &l->tasks[t];
                struct place place;
                HOLDS(memchr(task->name, 0, sizeof task->name) &&
                      memchr(task->what, 0, sizeof task->what) &&
                      memchr(task->detail, 0, sizeof task->detail));
                HOLDS(task->waits_on == SEEN_NOBODY || task->waits_on < l->tasks_n);
                for (size_t k = 0; k < task->awaited_by_n; k++)
                    HOLDS(task->awaited_by[k] < l->tasks_n);
                for (size_t k = 0; k < task->calls_n; k++)
                    (void)functions_find(&s.functions, p, task->calls[k], &place);
            }
        }
    }
    seen_free(&s);
    return tasks;
}

static int file_of(const struct input *in, char *path, size_t n)
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    HOLDS(fd >= 0 && write(fd, in->at, (size_t)(in->end - in->at)) == in->end - in->at);
    snprintf(path, n, "/proc/self/fd/%d", fd);
    return fd;
}

static void read_core(const struct input *in)
{
    char path[64];
    int fd = file_of(in, path, sizeof path);
    struct peer p;
    if (peer_open_core(&p, path) == 0)
        (void)look(&p);
    peer_close(&p);
    close(fd);
}

/* Names out of a file that is mapped at address 0 on, say. */
static void read_program(const struct input *in)
{
    char path[64];
    int fd = file_of(in, path, sizeof path);
    struct functions f = {NULL};
    struct peer_map map = {.to = UINT64_MAX, .readable = true, .code = true, .path = path};
    struct peer p = {.core = -1, .maps = &map, .maps_n = 1};
    for (uint64_t pc = 0; pc < 4096; pc += 64) {
        struct place place;
        HOLDS(functions_find(&f, &p, pc, &place));
        HOLDS(memchr(place.function, 0, sizeof place.function));
    }
    functions_free(&f);
    close(fd);
}

/* ---- a program to look at ---- */

static coil_lock held;

static coil_ret sleeper(void *arg)
{
    (void)arg;
    return coil_sleep(1000);
}

static coil_ret waiter(void *task)
{
    return coil_await(task);
}

static coil_ret locker(void *arg)
{
    (void)arg;
    coil_ret rc = coil_lock_acquire(&held);
    if (rc == 0)
        rc = coil_lock_release(&held);
    return rc;
}

static coil_ret be_looked_at(void *arg)
{
    enum { TASKS = 4 };
    coil_task *task[TASKS];
    held = (coil_lock)COIL_LOCK; /* not the last loop's */
    HOLDS(coil_lock_acquire(&held) == 0);
    task[0] = coil_create_task(sleeper, NULL);
    task[1] = coil_create_task(waiter, task[0]);
    task[2] = coil_create_task(waiter, task[0]);
    task[3] = coil_create_task(locker, NULL);
    HOLDS(coil_sleep(0) == 0);

    struct peer p;
    HOLDS(peer_open(&p, getpid()) == 0);
    struct input *lies = arg;
    bool truth = lies->at == lies->end;
    liar = lies;
    size_t seen = look(&p);
    HOLDS(!truth || seen == TASKS + 1);
    liar = NULL;
    peer_close(&p);

    HOLDS(coil_lock_release(&held) == 0);
    HOLDS(coil_task_cancel(task[0], NULL));
    for (int i = 0; i < TASKS; i++)
        coil_ignore(coil_join(task[i]));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    switch (next(&in) % 4) {
    case 0: read_core(&in); break;
    case 1: read_program(&in); break;
    default: fuzz_run(be_looked_at, &in); break;
    }
    return 0;
}
