/* SPDX-License-Identifier: MIT
 *
 * signal.c: signals become callbacks.
 *
 *     kernel --> on_signal, in any thread --> the loop's inbox --> node.fn --> ready ring --> fn(arg)
 *
 * The handler counts and posts a node that was there before; it takes no lock, no memory, and makes no kernel call
 * but getpid and, if the loop sleeps, the write that wakes it. The first signal posts, those that come before it was
 * taken only count.
 *
 *     catchers[signo]:  newest --behind--> ... --> NULL        what stood before the first is in `earlier`
 *
 * Always true:
 *   - our handler is installed for a signal while it has a catcher, and restored when it has none, unless somebody
 *     else took the signal meanwhile; who asks for it after him has it again;
 *   - whoever leaves a list waits until no handler is inside that could still see him;
 *   - a child of fork catches nothing: its copies of the lists speak of loops that are its parent's.
 *
 * The lists belong to the lock, the handler runs anywhere, the rest on the loop's thread. Elsewhere: the first and
 * the second Ctrl-C (run/interrupt.c). */
#include "loop/signal.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"
#include "base/thread.h"

#include <coil/signal.h>

#include <limits.h>

enum { SIGNALS = _NSIG };

static struct {
    _Atomic(struct catcher *) first;
    _Atomic int inside;      /* handlers that may hold a catcher of this list */
    _Atomic pid_t pid;       /* whose they are */
    _Atomic bool sent_again; /* by the last one who left: what comes too late for him */
    struct sigaction earlier;
} sources[SIGNALS];
static struct mutex lock = MUTEX_INIT;

/* ---- names ---- */

const char *coil__signal_name(int signo, char text[static 32])
{
#define N(name) [name] = #name
    static const char *const names[] = {
        N(SIGHUP),    N(SIGINT),  N(SIGQUIT),  N(SIGILL),  N(SIGTRAP), N(SIGABRT),
        N(SIGBUS),    N(SIGFPE),  N(SIGKILL),  N(SIGUSR1), N(SIGSEGV), N(SIGUSR2),
        N(SIGPIPE),   N(SIGALRM), N(SIGTERM),  N(SIGCHLD), N(SIGCONT), N(SIGSTOP),
        N(SIGTSTP),   N(SIGTTIN), N(SIGTTOU),  N(SIGURG),  N(SIGXCPU), N(SIGXFSZ),
        N(SIGVTALRM), N(SIGPROF), N(SIGWINCH), N(SIGIO),   N(SIGPWR),  N(SIGSYS)};
#undef N
    if (signo > 0 && signo < (int)(sizeof names / sizeof names[0]) && names[signo])
        snprintf(text, 32, "signal %d (%s)", signo, names[signo]);
    else if (signo >= SIGRTMIN && signo <= SIGRTMAX)
        snprintf(text, 32, "signal %d (SIGRTMIN+%d)", signo, signo - SIGRTMIN);
    else
        snprintf(text, 32, "signal %d", signo);
    return text;
}

/* ---- the handler ---- */

/* What the process would have done without us. */
static void pass_on(int signo)
{
    (void)sys_sigaction(signo, &sources[signo].earlier, NULL);
    (void)raise(signo); /* blocked until the handler returns */
}

/* False if c has had its share. */
static bool tell(struct catcher *c)
{
    if (c->lasts && atomic_fetch_add(&c->total, 1) >= c->lasts)
        return false;
    if (c->at_once)
        c->at_once(c);
    unsigned n = atomic_load_explicit(&c->came, memory_order_relaxed);
    do
        if (n >= c->most)
            return true;
    while (!atomic_compare_exchange_weak_explicit(&c->came, &n, n + 1, memory_order_seq_cst,
                                                  memory_order_relaxed));
    if (n == 0)
        coil__inbox_post(c->loop->inbox, &c->node);
    return true;
}

/* Between the two counts of `inside` no catcher goes away. */
static bool tell_first(int signo, bool real)
{
    atomic_fetch_add(&sources[signo].inside, 1);
    struct catcher *c = atomic_load(&sources[signo].first);
    bool told = c && tell(c);
    /* Without a catcher the action was changed before we came here, perhaps for one who was installed since: it is not
     * touched. The signal came in the time of the one who left, who drops what he has not answered, or sends it again. */
    bool late = !c;
    if (late && real && atomic_load(&sources[signo].sent_again))
        (void)raise(signo);
    else if (!late && !told && real)
        pass_on(signo);
    atomic_fetch_sub(&sources[signo].inside, 1);
    return told;
}

