/* SPDX-License-Identifier: MIT
 *
 * names.c: addresses of imaginary sockets: who has which, and who is meant by one.
 *
 * The imaginary machine has every address but those kept for documentation (192.0.2.0/24,
 * 2001:db8::/32): they cannot be bound, and nobody ever answers there. Unix paths live in a name
 * space of their own, not in the file system, compared byte by byte; as there, a path stays when its socket is closed,
 * until it is unlinked. Abstract names go with their sockets. */
#include "io/sim/sim.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define EPHEMERAL_FIRST 32768u
#define EPHEMERAL_LAST  60999u

static struct sockaddr_in *v4(const struct name *name)
{
    return (struct sockaddr_in *)(uintptr_t)&name->addr;
}

static struct sockaddr_in6 *v6(const struct name *name)
{
    return (struct sockaddr_in6 *)(uintptr_t)&name->addr;
}

static int family(const struct name *name)
{
    return name->addr.ss_family;
}

uint16_t coil__sim_name_port(const struct name *name)
{
    return family(name) == AF_INET ? ntohs(v4(name)->sin_port) : ntohs(v6(name)->sin6_port);
}

static void set_port(struct name *name, uint16_t port)
{
    if (family(name) == AF_INET)
        v4(name)->sin_port = htons(port);
    else
        v6(name)->sin6_port = htons(port);
}

static bool is_any(const struct name *name)
{
    return family(name) == AF_INET ? v4(name)->sin_addr.s_addr == htonl(INADDR_ANY)
                                   : IN6_IS_ADDR_UNSPECIFIED(&v6(name)->sin6_addr);
}

static bool same_host(const struct name *a, const struct name *b)
{
    return family(a) == AF_INET ? v4(a)->sin_addr.s_addr == v4(b)->sin_addr.s_addr
                                : IN6_ARE_ADDR_EQUAL(&v6(a)->sin6_addr, &v6(b)->sin6_addr) &&
                                      v6(a)->sin6_scope_id == v6(b)->sin6_scope_id;
}

bool coil__sim_name_same(const struct name *a, const struct name *b)
{
    return a->len == b->len && memcmp(&a->addr, &b->addr, a->len) == 0;
}

bool coil__sim_unreachable(const struct name *to)
{
    if (family(to) == AF_INET)
        return (ntohl(v4(to)->sin_addr.s_addr) & 0xffffff00u) == 0xc0000200u;
    static const uint8_t documentation[4] = {0x20, 0x01, 0x0d, 0xb8};
    return family(to) == AF_INET6 && memcmp(&v6(to)->sin6_addr, documentation, 4) == 0;
}

/* An IPv4 name inside IPv6 becomes plain IPv4, the form in which names are kept and compared. */
static void unmap(struct name *name)
{
    if (family(name) != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6(name)->sin6_addr))
        return;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = v6(name)->sin6_port};
    memcpy(&in.sin_addr, &v6(name)->sin6_addr.s6_addr[12], 4);
    *name = (struct name){.len = sizeof in};
    memcpy(&name->addr, &in, sizeof in);
}

struct name coil__sim_name_seen_by(int domain, const struct name *name)
{
    if (domain != AF_INET6 || name->len == 0 || family(name) != AF_INET)
        return *name;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = v4(name)->sin_port};
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&in6.sin6_addr.s6_addr[12], &v4(name)->sin_addr, 4);
    struct name mapped = {.len = sizeof in6};
    memcpy(&mapped.addr, &in6, sizeof in6);
    return mapped;
}

void coil__sim_name_copy(const struct name *name, int domain, void *out, socklen_t *len)
{
    struct name n = coil__sim_name_seen_by(domain, name);
    if (n.len == 0) {
        n.addr.ss_family = (sa_family_t)domain;
        n.len = domain == AF_INET    ? sizeof(struct sockaddr_in)
                : domain == AF_INET6 ? sizeof(struct sockaddr_in6)
                                     : sizeof(sa_family_t);
    }
    memcpy(out, &n.addr, *len < n.len ? *len : n.len);
    *len = n.len;
}

int coil__sim_name_check(struct file *file, const void *a, socklen_t n, struct name *out)
{
    struct name name = {.len = n};
    if (!a || n < sizeof(sa_family_t) || n > sizeof name.addr)
        return -EINVAL;
    memcpy(&name.addr, a, n);
    if (family(&name) != file->domain)
        return -EAFNOSUPPORT;
    switch (file->domain) {
    case AF_INET:
        if (n < sizeof(struct sockaddr_in))
            return -EINVAL;
        name.len = sizeof(struct sockaddr_in);
        break;
    case AF_INET6:
        if (n < sizeof(struct sockaddr_in6))
            return -EINVAL;
        name.len = sizeof(struct sockaddr_in6);
        /* Link-local addresses stand once on each link; for others a zone means nothing. */
        if (!IN6_IS_ADDR_LINKLOCAL(&v6(&name)->sin6_addr))
            v6(&name)->sin6_scope_id = 0;
        else if (v6(&name)->sin6_scope_id == 0)
            return -EINVAL;
        unmap(&name);
        break;
    default: {
        if (n > sizeof(struct sockaddr_un))
            return -EINVAL;
        /* A path ends at its NUL; an abstract name (it starts with one) has all its bytes. */
        struct sockaddr_un *un = (struct sockaddr_un *)&name.addr;
        size_t head = offsetof(struct sockaddr_un, sun_path);
        if (n > head && un->sun_path[0])
            name.len = (socklen_t)(head + strnlen(un->sun_path, n - head) + 1);
        break;
    }
    }
    *out = name;
    return 0;
}

