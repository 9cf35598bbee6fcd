#!/bin/sh
# gdb with tools/gdb/coil.py on programs that run, stand at a breakpoint, or left a core file; and the probes.
exec python3 -B "$(dirname "$0")/gdb_test.py" "$1"
