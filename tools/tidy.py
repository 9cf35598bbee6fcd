#!/usr/bin/env python3
"""What readers of this tree lean on, checked.

    tools/tidy.py [--root FOLDER] [--build FOLDER]
    tools/tidy.py [--root FOLDER] --shared libcoil.so

Prints `file:line: sentence` for each thing found and exits 1 if there was any. Each check below is
a function that yields findings; the sentence says what is wrong and, where it helps, what to do.
With --build (a build folder with -Dsys_table=true) it also reads the symbols of libcoil.a and libcoil-tls.a; with
--shared it compares what a libcoil.so (or libcoil-tls.so) shows with what the headers promise, and does nothing else.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

C_SUFFIXES = {".c", ".h", ".S"}
SOURCE_FOLDERS = ["src", "include", "test", "examples", "bench"]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.MULTILINE)

# The doors to the world: the only objects that may ask the kernel, the allocator or libpthread.
SEAMS = re.compile(r"^src_base_(sys\w*|mem|clock|random|thread)\.c\.o$")
DOORS = re.compile(
    r"^_*("
    r"socket|socketpair|bind|listen|accept4?|connect|shutdown|[gs]etsockopt|get(sock|peer)name"
    r"|recv(from|msg|mmsg)?|send(to|msg|mmsg|file)?"
    r"|p?(read|write)v?(2|64|v2)?|open(at)?(64)?|close|dup[23]?|pipe2?|fcntl(64)?|ioctl"
    r"|[fl]?stat(at|x)?(64)?|f(data)?sync|f?truncate(64)?|lseek(64)?|getdents(64)?"
    r"|(mkdir|unlink|rename|link|symlink|readlink|chmod|chown)(at2?)?|rmdir"
    r"|epoll_\w+|p?poll|p?select|eventfd|timerfd_\w+|signalfd|syscall"
    r"|clock_(gettime|nanosleep)|gettimeofday|time|nanosleep|u?sleep"
    r"|malloc|calloc|realloc(array)?|free|aligned_alloc|posix_memalign|v?asprintf|strn?dup"
    r"|v?fork|clone3?|exec(v|l)\w*|fexecve|posix_spawn\w*|wait(id|pid|3|4)?|kill|pidfd_\w+|dup[23]?|chdir"
    r"|set(sid|pgid|groups|(re|res)?[ug]id)|umask|close_range|_exit"
    r"|open_memstream|mmap(64)?|munmap|mremap|mprotect|madvise"
    r"|pthread_\w+|getrandom|getentropy|s?rand(om)?|getaddrinfo|freeaddrinfo"
    r")(_chk)?$")


# What asks nobody: libc that computes, and that writes what the program is to say to stderr.
HARMLESS = re.compile(
    r"^_*(isoc(99|23)_)?("
    r"mem(chr|cmp|cpy|mem|move|set)|str(n?len|n?cmp|n?casecmp|n?cat|n?cpy|r?chr|c?spn|str|to(u?ll?|d))|atoi|v?s(n?printf|scanf)"
    r"|hton[sl]|ntoh[sl]|inet_(ntop|pton)|in6addr_(any|loopback)|gai_strerror|strerrordesc_np|strsignal|qsort|bsearch"
    r"|sig(add|del|empty|fill)set|sigismember|libc_current_sigrtm(in|ax)|errno_location"
    r"|v?fprintf|fputs|fwrite|fflush|stderr|stdout|abort"
    r"|GLOBAL_OFFSET_TABLE_|tls_get_addr|(start|stop)_coil_entry|stack_chk_fail"
    r")(_chk)?$")
# What a single file does beside the seams, and why it may.
OWN_DOORS = {
    "src_base_env.c.o": {"getenv", "unsetenv"},  # the door to the environment
    "src_io_choose.c.o": {"getenv"},             # COIL_BACKEND, before there is anything else
    "src_base_symbols.c.o": {"dl_iterate_phdr"},  # where the program lies in memory
    "src_base_unwind.c.o": {"dl_iterate_phdr"},
    "src_proc_pool.c.o": {"dl_iterate_phdr"},
    "src_coro_stack.c.o": {"sysconf"},  # the size of a page
    "src_coro_overflow.c.o": {"raise"},  # a signal that is not ours goes on to whom it was meant for
    "src_loop_signal.c.o": {"raise"},
    "src_run_interrupt.c.o": {"raise"},
    "src_proc_zygote.c.o": {"__fpurge"},  # what the parent had in its buffers is the parent's
    "src_testing_test.c.o": {"opendir", "readdir64", "closedir"},  # counts descriptors, for tests alone
    "src_testing_fault.c.o": {"exit", "fopen64", "fread", "fclose", "opendir", "readdir64", "closedir"},
    "src_testing_fault_seen.c.o": {"exit", "fopen64", "fgets", "fclose"},
}
OPENSSL = re.compile(r"^(SSL|TLS|X509|BIO|ERR|EVP|OPENSSL|OSSL|OpenSSL|ASN1|CRYPTO|PEM|RAND|GENERAL|[di]2[di]|EC|DH|BN|OBJ)_")

# A library of its own has headers of its own, and alone knows what it stands on.
TLS_HEADERS = {"tls.h"}
TLS_FOLDER = "tls"
# What OpenSSL has for programs that let it do their input and output. (Files of certificates are read by BIO_new_file.)
OPENSSL_IO = re.compile(r"^(SSL_set_[rw]?fd|SSL_get_[rw]?fd|BIO_(s|new)_(socket|connect|accept|fd|dgram)\w*|BIO_socket\w*"
                        r"|BIO_connect|BIO_listen|BIO_accept\w*|SSL_CTX_new_dane|RAND_(load|write)_file)$")


class Finding:
    def __init__(self, path, line, sentence):
        self.path, self.line, self.sentence = path, line, sentence

    def __str__(self):
        return f"{self.path}:{self.line}: {self.sentence}"


def read_floors(root):
    """The floors of tools/floors.txt: {name: number}."""
    floors = {}
    for line in (root / "tools/floors.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, number = line.split()
            floors[name] = int(number)
    return floors


def sources(root, folders=None):
    for folder in folders or SOURCE_FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in C_SUFFIXES and path.is_file():
                yield path


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def includes(text):
    """Every #include of a text: (line, is_quoted, target)."""
    for match in INCLUDE.finditer(text):
        yield line_of(text, match.start(1)), match.group(1) == '"', match.group(2)


