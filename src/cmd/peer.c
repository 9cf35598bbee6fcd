/* SPDX-License-Identifier: MIT
 *
 * peer.c: reading another process.
 *
 *     peer_read --> page in `pages`? --> process_vm_readv, or the core file, or the file that the core says was there
 *
 * Pages are read whole and kept, so that a task, its frames and its wait, which lie together, cost one call. */
#include "cmd/peer.h"

#include "cmd/cmd.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <sys/user.h>
#endif

enum { PAGE = 4096, PAGES = 1024, MAPS_MAX = 1 << 20, NOTE_MAX = 64 << 20 };

struct peer_page {
    uint64_t at; /* 0: nothing */
    size_t n;    /* how much of it could be read */
    char bytes[PAGE];
};

/* ---- maps ---- */

static struct peer_map *add_map(struct peer *p)
{
    if (p->maps_n % 64 == 0) {
        struct peer_map *maps = realloc(p->maps, (p->maps_n + 64) * sizeof *maps);
        if (!maps)
            return NULL;
        p->maps = maps;
    }
    struct peer_map *m = &p->maps[p->maps_n++];
    *m = (struct peer_map){0};
    return m;
}

static int no_memory(void)
{
    return complain(EXIT_TROUBLE, ENOMEM, "cannot look");
}

static int read_maps(struct peer *p)
{
    char name[64], *line = NULL;
    size_t room = 0;
    snprintf(name, sizeof name, "/proc/%d/maps", (int)p->pid);
    FILE *f = fopen(name, "re");
    if (!f)
        return errno;
    int err = 0;
    while (!err && getline(&line, &room, f) > 0 && p->maps_n < MAPS_MAX) {
        unsigned long from, to, offset;
        char perms[5] = "";
        int path = 0;
        if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %n", &from, &to, perms, &offset, &path) < 4)
            continue;
        line[strcspn(line, "\n")] = '\0';
        struct peer_map *m = add_map(p);
        char *copy = strdup(path && line[path] == '/' ? line + path : "");
        if (!m || !copy) {
            err = ENOMEM;
            free(copy);
            break;
        }
        *m = (struct peer_map){.from = from,
                               .to = to,
                               .offset = offset,
                               .readable = perms[0] == 'r',
                               .code = perms[2] == 'x',
                               .path = copy};
    }
    free(line);
    fclose(f);
    return err;
}

const struct peer_map *peer_map_of(const struct peer *p, uint64_t at)
{
    size_t low = 0, high = p->maps_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->maps[middle].to <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low < p->maps_n && at >= p->maps[low].from ? &p->maps[low] : NULL;
}

/* ---- a live one ---- */

static ssize_t read_live(const struct peer *p, uint64_t at, void *out, size_t n)
{
    struct iovec here = {.iov_base = out, .iov_len = n};
    struct iovec there = {.iov_base = (void *)(uintptr_t)at, .iov_len = n};
    return process_vm_readv(p->pid, &here, 1, &there, 1, 0);
}

/* Why may it not be read? */
static int refused(pid_t pid, int error)
{
    char scope = '0';
    int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, &scope, 1) != 1)
        scope = '0';
    if (fd >= 0)
        close(fd);
    if (error != EPERM && error != EACCES)
        return complain(EXIT_TROUBLE, error, "cannot read process %d", (int)pid);
    return complain(EXIT_TROUBLE, error,
                    scope == '0'
                        ? "cannot read process %d; ask as its own user, or as root"
                        : "cannot read process %d; ask as root (kernel.yama.ptrace_scope keeps "
                          "others out)",
                    (int)pid);
}

int peer_open(struct peer *p, pid_t pid)
{
    *p = (struct peer){.pid = pid, .core = -1};
    if (pid <= 0 || (kill(pid, 0) < 0 && errno == ESRCH))
        return complain(EXIT_TROUBLE, 0, "there is no process %d", (int)pid);
    int err = read_maps(p);
    if (err)
        return refused(pid, err);
    p->pages = calloc(PAGES, sizeof *p->pages);
    if (!p->pages)
        return no_memory();
    char byte;
    for (size_t i = 0; i < p->maps_n; i++)
        if (p->maps[i].readable && p->maps[i].path[0])
            return read_live(p, p->maps[i].from, &byte, 1) == 1 ? 0 : refused(pid, errno);
    return complain(EXIT_TROUBLE, 0, "process %d has no program; it ended, or is the kernel's",
                    (int)pid);
}

