#!/bin/sh
# What SECURITY.md says of how programs are linked: read-only relocations, bound at start, position
# independent, no executable stack.
program=$1/coil
echo 1..4
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
exit $failed
