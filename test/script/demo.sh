#!/bin/sh
# The demo, in small: it runs, no request fails, and nothing is left behind.
cd "$(dirname "$0")/../.." || exit 1
command -v curl >/dev/null || { echo "there is no curl here"; exit 77; }
[ -x "$1/examples/httpd" ] || { echo "examples/httpd is not built here (no llhttp)"; exit 77; }
echo "1..1"
if out=$(CLIENTS=200 SECONDS_OF_LOAD=1 sh tools/demo.sh "$1" 2>&1) &&
    [ "$(echo "$out" | grep -c 'held at once  *200 of 200')" = 2 ] &&
    [ "$(echo "$out" | grep -c 'errors  *0$')" = 2 ] &&
    echo "$out" | grep -q 'the server drained and left'; then
    echo "ok 1 - demo_in_small"
else
    echo "$out"
    echo "not ok 1 - demo_in_small"
    exit 1
fi
