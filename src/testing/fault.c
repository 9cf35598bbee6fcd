/* SPDX-License-Identifier: MIT
 *
 * fault.c: one point after the other fails, each in a child of its own; fault.h has the picture.
 *
 * What can fail, by the word that COIL_FAULT begins with:
 *   alloc, alloc_all   the k-th allocation; every one from there
 *   errno              the k-th kernel call, with each error that call may give (`errors` below)
 *   short              the k-th transfer moves one byte
 *   cancel             the task that parks as the k-th is cancelled, as if by another
 *   timeout            it finds itself in a timeout scope whose time is up, which lasts until its function returns
 *
 * The first three need a library that counts (-Dsys_table=true); the last two work in every build.
 *
 * A body that takes every error is played a second time in its child, with nothing going wrong: what it met must not
 * stand in the way of what comes.
 *
 * Always true: the parent only counts, forks and judges; the shared page is all it learns from a child.
 *
 * The program's main thread; the wrappers of kernel calls also run on coil's threads. */
#include "testing/fault.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "task/task.h"
#include "testing/fault_calls.h"
#include "testing/fault_seen.h"

#include <coil/task.h>
#include <coil/timeout.h>
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    POINTS_MAX = 16384, /* of one test; beyond them they are only counted */
    FOUND_MAX = 8,      /* cases told of one test */
    HITS_MAX = 8,
    IDLE_MS = 600, /* a child that sleeps and never wakes for so long is stuck ... */
    IDLE_PARENT_MS =
        10000, /* ... if it has no children, that a busy machine may keep from running */
    LATE_MS = 60000,
    ASSERTED = 100,
    WAITED = 101,
};

#define KIND_WORDS "alloc, alloc_all, errno, short, cancel or timeout"
enum kind { NONE, ALLOC, ALLOC_ALL, ERRNO, SHORT, CANCEL, TIMEOUT, KINDS };
static const char *const kind_names[KINDS] = {"",      "alloc",  "alloc_all", "errno",
                                              "short", "cancel", "timeout"};

/* What a child tells. */
struct told {
    _Atomic unsigned points, of_call[256];
    unsigned char calls[POINTS_MAX]; /* errno, short: which call each was */
    char not_home[1024];             /* what a body that returned left behind; or nothing */
    const void *sites[POINTS_MAX];   /* where an allocation returned to; the word of a wait */
    const void
        *hits[HITS_MAX];     /* the same of those that failed; a child's child counts for itself */
    unsigned ordinal;        /* what the child is told: now.ordinal */
    _Atomic unsigned hits_n; /* how often the point was reached and failed */
    bool again;              /* the fault is over, and the body is played once more */
};

static struct {
    enum kind kind;
    unsigned long only; /* this point alone; 0: all */
    int only_error;
    unsigned long most; /* so many points of a test, evenly spread; 0: all */
    bool strict;
    bool fresh; /* only what was not failed yet by this program */
    bool read;
} asked;

static struct told *told; /* shared with the child */
static struct {
    bool child;
    unsigned long point; /* 0: count */
    int error;
    int call;         /* that the point is known to be, -1: any */
    unsigned ordinal; /* which one of these calls: threads may come in another order this time */
    int64_t tried;    /* allocations before the body */
    struct coil__task *timed; /* whose time is up, until its function returns; NULL: nobody's */
    coil_timeout_scope scope;
    uint32_t cancelling; /* that task's cancels outstanding before */
} now;

static void read_request(void)
{
    const char *text = coil__env_text("COIL_FAULT");
    asked.read = true;
    if (!text)
        return;
    size_t n = strcspn(text, ":");
    for (int kind = ALLOC; kind < KINDS; kind++)
        if (strlen(kind_names[kind]) == n && memcmp(text, kind_names[kind], n) == 0)
            asked.kind = (enum kind)kind;
    if (asked.kind == NONE) {
        fprintf(stderr, "COIL_FAULT=%s: it begins with " KIND_WORDS "\n", text);
        exit(2);
    }
#if !defined(COIL_SYS_TABLE) || !COIL_SYS_TABLE
    if (asked.kind < CANCEL) {
        fprintf(stderr, "COIL_FAULT=%s needs a libcoil that was built with -Dsys_table=true\n",
                text);
        exit(2);
    }
#endif
    char *end = NULL;
    if (text[n] == ':')
        asked.only = strtoul(text + n + 1, &end, 10);
    if (end && *end == ':')
        asked.only_error = (int)strtol(end + 1, NULL, 10);
    asked.most = coil__env_number("COIL_FAULT_MAX", 0);
    asked.strict = coil__env_flag("COIL_FAULT_STRICT");
    asked.fresh = coil__env_flag("COIL_FAULT_FRESH");
    coil__seen_read();
}

