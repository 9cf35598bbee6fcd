# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC1091,SC2016,SC2154 # lib.sh is sourced; no shell is meant by those
# new.sh: `coil new`: what it makes, and what it refuses. That the project builds is test/script/install.sh's.
. "$(dirname "$0")/lib.sh"

makes_a_project() {
    "$coil" new hello >out && grep -q "^    cd hello$" out && [ ! -s stderr ] &&
        [ "$(ls -A hello | sort | tr '\n' ' ')" = ".gitignore Makefile README.md echo.c echo.h main.c test.c " ] &&
        grep -q "^build/hello: " hello/Makefile && grep -q "^# hello$" hello/README.md && ! grep -rq "@NAME@" hello
}

as_in_the_templates() {
    expect_made odd_Name-7 && for file in Makefile README.md echo.c echo.h main.c test.c; do
        sed 's/@NAME@/odd_Name-7/g' "$top/templates/echo/$file" | cmp - "odd_Name-7/$file" || return 1
    done
}
expect_made() { "$coil" new "$1" >out 2>stderr && [ ! -s stderr ]; }

users_umask() {
    umask 027 && expect_made shared && [ "$(stat -c %a shared shared/main.c | tr '\n' ' ')" = "750 640 " ]
}

in_a_folder() {
    mkdir "a folder" && expect_made "a folder/inner/" && [ -f "a folder/inner/main.c" ] &&
        grep -q "^build/inner: " "a folder/inner/Makefile" && expect_made "$PWD/whole" && [ -f whole/main.c ]
}

nothing_in_the_way() {
    mkdir empty && echo mine >file && ln -s nowhere link && mkdir full && echo mine >full/main.c &&
        for name in empty file link full; do
            expect "|1" "$coil" new $name && grep -qx "coil new: $name is there already; choose another name" stderr ||
                return 1
        done && [ -z "$(ls -A empty)" ] && [ "$(cat file full/main.c)" = "mine
mine" ] && [ "$(ls full)" = main.c ]
}

bad_names() {
    for name in "a b" 1st -x .hidden a.b 'a$b' "a'b" é "a
b" .. / ./; do
        expect "|2" "$coil" new "$name" && grep -q "letters, digits, - and _, a letter first" stderr || return 1
    done && expect "|2" "$coil" new "a b" && grep -q 'because of the ` `' stderr && expect "|2" "$coil" new "" &&
        expect "|2" "$coil" new "$(printf 'a%.0s' $(seq 65))" && grep -q "64 characters at most" stderr &&
        expect_made "$(printf 'a%.0s' $(seq 64))" && [ "$(ls -A | grep -cv -e out -e stderr)" = 3 ] # tmp, count, aaa...
}

one_name() {
    expect "|2" "$coil" new && grep -q "which name" stderr && expect "|2" "$coil" new a b && [ ! -e a ] &&
        "$coil" new --help | grep -q "^usage: coil new NAME" && [ ! -e --help ]
}

no_such_parent() {
    expect "|1" "$coil" new a/b && grep -q "the folder that a/b is to stand in does not exist" stderr && [ ! -e a ] &&
        echo >plain && expect "|1" "$coil" new plain/b && grep -q "Not a directory" stderr
}

# Files may grow no larger than nothing: the first that is to hold something fails.
cleans_up() {
    (trap '' XFSZ && ulimit -f 0 && "$coil" new half) >out 2>&1
    [ $? = 1 ] && [ ! -e half ]
}

try "a project is made under its name" makes_a_project
try "its files are those of the template" as_in_the_templates
try "others may read it as the umask says" users_umask
try "it may be made in another folder" in_a_folder
try "what is there already is left alone" nothing_in_the_way
try "a bad name is refused, and the character named" bad_names
try "it wants one name" one_name
try "a missing parent is named" no_such_parent
try "what cannot be written whole is taken away again" cleans_up
finish
