# SPDX-License-Identifier: MIT
# shellcheck shell=sh disable=SC1091,SC2016,SC2154 # lib.sh is sourced; C is quoted
# run.sh: `coil run`: what it compiles, what it keeps, and that the program is all the caller meets.
. "$(dirname "$0")/lib.sh"

# The program of most cases: prints its arguments, exits with their number.
program() {
    cat >"${1:-args.c}" <<'C'
#include <coil.h>
#include <stdio.h>

static coil_ret print_all(void *arg)
{
    coil_ret rc = coil_sleep(0);
    for (char **argv = arg; *argv && !coil_iserr(rc); argv++)
        printf("[%s]", *argv);
    return rc;
}

int main(int argc, char **argv)
{
    int status = coil_report(coil_run(print_all, argv));
    return status ? status : argc - 1;
}
C
}

# line FILE.c STATEMENTS: a main of these.
line() {
    cat >"$1" <<C
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

int main(void)
{
    $2
    return 0;
}
C
}

runs() {
    program && expect "[args.c]|0" "$coil" run args.c &&
        expect "[args.c][a b][][-x][run]|4" "$coil" run args.c "a b" "" -x run
}

compiles_once() {
    program && expect "[args.c]|0" "$coil" run args.c && [ "$(compilations)" = 1 ] &&
        expect "[args.c]|0" "$coil" run args.c && expect "[args.c][x]|1" "$coil" run args.c x &&
        [ "$(compilations)" = 1 ]
}

same_from_anywhere() {
    program && mkdir deep && expect "[$PWD/args.c]|0" "$coil" run "$PWD/args.c" && cd deep &&
        expect "[$room/$cases/args.c]|0" "$coil" run "$room/$cases/args.c" && [ "$(compilations)" = 1 ]
}

odd_names() {
    mkdir "a folder" && program "a folder/what's this.c" && program ./-dash.c && program deps.c && program plain &&
        expect "[a folder/what's this.c]|0" "$coil" run "a folder/what's this.c" &&
        expect "[a folder/what's this.c]|0" "$coil" run "a folder/what's this.c" &&
        expect "[-dash.c]|0" "$coil" run -- -dash.c && expect "[deps.c]|0" "$coil" run deps.c &&
        expect "[plain]|0" "$coil" run plain && [ "$(compilations)" = 4 ]
}

changed_source() {
    line x.c 'puts("one");' && expect "one|0" "$coil" run x.c && line x.c 'puts("two");' &&
        expect "two|0" "$coil" run x.c && line x.c 'puts("one");' && expect "one|0" "$coil" run x.c &&
        [ "$(compilations)" = 2 ]
}

changed_header() {
    mkdir inc && echo '#include "inner.h"' >inc/outer.h && echo '#define WORD "old"' >inc/inner.h &&
        printf '#include "inc/outer.h"\n#include <stdio.h>\nint main(void) { return puts(WORD) < 0; }\n' >x.c &&
        expect "old|0" "$coil" run x.c && expect "old|0" "$coil" run x.c && [ "$(compilations)" = 1 ] &&
        echo '#define WORD "new"' >inc/inner.h && expect "new|0" "$coil" run x.c &&
        expect "new|0" "$coil" run x.c && [ "$(compilations)" = 2 ] &&
        echo '#define WORD "old"' >inc/inner.h && expect "old|0" "$coil" run x.c && [ "$(compilations)" = 2 ] &&
        rm inc/inner.h && expect "|1" "$coil" run x.c && grep -q "inner.h" stderr
}

header_with_odd_name() {
    echo '#define WORD "odd"' >'a $b #c.h' &&
        printf '#include "a $b #c.h"\n#include <stdio.h>\nint main(void) { return puts(WORD) < 0; }\n' >x.c &&
        expect "odd|0" "$coil" run x.c && echo '#define WORD "even"' >'a $b #c.h' &&
        expect "even|0" "$coil" run x.c && expect "even|0" "$coil" run x.c && [ "$(compilations)" = 2 ]
}

flags_count() {
    printf '#include <stdio.h>\nint main(void) { return printf("%%d", N) < 0; }\n' >x.c &&
        CFLAGS="-DN=1" expect "1|0" "$coil" run x.c && CPPFLAGS="-DN=2" expect "2|0" "$coil" run x.c &&
        CFLAGS="-DN=1" expect "1|0" "$coil" run x.c && [ "$(compilations)" = 2 ]
}

