/* SPDX-License-Identifier: MIT
 *
 * functions.c: the symbol table of each file is read once, when first asked for, and sorted.
 *
 * A file may be another one by now, or none at all; nothing it says is believed beyond what it holds. */
#include "cmd/functions.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADERS_MAX = 64, SECTIONS_MAX = 65536, TABLE_MAX = 256 << 20 };

struct symbol {
    uint64_t from, size;
    uint32_t name; /* in `names` */
};

struct symbols {
    struct symbol *all; /* sorted by `from` */
    size_t n;
};

struct function_file {
    struct function_file *next;
    const char *path;
    Elf64_Phdr headers[HEADERS_MAX];
    size_t headers_n;
    struct symbols code, variables;
    char *names;
    size_t names_n;
};

static bool read_at(int fd, void *out, size_t n, uint64_t at)
{
    return at <= INT64_MAX && pread(fd, out, n, (off_t)at) == (ssize_t)n;
}

static void *read_table(int fd, const Elf64_Shdr *s)
{
    void *all = s->sh_size > 0 && s->sh_size <= TABLE_MAX ? malloc((size_t)s->sh_size) : NULL;
    if (all && !read_at(fd, all, (size_t)s->sh_size, s->sh_offset)) {
        free(all);
        all = NULL;
    }
    return all;
}

