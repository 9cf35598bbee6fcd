#!/usr/bin/env python3
"""Can the differential runner fail? mutants.py BUILD

Each mutant is coil with one deliberate mistake: a line of one source file changed in a copy, compiled as the build folder
compiles it, and linked with diff_player before the library, whose own object of that name is then not taken. The
recorded scripts must find every one. Nothing in src/ or in the library is touched; a mutant whose line is not in
its file any more is an error, so that this list cannot grow stale unnoticed.

Prints which script found each. Exit status 1 if one was not found.
"""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECORDED = [os.path.join(TOP, "test", "diff", "recorded", name) for name in ("hashes.txt", "traces.txt")]

# What is wrong with it; the file; what stands there; what stands there instead.
MUTANTS = [
    ("a lock wakes the last in line", "sync/waiters.c",
     "struct waiter *w = line->pending;\n    if (!w || line->loop->closing)",
     "struct waiter *w = line->pending;\n    if (w) for (struct waiter *o = next_of(w); o != line->first; o = next_of(o))\n"
     "        if (o->state == WAITER_PENDING) w = o;\n    if (!w || line->loop->closing)"),
    ("a free lock is taken past the line", "sync/lock.c",
     "if (!lock->locked && !waiters_live(&lock->waiters)) {", "if (!lock->locked) {"),
    ("a cancelled owner-to-be keeps the wake-up", "sync/lock.c",
     "if (!lock->locked)\n            wake_first(lock);\n        return rc;", "return rc;"),
    ("release wakes nobody", "sync/lock.c",
     "lock->owner = 0;\n    wake_first(lock);", "lock->owner = 0;"),
    ("a condition gives up its lock when cancelled", "sync/condition.c",
     "if (rc != -ECANCELED)\n            return rc;\n        cancelled = rc;", "return rc;"),
    ("a cancelled wait keeps the notification", "sync/condition.c",
     "if (coil_iserr(rc))\n        coil__waiters_wake(&condition->waiters);\n    return rc;", "return rc;"),
    ("notify wakes one more", "sync/condition.c", "while (n > 0 && coil__waiters_wake", "n++;\n    while (n > 0 && coil__waiters_wake"),
    ("a permit is lost with a cancelled waiter", "sync/semaphore.c",
     "COIL_PROBE(\"a permit of a cancelled task goes back\");\n        s->value++;\n", ""),
    ("a newcomer overtakes the semaphore's line", "sync/semaphore.c",
     "return s->value <= 0 || waiters_live(&s->waiters);", "return s->value <= 0;"),
    ("a bounded semaphore takes one permit too many", "sync/semaphore.c",
     "s->value >= ~s->unbound", "s->value > ~s->unbound"),
    ("an event wakes only the first", "sync/event.c", "while (coil__waiters_wake(", "if (coil__waiters_wake("),
    ("a barrier lets in who comes while it drains", "sync/barrier.c",
     "wait_while(b, IN_DRAINING | IN_RESETTING)", "wait_while(b, IN_RESETTING)"),
    ("a reset barrier stays reset", "sync/barrier.c",
     "change(b, b->state == BROKEN ? BROKEN : FILLING);", "change(b, b->state == DRAINING ? FILLING : b->state);"),
    ("a cancelled getter keeps the wake-up", "sync/queue.c",
     "COIL_PROBE(\"an item for a cancelled getter goes to the next\");\n                coil__waiters_wake(&q->getters);\n", ""),
    ("a get does not tell a putter", "sync/queue.c",
     "coil__waiters_wake(&q->putters);\n    return 0;\n}\n\nCOIL_ASYNC coil_ret coil_queue_put(", "return 0;\n}\n\nCOIL_ASYNC coil_ret coil_queue_put("),
    ("a shutdown forgets those who put", "sync/queue.c", "wake_all(&q->putters);\n    return 0;", "return 0;"),
    ("a shutdown forgets those who join", "sync/queue.c",
     "if (!q->unfinished)\n            wake_all(&q->joiners);\n", ""),
    ("a cancel counts twice", "task/task.c", "t->cancelling++;", "t->cancelling += 2;"),
    ("uncancel keeps the undelivered cancel", "task/task.c",
     "if (t->cancelling > 0 && --t->cancelling == 0)\n        t->must_cancel = false;", "if (t->cancelling > 0)\n        t->cancelling--;"),
    ("a cancel of the last step is dropped", "task/task.c",
     "(t->must_cancel && !coil_iserr(rc)) || t->coro.unwinding", "t->coro.unwinding"),
    ("a cancel overtaken by a result is dropped", "task/task.c",
     "if (!t->must_cancel && w->value != -ECANCELED)\n        return w->value;", "if (w->value != -ECANCELED)\n        return w->value;"),
    ("a second cancel changes the words of the first", "task/task.c",
     "if (t->waiting && t->waiting->woken && t->waiting->value == -ECANCELED)\n        return;\n", ""),
    ("the body of a task cancelled before its start runs", "task/task.c",
     "if (t->must_cancel) {\n        t->must_cancel = false;\n        coil__fail(rc, \"%s\"", "if (0) {\n        t->must_cancel = false;\n        coil__fail(rc, \"%s\""),
    ("a sleep ends a turn too early", "task/sleep.c",
     "loop_push(loop, sleep_over, sw, NULL);\n    sw->position = loop_last_position(loop);\n    sw->fired = true;", "if (!sw->w.woken)\n        coil__wake(&sw->w, 0);\n    (void)loop;\n    (void)sleep_over;"),
    ("done-callbacks come last in first out", "task/future.c",
     "list_push(&f->callbacks, &cb->link);", "list_push(f->callbacks.next, &cb->link);"),
    ("timers of one deadline come last in first out", "base/heap.c", "a->seq < b->seq", "a->seq > b->seq"),
    ("a timeout keeps the cancel it made", "combine/timeout.c",
     "(uint32_t)coil_task_uncancel(&s->task->future) <= s->cancelling", "(uint32_t)coil_task_cancelling(&s->task->future) <= s->cancelling + 1"),
    ("a timeout takes a foreign cancel for its own", "combine/timeout.c",
     "s->cancelling = s->task->cancelling;", "s->cancelling = UINT32_MAX;"),
    ("a timeout's place among equal deadlines is that of its task's wait", "combine/timeout.c",
     "coil__alarm_set(&s->alarm, s->when_ns, s->seq)", "coil__alarm_set(&s->alarm, s->when_ns, loop_timer_seq(s->task->future.loop))"),
    ("a group forgets the cancel from outside", "combine/group.c",
     "deliver_later(t);\n        return fail_together(g);", "return fail_together(g);"),
    ("a group keeps the cancel it made", "combine/group.c",
     "if (coil_task_uncancel(&t->future) == 0)", "if (coil_task_cancelling(&t->future) == 1)"),
    ("a group's second error cancels once more", "combine/group.c",
     "coil__unfollow(&c->follower);\n    if (!g->aborting) {", "coil__unfollow(&c->follower);\n    if (1) {"),
    ("a group that shuts down takes children", "combine/group.c", "if (g->aborting)\n        return coil__fail(COIL_ESHUTDOWN", "if (0)\n        return coil__fail(COIL_ESHUTDOWN"),
    ("a cancelled gather with all results is not cancelled", "combine/gather.c", "if (g->cancel_requested) {", "if (0) {"),
    ("gather's first error is its last", "combine/gather.c",
     "else if (!g->return_exceptions && coil_iserr(child->result))", "else if (!g->return_exceptions && coil_iserr(child->result) && g->finished == g->distinct)"),
    ("wait takes a cancelled one for a failed one", "combine/wait.c", "return outer_has_failed(f);", "return coil_iserr(f->result);"),
    ("as_completed forgets whom its timeout drops", "combine/as_completed.c",
     "coil__unfollow(&m->followers[i]);\n        put(m, NULL);", "coil__unfollow(&m->followers[i]);"),
    ("a shield lets the cancel through", "combine/shield.c",
     "static const struct future_class shield_class = {", "static bool through(coil_future *f, const char *m)\n{\n    coil_future_cancel(((struct shield *)f)->inner_done.future, m);\n    coil__future_finish(f, -ECANCELED, NULL);\n    return true;\n}\n\nstatic const struct future_class shield_class = {\n    .cancel = through,"),
]


