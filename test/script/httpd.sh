#!/bin/sh
# The file server against raw sockets and curl; the tests are in httpd_test.py.
exec python3 -B "$(dirname "$0")/httpd_test.py" "$1/examples/httpd"
