/* SPDX-License-Identifier: MIT
 *
 * replay.c: runs a target on each file of a folder, without libFuzzer, so with every compiler and sanitizer. */
#include "fuzz.h"

#include <dirent.h>

int main(int argc, char **argv)
{
    struct dirent **names;
    int n = argc == 2 ? scandir(argv[1], &names, NULL, alphasort) : -1;
    if (n < 0) {
        fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    int played = 0;
    for (int i = 0; i < n; i++) {
        char path[4096];
        static uint8_t data[65536];
        snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
        FILE *file = names[i]->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (file) {
            size_t size = fread(data, 1, sizeof data, file);
            fclose(file);
            /* Exactly as long as it is, so that a byte too far is seen. */
            uint8_t *copy = malloc(size ? size : 1);
            HOLDS(copy);
            memcpy(copy, data, size);
            LLVMFuzzerTestOneInput(copy, size);
            free(copy);
            printf("ok %d - fuzz_%s\n", ++played, names[i]->d_name);
        }
        free(names[i]);
    }
    free(names);
    printf("1..%d\n", played);
    return played ? 0 : 1; /* an empty folder proves nothing */
}
