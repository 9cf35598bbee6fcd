#!/bin/sh
# A sweep of faults finds the mistakes of test/fault/wrong.c, each where it is, and nothing in what is healthy.
build=$1
wrong=$build/fault_wrong
[ -x "$wrong" ] || { echo "not built: it needs the table of kernel calls, and no ThreadSanitizer"; exit 77; }
n=0 failed=0
export COIL_BACKEND=epoll CMOCKA_MESSAGE_OUTPUT=TAP COIL_FAULT

fact() { # NAME EXPECTED GOT
    n=$((n + 1))
    if [ "$2" = "$3" ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        printf '# expected: %s\n#      got: %s\n' "$2" "$3"
        failed=1
    fi
}

found() { # KIND TEST: what a sweep of that kind finds in it
    COIL_FAULT=$1
    "$wrong" "$2" 2>&1 | sed -n 's/^ERROR: //p'
}

fact healthy_bodies_stay_healthy "" "$(for kind in alloc alloc_all errno short cancel timeout; do found $kind it_is_healthy; done)"
fact a_leak_of_memory_is_found "alloc:2: 1 blocks of memory were not given back" "$(found alloc it_forgets)"
fact a_leak_of_a_descriptor_is_found \
    "errno:2:24 (EMFILE of eventfd): 1 descriptors more than before are open; errno:2:23 (ENFILE of eventfd): 1 descriptors more than before are open; errno:2:12 (ENOMEM of eventfd): 1 descriptors more than before are open" \
    "$(found errno it_keeps)"
fact a_crash_is_found alloc:1 "$(found alloc it_believes | sed "s/: .*//")" # sanitizers say it in their own words
fact an_interruption_must_not_be_noticed \
    "errno:2:4 (EINTR of write): it was noticed; errno:3:4 (EINTR of read): it was noticed" "$(found errno it_is_taken)"
fact a_race_with_a_deadline_is_found "timeout:1: 1 blocks of memory were not given back" "$(found timeout it_loses)"
fact which_a_cancel_does_not_meet "" "$(found cancel it_loses)"
fact what_stays_wrong_afterwards_is_found "cancel:1, and when all was well again: it was noticed" \
    "$(COIL_FAULT_STRICT=1; export COIL_FAULT_STRICT; found cancel it_remembers)"
fact a_lost_wake_up_is_found_where_nobody_may_wait_for_ever "it waits for ever" \
    "$(COIL_FAULT_STRICT=1; export COIL_FAULT_STRICT; found alloc it_wakes | tr ';' '\n' | sed -n 's/.*alloc:[0-9]*: \(it waits.*\)/\1/p')"
fact and_is_no_news_elsewhere "" "$(found alloc it_wakes)"
seen=$(mktemp)
export COIL_FAULT_SEEN="$seen"
found alloc it_forgets >"$seen.found"
fact which_allocations_were_failed_is_told 2 "$(grep -c "^site [0-9a-f]* failed" "$seen")"
found errno it_keeps >"$seen.found"
fact which_calls_were_failed_is_told "call eventfd reached;call socket unseen;pair eventfd EMFILE failed;pair socket EMFILE unseen" \
    "$(grep -E "^(call|pair) (eventfd|socket)( EMFILE)? [a-z]*$" "$seen" | sort | tr '\n' ';' | sed 's/;$//')"
found timeout it_loses >"$seen.found"
fact which_waits_were_ended_is_told "wait failed future" "$(grep ^wait "$seen")"
COIL_BACKEND=uring
export COIL_BACKEND
found errno it_believes_that_it_was_opened >"$seen.found"
# Without io_uring a thread opens the file.
opener=openat
if grep -q "^call io_uring_enter reached" "$seen"; then opener=uring_openat; fi
fact a_completion_that_says_an_error_is_believed "EMFILE of $opener" "$(sed 's/^errno:[0-9:]* (\(.*\)):.*/\1/' "$seen.found")"
COIL_BACKEND=epoll
found alloc it_believes_in_memory >"$seen.found"
anchor=$(sed -n 's/^anchor //p' "$seen") site=$(sed -n 's/^site \([0-9a-f]*\) failed$/\1/p' "$seen")
unset COIL_FAULT_SEEN
rest() { # KIND TEST LINE: what is found by a sweep that others began
    printf '%s\n' "$3" >"$seen.swept"
    COIL_FAULT_FRESH=1 COIL_FAULT_SWEPT=$seen.swept
    export COIL_FAULT_FRESH COIL_FAULT_SWEPT
    found "$1" "$2"
}
fact a_call_that_others_have_failed_is_not_failed_again "errno:3:4 (EINTR of read): it was noticed" \
    "$(rest errno it_is_taken "pair write EINTR")"
fact nor_is_an_allocation "" "$(rest alloc it_believes_in_memory "$(printf 'site %x' $((0x$site - 0x$anchor)))")"
fact nor_is_a_wait_ended_again "" "$(rest timeout it_loses "wait future")"
fact but_others_are "timeout:1: 1 blocks of memory were not given back" "$(rest timeout it_loses "wait lock")"
rm -f "$seen.swept"
rm -f "$seen" "$seen.found"
fact one_case_can_be_played_alone "errno:3:4 (EINTR of read): it was noticed" "$(found errno:3:4 it_is_taken)"
said() { # KIND TEST: what a sweep of that kind says of itself, without its numbers
    COIL_FAULT=$1
    "$wrong" "$2" 2>&1 | sed -n 's/[1-9][0-9]* \(points\|cases\)/some \1/g; s/^# fault //p'
}
fact a_sweep_says_what_it_did "alloc: it_is_healthy: some points, some cases, 0 met an assertion, 0 waited for ever, 0 found" \
    "$(said alloc it_is_healthy)"
fact what_does_not_pass_by_itself_is_not_swept "alloc: it_never_passes: it does not pass by itself in a child of fork" \
    "$(said alloc it_never_passes)"
fact nonsense_is_refused_by_name "COIL_FAULT=luck: it begins with alloc, alloc_all, errno, short, cancel or timeout" \
    "$(COIL_FAULT=luck; "$wrong" it_is_healthy 2>&1 | grep luck)"
echo "1..$n"
exit $failed
