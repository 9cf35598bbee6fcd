/* SPDX-License-Identifier: MIT
 *
 * notes.c: a notebook for several people, kept in SQLite: notes [-t SECONDS] ADDRESS:PORT FILE
 *
 *     add TEXT | list [N] | search TEXT | delete ID | count | ping | quit        one line each
 *
 *     client's task --> [ the writers' lock ] --> [ a free database ] --> thread: SQL --> the answer
 *
 * SQLite's functions block: they wait for disks and for other processes. So each statement runs on a thread, and
 * its task waits there (coil_to_thread) while the loop serves the others. What to look at:
 *   - a database handle is used by one task at a time; a queue holds the free ones (ask);
 *   - one task at a time writes: a lock of tasks, so that no thread sleeps for another thread's transaction;
 *   - a statement that takes too long is interrupted by a timer (run_job): what runs on a thread cannot be cancelled
 *     from outside, but SQLite can be asked;
 *   - on SIGTERM every client's task is cancelled. A statement that runs is finished and answered, because a
 *     running job keeps its task waiting and the cancel comes after it; what still stood in line is refused.
 *
 * What a client sends is only ever bound to a prepared statement, never part of its text. */
#include "program.h"

#include <getopt.h>
#include <sqlite3.h>
#include <stdlib.h>

enum {
    DATABASES = 4, /* statements at a time */
    LINE_BYTES = 8192,
    ANSWER_BYTES = 1 << 20,
    LIST_DEFAULT = 20,
    LIST_MAX = 1000,
    BUSY_MS = 2000 /* to wait for another process's lock */
};
static const double QUERY_S = 5, SEND_S = 30, DRAIN_S = 10;

enum statement { ADD, LIST, SEARCH, DELETE, COUNT, STATEMENTS };
static const char *const sql[STATEMENTS] = {
    [ADD] = "INSERT INTO notes (text) VALUES (?1)",
    [LIST] = "SELECT id, text FROM notes ORDER BY id DESC LIMIT ?1",
    [SEARCH] =
        "SELECT id, text FROM notes WHERE text LIKE ?1 ESCAPE '\\' ORDER BY id DESC LIMIT ?2",
    [DELETE] = "DELETE FROM notes WHERE id = ?1",
    [COUNT] = "SELECT count(*) FROM notes",
};

struct database {
    sqlite3 *handle;
    sqlite3_stmt *statements[STATEMENTS];
};

struct notebook {
    const char *file;
    double time_limit;
    struct database databases[DATABASES];
    coil_queue free; /* struct database */
    coil_lock writing;
    struct client *clients; /* a list */
    bool stopping;
    unsigned long answered;
};

struct client {
    struct client *next, **back;
    struct notebook *book;
    coil_reader *reader;
    coil_writer *writer;
    coil_task *task; /* serves it; borrowed, it is us */
};

/* ---- on a thread: SQLite ---- */

/* One statement to run: lent to the thread by the task that waits for it. */
struct job {
    struct database *db;
    enum statement what;
    const char *text; /* of ADD and SEARCH */
    sqlite3_int64 number;
    char *answer; /* malloc */
    size_t answer_n, answer_room;
};

static coil_ret sqlite_failed(sqlite3 *handle)
{
    return coil_fail(COIL_EUSER, "%s", sqlite3_errmsg(handle));
}

static bool append(struct job *job, const void *bytes, size_t n)
{
    if (job->answer_n + n > job->answer_room) {
        size_t room = 2 * (job->answer_n + n);
        char *more = realloc(job->answer, room);
        if (!more)
            return false;
        job->answer = more;
        job->answer_room = room;
    }
    memcpy(job->answer + job->answer_n, bytes, n);
    job->answer_n += n;
    return true;
}

