/* SPDX-License-Identifier: MIT
 *
 * handle.c: a callback waiting for its turn, and the ways to queue one.
 *
 *     TIMED --due--> QUEUED --its turn--> RUNNING --> DONE
 *       |              |
 *       +--- cancel ---+--> CANCELLED
 *     POSTED --inbox--> QUEUED          (from another thread)
 *
 * A bare callback (nobody asked for a handle) is only a slot, or from another thread a small node. A
 * handle is counted: one reference is the loop's until the callback ran or was cancelled, the other
 * the user's.
 *
 * Always true:
 *   - a handle the loop has is in loop->handles and holds one room in the ring;
 *   - handles made by another thread (shared) are locked; all others belong to the loop's thread.
 *
 * Runs on the loop's thread but for the *_threadsafe calls and what they say. */
#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"
#include "loop/loop.h"

enum handle_state {
    HANDLE_TIMED,
    HANDLE_POSTED,
    HANDLE_QUEUED,
    HANDLE_RUNNING,
    HANDLE_DONE,
    HANDLE_CANCELLED
};

enum { FREE_HANDLES_MAX = 256 };

/* What a handle needs besides when two threads may touch it. */
struct shared {
    struct mutex lock;
    struct cond done;
    struct inbox_node node;
    struct coil_handle *handle;
    struct inbox *inbox; /* counted; the loop may be gone when this is still held */
};

struct coil_handle {
    struct timer timer;
    struct list link; /* loop->handles, or loop->free_handles */
    coil_loop *loop;
    coil_callback_fn fn;
    void *arg;
    struct context_map *map; /* captured ... */
    coil_context *context;   /* ... or given, counted */
    int64_t when_ns;
    uint64_t position; /* in the ring while QUEUED */
    struct shared *shared;
    _Atomic uint32_t refs;
    uint8_t state;
    bool is_timer;
};

/* ---- counting ---- */

static void free_handle(coil_handle *h)
{
    if (h->shared) {
        coil__mutex_fini(&h->shared->lock);
        coil__cond_fini(&h->shared->done);
        coil__inbox_unref(h->shared->inbox);
        coil__free(h->shared);
        coil__free(h);
        return;
    }
    coil_loop *loop = h->loop;
    if (loop->closed || loop->closing || loop->free_handles_n >= FREE_HANDLES_MAX) {
        coil__free(h);
        return;
    }
    list_push_front(&loop->free_handles, &h->link);
    loop->free_handles_n++;
}

/* Only shared handles are counted by several threads; the others are spared the locked instruction, which
 * costs more than the rest of a timer's life. */
static inline uint32_t add_refs(coil_handle *h, uint32_t n)
{
    if (coil_unlikely(h->shared != NULL))
        return atomic_fetch_add_explicit(&h->refs, n, memory_order_acq_rel) + n;
    uint32_t refs = atomic_load_explicit(&h->refs, memory_order_relaxed) + n;
    atomic_store_explicit(&h->refs, refs, memory_order_relaxed);
    return refs;
}

coil_handle *coil_handle_ref(coil_handle *handle)
{
    add_refs(handle, 1);
    return handle;
}

void coil_handle_unref(coil_handle *handle)
{
    if (handle && add_refs(handle, (uint32_t)-1) == 0)
        free_handle(handle);
}

static coil_handle *new_handle(coil_loop *loop, coil_callback_fn fn, void *arg)
{
    coil_handle *h;
    struct list *link = list_pop(&loop->free_handles);
    if (link) {
        loop->free_handles_n--;
        h = container_of(link, coil_handle, link);
    } else if (!(h = coil__alloc(sizeof *h))) {
        return NULL;
    }
    *h = (coil_handle){.loop = loop, .fn = fn, .arg = arg, .when_ns = CLOCK_FOREVER};
    heap_node_init(&h->timer.node);
    list_init(&h->link);
    atomic_init(&h->refs, 1);
    return h;
}

/* The loop is through with it: ran, cancelled, or closed. */
static void let_go(coil_handle *h)
{
    if (h->map)
        coil__context_map_unref(h->map);
    if (h->context)
        coil_context_unref(h->context);
    h->map = NULL;
    h->context = NULL;
    list_remove(&h->link);
    loop_release(h->loop, 1);
    coil_handle_unref(h);
}

/* ---- running ---- */

static bool start_running(coil_handle *h)
{
    if (!h->shared) {
        h->state = HANDLE_RUNNING;
        return true;
    }
    coil__mutex_lock(&h->shared->lock);
    bool run = h->state == HANDLE_QUEUED;
    if (run)
        h->state = HANDLE_RUNNING;
    coil__mutex_unlock(&h->shared->lock);
    return run;
}