def command_for(build, source):
    """How the build folder compiles this file: the words of the command, without input and output."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        for entry in json.load(file):
            if os.path.realpath(os.path.join(entry["directory"], entry["file"])) == source and (
                    "libcoil.a.p" in entry["output"]):
                words = shlex.split(entry["command"])
                return [w for i, w in enumerate(words)
                        if w not in ("-MD", "-c", "-o", "-MQ", "-MF", entry["file"])
                        and words[i - 1] not in ("-o", "-MQ", "-MF")]
    sys.exit(f"mutants.py: {build} does not build {source}")


def player_with(build, folder, name, file, old, new):
    """A diff_player with that mistake in it; None: `file` without one."""
    source = os.path.join(TOP, "src", file)
    with open(source, encoding="utf-8") as f:
        text = f.read()
    if text.count(old) != 1:
        sys.exit(f"mutants.py: {name}: {file} has its line {text.count(old)} times")
    mutant = os.path.join(folder, os.path.basename(file))
    with open(mutant, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))
    compiler = command_for(build, os.path.realpath(source))
    # From where the build compiles, for the sake of its relative -I; and its own folder for "neighbour.h".
    subprocess.run(compiler + ["-Wno-error", "-w", "-I" + os.path.dirname(source), "-c", mutant, "-o", mutant + ".o"],
                   cwd=build, check=True)
    player = os.path.join(folder, "player")
    objects = [os.path.join(build, "diff_player.p", o) for o in os.listdir(os.path.join(build, "diff_player.p"))
               if o.endswith(".o")]
    subprocess.run([compiler[0], "-o", player, *objects, mutant + ".o", os.path.join(build, "libcoil.a"),
                    "-pthread", "-lm"], check=True)
    return player


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def found_by(player):
    """What the recorded scripts say of it; None: nothing."""
    run = subprocess.run([player, "replay", *RECORDED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True, preexec_fn=limit_memory)
    first = re.search(r"seed (\d+) differs", run.stdout)
    if first:
        return f"script {first.group(1)}"
    if run.returncode < 0:
        return f"signal {-run.returncode} before any other difference"
    return None if run.returncode == 0 else f"exit status {run.returncode}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = os.path.realpath(sys.argv[1])
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        # The way itself must not be what is found.
        what = found_by(player_with(build, folder, "no mistake", "sync/lock.c", "lock->owner = 0;", "lock->owner = 0;"))
        if what:
            sys.exit(f"mutants.py: coil without a mistake differs: {what}")
        for name, file, old, new in MUTANTS:
            what = found_by(player_with(build, folder, name, file, old, new))
            missed += what is None
            print(f"{name:70} {what or 'NOT FOUND'}", flush=True)
    print(f"{len(MUTANTS) - missed} of {len(MUTANTS)} mistakes found by the recorded scripts")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
