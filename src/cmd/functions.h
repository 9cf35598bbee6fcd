/* SPDX-License-Identifier: MIT
 *
 * functions.h: names for the code and the variables of another process, from the files it was made of. */
#ifndef COIL_CMD_FUNCTIONS_H
#define COIL_CMD_FUNCTIONS_H

#include "cmd/peer.h"

struct function_file;
struct functions {
    struct function_file *files;
};

struct place {
    char function[96]; /* "": nobody knows */
    const char *file;  /* of the map; good as long as the peer */
    uint64_t address;  /* as addr2line -e FILE takes it; 0: not known */
};

/* False: no code is there. */
bool functions_find(struct functions *f, struct peer *p, uint64_t pc, struct place *out);
/* The variable at an address, or within it: "orders", "app+16"; "": nobody knows. */
void functions_variable(struct functions *f, struct peer *p, uint64_t at, char *out, size_t n);
void functions_free(struct functions *f);

#endif