/* ---- paths ---- */

static bool is_path(const struct name *name)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&name->addr;
    return family(name) == AF_UNIX && name->len > offsetof(struct sockaddr_un, sun_path) &&
           un->sun_path[0];
}

static struct node *find_node(struct sim *sim, const struct name *name)
{
    LIST_FOREACH(l, &sim->world->nodes) {
        struct node *node = container_of(l, struct node, link);
        if (coil__sim_name_same(&node->name, name))
            return node;
    }
    return NULL;
}

static struct node *node_at(struct sim *sim, const char *path)
{
    LIST_FOREACH(l, &sim->world->nodes) {
        struct node *node = container_of(l, struct node, link);
        const struct sockaddr_un *un = (const struct sockaddr_un *)&node->name.addr;
        if (strcmp(un->sun_path, path) == 0)
            return node;
    }
    return NULL;
}

static void node_free(struct node *node)
{
    if (node->file)
        node->file->node = NULL;
    list_remove(&node->link);
    coil__free(node);
}

/* Makes the file for a socket that is being bound to a path. */
static int node_new(struct sim *sim, struct file *file, const struct name *name)
{
    if (find_node(sim, name))
        return -EADDRINUSE;
    struct node *node = coil__zalloc(sizeof *node);
    if (!node)
        return -ENOMEM;
    node->name = *name;
    node->file = file;
    node->inode = ++sim->world->inodes;
    node->mode = file->mode & ~(mode_t)SIM_UMASK;
    file->node = node;
    list_push(&sim->world->nodes, &node->link);
    return 0;
}

void coil__sim_node_leave(struct file *file)
{
    if (file->node)
        file->node->file = NULL;
    file->node = NULL;
}

void coil__sim_nodes_free(struct sim_world *world)
{
    while (!list_empty(&world->nodes))
        node_free(container_of(list_first(&world->nodes), struct node, link));
}

int coil__sim_lstat(struct sim *sim, const char *path, struct stat *out)
{
    const struct node *node = node_at(sim, path);
    if (!node)
        return -ENOENT;
    *out = (struct stat){.st_ino = node->inode, .st_mode = S_IFSOCK | node->mode};
    return 0;
}

int coil__sim_chmod(struct sim *sim, const char *path, mode_t mode)
{
    struct node *node = node_at(sim, path);
    if (!node)
        return -ENOENT;
    node->mode = mode & 07777;
    return 0;
}

int coil__sim_unlink(struct sim *sim, const char *path)
{
    struct node *node = node_at(sim, path);
    if (!node)
        return -ENOENT;
    node_free(node);
    return 0;
}

int coil__sim_nobody(struct sim *sim, const struct name *to)
{
    const struct node *node = find_node(sim, to);
    if (!is_path(to))
        return -ECONNREFUSED;
    if (!node)
        return -ENOENT;
    return node->file ? -EPROTOTYPE : -ECONNREFUSED; /* of another kind; or left behind */
}

/* ---- who answers ---- */

static bool dual_stack(const struct file *file)
{
    return file->domain == AF_INET6 && !coil__sim_option(file, IPPROTO_IPV6, IPV6_V6ONLY, 0);
}

/* Does this bound socket answer to `name`? */
static bool answers(const struct file *file, const struct name *name)
{
    const struct name *local = &file->local;
    COIL_DCHECK(local->len > 0); /* else it would not be on the list */
    if (file->domain == AF_UNIX)
        return family(name) == AF_UNIX && coil__sim_name_same(local, name) &&
               (file->node || !is_path(name));
    if (family(name) == AF_UNIX || coil__sim_name_port(local) != coil__sim_name_port(name))
        return false;
    if (family(local) != family(name))
        return family(local) == AF_INET6 && is_any(local) && dual_stack(file);
    return is_any(local) || same_host(local, name);
}

static bool same_kind(const struct file *a, const struct file *b)
{
    return a->type == b->type && (a->domain == AF_UNIX) == (b->domain == AF_UNIX);
}

/* May both have their names at once? */
static bool tolerate(const struct file *a, const struct file *b)
{
    if (a->domain == AF_UNIX)
        return false;
    if (coil__sim_option(a, SOL_SOCKET, SO_REUSEPORT, 0) &&
        coil__sim_option(b, SOL_SOCKET, SO_REUSEPORT, 0))
        return true;
    return coil__sim_option(a, SOL_SOCKET, SO_REUSEADDR, 0) &&
           coil__sim_option(b, SOL_SOCKET, SO_REUSEADDR, 0) && a->kind != FILE_LISTENER &&
           b->kind != FILE_LISTENER;
}

