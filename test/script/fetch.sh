#!/bin/sh
# Many URLs at servers that answer, hang, reset, redirect and lie.
exec python3 -B "$(dirname "$0")/fetch_test.py" "$1"
