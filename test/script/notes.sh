#!/bin/sh
# The notebook on SQLite: many clients, long questions, locks of others, sudden ends.
exec python3 -B "$(dirname "$0")/notes_test.py" "$1"
