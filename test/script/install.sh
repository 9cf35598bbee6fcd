#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC2086 # the words of pkg-config are meant to be split
# install.sh: what `./dev install` puts into a prefix, and programs of other projects built against it: with
# pkg-config, CMake and Meson, on the shared and the static library, in C and C++.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$1/install.test # a build folder of its own: libcoil as users get it
prefix=$build/prefix
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
cc=${CC:-gcc}
case $cc in *clang*) cxx=clang++ ;; *) cxx=g++ ;; esac
strict="-Wall -Wextra -Werror -pedantic"
unset DESTDIR PKG_CONFIG_PATH COIL_BACKEND COIL_INCLUDEDIR COIL_LIBDIR LD_LIBRARY_PATH
export CC="$cc" CXX="$cxx" XDG_CACHE_HOME="$room/cache" LC_ALL=C
n=0
failed=0

# holds TITLE FUNCTION: in a folder of its own; what it printed is shown if it fails.
holds() {
    n=$((n + 1))
    mkdir "$room/$n"
    if (cd "$room/$n" && "$2") >"$room/log" 2>&1; then echo "ok $n - install_$1"; else
        sed 's/^/# /' "$room/log"
        echo "not ok $n - install_$1"
        failed=1
    fi
}

# without COMMAND TITLE: says that a case is skipped if there is no such command.
without() {
    command -v "$1" >/dev/null && return 1
    n=$((n + 1))
    echo "ok $n - install_$2 # SKIP there is no $1"
}

# answers COMMAND...: does the program do what test/install/program.c says?
answers() { [ "$("$@")" = "answer: hello" ]; }
cxx_answers() { [ "$("$@" | tr '\n' ' ')" = "one two 3 then 2, cancelled " ]; }

install_it() {
    rm -rf "$prefix"
    cd "$top" && BUILD=$build ./dev install "$prefix"
}

everything_is_there() {
    for file in bin/coil include/coil.h include/coil/task.h share/man/man1/coil.1 share/coil/gdb/coil.py "$lib/libcoil.a" "$lib/libcoil.so" \
        "$lib/pkgconfig/coil.pc" "$lib/cmake/coil/coilConfig.cmake" "$lib/cmake/coil/coilConfigVersion.cmake"; do
        [ -s "$prefix/$file" ] || { echo "$file is missing"; return 1; }
    done
    [ -z "$tls" ] || for file in include/coil/tls.h "$lib/libcoil-tls.a" "$lib/libcoil-tls.so" "$lib/pkgconfig/coil-tls.pc"; do
        [ -s "$prefix/$file" ] || { echo "$file is missing"; return 1; }
    done
    # Whoever installs has a umask of his own; others must be able to read what is there.
    [ -z "$(find "$prefix" ! -type l ! -perm -o+r)" ]
}

exports() { python3 -B "$top/tools/tidy.py" --root "$top" --shared "$prefix/$lib/libcoil.so"; }
tls_exports() { python3 -B "$top/tools/tidy.py" --root "$top" --shared "$prefix/$lib/libcoil-tls.so"; }

needs_libc_only() {
    readelf -d "$prefix/$lib/libcoil.so" >dynamic
    [ "$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' dynamic | grep -cv '^libc\.so')" = 0 ] || { cat dynamic; return 1; }
    grep -q '(SONAME).*\[libcoil\.so\.0\]' dynamic && ! grep -q 'R.*PATH' dynamic
}

tls_needs() {
    readelf -d "$prefix/$lib/libcoil-tls.so" >dynamic
    needed=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' dynamic | grep -v '^lib\(coil\|ssl\|crypto\|c\)\.so' || true)
    [ -z "$needed" ] && grep -q '(SONAME).*\[libcoil-tls\.so\.0\]' dynamic && ! grep -q 'R.*PATH' dynamic || { cat dynamic; return 1; }
}

# The two libraries understand each other, shared and static.
tls_answers() { [ "$("$@")" = "answer: COIL_ETLS, hello" ]; }
tls_program() {
    $cc -std=c11 $strict "$top/test/install/tls.c" $(pkg --cflags --libs coil-tls) -o shared &&
        tls_answers env LD_LIBRARY_PATH="$prefix/$lib" ./shared &&
        $cc -std=c11 $strict "$top/test/install/tls.c" $(pkg --cflags coil-tls) "$prefix/$lib/libcoil-tls.a" \
            "$prefix/$lib/libcoil.a" -lssl -lcrypto -pthread -lm -o archive && tls_answers ./archive
}