bool coil__fault_asked(void)
{
    if (!asked.read)
        read_request();
    return asked.kind != NONE;
}

bool coil__fault_in_child(void)
{
    return now.child;
}

/* Nobody may notice that it happened. */
static bool is_invisible(int error)
{
    return (asked.kind == SHORT && asked.strict) || (asked.kind == ERRNO && error == EINTR);
}

bool coil__fault_excuses(void)
{
    return now.child && now.point > 0 && !is_invisible(now.error);
}

/* ---- a point is reached ---- */

static bool may_give(unsigned call, int error)
{
    for (unsigned i = 0; i < ERRORS_MAX; i++)
        if (coil__calls_error(call, i) == error)
            return true;
    return false;
}

static void hit(const void *site)
{
    unsigned n = atomic_fetch_add(&told->hits_n, 1);
    if (n < HITS_MAX)
        told->hits[n] = site;
}

/* Counts it; is it the one that is to fail? */
bool coil__fault_reached(unsigned call)
{
    unsigned n = atomic_fetch_add(&told->points, 1) + 1,
             nth = atomic_fetch_add(&told->of_call[call], 1) + 1;
    if (n <= POINTS_MAX)
        told->calls[n - 1] = (unsigned char)call;
    if (now.point == 0 ||
        (now.call < 0 ? n != now.point : now.call != (int)call || nth != now.ordinal))
        return false;
    if (asked.kind == ERRNO && !may_give(call, now.error))
        return false;
    if (asked.kind != CANCEL && asked.kind != TIMEOUT)
        hit(NULL);
    return true;
}

int coil__fault_error(void)
{
    return now.error;
}

static void at_park(struct coil__task *task)
{
    const char *what = task->waiting->cls->what;
    unsigned n = atomic_load(&told->points);
    if (n < POINTS_MAX)
        told->sites[n] = what;
    if (!coil__fault_reached(0))
        return;
    hit(what);
    if (asked.kind == CANCEL) {
        coil_task_cancel(&task->future, NULL);
        return;
    }
    now.timed = task;
    now.cancelling = task->cancelling;
    (void)coil_timeout_enter(&now.scope, 0);
}

/* The scope ends with the task's function, as if its whole body stood in it. */
static coil_ret at_return(struct coil__task *task, coil_ret rc)
{
    if (task != now.timed)
        return rc;
    now.timed = NULL;
    /* One that was outstanding before may have been its own group's, which takes it back. */
    if (asked.strict && coil_timeout_expired(&now.scope) && !now.cancelling && !task->cancelling)
        snprintf(told->not_home, sizeof told->not_home,
                 "somebody took back the cancel of a deadline that was not theirs");
    return coil_timeout_exit(&now.scope, rc);
}

#if defined(COIL_SYS_TABLE) && COIL_SYS_TABLE
static void at_allocation(const void *site, int64_t nth, bool fails)
{
    int64_t n = nth - now.tried;
    /* A child counts on from its parent's number: who comes first is told of. */
    if (n <= POINTS_MAX && !told->sites[n - 1])
        told->sites[n - 1] = site;
    if (fails && n == (int64_t)now.point)
        hit(site);
}

static void arm_table(void)
{
    now.tried = coil__mem_tried();
    if (asked.kind == ALLOC || asked.kind == ALLOC_ALL)
        coil__mem_hook = at_allocation;
    if (asked.kind == ALLOC || asked.kind == ALLOC_ALL)
        coil__mem_fail_at((int64_t)now.point, asked.kind == ALLOC_ALL);
    else if (asked.kind == ERRNO)
        coil__calls_fail();
    else if (asked.kind == SHORT)
        coil__calls_shorten();
}

