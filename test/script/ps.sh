#!/bin/sh
# coil ps, pstree and dump on programs that run, are stopped, hang or have crashed.
exec python3 -B "$(dirname "$0")/ps_test.py" "$1"