static void end_running(coil_handle *h)
{
    if (!h->shared) {
        h->state = HANDLE_DONE;
        return;
    }
    coil__mutex_lock(&h->shared->lock);
    h->state = HANDLE_DONE;
    coil__cond_broadcast(&h->shared->done);
    coil__mutex_unlock(&h->shared->lock);
}

static void report_not_run(coil_handle *h, coil_ret why)
{
    coil_exception_context context = {
        .size = sizeof context,
        .message = "a callback was not run: its context is already entered",
        .code = why,
        .handle = h,
        .fd = -1,
        .kind = "callback-not-run"};
    coil_loop_call_exception_handler(h->loop, &context);
}

struct call {
    coil_callback_fn fn;
    void *arg;
};

static coil_ret call_it(void *arg)
{
    const struct call *call = arg;
    call->fn(call->arg);
    return 0;
}

static void handle_run(void *arg)
{
    coil_handle *h = arg;
    if (start_running(h)) {
        if (h->context) {
            struct call call = {h->fn, h->arg};
            coil_ret rc = coil_context_run(h->context, call_it, &call);
            if (coil_iserr(rc))
                report_not_run(h, rc);
        } else {
            /* Given to the loop's own context, which drops it when the slot is done. */
            h->loop->hub_context.map = h->map;
            h->map = NULL;
            h->fn(h->arg);
        }
        end_running(h);
    }
    let_go(h);
}

static void enqueue(coil_handle *h)
{
    h->state = HANDLE_QUEUED;
    loop_push(h->loop, handle_run, h, NULL);
    h->position = loop_last_position(h->loop);
}

static void handle_due(struct timer *timer)
{
    enqueue(container_of(timer, coil_handle, timer));
}

/* ---- call_soon, call_later ---- */

/* A handle that the loop keeps, with room in the ring; NULL: no memory, and that is recorded. */
static coil_handle *new_kept(coil_loop *loop, coil_callback_fn fn, void *arg, coil_context *context)
{
    if (coil__loop_hold(loop, 1) < 0)
        goto no_memory;
    coil_handle *h = new_handle(loop, fn, arg);
    if (!h)
        goto undo_hold;
    if (context)
        h->context = coil_context_ref(context);
    else
        h->map = context_capture();
    list_push(&loop->handles, &h->link);
    return h;
undo_hold:
    loop_release(loop, 1);
no_memory:
    coil__fail_plain(-ENOMEM);
    return NULL;
}

static void give_out(coil_handle *h, coil_handle **out)
{
    if (out)
        *out = coil_handle_ref(h);
}

static int no_function(void)
{
    return (int)coil__fail(-EINVAL, "a callback needs a function (NULL)");
}

static int no_loop(void)
{
    return (int)coil_last_error()->code;
}

/* With an object of its own: somebody wants to cancel it, or its context is not the caller's. */
static int call_soon_handle(coil_loop *loop, coil_callback_fn fn, void *arg, coil_context *context,
                            coil_handle **out)
{
    coil_handle *h = new_kept(loop, fn, arg, context);
    if (!h)
        return -ENOMEM;
    enqueue(h);
    give_out(h, out);
    return 0;
}

/* Only a slot. */
static inline int call_soon_bare(coil_loop *loop, coil_callback_fn fn, void *arg)
{
    struct context_map *map = context_capture();
    if (coil_likely(loop_push_new(loop, fn, arg, map) == 0))
        return 0;
    coil__context_map_unref(map);
    return (int)coil__fail_plain(-ENOMEM);
}

int coil_loop_call_soon_context(coil_loop *loop, coil_callback_fn fn, void *arg,
                                coil_context *context, coil_handle **out)
{
    if (!(loop = coil__loop_use_current(loop)))
        return no_loop();
    if (coil_unlikely(!fn))
        return no_function();
    return out || context ? call_soon_handle(loop, fn, arg, context, out)
                          : call_soon_bare(loop, fn, arg);
}

int coil_loop_call_soon(coil_loop *loop, coil_callback_fn fn, void *arg, coil_handle **out)
{
    if (!(loop = coil__loop_use_current(loop)))
        return no_loop();
    if (coil_unlikely(!fn))
        return no_function();
    return out ? call_soon_handle(loop, fn, arg, NULL, out) : call_soon_bare(loop, fn, arg);
}

