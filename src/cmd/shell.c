/* SPDX-License-Identifier: MIT
 *
 * shell.c: `coil` alone: an interactive C prompt inside a running loop, as `python -m asyncio` is for Python.
 *
 *     read an entry --> a task compiles, loads and runs it --> read the next
 *
 * The loop turns all the time, so what earlier entries began goes on while a line is typed.
 *
 * Ctrl-C has a handler of the shell's own, which counts and writes to a pipe: the loop then cancels the entry, or
 * throws the line away. Three that the loop has not come to see end the program, as they end any program on coil. */
#include "cmd/shell.h"

#include "cmd/cmd.h"
#include "cmd/config.h"
#include "cmd/editor.h"
#include "cmd/names.h"
#include "cmd/show.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STACK_BYTES = 1 << 20, /* of an entry: people try things */
    PATIENCE = 3,          /* times that Ctrl-C is pressed without effect */
};

static struct shell shell; /* handlers and callbacks of the line editor take no argument */
static pid_t shell_pid;

static const char *const shell_words[] = {":help", ":load", ":quit", ":tasks", ":tree", NULL};

void shell_error(const struct shell *sh, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs(sh->colours ? "\033[31merror:\033[0m " : "error: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

/* ---- signals ---- */

static int interrupt_pipe[2] = {-1, -1};
static atomic_int interrupts; /* that the loop has not seen yet */

static void die_of(int signo)
{
    signal(signo, SIG_DFL);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, signo);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    raise(signo);
}

static void leave_no_trace(void)
{
    if (getpid() != shell_pid)
        return;
    editor_restore_terminal();
    workshop_remove_in_handler();
}

static void on_sigint(int signo)
{
    int err = errno;
    if (getpid() != shell_pid)
        die_of(signo);
    if (atomic_fetch_add(&interrupts, 1) + 1 >= PATIENCE) {
        leave_no_trace();
        die_of(signo);
    }
    (void)!write(interrupt_pipe[1], "", 1);
    errno = err;
}

static void on_interrupt(void *arg)
{
    (void)arg;
    char bytes[16];
    while (read(interrupt_pipe[0], bytes, sizeof bytes) > 0)
        ;
    atomic_store(&interrupts, 0);
    if (shell.running) {
        puts(""); /* behind the terminal's ^C */
        coil_task_cancel(shell.running, "Ctrl-C");
    } else {
        editor_stop(EDITOR_INTERRUPTED);
    }
}

static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction before_us[sizeof crashes / sizeof *crashes];

/* A fault in an entry ends the program, as it would end any; a stack overflow is told by coil_run's handler. */
static void on_crash(int signo, siginfo_t *info, void *context)
{
    static const char words[] = "coil: the program crashed, and the shell with it\n";
    leave_no_trace();
    (void)!write(2, words, sizeof words - 1);
    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++) {
        if (crashes[i] == signo && (before_us[i].sa_flags & SA_SIGINFO)) {
            before_us[i].sa_sigaction(signo, info, context);
            return; /* which repeats the fault, with the default action */
        }
    }
    die_of(signo);
}

static void on_end_signal(void *arg)
{
    shell.signo = (int)(intptr_t)arg;
    if (shell.running)
        coil_task_cancel(shell.running, "the shell ends");
    editor_stop(EDITOR_END);
}

static void on_continue(void *arg)
{
    (void)arg;
    editor_redraw();
}

