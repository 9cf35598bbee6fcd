/* SPDX-License-Identifier: MIT
 *
 * coil/debug.h: seeing what a program waits for: where tasks stand, who awaits whom, what coil has to say.
 *
 *     * Task(name='fetch', id=0x7f10c0a3f000)
 *       + Call stack:
 *       |   File '/usr/bin/prog', at 0x1a2b, in coil_reader_readline()
 *       |   File '/usr/bin/prog', at 0x1c04, in fetch()
 *       + Awaited by:
 *         * Task(name='main', id=0x7f10c0a7f000)
 *           ...
 *
 * Nothing here changes what a task does. Everything belongs to the thread of the loop whose tasks it looks at, but for the
 * log, which is the whole process's.
 *
 * Frames are found by frame pointers. coil is built with them; for a program that is to show all its functions, say so to
 * the compiler: -fno-omit-frame-pointer -fno-optimize-sibling-calls. Names come from the symbol table of the program's file, where static
 * functions stand too, until it is stripped. For a source line: addr2line -e FILE 0xADDRESS. */
#ifndef COIL_DEBUG_H
#define COIL_DEBUG_H

#include <coil/future.h>
#include <coil/task.h>

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- frames ---- */

/* What is known of an address in the program's code. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    const void *address;
    char function[96];   /* "": nobody knows. Cut if it is longer */
    size_t offset;       /* of the address, in the function */
    char file[256];      /* the program's or library's. The end of it if it is longer */
    size_t file_address; /* as addr2line -e FILE takes it */
} coil_frame;

/* Fill in what is known of an address, such as one of a call stack. Reads the file's symbol table.
 *
 *   Where:  any thread.
 *   Errors: -ENOENT: no code of this program is there; -EINVAL for NULL. */
COIL_API int coil_frame_describe(const void *address, coil_frame *out_frame);

/* ---- how deep stacks went ---- */

/* Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    coil_fn fn;         /* of tasks; coil_frame_describe tells its name */
    size_t used_bytes;  /* of the stack of which most was used, with what coil keeps on top of it */
    size_t stack_bytes; /* of the same, in all */
    uint64_t tasks;     /* that have ended and were measured */
} coil_stack_use;

/* Debug mode: how much the tasks of each function used of their stacks: the function whose was fullest has rank 0, and so on.
 * One of which more than seven eighths were used is also reported, once for each function. Measured are tasks that have
 * ended, of loops in debug mode from the beginning until it is switched off; stacks above 8 MiB, and all under
 * Valgrind, are not. `loop` NULL: the running or the thread's current one.
 *
 *   Errors: -ENOENT: there are not so many functions. */
COIL_API int coil_loop_stack_use(coil_loop *loop, size_t rank, coil_stack_use *out);

/* ---- where a task stands ---- */

/* The calls of a task that have not returned, as addresses for coil_frame_describe: the newest ones, up to `capacity`,
 * oldest first. Returns how many there are in all: 0 of a task that is done, or is no task; one, its function, before
 * its first step; of the current task those from here.
 *
 *   asyncio: Task.get_stack (its limit is the capacity) */
COIL_API size_t coil_task_get_stack(coil_task *task, const void **out_addresses, size_t capacity);

/* Print them, and the error of a task that has failed. `limit`: so many of the newest ones; 0: all. `file` NULL: stdout.
 *
 *   asyncio: Task.print_stack */
COIL_API void coil_task_print_stack(coil_task *task, size_t limit, FILE *file);

/* ---- who awaits whom ---- */

/* All zero (or NULL) means the defaults. Set `size` to sizeof this struct. */
typedef struct {
    size_t size;
    int depth; /* of the current task: begin with the caller (0 or 1), its caller (2), ... */
    int limit; /* of each call stack: n > 0: the n outermost calls; < 0: the innermost; 0: all */
    bool no_stack; /* no call stacks; asyncio: limit=0 */
} coil_call_graph_opts;

/* A future, where it stands if it is a task, and who awaits it. */
typedef struct coil_call_graph {
    coil_future *future;     /* held until the graph is freed */
    const void **call_stack; /* innermost first */
    size_t call_stack_n;
    struct coil_call_graph **awaited_by;
    size_t awaited_by_n;
    bool cut; /* awaiters are missing: they came round in a circle, or there were too many */
} coil_call_graph;

/* Whose graph has more futures than this, or longer chains, is shown without the farthest. */
enum { COIL_CALL_GRAPH_MAX = 4096, COIL_CALL_GRAPH_DEEP = 100 };

/* Who awaits a future (NULL: the current task), who awaits those, and where each stands.
 *
 *   Owns:    the graph is yours: coil_call_graph_free. NULL if there is no current task.
 *   Errors:  COIL_ENOLOOP without a future outside of a running loop; -ENOMEM; -EINVAL without a place for it; debug mode:
 *            COIL_EWRONGTHREAD.
 *   asyncio: capture_call_graph */
COIL_API int coil_capture_call_graph(coil_future *future, const coil_call_graph_opts *opts,
                                     coil_call_graph **out_graph);
/* Accepts NULL. */
COIL_API void coil_call_graph_free(coil_call_graph *graph);

/* The graph as text, as it stands above. Returns how many bytes that takes without the NUL, as snprintf does; what does
 * not fit is cut. 0 if there is no current task.
 *
 *   Errors:  as coil_capture_call_graph.
 *   asyncio: format_call_graph */
COIL_API coil_ret coil_format_call_graph(coil_future *future, const coil_call_graph_opts *opts,
                                         char *out, size_t size);

/* Print it, and a newline. `file` NULL: stdout. 0 or an error.
 *
 *   Errors:  as coil_capture_call_graph.
 *   asyncio: print_call_graph */
