#!/bin/sh
# The interactive C shell, at a terminal and over a pipe.
if grep -q __tsan_init "$1/coil"; then
    echo "the shell is one thread, and compilers take minutes here"
    exit 77
fi
exec python3 -B "$(dirname "$0")/shell_test.py" "$1"
