/* SPDX-License-Identifier: MIT
 *
 * play_superv.c: examples/superv.c, compiled here with another main, over imaginary processes.
 *
 *     teller ----lines----> superv's log          begun again when they end, ever more slowly
 *     teller --| filter --| filter ---> log
 *     stubborn: takes no notice of SIGTERM
 *
 * Ledger: what is logged of a teller's life comes without a gap; when all of a service ended well, all that was said
 * is in the log by then, unless the supervisor's host stood still meanwhile (it gives last words a second). When it was told
 * to stop, no process is left. */
#include "swarm.h"

#include "../../examples/program.h"
#include "program.h"

#include "loop/loop.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

enum { LIVES = 20000, SERVICES = 5 };

static struct life {
    unsigned said, logged;
    unsigned pauses; /* of the host, when it began */
    uint64_t kills;
} * lives; /* of tellers, one after the other */
static unsigned lives_n;
static unsigned life_of[SERVICES]; /* the newest */
static struct host *server;

static const char *const names[SERVICES] = {"web", "night", "line", "mended", "once"};
static const char *const lines[SERVICES] = {
    "web: teller 0\n", "night stop=3: stubborn 1\n", "line: teller 2 | filter | filter\n",
    "mended on-failure: teller 3\n", "once once: teller 4\n"};

/* ---- the log ---- */

static void logged(const char *line, int n)
{
    unsigned life, number, length;
    int at = 0;
    if (sscanf(line, "%u %u %u %n", &life, &number, &length, &at) < 3 || at == 0 ||
        life >= lives_n || n - at != (int)length || number != lives[life].logged) {
        failed("superv: a line is logged that was not said then: %.*s", n < 60 ? n : 60, line);
        return;
    }
    for (unsigned i = 0; i < length; i++)
        if (line[at + (int)i] != (char)('a' + (number + i) % 26))
            failed("superv: a line is logged with other letters");
    lives[life].logged++;
    server->play->bytes += (uint64_t)n;
}

static void ended(const char *name, const char *codes)
{
    for (unsigned i = 0; i < SERVICES; i++) {
        const struct life *life = &lives[life_of[i]];
        if (strcmp(name, names[i]) != 0)
            continue;
        bool well = strspn(codes, " 0") == strlen(codes);
        server->play->whole += well;
        server->play->broken += !well;
        if (well && i != 1 && life->pauses == server->pauses &&
            life->kills == server->play->kills && life->logged != life->said)
            failed("superv: %s said %u lines and ended, and %u were logged", name, life->said,
                   life->logged);
    }
}