def check_arrows(root):
    """Code includes from floors below its own; programs see the public headers only."""
    floors = read_floors(root)
    for path in sources(root, ["src"]):
        here = path.relative_to(root / "src").parts[0]
        if here not in floors:
            yield Finding(path, 1, f"src/{here}/ is no floor; it needs a line in tools/floors.txt")
            continue
        for line, quoted, target in includes(path.read_text()):
            if not quoted or "/" not in target:
                continue  # a system or public header; a file beside this one
            there = target.split("/")[0]
            if there == here:
                continue
            if there not in floors:
                yield Finding(path, line, f'"{target}" is on no floor of tools/floors.txt')
            elif floors[there] >= floors[here]:
                way = "up" if floors[there] > floors[here] else "sideways"
                yield Finding(path, line, f'"{target}" points {way}: {here} is on floor '
                                          f'{floors[here]}, {there} on {floors[there]}')
    for path in sources(root, ["include", "examples", "bench"]):
        for line, quoted, target in includes(path.read_text()):
            if quoted and not (path.parent / target).is_file():
                yield Finding(path, line, f'"{target}" is private; only <coil.h>, <coil/...> and '
                                          'system headers are seen from here')


def check_openssl(root):
    """OpenSSL is seen from the TLS library alone."""
    for path in sources(root, ["src", "include"]):
        if path.parts[len(root.parts):][:2] == ("src", TLS_FOLDER):
            continue
        for line, _, target in includes(path.read_text()):
            if target.startswith("openssl/"):
                yield Finding(path, line, f"<{target}> is for src/{TLS_FOLDER}/ alone")


def check_openings(root):
    """A file opens with its licence tag and says its name and what it is."""
    for path in sources(root, ["src", "include", "test"]):
        text = path.read_text()
        if not text.startswith("/* SPDX-License-Identifier: MIT"):
            yield Finding(path, 1, "the file must open with `/* SPDX-License-Identifier: MIT`")
        elif not re.search(rf"(^|[\s/]){re.escape(path.name)}: ", text[:text.find("*/")]):
            yield Finding(path, 1, f"the opening comment must say `{path.name}: ` and what it is")


def check_leftovers(root):
    """Notes to oneself are finished or become issues."""
    note = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    for path in sources(root):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = note.search(line)
            if found:
                yield Finding(path, number, f"a leftover {found.group(1)}")


def check_architecture(root):
    """What docs/architecture.md names, for who walks through the code with it, is there."""
    path = root / "docs/architecture.md"
    if not path.exists():
        return
    words = set(re.findall(r"\w+", "\n".join(source.read_text() for source in sources(root))))
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for name in re.findall(r"`(\w+)(?:\(.*?\))?`", line):
            if "_" in name and name not in words:
                yield Finding(path, number, f"nothing is called {name}")
        for name in re.findall(r"`([\w/]+\.[chS])`", line):
            if not any((root / folder / name).exists() for folder in ("", "src", "include/coil")):
                yield Finding(path, number, f"there is no file {name}")


