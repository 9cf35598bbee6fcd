/* SPDX-License-Identifier: MIT
 *
 * checkup.c: what `coil doctor` looks at, one function each.
 *
 * What a program would meet is tried rather than guessed where that is harmless: a loop is run, a guarded stack taken.
 * Elsewhere: which backend it is and why (io/choose.c). */
#include "cmd/compiler.h"
#include "cmd/doctor.h"
#include "cmd/editor.h"
#include "cmd/files.h"

#include "base/thread.h"
#include "coro/stack.h"
#include "io/backend.h"

#include <coil.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

/* ---- what the system tells ---- */

/* The number that a file begins with; -1 if there is none. */
static long long number_in(const char *path)
{
    char *text, *end;
    size_t n;
    if (read_file(path, &text, &n) < 0)
        return -1;
    long long number = strtoll(text, &end, 10);
    if (end == text)
        number = -1;
    free(text);
    return number;
}

/* A file's first line, to be freed; NULL if it cannot be read. */
static char *line_in(const char *path)
{
    char *text;
    size_t n;
    if (read_file(path, &text, &n) < 0)
        return NULL;
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static bool kernel_is_at_least(int major, int minor)
{
    struct utsname name;
    int a = 0, b = 0;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    if (uname(&name) < 0 || sscanf(name.release, "%d.%d", &a, &b) < 2)
        return false;
    return a > major || (a == major && b >= minor);
}

/* "1024", or "no limit"; to be freed. */
static char *limit_text(rlim_t limit)
{
    return limit == RLIM_INFINITY ? text_of("no limit")
                                  : text_of("%llu", (unsigned long long)limit);
}

/* ---- the machine ---- */

static void look_at_kernel(struct finding *f)
{
    struct utsname name;
    if (uname(&name) < 0)
        return;
    f->value = text_of("%s", name.release);
    f->text = text_of("%s %s", name.sysname, name.release);
    if (!kernel_is_at_least(5, 11)) {
        f->state = FINDING_NOTE;
        f->advice = text_of(
            "before 5.11 epoll sleeps in whole milliseconds: timers are up to one late");
    }
}

static void look_at_libc(struct finding *f)
{
#ifdef __GLIBC__
    f->value = text_of("glibc %s", gnu_get_libc_version());
#else
    f->value = text_of("another than glibc");
#endif
    f->text = text_of("%s", f->value);
}

static void look_at_cpu(struct finding *f)
{
    struct utsname name;
    const char *machine = uname(&name) < 0 ? "unknown" : name.machine;
    unsigned n = coil__thread_cpus();
    f->value = text_of("%s", machine);
    f->text = text_of("%s, %u processor%s for this process", machine, n, n == 1 ? "" : "s");
#ifdef COIL_SWITCH_UCONTEXT
    f->state = FINDING_NOTE;
    f->advice = text_of(
        "coroutines change stacks by ucontext here, some ten times slower than by assembly");
#endif
}

static void look_at_clock(struct finding *f)
{
    char *source = line_in("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    struct timespec step;
    if (clock_getres(CLOCK_MONOTONIC, &step) < 0) {
        f->state = FINDING_PROBLEM;
        f->text = text_of("there is no monotonic clock: %s", strerror(errno));
        free(source);
        return;
    }
    f->text = text_of("monotonic, in steps of %ld ns%s%s", step.tv_nsec + step.tv_sec * 1000000000L,
                      source ? ", from " : "", source ? source : "");
    /* These are read by a system call, or slower. */
    if (source && (strcmp(source, "hpet") == 0 || strcmp(source, "acpi_pm") == 0)) {
        f->state = FINDING_NOTE;
        f->advice = text_of(
            "reading %s takes microseconds, and each turn of a loop does it; the kernel's log "
            "says why it does not trust tsc",
            source);
    }
    f->value = source;
}

static void look_at_proc(struct finding *f)
{
    bool there = coil__thread_in_process() > 0;
    f->value = text_of("%s", there ? "mounted" : "missing");
    f->text = text_of("/proc is %s", f->value);
    if (!there) {
        f->state = FINDING_NOTE;
        f->advice = text_of(
            "without it no deadlock is ever certain, and io_uring is not tried; mount it");
    }
}

/* ---- the backend ---- */

static void look_at_backend(struct finding *f)
{
    struct backend_choice choice;
    if (coil__backend_explain(NULL, &choice) < 0) {
        f->state = FINDING_PROBLEM;
        f->text = text_of("%s", coil_last_error()->message);
        f->advice = text_of("set COIL_BACKEND to one of these, or not at all");
        return;
    }
    f->value = text_of("%s", choice.cls->name);
    f->text = text_of("%s (%s)", choice.cls->name, choice.reason);
}

static char *uring_advice(const struct backend_choice *choice)
{
    switch (choice->uring) {
    case URING_FILTERED:
        return text_of(
            "a container's profile does that; epoll does the same work, so nothing need be done");
    case URING_SWITCHED_OFF:
        return text_of("sysctl kernel.io_uring_disabled=0 allows it; epoll does the same work");
    case URING_UNSURE: return text_of("mount /proc");
    case URING_ABSENT:
        return text_of("Linux has it since 5.1, where it is built in; epoll does the same work");
    case URING_REFUSED:
        if (number_in("/proc/sys/kernel/io_uring_disabled") == 1)
            return text_of("sysctl kernel.io_uring_disabled=0 allows it to all, "
                           "kernel.io_uring_group to a group");
        return text_of("a security module may do that; epoll does the same work");
    default: return NULL;
    }
}

static void look_at_uring(struct finding *f)
{
    static const char *const words[] = {"works",  "not asked", "filtered", "switched off",
                                        "unsure", "absent",    "refused"};
    struct backend_choice choice;
    if (coil__backend_explain(NULL, &choice) < 0)
        return;
    f->value = text_of("%s", words[choice.uring]);
    f->text = text_of("%s%s%s", coil__uring_text(choice.uring), choice.uring_error ? ": " : "",
                      choice.uring_error ? coil_strerror(choice.uring_error) : "");
    f->advice = uring_advice(&choice);
    f->state = f->advice ? FINDING_NOTE : FINDING_OK;
}

static coil_ret name_of_backend(void *arg)
{
    coil_ret rc = coil_sleep(0);
    *(char **)arg = text_of("%s", coil_loop_backend(NULL));
    return rc;
}

/* A named backend is opened whatever stands in the way; a filter may then end the process. */
static bool may_be_killed(const struct backend_choice *choice)
{
    return strncmp(choice->cls->name, "uring", 5) == 0 &&
           (choice->uring == URING_FILTERED || choice->uring == URING_UNSURE);
}

static void look_at_loop(struct finding *f)
{
    struct backend_choice choice;
    bool chosen = coil__backend_explain(NULL, &choice) == 0;
    if (chosen && may_be_killed(&choice)) {
        f->state = FINDING_NOTE;
        f->text = text_of("not run: a seccomp filter may kill who asks for %s", choice.cls->name);
        f->advice = text_of("do without COIL_BACKEND, and auto keeps out of its way");
        return;
    }
    coil_ret rc = coil_run(name_of_backend, &f->value);
    if (coil_iserr(rc)) {
        f->state = FINDING_PROBLEM;
        f->text = text_of("a loop could not be run: %s", coil_last_error()->message);
        f->advice = text_of(
            "see what stands above; COIL_BACKEND=poll asks the least of the kernel");
        return;
    }
    f->text = text_of("a task ran on %s", f->value);
    if (chosen && strcmp(choice.cls->name, f->value) != 0) {
        f->state = FINDING_NOTE;
        f->advice = text_of(
            "%s could not be set up, so auto went on to the next: see the limits below",
            choice.cls->name);
    }
}

/* ---- stacks ---- */

static size_t mappings_now(void)
{
    char *text;
    size_t n, lines = 0;
    if (read_file("/proc/self/maps", &text, &n) < 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    free(text);
    return lines;
}

static void look_at_guards(struct finding *f)
{
    struct stack_pool pool;
    struct stack *stack;
    int err = coil__stack_pool_init(&pool, 0);
    if (!err)
        err = coil__stack_get(&pool, 0, &stack);
    if (err) {
        f->state = FINDING_PROBLEM;
        f->text = text_of("no stack for a coroutine can be had: %s", coil_last_error()->message);
        f->advice = text_of("see the limits of memory below");
        return;
    }
    bool by_mprotect = pool.guards_by_mprotect;
    coil__stack_put(stack);
    coil__stack_pool_fini(&pool);
    if (!by_mprotect) {
        f->value = text_of("madvise");
        f->text = text_of("by MADV_GUARD_INSTALL: stacks are bounded by memory alone");
        return;
    }
    f->value = text_of("mprotect");
    f->state = FINDING_NOTE;
    long long max = number_in("/proc/sys/vm/max_map_count");
    /* Each stack and each guard is a mapping then. */
    if (max > 0)
        f->text = text_of("by mprotect: some %lld coroutines at once, for vm.max_map_count is %lld",
                          (max - (long long)mappings_now()) / 2, max);
    else
        f->text = text_of("by mprotect: vm.max_map_count bounds the number of coroutines");
    f->advice = text_of(
        "Linux 6.13 guards without mappings; else raise it, by two for each coroutine");
}

static void look_at_memory(struct finding *f)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0)
        return;
    f->value = limit_text(limit.rlim_cur);
    f->text = limit.rlim_cur == RLIM_INFINITY
                  ? text_of("address space: no limit")
                  : text_of("address space: %s bytes, at most %llu stacks of 256 KB", f->value,
                            (unsigned long long)limit.rlim_cur / (320 << 10));
    if (limit.rlim_cur != RLIM_INFINITY) {
        f->state = FINDING_NOTE;
        f->advice = text_of("stacks are reserved, not used: ulimit -v unlimited");
    } else if (number_in("/proc/sys/vm/overcommit_memory") == 2) {
        f->state = FINDING_NOTE;
        f->advice = text_of(
            "vm.overcommit_memory=2 counts what stacks reserve as if it were used: give tasks "
            "smaller stacks, or set it to 0");
    }
}

/* ---- limits ---- */

static void look_at_descriptors(struct finding *f)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    char *soft = limit_text(limit.rlim_cur), *hard = limit_text(limit.rlim_max);
    f->text = text_of("%s open at once (hard limit: %s)", soft, hard);
    if (limit.rlim_cur < 16) { /* a loop has two, and a program three */
        f->state = FINDING_PROBLEM;
        f->advice = text_of("ulimit -n 1024 or more");
    } else if (limit.rlim_cur <= 1024) {
        f->state = FINDING_NOTE;
        f->advice =
            limit.rlim_cur < limit.rlim_max
                ? text_of(
                      "a server has one for each connection: ulimit -n %s, LimitNOFILE= in a unit",
                      hard)
                : text_of("a server has one for each connection: root may raise the hard limit");
    }
    f->value = soft;
    free(hard);
}

