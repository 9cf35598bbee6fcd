/* SPDX-License-Identifier: MIT
 *
 * address.c: socket addresses from text and to text; no host's name is ever looked up here.
 *
 * Keeps nothing; any thread. Zones come from interfaces' names too, and go out as numbers: those need no
 * asking, and whoever reads them back gets the same. Elsewhere: names (resolve.c). */
#include "net/address.h"

#include "base/error.h"
#include "base/sys.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* The place of a zone is after the '%': the number of an interface, or its name. 0, -EINVAL if it is empty or too
 * large a number; -ENODEV, recorded, if there is no such name. */
static int parse_zone(const char *text, uint32_t *out)
{
    uint64_t value = 0;
    if (!*text)
        return -EINVAL;
    if (text[strspn(text, "0123456789")]) {
        /* Longer ones do not exist, and a libc may cut them before it looks. */
        int index = strlen(text) < IF_NAMESIZE ? sys_if_nametoindex(text) : -ENODEV;
        if (index < 0)
            return (int)coil__fail(index, "network interface %.40s: %s", text,
                                   coil_strerror(index));
        *out = (uint32_t)index;
        return 0;
    }
    for (; *text; text++)
        if ((value = value * 10 + (uint64_t)(*text - '0')) > UINT32_MAX)
            return -EINVAL;
    *out = (uint32_t)value;
    return 0;
}

static int parse_v6(const char *host, struct sockaddr_in6 *out)
{
    char digits[INET6_ADDRSTRLEN];
    const char *zone = strchr(host, '%');
    size_t n = zone ? (size_t)(zone - host) : strlen(host);
    if (n >= sizeof digits)
        return -EINVAL;
    memcpy(digits, host, n);
    digits[n] = 0;
    *out = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (inet_pton(AF_INET6, digits, &out->sin6_addr) != 1)
        return -EINVAL;
    return zone ? parse_zone(zone + 1, &out->sin6_scope_id) : 0;
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

int coil__address_literal(const char *host, uint16_t port, coil_address *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6;
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        *out = (coil_address){.len = sizeof v4};
        memcpy(&out->storage, &v4, sizeof v4);
        return 0;
    }
    int err = parse_v6(host, &v6);
    if (err < 0)
        return err;
    v6.sin6_port = htons(port);
    *out = (coil_address){.len = sizeof v6};
    memcpy(&out->storage, &v6, sizeof v6);
    return 0;
}

int coil_address_unix(const char *path, size_t n, coil_address *out_address)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    bool abstract = n > 0 && (path[0] == 0 || path[0] == '@');
    /* A path ends in a NUL of its own; an abstract name begins with one. */
    size_t max = abstract ? sizeof un.sun_path : sizeof un.sun_path - 1;
    if (n == 0 || (abstract && n == 1))
        return (int)coil__fail(-EINVAL, "a unix socket with an empty name");
    if (n > max)
        return (int)coil__fail(
            -ENAMETOOLONG, "a unix socket's name of %zu bytes; at most %zu are allowed", n, max);
    if (!abstract && memchr(path, 0, n))
        return (int)coil__fail(-EINVAL, "a unix socket's path with a NUL in it");
    memcpy(un.sun_path, path, n);
    if (abstract)
        un.sun_path[0] = 0;
    *out_address = (coil_address){
        .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + !abstract)};
    memcpy(&out_address->storage, &un, sizeof un);
    return 0;
}

int coil_address_parse(const char *host, const char *port, coil_address *out_address)
{
    if (host && *host && strchr("/.@", *host)) {
        if (port && *port)
            return (int)coil__fail(-EINVAL, "a unix socket has no port");
        return coil_address_unix(host, strlen(host), out_address);
    }
    uint16_t number;
    int err = coil__port_parse(port, &number);
    if (err == -ENOENT)
        return (int)coil__fail(-EINVAL, "%.40s is not a port number", port);
    if (err)
        return err;
    err = host ? coil__address_literal(host, number, out_address) : -EINVAL;
    if (err == -EINVAL)
        return (int)coil__fail(-EINVAL, "%.80s is not an IP address", host ? host : "NULL");
    return err;
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
    if (un->sun_path[0])
        return snprintf(out, n, "%.*s", path_n, un->sun_path);
    char name[sizeof un->sun_path + 1]; /* abstract: it may hold further NULs */
    for (int i = 0; i < path_n; i++) {
        name[i] = un->sun_path[i];
        if (!name[i])
            name[i] = '@';
    }
    return snprintf(out, n, "%.*s", path_n, name);
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
