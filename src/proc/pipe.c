/* SPDX-License-Identifier: MIT
 *
 * pipe.c: the ends of the pipes between us and a child.
 *
 *     stdin    a pair of sockets: a write to a program that does not read is an error of ours, never a SIGPIPE
 *     stdout   pipes: what programs expect there
 *     stderr
 *
 * Our ends do not block; the child's do, as programs expect. All are close-on-exec: a child gets copies.
 *
 * Always true: what is open when a call here fails, is closed by it.
 *
 * Runs on the loop's thread. Elsewhere: which copies (spawn.c), what flows (net/). */
#include "base/error.h"
#include "base/sys.h"
#include "io/direct.h"
#include "proc/proc.h"

/* ---- descriptors ---- */

static int stop_blocking(int fd)
{
    int flags = sys_fcntl(fd, F_GETFL, 0);
    return flags < 0 ? flags : sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void close_fd(struct child_pipes *p, int *fd)
{
    if (*fd >= 0)
        (void)p->b->cls->calls.close(p->b, *fd);
    *fd = -1;
}

/* The first end is ours. */
static int make_imaginary(struct child_pipes *p, int i, int ends[2])
{
    int err = i == 0 ? p->b->cls->calls.socketpair(p->b, AF_UNIX, SOCK_STREAM, ends)
                     : p->b->cls->calls.pipe(p->b, ends);
    return err;
}

static int make_real(int i, int ends[2])
{
    int err = i == 0 ? sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)
                     : sys_pipe2(ends, O_CLOEXEC);
    if (err == 0 && (err = stop_blocking(ends[0])) < 0) {
        (void)sys_close(ends[0]);
        (void)sys_close(ends[1]);
    }
    return err;
}

static int make(struct child_pipes *p, coil_loop *loop, int i)
{
    int ends[2];
    struct net_part *net;
    int err = p->imaginary ? make_imaginary(p, i, ends) : make_real(i, ends);
    if (err < 0)
        return (int)coil__fail_plain(err);
    p->ours[i] = ends[0];
    p->theirs[i] = ends[1];
    err = coil__net_part(loop, &net);
    if (err == 0)
        err = coil__sock_wrap(net, p->ours[i], i == 0 ? AF_UNIX : 0, i == 0 ? SOCK_STREAM : 0,
                              &p->socks[i]);
    if (err == 0)
        p->ours[i] = -1; /* the sock's */
    return err;
}

/* ---- choosing ---- */

static coil_ret choose(struct child_pipes *p, coil_loop *loop, int i, int said,
                       struct child_plan *plan)
{
    static const char *const names[] = {"in", "out", "err"};
    switch (said) {
    case COIL_INHERIT: plan->fds[i] = CHILD_INHERITS; return 0;
    case COIL_DEVNULL: plan->fds[i] = CHILD_NULL; return 0;
    case COIL_PIPE: {
        int err = make(p, loop, i);
        plan->fds[i] = p->theirs[i];
        return err;
    }
    case COIL_STDOUT:
        if (i < 2)
            return coil__fail(-EINVAL, "`%s` cannot be COIL_STDOUT", names[i]);
        plan->fds[2] = plan->fds[1] == CHILD_INHERITS ? 1 : plan->fds[1];
        return 0;
    default: break;
    }
    if (said < 0)
        return coil__fail(-EINVAL,
                          "`%s` is %d: neither a descriptor nor one of COIL_PIPE, "
                          "COIL_STDOUT, COIL_DEVNULL",
                          names[i], said);
    plan->fds[i] = said;
    return 0;
}

/* Before anything is opened: the number of a descriptor that was closed by mistake would be that of a pipe of ours. */
static coil_ret look_at_given(struct backend *b, const int said[3], const struct child_plan *plan)
{
    static const char *const names[] = {"stdin", "stdout", "stderr"};
    for (int i = 0; i < 3; i++) {
        int fd = i == 2 && said[i] == COIL_STDOUT && said[1] == COIL_INHERIT ? 1 : said[i];
        if (fd > 0 && b->cls->calls.watchable(b, fd) == -EBADF)
            return coil__fail(-EBADF, "run '%.80s': its %s: descriptor %d is not open", plan->file,
                              names[i], fd);
    }
    for (size_t i = 0; i < plan->pass_fds_n; i++)
        if (b->cls->calls.watchable(b, plan->pass_fds[i]) == -EBADF)
            return coil__fail(-EBADF, "run '%.80s': descriptor %d, to be passed on, is not open",
                              plan->file, plan->pass_fds[i]);
    return 0;
}

coil_ret coil__pipes_open(coil_loop *loop, const coil_subprocess_opts *opts,
                          struct child_plan *plan, struct child_pipes *out)
{
    struct backend *b = loop->backend;
    const int said[3] = {opts->in, opts->out, opts->err};
    *out = (struct child_pipes){.b = b, .ours = {-1, -1, -1}, .theirs = {-1, -1, -1}};
    out->imaginary = b->cls->children && b->cls->children->knows(b, plan->file);
    coil_ret rc = look_at_given(b, said, plan);
    if (rc < 0)
        return rc;
    for (int i = 0; i < 3; i++) {
        rc = choose(out, loop, i, said[i], plan);
        if (rc < 0) {
            coil__pipes_drop(out);
            return rc;
        }
    }
    return 0;
}

void coil__pipes_hand_over(struct child_pipes *pipes)
{
    for (int i = 0; i < 3; i++)
        close_fd(pipes, &pipes->theirs[i]);
}

void coil__pipes_drop(struct child_pipes *pipes)
{
    coil__pipes_hand_over(pipes);
    for (int i = 0; i < 3; i++) {
        coil_sock_unref(pipes->socks[i]);
        pipes->socks[i] = NULL;
        close_fd(pipes, &pipes->ours[i]);
    }
}
