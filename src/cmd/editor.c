/* SPDX-License-Identifier: MIT
 *
 * editor.c: lines from a person or from a pipe, while the loop goes on.
 *
 *     descriptor 0 is readable --> read_char of the library --> a line is whole --> on_line --> the future is set
 *
 * The library has the terminal only while a line is waited for: an entry that runs meets it as any program does.
 *
 * Always true: at most one waits. The loop's thread. Elsewhere: what Tab knows (names.c). */
#include "cmd/editor.h"

#include "cmd/cmd.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { HISTORY_MAX = 1000 }; /* lines that the file is cut to when the shell starts */

/* What both libraries offer, by the names that readline gave them. */
struct library {
    void (*install)(const char *prompt, void (*fn)(char *line));
    void (*remove)(void);
    void (*read_char)(void);
    void (*add_history)(const char *line);
    char **(*matches)(const char *text, char *(*next)(const char *text, int state));
    void (*replace_line)(const char *text, int clear_undo);
    void (*reset_after_signal)(void);
    void (*redraw)(void);
    int (*on_new_line)(void);
    char *(**attempted_completion)(const char *text, int start, int end);
    int *completion_over, *completion_append, *catch_signals;
    char **line_buffer;
};

static struct {
    bool interactive, edits, has_termios;
    struct library library;
    editor_complete_fn complete;
    struct words candidates;
    struct termios termios;
    coil_future *waiting; /* for a line; NULL if nobody does */
    char *line;           /* the one that came */
    char *buffer;         /* without a library: what was read and not given out */
    size_t n;
    bool at_end;
    char *last_line;            /* that history has */
    int history_fd;             /* -1: none is written */
    unsigned long long written; /* bytes, when the line was drawn */
} editor = {.history_fd = -1};

/* ---- the library ---- */

static const char *const libraries[][3] = {
    {"libedit", "libedit.so.2", "libedit.so.0"},
    {"readline", "libreadline.so.8", "libreadline.so.7"},
};

static void *open_library(const char **out_name)
{
    const char *wanted = getenv("COIL_EDITOR");
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        if (wanted && *wanted && strcmp(wanted, libraries[i][0]) != 0)
            continue;
        for (size_t k = 1; k < 3; k++) {
            void *library = dlopen(libraries[i][k], RTLD_NOW | RTLD_LOCAL);
            *out_name = libraries[i][0];
            if (library)
                return library;
        }
    }
    return NULL;
}

const char *editor_library(void)
{
    const char *name;
    void *library = open_library(&name);
    if (!library)
        return NULL;
    dlclose(library);
    return name;
}

static char **complete(const char *text, int start, int end);

/* Is all there that we need? */
static bool find_functions(struct library *l)
{
    const char *name;
    void *handle = open_library(&name);
    if (!handle)
        return false;
    struct {
        const char *name;
        void *to;
    } symbols[] = {
        {"rl_callback_handler_install", &l->install},
        {"rl_callback_handler_remove", &l->remove},
        {"rl_callback_read_char", &l->read_char},
        {"add_history", &l->add_history},
        {"rl_completion_matches", &l->matches},
        {"rl_replace_line", &l->replace_line},
        {"rl_reset_after_signal", &l->reset_after_signal},
        {"rl_forced_update_display", &l->redraw},
        {"rl_on_new_line", &l->on_new_line},
        {"rl_attempted_completion_function", &l->attempted_completion},
        {"rl_attempted_completion_over", &l->completion_over},
        {"rl_completion_append_character", &l->completion_append},
        {"rl_catch_signals", &l->catch_signals},
        {"rl_line_buffer", &l->line_buffer},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (!symbol) {
            dlclose(handle);
            return false;
        }
        memcpy(symbols[i].to, &symbol, sizeof symbol);
    }
    const char **program = dlsym(handle, "rl_readline_name");
    if (program)
        *program = "coil";
    const char **breaks = dlsym(handle, "rl_completer_word_break_characters");
    if (breaks)
        *breaks = " \t\n\"'`\\(){}[]<>=;,|&!?+-*%^~#@";
    void (*using_history)(void);
    void *symbol = dlsym(handle, "using_history");
    memcpy(&using_history, &symbol, sizeof symbol);
    if (using_history)
        using_history();
    *l->catch_signals = 0;
    *l->attempted_completion = (char *(*)(const char *, int, int))complete;
    return true;
}

