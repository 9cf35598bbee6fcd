/* SPDX-License-Identifier: MIT
 *
 * main.c: chaos ROLE ...: one program in several roles. `run` is the one for people (./dev chaos); the others are started by
 * it: server, client; child is a server's. */
#include "chaos.h"

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "run") == 0)
        return supervisor_main(argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "child") == 0)
        return child_main(argc - 1, argv + 1);
    if (argc < 3) {
        fputs("usage: chaos run SECONDS CONNECTIONS SEED BACKEND [SOAK_SECONDS CSV]\n", stderr);
        return 2;
    }
    die_with_parent();
    int err = shared_open(argv[2], false);
    if (err) {
        fprintf(stderr, "chaos: no ledger: %s\n", coil_strerror(err));
        return 2;
    }
    /* Without the folder: argv[0] is the role. */
    argv[2] = argv[1];
    return strcmp(argv[2], "server") == 0   ? server_main(argc - 2, argv + 2)
           : strcmp(argv[2], "client") == 0 ? client_main(argc - 2, argv + 2)
                                            : 2;
}
