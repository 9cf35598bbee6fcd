/* SPDX-License-Identifier: MIT
 *
 * coil/process.h: other programs: started, spoken to over pipes, waited for.
 *
 *     const char *argv[] = {"sort", "-u", NULL};
 *     coil_subprocess_opts opts = {.size = sizeof opts, .in = COIL_PIPE, .out = COIL_PIPE};
 *     coil_process *sort;
 *     coil_ret rc = coil_create_subprocess_exec(argv, &opts, &sort);
 *     if (coil_iserr(rc))
 *         return rc;
 *     coil_process_output output;
 *     rc = coil_process_communicate(sort, "b\na\nb\n", 6, &output);
 *     if (rc == 0)
 *         printf("%s", output.out);
 *     coil_process_unref(sort);
 *
 * A child gets what it was given and nothing else: every descriptor beyond 0, 1 and 2 is closed in it but for those
 * it is passed; no signal is blocked in it, handlers are gone, SIGPIPE ends it. It is watched over a descriptor of the
 * kernel's (a pidfd), without a handler for SIGCHLD; where there is none, by a thread each.
 *
 * Children do not outlive who started them: giving back the last reference to one that runs, and closing its loop, kill
 * it (SIGKILL). A child that has ended leaves no zombie, whether or not anybody waited for it. Its own
 * children are its business. */
#ifndef COIL_PROCESS_H
#define COIL_PROCESS_H

#include <coil/transport.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- how a program is run ---- */

/* What 0, 1 and 2 of the child may be, beside a descriptor of yours. asyncio: subprocess.PIPE, STDOUT, DEVNULL */
enum {
    COIL_INHERIT = 0,  /* what it is here */
    COIL_PIPE = -1,    /* a pipe to here */
    COIL_STDOUT = -2,  /* of `err`: where `out` goes */
    COIL_DEVNULL = -3, /* /dev/null */
};

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    int in, out, err;       /* one of the above, or a descriptor above 0, which stays yours */
    size_t limit;           /* of the readers, in bytes; 0: COIL_STREAM_LIMIT */
    const char *executable; /* the program, when argv[0] is only what it is called */
    const char *cwd;        /* its directory; a relative program is looked for from there */
    const char *const *env; /* "NAME=value", ..., NULL; NULL: the environment is inherited */
    const int *pass_fds;    /* descriptors above 2 that it gets, under the same numbers */
    size_t pass_fds_n;
    bool inherit_fds;       /* and all those that are not close-on-exec; asyncio: close_fds=False */
    bool start_new_session; /* setsid */
    bool new_process_group; /* setpgid: into `process_group`, or one of its own for 0 */
    pid_t process_group;
    bool set_umask, set_user, set_group, set_extra_groups; /* use the fields below */
    mode_t umask;
    uid_t user;
    gid_t group;
    const gid_t *extra_groups;
    size_t extra_groups_n;
} coil_subprocess_opts;

/* ---- processes with streams ---- */

typedef struct coil_process coil_process;

/* Run a program; argv[0] names it, and NULL ends argv. Without a '/' in its name it is looked for along the PATH of the
 * environment it will have. It has started when this returns: the kernel has found it and may run it.
 *
 *   Suspends: for one turn, before it is started.
 *   Cancel:   returns -ECANCELED; nothing was started.
 *   Owns:     one reference to the process, yours: coil_process_unref.
 *   Where:    inside a coroutine.
 *   Errors:   the kernel's, with the program's name or the directory's in the record (-ENOENT, -EACCES, -ENOEXEC; -E2BIG
 *             for arguments that are too long; -EMFILE, -EAGAIN, -ENOMEM); -EBADF for a descriptor that is not open;
 *             -EINVAL without a program, for `in` or `out` COIL_STDOUT, for descriptors that mean nothing;
 *             COIL_ENOTASK. Whatever fails, no process and no descriptor is left.
 *   asyncio:  create_subprocess_exec */
COIL_ASYNC coil_ret coil_create_subprocess_exec(const char *const *argv,
                                                const coil_subprocess_opts *opts,
                                                coil_process **out_process);

/* The same for a command of /bin/sh. Whatever stands in the command is the shell's to read: what comes from
 * elsewhere is better passed as an argument of coil_create_subprocess_exec, or as a variable of its environment.
 *
 *   Cancel:  as coil_create_subprocess_exec.
 *   Errors:  as there; a command that is not there is the shell's to report: it exits with 127.
 *   asyncio: create_subprocess_shell */
