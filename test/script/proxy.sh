#!/bin/sh
# The proxy between real programs: redis, PostgreSQL, curl, and sockets that misbehave.
exec python3 -B "$(dirname "$0")/proxy_test.py" "$1"
