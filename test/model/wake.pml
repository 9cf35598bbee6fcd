/* SPDX-License-Identifier: MIT
 *
 * wake.pml: how a loop that is about to sleep and those who post to it never miss each other (base/inbox.c).
 *
 * Each step is one atomic access of the code; the model is of what the accesses mean, while test/loom runs the code itself.
 * Posts are counted instead of linked. With -DNO_SECOND_LOOK the sleeper does not look into the inbox after it has said
 * that it sleeps, and with -DFLAG_FIRST a poster looks at the flag before it posts: both must end in a loop that sleeps for
 * ever, which Spin calls an invalid end state.
 *
 *     spin -a wake.pml && cc -o pan pan.c && ./pan          (./dev model does all of them) */
#define POSTERS 3
#define EACH    2

byte posted;  /* what stands in the inbox */
byte taken;   /* what the loop has served */
byte rings;   /* the eventfd's counter */
bool asleep;

inline ring_if_asleep(was)
{
    was = false;
    atomic { was = asleep; asleep = false } /* the exchange */
    if
    :: was -> rings++
    :: else -> skip
    fi
}

active [POSTERS] proctype poster()
{
    byte i;
    bool seen, was;
    for (i : 1 .. EACH) {
#ifdef FLAG_FIRST
        seen = asleep;
        posted++;
#else
        posted++;
        seen = asleep;
#endif
        if
        :: seen -> ring_if_asleep(was)
        :: else -> skip
        fi
    }
}

active proctype loop()
{
    do
    :: taken == POSTERS * EACH -> break
    :: else ->
        atomic { taken = taken + posted; posted = 0 } /* takes all at once */
        if
        :: taken == POSTERS * EACH -> break
        :: else -> skip
        fi;
        asleep = true;
#ifndef NO_SECOND_LOOK
        if
        :: posted > 0 -> asleep = false
        :: else ->
#endif
            atomic { rings > 0 -> rings = 0 } /* sleeps until it is rung */
            asleep = false
#ifndef NO_SECOND_LOOK
        fi
#endif
    od;
    assert(posted == 0)
}
