/* SPDX-License-Identifier: MIT
 *
 * superv.c: keeps programs running: superv FILE
 *
 *     # name [options]: program and arguments, or several with pipes between
 *     web: httpd 127.0.0.1:8080 /srv
 *     report once: cat /var/log/web | grep -v health | sort
 *     feed stop=5: feeder --interval "10 minutes"
 *
 * Options: `once` (not started again), `on-failure` (only when it failed), `stop=S` (seconds between SIGTERM and
 * SIGKILL; 2). Arguments are divided by blanks; what stands in quotes is one. No shell is involved.
 *
 *     [ service: supervise ] --> cat | grep | sort      each a process; pipes of the kernel between them
 *             |                   |      |     |
 *             |                 stderr stderr stdout, stderr --> a task each: log_lines --> our stdout
 *             +-- all have ended: again, after a pause that doubles
 *
 * It goes on until its own input ends, it is told to end (SIGTERM, SIGINT), or nothing is left to run: then every service
 * is cancelled, and stops its processes in its own task, all side by side. What to look at:
 *   - one group holds everything: when it has been left, no process is left;
 *   - a cancel is where a service cleans up: it may wait there as anywhere, for as long as its processes are granted;
 *   - what a process still had to say when it ended is logged before it is started again;
 *   - processes that die young are started ever more slowly. */
#include "program.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

enum {
    LINE_MAX_BYTES = 4096, /* of what is logged; longer ones are cut */
    STAGES_MAX = 8,
    WORDS_MAX = 32, /* of one stage */
    CONFIG_MAX_BYTES = 1 << 20
};
static const double PAUSE_MIN_S = 0.1, PAUSE_MAX_S = 30, YOUNG_S = 10, LAST_WORDS_S = 1;

struct stage {
    const char *argv[WORDS_MAX + 1];
    coil_process *process; /* NULL: does not run */
    pid_t pid;
};

struct service {
    struct service *next;
    const char *name;
    enum { ALWAYS, ONCE, ON_FAILURE } again;
    double stop_s;
    struct stage stages[STAGES_MAX];
    int stages_n;
    unsigned starts;
};

/* What a logging task needs. */
struct log {
    const struct service *service;
    coil_reader *reader;
};

/* ---- saying what happens ---- */

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("superv: ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    fflush(stdout);
}

/* Every line of one process, until the last of those who can write there has gone. */
static coil_ret log_lines(void *arg)
{
    const struct log *log = arg;
    for (;;) {
        const char *line;
        size_t n = 0;
        coil_ret rc = coil_reader_readline(log->reader, &line, &n);
        if (rc == COIL_ELIMIT)
            say("%s: a line of more than %d bytes is dropped", log->service->name, LINE_MAX_BYTES);
        else if (rc <= 0)
            return rc;
        else
            printf("%s| %.*s\n", log->service->name, (int)(n - (line[n - 1] == '\n')), line);
        fflush(stdout);
    }
}

/* ---- a pipeline ---- */

/* One process: its input is `in` (or nothing), its output a pipe to the next (whose other end is *out_next), or ours. */
static coil_ret start_stage(struct stage *stage, int in, bool last, int *out_next)
{
    int ends[2] = {-1, -1};
    coil_subprocess_opts opts = {.size = sizeof opts,
                                 .in = in >= 0 ? in : COIL_DEVNULL,
                                 .out = COIL_PIPE,
                                 .err = COIL_PIPE,
                                 .limit = LINE_MAX_BYTES};
    coil_ret rc = 0;
    if (!last && pipe2(ends, O_CLOEXEC) < 0)
        rc = coil_fail(-errno, "no pipe to the next program");
    else if (!last)
        opts.out = ends[1];
    if (rc == 0)
        rc = coil_create_subprocess_exec(stage->argv, &opts, &stage->process);
    if (in >= 0)
        close(in);
    if (ends[1] >= 0)
        close(ends[1]);
    if (rc < 0 && ends[0] >= 0)
        close(ends[0]);
    if (rc == 0)
        stage->pid = coil_process_pid(stage->process);
    *out_next = rc == 0 ? ends[0] : -1;
    return rc;
}

static coil_ret start_all(struct service *s)
{
    int in = -1;
    coil_ret rc = 0;
    for (int i = 0; i < s->stages_n && rc == 0; i++)
        rc = start_stage(&s->stages[i], in, i == s->stages_n - 1, &in);
    s->starts++;
    return rc;
}