/* ---- Tab ---- */

static char *next_candidate(const char *text, int state)
{
    static size_t at;
    (void)text;
    at = state == 0 ? 0 : at + 1;
    return at < editor.candidates.n ? text_of("%s", editor.candidates.list[at]) : NULL;
}

static char **complete(const char *text, int start, int end)
{
    (void)end;
    *editor.library.completion_over = 0;
    if (start > 0 && strncmp(*editor.library.line_buffer, ":load ", 6) == 0)
        return NULL; /* files, then */
    *editor.library.completion_over = 1;
    *editor.library.completion_append = '\0';
    words_free(&editor.candidates);
    if (*text)
        editor.complete(&editor.candidates, text);
    return editor.library.matches(text, next_candidate);
}

/* ---- history ---- */

/* The file is the user's wish: COIL_HISTORY names it. What he types may be secret, so it is his alone. */
static void open_history(void)
{
    const char *path = getenv("COIL_HISTORY");
    if (!path || !*path)
        return;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        complain(0, fd < 0 ? errno : 0, "no history is kept in %s", path);
        if (fd >= 0)
            close(fd);
        return;
    }
    if (st.st_mode & 077)
        (void)!fchmod(fd, 0600);
    char *text;
    size_t n, lines = 0;
    if (read_file(path, &text, &n) == 0) {
        for (size_t i = 0; i < n; i++)
            lines += text[i] == '\n';
        char *from = text;
        for (; lines > HISTORY_MAX; lines--)
            from = strchr(from, '\n') + 1;
        if (from != text && ftruncate(fd, 0) == 0)
            (void)!write(fd, from, strlen(from));
        for (char *line; (line = strsep(&from, "\n"));) {
            if (*line)
                editor.library.add_history(line);
        }
        free(text);
    }
    editor.history_fd = fd;
}

static void remember(const char *line)
{
    if (!line[strspn(line, " \t")] || (editor.last_line && strcmp(editor.last_line, line) == 0))
        return;
    editor.library.add_history(line);
    free(editor.last_line);
    editor.last_line = text_of("%s", line);
    if (editor.history_fd >= 0) {
        char *text = text_of("%s\n", line);
        (void)!write(editor.history_fd, text, strlen(text));
        free(text);
    }
}

/* ---- waiting ---- */

static void finish(enum editor_outcome outcome)
{
    if (editor.waiting && !coil_future_done(editor.waiting))
        coil_future_set_result(editor.waiting, outcome);
}

static void on_line(char *line)
{
    editor.library.remove();
    if (!line) {
        fputs("\n", stdout);
        finish(EDITOR_END);
        return;
    }
    remember(line);
    editor.line = line;
    finish(EDITOR_LINE);
}

/* By this process, so far; 0 where the kernel does not count. */
static unsigned long long bytes_written(void)
{
    char *text;
    size_t n;
    unsigned long long bytes = 0;
    if (read_file("/proc/self/io", &text, &n) == 0) {
        const char *at = strstr(text, "wchar: ");
        if (at)
            bytes = strtoull(at + 7, NULL, 10);
        free(text);
    }
    return bytes;
}

/* The terminal is gone, and with it whoever typed. It would be readable for ever; the libraries make nothing of that. */
static bool terminal_is_gone(void)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    int n = 0;
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) &&
           (ioctl(0, FIONREAD, &n) < 0 || n == 0);
}

static void on_readable(void *arg)
{
    (void)arg;
    if (!editor.edits) {
        finish(EDITOR_LINE);
        return;
    }
    if (!editor.waiting || coil_future_done(editor.waiting))
        return;
    if (terminal_is_gone()) {
        editor.library.remove();
        finish(EDITOR_END);
        return;
    }
    /* A task wrote something since the line was drawn, so it is elsewhere on the screen now: draw it again. */
    if (bytes_written() != editor.written) {
        editor.library.on_new_line();
        editor.library.redraw();
    }
    editor.library.read_char();
    editor.written = bytes_written();
}