another_compiler() {
    cp "$CC" other-cc && program && expect "[args.c]|0" "$coil" run args.c && export CC="$PWD/other-cc" &&
        expect "[args.c]|0" "$coil" run args.c && [ "$(compilations)" = 2 ] &&
        echo "# a new version" >>other-cc && expect "[args.c]|0" "$coil" run args.c &&
        [ "$(compilations)" = 3 ] && export CC="env TWO=words $PWD/other-cc" &&
        expect "[args.c]|0" "$coil" run args.c && [ "$(compilations)" = 4 ]
}

another_library() {
    program && expect "[args.c]|0" "$coil" run args.c && mkdir lib &&
        for file in "$build"/libcoil.*; do
            [ -d "$file" ] || cp -P "$file" lib || return 1
        done && export COIL_LIBDIR="$PWD/lib" && expect "[args.c]|0" "$coil" run args.c &&
        [ "$(compilations)" = 2 ] && touch -h -d 2001-01-01 lib/libcoil.* && touch -d 2001-01-01 lib/libcoil.* &&
        expect "[args.c]|0" "$coil" run args.c && [ "$(compilations)" = 3 ]
}

exit_status() {
    line x.c 'return 42;' && expect "|42" "$coil" run x.c && line x.c '_exit(255);' &&
        expect "|255" "$coil" run x.c
}

# A shell has only the sum of number and exit status; so ask somebody who knows the difference.
signal_death() {
    line x.c 'raise(SIGTERM);' && { "$coil" run x.c; } 2>/dev/null
    [ $? = 143 ] && python3 - "$coil" <<'PYTHON'
import subprocess, sys
sys.exit(subprocess.run([sys.argv[1], "run", "x.c"]).returncode != -15)
PYTHON
}

same_process() {
    line x.c 'printf("%d", (int)getpid()); fflush(stdout); pause();' || return 1
    for round in compiled kept; do
        "$coil" run x.c >out &
        child=$!
        while [ ! -s out ]; do sleep 0.05; done
        kill -USR1 $child
        { wait $child; } 2>/dev/null
        status=$?
        if [ "$(cat out)" != "$child" ] || [ $status != 138 ]; then
            echo "# $round: $(cat out), $status"
            return 1
        fi
        rm out
    done
    [ "$(compilations)" = 1 ]
}

# By way of Python, since some shells keep SIGCHLD to themselves.
ignoring() { with_signals SIG_IGN "$@"; }
heeding() { with_signals SIG_DFL "$@"; } # whoever runs the tests in the background ignores SIGINT
with_signals() {
    python3 -c 'import os, signal, sys
for signo in signal.SIGINT, signal.SIGCHLD:
    signal.signal(signo, getattr(signal, sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])' "$@"
}

ignored_signals_stay_ignored() {
    line x.c 'struct sigaction a, b; sigaction(SIGINT, NULL, &a); sigaction(SIGCHLD, NULL, &b);
        return (a.sa_handler == SIG_IGN) + 2 * (b.sa_handler == SIG_IGN);' &&
        expect "|0" heeding "$coil" run x.c && expect "|3" ignoring "$coil" run x.c && rm -r cache &&
        expect "|3" ignoring "$coil" run x.c && [ "$(compilations)" = 2 ]
}

standard_streams() {
    line x.c 'int c; while ((c = getchar()) != EOF) putchar(c); fputs("aside", stderr);' &&
        [ "$(printf 'through' | "$coil" run x.c 2>err)" = through ] && [ "$(cat err)" = aside ] &&
        [ "$(printf 'again' | "$coil" run x.c 2>/dev/null)" = again ]
}

# The shell may leave some open itself; so compare with the program run without us.
no_descriptor_leaks() {
    line x.c 'for (int fd = 0; fd < 64; fd++) if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);' &&
        $real_cc x.c -o plain && ./plain >wanted 2>/dev/null </dev/null && expect "$(cat wanted)|0" ./plain &&
        expect "$(cat wanted)|0" "$coil" run x.c && expect "$(cat wanted)|0" "$coil" run x.c
}