COIL_ASYNC coil_ret coil_create_subprocess_shell(const char *command,
                                                 const coil_subprocess_opts *opts,
                                                 coil_process **out_process);

/* The pipes to it, borrowed and good as long as the process; NULL where there is none. Reading ends where the last
 * process that holds the other end closes it; that may be a child of the child. Writing to a program that has
 * closed its input fails with -EPIPE or -ECONNRESET, and nobody gets a SIGPIPE.
 * asyncio: Process.stdin, stdout, stderr */
COIL_API coil_writer *coil_process_stdin(coil_process *process);
COIL_API coil_reader *coil_process_stdout(coil_process *process);
COIL_API coil_reader *coil_process_stderr(coil_process *process);

/* Its number, also after its end. asyncio: Process.pid */
COIL_API pid_t coil_process_pid(const coil_process *process);

/* How it ended: its exit status, or -N when signal N ended it; 255 when somebody else in this program took its status
 * from the kernel, or SIGCHLD is ignored, so that it keeps none; the exception handler is told. False, and nothing is
 * written, while it runs. asyncio: Process.returncode */
COIL_API bool coil_process_returncode(const coil_process *process, int *out_returncode);

/* Wait for its end, whatever becomes of its pipes: a child of its own may still hold them. Any number of coroutines
 * may wait. A process that writes more than a pipe holds ends only if somebody reads: then
 * coil_process_communicate is the call. `out_returncode` may be NULL.
 *
 *   Suspends: until it has ended.
 *   Cancel:   returns -ECANCELED; the process goes on.
 *   Errors:   COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  Process.wait */
COIL_ASYNC coil_ret coil_process_wait(coil_process *process, int *out_returncode);

/* What a process wrote, as views into its readers: good until these are read again, or the process is given back.
 * Each ends in a NUL that is not counted; NULL and 0 where there is no pipe. */
typedef struct {
    const char *out;
    size_t out_n;
    const char *err;
    size_t err_n;
} coil_process_output;

/* Write `input` (if its stdin is a pipe), close that, read all it writes, and wait for its end; all at once, so that
 * no amount in any direction keeps another waiting. That it takes no more input is no error. `out_output` may be
 * NULL.
 *
 *   Suspends: until its pipes are closed and it has ended.
 *   Cancel:   returns -ECANCELED; the process goes on, what was read stays in its readers, and the rest of the
 *             input was not written.
 *   Errors:   -EINVAL for input without a pipe; COIL_ERUNNING while somebody else reads; of reading: the kernel's,
 *             -ENOMEM; COIL_ENOTASK, COIL_EWRONGLOOP.
 *   asyncio:  Process.communicate */
COIL_ASYNC coil_ret coil_process_communicate(coil_process *process, const void *input, size_t n,
                                             coil_process_output *out_output);

/* Send it a signal: SIGTERM, SIGKILL, or any. It can reach no other process, also when the number has been used again.
 *
 *   Errors:  -ESRCH once its end is known; -EINVAL for no signal; the kernel's -EPERM; COIL_ECLOSED.
 *   asyncio: Process.send_signal, terminate, kill */
COIL_API int coil_process_send_signal(coil_process *process, int signo);
COIL_API int coil_process_terminate(coil_process *process);
COIL_API int coil_process_kill(coil_process *process);

/* Share and give back; the last one kills it if it still runs, and closes its pipes. unref accepts NULL. */
COIL_API coil_process *coil_process_ref(coil_process *process);
COIL_API void coil_process_unref(coil_process *process);

/* ---- processes with a protocol ---- */

typedef struct coil_subprocess_transport coil_subprocess_transport;

/* The callbacks of a process; what is said of coil_protocol holds. `fd` is 0, 1 or 2.
 *
 *     connection_made -> pipe_data_received*, pipe_connection_lost*, process_exited, in any order -> connection_lost */
