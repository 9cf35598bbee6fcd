#!/bin/sh
# The sources' programs, drawn by coil pstree in the middle of a wait.
exec python3 -B "$(dirname "$0")/pstree_test.py" "$1"