/* A coroutine for logs, one for each pipe to us. */
static void log_all(const struct service *s, coil_group *group)
{
    for (int i = 0; i < s->stages_n; i++) {
        coil_process *p = s->stages[i].process;
        struct log logs[] = {{s, coil_process_stdout(p)}, {s, coil_process_stderr(p)}};
        for (int k = 0; k < 2; k++)
            if (logs[k].reader)
                coil_group_create_task_with(group, log_lines, &logs[k], sizeof logs[k]);
    }
}

static coil_ret wait_all(const struct service *s)
{
    coil_ret rc = 0;
    for (int i = 0; i < s->stages_n && rc == 0; i++)
        if (s->stages[i].process)
            rc = coil_process_wait(s->stages[i].process, NULL);
    return rc;
}

static void signal_all(const struct service *s, int signo)
{
    for (int i = 0; i < s->stages_n; i++)
        if (s->stages[i].process)
            coil_ignore(coil_process_send_signal(s->stages[i].process, signo));
}

/* Ask, wait, and then do not ask any more. */
static coil_ret stop_all(const struct service *s)
{
    signal_all(s, SIGTERM);
    coil_timeout(deadline, s->stop_s);
    coil_ret rc = coil_timeout_exit(&deadline, wait_all(s));
    if (rc == -ETIMEDOUT) {
        say("%s does not stop, and is killed", s->name);
        signal_all(s, SIGKILL);
        rc = wait_all(s);
    }
    return rc;
}

static void forget_all(struct service *s)
{
    for (int i = 0; i < s->stages_n; i++) {
        coil_process_unref(s->stages[i].process);
        s->stages[i].process = NULL;
    }
}

/* They have ended; whoever else holds their pipes is given a moment. */
static coil_ret last_words(coil_group *logs)
{
    coil_timeout(deadline, LAST_WORDS_S);
    coil_ret rc = coil_timeout_exit(&deadline, coil_group_exit(logs, 0));
    return rc == -ETIMEDOUT ? 0 : rc;
}

/* From start to end. Cancelled, it stops them first. */
static coil_ret run_once(struct service *s)
{
    coil_ret rc = start_all(s);
    if (rc < 0) {
        coil_ignore(stop_all(s)); /* those before the one that is missing */
        return rc;
    }
    char pids[STAGES_MAX * 12] = "";
    for (int i = 0; i < s->stages_n; i++)
        snprintf(pids + strlen(pids), 12, " %d", (int)s->stages[i].pid);
    say("%s runs:%s", s->name, pids);
    coil_task_group(logs);
    log_all(s, &logs);
    rc = wait_all(s);
    if (rc < 0) /* cancelled: from outside, or because a log failed */
        coil_ignore(stop_all(s));
    coil_ret said = last_words(&logs);
    return said < 0 ? said : rc;
}

/* ---- a service ---- */

/* Did all of it end well? A program before the last that was ended by a closed pipe (yes | head) did. */
static bool tell_end(const struct service *s)
{
    char codes[STAGES_MAX * 12] = "";
    bool well = true;
    for (int i = 0; i < s->stages_n; i++) {
        int code = 0;
        if (s->stages[i].process)
            coil_process_returncode(s->stages[i].process, &code);
        well = well && (code == 0 || (code == -SIGPIPE && i < s->stages_n - 1));
        snprintf(codes + strlen(codes), 12, " %d", code);
    }
    say("%s ended:%s", s->name, codes);
    return well;
}

static coil_ret supervise(void *arg)
{
    struct service *s = arg;
    double pause = PAUSE_MIN_S;
    for (;;) {
        double began = coil_loop_time(NULL);
        coil_ret rc = run_once(s);
        bool well = false;
        if (rc == 0 || rc == -ECANCELED)
            well = tell_end(s);
        else
            say("%s does not run: %s", s->name, coil_last_error()->message);
        forget_all(s);
        if (rc == -ECANCELED)
            return rc;
        if (s->again == ONCE || (s->again == ON_FAILURE && well))
            return 0;
        if (coil_loop_time(NULL) - began >= YOUNG_S)
            pause = PAUSE_MIN_S;
        say("%s starts again in %g s", s->name, pause);
        rc = coil_sleep(pause);
        if (rc < 0)
            return rc;
        pause = pause * 2 < PAUSE_MAX_S ? pause * 2 : PAUSE_MAX_S;
    }
}

/* ---- the file ---- */

/* The next word of a line, in place; "|" is one by itself. NULL at the end. */
static char *next_word(char **at)
{
    char *p = *at + strspn(*at, " \t"), *end;
    if (!*p)
        return NULL;
    if (*p == '"') {
        end = strchr(++p, '"');
        if (!end)
            return NULL;
    } else {
        end = p + strcspn(p, " \t");
    }
    *at = *end ? end + 1 : end;
    *end = '\0';
    return p;
}