typedef struct {
    size_t size;

    /* First of all, and once: it runs. A negative value kills it. asyncio: BaseProtocol.connection_made */
    coil_ret (*connection_made)(coil_subprocess_transport *transport, void *arg);

    /* Last of all, and once: it has ended and its pipes are closed. The transport is gone when this returns, unless you
     * hold a reference. asyncio: BaseProtocol.connection_lost */
    void (*connection_lost)(coil_subprocess_transport *transport, void *arg);

    /* It wrote n > 0 bytes to 1 or 2; `data` is good during the call only. A negative value is fatal to that
     * pipe. asyncio: SubprocessProtocol.pipe_data_received */
    coil_ret (*pipe_data_received)(coil_subprocess_transport *transport, int fd, const void *data,
                                   size_t n, void *arg);

    /* A pipe is closed: 0 at its end and after a close, else the error (-EPIPE: it did not take all that was
     * written). asyncio: SubprocessProtocol.pipe_connection_lost */
    void (*pipe_connection_lost)(coil_subprocess_transport *transport, int fd, coil_ret error,
                                 void *arg);

    /* It has ended: coil_subprocess_returncode tells how. asyncio: SubprocessProtocol.process_exited */
    void (*process_exited)(coil_subprocess_transport *transport, void *arg);

    /* Flow control of 0, as of coil_protocol. */
    void (*pause_writing)(coil_subprocess_transport *transport, void *arg);
    void (*resume_writing)(coil_subprocess_transport *transport, void *arg);
} coil_subprocess_protocol;

/* Makes the protocol of one process, which has started; as coil_protocol_factory_fn. Where it fails, the process is
 * killed. Once it returned 0, connection_made and connection_lost will be called, unless the loop is closed before. */
typedef coil_ret (*coil_subprocess_factory_fn)(const coil_subprocess_protocol **out_protocol,
                                               void **out_protocol_arg, void *arg);

/* Run a program, or a command of /bin/sh, and let a protocol have it. What is not said in `opts` is inherited (asyncio:
 * piped). `out_transport` and `out_protocol_arg` may be NULL.
 *
 *   Suspends: until connection_made has run.
 *   Cancel:   returns -ECANCELED; nothing was started, or it is killed and connection_lost is called.
 *   Owns:     one reference to the transport, yours: coil_subprocess_unref, which does not close it.
 *   Where:    inside a coroutine; loop: NULL, or the running one.
 *   Errors:   as coil_create_subprocess_exec; what the factory or connection_made returned; -EINVAL for a factory that
 *             makes no protocol; COIL_EWRONGLOOP.
 *   asyncio:  loop.subprocess_exec, loop.subprocess_shell */
COIL_ASYNC coil_ret coil_loop_subprocess_exec(coil_loop *loop, coil_subprocess_factory_fn factory,
                                              void *arg, const char *const *argv,
                                              const coil_subprocess_opts *opts,
                                              coil_subprocess_transport **out_transport,
                                              void **out_protocol_arg);
COIL_ASYNC coil_ret coil_loop_subprocess_shell(coil_loop *loop, coil_subprocess_factory_fn factory,
                                               void *arg, const char *command,
                                               const coil_subprocess_opts *opts,
                                               coil_subprocess_transport **out_transport,
                                               void **out_protocol_arg);

/* Its number, and how it ended: as of a process. asyncio: SubprocessTransport.get_pid, get_returncode */
COIL_API pid_t coil_subprocess_pid(const coil_subprocess_transport *transport);
COIL_API bool coil_subprocess_returncode(const coil_subprocess_transport *transport,
                                         int *out_returncode);

/* The transport of a pipe, borrowed: 0 is written, 1 and 2 are paused and resumed. NULL: not a pipe, or closed. Its
 * protocol is not to be changed. asyncio: SubprocessTransport.get_pipe_transport */
COIL_API coil_transport *coil_subprocess_pipe_transport(coil_subprocess_transport *transport,
                                                        int fd);

/* Send it a signal, as coil_process_send_signal. asyncio: SubprocessTransport.send_signal, terminate, kill */
COIL_API int coil_subprocess_send_signal(coil_subprocess_transport *transport, int signo);
COIL_API int coil_subprocess_terminate(coil_subprocess_transport *transport);
COIL_API int coil_subprocess_kill(coil_subprocess_transport *transport);

/* Close its pipes, and kill it if it still runs; connection_lost comes when it has ended. Twice is fine.
 * asyncio: SubprocessTransport.close */
COIL_API void coil_subprocess_close(coil_subprocess_transport *transport);
/* asyncio: BaseTransport.is_closing */
COIL_API bool coil_subprocess_is_closing(const coil_subprocess_transport *transport);

/* Share and give back; giving back does not close. unref accepts NULL. */
COIL_API coil_subprocess_transport *coil_subprocess_ref(coil_subprocess_transport *transport);
COIL_API void coil_subprocess_unref(coil_subprocess_transport *transport);

#ifdef __cplusplus
}
#endif
#endif