static bool taken(struct sim *sim, struct file *file, const struct name *name)
{
    LIST_FOREACH(l, &sim->world->bound) {
        struct file *other = container_of(l, struct file, bound);
        if (other == file || !same_kind(file, other) || tolerate(file, other))
            continue;
        if (answers(other, name))
            return true;
        /* The other way round: the new name is the wider one. */
        struct file probe = {.domain = file->domain, .local = *name};
        probe.options_n = file->options_n;
        memcpy(probe.options, file->options, sizeof probe.options);
        if (answers(&probe, &other->local))
            return true;
    }
    return false;
}

static int give(struct sim *sim, struct file *file, const struct name *name)
{
    int err = is_path(name) ? node_new(sim, file, name) : 0;
    if (err < 0)
        return err;
    file->local = *name;
    list_push(&sim->world->bound, &file->bound);
    return 0;
}

static int give_free_port(struct sim *sim, struct file *file, struct name *name)
{
    for (unsigned i = EPHEMERAL_FIRST; i <= EPHEMERAL_LAST; i++) {
        if (++sim->world->ephemeral > EPHEMERAL_LAST)
            sim->world->ephemeral = EPHEMERAL_FIRST;
        set_port(name, (uint16_t)sim->world->ephemeral);
        if (!taken(sim, file, name))
            return give(sim, file, name);
    }
    return -EADDRINUSE;
}

int coil__sim_bind(struct sim *sim, struct file *file, const struct sockaddr *a, socklen_t n)
{
    struct name name = {0};
    int err = coil__sim_name_check(file, a, n, &name);
    if (err < 0)
        return err;
    if (list_linked(&file->bound) || file->local.len)
        return -EINVAL;
    if (file->domain == AF_UNIX) {
        if (n == sizeof(sa_family_t)) { /* the kernel picks an abstract name of five digits */
            struct sockaddr_un un = {.sun_family = AF_UNIX};
            do {
                snprintf(un.sun_path + 1, 6, "%05x", sim->world->ephemeral++ & 0xfffff);
                memcpy(&name.addr, &un, sizeof un);
                name.len = offsetof(struct sockaddr_un, sun_path) + 6;
            } while (taken(sim, file, &name));
        }
    } else {
        if (coil__sim_unreachable(&name))
            return -EADDRNOTAVAIL;
        if (coil__sim_name_port(&name) == 0)
            return give_free_port(sim, file, &name);
    }
    return taken(sim, file, &name) ? -EADDRINUSE : give(sim, file, &name);
}

/* A name for one who sends without having bound: the host he sends to (it is the same machine), any
 * free port. `towards` NULL: any host. */
int coil__sim_autobind(struct sim *sim, struct file *file, const struct name *towards)
{
    if (file->local.len || file->domain == AF_UNIX)
        return 0;
    struct name name = {.len = file->domain == AF_INET ? sizeof(struct sockaddr_in)
                                                       : sizeof(struct sockaddr_in6)};
    name.addr.ss_family = (sa_family_t)file->domain;
    if (towards) {
        name = *towards;
        coil__sim_own_address(sim, &name);
    }
    if (file->kind != FILE_DATAGRAM && towards) {
        /* A client: nobody ever looks for it by name, so it need not be on the list. */
        if (++sim->world->ephemeral > EPHEMERAL_LAST)
            sim->world->ephemeral = EPHEMERAL_FIRST;
        set_port(&name, (uint16_t)sim->world->ephemeral);
        file->local = name;
        return 0;
    }
    return give_free_port(sim, file, &name);
}

int coil__sim_destination(struct file *file, const void *a, socklen_t n, struct name *out)
{
    int err = coil__sim_name_check(file, a, n, out);
    if (err < 0 || family(out) == AF_UNIX || !is_any(out))
        return err;
    if (family(out) == AF_INET)
        v4(out)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        v6(out)->sin6_addr = in6addr_loopback;
    return 0;
}

struct name coil__sim_source(struct sim *sim, const struct file *file, const struct name *to)
{
    if (file->domain == AF_UNIX || !is_any(&file->local))
        return file->local;
    struct name from = *to;
    coil__sim_own_address(sim, &from);
    set_port(&from, coil__sim_name_port(&file->local));
    return from;
}

struct file *coil__sim_find(struct sim *sim, struct file *from, const struct name *to)
{
    struct file *found = NULL;
    uint32_t n = 0;
    LIST_FOREACH(l, &sim->world->bound) {
        struct file *file = container_of(l, struct file, bound);
        if (!same_kind(from, file) || !answers(file, to))
            continue;
        if (file->kind == FILE_STREAM && from->domain != AF_UNIX)
            continue; /* bound, but does not listen */
        if (file->kind == FILE_DATAGRAM && from->domain != AF_UNIX &&
            file->state == STATE_CONNECTED && !coil__sim_name_same(&file->peer, &from->local))
            continue; /* listens to its peer alone */
        /* Several share the port: each gets its part. */
        if (n++ == 0 || random_below(&sim->world->random, n) == 0)
            found = file;
    }
    return found;
}