static void disarm_table(void)
{
    if (asked.kind == ALLOC || asked.kind == ALLOC_ALL) {
        coil__mem_fail_at(0, 0);
        coil__mem_hook = NULL;
        atomic_store(&told->points, (unsigned)(coil__mem_tried() - now.tried));
    } else {
        coil__calls_mend();
    }
}
#else
static void arm_table(void)
{
}
static void disarm_table(void)
{
}
int coil__calls_error(unsigned call, unsigned i)
{
    (void)call, (void)i;
    return 0;
}
const char *coil__calls_name(unsigned call)
{
    (void)call;
    return "";
}
#endif

/* ---- the child ---- */

void coil__fault_arm(void)
{
    if (!now.child)
        return;
    if (asked.kind < CANCEL) {
        arm_table();
        return;
    }
    coil__park_hook = at_park;
    coil__return_hook = at_return;
}

void coil__fault_disarm(void)
{
    if (!now.child)
        return;
    coil__park_hook = NULL;
    coil__return_hook = NULL;
    if (asked.kind < CANCEL)
        disarm_table();
}

void coil__fault_asserted(void)
{
    coil__sys_end_child(ASSERTED);
}

void coil__fault_waited(void)
{
    coil__sys_end_child(WAITED);
}

static _Noreturn void be_the_child(coil_test *test, const char *(*run)(coil_test *test),
                                   unsigned long point, int error, int call)
{
    /* cmocka would take a crash for a failed test, and go on with the next. */
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    const struct sigaction plain = {.sa_handler = SIG_DFL};
    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        (void)sys_sigaction(crashes[i], &plain, NULL);
    if (!asked.only) {
        int nowhere = sys_openat(AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0);
        (void)sys_dup2(nowhere, STDOUT_FILENO);
        (void)sys_dup2(nowhere, STDERR_FILENO);
        (void)sys_close(nowhere);
    }
    now.child = true;
    now.point = point;
    now.error = error;
    now.call = call;
    now.ordinal = told->ordinal;
    const char *not_home = run(test);
    if (!not_home && !told->not_home[0] && asked.strict && point > 0) {
        now.point = 0;
        told->again = true;
        not_home = run(test);
    }
    if (not_home)
        snprintf(told->not_home, sizeof told->not_home, "%s", not_home);
    coil__sys_end_child(0);
}

/* ---- the parent ---- */

struct outcome {
    bool crashed, stuck, asserted;
    bool unborn; /* there was no child */
    int signo;
};

static bool read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, size - 1, file) : 0;
    if (file)
        fclose(file);
    text[n] = 0;
    return n > 0;
}

/* How often the main thread of a process went to sleep, which whoever waits for ever does no more, and the ticks of CPU of all
 * its threads. */
static unsigned long long activity_of(pid_t pid)
{
    char path[64], text[4096];
    unsigned long long user = 0, system = 0, slept = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_text(path, text, sizeof text)) {
        const char *after_name = strrchr(text, ')');
        if (after_name)
            (void)sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                         &user, &system);
    }
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (read_text(path, text, sizeof text)) {
        const char *line = strstr(text, "\nvoluntary_ctxt_switches:");
        if (line)
            slept = strtoull(line + strlen("\nvoluntary_ctxt_switches:"), NULL, 10);
    }
    return user + system + slept;
}

/* Would one of its threads run if there were a processor? */
static bool is_ready(pid_t pid)
{
    char path[96], text[512];
    bool ready = false;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !ready && (e = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, e->d_name);
        const char *after_name = read_text(path, text, sizeof text) ? strrchr(text, ')') : NULL;
        ready = after_name && strchr("RD", after_name[2]);
    }
    if (dir)
        closedir(dir);
    return ready;
}

static bool has_children(pid_t pid)
{
    char path[64], text[16];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    return read_text(path, text, sizeof text);
}

