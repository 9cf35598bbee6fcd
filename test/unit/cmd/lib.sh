# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2034 # what is sourced is used elsewhere
#
# lib.sh: what the tests of the command share. Sourced with $1, the build folder.
#
# A case is a function whose commands must all succeed: `try words_of_a_sentence function`. It has a folder of its
# own to stand in, an empty cache, and a compiler that counts how often it is called.

set -u
build=$1
coil=$build/coil
top=$(cd "$(dirname "$0")/../../.." && pwd)
room=$(mktemp -d)
trap 'chmod -R u+rwx "$room"; rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
cases=0
failed=0

real_cc=${CC:-cc}
unset CPPFLAGS CFLAGS LDFLAGS LDLIBS CPATH C_INCLUDE_PATH LIBRARY_PATH COIL_CACHE_BYTES COIL_VIRTUAL_TIME
export COIL_INCLUDEDIR="$top/include" COIL_LIBDIR="$build" LC_ALL=C

mkdir "$room/bin"
cat >"$room/bin/counting-cc" <<WRAPPER
#!/bin/sh
echo compiled >>"\$COUNT"
exec $real_cc "\$@"
WRAPPER
chmod +x "$room/bin/counting-cc"

# How often did the compiler run in this case?
compilations() { wc -l <"$COUNT" | tr -d ' '; }

# expect WANTED COMMAND...: what the command prints and its exit status, as "text|status".
expect() {
    wanted=$1
    shift
    got=$("$@" 2>stderr </dev/null)
    got="$got|$?"
    [ "$got" = "$wanted" ] && return
    echo "# $*"
    echo "# wanted: $wanted"
    echo "# got:    $got"
    sed 's/^/# /' stderr
    return 1
}

# try TITLE FUNCTION
try() {
    cases=$((cases + 1))
    mkdir "$room/$cases"
    if (
        cd "$room/$cases" || exit 1
        export XDG_CACHE_HOME="$room/$cases/cache" HOME="$room/$cases" TMPDIR="$room/$cases/tmp"
        export COUNT="$room/$cases/count" CC="$room/bin/counting-cc"
        mkdir tmp
        : >count
        # Not `set -e`, which is off inside a condition: each case joins its steps with &&.
        "$2"
    ); then
        echo "ok $cases - $1"
    else
        echo "not ok $cases - $1"
        failed=1
    fi
}

# The last line of a script.
finish() {
    echo "1..$cases"
    exit $failed
}
