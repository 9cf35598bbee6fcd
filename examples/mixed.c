/* SPDX-License-Identifier: MIT
 *
 * mixed.c: a database, the network and a file, waited for at once by one thread of coroutines: mixed [times]
 *
 *     database  -- SQL on a thread of the executor ---------------------------->|
 *     network   -- a line there, a line back ------------>|                     |
 *     file      -- written, read back ----->|            |                     |
 *     ticker    .   .   .   .   .   .   .   .|  .   .   . |  .   .   .   .   .  |
 *
 * Each of the three uses next to no processor, and a thread that called them one after the other would stand
 * still for the sum of their times. What to look at: every function below reads as if it were alone; gather
 * starts them together and takes as long as the longest; the ticker shows that the loop never stood still. */
#include <coil.h>

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINES = 1000, NUMBERS = 1000 };
static const double TICK_S = 0.01, SERVER_S = 0.3;
static const int DATABASE_MS = 800;

struct work {
    const char *what;
    coil_fn fn; /* what it does; its result is a number to print */
    double took;
    bool print_times;
};

/* ---- a database: SQLite, which blocks its thread ---- */

static void wait_ms(sqlite3_context *context, int n, sqlite3_value **values)
{
    (void)n;
    usleep((useconds_t)sqlite3_value_int(values[0]) * 1000); /* a large table, or a slow disk */
    sqlite3_result_int(context, 0);
}

static coil_ret sum_on_a_thread(void *unused)
{
    sqlite3 *db;
    sqlite3_stmt *statement = NULL;
    coil_ret sum = COIL_EUSER;
    if (sqlite3_open(":memory:", &db) == SQLITE_OK &&
        sqlite3_create_function(db, "wait_ms", 1, SQLITE_UTF8, NULL, wait_ms, NULL, NULL) ==
            SQLITE_OK &&
        sqlite3_prepare_v2(db,
                           "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM "
                           "numbers WHERE n < ?1)"
                           "SELECT sum(n) + wait_ms(?2) FROM numbers",
                           -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_int(statement, 1, NUMBERS);
        sqlite3_bind_int(statement, 2, DATABASE_MS);
        if (sqlite3_step(statement) == SQLITE_ROW)
            sum = (coil_ret)sqlite3_column_int64(statement, 0);
    }
    if (coil_iserr(sum))
        coil_fail(sum, "SQLite: %s", sqlite3_errmsg(db));
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return sum;
}

static coil_ret query_database(void *unused)
{
    return coil_join(coil_loop_run_in_executor(NULL, NULL, sum_on_a_thread, NULL, 0));
}

/* ---- the network: a server that takes its time, and a client ---- */

static coil_ret answer(coil_reader *reader, coil_writer *writer, void *unused)
{
    const char *line;
    coil_ret n = coil_reader_readline(reader, &line, NULL);
    if (n <= 0)
        return n;
    coil_ret rc = coil_sleep(SERVER_S);
    return coil_iserr(rc) ? rc : coil_writer_write(writer, line, (size_t)n);
}

static coil_ret ask(const char *port)
{
    static const char question[] = "how long is this line?\n";
    coil_reader *reader;
    coil_writer *writer;
    coil_ret rc = coil_open_connection("127.0.0.1", port, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    const char *line;
    coil_writer_write(writer, question, strlen(question));
    rc = coil_reader_readline(reader, &line, NULL);
    coil_ignore(coil_writer_finish(writer));
    return rc;
}

static coil_ret ask_over_the_network(void *unused)
{
    coil_server *server;
    coil_ret rc = coil_start_server(answer, NULL, "127.0.0.1", "0", &server);
    if (coil_iserr(rc))
        return rc;
    char port[16];
    snprintf(port, sizeof port, "%d", coil_server_port(server));
    rc = ask(port);
    coil_server_close(server);
    coil_ignore(coil_server_wait_closed(server));
    coil_server_free(server);
    return rc;
}

/* ---- a file ---- */

/* Writes some lines and reads them back; how many came. */
static coil_ret count_lines(void *unused)
{
    char path[64], line[32], text[LINES * sizeof line] = "";
    snprintf(path, sizeof path, "/tmp/coil-mixed-%d", (int)getpid());
    for (int i = 0, n = 0; i < LINES; i++)
        n += sprintf(text + n, "line %d\n", i);
    coil_ret rc = coil_write_file(path, text, strlen(text), 0600);
    if (coil_iserr(rc))
        return rc;
    char *data;
    rc = coil_read_file(path, 0, &data);
    if (!coil_iserr(rc)) {
        rc = 0;
        for (const char *end = data; (end = strchr(end, '\n')); end++)
            rc++;
        coil_file_data_free(data);
    }
    coil_ignore(coil_unlink(path));
    return rc;
}

/* ---- all at once ---- */

static coil_ret do_work(void *arg)
{
    struct work *work = arg;
    double begin = coil_loop_time(NULL);
    coil_ret rc = work->fn(NULL);
    work->took = coil_loop_time(NULL) - begin;
    if (coil_iserr(rc))
        return rc;
    printf("%-8s  ended with %ld", work->what, (long)rc);
    if (work->print_times)
        printf(" after %.3f s", work->took);
    printf("\n");
    return 0;
}

static coil_ret tick(void *ticks)
{
    for (;;) {
        coil_ret rc = coil_sleep(TICK_S);
        if (coil_iserr(rc))
            return rc;
        ++*(int *)ticks;
    }
}

static coil_ret main_task(void *print_times)
{
    struct work works[] = {{"database", query_database, 0, print_times != NULL},
                           {"network", ask_over_the_network, 0, print_times != NULL},
                           {"file", count_lines, 0, print_times != NULL}};
    enum { WORKS = sizeof works / sizeof works[0] };
    coil_task *tasks[WORKS];
    int ticks = 0;
    coil_task *ticker = coil_create_task(tick, &ticks);
    double begin = coil_loop_time(NULL), one_by_one = 0;
    for (int i = 0; i < WORKS; i++)
        tasks[i] = coil_create_task(do_work, &works[i]);
    coil_ret rc = coil_gather(tasks, WORKS, NULL, COIL_UNREF);
    double took = coil_loop_time(NULL) - begin;
    coil_task_cancel(ticker, NULL);
    coil_ignore(coil_join(ticker));
    if (coil_iserr(rc))
        return rc;

    for (int i = 0; i < WORKS; i++)
        one_by_one += works[i].took;
    printf("together they took %s than one after another\n",
           took < one_by_one ? "less" : "no less");
    printf("the loop %s meanwhile\n", ticks > 10 ? "went on" : "stood still");
    if (print_times)
        printf("%.3f s instead of %.3f s; %d ticks\n", took, one_by_one, ticks);
    return 0;
}

int main(int argc, char **argv)
{
    return coil_report(coil_run(main_task, argc > 1 ? argv : NULL));
}
