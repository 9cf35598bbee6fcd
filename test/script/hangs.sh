#!/bin/sh
# What docs/guide/when-it-hangs.md shows is what the command says.
exec python3 -B "$(dirname "$0")/hangs_test.py" "$1"