/* Before the run: it leaves SIGINT alone where somebody handles it. */
static int meet_signals_early(void)
{
    if (!shell.interactive)
        return 0;
    if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return complain(EXIT_TROUBLE, errno, "cannot make a pipe");
    struct sigaction action = {.sa_handler = on_sigint, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    return 0;
}

static void meet_signals(void)
{
    /* Not under a sanitizer, which tells more of a crash than we do. */
    for (size_t i = 0; !*COIL_SANITIZE && i < sizeof crashes / sizeof *crashes; i++) {
        struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        sigaction(crashes[i], &action, &before_us[i]);
    }
    static const int ends[] = {SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct sigaction now;
        if (sigaction(ends[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
            coil_loop_add_signal_handler(NULL, ends[i], on_end_signal, (void *)(intptr_t)ends[i]);
    }
    if (!shell.interactive)
        return;
    coil_loop_add_reader(NULL, interrupt_pipe[0], on_interrupt, NULL);
    coil_loop_add_signal_handler(NULL, SIGCONT, on_continue, NULL);
}

/* ---- entries ---- */

static coil_ret run_entry(const char *text, const char *file)
{
    struct entry entry = {.shell = &shell, .text = text, .file = file};
    char *name = file ? text_of("%s", file) : text_of("entry-%u", shell.session.entries + 1);
    coil_task_opts opts = {.size = sizeof opts, .name = name, .stack_size = STACK_BYTES};
    coil_task *task = coil_create_task_at(name, 1, entry_run, &entry, 0, &opts);
    shell.running = task;
    coil_ret rc = coil_await(task);
    if (coil_iserr(rc) && !coil_future_done(task)) {
        /* The shell itself was cancelled, by Ctrl-C over a pipe: the entry lives in this frame. */
        coil_task_cancel(task, "the shell ends");
        while (!coil_future_done(task))
            coil_ignore(coil_await(task));
        shell.running = NULL;
        coil_unref(task);
        free(name);
        return rc;
    }
    bool ran = coil_future_cancelled(task) || !coil_iserr(rc);
    if (!ran)
        shell_error(&shell, "the entry could not be run: %s", coil_last_error()->message);
    shell.running = NULL;
    coil_unref(task);
    free(name);
    shell.failed = shell.failed || entry.failed || !ran;
    return 0;
}

/* ---- words ---- */

static void help(void)
{
    puts("Type C: a declaration, a function, a statement, an expression. An expression without a\n"
         "semicolon is shown. Waiting calls just wait, and tasks go on while you type:\n"
         "\n"
         "  coil_ret tick(void *arg) { for (int i = 0; i < 3; i++) {\n"
         "      coil_ret rc = coil_sleep(1); if (coil_iserr(rc)) return rc; puts(arg); } return 0; "
         "}\n"
         "  coil_task *t = coil_create_task(tick, \"tick\");\n"
         "  coil_await(t)\n"
         "\n"
         "  :tasks        every task: its name, its function, what it waits for\n"
         "  :tree         who awaits whom\n"
         "  :load FILE    a file of C as one entry\n"
         "  :help         this\n"
         "  :quit         the end; so does Ctrl-D\n"
         "\n"
         "Ctrl-C cancels the entry that runs, or throws the line away. Tab completes names. What "
         "is\n"
         "defined anew replaces the older in later entries. coil.h and the usual headers of C are\n"
         "included; LDLIBS names further libraries.");
}

static void tell_task(coil_task *task)
{
    int line;
    const char *file = coil_task_created_at(task, &line), *wait = coil_task_waiting_on(task);
    char *function = show_function(task);
    printf("%-16s %-16s %-24s %s:%d\n", coil_task_get_name(task), function ? function : "?",
           *wait ? wait : "ready", file ? file : "?", line);
    free(function);
}

/* Every task but the shell's own. */
static void tell_tasks(void)
{
    size_t room = coil_all_tasks(NULL, NULL, 0), told = 0;
    coil_task **tasks = grown(NULL, (room + 1) * sizeof *tasks);
    size_t n = coil_all_tasks(NULL, tasks, room);
    for (size_t i = 0; i < n && i < room; i++) {
        if (tasks[i] != shell.main && tasks[i] != shell.workshop.precompiling) {
            if (told++ == 0)
                printf("%-16s %-16s %-24s %s\n", "name", "function", "waits for", "made at");
            tell_task(tasks[i]);
        }
        coil_unref(tasks[i]);
    }
    free(tasks);
    if (told == 0)
        puts("no tasks");
}

static bool is_awaiting(coil_task *task, coil_call_graph *const *graphs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; graphs[i] && k < graphs[i]->awaited_by_n; k++) {
            if (graphs[i]->awaited_by[k]->future == task)
                return true;
        }
    }
    return false;
}

/* From those who wait for no other task, down to who waits for them. */
static void tell_tree(void)
{
    size_t room = coil_all_tasks(NULL, NULL, 0), told = 0;
    coil_task **tasks = grown(NULL, (room + 1) * sizeof(coil_task *));
    coil_call_graph **graphs = grown(NULL, (room + 1) * sizeof(coil_call_graph *));
    coil_call_graph_opts opts = {.size = sizeof opts, .no_stack = true};
    size_t n = coil_all_tasks(NULL, tasks, room);
    n = n < room ? n : room;
    for (size_t i = 0; i < n; i++) {
        graphs[i] = NULL;
        (void)coil_capture_call_graph(tasks[i], &opts, &graphs[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (tasks[i] == shell.main || tasks[i] == shell.workshop.precompiling ||
            is_awaiting(tasks[i], graphs, n))
            continue;
        (void)coil_print_call_graph(tasks[i], &opts, NULL);
        told++;
    }
    for (size_t i = 0; i < n; i++) {
        coil_call_graph_free(graphs[i]);
        coil_unref(tasks[i]);
    }
    free(graphs);
    free(tasks);
    if (told == 0)
        puts("no tasks");
}

static coil_ret load_file(const char *path)
{
    char *text;
    size_t n;
    int err = *path ? read_file(path, &text, &n) : -EINVAL;
    if (err) {
        shell_error(&shell, *path ? "cannot read %s: %s" : ":load FILE%s%s", path,
                    *path ? strerror(-err) : "");
        shell.failed = true;
        return 0;
    }
    coil_ret rc = 0;
    if (strlen(text) == n) {
        rc = run_entry(text, path);
    } else {
        shell_error(&shell, "%s is not a text", path);
        shell.failed = true;
    }
    free(text);
    return rc;
}

/* 1: the shell goes on; 0: it ends; or an error. */
static coil_ret do_word(char *line)
{
    char *end = line + strlen(line);
    while (end > line && isspace((unsigned char)end[-1]))
        *--end = '\0';
    char *argument = line + strcspn(line, " \t");
    if (*argument)
        *argument++ = '\0';
    argument += strspn(argument, " \t");
    if (strcmp(line, ":quit") == 0)
        return 0;
    if (strcmp(line, ":help") == 0) {
        help();
    } else if (strcmp(line, ":tasks") == 0) {
        tell_tasks();
    } else if (strcmp(line, ":tree") == 0) {
        tell_tree();
    } else if (strcmp(line, ":load") == 0) {
        coil_ret rc = load_file(argument);
        return coil_iserr(rc) ? rc : 1;
    } else {
        shell_error(&shell, "there is no `%s`; :help lists what there is", line);
        shell.failed = true;
    }
    return 1;
}

/* ---- reading ---- */

static void complete(struct words *out, const char *prefix)
{
    names_matching(out, &shell.session, shell_words, prefix);
}

/* While something is typed nobody asks the compiler: what looks like a type is taken for one. */
static bool looks_like_type(const char *name, void *arg)
{
    (void)arg;
    size_t n = strlen(name);
    return session_find(&shell.session, KNOWN_TYPE, name) || strncmp(name, "coil_", 5) == 0 ||
           (n > 2 && strcmp(name + n - 2, "_t") == 0) || strcmp(name, "FILE") == 0 ||
           strcmp(name, "DIR") == 0;
}

static bool is_blank(const char *text)
{
    return !text[strspn(text, " \t\r\n")];
}

/* Lines, until they are whole. The text is to be freed. */
static coil_ret read_entry(char **out_text)
{
    char *text = NULL;
    for (;;) {
        char *line;
        coil_ret rc = editor_line(text ? "  ... " : "coil> ", &line);
        if (rc == EDITOR_END && text && !shell.interactive && !shell.signo)
            break; /* the compiler says what is missing */
        if (rc != EDITOR_LINE) {
            free(text);
            return rc;
        }
        if (text) {
            char *longer = text_of("%s\n%s", text, line);
            free(text);
            free(line);
            text = longer;
        } else if (is_blank(line)) {
            free(line);
            continue;
        } else {
            text = line;
        }
        if (text[strspn(text, " \t")] == ':' || !entry_goes_on(text, looks_like_type, NULL))
            break;
    }
    *out_text = text;
    return EDITOR_LINE;
}

/* 1: the shell goes on; 0: it ends; or an error. */
static coil_ret one_entry(void)
{
    char *text = NULL;
    coil_ret rc = read_entry(&text);
    if (rc == EDITOR_INTERRUPTED)
        return 1;
    if (rc != EDITOR_LINE)
        return rc; /* EDITOR_END is 0 */
    char *from = text + strspn(text, " \t");
    if (*from == ':') {
        rc = do_word(from);
    } else {
        rc = run_entry(text, NULL);
        rc = coil_iserr(rc) ? rc : 1;
    }
    free(text);
    return rc;
}

static coil_ret shell_main(void *arg)
{
    (void)arg;
    if (strncmp(coil_loop_backend(NULL), "sim", 3) == 0)
        return coil_fail(-ENOTSUP,
                         "the imaginary kernel has no compiler: use another COIL_BACKEND");
    shell.main = coil_current_task();
    coil_task_set_name(shell.main, "shell");
    meet_signals();
    coil_ret rc = workshop_begin(&shell.workshop);
    rc = coil_iserr(rc) ? rc : 1;
    while (rc == 1 && !shell.signo)
        rc = one_entry();
    return rc;
}

/* ---- the verb ---- */

static void at_exit(void)
{
    if (getpid() != shell_pid)
        return;
    editor_close();
    if (shell.workshop.folder)
        workshop_close(&shell.workshop);
}

static int run_shell(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return verb_help.run(2, (char *[]){argv[1], argv[0], NULL});
    if (argc > 1)
        return complain(EXIT_USAGE, 0, "it takes no words; :load FILE reads a file");
    const char *no_colour = getenv("NO_COLOR");
    shell.interactive = isatty(0) && isatty(1);
    shell.colours = isatty(2) && !(no_colour && *no_colour);
    shell.workshop.colours = shell.colours;
    shell_pid = getpid();
    setlocale(LC_CTYPE, "");          /* what is typed may be of any language */
    setvbuf(stdout, NULL, _IOLBF, 0); /* what background tasks print is seen when it is printed */
    int status = workshop_open(&shell.workshop);
    if (status == 0)
        status = meet_signals_early();
    if (status != 0)
        return status;
    atexit(at_exit); /* an entry may call exit */
    editor_open(shell.interactive, complete);
    if (shell.interactive)
        printf("coil %s: C inside a running loop; waiting calls just wait. :help tells more, "
               "Ctrl-D ends.\n",
               COIL_VERSION);
    coil_ret rc = coil_run(shell_main, NULL);
    session_free(&shell.session);
    if (shell.signo) {
        at_exit();
        die_of(shell.signo);
    }
    if (rc == COIL_EINTERRUPTED)
        return 128 + SIGINT;
    if (coil_iserr(rc))
        return complain(EXIT_TROUBLE, 0, "%s", coil_last_error()->message);
    return !shell.interactive && shell.failed ? EXIT_TROUBLE : 0;
}

const struct verb verb_shell = {
    .name = "shell",
    .arguments = "",
    .summary = "Try C inside a running loop, entry by entry; so does `coil` alone",
    .text =
        "Each entry is compiled, loaded into this process and run as a task: waiting calls just\n"
        "wait, variables, functions, types and macros stay, and tasks go on while you type. An\n"
        "expression without a semicolon is shown. :help at the prompt tells the rest.\n"
        "\n"
        "Over a pipe there is no prompt: results are printed, and the exit status is 1 if an\n"
        "entry failed. An entry that crashes ends the shell, as it would end any program.\n"
        "\n"
        "  CC                 the compiler; cc\n"
        "  CPPFLAGS, CFLAGS   its options, after -std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall\n"
        "  LDFLAGS, LDLIBS    the linker's options and libraries\n"
        "  COIL_INCLUDEDIR    where <coil.h> is\n"
        "  COIL_EDITOR        what edits lines: libedit, readline, none\n"
        "  COIL_HISTORY       a file to keep typed lines in; there is none unless you name one\n"
        "  NO_COLOR           set: no colours\n"
        "  TMPDIR             where entries are compiled; /tmp\n",
    .run = run_shell,
};
