/* echo.h: says back every line it gets, and tells now and then how much that was. */
#ifndef ECHO_H
#define ECHO_H

#include <coil.h>

struct echo {
    unsigned clients;    /* connected now */
    unsigned long lines; /* said back since the beginning */
    unsigned reports;    /* printed so far */
};

/* One client, from its first line to its last; coil_start_server makes a task of it for each. */
coil_ret echo_client(coil_reader *reader, coil_writer *writer, void *echo);

/* Prints a line every ten seconds until it is cancelled. */
coil_ret echo_report(void *echo);

#endif
