/* SPDX-License-Identifier: MIT
 *
 * symbols.c: names for addresses in this program's code.
 *
 *     address --dl_iterate_phdr--> the object it lies in --its file's .symtab--> the function
 *
 * dladdr knows exported functions alone, and coroutine functions are mostly static; their names are in the file, where
 * debuggers find them. The file is read piece by piece, with nothing mapped and nothing kept open, and believed
 * nothing: it may be another one by now. That it is the same is asked of its program headers and notes, in which the
 * linker leaves a build id.
 *
 * Always true:
 *   - whatever stands in the file, no more is read than our buffers hold, and no name is made up;
 *   - a function counts only if the address lies within its size.
 *
 * Any thread. */
#include "base/symbols.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/sys.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>

enum {
    SECTIONS_MAX = 65536, /* more, and it is no file of a linker's */
    HEADERS_MAX = 64,
    CHUNK = 1024 /* of a task's stack */
};

/* ---- which object ---- */

struct object {
    uintptr_t address; /* asked for */
    bool found;
    bool first; /* none was looked at yet: the first is the program itself */
    bool main;
    uintptr_t base;
    const ElfW(Phdr) * headers;
    size_t headers_n;
    char path[sizeof((coil_frame *)0)->file];
};

/* Is it in a segment that is in memory, with these permissions? */
static bool holds(uintptr_t base, const ElfW(Phdr) * headers, size_t n, uintptr_t address,
                  ElfW(Word) flags)
{
    for (size_t i = 0; i < n; i++) {
        uintptr_t from = base + headers[i].p_vaddr;
        if (headers[i].p_type == PT_LOAD && (headers[i].p_flags & flags) && address >= from &&
            address - from < headers[i].p_memsz)
            return true;
    }
    return false;
}

/* The end of a path that is too long says more than its beginning. */
static void copy_path(char *out, size_t size, const char *path)
{
    size_t n = strlen(path);
    snprintf(out, size, "%s", n < size ? path : path + n - (size - 1));
}

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct object *o = arg;
    (void)size;
    o->main = o->first;
    o->first = false;
    if (!holds(info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum, o->address, PF_X))
        return 0;
    o->found = true;
    o->base = info->dlpi_addr;
    o->headers = info->dlpi_phdr;
    o->headers_n = info->dlpi_phnum;
    copy_path(o->path, sizeof o->path, info->dlpi_name ? info->dlpi_name : "");
    return 1;
}

static bool find_object(const void *address, struct object *o)
{
    *o = (struct object){.address = (uintptr_t)address, .first = true};
    dl_iterate_phdr(look_at_object, o);
    if (!o->found || !o->main)
        return o->found;
    /* The program has no name there, or the one it was called by. */
    ssize_t n = sys_readlinkat(AT_FDCWD, "/proc/self/exe", o->path, sizeof o->path - 1);
    if (n > 0)
        o->path[n] = '\0';
    return true;
}

bool coil__symbols_is_code(const void *address)
{
    struct object o = {.address = (uintptr_t)address, .first = true};
    dl_iterate_phdr(look_at_object, &o);
    return o.found;
}

/* ---- its file ---- */

static bool read_at(int fd, void *out, size_t n, uint64_t at)
{
    ssize_t got = -EINTR;
    while (at <= INT64_MAX && got == -EINTR)
        got = sys_pread(fd, out, n, (off_t)at);
    return got == (ssize_t)n;
}

/* Is what the file says of this segment what stands in memory? */
static bool same_note(int fd, const struct object *o, const ElfW(Phdr) * header)
{
    char note[256];
    size_t n = header->p_filesz < sizeof note ? header->p_filesz : sizeof note;
    uintptr_t there = o->base + header->p_vaddr;
    return holds(o->base, o->headers, o->headers_n, there, PF_R) &&
           holds(o->base, o->headers, o->headers_n, there + n - 1, PF_R) &&
           read_at(fd, note, n, header->p_offset) && memcmp(note, (const char *)there, n) == 0;
}

static bool is_same(int fd, const struct object *o, const ElfW(Ehdr) * elf)
{
    ElfW(Phdr) header;
    if (memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 || elf->e_phentsize != sizeof header ||
        elf->e_phnum != o->headers_n || o->headers_n > HEADERS_MAX ||
        elf->e_shentsize != sizeof(ElfW(Shdr)))
        return false;
    for (size_t i = 0; i < o->headers_n; i++) {
        if (!read_at(fd, &header, sizeof header, elf->e_phoff + i * sizeof header) ||
            memcmp(&header, &o->headers[i], sizeof header) != 0)
            return false;
        if (header.p_type == PT_NOTE && header.p_filesz > 0 && !same_note(fd, o, &header))
            return false;
    }
    return true;
}