COIL_API int coil_print_call_graph(coil_future *future, const coil_call_graph_opts *opts,
                                   FILE *file);

/* Draw all tasks of a loop (NULL: the running one), each below the one that awaits it, with its calls, as `coil pstree` does for
 * another process. `file` NULL: stdout. 0 or an error.
 *
 *   Errors:  COIL_ENOLOOP, COIL_ECLOSED, -ENOMEM; debug mode: COIL_EWRONGTHREAD.
 *   asyncio: python -m asyncio pstree, from inside */
COIL_API int coil_loop_print_tree(coil_loop *loop, FILE *file);

/* For who writes a way of waiting: say that `waiter` awaits `future`, where nothing of coil's does it for you
 * (await, gather, wait, shield and groups do). It holds until one of the two is done, or it is taken back.
 *
 *   Errors:  -EINVAL for NULL, COIL_ESELFAWAIT, COIL_EWRONGLOOP, -ENOMEM. Nothing is said of what is done already.
 *   asyncio: future_add_to_awaited_by */
COIL_API int coil_future_add_to_awaited_by(coil_future *future, coil_future *waiter);
/* Take it back; if it was not said, nothing happens. asyncio: future_discard_from_awaited_by */
COIL_API void coil_future_discard_from_awaited_by(coil_future *future, coil_future *waiter);

/* ---- what coil has to say ---- */

/* DEBUG and INFO are told to a hook only: the program hears of it in another way as well. From WARNING on a record is
 * printed when there is no hook. ERROR: something failed. */
enum coil_log_level { COIL_LOG_DEBUG, COIL_LOG_INFO, COIL_LOG_WARNING, COIL_LOG_ERROR };

/* One diagnostic. Everything in it is borrowed, and good until the hook returns. */
typedef struct {
    size_t size;
    enum coil_log_level level;
    const char *kind;    /* one of the words below: they stay as they are, the messages need not */
    const char *message; /* a sentence, without a newline */
    const char *text;    /* as it is printed, of one line or more */
    coil_loop *loop;     /* NULL: it concerns none */
    coil_future *future; /* whom it concerns; NULL */
    coil_task *task;     /* the same, if it is one; its address is the id that coil ps shows */
    const char *task_name;           /* "": no task */
    const char *file;                /* where what it speaks of was made; NULL: not known */
    int line;                        /* there */
    coil_ret code;                   /* 0 if there is no error */
    const coil_error *error;         /* more of it; NULL */
    const void *const *source_stack; /* debug mode: as in coil_exception_context */
    size_t source_stack_n;
} coil_log_record;

/* The kinds:
 *
 *     exception           what a program gave to coil_loop_call_exception_handler without a kind of its own
 *     never-awaited       a coroutine object was dropped and never ran
 *     never-retrieved     a task or future failed, and nobody looked at the error
 *     destroyed-pending   a loop was closed with a task that had not ended
 *     will-not-end        a task that was unwound went on waiting; its stack is lost
 *     deadlock            nothing can wake any task (INFO: the run returns COIL_EDEADLOCK)
 *     slow-step           debug mode: a callback or a step kept the loop for too long
 *     swallowed-cancel    debug mode: a task that was cancelled returned as if it had not been
 *     leaked-reference    debug mode: coil_run ends, and a future or ended task is still referred to
 *     stack-nearly-full   debug mode: tasks of a function used more than seven eighths of their stack
 *     blocking-wait       debug mode: the loop's thread waits for another one
 *     group-left          debug mode: a group was left by return; its children are cancelled
 *     group-errors        the errors of its children, which nobody else hears of
 *     shielded-error      a shielded future failed after its waiter had gone
 *     given-back-twice    a block that held a lock or the like found it given back
 *     shutdown-error      a task failed while coil_run ended it
 *     callback-not-run    the context of a callback was already entered
 *     unclosed            debug mode: a stream, transport, endpoint or process was given up open
 *     accept-error        a server could not accept
 *     client-error        a server's function for one client failed
 *     protocol-error      a callback of a protocol failed
 *     watch-error         a descriptor that is watched failed; its callback is removed
 *     generator-error     a generator failed, or would not end, where nobody could be told
 *     generator-lost      a generator was released by another thread, or never
 *     child-lost          the exit status of a child process is not known, or it does not end
 *     threads-left        the default executor's threads did not end in time */

/* A hook may be called in any thread in which coil finds something to say: mostly that of the loop, on whatever stack
 * runs there, at least 16 KB; also one that ends. One call at a time, whatever the thread. It must not wait (no
 * COIL_ASYNC calls), close the loop, or leave by longjmp. What coil has to say about the hook's own doings, while it
 * runs, is printed instead, so that it cannot call itself. errno is kept. */
typedef void (*coil_log_fn)(const coil_log_record *record, void *arg);

/* Give what coil has to say to `fn` instead of standard error; NULL restores printing. One for the whole process.
 *
 * What the program asks to be printed (coil_report, coil_print_call_graph) is not among it, nor what a loop's own
 * exception handler took (coil_loop_set_exception_handler). A stack overflow and a broken promise inside coil are always
 * written to standard error: none of the program's code can run then.
 *
 *   Where:   any thread; when it returns, the earlier hook is not running and will not again. From inside a hook: as soon
 *            as that returns.
 *   asyncio: logging.getLogger('asyncio').addHandler */
COIL_API void coil_set_log(coil_log_fn fn, void *arg);
/* The hook, and its argument; NULL: what there is to say is printed. */
COIL_API coil_log_fn coil_get_log(void **out_arg);
/* Do with a record what is done without a hook. Any thread. */
COIL_API void coil_default_log(const coil_log_record *record);

#ifdef __cplusplus
}
#endif
#endif
