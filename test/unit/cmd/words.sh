# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC1091,SC2016,SC2154 # lib.sh is sourced; no shell is meant by those
# words.sh: the command's words: help, version, and what is not understood.
. "$(dirname "$0")/lib.sh"

without_a_verb() {
    expect "|0" "$coil" && [ ! -s stderr ] && [ -z "$(ls tmp)" ]
}

unknown_verb() {
    expect "|2" "$coil" fly && grep -qx 'coil: there is no verb `fly`; `coil help` lists them' stderr
}

help_lists() {
    "$coil" help >out && [ ! -s stderr ] && for verb in run new shell doctor help version; do
        grep -q "^  $verb " out || return 1
    done
}

help_explains() {
    "$coil" help run >out && grep -q "^usage: coil run FILE.c" out && grep -q COIL_LIBDIR out &&
        expect "$(cat out)|0" "$coil" run --help && expect "|2" "$coil" help fly &&
        expect "|2" "$coil" help run help
}

dashes() {
    expect "$("$coil" help)|0" "$coil" --help && expect "$("$coil" version)|0" "$coil" --version
}

version() {
    expect "coil $(sed -n "s/^  version: '\(.*\)',/\1/p" "$top/meson.build")|0" "$coil" version &&
        expect "|2" "$coil" version now
}

full_disk() {
    [ -w /dev/full ] || return 0
    "$coil" help >/dev/full 2>stderr
    [ $? = 1 ] && grep -q "could not be written" stderr
}

run_without_file() {
    expect "|2" "$coil" run && grep -q "which program?" stderr &&
        expect "|2" "$coil" run -O2 x.c && grep -q 'no option `-O2`' stderr
}

try "without a verb it is the shell, which ends with its input" without_a_verb
try "an unknown verb is named, exit status 2" unknown_verb
try "help lists every verb" help_lists
try "help explains a verb" help_explains
try "--help and --version are understood" dashes
try "version prints the version" version
try "output that cannot be written is an error" full_disk
try "run wants a file and knows no options" run_without_file
finish