# It can be left out, and then nothing asks for OpenSSL.
without_tls() {
    meson setup out "$top" -Dtls=disabled -Dtests=false -Dexamples=false -Dbench=false &&
        meson introspect --targets out >targets && grep -q libcoil.so targets && ! grep -q 'coil-tls' targets &&
        ! meson introspect --dependencies out | grep -q openssl
}

pkg() { PKG_CONFIG_PATH=$prefix/$lib/pkgconfig pkg-config "$@"; }

pkg_config_shared() {
    $cc -std=c11 $strict "$top/test/install/program.c" $(pkg --cflags --libs coil) -o program &&
        answers env LD_LIBRARY_PATH="$prefix/$lib" ./program && readelf -d program | grep -q 'NEEDED.*libcoil\.so\.0' &&
        pkg --exists 'coil >= 0.1' && ! pkg --exists 'coil >= 1'
}

pkg_config_static() {
    $cc -std=c11 $strict "$top/test/install/program.c" $(pkg --static --cflags --libs coil) -static -o program &&
        answers ./program && ! readelf -d program | grep -q NEEDED
}

# Position independent, with the C library shared: what most programs want of a static libcoil.
archive_in_a_shared_world() {
    $cc -std=c11 $strict "$top/test/install/program.c" $(pkg --cflags coil) "$prefix/$lib/libcoil.a" -pthread -lm \
        -o program && answers ./program
}

cxx_program() {
    $cxx -std=c++17 $strict "$top/test/install/program.cpp" $(pkg --cflags --libs coil) -o program &&
        cxx_answers env LD_LIBRARY_PATH="$prefix/$lib" ./program
}

