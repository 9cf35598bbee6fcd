/* SPDX-License-Identifier: MIT
 *
 * part.c: what this floor keeps for each loop: made on first use, taken apart when the loop closes.
 *
 * The threads are a lane of their own: names that hang (net/resolve.c) and jobs of the user's
 * (work/executor.c) hold up no file, nor files them.
 *
 * Runs on the loop's thread. Elsewhere: who runs on the threads (job.c), open files (file.c, dir.c). */
#include "file/file.h"

#include "base/error.h"
#include "base/mem.h"

enum { JOIN_NS = 1000000000 }; /* at close, for descriptors that are still being closed */

static void file_closing(struct loop_part *p, struct coil_loop *loop)
{
    struct file_part *part = container_of(p, struct file_part, part);
    (void)loop;
    coil__file_close_all(part);
    coil__dir_close_all(part);
    if (!part->pool)
        return;
    /* Every waiter is gone. What is left closes descriptors, and owns them: one that hangs is left to itself. */
    coil__pool_shutdown(part->pool, false, NULL);
    (void)coil__pool_join(part->pool, clock_add(coil__clock_real_ns(), JOIN_NS));
    coil__pool_free(part->pool);
    part->pool = NULL;
}

static void file_release(struct loop_part *p)
{
    coil__free(container_of(p, struct file_part, part));
}

static int make_part(coil_loop *loop, struct file_part **out)
{
    struct file_part *part = coil__zalloc(sizeof *part);
    if (!part)
        return (int)coil__fail_plain(-ENOMEM);
    part->part.closing = file_closing;
    part->part.release = file_release;
    part->loop = loop;
    part->random.state = coil__random_seed();
    list_init(&part->files);
    list_init(&part->dirs);
    loop->parts[LOOP_PART_FILE] = &part->part;
    *out = part;
    return 0;
}

int coil__file_part(const char *path, struct file_part **out)
{
    int err = coil__can_wait();
    if (err < 0)
        return err;
    if (!path)
        return (int)coil__fail(-EINVAL, "a path is needed");
    coil_loop *loop = coil__running_loop;
    if (coil_unlikely(loop->closing))
        return (int)coil__fail_plain(COIL_ECLOSED);
    struct loop_part *p = loop_part(loop, LOOP_PART_FILE);
    if (coil_unlikely(!p))
        return make_part(loop, out);
    *out = container_of(p, struct file_part, part);
    return 0;
}

int coil__file_pool(struct file_part *part, struct pool **out)
{
    int err = part->pool ? 0 : coil__pool_new(&part->pool, "coil-file", COIL_FILE_THREADS);
    *out = part->pool;
    return err;
}

coil_ret coil__file_pause(struct file_part *part)
{
    part->burst = 0;
    return coil__yield();
}
