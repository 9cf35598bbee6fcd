/* SPDX-License-Identifier: MIT
 *
 * 13_unix.c: a server on a unix socket: programs of one machine talk through a file's name.
 *
 * Look at: apart from the two calls that name the path, nothing differs from TCP. The file's permissions (unix_mode)
 * decide who may connect, and are set before anybody can; closing the server removes the file, and so the
 * directory is empty in the end. "@name" instead of a path would need no file at all. */
#include <coil.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static coil_ret chat(coil_reader *reader, coil_writer *writer, void *unused)
{
    const char *line;
    coil_ret n;
    while ((n = coil_reader_readline(reader, &line, NULL)) > 0) {
        coil_writer_write(writer, "you said: ", 10);
        coil_writer_write(writer, line, (size_t)n);
        coil_ret rc = coil_writer_drain(writer);
        if (coil_iserr(rc))
            return rc;
    }
    return n;
}

static coil_ret say(const char *path, const char *text)
{
    coil_reader *reader;
    coil_writer *writer;
    const char *answer;
    coil_ret rc = coil_open_unix_connection(path, NULL, &reader, &writer);
    if (coil_iserr(rc))
        return rc;
    coil_writer_write(writer, text, strlen(text));
    rc = coil_reader_readline(reader, &answer, NULL);
    if (!coil_iserr(rc))
        printf("%s", answer);
    coil_ret closed = coil_writer_finish(writer);
    return coil_iserr(rc) ? rc : closed;
}

static coil_ret serve_and_talk(void *dir)
{
    char path[64];
    snprintf(path, sizeof path, "%s/chat", (const char *)dir);
    coil_server_opts opts = {.size = sizeof opts, .unix_mode = 0600}; /* for this user alone */
    coil_server *server;
    coil_ret rc = coil_start_unix_server(chat, NULL, path, &opts, &server);
    if (coil_iserr(rc))
        return rc;
    rc = say(path, "hello\n");
    if (!coil_iserr(rc))
        rc = say(path, "and good bye\n");
    coil_ret closed = coil_server_finish(server); /* closes, waits for the clients, gives it up */
    printf("afterwards: %s\n", coil_strerror(coil_iserr(rc) ? rc : say(path, "still there?\n")));
    return coil_iserr(rc) ? rc : closed;
}

int main(void)
{
    char dir[] = "/tmp/coil-XXXXXX";
    if (!mkdtemp(dir))
        return 1;
    int status = coil_report(coil_run(serve_and_talk, dir));
    if (rmdir(dir) == 0)
        printf("the directory was empty\n");
    return status;
}