static void on_signal(int signo)
{
    int saved = errno;
    /* A child of vfork or clone has our handler, and nobody told it of the fork: its signals are its own. */
    if (sys_getpid() == atomic_load(&sources[signo].pid))
        (void)tell_first(signo, true);
    else
        pass_on(signo);
    errno = saved;
}

bool coil__signal_deliver(int signo)
{
    return signo > 0 && signo < SIGNALS && tell_first(signo, false);
}

/* ---- the lists ---- */

static bool is_ours(int signo)
{
    struct sigaction now;
    return sys_sigaction(signo, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           now.sa_handler == on_signal;
}

static void forked(void)
{
    coil__mutex_init(&lock);
    for (int signo = 1; signo < SIGNALS; signo++) {
        if (!atomic_load(&sources[signo].first))
            continue;
        if (is_ours(signo))
            (void)sys_sigaction(signo, &sources[signo].earlier, NULL);
        atomic_store(&sources[signo].first, NULL);
        atomic_store(&sources[signo].inside, 0);
    }
}

/* The earlier action, and c, are known before our handler can run. */
static int install(int signo, struct catcher *c)
{
    struct sigaction ours = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&ours.sa_mask); /* one handler at a time on whatever stack it meets */
    struct catcher *before = atomic_load(&sources[signo].first);
    int err = sys_sigaction(signo, NULL, &sources[signo].earlier);
    if (err)
        return err;
    atomic_store(&sources[signo].pid, sys_getpid());
    atomic_store(&sources[signo].first, c);
    err = sys_sigaction(signo, &ours, NULL);
    if (err)
        atomic_store(&sources[signo].first, before);
    return err;
}

static int refusal(int signo)
{
    char name[32];
    coil__signal_name(signo, name);
    switch (signo) {
    case SIGKILL:
    case SIGSTOP: return (int)coil__fail(-EINVAL, "%s cannot be caught", name);
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
        return (int)coil__fail(-EINVAL,
                               "%s tells of the instruction at hand; no later callback can put "
                               "that right",
                               name);
    default:
        if (signo > 0 && signo < SIGNALS)
            return 0;
        return (int)coil__fail(-EINVAL, "there is no %s", name);
    }
}

