/* SPDX-License-Identifier: MIT
 *
 * address.c: text to socket addresses. What is taken can be written, cut to any length; what is refused has a
 * name; a unix path means the same each time. */
#include "fuzz.h"

#include <coil.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    coil_address address, again;
    char text[512];
    /* The first byte splits host from port; both end in a NUL of their own. */
    if (size > 0 && size < 400) {
        char host[400], port[400];
        size_t n = data[0] % size;
        memcpy(host, data + 1, n);
        host[n] = 0;
        memcpy(port, data + 1 + n, size - 1 - n);
        port[size - 1 - n] = 0;
        int rc = coil_address_parse(host, port, &address);
        HOLDS(rc <= 0);
        HOLDS(rc == 0 || (coil_last_error() && coil_last_error()->code == rc));
        if (rc == 0)
            HOLDS(coil_address_format(&address, text, sizeof text) > 0);
        for (size_t i = 0; rc == 0 && i < 24; i++) /* cut, never run over */
            HOLDS(coil_address_format(&address, text, i) > 0 && (i == 0 || strlen(text) < i));
    }
    int rc = coil_address_unix((const char *)data, size, &address);
    HOLDS(rc <= 0);
    if (rc == 0) {
        HOLDS(size > 0 && size <= 108);
        HOLDS(coil_address_unix((const char *)data, size, &again) == 0);
        HOLDS(memcmp(&address, &again, sizeof address) == 0);
        HOLDS(coil_address_format(&address, text, sizeof text) > 0);
    }
    return 0;
}