static bool read_section(int fd, const ElfW(Ehdr) * elf, size_t i, ElfW(Shdr) * out)
{
    return i < elf->e_shnum && read_at(fd, out, sizeof *out, elf->e_shoff + i * sizeof *out);
}

/* The full table, or the one of exported names if the file was stripped. */
static bool find_table(int fd, const ElfW(Ehdr) * elf, ElfW(Shdr) * out)
{
    bool found = false;
    ElfW(Shdr) section;
    for (size_t i = 0; i < elf->e_shnum && i < SECTIONS_MAX; i++) {
        if (!read_section(fd, elf, i, &section))
            break;
        bool full = section.sh_type == SHT_SYMTAB;
        if ((!full && (section.sh_type != SHT_DYNSYM || found)) ||
            section.sh_entsize != sizeof(ElfW(Sym)))
            continue;
        *out = section;
        found = true;
        if (full)
            break;
    }
    return found;
}

static bool find_symbol(int fd, const ElfW(Shdr) * table, uintptr_t address, ElfW(Sym) * out)
{
    union {
        ElfW(Sym) symbols[CHUNK / sizeof(ElfW(Sym))];
        char bytes[CHUNK / sizeof(ElfW(Sym)) * sizeof(ElfW(Sym))];
    } piece;
    for (uint64_t at = 0; at < table->sh_size; at += sizeof piece) {
        uint64_t left = table->sh_size - at;
        size_t n = left < sizeof piece ? (size_t)left : sizeof piece;
        if (!read_at(fd, piece.bytes, n, table->sh_offset + at))
            return false;
        for (size_t i = 0; i < n / sizeof piece.symbols[0]; i++) {
            const ElfW(Sym) *symbol = &piece.symbols[i];
            if ((symbol->st_info & 15) == STT_FUNC && symbol->st_shndx != SHN_UNDEF &&
                address >= symbol->st_value && address - symbol->st_value < symbol->st_size) {
                *out = *symbol;
                return true;
            }
        }
    }
    return false;
}

/* What compilers add to the name of a function that they have taken apart begins with a dot. */
static void cut_name(char *name)
{
    char *dot = strchr(name, '.');
    if (dot && dot != name)
        *dot = '\0';
}

static void name_it(int fd, const struct object *o, coil_frame *frame)
{
    ElfW(Ehdr) elf;
    ElfW(Shdr) table, names;
    ElfW(Sym) symbol;
    if (!read_at(fd, &elf, sizeof elf, 0) || !is_same(fd, o, &elf) ||
        !find_table(fd, &elf, &table) || !read_section(fd, &elf, table.sh_link, &names) ||
        !find_symbol(fd, &table, frame->file_address, &symbol) || symbol.st_name >= names.sh_size)
        return;
    char name[sizeof frame->function] = {0};
    uint64_t room = names.sh_size - symbol.st_name;
    size_t n = room < sizeof name ? (size_t)room : sizeof name;
    if (!read_at(fd, name, n, names.sh_offset + symbol.st_name))
        return;
    name[n - 1] = '\0';
    cut_name(name);
    memcpy(frame->function, name, sizeof name);
    frame->offset = frame->file_address - symbol.st_value;
}

/* ---- */

static int find_afresh(const void *address, coil_frame *out)
{
    struct object o;
    *out = (coil_frame){.size = sizeof *out, .address = address};
    if (!find_object(address, &o))
        return -ENOENT;
    memcpy(out->file, o.path, sizeof out->file);
    out->file_address = (uintptr_t)address - o.base;
    int fd = sys_openat_again(AT_FDCWD, o.path, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        name_it(fd, &o, out);
        sys_close(fd);
    }
    return 0;
}

int coil__symbols_find(struct symbols *kept, const void *address, coil_frame *out)
{
    coil_frame *place = kept ? &kept->kept[(uintptr_t)address / 4 % SYMBOLS_KEPT] : NULL;
    if (place && place->address == address && address) {
        *out = *place;
        return 0;
    }
    int err = find_afresh(address, out);
    if (!err && place)
        *place = *out;
    return err;
}

int coil_frame_describe(const void *address, coil_frame *out_frame)
{
    coil_frame frame;
    if (!out_frame)
        return (int)coil__fail(-EINVAL, "there is no frame to fill in (NULL)");
    size_t size = out_frame->size;
    int err = coil__symbols_find(NULL, address, &frame);
    if (err)
        return (int)coil__fail(err, "there is no code of this program at %p", address);
    /* A program that was built with a shorter structure gets what it knows of. */
    size_t known = size > 0 && size < sizeof frame ? size : sizeof frame;
    memcpy(out_frame, &frame, known);
    out_frame->size = size;
    return 0;
}
