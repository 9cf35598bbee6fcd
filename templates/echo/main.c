/* main.c: the program @NAME@: @NAME@ [PORT], 7000 if none is given. */
#include "echo.h"

#include <stdio.h>

static coil_ret serve(void *port)
{
    struct echo echo = {0};
    coil_server *server;
    coil_ret rc = coil_start_server(echo_client, &echo, "127.0.0.1", port, &server);
    if (coil_iserr(rc))
        return rc;
    printf("listening on 127.0.0.1:%d\n", coil_server_port(server));
    fflush(stdout);

    coil_task *report = coil_create_task(echo_report, &echo);
    rc = coil_server_serve_forever(server); /* until this task is cancelled */
    coil_task_cancel(report, NULL);
    coil_ignore(coil_join(report));
    coil_server_free(server);
    return rc;
}

int main(int argc, char **argv)
{
    return coil_report(coil_run(serve, argc > 1 ? argv[1] : "7000"));
}