cmake_package() {
    # Moved as a whole: nothing in the package may name the prefix.
    cp -R "$prefix" moved && cp "$top"/test/install/* . &&
        cmake -S . -B out -DCMAKE_PREFIX_PATH="$PWD/moved" -DCMAKE_C_FLAGS="$strict" -DCMAKE_CXX_FLAGS="$strict" &&
        grep -q "coil_DIR.*$PWD/moved" out/CMakeCache.txt && cmake --build out &&
        answers out/shared && answers out/static && cxx_answers out/cxx &&
        { [ -z "$tls" ] || { tls_answers out/tls && tls_answers out/tls_static; }; } &&
        readelf -d out/shared | grep -q 'NEEDED.*libcoil\.so\.0' && ! readelf -d out/static | grep -q 'NEEDED.*libcoil'
}

cmake_versions() {
    for version in 0.1 0.1.0 0; do cmake_finds "$version" || return 1; done
    for version in 0.2 1.0 0.1.7 0.0; do ! cmake_finds "$version" || return 1; done
}
cmake_finds() {
    rm -rf asked && mkdir asked &&
        printf 'cmake_minimum_required(VERSION 3.16)\nproject(a C)\nfind_package(coil %s CONFIG REQUIRED)\n' "$1" \
            >asked/CMakeLists.txt && cmake -S asked -B asked/out -DCMAKE_PREFIX_PATH="$prefix" >/dev/null 2>&1
}

meson_dependency() {
    cp "$top"/test/install/* . && PKG_CONFIG_PATH=$prefix/$lib/pkgconfig meson setup out -Dwerror=true &&
        ninja -C out && answers out/shared && cxx_answers out/cxx && { [ -z "$tls" ] || tls_answers out/tls; }
}

meson_subproject() {
    cp "$top"/test/install/* . && mkdir subprojects && ln -s "$top" subprojects/coil &&
        meson setup out --wrap-mode=forcefallback --buildtype=plain && ninja -C out -j "${JOBS:-2}" shared && answers out/shared
}

# As below /usr: gdb finds the script by the library's name.
gdb_loads_its_script() {
    scripts=$prefix/share/gdb/auto-load
    $cc -std=c11 -g "$top/test/install/program.c" $(pkg --cflags --libs coil) -o program &&
        LD_LIBRARY_PATH=$prefix/$lib gdb -nx -batch -iex "set debuginfod enabled off" \
            -iex "add-auto-load-scripts-directory $scripts" -iex "add-auto-load-safe-path $scripts" \
            -ex "break coil_run" -ex run -ex "coil loop" ./program </dev/null >said 2>&1
    cat said
    grep -q 'Could not trace\|ptrace: Operation not permitted' said || grep -q 'There is no loop' said &&
        [ -z "$(find "$prefix" -name __pycache__)" ]
}

command_runs() {
    [ "$(env PATH="$prefix/bin:$PATH" coil run "$top/test/install/program.c" 2>&1)" = "answer: hello" ]
}

# The project that `coil new` makes: builds without a warning, and its tests pass, in each way its Makefile knows.
new_project() {
    export PKG_CONFIG_PATH="$prefix/$lib/pkgconfig"
    unset CFLAGS MAKEFLAGS MAKELEVEL
    "$prefix/bin/coil" new hello >told && grep -q "PKG_CONFIG_PATH=$PKG_CONFIG_PATH" told && cd hello || return 1
    for static in "" STATIC=1; do
        make $static test >out 2>&1 && grep -q '3 test(s) run' out && make $static && readelf -d build/hello >dynamic &&
            if [ -z "$static" ]; then grep -q 'NEEDED.*libcoil' dynamic; else ! grep -q 'NEEDED.*libcoil' dynamic; fi &&
            COIL_BACKEND=epoll make $static test && echo_comes_back && make clean && [ ! -e build ] || { cat out; return 1; }
    done
    # A test that cannot fail would be no example.
    sed -i 's/echo->lines++/echo->lines += 2/' echo.c && ! make test >out 2>&1 && grep -q 'lines_come_back' out &&
        PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR='' make 2>&1 | grep -q 'does not find coil: install it, or set PKG_CONFIG_PATH'
}
echo_comes_back() {
    python3 -c '
import socket, subprocess
with subprocess.Popen(["build/hello", "0"], stdout=subprocess.PIPE, text=True) as program:
    try:
        port = int(program.stdout.readline().rsplit(":")[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"hello\n"
    finally:
        program.kill()'
}

# Packagers install into a folder that stands for the root. The prefix is named from where the caller stands.
destdir() {
    mkdir here && cd here && DESTDIR=$room/root BUILD=$build "$top/dev" install ../there && cd .. && [ ! -e there ] &&
        root=$room/root/$PWD/there && [ -x "$root/bin/coil" ] &&
        grep -qx "prefix=$PWD/there" "$root/$lib/pkgconfig/coil.pc" && BUILD=$build "$top/dev" uninstall &&
        [ -z "$(find "$room/root" ! -type d)" ]
}

exec 8>"$build.lock" # hardening.sh looks at what is built here
flock 8
holds "dev_install_fills_a_prefix" install_it
flock -u 8
[ $failed = 0 ] || { echo "1..$n"; exit 1; }
lib=$(cd "$prefix" && dirname "$(find . -name libcoil.a)" | sed 's|^\./||')
tls=
pkg-config --exists 'openssl >= 3' && tls=yes
holds "everything_is_there_and_readable" everything_is_there
holds "exports_are_the_promised_names" exports
holds "shared_library_needs_libc_only_and_has_its_name" needs_libc_only
if [ -n "$tls" ]; then
    holds "exports_of_tls_are_the_promised_names" tls_exports
    holds "tls_library_needs_coil_openssl_and_libc_only" tls_needs
    holds "tls_program" tls_program
fi
holds "tls_can_be_left_out" without_tls
holds "pkg_config_shared" pkg_config_shared
holds "pkg_config_static" pkg_config_static
holds "archive_in_a_shared_world" archive_in_a_shared_world
without gdb gdb_loads_its_script || holds "gdb_loads_its_script" gdb_loads_its_script
holds "command_runs_programs" command_runs
without make new_project || holds "new_project" new_project
without $cxx cxx_program || holds "cxx_program" cxx_program
without cmake cmake_package || holds "cmake_package" cmake_package
without cmake cmake_versions || holds "cmake_versions" cmake_versions
without $cxx meson_dependency || holds "meson_dependency" meson_dependency
without $cxx meson_subproject || holds "meson_subproject" meson_subproject
flock 8
holds "relative_prefix_destdir_and_uninstall" destdir
echo "1..$n"
exit $failed