static int takes_notice(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static int takes_notice(const char *format, va_list args)
{
    if (strcmp(format, "%s| %.*s\n") == 0) {
        (void)va_arg(args, const char *);
        int n = va_arg(args, int);
        logged(va_arg(args, const char *), n);
    } else if (strcmp(format, "%s ended:%s") == 0) {
        const char *name = va_arg(args, const char *);
        ended(name, va_arg(args, const char *));
    }
    return 0;
}

static int superv_prints(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int superv_prints(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    takes_notice(format, args);
    va_end(args);
    return 0;
}

/* ---- the processes ---- */

struct teller {
    bool begun, stubborn, silent;
    struct random random;
    unsigned life, lines_left;
    int64_t until_ns;
    size_t at, n;
    char text[200];
};

static void teller_begin(struct sim_process *p, struct teller *t)
{
    unsigned service = (unsigned)atoi(coil__process_argv(p)[1]) % SERVICES;
    COIL_CHECK(lives_n < LIVES);
    t->begun = true;
    t->random.state = run.seed * 77 + lives_n;
    t->life = lives_n;
    t->lines_left = random_below(&t->random, 40);
    lives[lives_n] = (struct life){.pauses = server->pauses, .kills = server->play->kills};
    life_of[service] = lives_n++;
    t->stubborn = service == 1;
    if (t->stubborn)
        coil__process_catch(p, SIGTERM);
}

static void next_line(struct teller *t, unsigned number)
{
    unsigned length = 1 + random_below(&t->random, 150);
    t->n = (size_t)sprintf(t->text, "%u %u %u ", t->life, number, length);
    for (unsigned i = 0; i < length; i++)
        t->text[t->n++] = (char)('a' + (number + i) % 26);
    t->text[t->n++] = '\n';
    t->at = 0;
    t->lines_left--;
}

/* False: it must wait. */
static bool say_more(struct sim_process *p, struct teller *t)
{
    ssize_t n = coil__process_write(p, 1, t->text + t->at, t->n - t->at);
    if (n <= 0) {
        if (!coil__process_is_over(p) && n != -EAGAIN)
            coil__process_sleep(p, (int64_t)(patience() * 50) * NS_PER_MS);
        return false;
    }
    t->at += (size_t)n;
    lives[t->life].said += t->at == t->n;
    return true;
}

static void teller_step(struct sim_process *p)
{
    struct teller *t = coil__process_state(p);
    if (!t->begun)
        teller_begin(p, t);
    while (coil__process_caught(p))
        ; /* stubborn */
    while (!coil__process_is_over(p)) {
        int64_t left = t->until_ns - coil__process_now_ns(p);
        if (left > 0) {
            coil__process_sleep(p, left);
            return;
        }
        if (t->at < t->n) {
            if (!say_more(p, t))
                return;
        } else if (t->lines_left > 0) {
            if (random_below(&t->random, 8) == 0)
                t->until_ns = coil__process_now_ns(p) +
                              (int64_t)(pause_s(&t->random) / 4 * (double)NS_PER_S);
            next_line(t, lives[t->life].said);
        } else if (!t->silent && random_below(&t->random, 4) == 0) {
            t->silent = true; /* it has said all, and still lives a while */
            coil__process_close(p, 1);
            t->until_ns = coil__process_now_ns(p) +
                          (int64_t)(pause_s(&t->random) * (double)NS_PER_S);
        } else if (random_below(&t->random, 6) == 0) {
            coil__process_raise(p, SIGSEGV);
        } else {
            coil__process_exit(p, random_below(&t->random, 4) == 0 ? 3 : 0);
        }
    }
}

struct filter {
    char text[512];
    size_t at, n;
};

static void filter_step(struct sim_process *p)
{
    struct filter *f = coil__process_state(p);
    while (!coil__process_is_over(p)) {
        ssize_t n = f->at < f->n ? coil__process_write(p, 1, f->text + f->at, f->n - f->at)
                                 : coil__process_read(p, 0, f->text, sizeof f->text);
        if (n < 0) {
            if (!coil__process_is_over(p) && n != -EAGAIN)
                coil__process_sleep(p, (int64_t)(patience() * 50) * NS_PER_MS);
            return;
        }
        if (f->at < f->n)
            f->at += (size_t)n;
        else if (n == 0)
            coil__process_exit(p, 0);
        else
            f->at = 0, f->n = (size_t)n;
    }
}

/* ---- superv itself ---- */

static coil_ret read_config(const char *path, size_t max, char **out_text)
{
    struct random random = {server->seed};
    *out_text = calloc(1, 400);
    if (!*out_text)
        return -ENOMEM;
    for (unsigned i = 0; i < SERVICES; i++)
        if (i == 0 || random_below(&random, 2))
            strcat(*out_text, lines[i]);
    return 0;
}

static struct backend *backend_here(void)
{
    return coil_get_running_loop()->backend;
}

static int imaginary_pipe(int ends[2])
{
    int err = backend_here()->cls->calls.pipe(backend_here(), ends);
    if (err < 0)
        errno = -err;
    return err;
}

static void imaginary_close(int fd)
{
    backend_here()->cls->calls.close(backend_here(), fd);
}

int superv_main(int argc, char **argv);

#undef printf
#define printf(...)                    superv_prints(__VA_ARGS__)
#define vprintf(format, args)          takes_notice(format, args)
#define fputs(text, file)              ((void)0)
#define putchar(c)                     ((void)0)
#define coil_read_file(path, max, out) read_config(path, max, out)
#define coil_file_data_free(text)      free(text)
#define coil_wait_fd(fd, events)       coil_event_wait(&host_here()->stop)
#define read(fd, buf, n)               ((void)(buf), 0)
#define pipe2(ends, flags)             imaginary_pipe(ends)
#define close(fd)                      imaginary_close(fd)
#define main                           superv_main
#define lines                          superv_lines
#include "../../examples/superv.c"
#undef main
#undef lines
#undef printf
#undef fprintf

static coil_ret server_program(void *arg)
{
    char name[] = "superv", config[] = "config";
    char *argv[] = {name, config, NULL};
    return superv_main(2, argv);
}

static void equip(struct host *host)
{
    static const struct sim_program programs[] = {
        {.file = "teller", .step = teller_step, .state_size = sizeof(struct teller)},
        {.file = "stubborn", .step = teller_step, .state_size = sizeof(struct teller)},
        {.file = "filter", .step = filter_step, .state_size = sizeof(struct filter)}};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        COIL_CHECK(coil__sim_program(host->loop->backend, &programs[i]) == 0);
}

/* Looks on for a while. */
static coil_ret visitor_program(void *arg)
{
    const struct host *host = arg;
    struct random random = {host->seed};
    coil_ret rc = 0;
    for (unsigned talks = talks_of(&random, 30); talks > 0 && !run.calm && rc >= 0; talks--)
        rc = coil_sleep(pause_s(&random));
    return rc;
}

static void begin(struct play *play)
{
    static const struct role server_role = {.program = server_program,
                                            .serves = true,
                                            .mortal = true,
                                            .equip = equip},
                             visitor = {.program = visitor_program};
    if (!lives)
        lives = calloc(LIVES, sizeof *lives);
    COIL_CHECK(lives);
    lives_n = 0;
    memset(life_of, 0, sizeof life_of);
    server = host_add(play, &server_role);
    host_add(play, &visitor);
}

struct play play_superv = {.name = "superv", .begin = begin};
