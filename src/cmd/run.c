/* SPDX-License-Identifier: MIT
 *
 * run.c: `coil run FILE.c`: compile a program, unless that was done before, and become it.
 *
 *     key of source and compiler --> in the cache? --yes--> exec
 *                                         ^            |no
 *                                         '-- keep <-- compile --it fails--> exit as the compiler did
 *
 * The program runs in this process: same number, same signals, same exit status. Where nothing can be
 * kept, it is compiled into a temporary folder that is gone before the program begins. */
#include "cmd/cache.h"
#include "cmd/cmd.h"
#include "cmd/compiler.h"
#include "cmd/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TRIES = 3 }; /* others may empty the cache between our compiling and running */

struct program {
    char **argv; /* [0] is the source, as it was named */
    const char *source;
    char *name;  /* what ps shows */
    char *cache; /* NULL: nothing can be kept */
    char key[DIGEST_TEXT];
    struct timespec begun; /* when we first looked at the source */
};

/* "dir/hello.c" --> "hello" */
static char *name_of(const char *source)
{
    const char *slash = strrchr(source, '/');
    char *name = text_of("%s", slash ? slash + 1 : source);
    size_t n = strlen(name);
    if (n > 2 && strcmp(name + n - 2, ".c") == 0)
        name[n - 2] = '\0';
    if (strcmp(name, "deps") == 0 || strcmp(name, "list") == 0) /* such files stand beside it */
        name[0] ^= 'a' ^ 'A';
    return name;
}

static int look_at_source(struct program *p)
{
    clock_gettime(CLOCK_REALTIME, &p->begun);
    char *text;
    size_t n;
    int err = read_file(p->source, &text, &n);
    if (err)
        return complain(EXIT_TROUBLE, -err, "cannot read %s", p->source);
    struct digest d;
    digest_init(&d);
    digest_string(&d, "coil run, first layout");
    digest_string(&d, COIL_VERSION);
    compiler_identity(&d, p->source);
    digest_field(&d, text, n);
    digest_text(&d, p->key);
    free(text);
    return 0;
}

/* ---- becoming the program ---- */

/* Returns only if the program is not there, or no program (a power cut leaves such things): 0, and it
 * is to be made; or if it cannot be run: an exit status. */
static int become(struct program *p, const char *path)
{
    execv(path, p->argv);
    if (errno == ENOEXEC)
        return unlink(path) == 0 ? 0 : complain(EXIT_CANNOT_RUN, errno, "cannot remove %s", path);
    return errno == ENOENT ? 0 : complain(EXIT_CANNOT_RUN, errno, "cannot run %s", path);
}

/* The same for one that is not kept: opened, removed, run. */
static int become_and_remove(struct program *p, const char *folder)
{
    char *path = text_of("%s/%s", folder, p->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = errno;
    remove_folder(folder);
    if (fd >= 0) {
        fexecve(fd, p->argv, environ);
        err = errno;
        close(fd);
    }
    complain(EXIT_CANNOT_RUN, err, "cannot run %s", path);
    free(path);
    return EXIT_CANNOT_RUN;
}

/* ---- making it ---- */

static void forget(void *folder)
{
    remove_folder(folder);
}

static int compile_in(const struct program *p, char *folder)
{
    char *program = text_of("%s/%s", folder, p->name), *deps = text_of("%s/deps", folder);
    struct words command = {0};
    compiler_command(&command, p->source, program, deps);
    int status = compiler_run(command.list, forget, folder);
    words_free(&command);
    free(program);
    free(deps);
    return status;
}

/* A folder to compile in: in the cache; else a temporary one, and from here on there is no cache. */
static char *working_folder(struct program *p)
{
    int err = p->cache ? cache_make(p->cache) : 0;
    char *folder = p->cache && !err ? cache_begin(p->cache) : NULL;
    if (folder)
        return folder;
    if (p->cache && err == -EPERM)
        complain(0, 0, "no compiled programs are kept in %s: others may write there", p->cache);
    else if (p->cache)
        complain(0, err ? -err : errno, "no compiled programs are kept in %s", p->cache);
    free(p->cache);
    p->cache = NULL;

    const char *temporary = getenv("TMPDIR");
    folder = text_of("%s/coil-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (mkdtemp(folder))
        return folder;
    complain(0, errno, "cannot make a temporary folder (%s)", folder);
    free(folder);
    return NULL;
}

/* Compile, and keep the program or run it right away. 0 when it is in the cache. */
static int make(struct program *p)
{
    char *folder = working_folder(p);
    if (!folder)
        return EXIT_TROUBLE;
    int status = compile_in(p, folder);
    if (status != 0)
        remove_folder(folder);
    else if (!p->cache || cache_keep(p->cache, p->key, folder, p->begun) < 0)
        status = become_and_remove(p, folder);
    free(folder);
    return status;
}

static int make_and_become(struct program *p)
{
    for (int i = 0; i < TRIES; i++) {
        char *path = p->cache ? cache_find(p->cache, p->key, p->name) : NULL;
        int status = path ? become(p, path) : 0;
        free(path);
        if (status == 0)
            status = make(p);
        if (status != 0)
            return status;
    }
    return complain(EXIT_TROUBLE, 0, "the compiled program goes from %s as soon as it is there",
                    p->cache);
}

static int run(int argc, char **argv)
{
    int at = argc > 1 && strcmp(argv[1], "--") == 0 ? 2 : 1;
    if (at == 1 && argc > 1 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0))
        return verb_help.run(2, (char *[]){argv[1], argv[0], NULL});
    if (at == 1 && argc > 1 && argv[1][0] == '-')
        return complain(EXIT_USAGE, 0,
                        "there is no option `%s`; the program's own come after its name", argv[1]);
    if (at >= argc)
        return complain(EXIT_USAGE, 0, "which program? coil run FILE.c [ARGUMENT]...");

    struct program p = {.argv = argv + at, .source = argv[at]};
    int status = look_at_source(&p);
    if (status != 0)
        return status;
    p.name = name_of(p.source);
    p.cache = cache_folder();
    status = make_and_become(&p);
    free(p.name);
    free(p.cache);
    return status;
}

const struct verb verb_run = {
    .name = "run",
    .arguments = "FILE.c [ARGUMENT]...",
    .summary = "Compile a C program, unless that was done before, and run it",
    .text = "The program gets the arguments, runs in the same process and gives its exit\n"
            "status. When it does not compile, the compiler says why, and its exit status is\n"
            "the command's.\n"
            "\n"
            "Compiled programs are kept in ~/.cache/coil (at most 64 MiB) by what they are made\n"
            "of: the source, the headers it includes, the compiler and its options, and libcoil.\n"
            "\n"
            "  CC                 the compiler; cc\n"
            "  CPPFLAGS, CFLAGS   its options, after -std=gnu11 -g -O1\n"
            "                     -fno-omit-frame-pointer -Wall\n"
            "  LDFLAGS, LDLIBS    the linker's options and libraries\n"
            "  COIL_INCLUDEDIR    where <coil.h> is\n"
            "  COIL_LIBDIR        where libcoil is\n"
            "  XDG_CACHE_HOME     where caches are; ~/.cache\n"
            "  COIL_CACHE_BYTES   how much is kept\n",
    .run = run,
};
