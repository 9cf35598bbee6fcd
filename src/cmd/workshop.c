/* SPDX-License-Identifier: MIT
 *
 * workshop.c: where the entries of a shell are compiled, and how they come into this process. */
#include "cmd/workshop.h"

#include "cmd/cmd.h"
#include "cmd/compiler.h"
#include "cmd/diagnostics.h"
#include "cmd/embedded.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the folder ---- */

static int folder_fd = -1; /* for the handler of a crash */
static char folder_path[4096];
static unsigned entries_written;

static char *file_in(const struct workshop *workshop, const char *name)
{
    return text_of("%s/%s", workshop->folder, name);
}

int workshop_open(struct workshop *workshop)
{
    const char *temporary = getenv("TMPDIR");
    char *name = text_of("%s/coil-shell-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    workshop->folder = mkdtemp(name) ? realpath(name, NULL) : NULL;
    if (!workshop->folder) {
        complain(0, errno, "cannot make a temporary folder (%s)", name);
        free(name);
        return EXIT_TROUBLE;
    }
    free(name);
    workshop->header = file_in(workshop, "prelude.h");
    int err = write_file(workshop->header, shell_files[0].text, strlen(shell_files[0].text), 0600);
    if (err) {
        complain(0, -err, "cannot write %s", workshop->header);
        workshop_close(workshop);
        return EXIT_TROUBLE;
    }
    folder_fd = open(workshop->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(folder_path, sizeof folder_path, "%s", workshop->folder);
    return 0;
}

void workshop_close(struct workshop *workshop)
{
    if (folder_fd >= 0)
        close(folder_fd);
    folder_fd = -1;
    remove_folder(workshop->folder);
    free(workshop->folder);
    free(workshop->header);
    *workshop = (struct workshop){0};
}

/* Nothing here allocates or locks. */
static void remove_numbered(const char *before, unsigned n, const char *behind)
{
    char name[40], digits[12];
    size_t at = 0, count = 0;
    for (const char *p = before; *p; p++)
        name[at++] = *p;
    do
        digits[count++] = (char)('0' + n % 10);
    while (n /= 10);
    while (count > 0)
        name[at++] = digits[--count];
    for (const char *p = behind; *p; p++)
        name[at++] = *p;
    name[at] = '\0';
    unlinkat(folder_fd, name, 0);
}

void workshop_remove_in_handler(void)
{
    if (folder_fd < 0)
        return;
    for (unsigned n = 1; n <= entries_written; n++) {
        remove_numbered("entry-", n, "");
        remove_numbered("", n, ".c");
        remove_numbered("", n, ".so");
    }
    static const char *const others[] = {"prelude.h", "prelude.h.gch", "question.c"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        unlinkat(folder_fd, others[i], 0);
    rmdir(folder_path);
}

/* ---- the compiler ---- */

/* Its temporary files are in the folder, too: a compiler that is killed leaves them. */
static void environment_in(struct words *out_env, const char *folder)
{
    for (char **variable = environ; *variable; variable++) {
        if (strncmp(*variable, "TMPDIR=", 7) != 0)
            words_add(out_env, *variable);
    }
    char *own = text_of("TMPDIR=%s", folder);
    words_add(out_env, own);
    free(own);
}

static coil_ret start_compiler(const struct workshop *workshop, const struct words *command,
                               coil_process **out_compiler)
{
    struct words env = {0};
    environment_in(&env, workshop->folder);
    coil_subprocess_opts opts = {
        .size = sizeof opts,
        .in = COIL_DEVNULL,
        .out = COIL_PIPE,
        .err = COIL_STDOUT,
        .env = (const char *const *)env.list,
        .new_process_group = true}; /* Ctrl-C is ours: it cancels this task */
    coil_ret rc = coil_create_subprocess_exec((const char *const *)command->list, &opts,
                                              out_compiler);
    words_free(&env);
    if (coil_iserr(rc))
        return coil_fail_from(rc, "the C compiler `%s` cannot be run: %s", command->list[0],
                              coil_strerror(rc));
    return rc;
}

/* Its exit status, 128 and the signal's number when one ended it, or an error. Gives it back. */
static coil_ret end_of_compiler(coil_process *compiler, char **out_said)
{
    coil_process_output output = {0};
    int status = 0;
    coil_ret rc = coil_process_communicate(compiler, NULL, 0, &output);
    if (!coil_iserr(rc) && coil_process_returncode(compiler, &status))
        rc = status < 0 ? 128 - status : status;
    else
        kill(-coil_process_pid(compiler), SIGKILL); /* it has children, which would go on writing */
    *out_said = output.out ? text_of("%s", output.out) : NULL;
    coil_process_unref(compiler);
    return rc;
}

static coil_ret run_compiler(const struct workshop *workshop, const struct words *command,
                             char **out_said)
{
    coil_process *compiler;
    *out_said = NULL;
    coil_ret rc = start_compiler(workshop, command, &compiler);
    return coil_iserr(rc) ? rc : end_of_compiler(compiler, out_said);
}

static char *precompiled_header(const struct workshop *workshop)
{
    return text_of("%s.gch", workshop->header);
}

static coil_ret precompile(void *arg)
{
    struct workshop *workshop = arg;
    char *said;
    /* Half of one would be worse than none, which only takes longer. What is wrong the first entry will say. */
    if (end_of_compiler(workshop->compiler, &said) != 0) {
        char *precompiled = precompiled_header(workshop);
        unlink(precompiled);
        free(precompiled);
    }
    free(said);
    return 0;
}

coil_ret workshop_begin(struct workshop *workshop)
{
    char *precompiled = precompiled_header(workshop);
    struct words command = {0};
    compiler_header_command(&command, workshop->header, precompiled, workshop->folder);
    coil_ret rc = start_compiler(workshop, &command, &workshop->compiler);
    words_free(&command);
    free(precompiled);
    if (coil_iserr(rc))
        return rc;
    workshop->precompiling = coil_create_task(precompile, workshop);
    coil_task_set_name(workshop->precompiling, "shell: prelude");
    return 0;
}

/* The entry's task may be cancelled meanwhile, and the header is still made for the next. */
static coil_ret wait_for_header(struct workshop *workshop)
{
    if (!workshop->precompiling)
        return 0;
    coil_ret rc = coil_shield(workshop->precompiling);
    if (coil_iserr(rc) && !coil_future_done(workshop->precompiling))
        return rc;
    coil_unref(workshop->precompiling);
    workshop->precompiling = NULL;
    return 0;
}

static int write_anew(const char *path, const char *text)
{
    unlink(path);
    return write_file(path, text, strlen(text), 0600);
}

char *workshop_quote(struct workshop *workshop, unsigned n, const char *text)
{
    char *path = text_of("%s/entry-%u", workshop->folder, n);
    if (n > entries_written)
        entries_written = n;
    write_anew(path, text); /* if this fails, messages come without the line they are about */
    return path;
}

coil_ret workshop_compile(struct workshop *workshop, unsigned n, const char *source,
                          char **out_said)
{
    *out_said = NULL;
    coil_ret rc = wait_for_header(workshop);
    if (coil_iserr(rc))
        return rc;
    char *file = text_of("%s/%u.c", workshop->folder, n), *said;
    char *object = text_of("%s/%u.so", workshop->folder, n);
    struct words command = {0};
    unlink(object);
    int err = write_anew(file, source);
    if (err) {
        rc = coil_fail(err, "cannot write %s: %s", file, coil_strerror(err));
    } else {
        compiler_object_command(&command, file, object, workshop->header, workshop->folder,
                                workshop->colours);
        rc = run_compiler(workshop, &command, &said);
        if (said)
            *out_said = diagnostics_for_user(said, workshop->folder);
        free(said);
    }
    words_free(&command);
    free(file);
    free(object);
    return coil_iserr(rc) ? rc : rc != 0;
}

coil_ret workshop_ask(struct workshop *workshop, const char *source)
{
    coil_ret rc = wait_for_header(workshop);
    if (coil_iserr(rc))
        return rc;
    char *file = file_in(workshop, "question.c"), *said = NULL;
    struct words command = {0};
    int err = write_anew(file, source);
    compiler_question_command(&command, file, workshop->header, workshop->folder);
    rc = err ? coil_fail(err, "cannot write %s: %s", file, coil_strerror(err))
             : run_compiler(workshop, &command, &said);
    words_free(&command);
    free(file);
    free(said);
    return coil_iserr(rc) ? rc : rc == 0;
}

/* ---- loading ---- */

/* "/tmp/coil-x/7.so: undefined symbol: foo" --> "`foo` is declared, and nowhere defined" */
static char *why_not_loaded(const char *said)
{
    static const char undefined[] = "undefined symbol: ";
    const char *symbol = strstr(said, undefined);
    if (!symbol)
        return text_of("it cannot be loaded: %s", said);
    symbol += sizeof undefined - 1;
    return text_of("`%.*s` is declared, and nowhere defined", (int)strcspn(symbol, " .,\n"),
                   symbol);
}

void *workshop_load(struct workshop *workshop, unsigned n, char **out_why)
{
    char *object = text_of("%s/%u.so", workshop->folder, n);
    void *loaded = dlopen(object, RTLD_NOW | RTLD_GLOBAL);
    *out_why = loaded ? NULL : why_not_loaded(dlerror());
    free(object);
    return loaded;
}
