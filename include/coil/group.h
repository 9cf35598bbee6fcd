/* SPDX-License-Identifier: MIT
 *
 * coil/group.h: tasks that live and end together.
 *
 *     coil_task_group(g);
 *     coil_group_create_task(&g, fetch, "a");
 *     coil_group_create_task(&g, fetch, "b");
 *     return coil_group_exit(&g, 0);          // both have ended; the first error, if there was one
 *
 * Leaving a group waits for every child, always. The first child that fails cancels its siblings and the
 * body; a child that was cancelled is not a failure. Between begin and exit only the task that began
 * the group may leave it; any code of its loop may start children.
 *
 * The group lives in the frame that began it and must not be moved after its first use. Left by `return`
 * without exit, it cancels its children, waits for them (a cancel that comes meanwhile is delivered
 * afterwards) and reports their errors to the loop's exception handler. */
#ifndef COIL_GROUP_H
#define COIL_GROUP_H

#include <coil/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    void *priv_[12];
} coil_group;

/* A group that lasts until the end of the block. */
#define coil_task_group(name) \
    coil_group name __attribute__((cleanup(coil_group_leave))) = coil_group_begin()

/* A group for the current task. Outside a task every use of it fails with COIL_ENOTASK.
 * asyncio: async with TaskGroup() */
#define coil_group_begin() coil_group_begin_at(__FILE__, __LINE__)
COIL_API coil_group coil_group_begin_at(const char *file, int line);

/* Start a child. The group owns it: the pointer is good until the next waiting call unless you take a
 * reference; finished children are dropped at once. Never NULL.
 *
 *   Owns:   as coil_create_task.
 *   Errors: met at the await: COIL_ESHUTDOWN while the group is being cancelled, COIL_EINVALIDSTATE
 *           after it was left, COIL_ENOTASK. What else keeps a child from being made (-ENOMEM) counts as a child
 *           that failed.
 *   asyncio: TaskGroup.create_task */
COIL_API coil_task *coil_group_create_task_at(const char *file, int line, coil_group *group,
                                              coil_fn fn, const void *arg, size_t copy,
                                              const coil_task_opts *opts);
#define coil_group_create_task(group, fn, arg) \
    coil_group_create_task_at(__FILE__, __LINE__, (group), (fn), (arg), 0, NULL)
#define coil_group_create_task_with(group, fn, args, n) \
    coil_group_create_task_at(__FILE__, __LINE__, (group), (fn), (args), (n), NULL)
#define coil_group_create_task_opts(group, fn, arg, opts) \
    coil_group_create_task_at(__FILE__, __LINE__, (group), (fn), (arg), 0, (opts))

/* The same from a coroutine object, which is consumed; closed, if the group refuses it. */
COIL_API coil_task *coil_group_create_task_coro_at(const char *file, int line, coil_group *group,
                                                   coil_coro *coro, const coil_task_opts *opts);
#define coil_group_create_task_coro(group, coro) \
    coil_group_create_task_coro_at(__FILE__, __LINE__, (group), (coro), NULL)

/* Leave with what the body came to. An error in `rc` cancels the children. Returns rc, or the first error
 * of children and body; the record lists all of them as members, in the order in which they came.
 *
 *   Suspends: until every child is done.
 *   Cancel:   cancels the children, waits for them, returns -ECANCELED; if children failed as well, their
 *             error, and the cancel comes with the next waiting call.
 *   Errors:   COIL_ENOTASK, COIL_EINVALIDSTATE in another task than the one that began it or when it was left already.
 *   asyncio:  the end of async with */
COIL_ASYNC coil_ret coil_group_exit(coil_group *group, coil_ret rc);

/* The end of the block: for those who returned. After exit it does nothing. */
COIL_API void coil_group_leave(coil_group *group);

/* End it early: cancels the children and the body; exit swallows that cancel and returns 0. More than
 * once, or after exit, is fine. asyncio: TaskGroup.cancel (3.15) */
COIL_API void coil_group_cancel(coil_group *group);

#ifdef __cplusplus
}
#endif
#endif