static int by_address(const void *a, const void *b)
{
    const struct symbol *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

static void take_symbols(struct function_file *file, int fd, const Elf64_Shdr *table, int type,
                         struct symbols *out)
{
    Elf64_Sym *symbols = read_table(fd, table);
    size_t n = symbols ? (size_t)(table->sh_size / sizeof *symbols) : 0;
    out->all = n ? malloc(n * sizeof *out->all) : NULL;
    for (size_t i = 0; out->all && i < n; i++) {
        const Elf64_Sym *s = &symbols[i];
        if (ELF64_ST_TYPE(s->st_info) == type && s->st_shndx != SHN_UNDEF && s->st_size > 0 &&
            s->st_name < file->names_n)
            out->all[out->n++] = (struct symbol){s->st_value, s->st_size, s->st_name};
    }
    free(symbols);
    if (out->n > 1)
        qsort(out->all, out->n, sizeof *out->all, by_address);
}

/* The full table, or the one of exported names if the file was stripped. */
static void read_symbols(struct function_file *file, int fd, const Elf64_Ehdr *elf)
{
    Elf64_Shdr section, table = {0}, names;
    for (size_t i = 0; i < elf->e_shnum && i < SECTIONS_MAX; i++) {
        if (!read_at(fd, &section, sizeof section, elf->e_shoff + i * sizeof section))
            return;
        if (section.sh_type == SHT_SYMTAB ||
            (section.sh_type == SHT_DYNSYM && table.sh_type != SHT_SYMTAB))
            table = section;
    }
    if (table.sh_entsize != sizeof(Elf64_Sym) || table.sh_link >= elf->e_shnum ||
        !read_at(fd, &names, sizeof names, elf->e_shoff + table.sh_link * sizeof names))
        return;
    file->names = read_table(fd, &names);
    file->names_n = file->names ? (size_t)names.sh_size : 0;
    if (file->names_n > 0)
        file->names[file->names_n - 1] = '\0';
    take_symbols(file, fd, &table, STT_FUNC, &file->code);
    take_symbols(file, fd, &table, STT_OBJECT, &file->variables);
}

static void read_file(struct function_file *file, int fd)
{
    Elf64_Ehdr elf;
    if (!read_at(fd, &elf, sizeof elf, 0) || memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
        elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_phentsize != sizeof(Elf64_Phdr) ||
        elf.e_phnum > HEADERS_MAX || elf.e_shentsize != sizeof(Elf64_Shdr))
        return;
    if (read_at(fd, file->headers, elf.e_phnum * sizeof(Elf64_Phdr), elf.e_phoff))
        file->headers_n = elf.e_phnum;
    read_symbols(file, fd, &elf);
}

/* As the process sees it, which may live in another root. What a core file calls its program may be a pipe: none is waited
 * for. */
static int open_file(const struct peer *p, const char *path)
{
    char name[4096];
    int fd = -1;
    if (p->pid &&
        snprintf(name, sizeof name, "/proc/%d/root%s", (int)p->pid, path) < (int)sizeof name)
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 ? fd : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static struct function_file *file_of(struct functions *f, const struct peer *p, const char *path)
{
    for (struct function_file *file = f->files; file; file = file->next)
        if (strcmp(file->path, path) == 0)
            return file;
    struct function_file *file = calloc(1, sizeof *file);
    if (!file)
        return NULL;
    file->path = path;
    file->next = f->files;
    f->files = file;
    int fd = open_file(p, path);
    if (fd >= 0) {
        read_file(file, fd);
        close(fd);
    }
    return file;
}

static const struct symbol *find(const struct symbols *symbols, uint64_t address)
{
    size_t low = 0, high = symbols->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (symbols->all[middle].from <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct symbol *last = low > 0 ? &symbols->all[low - 1] : NULL;
    return last && address - last->from < last->size ? last : NULL;
}

/* Where the file wants the byte that is at `in` of it; 0: not known. */
static uint64_t address_in(const struct function_file *file, uint64_t in)
{
    for (size_t i = 0; i < file->headers_n; i++) {
        const Elf64_Phdr *h = &file->headers[i];
        if (h->p_type == PT_LOAD && in >= h->p_offset && in - h->p_offset < h->p_filesz)
            return in - h->p_offset + h->p_vaddr;
    }
    return 0;
}

/* What compilers add to the name of a function that they have taken apart begins with a dot ("read.part.0"); to that of a
 * variable, one of several of a name, a number (gcc's "gate.0"), or its function stands before it (clang's "lines.gate"). */
static void take_name(const struct function_file *file, const struct symbol *symbol, bool variable,
                      char *out, size_t n)
{
    snprintf(out, n, "%s", file->names + symbol->name);
    char *dot = variable ? strrchr(out, '.') : strchr(out, '.');
    if (dot && dot != out && (!variable || (dot[1] >= '0' && dot[1] <= '9')))
        *dot = '\0';
    peer_clean(out);
}

bool functions_find(struct functions *f, struct peer *p, uint64_t pc, struct place *out)
{
    const struct peer_map *m = peer_map_of(p, pc);
    *out = (struct place){.file = ""};
    if (!m || !m->code)
        return false;
    out->file = m->path;
    struct function_file *file = m->path[0] ? file_of(f, p, m->path) : NULL;
    out->address = file ? address_in(file, pc - m->from + m->offset) : 0;
    const struct symbol *found = out->address ? find(&file->code, out->address) : NULL;
    if (found)
        take_name(file, found, false, out->function, sizeof out->function);
    return true;
}

/* The map of the file that a variable belongs to. What begins as zeros may have no file of its own, and follows. */
static const struct peer_map *map_with_file(const struct peer *p, uint64_t at)
{
    const struct peer_map *m = peer_map_of(p, at);
    if (m && !m->path[0] && m > p->maps && m[-1].to == m->from)
        m--;
    return m && m->path[0] && !m->code ? m : NULL;
}

/* How much higher the file lies in memory than it says itself. */
static bool find_lift(const struct function_file *file, const struct peer *p,
                      const struct peer_map *m, uint64_t *out)
{
    for (; m->offset > 0 || strcmp(m->path, file->path) != 0; m--)
        if (m == p->maps)
            return false;
    for (size_t i = 0; i < file->headers_n; i++) {
        const Elf64_Phdr *h = &file->headers[i];
        if (h->p_type != PT_LOAD || h->p_offset > 0)
            continue;
        *out = m->from - h->p_vaddr;
        return true;
    }
    return false;
}

void functions_variable(struct functions *f, struct peer *p, uint64_t at, char *out, size_t n)
{
    const struct peer_map *m = map_with_file(p, at);
    struct function_file *file = m ? file_of(f, p, m->path) : NULL;
    uint64_t lift;
    char name[96];
    out[0] = '\0';
    if (!file || !find_lift(file, p, m, &lift))
        return;
    const struct symbol *found = find(&file->variables, at - lift);
    if (!found)
        return;
    take_name(file, found, true, name, sizeof name);
    uint64_t within = at - lift - found->from;
    if (within)
        snprintf(out, n, "%s+%llu", name, (unsigned long long)within);
    else
        snprintf(out, n, "%s", name);
}

void functions_free(struct functions *f)
{
    while (f->files) {
        struct function_file *next = f->files->next;
        free(f->files->code.all);
        free(f->files->variables.all);
        free(f->files->names);
        free(f->files);
        f->files = next;
    }
}
