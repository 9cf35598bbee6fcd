#!/bin/sh
# What docs/guide/testing.md shows is what its program says.
exec python3 -B "$(dirname "$0")/testing_test.py" "$1"
