#!/bin/sh
# The main job on real input, called by `./dev demo` with a build folder: two of the sources' programs, then
# a web server over this project's own docs, fetched page by page and put under load. Leaves nothing
# running and nothing behind.
set -eu
build=$1
clients=${CLIENTS:-10000}
seconds=${SECONDS_OF_LOAD:-5}
docs=docs
work=$(mktemp -d)
server=

finish() {
    status=$?
    # By KILL: a TERM that meets the shell's child before it has become the server would be lost.
    if [ -n "$server" ] && kill -KILL "$server" 2>/dev/null; then wait "$server" || true; fi
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

echo "== gather (examples/seeds/e14): two sleeps of 1 and 2 seconds take 2"
"$build/e14_gather"
echo
echo "== as_completed (examples/seeds/e09): greetings in the order in which they are ready"
COIL_VIRTUAL_TIME=1 "$build/e09_as_completed"
echo

# A connection is a descriptor on each side. Both programs raise their own limit as far as it may go; where
# that is not far enough, there are fewer clients.
limit=$(ulimit -H -n)
if [ "$limit" != unlimited ] && [ "$limit" -lt $((clients + 100)) ]; then
    clients=$((limit - 100))
    echo "== only $clients connections: no process may have more than $limit descriptors here (ulimit -H -n)"
    [ "$clients" -gt 0 ] || exit 1
fi
busy=$((clients < 1000 ? clients : 1000))
: >"$work/httpd.out" # it may be read before the server is there
"$build/examples/httpd" 127.0.0.1:0 "$docs" >>"$work/httpd.out" &
server=$!
address=
for _ in $(seq 50); do
    address=$(sed -n 's/^httpd: serving .* on \([0-9.:]*\) .*/\1/p' "$work/httpd.out")
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || { echo "demo: the server did not start" >&2; exit 1; }
    sleep 0.2
done
[ -n "$address" ] || { echo "demo: the server did not say where it listens" >&2; exit 1; }
echo "== $(cat "$work/httpd.out")"

pages=0
for page in $(cd "$docs" && find . -type f | sed 's/^\.//' | sort); do
    curl -sS --fail --noproxy '*' "http://$address$page" -o "$work/page"
    want=$(sha256sum <"$docs$page") got=$(sha256sum <"$work/page")
    [ "$want" = "$got" ] || { echo "demo: $page came back changed" >&2; exit 1; }
    pages=$((pages + 1))
done
echo "   $pages pages fetched with curl, every checksum equal"
echo
echo "== $clients connections held at once, each asks once a second, for $seconds s, in a second process"
"$build/examples/load" -s "$server" -w 1 "$address" /glossary.md "$clients" "$seconds"
echo
echo "== $busy clients that ask as fast as they can, for $seconds s"
"$build/examples/load" "$address" /glossary.md "$busy" "$seconds"
echo

kill -TERM "$server"
wait "$server" && echo "== the server drained and left" || { echo "demo: the server did not leave well" >&2; exit 1; }
server=
