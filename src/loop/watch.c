/* SPDX-License-Identifier: MIT
 *
 * watch.c: add_reader and add_writer: a callback for each turn in which a descriptor is ready.
 *
 * A watch is a level op at the backend (op.h): it completes in every wait while the condition holds.
 * One a descriptor and direction.
 *
 * Always true: a watch is in loop->watches and holds one room in the ring; its callback is queued at
 * most once.
 *
 * Runs on the loop's thread. */
#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"

struct fd_watch {
    struct op op;
    struct list link;
    coil_loop *loop;
    coil_callback_fn fn;
    void *arg;
    struct context_map *map;
    uint64_t position; /* in the ring while queued */
    bool queued;
    bool removed;   /* but the backend has a last word to say */
    int64_t failed; /* the backend's last word was this error: what is queued is its report */
};

static void free_watch(struct fd_watch *w)
{
    coil__context_map_unref(w->map);
    loop_release(w->loop, 1);
    coil__free(w);
}

/* The descriptor went away, or never could be waited for; nobody else would learn of it. */
static void report_failure(struct fd_watch *w)
{
    coil_loop *loop = w->loop;
    coil_exception_context context = {
        .size = sizeof context,
        .message = "a watched descriptor failed; its callback is removed",
        .code = (coil_ret)w->failed,
        .fd = w->op.fd,
        .kind = "watch-error"};
    list_remove(&w->link);
    free_watch(w);
    coil_loop_call_exception_handler(loop, &context);
}

static void watch_run(void *arg)
{
    struct fd_watch *w = arg;
    w->queued = false;
    if (w->failed) {
        report_failure(w);
        return;
    }
    if (w->map)
        w->loop->hub_context.map = coil__context_map_ref(w->map);
    w->fn(w->arg);
}

static void watch_ready(struct op *op)
{
    struct fd_watch *w = container_of(op, struct fd_watch, op);
    if (w->removed) {
        free_watch(w);
        return;
    }
    if (op->result < 0)
        w->failed = op->result;
    if (w->queued)
        return;
    w->queued = true;
    loop_push(w->loop, watch_run, w, NULL);
    w->position = loop_last_position(w->loop);
}

static struct fd_watch *find(coil_loop *loop, int fd, uint8_t events)
{
    LIST_FOREACH(link, &loop->watches) {
        struct fd_watch *w = container_of(link, struct fd_watch, link);
        if (w->op.fd == fd && w->op.events == events)
            return w;
    }
    return NULL;
}

static void remove_watch(struct fd_watch *w)
{
    list_remove(&w->link);
    if (w->queued)
        coil__loop_unpush(w->loop, w->position);
    w->queued = false;
    if (w->op.state == OP_IDLE ||
        w->loop->backend->cls->cancel(w->loop->backend, &w->op) != -EINPROGRESS)
        free_watch(w);
    else
        w->removed = true;
}

static int add(coil_loop *loop, int fd, uint8_t events, coil_callback_fn fn, void *arg)
{
    if (!(loop = coil__loop_use_current(loop)))
        return (int)coil_last_error()->code;
    if (!fn)
        return (int)coil__fail(-EINVAL, "a callback needs a function (NULL)");
    int err = coil__loop_open_backend(loop);
    if (err)
        return err;
    err = loop->backend->cls->calls.watchable(loop->backend, fd);
    if (err)
        return (int)coil__fail(err, "descriptor %d cannot be watched: %s", fd,
                               err == COIL_EINVALIDSTATE ? "it belongs to a coil socket"
                                                         : coil_strerror(err));
    if (coil__loop_hold(loop, 1) < 0)
        return (int)coil__fail_plain(-ENOMEM);
    struct fd_watch *w = coil__zalloc(sizeof *w);
    if (!w) {
        loop_release(loop, 1);
        return (int)coil__fail_plain(-ENOMEM);
    }
    struct fd_watch *old = find(loop, fd, events);
    if (old)
        remove_watch(old);
    w->loop = loop;
    w->fn = fn;
    w->arg = arg;
    w->map = context_capture();
    w->op = (struct op){
        .kind = OP_POLL, .fd = fd, .events = events, .flags = OP_LEVEL, .done = watch_ready};
    list_init(&w->op.link);
    list_push(&loop->watches, &w->link);
    loop->backend->cls->submit(loop->backend, &w->op);
    return 0;
}

static int remove_one(coil_loop *loop, int fd, uint8_t events)
{
    if (!loop && !(loop = coil_get_event_loop()))
        return 0;
    struct fd_watch *w = loop->closed || loop_inherited(loop) ? NULL : find(loop, fd, events);
    if (!w)
        return 0;
    remove_watch(w);
    return 1;
}

int coil_loop_add_reader(coil_loop *loop, int fd, coil_callback_fn fn, void *arg)
{
    return add(loop, fd, OP_IN, fn, arg);
}

int coil_loop_add_writer(coil_loop *loop, int fd, coil_callback_fn fn, void *arg)
{
    return add(loop, fd, OP_OUT, fn, arg);
}

int coil_loop_remove_reader(coil_loop *loop, int fd)
{
    return remove_one(loop, fd, OP_IN);
}

int coil_loop_remove_writer(coil_loop *loop, int fd)
{
    return remove_one(loop, fd, OP_OUT);
}

void coil_loop_forget_fd(coil_loop *loop, int fd)
{
    if ((!loop && !(loop = coil_get_event_loop())) || loop_inherited(loop))
        return;
    remove_one(loop, fd, OP_IN);
    remove_one(loop, fd, OP_OUT);
    if (loop->backend)
        loop->backend->cls->calls.forget(loop->backend, fd);
}

void coil__watches_drop(struct coil_loop *loop)
{
    for (struct list *link; (link = list_first(&loop->watches));)
        remove_watch(container_of(link, struct fd_watch, link));
}