static int call_at_ns(coil_loop *loop, int64_t when_ns, coil_callback_fn fn, void *arg,
                      coil_context *context, coil_handle **out)
{
    if (!fn)
        return no_function();
    coil_handle *h = new_kept(loop, fn, arg, context);
    if (!h)
        return -ENOMEM;
    h->is_timer = true;
    h->state = HANDLE_TIMED;
    h->when_ns = when_ns;
    h->timer.fire = handle_due;
    int err = coil__timer_start(loop, &h->timer, when_ns);
    if (err) {
        h->state = HANDLE_CANCELLED;
        let_go(h);
        return (int)coil__fail_plain(err);
    }
    give_out(h, out);
    return 0;
}

int coil_loop_call_later_context(coil_loop *loop, double delay, coil_callback_fn fn, void *arg,
                                 coil_context *context, coil_handle **out)
{
    int64_t when;
    if (!(loop = coil__loop_use_current(loop)))
        return no_loop();
    int err = coil__deadline_after(loop, delay, &when);
    if (err)
        return err;
    if (delay <= 0)
        loop_look_next(loop);
    return call_at_ns(loop, when, fn, arg, context, out);
}

int coil_loop_call_later(coil_loop *loop, double delay, coil_callback_fn fn, void *arg,
                         coil_handle **out)
{
    return coil_loop_call_later_context(loop, delay, fn, arg, NULL, out);
}

int coil_loop_call_at_context(coil_loop *loop, double when, coil_callback_fn fn, void *arg,
                              coil_context *context, coil_handle **out)
{
    if (!(loop = coil__loop_use_current(loop)))
        return no_loop();
    if (when != when)
        return (int)coil__fail(-EINVAL, "a time must be a number of seconds, not NaN");
    int64_t when_ns = coil__clock_from_seconds(when);
    if (when_ns <= loop_now_ns(loop))
        loop_look_next(loop);
    return call_at_ns(loop, when_ns, fn, arg, context, out);
}

int coil_loop_call_at(coil_loop *loop, double when, coil_callback_fn fn, void *arg,
                      coil_handle **out)
{
    return coil_loop_call_at_context(loop, when, fn, arg, NULL, out);
}

/* ---- from other threads ---- */

static void posted_arrives(struct inbox_node *node)
{
    struct inbox_call *posted = container_of(node, struct inbox_call, node);
    coil_loop *loop = posted->owner;
    if (loop->closing) {
        coil__context_map_unref(posted->map);
    } else if (loop_push_new(loop, posted->fn, posted->arg, posted->map) < 0) {
        /* No memory for a larger ring: nothing is lost, it comes again with the next turn. */
        (void)coil__inbox_post(loop->inbox, node);
        return;
    }
    coil__inbox_call_free(loop->inbox, posted);
}

static void shared_arrives(struct inbox_node *node)
{
    coil_handle *h = container_of(node, struct shared, node)->handle;
    coil_loop *loop = h->loop;
    coil__mutex_lock(&h->shared->lock);
    bool live = h->state == HANDLE_POSTED && !loop->closing;
    if (live && coil__loop_hold(loop, 1) < 0) {
        coil__mutex_unlock(&h->shared->lock);
        (void)coil__inbox_post(loop->inbox, node);
        return;
    }
    if (live) {
        list_push(&loop->handles, &h->link);
        enqueue(h);
    } else {
        h->state = HANDLE_CANCELLED;
    }
    coil__mutex_unlock(&h->shared->lock);
    if (!live) {
        coil__context_map_unref(h->map);
        coil_context_unref(h->context);
        h->map = NULL;
        h->context = NULL;
        coil_handle_unref(h);
    }
}

static int post_bare(coil_loop *loop, coil_callback_fn fn, void *arg, struct context_map *map)
{
    struct inbox_call *posted = coil__inbox_call_new(loop->inbox);
    if (!posted)
        return -ENOMEM;
    posted->node.fn = posted_arrives;
    posted->owner = loop;
    posted->fn = fn;
    posted->arg = arg;
    posted->map = map;
    if (coil__inbox_post(loop->inbox, &posted->node))
        return 0;
    coil__inbox_call_free(loop->inbox, posted);
    return COIL_ECLOSED;
}

static int post_shared(coil_loop *loop, coil_callback_fn fn, void *arg, struct context_map *map,
                       coil_handle **out)
{
    coil_handle *h = coil__alloc(sizeof *h);
    struct shared *shared = coil__alloc(sizeof *shared);
    if (!h || !shared) {
        coil__free(h);
        coil__free(shared);
        return -ENOMEM;
    }
    *h = (coil_handle){.loop = loop, .fn = fn, .arg = arg, .map = map, .when_ns = CLOCK_FOREVER};
    h->state = HANDLE_POSTED;
    heap_node_init(&h->timer.node);
    list_init(&h->link);
    atomic_init(&h->refs, 2); /* the loop's and the caller's, before the loop can see it */
    *shared = (struct shared){.node.fn = shared_arrives, .handle = h};
    shared->inbox = coil__inbox_ref(loop->inbox);
    coil__mutex_init(&shared->lock);
    coil__cond_init(&shared->done);
    h->shared = shared;
    if (coil__inbox_post(loop->inbox, &shared->node)) {
        *out = h;
        return 0;
    }
    free_handle(h);
    return COIL_ECLOSED;
}

