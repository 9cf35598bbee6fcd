# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC1091,SC2016,SC2154,SC2317 # lib.sh is sourced; C is quoted; cases are called by name
# doctor.sh: `coil doctor`: what it says on machines that are whole, small, filtered or wrong.
. "$(dirname "$0")/lib.sh"

unset COIL_BACKEND

# line NAME: its line, and the advice below it, of the last `out`.
line() { sed -n "/^[a-z]* *$1 /{p;n;/^ /p}" out; }

# says NAME STATE WORDS: the last `out` has such a line.
says() {
    line "$1" | head -n 1 | grep -q "^$2 .*$3" && return
    echo "# wanted: $2 $1 $3"
    sed 's/^/# /' out
    return 1
}

healthy() {
    "$coil" doctor >out && [ ! -s stderr ] && grep -qx "coil .* works here" out && says kernel ok "Linux [0-9]" &&
        says loop ok "a task ran on" && says backend ok "(auto: " &&
        for name in libc cpu clock proc io_uring guards memory descriptors threads memlock somaxconn ports compiler; do
            says $name "[a-z]*" "" || return 1
        done
}

# The same to people and to programs; and it is JSON whatever stands in it.
json() {
    mkdir 'odd "folder' && CC='./odd\cc' COIL_INCLUDEDIR="$PWD/odd \"folder" "$coil" doctor >out &&
        CC='./odd\cc' COIL_INCLUDEDIR="$PWD/odd \"folder" "$coil" doctor --json >json && python3 - <<'PYTHON'
import json, re
whole = json.load(open("json"))
told = [(f["state"], f["name"], f["text"]) for f in whole["findings"]]
lines = [line.rstrip("\n") for line in open("out") if re.match(r"ok|note|problem", line)]
assert lines == [f"{state:8} {name:12} {text}" for state, name, text in told], (lines, told)
notes = [f for f in whole["findings"] if f["state"] == "note"]
assert (whole["notes"], whole["problems"]) == (len(notes), 0) and all(f["advice"] for f in notes)
assert any("odd\\cc" in f["text"] for f in notes)
PYTHON
}

named_backend() {
    for name in epoll poll sim; do
        COIL_BACKEND=$name "$coil" doctor >out && says backend ok "$name (COIL_BACKEND names it)" &&
            says io_uring ok "not looked at" && says loop ok "a task ran on $name" || return 1
    done
}

unknown_backend() {
    COIL_BACKEND=abacus "$coil" doctor >out
    [ $? = 1 ] && says backend problem "abacus.*epoll" && says loop problem "" && grep -q "does not work here" out &&
        COIL_BACKEND=abacus "$coil" doctor --json | python3 -c 'import json, sys
assert json.load(sys.stdin)["problems"] == 2'
}

# few N COMMAND...: with so few descriptors that a shell could not go on.
few() {
    python3 -c 'import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])' "$@"
}

few_descriptors() {
    (ulimit -S -n 512 && "$coil" doctor >out) && says descriptors note "512 open at once" &&
        line descriptors | grep -q -- "-> .*ulimit -n" &&
        few 4 "$coil" doctor >out
    [ $? = 1 ] && says descriptors problem "4 open at once" && says loop problem "Too many open files\|No file desc"
}

little_memory() {
    # A sanitizer wants terabytes of addresses.
    (ulimit -v 4000000 && "$coil" version) >out 2>&1 || return 0
    (ulimit -v 4000000 && "$coil" doctor >out) && says memory note "4096000000 bytes, at most 12500 stacks" &&
        line memory | grep -q -- "-> .*ulimit -v"
}

# filtered FILTER COMMAND...: under a seccomp filter that kills who calls io_uring_setup (`kill`), or that knows no
# MADV_GUARD_INSTALL (`old`).
filtered() {
    python3 - "$@" <<'PYTHON'
import ctypes, os, platform, struct, sys
kind, command = sys.argv[1], sys.argv[2:]
madvise = {"x86_64": 28, "aarch64": 233}.get(platform.machine())
if madvise is None:
    sys.exit(77)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
KILL, EINVAL, ALLOW = 0x80000000, 0x00050016, 0x7FFF0000
if kind == "kill":
    code = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, 425), (RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)]
else:
    code = [(LOAD, 0, 0, 0), (EQUAL, 0, 3, madvise), (LOAD, 0, 0, 16 + 2 * 8), (EQUAL, 0, 1, 102),
            (RETURN, 0, 0, EINVAL), (RETURN, 0, 0, ALLOW)]
bytecode = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(bytecode))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    print("no filter can be set:", os.strerror(ctypes.get_errno()), file=sys.stderr)
    sys.exit(77)
os.execv(command[0], command)
PYTHON
}

under_a_filter() {
    filtered kill "$coil" doctor >out
    status=$?
    [ $status != 77 ] || { echo "# no filter can be set here"; return 0; }
    [ $status = 0 ] && says io_uring note "not tried, a seccomp filter" && says backend ok "^*epoll (auto: " &&
        line io_uring | grep -q -- "-> " && COIL_BACKEND=uring filtered kill "$coil" doctor >out &&
        says io_uring note "not tried, a seccomp filter" && says loop note "not run: a seccomp filter may kill"
}

guards_by_mprotect() {
    filtered old "$coil" doctor >out
    status=$?
    [ $status != 77 ] || { echo "# no filter can be set here"; return 0; }
    [ $status = 0 ] && says guards note "by mprotect: some [0-9]* coroutines at once, for vm.max_map_count is [0-9]" &&
        line guards | grep -q -- "-> Linux 6.13" && says loop ok ""
}

no_compiler() {
    CC=there-is-none "$coil" doctor >out && says compiler note 'no `there-is-none`' &&
        COIL_INCLUDEDIR=/nowhere "$coil" doctor >out && says compiler note "there is no /nowhere/coil.h" &&
        "$coil" doctor >out && says compiler ok "with $COIL_INCLUDEDIR/coil.h"
}

words() {
    expect "|2" "$coil" doctor who && grep -qx 'coil doctor: `who` is not understood; coil doctor \[--json\]' stderr &&
        expect "|2" "$coil" doctor --json who && "$coil" doctor --help | grep -q "^usage: coil doctor"
}

try "a healthy machine has no problem" healthy
try "programs are told the same as people" json
try "a named backend is taken, and io_uring not looked at" named_backend
try "an unknown backend is a problem" unknown_backend
try "few descriptors are a note, too few a problem" few_descriptors
try "a limit of memory is told in stacks" little_memory
try "under a filter that kills, io_uring is not tried" under_a_filter
try "guards by mprotect are told with what they bound" guards_by_mprotect
try "a missing compiler is a note" no_compiler
try "other words are refused" words
finish