/* Wait until something comes, or somebody says what became of it. Files are always readable. */
static coil_ret wait_for_input(void)
{
    editor.waiting = coil_loop_create_future(NULL);
    int err = coil_loop_add_reader(NULL, 0, on_readable, NULL);
    coil_ret rc = EDITOR_LINE;
    if (err >= 0) {
        rc = coil_await(editor.waiting);
        coil_loop_remove_reader(NULL, 0);
    }
    coil_unref(editor.waiting);
    editor.waiting = NULL;
    return rc;
}

/* Signals are the shell's. libedit takes them whatever one asks of it, and sends what comes to the whole process group. */
static void install(const char *prompt)
{
    static const int ours[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCONT, SIGTSTP};
    enum { COUNT = sizeof ours / sizeof *ours };
    struct sigaction actions[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        sigaction(ours[i], NULL, &actions[i]);
    editor.library.install(prompt, on_line);
    for (size_t i = 0; i < COUNT; i++)
        sigaction(ours[i], &actions[i], NULL);
    editor.written = bytes_written();
}

static coil_ret edited_line(const char *prompt, char **out_line)
{
    fflush(stdout);
    install(prompt);
    coil_ret rc = wait_for_input();
    if (rc != EDITOR_LINE && rc != EDITOR_END) {
        editor.library.replace_line("", 0);
        editor.library.remove();
    }
    *out_line = editor.line;
    editor.line = NULL;
    return rc;
}

/* ---- without a library ---- */

static bool take_line(char **out_line)
{
    char *end = editor.n ? memchr(editor.buffer, '\n', editor.n) : NULL;
    if (!end && !(editor.at_end && editor.n))
        return false;
    size_t length = end ? (size_t)(end - editor.buffer) : editor.n, used = length + (end ? 1 : 0);
    *out_line = text_of("%.*s", (int)length, editor.buffer);
    memmove(editor.buffer, editor.buffer + used, editor.n - used);
    editor.n -= used;
    return true;
}

static coil_ret plain_line(const char *prompt, char **out_line)
{
    if (editor.interactive) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    while (!take_line(out_line)) {
        if (editor.at_end)
            return EDITOR_END;
        coil_ret rc = wait_for_input();
        if (rc != EDITOR_LINE)
            return rc;
        editor.buffer = grown(editor.buffer, editor.n + 65536);
        ssize_t n = read(0, editor.buffer + editor.n, 65536);
        if (n > 0)
            editor.n += (size_t)n;
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            editor.at_end = true;
        if (n == 0 && editor.interactive && editor.n == 0)
            fputs("\n", stdout);
    }
    return EDITOR_LINE;
}

coil_ret editor_line(const char *prompt, char **out_line)
{
    *out_line = NULL;
    return editor.edits ? edited_line(prompt, out_line) : plain_line(prompt, out_line);
}

void editor_stop(enum editor_outcome outcome)
{
    if (!editor.waiting || coil_future_done(editor.waiting))
        return;
    if (editor.edits && outcome == EDITOR_INTERRUPTED)
        fputs("^C", stdout); /* as the terminal does it when it echoes */
    if (editor.interactive)
        fputs("\n", stdout);
    finish(outcome);
}

/* ---- the terminal ---- */

void editor_open(bool interactive, editor_complete_fn complete_fn)
{
    editor.interactive = interactive;
    editor.complete = complete_fn;
    editor.has_termios = interactive && tcgetattr(0, &editor.termios) == 0;
    editor.edits = interactive && find_functions(&editor.library);
    if (editor.edits)
        open_history();
}

void editor_close(void)
{
    if (editor.history_fd >= 0)
        close(editor.history_fd);
    editor.history_fd = -1;
    editor_restore_terminal();
}

void editor_redraw(void)
{
    if (!editor.edits || !editor.waiting || coil_future_done(editor.waiting))
        return;
    editor.library.reset_after_signal();
    editor.library.redraw();
}

void editor_restore_terminal(void)
{
    if (editor.has_termios)
        tcsetattr(0, TCSADRAIN, &editor.termios);
}
