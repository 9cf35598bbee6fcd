#!/bin/sh
# The file server against raw sockets, wrk and ab; the tests are in httpd_test.py.
exec python3 -B "$(dirname "$0")/httpd_test.py" "$1"