/* Waits for its end; one that only waits itself, or lasts too long, is killed. */
static struct outcome wait_for(pid_t pid)
{
    struct outcome o = {0};
    const struct timespec pause = {.tv_nsec = 300000};
    int64_t began = coil__clock_real_ns(), last_change = began;
    unsigned long long seen = activity_of(pid);
    siginfo_t info;
    for (unsigned round = 1;; round++) {
        memset(&info, 0, sizeof info);
        if (sys_waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0 && info.si_pid == pid)
            break;
        (void)sys_ppoll(NULL, 0, &pause, NULL);
        if (round % 64)
            continue;
        int64_t at = coil__clock_real_ns();
        unsigned long long active = activity_of(pid);
        if (active != seen || is_ready(pid)) {
            seen = active;
            last_change = at;
        }
        int64_t idle_ms = (at - last_change) / NS_PER_MS;
        if (idle_ms > (has_children(pid) ? IDLE_PARENT_MS : IDLE_MS) ||
            at - began > LATE_MS * NS_PER_MS) {
            o.stuck = true;
            (void)sys_kill(pid, SIGKILL);
        }
    }
    o.asserted = info.si_code == CLD_EXITED && info.si_status == ASSERTED;
    o.stuck |= info.si_code == CLD_EXITED && info.si_status == WAITED;
    o.crashed = !o.stuck && !o.asserted && (info.si_code != CLD_EXITED || info.si_status != 0);
    o.signo = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return o;
}

static struct outcome try_point(coil_test *test, const char *(*run)(coil_test *test),
                                unsigned long point, int error, int call)
{
    atomic_store(&told->points, 0);
    for (unsigned i = 0; i < sizeof told->of_call / sizeof told->of_call[0]; i++)
        atomic_store(&told->of_call[i], 0);
    told->not_home[0] = 0;
    told->again = false;
    atomic_store(&told->hits_n, 0);
    fflush(stdout);
    fflush(stderr);
    pid_t pid = sys_fork();
    if (pid == 0)
        be_the_child(test, run, point, error, call);
    return pid < 0 ? (struct outcome){.unborn = true} : wait_for(pid);
}

static struct {
    char text[2048];
    unsigned n;
} found;

COIL_PRINTF(1, 2) static void note(const char *fmt, ...)
{
    if (found.n++ >= FOUND_MAX)
        return;
    size_t n = strlen(found.text);
    if (n > 0 && n + 3 < sizeof found.text)
        n += (size_t)snprintf(found.text + n, sizeof found.text - n, "; ");
    va_list args;
    va_start(args, fmt);
    vsnprintf(found.text + n, sizeof found.text - n, fmt, args);
    va_end(args);
}

static void judge(const struct outcome *o, unsigned long point, int error, unsigned call)
{
    char where[128];
    int n;
    if (asked.kind == ERRNO)
        n = snprintf(where, sizeof where, "errno:%lu:%d (%s of %s)", point, error,
                     coil_errname(-error), coil__calls_name(call));
    else if (asked.kind == SHORT)
        n = snprintf(where, sizeof where, "short:%lu (%s)", point, coil__calls_name(call));
    else
        n = snprintf(where, sizeof where, "%s:%lu", kind_names[asked.kind], point);
    if (told->again)
        snprintf(where + n, sizeof where - (size_t)n, ", and when all was well again");
    if (o->unborn)
        note("%s: no child could be started", where);
    else if (o->crashed)
        note("%s: %s", where, o->signo ? strsignal(o->signo) : "it exits by itself");
    else if (o->stuck && (asked.strict || is_invisible(error)))
        note("%s: it waits for ever", where);
    else if (o->asserted && (told->again || is_invisible(error)))
        note("%s: it was noticed", where);
    else if (told->not_home[0] && !o->stuck && !o->asserted)
        note("%s: %s", where, told->not_home);
}

struct sums {
    unsigned long points, cases, asserted, stuck;
};

