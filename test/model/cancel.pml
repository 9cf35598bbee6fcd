/* SPDX-License-Identifier: MIT
 *
 * cancel.pml: an op of io_uring, the cancel that asks for its end, and the memory that the kernel was lent (io/uring.c).
 *
 * The kernel completes the op once, at any time: by itself, or because of the cancel. The cancel has a completion of its
 * own: 0 (the op ends with -ECANCELED), not found (its completion is there or on its way), or "already" (the op is being
 * done, and its own result comes). The two arrive in any order. The waiter goes on, and its frame with the op's memory is gone,
 * only after the op's own completion. With -DBELIEVES_THE_CANCEL it goes on when the cancel is answered: the kernel then
 * writes into a frame that is somebody else's. With -DDROPS_THE_RESULT what came in spite of the cancel is thrown away. */
mtype = { idle, under_way, working, done };

mtype op = idle;
bool lent;             /* the frame is the kernel's */
bool bytes_moved;      /* the op had an effect */
bool effect_kept;
bool cancel_asked, cancel_answered, op_answered, op_cancelled;

active proctype kernel()
{
    op == under_way;
    do
    :: op == under_way -> op = working
    :: op == working -> atomic { assert(lent); bytes_moved = true; op = done; op_answered = true }
    :: atomic { op == under_way && cancel_asked && !cancel_answered ->
           op = done; op_cancelled = true; cancel_answered = true };
       op_answered = true
    :: atomic { op != under_way && cancel_asked && !cancel_answered -> cancel_answered = true }
    :: atomic { op == done && op_answered && (!cancel_asked || cancel_answered) } -> break
    od
}

active proctype waiter()
{
    atomic { lent = true; op = under_way }
    if
    :: cancel_asked = true
    :: skip
    fi;
#ifdef BELIEVES_THE_CANCEL
    if
    :: cancel_asked -> cancel_answered
    :: else -> op_answered
    fi;
#else
    op_answered;
#endif
    lent = false;
    if
#ifdef DROPS_THE_RESULT
    :: cancel_asked -> skip
    :: else -> effect_kept = bytes_moved
#else
    :: op_cancelled -> skip
    :: else -> effect_kept = bytes_moved
#endif
    fi;
    assert(bytes_moved == effect_kept)
}