int coil__signal_catch(struct catcher *c)
{
    static _Atomic int asked;
    char name[32];
    int signo = c->signo;
    int err = refusal(signo);
    if (err)
        return err;
    if (coil__thread_at_fork(&asked, forked) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    coil__mutex_lock(&lock);
    struct catcher *first = atomic_load(&sources[signo].first);
    c->behind = first;
    if (first && !first->yields)
        err = -EBUSY;
    else if (first && is_ours(signo))
        atomic_store(&sources[signo].first, c);
    else
        err = install(signo, c);
    coil__mutex_unlock(&lock);
    if (err == -EBUSY)
        return (int)coil__fail(err, "%s is handled by another loop",
                               coil__signal_name(signo, name));
    if (err)
        return (int)coil__fail(err, "%s cannot be handled: %s", coil__signal_name(signo, name),
                               coil_strerror(err));
    return 0;
}

/* c asks again, and somebody else may have taken the signal since. 0 or an error, recorded. */
static int catch_again(struct catcher *c)
{
    char name[32];
    coil__mutex_lock(&lock);
    int err = is_ours(c->signo) ? 0 : install(c->signo, atomic_load(&sources[c->signo].first));
    coil__mutex_unlock(&lock);
    return err ? (int)coil__fail(err, "%s cannot be handled: %s", coil__signal_name(c->signo, name),
                                 coil_strerror(err))
               : 0;
}

static void unlink_catcher(struct catcher *c)
{
    struct catcher *first = atomic_load(&sources[c->signo].first);
    if (first == c) {
        atomic_store(&sources[c->signo].sent_again, c->yields);
        if (!c->behind && is_ours(c->signo))
            (void)sys_sigaction(c->signo, &sources[c->signo].earlier, NULL);
        atomic_store(&sources[c->signo].first, c->behind);
    }
    for (; first; first = first->behind)
        if (first->behind == c)
            first->behind = c->behind;
}

void coil__signal_let_go(struct catcher *c)
{
    coil__mutex_lock(&lock);
    unlink_catcher(c);
    while (atomic_load(
        &sources[c->signo].inside)) /* in another thread, for some twenty instructions */
        coil__thread_pause();
    coil__mutex_unlock(&lock);
    if (!loop_inherited(c->loop))
        coil__loop_drain_inbox(c->loop);
}

unsigned coil__signal_take(struct catcher *c)
{
    return atomic_fetch_sub(&c->came, 1) - 1;
}

bool coil__signal_is_default(int signo)
{
    struct sigaction now;
    return sys_sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

/* ---- callbacks ---- */

struct signal_watch {
    struct catcher catcher;
    struct list link;
    coil_callback_fn fn;
    void *arg;
    struct context_map *map;
    uint64_t position; /* in the ring while queued */
    bool queued;
};

static void push(struct signal_watch *w);

static void run_watch(void *arg)
{
    struct signal_watch *w = arg;
    w->queued = false;
    if (coil__signal_take(&w->catcher) > 0)
        push(w); /* one a turn: others get theirs between */
    if (w->map)
        w->catcher.loop->hub_context.map = coil__context_map_ref(w->map);
    w->fn(w->arg);
}

static void push(struct signal_watch *w)
{
    w->queued = true;
    loop_push(w->catcher.loop, run_watch, w, NULL);
    w->position = loop_last_position(w->catcher.loop);
}

static void watch_told(struct inbox_node *node)
{
    push(container_of(node, struct signal_watch, catcher.node));
}

static struct signal_watch *find(coil_loop *loop, int signo)
{
    LIST_FOREACH(link, &loop->signals) {
        struct signal_watch *w = container_of(link, struct signal_watch, link);
        if (w->catcher.signo == signo)
            return w;
    }
    return NULL;
}

static void remove_watch(struct signal_watch *w)
{
    coil_loop *loop = w->catcher.loop;
    coil__signal_let_go(&w->catcher);
    if (w->queued)
        coil__loop_unpush(loop, w->position);
    list_remove(&w->link);
    coil__context_map_unref(w->map);
    loop_release(loop, 1);
    coil__free(w);
}

static int add(coil_loop *loop, int signo, struct signal_watch **out)
{
    if (coil__loop_hold(loop, 1) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    int err;
    struct signal_watch *w = coil__zalloc(sizeof *w);
    if (!w) {
        err = (int)coil__fail_plain(-ENOMEM);
        goto undo_room;
    }
    w->catcher = (struct catcher){.node.fn = watch_told,
                                  .loop = loop,
                                  .signo = signo,
                                  .most = signo >= SIGRTMIN ? UINT_MAX : 1};
    err = coil__signal_catch(&w->catcher);
    if (err)
        goto undo_watch;
    list_push(&loop->signals, &w->link);
    *out = w;
    return 0;
undo_watch:
    coil__free(w);
undo_room:
    loop_release(loop, 1);
    return err;
}

int coil_loop_add_signal_handler(coil_loop *loop, int signo, coil_callback_fn fn, void *arg)
{
    if (!(loop = coil__loop_use_current(loop)))
        return (int)coil_last_error()->code;
    if (!fn)
        return (int)coil__fail(-EINVAL, "a callback needs a function (NULL)");
    struct signal_watch *w = find(loop, signo);
    int err = w ? catch_again(&w->catcher) : add(loop, signo, &w);
    if (err)
        return err;
    w->fn = fn;
    w->arg = arg;
    coil__context_map_unref(w->map);
    w->map = context_capture();
    return 0;
}

int coil_loop_remove_signal_handler(coil_loop *loop, int signo)
{
    char name[32];
    if (signo <= 0 || signo >= SIGNALS)
        return (int)coil__fail(-EINVAL, "there is no %s", coil__signal_name(signo, name));
    if (!loop && !(loop = coil_get_event_loop()))
        return 0;
    struct signal_watch *w = loop->closed || loop_inherited(loop) ? NULL : find(loop, signo);
    if (!w)
        return 0;
    remove_watch(w);
    return 1;
}

void coil__signals_drop(struct coil_loop *loop)
{
    for (struct list *link; (link = list_first(&loop->signals));)
        remove_watch(container_of(link, struct signal_watch, link));
}