/* ---- a core file ---- */

static ssize_t read_core(const struct peer *p, uint64_t at, void *out, size_t n)
{
    const struct peer_map *m = peer_map_of(p, at);
    if (!m)
        return -1;
    uint64_t in = at - m->from;
    if (n > m->to - at)
        n = (size_t)(m->to - at);
    if (in < m->core_n) {
        if (n > m->core_n - in)
            n = (size_t)(m->core_n - in);
        return pread(p->core, out, n, (off_t)(m->core_at + in));
    }
    /* What nobody changed is not in the core, but in the file. */
    /* A core file that lies may name a pipe here: to wait for it would be for ever. */
    int fd = m->path && m->path[0] ? open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    ssize_t got = fd >= 0 ? pread(fd, out, n, (off_t)(m->offset + in)) : -1;
    if (fd >= 0)
        close(fd);
    return got;
}

/* Which files were mapped where. */
static void read_file_note(struct peer *p, const char *note, size_t n)
{
    uint64_t count, page;
    if (n < 16)
        return;
    memcpy(&count, note, 8);
    memcpy(&page, note + 8, 8);
    if (count > n / 24 || page == 0)
        return;
    const char *path = note + 16 + count * 24, *end = note + n;
    for (uint64_t i = 0; i < count && path < end; i++) {
        uint64_t place[3];
        memcpy(place, note + 16 + i * 24, sizeof place);
        size_t path_n = strnlen(path, (size_t)(end - path));
        for (size_t k = 0; k < p->maps_n; k++) {
            struct peer_map *m = &p->maps[k];
            if (m->from >= place[0] && m->to <= place[1] && !m->path) {
                m->path = strndup(path, path_n);
                m->offset = place[2] * page + (m->from - place[0]);
            }
        }
        path += path_n + 1;
    }
}

static void read_notes(struct peer *p, const Elf64_Phdr *h)
{
    if (h->p_filesz > NOTE_MAX)
        return;
    size_t n = (size_t)h->p_filesz;
    char *all = malloc(n + 1);
    if (all && pread(p->core, all, n, (off_t)h->p_offset) == (ssize_t)n) {
        for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= n;) {
            Elf64_Nhdr note;
            memcpy(&note, all + at, sizeof note);
            size_t words = at + sizeof note + ((note.n_namesz + 3u) & ~(size_t)3);
            if (words > n || note.n_descsz > n - words)
                break;
            if (note.n_type == NT_FILE)
                read_file_note(p, all + words, note.n_descsz);
            at = words + ((note.n_descsz + 3u) & ~(size_t)3);
        }
    }
    free(all);
}

