#!/bin/sh
# The models, and each of them with its known mistake put in, which must be found. Needs spin and a C compiler.
#
#     models.sh FOLDER     the checkers are made there
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
failed=0

# model right|wrong NAME [-DMISTAKE]
model() {
    expected=$1 name=$2 mistake=${3:-}
    spin $mistake -a "$here/$name.pml" >spin.log 2>&1 || { cat spin.log; failed=1; return; }
    ${CC:-cc} -O2 -DSAFETY -o pan pan.c
    ./pan -m100000 >pan.log 2>&1 || true
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.log)
    case $expected:${errors:-none} in
    right:0) echo "ok     $name: $states states, none of them wrong" ;;
    wrong:0 | *:none) echo "FAILED $name $mistake: ${errors:-no} errors"; cat pan.log; failed=1 ;;
    wrong:*) echo "ok     $name ${mistake#-D}: found, $(sed -n 's/^pan:1: //p' pan.log)" ;;
    right:*) echo "FAILED $name: $(sed -n 's/^pan:1: //p' pan.log)"; failed=1 ;;
    esac
}

model right wake
model wrong wake -DNO_SECOND_LOOK
model wrong wake -DFLAG_FIRST
model right cancel
model wrong cancel -DBELIEVES_THE_CANCEL
model wrong cancel -DDROPS_THE_RESULT
exit $failed
