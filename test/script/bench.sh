#!/bin/sh
# The benchmarks' harness in a tiny form, on programs of this build.
exec python3 -B "$(dirname "$0")/bench_test.py" "$1"