static int by_address(const void *a, const void *b)
{
    const struct peer_map *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

static int read_core_headers(struct peer *p, const char *name)
{
    Elf64_Ehdr elf;
    Elf64_Phdr h;
    if (pread(p->core, &elf, sizeof elf, 0) != sizeof elf ||
        memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64 ||
        elf.e_type != ET_CORE || elf.e_phentsize != sizeof h)
        return complain(EXIT_TROUBLE, 0, "%s is no core file of a 64-bit program", name);
    for (int pass = 0; pass < 2; pass++) { /* the notes speak of the maps */
        for (size_t i = 0; i < elf.e_phnum; i++) {
            if (pread(p->core, &h, sizeof h, (off_t)(elf.e_phoff + i * sizeof h)) != sizeof h)
                return complain(EXIT_TROUBLE, 0, "%s is cut short", name);
            if (pass == 1 && h.p_type == PT_NOTE)
                read_notes(p, &h);
            if (pass == 1 || h.p_type != PT_LOAD)
                continue;
            struct peer_map *m = add_map(p);
            if (!m)
                return no_memory();
            *m = (struct peer_map){.from = h.p_vaddr,
                                   .to = h.p_vaddr + h.p_memsz,
                                   .readable = true,
                                   .code = (h.p_flags & PF_X) != 0,
                                   .core_at = h.p_offset,
                                   .core_n = h.p_filesz};
        }
        if (pass == 0 && p->maps_n > 0)
            qsort(p->maps, p->maps_n, sizeof *p->maps, by_address);
    }
    for (size_t i = 0; i < p->maps_n; i++)
        if (!p->maps[i].path && !(p->maps[i].path = strdup("")))
            return no_memory();
    return 0;
}

int peer_open_core(struct peer *p, const char *path)
{
    *p = (struct peer){.core = open(path, O_RDONLY | O_CLOEXEC)};
    if (p->core < 0)
        return complain(EXIT_TROUBLE, errno, "cannot read %s", path);
    p->pages = calloc(PAGES, sizeof *p->pages);
    return p->pages ? read_core_headers(p, path) : no_memory();
}

void peer_close(struct peer *p)
{
    for (size_t i = 0; i < p->maps_n; i++)
        free(p->maps[i].path);
    free(p->maps);
    free(p->pages);
    if (p->core >= 0)
        close(p->core);
}

/* ---- reading ---- */

void peer_refresh(struct peer *p)
{
    for (size_t i = 0; i < PAGES; i++)
        p->pages[i].at = 0;
}

static const struct peer_page *page_at(struct peer *p, uint64_t at)
{
    struct peer_page *page = &p->pages[at / PAGE % PAGES];
    if (page->at != at) {
        ssize_t n = p->pid ? read_live(p, at, page->bytes, PAGE)
                           : read_core(p, at, page->bytes, PAGE);
        page->at = at;
        page->n = n > 0 ? (size_t)n : 0;
    }
    return page;
}

bool peer_read(struct peer *p, uint64_t at, void *out, size_t n)
{
    char *to = out;
    if (at < PAGE || at > UINT64_MAX - n)
        return false;
    while (n > 0) {
        const struct peer_page *page = page_at(p, at / PAGE * PAGE);
        size_t in = (size_t)(at % PAGE), left = PAGE - in < n ? PAGE - in : n;
        if (page->n < in + left)
            return false;
        memcpy(to, page->bytes + in, left);
        to += left;
        at += left;
        n -= left;
    }
    return true;
}

void peer_clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

void peer_text(struct peer *p, uint64_t at, char *out, size_t n)
{
    size_t i = 0;
    while (i + 1 < n && peer_read(p, at + i, &out[i], 1) && out[i])
        i++;
    out[i] = '\0';
    peer_clean(out);
}

/* ---- a running thread ---- */

static bool read_registers(pid_t tid, uint64_t *out_pc, uint64_t *out_fp)
{
#if defined(__x86_64__)
    struct user_regs_struct regs;
#elif defined(__aarch64__)
    struct {
        uint64_t x[31], sp, pc, flags;
    } regs;
#else
    (void)tid, (void)out_pc, (void)out_fp;
    return false;
#endif
#if defined(__x86_64__) || defined(__aarch64__)
    struct iovec v = {&regs, sizeof regs};
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &v) < 0)
        return false;
#if defined(__x86_64__)
    *out_pc = regs.rip;
    *out_fp = regs.rbp;
#else
    *out_pc = regs.pc;
    *out_fp = regs.x[29];
#endif
    return true;
#endif
}

/* It stands still from its stop until we go on, so we do not fall asleep at once: on a busy machine it is long until one is
 * woken. */
static bool wait_for_stop(pid_t tid)
{
    enum { LOOKS = 2000 }; /* about a millisecond */
    int status;
    pid_t got = 0;
    for (int i = 0; i < LOOKS && got == 0; i++)
        got = waitpid(tid, &status, __WALL | WNOHANG);
    if (got == 0)
        got = waitpid(tid, &status, __WALL);
    return got == tid && WIFSTOPPED(status);
}

bool peer_registers(struct peer *p, pid_t tid, uint64_t *out_pc, uint64_t *out_fp)
{
    if (!p->pid || ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0)
        return false;
    bool known = ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 && wait_for_stop(tid) &&
                 read_registers(tid, out_pc, out_fp);
    ptrace(PTRACE_DETACH, tid, NULL, NULL);
    return known;
}
