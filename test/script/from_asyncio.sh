#!/bin/sh
# What docs/guide/from-asyncio.md shows in Python and in C prints the same.
exec python3 -B "$(dirname "$0")/from_asyncio_test.py" "$1"