static coil_ret read_stages(struct service *s, char *text)
{
    int words = 0;
    s->stages_n = 1;
    for (char *word; (word = next_word(&text));) {
        if (strcmp(word, "|") == 0) {
            if (words == 0 || s->stages_n == STAGES_MAX)
                return coil_fail(-EINVAL, "%s: a pipe leads nowhere, or there are too many",
                                 s->name);
            s->stages_n++;
            words = 0;
        } else if (words == WORDS_MAX) {
            return coil_fail(-EINVAL, "%s: too many arguments", s->name);
        } else {
            s->stages[s->stages_n - 1].argv[words++] = word;
        }
    }
    return words ? 0 : coil_fail(-EINVAL, "%s: there is no program", s->name);
}

/* `name option option: program argument | program argument` */
static coil_ret read_service(struct service *s, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return coil_fail(-EINVAL, "no colon in: %s", line);
    *colon = '\0';
    s->stop_s = 2;
    s->name = next_word(&line);
    if (!s->name)
        return coil_fail(-EINVAL, "a service has no name");
    for (char *word; (word = next_word(&line));) {
        if (strcmp(word, "once") == 0)
            s->again = ONCE;
        else if (strcmp(word, "on-failure") == 0)
            s->again = ON_FAILURE;
        else if (strncmp(word, "stop=", 5) == 0)
            s->stop_s = atof(word + 5);
        else
            return coil_fail(-EINVAL, "%s: no such option: %s", s->name, word);
    }
    return read_stages(s, colon + 1);
}

static coil_ret read_services(char *text, struct service **out_first)
{
    struct service **last = out_first;
    for (char *line, *rest = text; (line = strsep(&rest, "\n"));) {
        if (line[strspn(line, " \t")] == '\0' || *line == '#')
            continue;
        *last = calloc(1, sizeof **last);
        if (!*last)
            return coil_fail(-ENOMEM, "no memory for another service");
        coil_ret rc = read_service(*last, line);
        if (rc < 0)
            return rc;
        last = &(*last)->next;
    }
    return 0;
}

/* ---- the program ---- */

/* Until standard input ends. What is written there is of no interest. */
static coil_ret wait_for_end_of_input(void *arg)
{
    char bin[256];
    for (;;) {
        coil_ret rc = coil_wait_fd(STDIN_FILENO, COIL_READ);
        if (rc == -EPERM) /* a file, which has an end at once */
            return 0;
        if (rc < 0)
            return rc;
        ssize_t n = read(STDIN_FILENO, bin, sizeof bin);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            return 0;
    }
}

static coil_ret wait_for_signal(void *arg)
{
    return wait_for_stop_signal();
}

/* Whichever comes first ends all services. */
static coil_ret wait_to_stop(void *services)
{
    coil_future *either[] = {coil_create_task(wait_for_end_of_input, NULL),
                             coil_create_task(wait_for_signal, NULL)};
    coil_ret rc = coil_wait(either, 2, COIL_FOREVER, COIL_FIRST_COMPLETED, NULL);
    for (int i = 0; i < 2; i++) {
        coil_task_cancel(either[i], NULL);
        coil_unref(either[i]);
    }
    if (rc >= 0) {
        say("stops");
        coil_group_cancel(services);
    }
    return rc;
}

static coil_ret run_services(struct service *first)
{
    coil_task_group(services);
    for (struct service *s = first; s; s = s->next)
        coil_group_create_task(&services, supervise, s);
    coil_task *stopper = coil_create_task(wait_to_stop, &services);
    coil_ret rc = coil_group_exit(&services, 0);
    coil_task_cancel(stopper, NULL);
    coil_ret ended = coil_join(stopper);
    return rc < 0 || ended == -ECANCELED || ended > 0 ? rc : ended;
}

static coil_ret main_task(void *path)
{
    char *text;
    struct service *first = NULL;
    coil_ret rc = coil_read_file(path, CONFIG_MAX_BYTES, &text);
    if (rc < 0)
        return rc;
    rc = read_services(text, &first);
    if (rc == 0)
        rc = catch_stop_signals();
    if (rc == 0)
        rc = run_services(first);
    unsigned services = 0, starts = 0;
    for (struct service *s = first, *next; s; s = next) {
        next = s->next;
        services++;
        starts += s->starts;
        free(s);
    }
    if (rc == 0)
        say("%u services were started %u times, and have ended", services, starts);
    coil_file_data_free(text);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: superv FILE\n"
                        "a line of FILE: name [once] [on-failure] [stop=SECONDS]: program argument "
                        "| program\n");
        return 2;
    }
    raise_descriptor_limit();
    return coil_report(coil_run(main_task, argv[1]));
}
