#!/bin/sh
# SPDX-License-Identifier: MIT
# cmocka for a compiler that Debian builds none for: tools/cross/cmocka.sh FOLDER COMPILER shared|static
#
# Fetches Debian's source of it, once, by way of apt, which checks the signature; this machine's own lists of packages
# stay as they are. FOLDER then holds include/, the library and cmocka.pc.
set -eu
folder=$1 compiler=$2 kind=$3
[ ! -f "$folder/cmocka.pc" ] || exit 0
here=$(mkdir -p "$folder" && cd "$folder" && pwd)
apt=$(dirname "$here")/cmocka.apt

# Every source of packages that apt knows, asked for sources.
if [ ! -f "$apt/done" ]; then
    rm -rf "$apt"
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ -f "$list" ] || continue
        sed 's/^Types:.*/Types: deb-src/; s/^deb[[:space:]]/deb-src /' "$list" >"$apt/parts/$(basename "$list")"
    done
    mv "$apt/parts/sources.list" "$apt/parts/debian.list" 2>/dev/null || true
    cat >"$apt/config" <<CONFIG
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt/parts";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
CONFIG
    (cd "$apt" && APT_CONFIG=$apt/config apt-get update -qq &&
        APT_CONFIG=$apt/config apt-get source -qq --download-only cmocka)
    tar -C "$apt" -xf "$apt"/cmocka_*.orig.tar.xz
    touch "$apt/done"
fi

version=$(echo "$apt"/cmocka-*/ | sed 's|.*/cmocka-\(.*\)/|\1|')
source=$apt/cmocka-$version
compile="$compiler -O1 -g -w -fPIC -I$source/include -D_GNU_SOURCE -DHAVE_SIGNAL_H -DHAVE_STRINGS_H -DHAVE_UNISTD_H
    -DHAVE_INTTYPES_H -DHAVE_STRUCT_TIMESPEC -DHAVE_CLOCK_GETTIME -DHAVE_GCC_THREAD_LOCAL_STORAGE"
if [ "$kind" = shared ]; then
    $compile -shared -Wl,-soname,libcmocka.so.0 -o "$here/libcmocka.so.0" "$source/src/cmocka.c"
    ln -sf libcmocka.so.0 "$here/libcmocka.so"
else
    $compile -c -o "$here/cmocka.o" "$source/src/cmocka.c"
    ar rcs "$here/libcmocka.a" "$here/cmocka.o"
fi
cp -r "$source/include" "$here"
cat >"$here/cmocka.pc" <<PC
Name: cmocka
Description: cmocka for $compiler
Version: $version
Libs: -L$here -lcmocka
Cflags: -I$here/include
PC