static void look_at_threads(struct finding *f)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NPROC, &limit) < 0)
        return;
    unsigned pool = coil__thread_cpus() + 4;
    pool = pool > 32 ? 32 : pool;
    char *user = limit_text(limit.rlim_cur);
    long long group = number_in("/sys/fs/cgroup/pids.max");
    f->text = text_of("%u at most for blocking calls; limit of the user: %s%s", pool, user,
                      group >= 0 ? ", of the control group too" : "");
    bool few = limit.rlim_cur < 64 || (group >= 0 && group < 64);
    if (few) {
        f->state = FINDING_NOTE;
        f->advice = text_of(
            "names and files are looked up by threads: ulimit -u, TasksMax= in a unit");
    }
    f->value = user;
}

static void look_at_locked_memory(struct finding *f)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return;
    f->value = limit_text(limit.rlim_cur);
    f->text = text_of("%s bytes may be locked", f->value);
    /* Later kernels charge rings to the control group instead. */
    if (!kernel_is_at_least(5, 12) && limit.rlim_cur < (1 << 20)) {
        f->state = FINDING_NOTE;
        f->advice = text_of("before 5.12 the rings of io_uring are locked memory: ulimit -l 1024");
    }
}

static void look_at_somaxconn(struct finding *f)
{
    long long n = number_in("/proc/sys/net/core/somaxconn");
    if (n < 0)
        return;
    f->value = text_of("%lld", n);
    f->text = text_of("%lld connections may wait to be accepted, for each server", n);
    if (n < 1024) {
        f->state = FINDING_NOTE;
        f->advice = text_of("a longer backlog is cut to that: sysctl net.core.somaxconn=4096");
    }
}