int coil_loop_call_soon_threadsafe_context(coil_loop *loop, coil_callback_fn fn, void *arg,
                                           const coil_context *context, coil_handle **out)
{
    struct context_map *map;
    if (!loop && !(loop = coil_get_event_loop()))
        return COIL_ENOLOOP;
    if (!fn)
        return no_function();
    if (loop_inherited(loop))
        return coil__loop_say_inherited();
    if (!context)
        context = coil__context_current();
    int err = coil__context_map_clone(context->map, &map);
    if (!err) {
        err = out ? post_shared(loop, fn, arg, map, out) : post_bare(loop, fn, arg, map);
        if (err)
            coil__context_map_unref(map);
    }
    return err ? (int)coil__fail_plain(err) : 0;
}

int coil_loop_call_soon_threadsafe(coil_loop *loop, coil_callback_fn fn, void *arg,
                                   coil_handle **out)
{
    return coil_loop_call_soon_threadsafe_context(loop, fn, arg, NULL, out);
}

/* ---- cancelling, asking ---- */

static void cancel_shared(coil_handle *h)
{
    bool mine = h->loop == coil__running_loop; /* then what runs is us, or we are closing */
    coil__mutex_lock(&h->shared->lock);
    if (h->state == HANDLE_POSTED || h->state == HANDLE_QUEUED) {
        /* The loop meets it later and drops it: only the loop's thread may touch the ring. */
        h->state = HANDLE_CANCELLED;
        h->fn = NULL;
        h->arg = NULL;
    }
    while (!mine && h->state == HANDLE_RUNNING)
        coil__cond_wait(&h->shared->done, &h->shared->lock);
    coil__mutex_unlock(&h->shared->lock);
}

void coil_handle_cancel(coil_handle *handle)
{
    if (!handle)
        return;
    if (handle->shared) {
        cancel_shared(handle);
        return;
    }
    if (loop_is_foreign(handle->loop))
        return;
    if (handle->state == HANDLE_TIMED)
        coil__timer_stop(handle->loop, &handle->timer);
    else if (handle->state == HANDLE_QUEUED)
        coil__loop_unpush(handle->loop, handle->position);
    else
        return; /* it runs, or has run, or was cancelled before */
    handle->state = HANDLE_CANCELLED;
    handle->fn = NULL;
    handle->arg = NULL;
    let_go(handle);
}

bool coil_handle_cancelled(const coil_handle *handle)
{
    if (!handle->shared)
        return handle->state == HANDLE_CANCELLED;
    coil__mutex_lock(&handle->shared->lock);
    bool cancelled = handle->state == HANDLE_CANCELLED;
    coil__mutex_unlock(&handle->shared->lock);
    return cancelled;
}

/* A captured map becomes an object only when somebody asks for it. */
static coil_context *own_context(coil_handle *h)
{
    COIL_DCHECK(h->fn != NULL); /* it has not run */
    if (h->context)
        return h->context;
    coil_context *context = coil_context_new();
    if (!context)
        return NULL;
    context->map = h->map;
    h->map = NULL;
    h->context = context;
    return context;
}

coil_context *coil_handle_get_context(coil_handle *handle)
{
    if (!handle->shared)
        return handle->state == HANDLE_TIMED || handle->state == HANDLE_QUEUED
                   ? own_context(handle)
                   : handle->context; /* while it runs, what it captured is in use and no object */
    coil__mutex_lock(&handle->shared->lock);
    bool waits = handle->state == HANDLE_POSTED || handle->state == HANDLE_QUEUED;
    coil_context *context = waits ? own_context(handle) : NULL;
    coil__mutex_unlock(&handle->shared->lock);
    return context;
}

double coil_handle_when(const coil_handle *handle)
{
    return handle->is_timer ? clock_to_seconds(handle->when_ns) : NAN;
}

void coil__handles_drop(struct coil_loop *loop)
{
    for (struct list *link; (link = list_first(&loop->handles));) {
        coil_handle *h = container_of(link, coil_handle, link);
        if (h->shared) {
            cancel_shared(h);
            let_go(h);
        } else {
            coil_handle_cancel(h);
        }
    }
    for (struct list *link; (link = list_pop(&loop->free_handles));)
        coil__free(container_of(link, coil_handle, link));
    loop->free_handles_n = 0;
}