errors_unchanged() {
    line x.c 'return nobody_knows_this;' &&
        $CC -std=gnu11 -g -O1 -Wall -I"$COIL_INCLUDEDIR" -c x.c -o /dev/null 2>wanted
    [ -s wanted ] && expect "|1" "$coil" run x.c && cmp wanted stderr && expect "|1" "$coil" run x.c &&
        cmp wanted stderr && [ -z "$(ls cache/coil)" ]
}

compilers_exit_status() {
    program && printf '#!/bin/sh\necho it said >&2\necho this\nexit 7\n' >cc7 && chmod +x cc7 &&
        CC=./cc7 expect "|7" "$coil" run args.c && [ "$(cat stderr)" = "it said
this" ] && [ -z "$(ls cache/coil)" ]
}

compiler_killed() {
    program && printf '#!/bin/sh\nkill -TERM $$\n' >killed && chmod +x killed && { CC=./killed "$coil" run args.c; } 2>/dev/null
    [ $? = 143 ] && [ -z "$(ls cache/coil)" ]
}

no_compiler() {
    program && CC=there-is-no-such-cc expect "|127" "$coil" run args.c && grep -q there-is-no-such-cc stderr
}

warnings_do_not_stop() {
    line x.c 'int unused; puts("ran");' && expect "ran|0" "$coil" run x.c && grep -q Wunused stderr
}

no_such_file() {
    expect "|1" "$coil" run nothing.c && grep -q "cannot read nothing.c: No such file" stderr &&
        expect "|1" "$coil" run . && grep -q "cannot read" stderr && [ "$(compilations)" = 0 ]
}

no_room_for_the_cache() {
    program && echo "in the way" >cache && expect "[args.c]|0" "$coil" run args.c &&
        grep -q "no compiled programs are kept in $PWD/cache/coil" stderr &&
        expect "[args.c][x]|1" "$coil" run args.c x && [ "$(compilations)" = 2 ] && [ -z "$(ls tmp)" ]
}

others_may_write() {
    mkdir -p cache/coil && chmod 777 cache/coil && program && expect "[args.c]|0" "$coil" run args.c &&
        grep -q "others may write there" stderr && [ -z "$(ls tmp)$(ls cache/coil)" ]
}

read_only_cache() {
    [ "$(id -u)" != 0 ] || return 0 # for root nothing is
    program && mkdir -p cache/coil && chmod 500 cache/coil && expect "[args.c]|0" "$coil" run args.c &&
        grep -q "Permission denied" stderr && chmod 700 cache/coil && expect "[args.c]|0" "$coil" run args.c &&
        chmod 500 cache/coil && expect "[args.c]|0" "$coil" run args.c && [ ! -s stderr ]
}

homeless() {
    program && unset XDG_CACHE_HOME HOME && expect "[args.c]|0" "$coil" run args.c && [ ! -s stderr ] &&
        export XDG_CACHE_HOME=relative && expect "[args.c]|0" "$coil" run args.c && [ ! -e relative ] &&
        export HOME="$PWD" && expect "[args.c]|0" "$coil" run args.c && [ -d .cache/coil ] && [ -z "$(ls tmp)" ]
}

nowhere_at_all() {
    program && echo "in the way" >cache && TMPDIR=/nowhere expect "|1" "$coil" run args.c &&
        grep -q "cannot make a temporary folder" stderr
}

many_at_once() {
    program && for i in 1 2 3 4 5 6; do
        { "$coil" run args.c $i >out$i 2>&1; echo "|$?" >>out$i; } &
    done && wait && for i in 1 2 3 4 5 6; do
        [ "$(tr -d '\n' <out$i)" = "[args.c][$i]|1" ] || { sed 's/^/# /' out$i; return 1; }
    done && [ "$(find cache/coil -type f | wc -l)" = 2 ] && [ -z "$(find cache/coil -name 'new-*')" ]
}

# Each program is some tens of kilobytes: room for one, then for many.
bounded() {
    for i in 1 2 3; do
        line x$i.c "puts(\"$i\");" && COIL_CACHE_BYTES=1 expect "$i|0" "$coil" run x$i.c || return 1
    done
    [ "$(find cache/coil -type f | wc -l)" = 2 ] && expect "3|0" "$coil" run x3.c && [ "$(compilations)" = 3 ] &&
        for i in 1 2 3; do expect "$i|0" "$coil" run x$i.c || return 1; done && [ "$(compilations)" = 5 ] &&
        [ "$(find cache/coil -type f | wc -l)" = 6 ]
}

oldest_goes_first() {
    for i in 1 2 3; do
        line x$i.c "puts(\"$i\");" && expect "$i|0" "$coil" run x$i.c || return 1
    done
    find cache/coil -mindepth 1 -maxdepth 1 -exec touch -d 2001-01-01 {} + && expect "2|0" "$coil" run x2.c &&
        bytes=$(find cache/coil -type f -exec cat {} + | wc -c) && line x4.c 'puts("4");' &&
        COIL_CACHE_BYTES=$bytes expect "4|0" "$coil" run x4.c && [ "$(compilations)" = 4 ] &&
        expect "2|0" "$coil" run x2.c && [ "$(compilations)" = 4 ]
}

leftovers_go() {
    mkdir -p cache/coil/new-old cache/coil/new-young && echo x >cache/coil/new-old/program &&
        touch -d 2001-01-01 cache/coil/new-old && chmod 700 cache/coil && program &&
        expect "[args.c]|0" "$coil" run args.c && [ ! -e cache/coil/new-old ] && [ -e cache/coil/new-young ]
}

emptied_meanwhile() {
    program && expect "[args.c]|0" "$coil" run args.c && find cache/coil -name args -delete &&
        expect "[args.c]|0" "$coil" run args.c && rm -r cache && expect "[args.c]|0" "$coil" run args.c &&
        [ "$(compilations)" = 3 ]
}

damaged() {
    program && expect "[args.c]|0" "$coil" run args.c && : >"$(find cache/coil -name args)" &&
        expect "[args.c]|0" "$coil" run args.c && expect "[args.c]|0" "$coil" run args.c &&
        [ "$(compilations)" = 2 ]
}

# A header that changes while the compiler works: what came of it is run, and not kept.
changed_meanwhile() {
    program && echo '#define WORD "before"' >word.h &&
        printf '#include "word.h"\n#include <stdio.h>\nint main(void) { return puts(WORD) < 0; }\n' >x.c &&
        printf '#!/bin/sh\n"%s" "$@" && echo "#define WORD \\"after\\"" >word.h\n' "$CC" >busy-cc && chmod +x busy-cc &&
        CC=./busy-cc expect "before|0" "$coil" run x.c && [ -z "$(find cache/coil -type f)" ] &&
        expect "after|0" "$coil" run x.c && expect "after|0" "$coil" run x.c && [ "$(compilations)" = 2 ]
}

try "a program runs, with its arguments" runs
try "a program is compiled once" compiles_once
try "a program named in full is the same from anywhere" same_from_anywhere
try "names may have blanks, quotes and dashes" odd_names
try "a changed source is another program" changed_source
try "a changed header makes it compile anew" changed_header
try "headers may have odd names" header_with_odd_name
try "other flags make another program" flags_count
try "another compiler makes another program" another_compiler
try "another libcoil makes another program" another_library
try "the exit status is the program's" exit_status
try "death by a signal is the program's" signal_death
try "the program runs in the same process" same_process
try "what was ignored stays ignored" ignored_signals_stay_ignored
try "standard streams are the program's" standard_streams
try "no descriptor is left open" no_descriptor_leaks
try "the compiler's errors reach the user unchanged" errors_unchanged
try "the compiler's exit status is the command's" compilers_exit_status
try "a killed compiler leaves nothing behind" compiler_killed
try "a compiler that does not exist is named" no_compiler
try "warnings are shown and stop nothing" warnings_do_not_stop
try "a file that cannot be read is named" no_such_file
try "without room for the cache it says so and compiles elsewhere" no_room_for_the_cache
try "a cache that others may write to is not used" others_may_write
try "a cache that cannot be written to is still read" read_only_cache
try "without a home nothing is kept" homeless
try "without any folder to write to it says so" nowhere_at_all
try "many at once get along" many_at_once
try "the cache is bounded" bounded
try "what was not used for longest goes first" oldest_goes_first
try "what others left half made goes in time" leftovers_go
try "a program that went missing is compiled again" emptied_meanwhile
try "a program that is none is compiled again" damaged
try "a header that changes while compiling is noticed" changed_meanwhile
finish
