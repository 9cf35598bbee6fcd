#!/usr/bin/env python3
"""What CPython does with the scripts of test_task_as_cpython.c: the same generator, run on asyncio.

    test_task_as_cpython.py          the table for the C file: one number for every 64 scripts
    test_task_as_cpython.py SEED     what happens in one script, turn by turn

Needs CPython 3.13 or newer: uncancel changed there.
"""

import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "diff"))
from virtual import Loop  # noqa: E402

SCRIPTS, BATCH = 4096, 64
MASK = (1 << 64) - 1
TASKS, FUTURES, HANDLES = 8, 3, 4
KINDS = "yyyyssssaaaaattttttcccccCuufffexxFFFkklhddddnnnNNqrRXwwSSSG"


class Random:
    """splitmix64, as base/random.h has it."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        return ((z >> 32) * n) >> 32


class UserError(Exception):
    pass


class Play:
    def __init__(self, seed, loop):
        r = Random(seed)
        self.loop = loop
        self.first = 2 + r.below(4)
        self.scripts = []
        for _ in range(TASKS):
            n = 1 + r.below(8)
            self.scripts.append([(KINDS[r.below(len(KINDS))], r.below(TASKS), r.below(4))
                                 for _ in range(n)])
        self.log = []
        self.tasks = []
        self.futures = []
        self.handles = [None] * HANDLES
        self.awaits = [None] * TASKS
        self.unique = 0
        self.turn0 = 0

    def note(self, who, kind, arg, what):
        self.log.append(f"{self.loop.turns - self.turn0} {who}{kind}{arg}={what}")

    def delay(self, b):
        self.unique += 1
        return b + self.unique * 1e-6

    def state(self, f):
        if not f.done():
            return "pending"
        if f.cancelled():
            return "cancelled"
        if f.exception():
            return "error"
        return str(f.result())

    def called(self, kind, ident):
        self.note("!", kind, ident, "")

    def make(self, eager):
        i = len(self.tasks)
        if i == TASKS:
            return -1
        self.tasks.append(None)
        if eager:
            task = asyncio.Task(self.body(i), loop=self.loop, eager_start=True)
        else:
            task = self.loop.create_task(self.body(i))
        self.tasks[i] = task
        return i

    def task(self, a):
        return self.tasks[a] if a < len(self.tasks) else None

    def comes_back(self, a, me):
        """Would waiting for task a close a circle?"""
        while a is not None and a != me:
            a = self.awaits[a]
        return a == me

    async def nested(self):
        await asyncio.sleep(0)
        return 1

    async def body(self, me):
        for kind, a, b in self.scripts[me]:
            what = "-"
            wait = None
            fut = self.futures[a % FUTURES]
            task = self.task(a)
            if kind == "y":
                wait = asyncio.sleep(0, 0)
            elif kind == "s":
                wait = asyncio.sleep(self.delay(b), 0)
            elif kind == "a":
                wait = fut
            elif kind == "t":
                if task and not self.comes_back(a, me):
                    wait = task
                    self.awaits[me] = a
            elif kind == "w":
                wait = self.nested()
            elif kind == "c":
                if task:
                    what = int(task.cancel())
            elif kind == "C":
                what = asyncio.current_task().cancelling()
            elif kind == "u":
                what = asyncio.current_task().uncancel()
            elif kind in "fe":
                try:
                    fut.set_result(a) if kind == "f" else fut.set_exception(UserError())
                    what = 1
                except asyncio.InvalidStateError:
                    what = 0
            elif kind == "x":
                what = int(fut.cancel())
            elif kind == "F":
                if fut.done():
                    self.futures[a % FUTURES] = self.loop.create_future()
                    what = 1
            elif kind == "k":
                self.loop.call_soon(self.called, "k", me)
            elif kind == "l":
                self.handles[a % HANDLES] = self.loop.call_later(self.delay(b), self.called, "l", me)
            elif kind == "h":
                if self.handles[a % HANDLES]:
                    self.handles[a % HANDLES].cancel()
                    what = 1
            elif kind == "d":
                on = fut if b & 1 else task
                if on:
                    on.add_done_callback(lambda f, i=me: self.called("d", i))
                    what = 1
            elif kind in "nN":
                what = self.make(kind == "N")
            elif kind == "q":
                if task:
                    what = self.state(task)
            elif kind == "r":
                self.note(me, kind, a, "")
                return a
            elif kind == "R":
                self.note(me, kind, a, "")
                raise UserError
            elif kind == "X":
                self.note(me, kind, a, "")
                raise asyncio.CancelledError
            elif kind == "S":
                if task:
                    self.loop.call_soon(self.cancel_from_callback, a)
            elif kind == "G":
                self.loop.call_soon(self.set_from_callback, a)
            if wait is not None:
                error = None
                try:
                    what = await wait
                except asyncio.CancelledError as e:
                    what, error = "cancelled", e
                except UserError as e:
                    what, error = "error", e
                self.awaits[me] = None
                self.note(me, kind, a, what)
                if error and b & 1:
                    raise error
            else:
                self.note(me, kind, a, what)
        return 50 + me

    def cancel_from_callback(self, a):
        self.note("!", "S", a, int(self.tasks[a].cancel()))

    def set_from_callback(self, a):
        fut = self.futures[a % FUTURES]
        if not fut.done():
            fut.set_result(a)
            self.note("!", "G", a, 1)

    async def main(self):
        self.turn0 = self.loop.turns
        self.futures = [self.loop.create_future() for _ in range(FUTURES)]
        for _ in range(self.first):
            self.make(False)
        await asyncio.sleep(100)
        # Whoever is left waits for ever, or for another: cancel until all are gone.
        for _ in range(2 * TASKS):
            for i, task in enumerate(self.tasks):
                if not task.done():
                    self.note("m", "c", i, int(task.cancel()))
            await asyncio.sleep(10)
        for i, task in enumerate(self.tasks):
            self.note("m", "q", i, self.state(task))
        for i, fut in enumerate(self.futures):
            self.note("m", "f", i, self.state(fut))


def play(seed):
    loop = Loop()
    loop.set_exception_handler(lambda loop, context: None)
    asyncio.set_event_loop(loop)
    p = Play(seed, loop)
    loop.run_until_complete(p.main())
    loop.close()
    return p.log


def digest(h, log):
    for line in log:
        for byte in (line + "\n").encode():
            h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def main():
    if len(sys.argv) > 1:
        print("\n".join(play(int(sys.argv[1]))))
        return
    for batch in range(SCRIPTS // BATCH):
        h = 0xCBF29CE484222325
        for seed in range(batch * BATCH, (batch + 1) * BATCH):
            h = digest(h, play(seed))
        print(f"    UINT64_C(0x{h:016x}),")


main()
