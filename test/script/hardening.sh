#!/bin/sh
# What SECURITY.md says of how programs are linked: read-only relocations, bound at start, position
# independent, no executable stack; and of how optimised builds are compiled. The rest of SECURITY.md's list are
# tests of their own: close-on-exec and nothing asked of the kernel unasked are story/security.
program=$1/coil
echo 1..10
n=0
holds() { # SENTENCE COMMAND...
    sentence=$1
    shift
    n=$((n + 1))
    if "$@" >/dev/null; then echo "ok $n - hardening_$sentence"; else
        echo "not ok $n - hardening_$sentence"
        failed=1
    fi
}
has() { readelf -W "$1" "$program" | grep -Eq "$2"; }
failed=0
holds relocations_are_read_only has -l GNU_RELRO
holds names_are_bound_at_the_start has -d 'BIND_NOW|FLAGS.*NOW'
holds program_is_position_independent has -h 'Type: +DYN'
holds stack_is_not_executable has -l 'GNU_STACK.* RW +0x'
# What the compiler was told, and what came of it in the library as users get it: install.sh's own build of it, which
# only one of the two may work on at a time.
top=$(cd "$(dirname "$0")/../.." && pwd)
log=$(mktemp)
commands=$(mktemp)
trap 'rm -f "$log" "$commands"' EXIT
exec 8>"$1/install.test.lock"
flock 8
built=$(cd "$top" && BUILD=$1/install.test ./dev library 2>"$log" | tail -n 1)
library=$built/libcoil.so
[ -f "$library" ] || sed 's/^/# /' "$log"
told() { [ -s "$commands" ] && ! grep -- ' -c ' "$commands" | grep '\.c\b' | grep -vq -- "$1"; }
ninja -C "$built" -t commands >"$commands" 2>/dev/null
finds() { "$1" "$2" "$library" 2>/dev/null | grep -Eq "$3"; }
lacks() { [ -f "$library" ] && ! finds "$@"; }
# Of each object, the assembly's too: a C library's start files without the mark take it from what is linked.
objects() { find "$built" -path '*libcoil.a.p/*.o' -exec readelf -nW {} + 2>/dev/null; }
branch_marks() {
    [ "$(uname -m)" = x86_64 ] || return 0
    n_objects=$(find "$built" -path '*libcoil.a.p/*.o' | wc -l)
    [ "$n_objects" -gt 0 ] && [ "$(objects | grep -c 'feature: IBT$')" -eq "$n_objects" ] && ! objects | grep -q SHSTK
}
holds stack_protector_is_in_the_library finds readelf -sW '__stack_chk_fail'
holds libc_calls_are_fortified finds readelf -sW '_chk@'
holds fortify_is_at_level_3 told '-D_FORTIFY_SOURCE=3'
holds stack_clash_protection_is_on told '-fstack-clash-protection'
holds landing_pads_are_claimed_and_no_shadow_stack branch_marks
holds code_relocates_nothing_in_itself lacks readelf -dW 'TEXTREL'
exit $failed