/* For the statement of what was swept. */
static void note_reached(unsigned long points)
{
    for (unsigned long i = 0; i < points && i < POINTS_MAX; i++) {
        if (asked.kind == ERRNO || asked.kind == SHORT)
            coil__seen_call(told->calls[i], 0);
        else if (told->sites[i] && asked.kind >= CANCEL)
            coil__seen_wait(told->sites[i], false);
        else if (told->sites[i])
            coil__seen_site(told->sites[i], false);
    }
}

static void note_failed(unsigned call, int error, const void *site)
{
    unsigned n = atomic_load(&told->hits_n);
    if (!n && site)
        coil__seen_missed(site);
    if (n && asked.kind == ERRNO)
        coil__seen_call(call, error);
    for (unsigned i = 0; i < n && i < HITS_MAX; i++) {
        if (told->hits[i] && asked.kind >= CANCEL)
            coil__seen_wait(told->hits[i], true);
        else if (told->hits[i])
            coil__seen_site(told->hits[i], true);
    }
}

static void sweep_point(coil_test *test, const char *(*run)(coil_test *test), unsigned long point,
                        const unsigned char *calls, const void *const *sites, struct sums *sums)
{
    unsigned call = point <= POINTS_MAX ? calls[point - 1] : 0;
    bool of_calls = asked.kind == ERRNO || asked.kind == SHORT;
    const void *site = point <= POINTS_MAX && !of_calls ? sites[point - 1] : NULL;
    if (asked.fresh && !of_calls && (!site || coil__seen_failed(site)))
        return;
    told->ordinal = 0;
    for (unsigned long i = 0; i < point && i < POINTS_MAX; i++)
        told->ordinal += calls[i] == call;
    for (unsigned i = 0; i < (asked.kind == ERRNO ? ERRORS_MAX : 1); i++) {
        int error = asked.kind == ERRNO ? coil__calls_error(call, i) : 0;
        if ((asked.kind == ERRNO && !error) || (asked.only_error && error != asked.only_error) ||
            (asked.fresh && coil__seen_failed_with(call, error)))
            continue;
        struct outcome o = try_point(test, run, point, error, asked.kind == ERRNO ? (int)call : -1);
        judge(&o, point, error, call);
        note_failed(call, error, site);
        sums->cases++;
        sums->asserted += o.asserted;
        sums->stuck += o.stuck;
    }
}

const char *coil__fault_sweep(coil_test *test, const char *(*run)(coil_test *test))
{
    struct sums sums = {0};
    found.n = 0;
    found.text[0] = 0;
    if (!told) {
        void *page;
        if (sys_mmap(sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, &page) < 0)
            return "no memory for what a child has to tell";
        told = page;
    }
    if (asked.only &&
        coil__env_flag(
            "COIL_FAULT_HERE")) /* for a debugger: no child, and it ends with this test */
        be_the_child(test, run, asked.only, asked.only_error, -1);
    memset(told->sites, 0, sizeof told->sites);
    struct outcome clean = try_point(test, run, 0, 0, -1);
    if (clean.unborn || clean.crashed || clean.stuck || clean.asserted || told->not_home[0]) {
        fprintf(stderr, "# fault %s: %s: it does not pass by itself in a child of fork\n",
                kind_names[asked.kind], test->name);
        return NULL;
    }
    sums.points = atomic_load(&told->points);
    note_reached(sums.points);
    static unsigned char calls[POINTS_MAX];
    static const void *sites[POINTS_MAX];
    memcpy(calls, told->calls, sizeof calls);
    memcpy(sites, told->sites, sizeof sites);
    unsigned long step = asked.most && sums.points > asked.most
                             ? (sums.points + asked.most - 1) / asked.most
                             : 1;
    for (unsigned long point = asked.only ? asked.only : 1 + sums.points % step;
         point <= sums.points && (point <= POINTS_MAX || !asked.fresh); point += step) {
        sweep_point(test, run, point, calls, sites, &sums);
        if (asked.only)
            break;
    }
    coil__seen_write();
    fprintf(stderr,
            "# fault %s: %s: %lu points, %lu cases, %lu met an assertion, %lu waited for ever, %u "
            "found\n",
            kind_names[asked.kind], test->name, sums.points, sums.cases, sums.asserted, sums.stuck,
            found.n);
    return found.n ? found.text : NULL;
}
