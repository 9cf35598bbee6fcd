/* SPDX-License-Identifier: MIT
 *
 * digest.h: SHA-256: a name for contents, the same only for the same contents. */
#ifndef COIL_CMD_DIGEST_H
#define COIL_CMD_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { DIGEST_TEXT = 65 }; /* 64 hexadecimal digits and the NUL */

struct digest {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64];
};

void digest_init(struct digest *d);
void digest_add(struct digest *d, const void *data, size_t n);

/* A field: its length, then the bytes, so that ("ab", "c") and ("a", "bc") differ. NULL is one too. */
void digest_field(struct digest *d, const void *data, size_t n);
void digest_string(struct digest *d, const char *s);

/* What was added so far, as text. The digest may go on. */
void digest_text(const struct digest *d, char out[DIGEST_TEXT]);

#endif
