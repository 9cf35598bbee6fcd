#!/bin/sh
# Every certificate of test/lib/ca.c, as a client and as a server, against OpenSSL's and GnuTLS's own programs.
exec python3 -B "$(dirname "$0")/tls_test.py" "$1"
