#!/bin/sh
# Programs of others, for tests to talk to: peers.sh FOLDER PACKAGE...
#
# Fetches Debian packages, and whatever they need that this machine lacks, and unpacks them under
# FOLDER/<first package>; prints that folder. Nothing is installed: no script of a package runs, no
# service starts, and it is all the same whether the machine has the package already. The second time
# it only prints. Exits 77, with the reason on standard error, where this cannot be done.
set -eu
[ $# -ge 2 ] || { echo "usage: peers.sh FOLDER PACKAGE..." >&2; exit 2; }

cannot() {
    echo "peers: $*" >&2
    exit 77
}

folder=$1
shift
for tool in apt-get dpkg flock; do
    command -v $tool >/dev/null || cannot "there is no $tool here"
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/$1

# Two tests may ask for the same thing at once.
exec 9>"$folder/$1.lock"
flock 9
if [ "$(cat "$root.done" 2>/dev/null)" = "$*" ]; then
    echo "$root"
    exit
fi

# The packages themselves, even if installed, and of what they need only what is not. libc belongs to the
# machine's own loader.
wanted() {
    apt-get install --simulate --reinstall --no-install-recommends -qq -y "$@" 2>/dev/null |
        sed -n 's/^Inst \([^ :]*\).*/\1/p' | grep -vx 'libc6\|libc-bin' | sort -u
}
packages=$(wanted "$@")
if [ -z "$packages" ]; then
    # The lists of packages are absent, or too old.
    apt-get update -qq >/dev/null 2>&1 || cannot "apt-get knows no package $1 and cannot update its lists"
    packages=$(wanted "$@")
fi
[ -n "$packages" ] || cannot "apt-get knows no package $1"

rm -rf "$root" "$root.debs" "$root.done"
mkdir -p "$root" "$root.debs"
# shellcheck disable=SC2086 # a list of words
(cd "$root.debs" && apt-get download -qq $packages >log 2>&1) ||
    cannot "$(grep '^E:' "$root.debs/log" | head -n 1)"
for deb in "$root.debs"/*.deb; do
    dpkg -x "$deb" "$root"
done
rm -rf "$root.debs"
echo "$*" >"$root.done"
echo "$root"
