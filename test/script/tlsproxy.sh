#!/bin/sh
# The TLS proxy between curl, OpenSSL's and GnuTLS's own programs, PostgreSQL, and sockets that misbehave.
exec python3 -B "$(dirname "$0")/tlsproxy_test.py" "$1"
