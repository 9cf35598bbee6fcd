#!/bin/sh
# Many names at dnsmasq, and at an answerer that lies.
exec python3 -B "$(dirname "$0")/resolve_test.py" "$1"