def declarations(text):
    """The marked functions of a header: (line, declaration, the comment that belongs to it).

    A comment belongs to the declarations that follow it up to the next empty line; a comment that
    ends a declaration's own line belongs to it too.
    """
    comment, pending, begun, in_comment = [], "", 0, False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if in_comment or (stripped.startswith("/*") and not pending):
            if not in_comment:
                comment = []
            comment.append(stripped)
            in_comment = "*/" not in stripped
            continue
        if not stripped or stripped.startswith("#"):
            if not pending and not stripped:
                comment = []
            continue
        if not pending:
            if not re.match(r"(static inline\s+)?(COIL_API|COIL_ASYNC)\b", stripped):
                continue
            begun = number
        tail = re.search(r"/\*(.*)", stripped)
        own = [tail.group(1)] if tail else []
        pending += " " + re.sub(r"/\*.*?(\*/|$)", "", stripped)
        if own:
            comment = comment + own
            in_comment = "*/" not in stripped
        if ";" in pending or "{" in pending:
            if "(" in pending:
                yield begun, pending.strip(), " ".join(comment)
            pending = ""


def declared_name(declaration):
    found = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", declaration))
    return found.group(1) if found else declaration


def check_labels(root):
    """Public functions say what they do; those that wait say what a cancel does to them."""
    for path in sources(root, ["include"]):
        for line, declaration, comment in declarations(path.read_text()):
            name = declared_name(declaration)
            if not comment:
                yield Finding(path, line, f"{name} has no comment")
            elif re.search(r"\bCOIL_ASYNC\b", declaration) and "cancel" not in comment.lower():
                yield Finding(path, line, f"{name} may wait but does not say what Cancel does")


def symbols(library, *options):
    """What nm says of each object: (object, symbol)."""
    listing = subprocess.run(["nm", "-A", "-P", *options, str(library)],
                             check=True, stdout=subprocess.PIPE).stdout.decode()
    for line in listing.splitlines():
        place, symbol = line.split()[:2]
        yield place.rstrip(":").split("[")[-1].rstrip("]"), symbol


def check_names(library):
    """What another object can see is coil_... (promised) or coil__... (ours); base/trace.h needs one of another name."""
    for member, symbol in symbols(library, "-g", "--defined-only"):
        if not symbol.startswith("coil_") and not re.match(r"__(a|t|ub)san|__odr_asan|DW\.ref|_\.stapsdt\.base$",
                                                           symbol):
            yield Finding(member, 0, f"{symbol} is global but not named coil_... or coil__...")


def check_doors(library):
    """Only the seam files call out; what is not known to ask nobody counts as a call out."""
    for member, symbol in symbols(library, "-u"):
        if SEAMS.match(member) or symbol.startswith("coil_") or symbol in OWN_DOORS.get(member, ()):
            continue
        if DOORS.match(symbol):
            yield Finding(member, 0, f"{symbol} is called outside the seams; go through src/base/")
        elif not HARMLESS.match(symbol) and not (OPENSSL.match(symbol) and member.startswith(f"src_{TLS_FOLDER}_")):
            yield Finding(member, 0, f"{symbol} is not known to ask nobody: go through src/base/, or add it to HARMLESS")


def check_openssl_io(library):
    """Of OpenSSL nothing is used that does input or output by itself."""
    for member, symbol in symbols(library, "-u"):
        if OPENSSL_IO.match(symbol):
            yield Finding(member, 0, f"{symbol} would have OpenSSL do input or output of its own")


def check_exports(root, shared):
    """libcoil.so shows what the headers promise, under a version, and nothing else; so does libcoil-tls.so."""
    promised = {}
    of_tls = shared.name.startswith("libcoil-tls")
    for path in sources(root, ["include"]):
        if (path.name in TLS_HEADERS) != of_tls:
            continue
        for line, declaration, _ in declarations(path.read_text()):
            if not declaration.startswith("static inline"):
                promised[declared_name(declaration)] = (path, line)
    shown = set()
    for _, symbol in symbols(shared, "-D", "--defined-only"):
        name, _, version = symbol.partition("@@")
        if re.fullmatch(r"COIL_(TLS_)?[0-9.]+", symbol):
            continue  # the version itself
        shown.add(name)
        if not re.fullmatch(r"COIL_(TLS_)?[0-9.]+", version):
            yield Finding(shared, 0, f"{name} is shown without a version: tools/install/*.map")
        if name not in promised:
            yield Finding(shared, 0, f"{name} is shown, but no header promises it")
    for name, (path, line) in promised.items():
        if name not in shown:
            yield Finding(path, line, f"{name} is promised, but {shared.name} does not show it")


SOURCE_CHECKS = [check_arrows, check_openssl, check_openings, check_leftovers, check_architecture, check_labels]
OBJECT_CHECKS = [check_names, check_doors, check_openssl_io]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--build", type=Path, help="also read this build folder's libcoil.a")
    parser.add_argument("--shared", type=Path, help="compare this libcoil.so with the headers")
    args = parser.parse_args()

    if args.shared:
        findings = list(check_exports(args.root, args.shared))
        print(*findings, sep="\n", end="\n" if findings else "")
        return 1 if findings else 0
    findings = [finding for check in SOURCE_CHECKS for finding in check(args.root)]
    if args.build:
        libraries = [args.build / name for name in ("libcoil.a", "libcoil-tls.a")]
        findings += [f for check in OBJECT_CHECKS for library in libraries if library.exists()
                     for f in check(library)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
