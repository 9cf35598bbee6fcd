/* SPDX-License-Identifier: MIT
 *
 * plan.c: what a user asked for, checked and as a plan.
 *
 * Runs on the loop's thread. Elsewhere: the pipes of it (pipe.c), what is done with it (spawn.c). */
#include "base/error.h"
#include "proc/proc.h"

static coil_ret choose_program(const char *const *argv, const char *command,
                               const char *shell_argv[4], const coil_subprocess_opts *opts,
                               struct child_plan *out)
{
    if (command) {
        shell_argv[0] = "/bin/sh";
        shell_argv[1] = "-c";
        shell_argv[2] = command;
        shell_argv[3] = NULL;
        argv = shell_argv;
    }
    if (!argv || !argv[0])
        return coil__fail(-EINVAL, "there is no program to run");
    out->argv = argv;
    out->file = opts->executable ? opts->executable : argv[0];
    return 0;
}

static coil_ret choose_descriptors(const coil_subprocess_opts *opts, struct child_plan *out)
{
    for (size_t i = 0; i < opts->pass_fds_n; i++)
        if (opts->pass_fds[i] < 3)
            return coil__fail(
                -EINVAL, "descriptor %d cannot be passed: 0, 1 and 2 are `in`, `out` and `err`",
                opts->pass_fds[i]);
    out->pass_fds = opts->pass_fds;
    out->pass_fds_n = opts->pass_fds_n;
    out->inherit_fds = opts->inherit_fds;
    return 0;
}

static coil_ret choose_ids(const coil_subprocess_opts *opts, struct child_plan *out)
{
    if (opts->start_new_session && opts->new_process_group)
        return coil__fail(-EINVAL, "a new session has a process group of its own");
    if (opts->process_group < 0)
        return coil__fail(-EINVAL, "%d is no process group", (int)opts->process_group);
    out->new_session = opts->start_new_session;
    out->new_group = opts->new_process_group;
    out->group = opts->process_group;
    out->set_umask = opts->set_umask;
    out->umask = opts->umask;
    out->set_uid = opts->set_user;
    out->uid = opts->user;
    out->set_gid = opts->set_group;
    out->gid = opts->group;
    out->set_groups = opts->set_extra_groups;
    out->groups = opts->extra_groups;
    out->groups_n = opts->extra_groups_n;
    return 0;
}

coil_ret coil__child_plan(const char *const *argv, const char *command, const char *shell_argv[4],
                          const coil_subprocess_opts *opts, struct child_plan *out)
{
    *out = (struct child_plan){.env = opts->env, .cwd = opts->cwd};
    coil_ret rc = choose_program(argv, command, shell_argv, opts, out);
    if (rc == 0)
        rc = choose_descriptors(opts, out);
    return rc == 0 ? choose_ids(opts, out) : rc;
}
