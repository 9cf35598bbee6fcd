/* echo.c: each function below reads as if nothing else ran; each waits without keeping the others. */
#include "echo.h"

#include <stdio.h>

static coil_ret say_back(struct echo *echo, coil_reader *reader, coil_writer *writer)
{
    const char *line; /* good until the next read */
    coil_ret n;
    while ((n = coil_reader_readline(reader, &line, NULL)) > 0) {
        coil_writer_write(writer, line, (size_t)n);
        coil_ret rc = coil_writer_drain(writer); /* a client that does not read makes us wait */
        if (coil_iserr(rc))
            return rc;
        echo->lines++;
    }
    return n; /* 0 is the end of the stream */
}

coil_ret echo_client(coil_reader *reader, coil_writer *writer, void *arg)
{
    struct echo *echo = arg;
    echo->clients++;
    coil_ret rc = say_back(echo, reader, writer);
    echo->clients--; /* also when the client broke off, or we were cancelled */
    return rc;
}

coil_ret echo_report(void *arg)
{
    struct echo *echo = arg;
    for (;;) {
        coil_ret rc = coil_sleep(10);
        if (coil_iserr(rc))
            return rc;
        printf("%u clients, %lu lines\n", echo->clients, echo->lines);
        fflush(stdout);
        echo->reports++;
    }
}