static void look_at_ports(struct finding *f)
{
    char *line = line_in("/proc/sys/net/ipv4/ip_local_port_range");
    int first, last;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
    if (line && sscanf(line, "%d %d", &first, &last) == 2) {
        f->value = text_of("%d", last - first + 1);
        f->text = text_of("%d to %d: %s connections at once to one address and port", first, last,
                          f->value);
        if (last - first + 1 < 10000) {
            f->state = FINDING_NOTE;
            f->advice = text_of(
                "sysctl net.ipv4.ip_local_port_range=\"1024 65535\" gives clients more");
        }
    }
    free(line);
}

/* ---- coil run ---- */

static bool is_in_path(const char *program)
{
    if (strchr(program, '/'))
        return access(program, X_OK) == 0;
    const char *path = getenv("PATH");
    char *copy = text_of("%s", path ? path : "/bin:/usr/bin"), *rest = copy;
    bool found = false;
    for (char *folder; !found && (folder = strsep(&rest, ":"));) {
        char *file = text_of("%s/%s", *folder ? folder : ".", program);
        found = access(file, X_OK) == 0;
        free(file);
    }
    free(copy);
    return found;
}

static void look_at_compiler(struct finding *f)
{
    struct words command = {0};
    compiler_command(&command, "x.c", "x", "x.d");
    const char *compiler = command.list[0], *folder = compiler_include_folder();
    char *header = text_of("%s/coil.h", folder);
    f->value = text_of("%s", compiler);
    if (!is_in_path(compiler)) {
        f->state = FINDING_NOTE;
        f->text = text_of("there is no `%s`, which coil run and the shell need", compiler);
        f->advice = text_of("install a C compiler, or name one in CC");
    } else if (access(header, R_OK) < 0) {
        f->state = FINDING_NOTE;
        f->text = text_of("%s, but there is no %s", compiler, header);
        f->advice = text_of("install coil's headers, or name their folder in COIL_INCLUDEDIR");
    } else {
        f->text = text_of("%s, with %s", compiler, header);
    }
    free(header);
    words_free(&command);
}

/* ---- coil alone ---- */

static void look_at_editor(struct finding *f)
{
    const char *library = editor_library();
    f->value = text_of("%s", library ? library : "none");
    if (library) {
        f->text = text_of("%s edits lines in the shell", library);
        return;
    }
    f->state = FINDING_NOTE;
    f->text = text_of("lines in the shell are as the terminal has them: no history, no Tab");
    f->advice = text_of(
        "install libedit (libedit2) or readline (libreadline8); COIL_EDITOR chooses");
}

const struct checkup checkups[] = {
    {"kernel", look_at_kernel},
    {"libc", look_at_libc},
    {"cpu", look_at_cpu},
    {"clock", look_at_clock},
    {"proc", look_at_proc},
    {"backend", look_at_backend},
    {"io_uring", look_at_uring},
    {"loop", look_at_loop},
    {"guards", look_at_guards},
    {"memory", look_at_memory},
    {"descriptors", look_at_descriptors},
    {"threads", look_at_threads},
    {"memlock", look_at_locked_memory},
    {"somaxconn", look_at_somaxconn},
    {"ports", look_at_ports},
    {"compiler", look_at_compiler},
    {"editor", look_at_editor},
    {NULL, NULL},
};
