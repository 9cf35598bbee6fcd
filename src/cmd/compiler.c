/* SPDX-License-Identifier: MIT
 *
 * compiler.c: the system's C compiler, with what a program on coil needs of it. */
#include "cmd/compiler.h"

#include "cmd/cmd.h"
#include "cmd/config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Set and not empty, or what it is otherwise. */
static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

const char *compiler_include_folder(void)
{
    return setting("COIL_INCLUDEDIR", COIL_INCLUDEDIR);
}

const char *compiler_lib_folder(void)
{
    return setting("COIL_LIBDIR", COIL_LIBDIR);
}

/* ---- the command ---- */

static void add_option(struct words *words, const char *option, const char *value)
{
    char *word = text_of("%s%s", option, value);
    words_add(words, word);
    free(word);
}

/* The compiler, with the options that every use of it has. */
static void add_compiler(struct words *words)
{
    words_split(words, setting("CC", "cc"));
    words_split(words, "-std=gnu11 -g -O1 -fno-omit-frame-pointer -Wall " COIL_SANITIZE);
    words_split(words, getenv("CPPFLAGS"));
    words_split(words, getenv("CFLAGS"));
    add_option(words, "-I", compiler_include_folder());
}

void compiler_command(struct words *out_words, const char *source, const char *program,
                      const char *deps)
{
    add_compiler(out_words);
    words_split(out_words, "-MD -MT program -MF");
    words_add(out_words, deps);
    words_split(out_words, "-x c");
    add_option(out_words, *source == '-' ? "./" : "", source);
    words_split(out_words, "-x none -o");
    words_add(out_words, program);
    words_split(out_words, getenv("LDFLAGS"));
    add_option(out_words, "-L", compiler_lib_folder());
    words_split(out_words, "-Xlinker -rpath -Xlinker");
    words_add(out_words, compiler_lib_folder());
    words_split(out_words, "-lcoil -pthread -lm");
    words_split(out_words, getenv("LDLIBS"));
}

/* ---- for the shell ---- */

/* _GNU_SOURCE as people at a prompt expect it: they cannot define it before the first header. An expression stands thrice
 * in what is compiled (translate.c), once with nothing done about its value; what a header defines need not be
 * used. */
static void add_object_compiler(struct words *words, const char *folder)
{
    add_compiler(words);
    words_split(words, "-D_GNU_SOURCE -fPIC -pthread -Wno-unused-value -Wno-unused-result "
                       "-Wno-unused-function -Werror=implicit-function-declaration");
    char *map = text_of("-fmacro-prefix-map=%s/=", folder);
    words_add(words, map);
    free(map);
    words_split(words, "-iquote .");
}

void compiler_object_command(struct words *out_words, const char *source, const char *object,
                             const char *header, const char *folder, bool colours)
{
    add_object_compiler(out_words, folder);
    words_split(out_words, colours ? "-fdiagnostics-color=always" : "-fdiagnostics-color=never");
    words_split(out_words, "-include");
    words_add(out_words, header);
    words_split(out_words, "-x c");
    words_add(out_words, source);
    words_split(out_words, "-x none -shared -o");
    words_add(out_words, object);
    words_split(out_words, getenv("LDFLAGS"));
    words_split(out_words, "-lm");
    words_split(out_words, getenv("LDLIBS"));
}

void compiler_header_command(struct words *out_words, const char *header, const char *precompiled,
                             const char *folder)
{
    add_object_compiler(out_words, folder);
    words_split(out_words, "-x c-header");
    words_add(out_words, header);
    words_split(out_words, "-o");
    words_add(out_words, precompiled);
}

void compiler_question_command(struct words *out_words, const char *source, const char *header,
                               const char *folder)
{
    add_object_compiler(out_words, folder);
    words_split(out_words, "-include");
    words_add(out_words, header);
    words_split(out_words, "-fsyntax-only -x c");
    words_add(out_words, source);
}

/* ---- identity ---- */

static void add_file(struct digest *d, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    digest_string(d, path);
    digest_field(d, &st.st_ino, sizeof st.st_ino);
    digest_field(d, &st.st_size, sizeof st.st_size);
    digest_field(d, &st.st_mtim.tv_sec, sizeof st.st_mtim.tv_sec);
    digest_field(d, &st.st_mtim.tv_nsec, sizeof st.st_mtim.tv_nsec);
}

