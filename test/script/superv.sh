#!/bin/sh
# The supervisor with real programs, short-lived, stubborn and many.
exec python3 -B "$(dirname "$0")/superv_test.py" "$1"
