/* SPDX-License-Identifier: MIT
 *
 * ca_main.c: test_ca FOLDER: puts the certificates of lib/ca.h there and prints what is to become of each. */
#include "ca.h"

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    ca_make(argv[1]);
    ca_print();
    return 0;
}
