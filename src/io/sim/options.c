/* SPDX-License-Identifier: MIT
 *
 * options.c: socket options: a few mean something here, the others are remembered and given back. */
#include "io/sim/sim.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static struct option *find(const struct file *file, int level, int name)
{
    for (unsigned i = 0; i < file->options_n; i++)
        if (file->options[i].level == level && file->options[i].name == name)
            return (struct option *)(uintptr_t)&file->options[i];
    return NULL;
}

int coil__sim_option(const struct file *file, int level, int name, int otherwise)
{
    struct option *o = find(file, level, name);
    int value = otherwise;
    if (o && o->len >= sizeof value)
        memcpy(&value, o->value, sizeof value);
    return value;
}

int coil__sim_setsockopt(struct sim *sim, struct file *file, int level, int name, const void *v,
                         socklen_t n)
{
    if (file->domain == AF_UNIX && level != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (level == SOL_SOCKET &&
        (name == SO_ERROR || name == SO_TYPE || name == SO_DOMAIN || name == SO_PROTOCOL))
        return -ENOPROTOOPT;
    struct option *o = find(file, level, name);
    if (!o) {
        if (file->options_n == sizeof file->options / sizeof *file->options)
            return -ENOBUFS;
        o = &file->options[file->options_n];
    }
    if (!v || n < sizeof(int) || n > sizeof o->value)
        return -EINVAL;
    if (o == &file->options[file->options_n])
        file->options_n++;
    o->level = level;
    o->name = name;
    o->len = n;
    memcpy(o->value, v, n);

    int size = coil__sim_option(file, SOL_SOCKET, SO_SNDBUF, 0);
    if (level == SOL_SOCKET && name == SO_SNDBUF && size > 0 && file->out)
        coil__sim_channel_set_cap(file->out, (size_t)size * 2); /* doubled, as Linux does */
    return 0;
}

static int give(const void *value, socklen_t size, void *v, socklen_t *n)
{
    memcpy(v, value, *n < size ? *n : size);
    if (*n > size)
        *n = size;
    return 0;
}

int coil__sim_getsockopt(struct sim *sim, struct file *file, int level, int name, void *v,
                         socklen_t *n)
{
    if (file->kind == FILE_PIPE)
        return -ENOTSOCK;
    if (file->domain == AF_UNIX && level != SOL_SOCKET)
        return -EOPNOTSUPP;
    int value = coil__sim_option(file, level, name, 0);
    if (level == SOL_SOCKET) {
        switch (name) {
        case SO_ERROR:
            value = file->error;
            file->error = 0;
            break;
        case SO_TYPE: value = file->type; break;
        case SO_DOMAIN: value = file->domain; break;
        case SO_PROTOCOL:
            value = file->domain == AF_UNIX     ? 0
                    : file->type == SOCK_STREAM ? IPPROTO_TCP
                                                : IPPROTO_UDP;
            break;
        case SO_ACCEPTCONN: value = file->kind == FILE_LISTENER; break;
        case SO_SNDBUF:
        case SO_RCVBUF: value = value ? value * 2 : 128 * 1024; break;
        default: goto remembered;
        }
        return give(&value, sizeof value, v, n);
    }
remembered:;
    struct option *o = find(file, level, name);
    static const uint8_t nothing[16];
    return o ? give(o->value, o->len, v, n)
             : give(nothing, level == SOL_SOCKET && name == SO_LINGER ? 8 : sizeof value, v, n);
}