/* The programs that a word of CC may name, wherever PATH has them. */
static void add_program(struct digest *d, const char *word)
{
    if (strchr(word, '/')) {
        add_file(d, word);
        return;
    }
    char *copy = text_of("%s", setting("PATH", "/bin:/usr/bin")), *rest = copy;
    for (char *folder; (folder = strsep(&rest, ":"));) {
        char *path = text_of("%s/%s", *folder ? folder : ".", word);
        add_file(d, path);
        free(path);
    }
    free(copy);
}

void compiler_identity(struct digest *d, const char *source)
{
    static const char *const variables[] = {
        "CPPFLAGS",       "CFLAGS",       "LDFLAGS",       "LDLIBS",          "CPATH",
        "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "SOURCE_DATE_EPOCH"};
    bool somewhere = *source != '/' || *compiler_include_folder() != '/' ||
                     *compiler_lib_folder() != '/';
    struct words words = {0};
    compiler_command(&words, source, "program", "deps");
    for (size_t i = 0; i < words.n; i++)
        digest_string(d, words.list[i]);
    words_free(&words);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        digest_string(d, getenv(variables[i]));
        somewhere = somewhere || getenv(variables[i]);
    }

    words_split(&words, setting("CC", "cc"));
    for (size_t i = 0; i < words.n; i++)
        add_program(d, words.list[i]);
    words_free(&words);

    static const char *const libraries[] = {"libcoil.so", "libcoil.a"};
    for (size_t i = 0; i < 2; i++) {
        char *path = text_of("%s/%s", compiler_lib_folder(), libraries[i]);
        add_file(d, path);
        free(path);
    }

    /* A program of absolute names only is the same wherever it is run. */
    char *folder = somewhere ? getcwd(NULL, 0) : NULL;
    digest_string(d, folder);
    free(folder);
}

/* ---- running it ---- */

static void die_of(int signo)
{
    signal(signo, SIG_DFL);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, signo);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    raise(signo);
}

/* As system(3): while the compiler runs, it gets the keyboard's signals, and meets them as we would. */
int compiler_run(char *const *words, void (*before_death)(void *arg), void *arg)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, plain = {.sa_handler = SIG_DFL}, on_int,
                     on_quit, on_chld;
    sigaction(SIGINT, &ignore, &on_int);
    sigaction(SIGQUIT, &ignore, &on_quit);
    sigaction(SIGCHLD, &plain, &on_chld);

    sigset_t theirs;
    sigemptyset(&theirs);
    if (on_int.sa_handler != SIG_IGN)
        sigaddset(&theirs, SIGINT);
    if (on_quit.sa_handler != SIG_IGN)
        sigaddset(&theirs, SIGQUIT);
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigdefault(&attributes, &theirs);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY,
                                     0); /* the program's input is not for cc */
    if (fcntl(2, F_GETFD) >= 0)
        posix_spawn_file_actions_adddup2(&files, 2, 1);

    pid_t pid;
    int status = 0, err = posix_spawnp(&pid, words[0], &files, &attributes, words, environ);
    while (!err && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    sigaction(SIGINT, &on_int, NULL);
    sigaction(SIGQUIT, &on_quit, NULL);
    sigaction(SIGCHLD, &on_chld, NULL);

    if (err) {
        int exit_status = err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
        return complain(exit_status, err, "the C compiler `%s` cannot be run", words[0]);
    }
    if (WIFSIGNALED(status)) {
        before_death(arg);
        die_of(WTERMSIG(status));
        return 128 + WTERMSIG(status);
    }
    return WEXITSTATUS(status);
}

/* ---- what was included ---- */

/* `program: a.c dir/with\ blank.h \` and so on: a backslash takes the meaning off a blank or '#', joins
 * lines, and else stands for itself; "$$" is '$'. */
void compiler_deps(struct words *out_paths, const char *rule)
{
    const char *from = strchr(rule, ':');
    if (!from)
        return;
    char *path = grown(NULL, strlen(rule) + 1);
    size_t n = 0;
    for (from++;; from++) {
        if (from[0] == '\\' && (from[1] == ' ' || from[1] == '#' || from[1] == '\t')) {
            path[n++] = *++from;
        } else if (from[0] == '$' && from[1] == '$') {
            path[n++] = *++from;
        } else if (from[0] == '\0' || strchr(" \t\r\n", *from) ||
                   (from[0] == '\\' && from[1] == '\n')) {
            path[n] = '\0';
            if (n > 0)
                words_add(out_paths, path);
            n = 0;
            if (*from == '\0')
                break;
            if (*from == '\\')
                from++;
        } else {
            path[n++] = *from;
        }
    }
    free(path);
}