static coil_ret append_row(struct job *job, sqlite3_stmt *statement)
{
    char number[32];
    int n = snprintf(number, sizeof number, "%lld ", (long long)sqlite3_column_int64(statement, 0));
    size_t text_n = (size_t)sqlite3_column_bytes(statement, 1), at = job->answer_n + (size_t)n;
    if (job->answer_n + text_n > ANSWER_BYTES)
        return coil_fail(COIL_EUSER, "more than %d bytes", ANSWER_BYTES);
    if (!append(job, number, (size_t)n) ||
        (text_n > 0 && !append(job, sqlite3_column_text(statement, 1), text_n)))
        return -ENOMEM;
    for (size_t i = at; i < job->answer_n; i++)
        if (job->answer[i] == '\n') /* another program may have put one there */
            job->answer[i] = ' ';
    return append(job, "\n", 1) ? 0 : -ENOMEM;
}

/* "50%" as a LIKE pattern: "%50\%%". */
static void make_pattern(const char *text, char pattern[2 * LINE_BYTES + 3])
{
    *pattern++ = '%';
    for (; *text; *pattern++ = *text++)
        if (strchr("%_\\", *text))
            *pattern++ = '\\';
    strcpy(pattern, "%");
}

static void bind_values(struct job *job, sqlite3_stmt *statement)
{
    char pattern[2 * LINE_BYTES + 3];
    if (job->what == SEARCH) {
        make_pattern(job->text, pattern);
        sqlite3_bind_text(statement, 1, pattern, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int64(statement, 2, job->number);
    } else if (job->what == ADD) {
        sqlite3_bind_text(statement, 1, job->text, -1, SQLITE_STATIC);
    } else if (job->what != COUNT) {
        sqlite3_bind_int64(statement, 1, job->number);
    }
}

/* Runs it to its end; a number (rows, the new id, rows deleted), or an error with SQLite's words. */
static coil_ret run_statement(void *arg)
{
    struct job *job = arg;
    sqlite3 *handle = job->db->handle;
    sqlite3_stmt *statement = job->db->statements[job->what];
    bind_values(job, statement);
    coil_ret result = 0;
    int step = SQLITE_DONE;
    while (!coil_iserr(result) && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        if (job->what == COUNT)
            result = (coil_ret)sqlite3_column_int64(statement, 0);
        else
            result = append_row(job, statement);
    }
    if (coil_iserr(result))
        ; /* it was our own trouble */
    else if (step != SQLITE_DONE)
        result = sqlite_failed(handle);
    else if (job->what == ADD)
        result = (coil_ret)sqlite3_last_insert_rowid(handle);
    else if (job->what == DELETE)
        result = sqlite3_changes(handle);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return result;
}

static coil_ret open_database(const char *file, struct database *db)
{
    if (sqlite3_open(file, &db->handle) != SQLITE_OK)
        return coil_fail(COIL_EUSER, "%s: %s", file, sqlite3_errmsg(db->handle));
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    /* With a write-ahead log, readers and the writer do not wait for each other. */
    const char *setup =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
        "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)";
    if (sqlite3_exec(db->handle, setup, NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_failed(db->handle);
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(db->handle, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statements[i], NULL) != SQLITE_OK)
            return sqlite_failed(db->handle);
    return 0;
}

static coil_ret open_databases(void *arg)
{
    struct notebook *book = arg;
    coil_ret rc = 0;
    for (int i = 0; i < DATABASES && !coil_iserr(rc); i++)
        rc = open_database(book->file, &book->databases[i]);
    return rc;
}

static coil_ret close_databases(void *arg)
{
    struct notebook *book = arg;
    for (int i = 0; i < DATABASES; i++) {
        for (int j = 0; j < STATEMENTS; j++)
            sqlite3_finalize(book->databases[i].statements[j]);
        sqlite3_close(book->databases[i].handle);
    }
    return 0;
}

/* ---- in a task: one question ---- */

static void interrupt(void *handle)
{
    sqlite3_interrupt(handle);
}

static coil_ret run_job(const struct notebook *book, struct job *job)
{
    coil_handle *alarm;
    coil_ret rc = coil_loop_call_later(NULL, book->time_limit, interrupt, job->db->handle, &alarm);
    if (coil_iserr(rc))
        return rc;
    rc = coil_to_thread(run_statement, job);
    coil_handle_cancel(alarm);
    coil_handle_unref(alarm);
    return rc;
}

/* Run it once there is a database free, alone if it writes. */
static coil_ret ask(struct notebook *book, struct job *job)
{
    bool writes = job->what == ADD || job->what == DELETE;
    coil_ret rc = writes ? coil_lock_acquire(&book->writing) : 0;
    if (coil_iserr(rc))
        return rc;
    void *db;
    rc = coil_queue_get(&book->free, &db);
    if (!coil_iserr(rc)) {
        job->db = db;
        rc = run_job(book, job);
        coil_queue_put_nowait(&book->free, db); /* there is room: it came from there */
    }
    if (writes)
        coil_lock_release(&book->writing);
    return rc;
}

/* ---- one client ---- */

static coil_ret reply(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static coil_ret reply(struct client *c, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    size_t used = n < (int)sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[used++] = '\n';
    c->book->answered++;
    return coil_writer_write(c->writer, line, used);
}

/* What came of a job, as lines; rows first. */
static coil_ret answer(struct client *c, const struct job *job, coil_ret rc)
{
    if (rc == COIL_EEXIT)
        return rc;
    if (rc == -ECANCELED)
        return reply(c, "error the server is stopping");
    if (coil_iserr(rc))
        return reply(c, "error %s", coil_last_error()->message);
    if (job->what == ADD || job->what == COUNT)
        return reply(c, "ok %lld", (long long)rc);
    if (job->what == DELETE)
        return rc > 0 ? reply(c, "ok") : reply(c, "error no such note");
    if (job->answer_n > 0)
        coil_writer_write(c->writer, job->answer, job->answer_n);
    return reply(c, "ok");
}

/* A whole number from `low` to `high`, and nothing after it. */
static bool read_number(const char *text, long long low, long long high, sqlite3_int64 *out)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    *out = n;
    return end != text && !*end && errno == 0 && n >= low && n <= high;
}

/* "add TEXT" and its like. False if it is none of them. */
static bool read_job(char *line, struct job *job)
{
    static const char *const words[STATEMENTS] = {"add", "list", "search", "delete", "count"};
    char *rest = line + strcspn(line, " ");
    if (*rest)
        *rest++ = 0;
    for (job->what = ADD; job->what < STATEMENTS; job->what++)
        if (strcmp(line, words[job->what]) == 0)
            break;
    job->text = rest;
    job->number = LIST_MAX;
    switch (job->what) {
    case ADD: return rest[0];
    case SEARCH: return rest[0];
    case DELETE: return read_number(rest, 1, INT64_MAX, &job->number);
    case COUNT: return !rest[0];
    case LIST:
        job->number = LIST_DEFAULT;
        return !rest[0] || read_number(rest, 1, LIST_MAX, &job->number);
    default: return false;
    }
}

static coil_ret serve_line(struct client *c, char *line)
{
    struct job job = {0};
    if (strcmp(line, "ping") == 0)
        return reply(c, "pong");
    if (!read_job(line, &job))
        return reply(c,
                     "error say: add TEXT, list [N], search TEXT, delete ID, count, ping or quit");
    coil_ret rc = answer(c, &job, ask(c->book, &job));
    free(job.answer);
    return rc;
}

static coil_ret serve_lines(struct client *c)
{
    char line[LINE_BYTES + 2];
    for (;;) {
        const char *view;
        coil_ret n = coil_reader_readline(c->reader, &view, NULL);
        if (n == COIL_ELIMIT)
            return reply(c, "error longer than %d bytes", LINE_BYTES);
        if (n <= 0)
            return n;
        memcpy(line, view, (size_t)n);
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        line[n] = 0;
        if (strcmp(line, "quit") == 0)
            return 0;
        coil_ret rc = strlen(line) == (size_t)n ? serve_line(c, line)
                                                : reply(c, "error a NUL in it");
        if (coil_iserr(rc) || c->book->stopping) /* serve_line may have been told, once */
            return rc;
        coil_timeout(deadline, SEND_S);
        rc = coil_timeout_exit(&deadline, coil_writer_drain(c->writer));
        if (coil_iserr(rc))
            return rc;
    }
}

static coil_ret serve(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct notebook *book = arg;
    struct client c = {
        .book = book, .reader = reader, .writer = writer, .task = coil_current_task()};
    c.next = book->clients;
    c.back = &book->clients;
    if (c.next)
        c.next->back = &c.next;
    book->clients = &c;
    if (book->stopping) /* it was accepted, and this task made, just before */
        coil_task_cancel(c.task, "the server is stopping");

    coil_ret rc = serve_lines(&c);
    if (rc == -ETIMEDOUT)
        coil_writer_abort(writer); /* it does not read what it asked for */

    *c.back = c.next;
    if (c.next)
        c.next->back = c.back;
    bool theirs = rc == -ECONNRESET || rc == -EPIPE || rc == -ETIMEDOUT;
    return theirs ? 0 : rc;
}

/* ---- the program ---- */

struct args {
    char *host, *port;
    const char *file;
    double time_limit;
};

static coil_ret serve_until_stopped(struct notebook *book, const struct args *args)
{
    coil_server *server;
    coil_server_opts opts = {.size = sizeof opts, .limit = LINE_BYTES};
    coil_ret rc = catch_stop_signals();
    if (!coil_iserr(rc))
        rc = coil_start_server_with(serve, book, args->host, args->port, &opts, &server);
    if (coil_iserr(rc))
        return rc;
    printf("notes: %s is open on %s:%d (%s)\n", args->file, args->host, coil_server_port(server),
           coil_loop_backend(NULL));
    fflush(stdout);

    coil_ret why = wait_for_stop_signal();
    book->stopping = true;
    coil_server_close(server);
    for (struct client *c = book->clients; c; c = c->next)
        coil_task_cancel(c->task, "the server is stopping");
    coil_timeout(deadline, DRAIN_S);
    rc = coil_timeout_exit(&deadline, coil_server_wait_closed(server));
    if (coil_iserr(rc)) {
        coil_server_abort_clients(server);
        rc = coil_server_wait_closed(server);
    }
    coil_server_free(server);
    printf("notes: %lu answers\n", book->answered);
    return coil_iserr(why) ? why : rc;
}

static coil_ret main_task(void *arg)
{
    const struct args *args = arg;
    struct notebook book = {
        .file = args->file, .time_limit = args->time_limit, .free = COIL_QUEUE(DATABASES)};
    coil_ret rc = coil_to_thread(open_databases, &book);
    for (int i = 0; i < DATABASES && !coil_iserr(rc); i++)
        rc = coil_queue_put_nowait(&book.free, &book.databases[i]);
    if (!coil_iserr(rc))
        rc = serve_until_stopped(&book, args);
    coil_queue_fini(&book.free);
    close_databases(&book); /* the loop has nothing else to do any more */
    return rc;
}

int main(int argc, char **argv)
{
    struct args args = {.time_limit = QUERY_S};
    int option;
    bool good = true;
    while ((option = getopt(argc, argv, "t:")) != -1) {
        args.time_limit = option == 't' ? atof(optarg) : 0;
        good = args.time_limit > 0;
    }
    if (!good || argc - optind != 2 || !split_address(argv[optind], &args.host, &args.port)) {
        fprintf(stderr, "usage: notes [-t SECONDS] ADDRESS:PORT FILE\n"
                        "-t: how long a question may take; port 0 for a free one\n");
        return 2;
    }
    args.file = argv[optind + 1];
    raise_descriptor_limit();
    return coil_report(coil_run(main_task, &args));
}
