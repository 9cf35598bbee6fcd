/* SPDX-License-Identifier: MIT
 *
 * address.c: socket addresses from text and to text; no name is ever looked up here.
 *
 * Keeps nothing; any thread. Elsewhere: names (resolve.c). */
#include "net/address.h"

#include "base/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* A zone's place is after the '%'; names of interfaces are looked up elsewhere. */
static bool parse_zone(const char *text, uint32_t *out)
{
    uint64_t value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' ||
            (value = value * 10 + (uint64_t)(*text - '0')) > UINT32_MAX)
            return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool parse_v6(const char *host, struct sockaddr_in6 *out)
{
    char digits[INET6_ADDRSTRLEN];
    const char *zone = strchr(host, '%');
    size_t n = zone ? (size_t)(zone - host) : strlen(host);
    if (n >= sizeof digits)
        return false;
    memcpy(digits, host, n);
    digits[n] = 0;
    *out = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (inet_pton(AF_INET6, digits, &out->sin6_addr) != 1)
        return false;
    return !zone || parse_zone(zone + 1, &out->sin6_scope_id);
}

int coil__port_parse(const char *port, uint16_t *out)
{
    uint32_t value = 0;
    const char *p = port ? port : "";
    for (; *p; p++) {
        if (*p < '0' || *p > '9')
            return -ENOENT; /* the name of a service */
        if ((value = value * 10 + (uint32_t)(*p - '0')) > 65535)
            return (int)coil__fail(-EINVAL, "port must be 0-65535, not %.40s", port);
    }
    *out = (uint16_t)value;
    return 0;
}

bool coil__address_literal(const char *host, uint16_t port, coil_address *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6;
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        *out = (coil_address){.len = sizeof v4};
        memcpy(&out->storage, &v4, sizeof v4);
        return true;
    }
    if (parse_v6(host, &v6)) {
        v6.sin6_port = htons(port);
        *out = (coil_address){.len = sizeof v6};
        memcpy(&out->storage, &v6, sizeof v6);
        return true;
    }
    return false;
}

int coil_address_parse(const char *host, const char *port, coil_address *out_address)
{
    uint16_t number;
    int err = coil__port_parse(port, &number);
    if (err == -ENOENT)
        return (int)coil__fail(-EINVAL, "%.40s is not a port number", port);
    if (err)
        return err;
    if (!host || !coil__address_literal(host, number, out_address))
        return (int)coil__fail(-EINVAL, "%.80s is not an IP address", host ? host : "NULL");
    return 0;
}

int coil_address_port(const coil_address *address)
{
    if (address->storage.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    if (address->storage.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    return (int)coil__fail(-EAFNOSUPPORT, "an address of family %d has no port",
                           address->storage.ss_family);
}

static int format_unix(const coil_address *a, char *out, size_t n)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->storage;
    if (a->len <= offsetof(struct sockaddr_un, sun_path))
        return snprintf(out, n, "unix");
    socklen_t len = a->len < sizeof *un ? a->len : sizeof *un;
    int path_n = (int)(len - offsetof(struct sockaddr_un, sun_path));
    if (un->sun_path[0] == 0)
        return snprintf(out, n, "@%.*s", path_n - 1, un->sun_path + 1);
    return snprintf(out, n, "%.*s", path_n, un->sun_path);
}

int coil_address_format(const coil_address *address, char *out, size_t n)
{
    char text[INET6_ADDRSTRLEN];
    switch (address->storage.ss_family) {
    case AF_INET: {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->storage;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        return snprintf(out, n, "%s:%u", text, ntohs(v4->sin_port));
    }
    case AF_INET6: {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->storage;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        if (v6->sin6_scope_id)
            return snprintf(out, n, "[%s%%%u]:%u", text, v6->sin6_scope_id, ntohs(v6->sin6_port));
        return snprintf(out, n, "[%s]:%u", text, ntohs(v6->sin6_port));
    }
    case AF_UNIX: return format_unix(address, out, n);
    default: return snprintf(out, n, "family %d", address->storage.ss_family);
    }
}
